"""Postgres, without a password, on loopback only."""

from __future__ import annotations

import os
import shutil
import signal
import struct
from pathlib import Path

from deploy.kind import Kind, Place, exchange
from deploy.processes import prepare


def answers(host: str, port: int) -> bool:
    """A start-up message is answered by R (authentication) or E (an error), and not by 'cannot connect now'."""
    body = struct.pack(">i", 196608) + b"user\0postgres\0database\0postgres\0\0"
    reply = exchange(host, port, struct.pack(">i", len(body) + 4) + body)
    return reply[:1] in (b"R", b"E") and b"57P03" not in reply


def _programs() -> Path | None:
    """The folder that has both initdb and postgres: of the PATH, else Debian's newest."""
    debian = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: (len(path.parent.name), path))
    on_path = [Path(folder) for folder in os.get_exec_path()]
    for folder in [*on_path, *reversed(debian)]:
        if all(shutil.which(program, path=str(folder)) for program in ("initdb", "postgres")):
            return folder
    return None


def _missing() -> dict[str, str]:
    return {} if _programs() else {"postgres": "postgresql"}


def _command(place: Place) -> list[str]:
    programs = _programs()
    assert programs, "obtained before"
    if not (place.data / "PG_VERSION").exists():
        shape = ["--username=postgres", "--auth=trust", "--encoding=UTF8", "--locale=C.UTF-8", "--no-sync"]
        prepare("postgres", [f"{programs}/initdb", "-D", str(place.data), *shape], place)
    settings = [f"port={place.port}", "listen_addresses=127.0.0.1", "unix_socket_directories="]
    return [f"{programs}/postgres", "-D", str(place.data), *(word for setting in settings for word in ("-c", setting))]


def _docker(port: int) -> list[str]:
    return ["-p", f"127.0.0.1:{port}:5432", "-e", "POSTGRES_HOST_AUTH_METHOD=trust", "postgres:15"]


POSTGRES = Kind(
    variable="STAKEOUT_POSTGRES",
    address="postgresql+psycopg://postgres@127.0.0.1:{port}/postgres",
    default_port=5432,
    answers=answers,
    missing=_missing,
    command=_command,
    docker=_docker,
    stop_signal=signal.SIGINT,  # the fast shutdown: SIGTERM waits for every client to leave
    user="postgres",
)
