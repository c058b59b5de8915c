"""What a server must tell of its kind, so that it can be started, asked and ended like any other."""

from __future__ import annotations

import signal
import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path


class ServiceError(Exception):
    """A service can't be had, started or stopped: which, why, and the remedy."""


@dataclass(frozen=True)
class Place:
    """Where one is run: its own data folder, its port, the file of its output.

    environment: variables beside ours, the addresses of those that were started before among them
    user:        None: we
    """

    data: Path
    port: int
    log: Path
    environment: Mapping[str, str] = field(default_factory=dict)
    user: str | None = None


@dataclass(frozen=True)
class Kind:
    """What differs from one to the next.

    variable:    its address has this name in the environment: one that others run, or ours; empty: always ours
    address:     with {port}; empty: it has no door, and counts as up as long as it runs
    answers:     does it speak its protocol at this host and port?
    missing:     program → Debian package
    command:     lays out the data folder if it is empty, and returns what to run
    docker:      options, image and arguments of `docker run`; None: never in a container
    environment: further variables for it and its clients, given the folder of all data
    user:        runs a service that refuses root
    settled:     takes default_port if that is free, so that people find it; else any free one
    """

    variable: str
    address: str
    default_port: int
    answers: Callable[[str, int], bool]
    missing: Callable[[], dict[str, str]]
    command: Callable[[Place], list[str]]
    docker: Callable[[int], list[str]] | None = None
    environment: Callable[[Path], Mapping[str, str]] = lambda data: {}
    stop_signal: signal.Signals = signal.SIGTERM
    user: str | None = None
    settled: bool = False


def exchange(host: str, port: int, request: bytes) -> bytes:
    """The first packet of the answer; empty if there is none within two seconds."""
    try:
        with socket.create_connection((host, port), timeout=2.0) as connection:
            connection.sendall(request)
            return connection.recv(512)
    except OSError:
        return b""
