"""Stakeout's own processes beside the servers, as docker-compose.yml has them.

    topics create ──▶ worker ──┐
    db upgrade ─────▶ sink   ──┴─▶ api

Each runs as `python -m cep.cli COMMAND …` of this tree, by the Python that runs this, with the settings of
deploy/stakeout.env and, in `settings`, what is of this machine.
"""

from __future__ import annotations

import importlib.util
import os
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from deploy.kind import Kind, Place, ServiceError, exchange
from deploy.processes import prepare

ROOT = Path(__file__).resolve().parents[1]
SHARED = ROOT / "deploy" / "stakeout.env"
STREAMS = ROOT / "examples" / "streams" / "transactions.yaml"

STEPS = {
    "topics": ("topics", "create", "--partitions", "4"),
    "migrate": ("db", "upgrade"),
}
COMMANDS = {
    "worker": ("worker", "--metrics-port", "{port}"),
    "sink": ("sink",),
    "api": ("serve", "--port", "{port}"),
}


def settings(data: Path) -> dict[str, str]:
    """Beside the servers' addresses. The environment wins."""
    lines = [line for line in SHARED.read_text().splitlines() if line and not line.startswith("#")]
    ours = {
        **dict(line.split("=", 1) for line in lines),
        "STAKEOUT_STREAMS": str(STREAMS),
        "STAKEOUT_SERVER_KEYS": str(data / "keys.json"),
        "STAKEOUT_ADDRESS_STORE": str(data / "store"),
    }
    return {name: os.environ.get(name, value) for name, value in ours.items()}


def check_packages() -> None:
    """Raises ServiceError if this Python has none of what Stakeout needs: it may be a bare one."""
    if not importlib.util.find_spec("confluent_kafka"):
        raise ServiceError(
            f"worker, sink, api: {sys.executable} lacks the packages that Stakeout needs.\n"
            "`make up` installs them into .venv; `--only kafka,redis,postgres` starts the servers alone."
        )


def ready(host: str, port: int) -> bool:
    """GET /readyz is answered by 200."""
    reply = exchange(host, port, f"GET /readyz HTTP/1.0\r\nHost: {host}\r\n\r\n".encode())
    return reply.startswith(b"HTTP/1.") and reply.split(maxsplit=2)[1:2] == [b"200"]


def _stakeout(words: Sequence[str]) -> list[str]:
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    return ["env", f"PYTHONPATH={path}", sys.executable, "-m", "cep.cli", *words]


def _process(name: str, address: str, port: int, step: str = "") -> Kind:
    """Its kind. `step` runs to its end before each start, with a log of its own: it changes nothing the second time."""

    def command(place: Place) -> list[str]:
        if step:
            prepare(step, _stakeout(STEPS[step]), replace(place, log=place.log.with_name(f"{step}.log")))
        return _stakeout([word.format(port=place.port) for word in COMMANDS[name]])

    return Kind(
        variable="",
        address=address,
        default_port=port,
        answers=ready,
        missing=dict,
        command=command,
        environment=settings,
        settled=True,
    )


PROCESSES = {
    "worker": _process("worker", "http://127.0.0.1:{port}", 9100, step="topics"),
    "sink": _process("sink", "", 0, step="migrate"),
    "api": _process("api", "http://127.0.0.1:{port}", 8000),
}
