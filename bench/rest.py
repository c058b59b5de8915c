"""REST on real services: how long a decision takes, and how fast features are read.

    live       here ── POST /v1/patterns, …/activate ──▶ serve ──▶ control topic ──▶ worker ──▶ journal ──▶ here
    decision   here ── POST /v1/decisions ──▶ serve ──▶ topic ──▶ worker ──▶ journal ──▶ serve ──▶ here
    features   here ── POST /get-online-features ──▶ serve ──▶ Redis

Server and worker are the product's, each a process of its own, with settings by environment. Requests of a decision are
sent when they are due, whether those before are answered or not: a delay counts from then.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from http.client import HTTPConnection
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
from confluent_kafka import Producer

from bench.data import EPOCH_MS
from bench.lane import PATIENCE_S, ROOT, LaneError, Row, application, end_process, producer_settings, worker
from bench.lane import WARM_SECONDS as BROKER_WARM_SECONDS
from bench.works import STREAM, WORKS
from cep.settings import Kafka

RATE = 200
SECONDS = 20
WARM_SECONDS = 10
CONNECTIONS = 16
GOAL_MS = 25.0

FLOW = 5000
LIVE_PATTERNS = 20
GOAL_LIVE_MS = 1000.0

FEATURES = 50
READS = 3000
GOAL_READ_MS = 1.5
GOAL_READS = 2000.0

Ask = Callable[[HTTPConnection, int], None]


def rows(kafka: Kafka) -> Iterator[Row]:
    """Decisions, a pattern that goes live, features. Raises LaneError."""
    yield from decisions(kafka)
    yield live(kafka)
    yield from features()


def decisions(kafka: Kafka) -> list[Row]:
    """Two rows: p50 and p99 at RATE requests a second."""
    topic = f"bench-rest-{uuid.uuid4().hex[:8]}"
    settings = {"STAKEOUT_KAFKA": kafka.bootstrap}
    with (
        application(kafka, topic, WORKS["small_big"], {topic: 1}) as app,
        worker(kafka, app, topic) as process,
    ):
        process.await_live()
        declared = STREAM.replace("topic: transactions", f"topic: {topic}")
        with serving({**settings, "STAKEOUT_APP": app}, declared) as port:
            at_rate(port, decide, RATE, BROKER_WARM_SECONDS)  # a delay is measured on a warm broker (decision 10)
            took = at_rate(port, decide, RATE, SECONDS)
    p50, p99 = np.percentile(took, (50, 99))
    note = f"{RATE} requests/s for {SECONDS} s, Kafka, one worker, {BROKER_WARM_SECONDS} s of warm-up left out"
    goal = f", goal p99 {GOAL_MS:g} ms {'met' if p99 <= GOAL_MS else 'missed'}"
    return [("api/decision_p50", p50, None, "ms", note), ("api/decision_p99", p99, None, "ms", note + goal)]


def live(kafka: Kafka) -> Row:
    """The longest of LIVE_PATTERNS times from a pattern's registration until its lane has applied it, in traffic."""
    topic, took = f"bench-rest-{uuid.uuid4().hex[:8]}", []
    with application(kafka, topic, WORKS["small_big"], {topic: 4}) as app, worker(kafka, app, topic) as process:
        process.await_live()
        declared = STREAM.replace("topic: transactions", f"topic: {topic}")
        settings = {"STAKEOUT_KAFKA": kafka.bootstrap, "STAKEOUT_APP": app}
        with serving(settings, declared) as port, flowing(kafka, topic):
            connection = HTTPConnection("127.0.0.1", port)
            time.sleep(WARM_SECONDS)
            for number in range(LIVE_PATTERNS):
                document = {**WORKS["small_big"][0], "name": f"later-{number}"}
                started = time.perf_counter()
                _post(connection, "/v1/patterns", json.dumps(document).encode(), 201)
                _post(connection, f"/v1/patterns/later-{number}/activate", b"", 202)
                while not _told(connection, f"/v1/patterns/later-{number}")["applied"]:
                    if time.perf_counter() - started > PATIENCE_S:
                        raise LaneError("a pattern never went live")
                    time.sleep(0.005)
                took.append((time.perf_counter() - started) * 1000)
    longest = max(took)
    note = f"longest of {LIVE_PATTERNS}, registered and activated over REST at {FLOW:,} events/s on 4 partitions"
    return "api/pattern_live", longest, None, "ms", f"{note}, goal {GOAL_LIVE_MS:g} ms {_met(longest <= GOAL_LIVE_MS)}"


