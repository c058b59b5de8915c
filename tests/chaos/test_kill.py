"""kill -9, at random and at every named point: the same alerts as if nothing had happened, each once."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from cep.control import Pause, Resume, write
from cep.log.kafka import KafkaControl
from tests.chaos.world import World, chunks, events_wanted

pytestmark = [pytest.mark.kafka, pytest.mark.slow]

FAILPOINTS = ["claimed", "restored", "repeated:9", "drained:7", "processed:7", "begun:3", "produced:3", "committed:3"]
"""In the order in which a worker meets them. `claimed` and `restored` fall before anything is read."""


@pytest.fixture
def world(kafka: str, unique: str, tmp_path: Path) -> Iterator[World]:
    world = World(kafka, unique, tmp_path)
    yield world
    world.close()


def test_three_kills_at_random(world: World) -> None:
    """Killed three times with events in flight and restarted under its name; then compared with an undisturbed run."""
    for count in chunks(events_wanted(), 3):
        process = world.start()
        world.feed(count // 2)
        world.await_alerts(world.seen + world.random.randrange(1, world.due - world.seen))
        world.feed(count - count // 2)  # the worker has milliseconds for these
        process.signal(signal.SIGKILL)
        assert process.exit_code() == -signal.SIGKILL
    world.start()
    world.judge()
    assert world.ids() == world.ids_of_an_undisturbed_run()


def test_a_kill_at_every_failpoint(world: World) -> None:
    """One worker after the other dies at the next point, and each of them really gets there."""
    world.feed(2000)
    first = world.start()
    world.await_alerts(world.due)
    first.signal(signal.SIGKILL)
    first.exit_code()
    for failpoint, count in zip(FAILPOINTS, chunks(events_wanted(8_000), len(FAILPOINTS)), strict=True):
        world.feed(count)
        process = world.start(failpoint=failpoint)
        world.feed_to_failpoint(process)
        assert process.exit_code() == -signal.SIGKILL, f"{failpoint}\n{process.tail()}"
    world.start()
    world.judge()


def test_a_kill_right_after_a_change_was_applied(world: World) -> None:
    """A pause that was applied and not yet committed: the next owner applies it at its own boundary, once."""
    world.feed(500)
    process = world.start(failpoint="applied:2")
    world.await_alerts(world.due)
    control = KafkaControl(world.settings, world.app)
    write(control, [Pause("big")], author="test", at_us=0)
    write(control, [Resume("big")], author="test", at_us=1)
    control.close()
    assert process.exit_code() == -signal.SIGKILL, process.tail()
    after = world.start()
    world.await_log(after, "lane live")
    world.feed(500)
    world.judge()


def test_a_polite_end_leaves_nothing_to_do_again(world: World) -> None:
    """SIGTERM commits what was decided and ends with 0; the next worker of the name goes on."""
    world.feed(1000)
    process = world.start()
    world.await_alerts(world.due)
    process.signal(signal.SIGTERM)
    assert process.exit_code() == 0, process.tail()
    world.feed(1000)
    world.start()
    world.judge()
