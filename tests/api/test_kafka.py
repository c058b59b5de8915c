"""The same over real Kafka and Postgres: the server alone, worker and sink as processes of their own."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from api.serve import Server, opened
from cep.cli.documents import EXAMPLES, load_streams
from cep.log.kafka_topics import create_topics
from cep.settings import Address, Kafka, Serve, Settings
from cep.storage import migrate
from cep.storage.database import database_url
from tests.api.conftest import SMALL_THEN_BIG, Running, wait_for
from tests.api.test_alerts import read_stream

STREAM = (EXAMPLES / "streams" / "transactions.yaml").read_text()


@pytest.fixture(scope="module")
def distributed(kafka: str, postgres_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A server beside a worker and a sink, each a process, ended by its id."""
    folder = tmp_path_factory.mktemp("distributed")
    app = f"api-{os.getpid()}-{time.monotonic_ns()}"
    stream = folder / "transactions.yaml"
    stream.write_text(STREAM.replace("topic: transactions", f"topic: {app}-transactions"))
    settings = Settings(
        app=app,
        streams=(str(stream),),
        kafka=Kafka(bootstrap=kafka),
        address=Address(postgres=postgres_url),
        serve=Serve(port=0),
    )
    create_topics(app, 1, settings.kafka, {f"{app}-transactions": 1})
    migrate.upgrade(database_url(settings))
    environ = {
        **os.environ,
        "STAKEOUT_APP": app,
        "STAKEOUT_STREAMS": str(stream),
        "STAKEOUT_KAFKA": kafka,
        "STAKEOUT_POSTGRES": postgres_url,
    }
    environ = {name: value for name, value in environ.items() if name != "STAKEOUT_REDIS"}
    root = Path(__file__).parents[2]
    processes = [
        subprocess.Popen([sys.executable, "-m", "cep.cli", command], cwd=root, env=environ)
        for command in ("worker", "sink")
    ]
    declared = {one.name: one for one in load_streams([stream])}
    try:
        with opened(settings, declared, logging.getLogger("test")) as (services, engine):
            assert engine is None
            server = Server(services)
            server.start()
            try:
                with httpx.Client(base_url=server.url, timeout=30) as client:
                    wait_for(lambda: client.get("/readyz").status_code == 200, 60)
                    yield Running(services, server, client)
            finally:
                server.stop()
    finally:
        for process in processes:
            process.send_signal(signal.SIGTERM)
        for process in processes:
            assert process.wait(30) == 0


pytestmark = [pytest.mark.kafka, pytest.mark.postgres]


def test_a_pattern_is_live_within_a_second_and_its_alert_is_fetched_and_streamed(distributed: Running) -> None:
    http = distributed.http
    distributed.send(*(distributed.payment("other", 20) for _ in range(20)))
    http.post("/v1/patterns", content=SMALL_THEN_BIG, headers={"content-type": "application/yaml"})
    started = time.monotonic()
    assert http.post("/v1/patterns/small-then-big/activate").json()["lanes_live"]
    assert time.monotonic() - started < 1.0
    distributed.send(distributed.payment("k1", 0.5), distributed.payment("k1", 900))
    alert = distributed.alert("k1")
    assert [one["event"]["amount"] for one in http.get(f"/v1/alerts/{alert['id']}").json()["events"]] == [0.5, 900]
    (told,) = read_stream(distributed, {"Last-Event-ID": "0:0"}, 1)
    assert told[1]["id"] == alert["id"]


def test_a_decision_waits_for_the_lane_in_another_process(distributed: Running) -> None:
    path = "/v1/streams/transactions/decisions"
    first = distributed.http.post(path, json=distributed.payment("k2", 0.5)).json()
    assert (first["decision"], first["timed_out"]) == ("approve", False)
    second = distributed.http.post(path, json=distributed.payment("k2", 900)).json()
    assert (second["decision"], second["timed_out"]) == ("review", False)


def test_lanes_and_dead_letters_are_told(distributed: Running) -> None:
    topic = distributed.services.streams["transactions"].topic
    distributed.services.ingest.append(topic, [(None, b"{broken")])
    letters = wait_for(lambda: distributed.http.get("/v1/dead-letters").json()["items"])
    assert [one["text"] for one in letters] == ["{broken"]
    (lane,) = wait_for(lambda: [one for one in distributed.http.get("/v1/lanes").json()["items"] if one["lag"] == 0])
    assert lane["positions"][0]["topic"] == topic
