"""`make up` for real: every server and process, a fraud through all of them, and nothing left afterwards."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import httpx2
import pytest

from deploy.kind import ServiceError
from deploy.processes import bindable, members
from deploy.servers import TOPOLOGY, start
from tests.api.world import PATTERN, YAML, eventually, lines
from tests.deployed import SCRIPT, of_folder, own_servers, script, wait_until_empty

pytestmark = [pytest.mark.slow]


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path
    if (tmp_path / "services.json").exists():
        script("down", "--dir", str(tmp_path))


def state(folder: Path) -> tuple[dict[str, dict[str, object]], str]:
    """What runs there by name, and where its data is."""
    kept = json.loads((folder / "services.json").read_text())
    return {service["name"]: service for service in kept["services"]}, kept["data"]


def payment(number: int, amount: float) -> dict[str, object]:
    return {
        "transaction_id": f"t{number}",
        "card_id": "card-1",
        "at": time.time_ns() // 1_000_000,
        "amount": amount,
        "currency": "EUR",
        "country": "DE",
        "merchant_id": "m1",
        "channel": "pos",
        "approved": True,
    }


def running_in(data: str) -> set[str]:
    """Whose processes there are."""
    return {name for name in TOPOLOGY if members(Path(data, name))}


def test_a_fraud_passes_through_the_whole_topology_and_down_leaves_nothing(folder: Path) -> None:
    """api → Kafka → worker → Kafka → sink → Postgres → api; the usual ports may be taken."""
    with ExitStack() as taken:
        for port in (8000, 9100):
            if bindable(port):
                taken.enter_context(socket.create_server(("127.0.0.1", port)))
        up = script("up", "--dir", str(folder))
    assert up.returncode == 0, up.stderr
    running, data = state(folder)
    assert list(running) == list(TOPOLOGY)
    assert running_in(data) == set(TOPOLOGY)
    api = str(running["api"]["address"])
    assert not {8000, 9100} & {service["port"] for service in running.values()}
    assert f"{api}/docs" in up.stdout
    assert all(str(service["address"]) in up.stdout for service in running.values())

    with httpx2.Client(base_url=api) as client:
        assert client.get("/readyz").json()["checks"] == {"log": "ok", "lanes": "ok", "database": "ok"}
        name = client.post("/v1/patterns", content=PATTERN, headers=YAML).json()["name"]
        client.post(f"/v1/patterns/{name}/activate").raise_for_status()
        eventually(lambda: client.get(f"/v1/patterns/{name}").json()["applied"])
        sent = lines(payment(1, 0.5), payment(2, 900.0))
        written = client.post("/v1/events", content=sent, headers={"Content-Type": "application/x-ndjson"})
        assert written.status_code == 202, written.text
        (alert,) = eventually(lambda: client.get("/v1/alerts", params={"key": "card_id=card-1"}).json()["items"])
        assert alert["pattern"] == "small-then-big"
        assert "small-then-big" in client.get("/").text, "the dashboard's queue shows it"

    again = script("up", "--dir", str(folder))
    assert (again.returncode, again.stdout) == (0, up.stdout)
    assert "already" in again.stderr

    os.kill(int(str(running["sink"]["pid"])), signal.SIGKILL)
    eventually(lambda: "sink" not in running_in(data))
    away = script("up", "--dir", str(folder))
    assert (away.returncode, away.stdout) == (1, "")
    assert "not all of them: sink doesn't answer" in away.stderr

    down = script("down", "--dir", str(folder))
    assert down.returncode == 0, down.stderr
    assert of_folder(data) == []
    assert of_folder(str(folder)) == []
    assert not Path(data).exists()
    assert json.loads((folder / "worker.log").read_text().splitlines()[-1])["event"] == "ended", "it was asked to"
    assert "no services are up" in script("down", "--dir", str(folder)).stderr


def test_a_process_that_dies_while_starting_is_named_with_its_log_and_everything_ends(folder: Path) -> None:
    """The api's keys can't be read: worker, sink and servers, which run by then, are ended."""
    (folder / "keys").write_text("no keys")
    up = script("up", "--dir", str(folder), STAKEOUT_SERVER_KEYS=str(folder / "keys"))
    assert up.returncode == 1
    assert up.stdout == ""
    assert "services: api: ended with 2 instead of starting. The end of its log" in up.stderr
    assert str(folder / "keys") in up.stderr, "its log says which file"
    assert "then start again" in up.stderr
    assert (folder / "worker.log").exists()
    assert wait_until_empty(str(folder)) == []
    assert not (folder / "services.json").exists()


def test_a_step_that_fails_is_named_with_its_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Topics can't be made where no Kafka is: the worker isn't started, and nothing is left."""
    monkeypatch.delenv("STAKEOUT_KAFKA", raising=False)
    with pytest.raises(
        ServiceError, match=r"(?s)topics: .*topics create .* ended with.*no Kafka is named.*start again"
    ):
        start(["worker"], tmp_path, environ={})
    assert {path.name for path in tmp_path.iterdir()} == {"topics.log", "watch.log"}


def test_a_python_without_packages_starts_servers_and_says_what_the_rest_needs(folder: Path) -> None:
    """The script and its files need the standard library alone."""
    bare = [sys.executable, "-S", "-I", SCRIPT]
    up = subprocess.run([*bare, "up", "--dir", str(folder)], capture_output=True, text=True, env=own_servers())
    assert up.returncode == 1
    assert "lacks the packages that Stakeout needs.\n`make up` installs them" in up.stderr
    assert list(folder.iterdir()) == []
    run = subprocess.run([*bare, "run", "--only", "redis", "--", "true"], env=own_servers())
    assert run.returncode == 0
