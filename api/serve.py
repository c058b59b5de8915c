"""`stakeout serve`: REST and dashboard. A composition root.

no Kafka named ──▶ server, lane and sink in this one process, on the embedded log
Kafka          ──▶ the server alone; `stakeout worker` and `stakeout sink` are processes of their own
"""

from __future__ import annotations

import argparse
import ipaddress
import logging
import socket
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
import uvicorn

from api.app import create_app
from api.follow import Follower
from api.ingest import Ingest, KafkaIngest, SqliteIngest
from api.services import Services, wall_us
from api.tails import KafkaTail, SqliteTail
from cep.cli.configured import say, settings_of, streams_of, with_streams
from cep.lane import Lane
from cep.log.kafka import KafkaControl
from cep.log.protocol import ControlLog
from cep.log.sqlite import SqliteControl, SqliteLog
from cep.registry import Registry
from cep.settings import Settings
from cep.storage import migrate
from cep.storage.database import database_url, open_database
from cep.storage.outputs import SqliteOutputs
from cep.storage.sink import AlertSink
from cep.telemetry import log_to_stderr, render
from cep.worker import EXIT_LOOK, EXIT_RESTART, Collector, SystemClock, embedded_lane, production
from events.errors import Fenced, InvalidDocument, Problem, ServiceUnavailable, StakeoutError
from events.schema import Stream

DRAIN_SECONDS = 3
"""How long requests that are at work may take when the server is asked to end."""


def serve(options: argparse.Namespace) -> int:
    """The command."""
    settings = with_streams(options, settings_of(options))
    given = {name: value for name, value in (("host", options.host), ("port", options.port)) if value is not None}
    settings = msgspec.structs.replace(settings, serve=msgspec.structs.replace(settings.serve, **given))
    streams = streams_of(options, settings)
    log = log_to_stderr(settings.worker.log_level)
    if not settings.kafka.bootstrap:
        migrate.upgrade(database_url(settings))
    with opened(settings, streams, log) as (services, engine):
        check_address(services)
        server = Server(services)
        for line in server.lines():
            say(line)
        server.run(until=engine.failed if engine else None)
    if engine is not None and engine.error is not None:
        log.error("stopped", extra={"told": {"kind": type(engine.error).__name__, "error": str(engine.error)}})
        return EXIT_RESTART if isinstance(engine.error, Fenced | ServiceUnavailable) else EXIT_LOOK
    return 0


def check_address(services: Services) -> None:
    """Without any API key only a loopback address. Raises InvalidDocument."""
    host = services.settings.serve.host
    if services.keys.known() or _is_loopback(host):
        return
    hint = "make one: `stakeout keys add NAME --role operator`; or listen on 127.0.0.1"
    raise InvalidDocument(
        "settings", [Problem("serve.host", f"without any API key {host} would let everybody in", hint)]
    )


@contextmanager
def opened(
    settings: Settings, streams: Mapping[str, Stream], log: logging.Logger
) -> Iterator[tuple[Services, Embedded | None]]:
    """The services of a server, following already; embedded with the engine at work. Raises what opening raises."""
    if settings.kafka.bootstrap:
        topics = [stream.topic for stream in streams.values()]
        control, tail = KafkaControl(settings.kafka, settings.app), KafkaTail(settings, topics)
        services = _services(settings, streams, log, control, KafkaIngest(settings.kafka), Follower(tail, log))
        try:
            services.follower.start()
            yield services, None
        finally:
            services.close()
        return
    sqlite = SqliteLog(Path(settings.embedded.path), durable=settings.embedded.durable)
    try:
        engine = Embedded(settings, sqlite, log)
        topics = [stream.topic for stream in streams.values()]
        follower = Follower(SqliteTail(sqlite, topics), log)
        services = _services(settings, streams, log, SqliteControl(sqlite), SqliteIngest(sqlite), follower)
        services.metrics = lambda: render({0: engine.lane.counts})
        try:
            follower.start()
            engine.start()
            yield services, engine
        finally:
            engine.close()
            services.close()
    finally:
        sqlite.close()


