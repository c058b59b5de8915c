"""What the handlers work with, put together from settings. A composition root, as cep/worker.py is for lanes.

opened(settings) ─┬─ Kafka named ──▶ producer, control topic, follower of journal and alerts
                  └─ else ─────────▶ the embedded log; `embedded.run_beside` adds its lane and sink
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from sqlalchemy import Engine

from api.ingest import Ingest, KafkaIngest, SqliteIngest
from api.keys import Keys
from api.lanes import Follower, KafkaFollower, Lanes, SqliteFollower
from cep.declared import Declared, declared
from cep.lane import Clock
from cep.log.protocol import ControlLog
from cep.log.sqlite import SqliteControl, SqliteLog
from cep.registry import Registry
from cep.settings import Settings
from cep.storage import migrate
from cep.storage.database import database_url, open_database
from cep.telemetry import LaneCounts
from cep.worker import SystemClock
from events.errors import ServiceUnavailable
from events.schema import Stream, read_stream
from features.packed import Shape
from features.redis_store import RedisStore
from features.store import MemoryStore, OnlineStore


@dataclass(frozen=True, slots=True)
class Services:
    """Everything that a handler may use. Handlers run in several threads: each part may be used by any of them.

    declared: streams, views and models
    engine:   tables of alerts and cases: `cep.storage.database.reading` and `writing` give connections
    registry: the patterns, and the way to change them
    store:    the online feature store, None where there is none
    shapes:   what reads each view's states, by name
    log:      the embedded log, None with Kafka
    counts:   of the lane in this process
    stopping: set when the process ends; whoever follows something leaves
    """

    settings: Settings
    declared: Declared
    engine: Engine
    control: ControlLog
    registry: Registry
    ingest: Ingest
    follower: Follower
    keys: Keys
    clock: Clock = field(default_factory=SystemClock)
    store: OnlineStore | None = None
    shapes: Mapping[str, Shape] = field(default_factory=dict)
    log: SqliteLog | None = None
    counts: dict[int, LaneCounts] = field(default_factory=dict)
    stopping: threading.Event = field(default_factory=threading.Event)

    @property
    def streams(self) -> Mapping[str, Stream]:
        """By name, with the columns that views and models add."""
        return self.declared.streams

    @property
    def lanes(self) -> Lanes:
        """How far the lanes are, as of now."""
        self.follower.look()
        return self.follower.lanes


@contextmanager
def opened(settings: Settings) -> Iterator[Services]:
    """The services of these settings, closed at the end.

    Embedded, the tables are made or brought to the newest revision. Raises InvalidDocument for a stream that can't be
    read, ServiceUnavailable.
    """
    if not settings.streams:
        raise ServiceUnavailable("no streams are declared", "name their files: --streams, or STAKEOUT_STREAMS")
    known = declared(
        [read_stream(_text("stream", name), name) for name in settings.streams],
        {name: _text("view", name) for name in settings.views},
        {name: _text("model", name) for name in settings.models},
    )
    with ExitStack() as stack:
        url = database_url(settings)
        engine = open_database(url, connections=10)
        stack.callback(engine.dispose)
        control: ControlLog
        ingest: Ingest
        follower: Follower
        log, store = None, _store(settings, known)
        if settings.kafka.bootstrap:
            from cep.log.kafka import KafkaControl

            kafka = KafkaControl(settings.kafka, settings.app)
            kafka.prepare()
            control, ingest = kafka, KafkaIngest(settings.kafka)
            follower = KafkaFollower(settings)
        else:
            log = SqliteLog(Path(settings.embedded.path), durable=settings.embedded.durable)
            stack.callback(log.close)
            control, ingest, follower = (
                SqliteControl(log),
                SqliteIngest(log),
                SqliteFollower(log, settings.server.waiting_max),
            )
        if not settings.address.postgres:
            migrate.upgrade(url)
        for part in (control, ingest, follower):
            stack.callback(part.close)
        registry = Registry(control)
        registry.patterns()
        services = Services(
            settings=settings,
            declared=known,
            engine=engine,
            control=control,
            registry=registry,
            ingest=ingest,
            follower=follower,
            keys=Keys(Path(settings.server.keys)),
            log=log,
            store=store,
            shapes={view.name: Shape(view) for view in known.views},
        )
        if store is not None:
            stack.callback(store.close)
        stack.callback(services.stopping.set)
        yield services


def _store(settings: Settings, known: Declared) -> OnlineStore | None:
    """Where features are read from: Redis, or this process if its own lane fills it."""
    if not known.views:
        return None
    if settings.address.redis:
        return RedisStore(settings.address.redis, settings.app)
    return None if settings.kafka.bootstrap else MemoryStore()


def _text(what: str, name: str) -> str:
    try:
        return Path(name).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ServiceUnavailable(f"{what} {name}: {error}", "name a file that can be read") from error
