"""Redis, with an append-only file."""

from __future__ import annotations

import shutil

from deploy.kind import Kind, Place, exchange

# The file is written before each reply, so that a killed server comes back with what it said it had.
DURABLE = ["--appendonly", "yes", "--save", ""]


def answers(host: str, port: int) -> bool:
    """PING is answered, or a password is asked for."""
    return exchange(host, port, b"PING\r\n").startswith((b"+PONG", b"-NOAUTH"))


def _missing() -> dict[str, str]:
    return {} if shutil.which("redis-server") else {"redis-server": "redis-server"}


def _command(place: Place) -> list[str]:
    where = ["--bind", "127.0.0.1", "--port", str(place.port), "--dir", str(place.data)]
    return ["redis-server", *where, "--daemonize", "no", *DURABLE]


def _docker(port: int) -> list[str]:
    return ["-p", f"127.0.0.1:{port}:6379", "redis:7", "redis-server", *DURABLE]


REDIS = Kind(
    variable="STAKEOUT_REDIS",
    address="redis://127.0.0.1:{port}/0",
    default_port=6379,
    answers=answers,
    missing=_missing,
    command=_command,
    docker=_docker,
)