def _services(
    settings: Settings,
    streams: Mapping[str, Stream],
    log: logging.Logger,
    control: ControlLog,
    ingest: Ingest,
    follower: Follower,
) -> Services:
    engine = open_database(database_url(settings))
    return Services(settings, streams, engine, Registry(control, wall_us), ingest, follower, log)


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


@dataclass
class Embedded:
    """The lane and the sink of the embedded log, each in a thread. `failed` is set when the lane can't go on."""

    settings: Settings
    sqlite: SqliteLog
    log: logging.Logger
    error: StakeoutError | None = None
    failed: threading.Event = field(default_factory=threading.Event)
    _stopped: threading.Event = field(default_factory=threading.Event)
    _threads: list[threading.Thread] = field(default_factory=list)
    lane: Lane = field(init=False)

    def __post_init__(self) -> None:
        self.lane = embedded_lane(self.settings, production(self.settings), self.sqlite)

    def start(self) -> None:
        """Begins to match and to fill the tables."""
        for name, run in (("lane", self._run_lane), ("sink", self._run_sink)):
            thread = threading.Thread(target=run, name=name, daemon=True)
            self._threads.append(thread)
            thread.start()

    def close(self) -> None:
        """Commits what was decided and ends both. Idempotent."""
        self._stopped.set()
        while self._threads:
            self._threads.pop().join()

    def _run_lane(self) -> None:
        try:
            for _ in self.lane.restore():
                if self._stopped.is_set():
                    return
            collector = Collector(self.settings.lane.collect_ms * 1000, SystemClock())
            while not self._stopped.is_set():
                collector.turn(self.lane.step(0.02))
            self.lane.flush()
        except StakeoutError as error:
            self.error = error
            self.failed.set()
        finally:
            self.lane.close()

    def _run_sink(self) -> None:
        engine = open_database(database_url(self.settings), connections=1)
        source = SqliteOutputs(self.sqlite)
        try:
            AlertSink(source, engine, log=self.log).run(self._stopped.is_set)
        except StakeoutError as error:
            self.log.error("sink stopped", extra={"told": {"error": str(error)}})
        finally:
            source.close()
            engine.dispose()


class Server:
    """HTTP on an address that is taken when it is made. Raises ServiceUnavailable where it is another's."""

    def __init__(self, services: Services) -> None:
        self._services = services
        wanted = services.settings.serve
        family = socket.AF_INET6 if ":" in wanted.host else socket.AF_INET
        self._socket = socket.socket(family, socket.SOCK_STREAM)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            self._socket.bind((wanted.host, wanted.port))
        except OSError as error:
            self._socket.close()
            hint = "name another port: --port, or STAKEOUT_SERVE_PORT; 0 takes a free one"
            raise ServiceUnavailable(f"{wanted.host}:{wanted.port}: {error.strerror}", hint) from error
        self.port: int = self._socket.getsockname()[1]
        config = uvicorn.Config(
            create_app(services), log_level="warning", log_config=None, timeout_graceful_shutdown=DRAIN_SECONDS
        )
        self._uvicorn = uvicorn.Server(config)

    @property
    def url(self) -> str:
        """Where it listens."""
        host = self._services.settings.serve.host
        return f"http://{f'[{host}]' if ':' in host else host}:{self.port}"

    def lines(self) -> list[str]:
        """What a person should know when it starts."""
        told = [f"listening on {self.url}  (REST: {self.url}/docs)"]
        if not self._services.keys.known():
            told.append("no API key: everybody on this machine may do everything; `stakeout keys add` makes one")
        return told

    def run(self, until: threading.Event | None = None) -> None:
        """Serves until SIGINT or SIGTERM, `stop`, or until `until` is set."""
        if until is not None:
            threading.Thread(target=self._end_when, args=(until,), daemon=True).start()
        self._uvicorn.run([self._socket])

    def start(self) -> None:
        """Serves in a thread; returns once it answers."""
        self._thread = threading.Thread(target=self.run, name="http", daemon=True)
        self._thread.start()
        while not self._uvicorn.started:
            time.sleep(0.01)

    def stop(self) -> None:
        """Ends what `start` began."""
        self._uvicorn.should_exit = True
        self._thread.join()

    def _end_when(self, event: threading.Event) -> None:
        event.wait()
        self._uvicorn.should_exit = True