@contextmanager
def flowing(kafka: Kafka, topic: str) -> Iterator[None]:
    """FLOW events a second come in meanwhile."""
    ended = threading.Event()

    def work() -> None:
        producer, began, sent = Producer(producer_settings(kafka)), time.perf_counter(), 0
        while not ended.wait(0.01):
            while sent < (time.perf_counter() - began) * FLOW:
                card = f"card-{sent % 1000}"
                producer.produce(topic, event(sent, sent % 1000, EPOCH_MS + sent // 5), card.encode())
                sent += 1
            producer.poll(0)
        producer.flush(10)

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def features() -> list[Row]:
    """Two rows: p99 of a read of one entity's FEATURES, and reads per second, on one connection."""
    redis = os.environ.get("STAKEOUT_REDIS")
    if not redis:
        raise LaneError("no Redis is named: STAKEOUT_REDIS is empty. `make bench` starts one")
    lines = [
        f"  - {{name: f{number}, aggregate: {('count', 'sum(amount)', 'max(amount)')[number % 3]}, "
        f"window: {{sliding: {number + 1}h}}}}"
        for number in range(FEATURES)
    ]
    view = "\n".join(["view: card", "entity: [card_id]", "features:", *lines, ""])
    settings = {"STAKEOUT_REDIS": redis, "STAKEOUT_APP": f"bench-{uuid.uuid4().hex[:8]}"}
    with serving(settings, STREAM, view) as port:
        connection = HTTPConnection("127.0.0.1", port)
        for number in range(600):
            body = event(number, number % 10, int(time.time() * 1000))
            _post(connection, "/v1/events", body, 202)
        asked = {"features": [f"card:f{number}" for number in range(FEATURES)], "entities": {"card_id": ["card-1"]}}
        body = json.dumps(asked).encode()
        until = time.monotonic() + PATIENCE_S
        while b"NOT_FOUND" in _post(connection, "/get-online-features", body, 200):
            if time.monotonic() > until:
                raise LaneError("the features of the events never came to Redis")
            time.sleep(0.05)
        took = []
        for number in range(READS):
            started = time.perf_counter()
            _post(connection, "/get-online-features", body, 200)
            if number >= READS // 10:
                took.append((time.perf_counter() - started) * 1000)
    p99, per_second = float(np.percentile(took, 99)), 1000 / float(np.mean(took))
    note = f"one entity x {FEATURES} features, Redis, one connection"
    return [
        ("api/features_p99", p99, None, "ms", f"{note}, goal {GOAL_READ_MS:g} ms {_met(p99 <= GOAL_READ_MS)}"),
        (
            "api/features_rps",
            per_second,
            None,
            "reads/s",
            f"{note}, goal {GOAL_READS:g} {_met(per_second >= GOAL_READS)}",
        ),
    ]


def _met(is_so: bool) -> str:
    return "met" if is_so else "missed"


def at_rate(port: int, ask: Ask, rate: int, seconds: int) -> list[float]:
    """Milliseconds of each request, from when it was due. Raises LaneError where one was not answered as it must be."""
    took, wrong, numbers = list[float](), list[str](), count()
    began = time.perf_counter() + 0.1

    def work() -> None:
        connection = HTTPConnection("127.0.0.1", port, timeout=30)
        while (number := next(numbers)) < rate * seconds and not wrong:
            due = began + number / rate
            time.sleep(max(0.0, due - time.perf_counter()))
            try:
                ask(connection, number)
            except (OSError, LaneError) as error:
                wrong.append(str(error))
            took.append((time.perf_counter() - due) * 1000)

    threads = [threading.Thread(target=work) for _ in range(CONNECTIONS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if wrong:
        raise LaneError(f"REST: {wrong[0]}")
    return took


def decide(connection: HTTPConnection, number: int) -> None:
    """One event that completes nothing, and its decision."""
    told = json.loads(_post(connection, "/v1/decisions", event(number, number % 1000, EPOCH_MS + number), 200))
    if told["timed_out"]:
        raise LaneError(f"a decision timed out after {told['waited_ms']} ms")


def event(number: int, card: int, at_ms: int) -> bytes:
    """A payment as the stream of the works declares it."""
    return json.dumps(
        {
            "transaction_id": f"t{number}",
            "card_id": f"card-{card}",
            "event_time": at_ms,
            "amount": 20.0 + number % 50,
            "country": "DE",
        }
    ).encode()


def _post(connection: HTTPConnection, path: str, body: bytes, status: int) -> bytes:
    connection.request("POST", path, body, {"Content-Type": "application/json"})
    answer = connection.getresponse()
    told = answer.read()
    if answer.status != status:
        raise LaneError(f"POST {path}: {answer.status} {told[:300]!r}")
    return told


def _told(connection: HTTPConnection, path: str) -> dict[str, Any]:
    connection.request("GET", path)
    told: dict[str, Any] = json.loads(connection.getresponse().read())
    return told


@contextmanager
def serving(settings: Mapping[str, str], stream: str, view: str = "") -> Iterator[int]:
    """A server with these settings and else its defaults; yields its port once it is ready."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with tempfile.TemporaryDirectory(prefix="stakeout-bench-") as name:
        folder = Path(name)
        (folder / "stream.yaml").write_text(stream)
        (folder / "view.yaml").write_text(view)
        environ = {key: value for key, value in os.environ.items() if not key.startswith("STAKEOUT_")}
        kept = {key: os.environ[key] for key in ("STAKEOUT_CACHE",) if key in os.environ}
        ours: dict[str, Any] = {
            "STAKEOUT_STREAMS": folder / "stream.yaml",
            "STAKEOUT_EMBEDDED_PATH": folder / "log.db",
            "STAKEOUT_SERVER_KEYS": folder / "keys.json",
            **({"STAKEOUT_VIEWS": folder / "view.yaml"} if view else {}),
        }
        environ |= kept | {key: str(value) for key, value in ours.items()} | dict(settings)
        log = folder / "serve.log"
        with log.open("wb") as output:
            command = [sys.executable, "-m", "cep.cli", "serve", "--port", str(port)]
            popen = subprocess.Popen(command, cwd=ROOT, env=environ, stdout=output, stderr=output)
        try:
            _await_ready(port, popen, log)
            yield port
        finally:
            end_process(popen)


def _await_ready(port: int, popen: subprocess.Popen[bytes], log: Path) -> None:
    until = time.monotonic() + PATIENCE_S
    while time.monotonic() < until and popen.poll() is None:
        with suppress(OSError):
            connection = HTTPConnection("127.0.0.1", port, timeout=5)
            connection.request("GET", "/readyz")
            if connection.getresponse().status == 200:
                return
        time.sleep(0.1)
    raise LaneError(f"the server did not become ready:\n{log.read_text()[-2000:]}")
