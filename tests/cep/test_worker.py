"""What a worker says when it can't go on: the exit code, and the line in its log."""

from __future__ import annotations

import json
import signal
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from cep.log.kafka_group import Group
from cep.settings import Embedded, Kafka, Settings
from cep.worker import EXIT_LOOK, run_worker

STREAM = """
stream: tx
topic: tx
event_time: {field: at, format: epoch_ms}
key: [card]
fields: {card: string, at: instant}
"""


@pytest.fixture(autouse=True)
def _signals_as_they_were() -> Iterator[None]:
    """A worker takes SIGTERM and SIGINT for itself."""
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def told(capsys: pytest.CaptureFixture[str]) -> dict[str, str]:
    line: dict[str, str] = json.loads(capsys.readouterr().err.splitlines()[-1])
    return line


def test_a_missing_input_file_needs_a_person_not_a_restart(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    stream = tmp_path / "tx.yaml"
    stream.write_text(STREAM)
    settings = Settings(
        streams=(str(stream),),
        files={"tx": str(tmp_path / "gone.ndjson")},
        embedded=Embedded(path=str(tmp_path / "log.db")),
    )
    assert run_worker(settings, {}) == EXIT_LOOK
    assert "gone.ndjson: No such file" in told(capsys)["error"]


def test_a_missing_stream_needs_a_person_not_a_restart(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    settings = Settings(streams=(str(tmp_path / "gone.yaml"),), embedded=Embedded(path=str(tmp_path / "log.db")))
    assert run_worker(settings, {}) == EXIT_LOOK
    assert "gone.yaml" in told(capsys)["error"]


def test_a_broker_that_is_away_is_told_when_it_happens_and_not_again_at_each_attempt() -> None:
    """The client repeats it twice a second; one line for ten seconds is enough."""
    heard: list[str] = []
    with socket.socket() as taken:  # bound, not listening: whoever connects is refused
        taken.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        group = Group(Kafka(bootstrap=address), "app", "worker-0", lambda lanes: None, heard.append)
        until_s = time.monotonic() + 3
        while time.monotonic() < until_s:
            group.poll(0.1)
        group.close()
    assert len(heard) == 1
    assert "down" in heard[0]
