"""`stakeout serve` as a process: it starts, is killed, comes back, ends when it is asked to."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx2
import pytest

from tests.api.world import PATTERN, STREAM, YAML, World, eventually


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


@contextmanager
def served(folder: Path, *more: str) -> Iterator[tuple[subprocess.Popen[str], httpx2.Client]]:
    port = free_port()
    environ = {
        **os.environ,
        "STAKEOUT_EMBEDDED_PATH": str(folder / "log.db"),
        "STAKEOUT_SERVER_KEYS": str(folder / "keys.json"),
    }
    for name in ("STAKEOUT_KAFKA", "STAKEOUT_POSTGRES", "STAKEOUT_REDIS"):
        environ.pop(name, None)
    command = [sys.executable, "-m", "cep.cli", "serve", "--streams", str(STREAM), "--port", str(port), *more]
    with (
        subprocess.Popen(command, env=environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process,
        httpx2.Client(base_url=f"http://127.0.0.1:{port}") as client,
    ):
        try:
            yield process, client
        finally:
            process.kill()


def answers(client: httpx2.Client, path: str) -> bool:
    try:
        return client.get(path).status_code == 200
    except httpx2.TransportError:
        return False


@pytest.mark.slow
def test_killed_in_the_middle_of_a_match_it_comes_back_and_alerts_once(tmp_path: Path) -> None:
    with served(tmp_path) as (process, client):
        eventually(lambda: answers(client, "/readyz"))
        assert client.post("/v1/patterns", content=PATTERN, headers=YAML).status_code == 201
        assert client.post("/v1/patterns/small-then-big/activate").status_code == 202
        eventually(lambda: client.get("/v1/patterns/small-then-big").json()["applied"])
        events = World(client, None)  # type: ignore[arg-type]  # only its events are of use here
        assert client.post("/v1/decisions", json=events.event("c1", 0.5)).json()["decision"] == "approve"
        process.send_signal(signal.SIGKILL)
        process.wait(10)
    with served(tmp_path) as (process, client):
        eventually(lambda: answers(client, "/readyz"))
        assert client.get("/v1/patterns").json()["items"][0]["state"] == "live"
        assert client.post("/v1/decisions", json=events.event("c1", 900.0)).json()["decision"] == "review"
        eventually(lambda: len(client.get("/v1/alerts").json()["items"]) == 1)
        assert "stakeout_alerts_total" in client.get("/metrics").text
        told = client.get("/metrics").text
        assert 'stakeout_http_requests_total{method="GET",route="/metrics",status="200"} 1.0' in told
        assert "GET /v1/alerts" in client.get("/docs").text
        with client.stream("GET", "/v1/alerts/stream") as following:
            assert following.status_code == 200
            process.send_signal(signal.SIGTERM)  # with a connection that follows alerts
            assert process.wait(15) == 0


def test_an_address_that_strangers_reach_needs_a_key(tmp_path: Path) -> None:
    with served(tmp_path, "--host", "0.0.0.0") as (process, _):
        _, told = process.communicate(timeout=60)
        assert process.returncode == 2
        assert "no key is configured" in told
        assert "stakeout keys add" in told


def test_a_port_that_is_taken_is_said(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with served(tmp_path, "--port", str(taken.getsockname()[1])) as (process, _):
            _, told = process.communicate(timeout=60)
    assert process.returncode == 2
    assert "can't be listened on" in told
