"""`stakeout demo`: server, lane, sink and simulator in one process, and the dashboard to watch them by."""

from __future__ import annotations

import argparse
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import uvicorn

from api.app import create_app
from api.embedded import Beside
from api.lanes import lag
from api.routes.lanes import ends_of
from api.serve import listen
from api.services import Services, opened
from cep.cli import trial
from cep.demo import WAIT_S, House, activate
from cep.language.pattern import Pattern
from cep.log.sqlite import SqliteLog
from cep.settings import Settings
from events.errors import ServiceUnavailable

START_SECONDS = 10.0
"""How long the server may take to answer."""


def demo(options: argparse.Namespace) -> int:
    """The command."""
    return trial.demo(options, served)


@dataclass(slots=True)
class _Served:
    """The lane in a thread of its own, as `stakeout serve` has it."""

    log: SqliteLog
    told: str
    services: Services

    def turn(self) -> None:
        """See House."""
        time.sleep(WAIT_S)

    def settle(self, seconds: float) -> None:
        """See House."""
        until = time.monotonic() + seconds
        while time.monotonic() < until and any(lag(self.services.lanes.statuses(), ends_of(self.services)).values()):
            time.sleep(WAIT_S)


@contextmanager
def served(settings: Settings, patterns: list[Pattern]) -> Iterator[House]:
    """A server on the settings' port, or on any that is free where that one is another's."""
    with opened(settings) as services:
        assert services.log is not None, "the demo has no Kafka"
        activate(services.log, patterns)
        with Beside(services):
            listening = _listen(settings)
            config = uvicorn.Config(create_app(services), log_level="warning", access_log=False, server_header=False)
            server = uvicorn.Server(config)
            thread = threading.Thread(target=server.run, args=([listening],), name="http", daemon=True)
            thread.start()
            try:
                _await(server)
                host, port = listening.getsockname()[:2]
                yield _Served(services.log, f"dashboard: http://{host}:{port}/", services)
            finally:
                services.stopping.set()
                server.should_exit = True
                thread.join()


def _listen(settings: Settings) -> socket.socket:
    try:
        return listen(settings.server.host, settings.server.port)
    except ServiceUnavailable:
        return listen(settings.server.host, 0)


def _await(server: uvicorn.Server) -> None:
    until = time.monotonic() + START_SECONDS
    while not server.started:
        if time.monotonic() > until:
            raise ServiceUnavailable("the demo's server didn't start", "is the machine very busy? try again")
        time.sleep(0.01)
