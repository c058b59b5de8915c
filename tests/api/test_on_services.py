"""The server over real Kafka and Postgres, with a worker and a sink in processes of their own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from api.app import create_app
from api.services import opened
from cep.log.kafka_topics import create_topics
from cep.settings import Address, Kafka, Server, Settings
from cep.storage.migrate import upgrade
from deploy.servers import Services as Machines
from deploy.servers import start
from tests.api.world import PATTERN, STREAM, World, at_a_socket, eventually, followed

pytestmark = [pytest.mark.kafka, pytest.mark.postgres, pytest.mark.slow]


@contextmanager
def process(folder: Path, environ: dict[str, str], *command: str) -> Iterator[subprocess.Popen[bytes]]:
    with (folder / f"{command[0]}.log").open("ab") as log:
        running = subprocess.Popen(
            [sys.executable, "-m", "cep.cli", *command], env={**os.environ, **environ}, stdout=log, stderr=log
        )
    try:
        yield running
    finally:
        running.send_signal(signal.SIGTERM)
        running.wait(30)


@pytest.fixture
def machines(tmp_path: Path) -> Iterator[Machines]:
    """A Postgres of this test's own, which it stops."""
    with start(["postgres"], tmp_path / "services", environ={}) as found:
        yield found


@pytest.fixture
def world(kafka: str, machines: Machines, unique: str, tmp_path: Path) -> Iterator[World]:
    stream = tmp_path / "transactions.yaml"
    stream.write_text(STREAM.read_text().replace("topic: transactions", f"topic: {unique}-in"))
    settings = Settings(
        app=unique,
        streams=(str(stream),),
        kafka=Kafka(bootstrap=kafka),
        address=Address(postgres=machines.postgres),
        server=Server(keys=str(tmp_path / "keys.json")),
    )
    create_topics(unique, 1, settings.kafka, {f"{unique}-in": 2})
    upgrade(machines.postgres)
    environ = {
        "STAKEOUT_APP": unique,
        "STAKEOUT_STREAMS": str(stream),
        "STAKEOUT_KAFKA": kafka,
        "STAKEOUT_POSTGRES": machines.postgres,
    }
    with ExitStack() as stack:
        for command in ("worker", "sink"):
            stack.enter_context(process(tmp_path, environ, command))
        services = stack.enter_context(opened(settings))
        client = stack.enter_context(TestClient(create_app(services), "http://localhost"))
        eventually(lambda: services.lanes.statuses())
        yield World(client, services)


def test_a_pattern_goes_live_and_an_outage_of_postgres_loses_nothing(world: World, machines: Machines) -> None:
    client = world.client
    client.post("/v1/events", json=world.event("c-flow", 0.5))
    name = world.live()

    world.match("c-first")
    listed = world.alert("c-first")
    whole = client.get(f"/v1/alerts/{listed['id']}").json()
    assert [event["step"] for event in whole["events"]] == ["small", "big"]
    with at_a_socket(world) as address:
        ((place, streamed),) = followed(address, 1, **{"Last-Event-ID": ""})
    assert (place, streamed) == (f"0:{listed['sequence']}", {key: whole[key] for key in streamed})
    assert client.get("/readyz").json()["checks"] == {"log": "ok", "lanes": "ok", "database": "ok"}

    decided = [client.post("/v1/decisions", json=world.event("c-decide", amount)).json() for amount in (0.5, 900.0)]
    assert [(each["decision"], each["timed_out"]) for each in decided] == [("approve", False), ("review", False)]
    assert decided[1]["alerts"][0]["key"] == {"card_id": "c-decide"}

    machines.stop_one("postgres")
    away = client.get("/v1/alerts")
    assert (away.status_code, away.json()["code"]) == (503, "service_unavailable")
    assert "retry-after" in away.headers
    assert client.get("/readyz").status_code == 200
    world.match("c-outage")
    during = [client.post("/v1/decisions", json=world.event("c-during", amount)).json() for amount in (0.5, 900.0)]
    assert during[1]["decision"] == "review"
    assert client.post(f"/v1/patterns/{name}/pause").status_code == 202
    eventually(lambda: client.get(f"/v1/patterns/{name}").json()["applied"])
    machines.start_one("postgres")

    for card in ("c-outage", "c-during"):
        assert eventually(partial(_alerts, client, card))[0]["pattern"] == name
    lane = client.get("/v1/lanes").json()["items"][0]
    assert lane["lag"] == 0
    assert {place["topic"] for place in lane["positions"]} == {world.services.streams["transactions"].topic}


def _alerts(client: TestClient, card: str) -> list[dict[str, object]]:
    answer = client.get("/v1/alerts", params={"key": f"card_id={card}"})
    return list(answer.json()["items"]) if answer.status_code == 200 else []


def _has_letters(client: TestClient, count: int) -> bool:
    return len(client.get("/v1/dead-letters").json()["items"]) == count


def test_dead_letters_of_kafka_are_paged_and_a_second_server_sees_the_same_patterns(world: World) -> None:
    services = world.services
    topic = services.streams["transactions"].topic
    for number in range(3):
        services.ingest.append(topic, [(None, b"no json %d" % number)])
        eventually(partial(_has_letters, world.client, number + 1))
    page = world.client.get("/v1/dead-letters", params={"limit": 2}).json()
    rest = world.client.get("/v1/dead-letters", params={"limit": 2, "cursor": page["next_cursor"]}).json()
    assert [each["text"] for each in page["items"] + rest["items"]] == ["no json 2", "no json 1", "no json 0"]
    world.live(PATTERN)
    with opened(services.settings) as other, TestClient(create_app(other), "http://localhost") as client:
        eventually(lambda: other.lanes.statuses())
        found = client.get("/v1/patterns/small-then-big").json()
        assert (found["state"], found["applied"]) == ("live", True)
        assert client.post("/v1/patterns/small-then-big/retire").status_code == 202
    assert world.client.get("/v1/patterns/small-then-big").json()["state"] == "retired"


def test_writers_at_once_are_each_told_where_their_own_records_stand(world: World) -> None:
    services = world.services
    topic = services.streams["transactions"].topic

    def write(number: int) -> list[tuple[int, int]]:
        records = [(b"c%d" % number, b'{"n": %d}' % number)] * 50
        return [(written.partition.partition, written.offset) for written in services.ingest.append(topic, records)]

    with ThreadPoolExecutor(8) as pool:
        told = list(pool.map(write, range(40)))
    assert len({place for places in told for place in places}) == 40 * 50
    assert all(len({partition for partition, _ in places}) == 1 for places in told)
    ends = services.ingest.ends([topic])
    assert sum(ends.values()) == 40 * 50
