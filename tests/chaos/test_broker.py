"""A broker that is killed or restarted under load: the lane resends, or exits and is started again; nothing doubles."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from deploy.servers import Services, start
from tests.chaos.world import World, chunks, events_wanted

pytestmark = [pytest.mark.kafka, pytest.mark.slow]


@pytest.fixture
def own(tmp_path: Path) -> Iterator[Services]:
    """A Kafka of this test's own, since it is to be killed."""
    with start(["kafka"], tmp_path / "services", environ={}) as services:
        yield services


@pytest.mark.parametrize("how", ["kill", "restart"])
def test_a_broker_that_goes_and_comes_back(own: Services, unique: str, tmp_path: Path, how: str) -> None:
    """Twice, with events in flight each time; the worker's supervisor does what the exit code asks for."""
    world = World(own.start_one("kafka"), unique, tmp_path)
    try:
        world.supervise()
        for count in chunks(events_wanted(4_000), 2):
            world.feed(count // 2)
            world.await_alerts(world.seen + 1)
            world.feed(count - count // 2)
            if how == "kill":
                own.kill_one("kafka")
                own.start_one("kafka")
            else:
                own.restart_one("kafka")
        world.feed(500)
        world.judge()
    finally:
        world.close()
