"""Workers that are stopped, replaced and continued; two of one name; lanes that move: never an alert twice."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from cep.worker import EXIT_RESTART
from tests.chaos.world import World

pytestmark = [pytest.mark.kafka, pytest.mark.slow]


@pytest.fixture
def world(kafka: str, unique: str, tmp_path: Path) -> Iterator[World]:
    world = World(kafka, unique, tmp_path)
    yield world
    world.close()


@pytest.mark.parametrize("point", ["processed:5", "begun:2", "produced:2", "committed:2"])
def test_a_zombie_exits_and_writes_nothing(world: World, point: str) -> None:
    """Stopped past its session, replaced by another worker, continued: it exits, whatever it was doing."""
    world.feed(1500)
    zombie = world.start("zombie", failpoint=f"{point}:stop")
    world.feed_to_failpoint(zombie)
    heir = world.start("heir")
    world.await_log(heir, "lane live")
    world.await_alerts(world.due)
    world.feed(500)
    world.await_alerts(world.due)
    zombie.signal(signal.SIGCONT)
    assert zombie.exit_code() == EXIT_RESTART, zombie.tail()
    world.feed(500)
    world.judge()
    assert heir.popen.poll() is None, heir.tail()


def test_of_two_workers_with_one_name_the_older_exits(world: World) -> None:
    """Started twice by mistake: the newer one owns the name and its lanes."""
    world.feed(1000)
    older = world.start("twin")
    world.await_alerts(world.due)
    newer = world.start("twin")
    assert older.exit_code() == EXIT_RESTART, older.tail()
    world.feed(1000)
    world.judge()
    assert newer.popen.poll() is None, newer.tail()


def test_lanes_move_from_one_worker_to_two_and_back(kafka: str, unique: str, tmp_path: Path) -> None:
    """A second worker takes a lane over while events flow, and gives it back when it ends."""
    world = World(kafka, unique, tmp_path, lanes=2, partitions=4)
    try:
        world.feed(2000)
        world.start("one")
        world.await_alerts(world.due)
        two = world.start("two", STAKEOUT_WORKER_ON_STOP="hand_over")
        world.feed(2000)
        world.await_log(two, "lane live")
        world.feed(2000)
        world.await_alerts(world.due)
        two.signal(signal.SIGTERM)
        assert two.exit_code() == 0, two.tail()
        world.feed(2000)
        world.judge()
    finally:
        world.close()
