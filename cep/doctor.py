"""`stakeout doctor`: what is reachable, what is misconfigured, and what to do about it.

Every finding stands by itself: one that fails doesn't hide the next. Nothing is changed anywhere.
"""

from __future__ import annotations

import argparse
import os
import platform
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from shutil import disk_usage
from urllib.parse import urlsplit

from cep.cli.configured import settings_of, streams_of
from cep.settings import Settings, table
from events.errors import InvalidDocument, StakeoutError
from events.schema import Stream

FREE_BYTES_MIN = 1_000_000_000
"""Less room than this beside the embedded log is too little."""

CLOCK_SECONDS_MAX = 5.0
"""Clocks further apart than this are told."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing looked at. verdict: ok; note, works but think about it; bad, keeps something from working."""

    what: str
    verdict: str
    found: str
    do: str = ""


def examine(options: argparse.Namespace) -> list[Finding]:
    """Everything, in the order in which one would mend it."""
    findings = [*_guarded("python", _python)]
    try:
        settings = settings_of(options)
    except StakeoutError as error:
        return [*findings, *_told("settings", error)]
    findings.append(Finding("settings", "ok", options.settings or "defaults and environment"))
    streams: list[Stream] = []

    def declared() -> Iterator[Finding]:
        streams.extend(streams_of(options, settings).values())
        for stream in streams:
            yield Finding(
                "stream",
                "ok",
                f"{stream.name}: topic {stream.topic}, {len(stream.fields)} fields, order {stream.order}",
            )

    findings += _guarded("stream", declared)
    findings += _guarded("kernels", _kernels)
    for what, look in (("log", _log), ("database", _database), ("redis", _redis), ("store", _store)):
        findings += _guarded(what, partial(look, settings, streams))
    return findings


def settings_table(options: argparse.Namespace) -> list[dict[str, object]]:
    """Every setting with the value it has now."""
    settings = settings_of(options)
    rows: list[dict[str, object]] = []
    for row in table():
        value: object = settings
        for name in row.path.split("."):
            value = getattr(value, name)
        rows.append(
            {
                "setting": row.path,
                "variable": row.variable,
                "value": _shown(value),
                "default": _shown(row.default),
                "meaning": row.meaning,
            }
        )
    return rows


def _shown(value: object) -> object:
    """A value without the password of an address."""
    if not isinstance(value, str) or "://" not in value:
        return value
    password = urlsplit(value).password
    return value.replace(f":{password}@", ":***@") if password else value


def _guarded(what: str, look: Callable[[], Iterator[Finding]]) -> list[Finding]:
    """The findings, or the error as one."""
    found: list[Finding] = []
    try:
        found.extend(look())
    except StakeoutError as error:
        found.extend(_told(what, error))
    return found


def _told(what: str, error: StakeoutError) -> list[Finding]:
    if isinstance(error, InvalidDocument):
        return [Finding(what, "bad", f"{problem.where}: {problem.reason}", problem.hint) for problem in error.problems]
    return [Finding(what, "bad", error.message, error.hint)]


def _python() -> Iterator[Finding]:
    found = f"{platform.python_version()} on {platform.machine()}, {os.cpu_count()} processors"
    yield Finding("python", "ok", found)


def _kernels() -> Iterator[Finding]:
    from cep.warm import is_warm
    from events.kernel import cache_folder

    folder = cache_folder()
    if is_warm():
        yield Finding("kernels", "ok", f"compiled, in {folder}")
        return
    yield Finding("kernels", "note", "not compiled yet: the first start takes half a minute longer", "`stakeout warm`")
    there = next(parent for parent in folder.parents if parent.exists())
    if not os.access(there, os.W_OK):
        yield Finding("kernels", "bad", f"{there} can't be written", "name a folder that can in STAKEOUT_CACHE")


def _log(settings: Settings, streams: Sequence[Stream]) -> Iterator[Finding]:
    if settings.kafka.bootstrap:
        yield from _kafka(settings, streams)
        return
    path = Path(settings.embedded.path)
    there = next((parent for parent in (path, *path.absolute().parents) if parent.exists()), Path("/"))
    if os.access(there, os.W_OK):
        state = "there" if path.exists() else "made at the first start"
        yield Finding("log", "ok", f"embedded, {path} ({state}); STAKEOUT_KAFKA names brokers instead")
        yield _disk("log", there)
    else:
        yield Finding("log", "bad", f"{there} can't be written", "name another file in STAKEOUT_EMBEDDED_PATH")
    if settings.lane.count != 1:
        yield Finding(
            "log", "bad", f"lane.count is {settings.lane.count}, but the embedded log has one lane", "set it to 1"
        )


def _disk(what: str, there: Path) -> Finding:
    """Is there room where a file grows?"""
    free = disk_usage(there).free
    found = f"{free / 1e9:.1f} GB free at {there}"
    if free >= FREE_BYTES_MIN:
        return Finding(what, "ok", found)
    return Finding(what, "bad", found, f"make room: less than {FREE_BYTES_MIN / 1e9:.0f} GB fills up within hours")


def _clock(what: str, theirs_s: float, before_s: float, after_s: float) -> Iterator[Finding]:
    """Does a service's clock agree with ours? It was read between two of our own."""
    apart_s = max(theirs_s - after_s, before_s - theirs_s, 0.0)
    if apart_s > CLOCK_SECONDS_MAX:
        found = f"its clock and ours are {apart_s:.0f} s apart"
        yield Finding(
            what, "bad", found, "let both hosts follow one time server: records would be late or too far ahead"
        )


def _kafka(settings: Settings, streams: Sequence[Stream]) -> Iterator[Finding]:
    from confluent_kafka.admin import AdminClient

    from cep.log.kafka_topics import check_topics, client_settings, translated

    kafka = settings.kafka
    if kafka.heartbeat_ms * 3 > kafka.session_timeout_ms:
        found = (
            f"heartbeat_ms {kafka.heartbeat_ms} is more than a third of session_timeout_ms {kafka.session_timeout_ms}"
        )
        yield Finding("kafka", "bad", found, "lower kafka.heartbeat_ms")
    with translated(f"brokers at {kafka.bootstrap}"):
        there = AdminClient(client_settings(kafka)).list_topics(timeout=kafka.call_timeout_ms / 1000)
    yield Finding("kafka", "ok", f"{len(there.brokers)} broker(s) at {kafka.bootstrap}")
    if kafka.replication > len(there.brokers):
        found = f"kafka.replication is {kafka.replication}, there are {len(there.brokers)} brokers"
        yield Finding("kafka", "bad", found, f"set it to {len(there.brokers)} or add brokers")
    yield from _guarded("topics", partial(_own_topics, settings, check_topics))
    for stream in streams:
        yield from _guarded("topic", partial(_source_topic, settings, stream, there.topics.get(stream.topic)))


def _own_topics(settings: Settings, check: Callable[..., None]) -> Iterator[Finding]:
    check(settings.app, settings.lane.count, settings.kafka)
    yield Finding("topics", "ok", f"those of the application {settings.app}, {settings.lane.count} lane(s)")


def _source_topic(settings: Settings, stream: Stream, found: object) -> Iterator[Finding]:
    """Is it there, does it fit the lanes, and who dates its records?"""
    from confluent_kafka.admin import (  # type: ignore[attr-defined]  # exported, but not by its types
        AdminClient,
        ConfigResource,
        ResourceType,
    )

    from cep.log.kafka_topics import client_settings, translated

    if found is None:
        hint = "make it, or `stakeout topics create --partitions N`"
        yield Finding("topic", "bad", f"{stream.topic} of stream {stream.name} is missing", hint)
        return
    count, lanes = len(getattr(found, "partitions", ())), settings.lane.count
    if count < lanes:
        yield Finding("topic", "bad", f"{stream.topic} has {count} partitions for {lanes} lanes", "lower lane.count")
    resource = ConfigResource(ResourceType.TOPIC, stream.topic)
    with translated(stream.topic):
        admin, timeout_s = AdminClient(client_settings(settings.kafka)), settings.kafka.call_timeout_ms / 1000
        config = admin.describe_configs([resource], request_timeout=timeout_s)[resource].result()
    stamped = config["message.timestamp.type"].value
    if stamped == "LogAppendTime":
        yield Finding("topic", "ok", f"{stream.topic}: {count} partitions, dated by the broker")
    else:
        found_text = f"{stream.topic}: {count} partitions, dated by its producers ({stamped})"
        yield Finding("topic", "note", found_text, "message.timestamp.type=LogAppendTime makes max_ahead trustworthy")


def _database(settings: Settings, streams: Sequence[Stream]) -> Iterator[Finding]:
    from cep.storage import migrate
    from cep.storage.database import database_url

    url = database_url(settings)
    if settings.address.postgres:
        yield from _database_clock(url)
    path = Path(settings.embedded.path)
    if not settings.address.postgres and not path.exists():
        yield Finding("database", "ok", f"SQLite in {path}, made at the first start")
        return
    current, head = migrate.current(url), migrate.head()
    if current == head:
        yield Finding("database", "ok", f"{_shown(url)} at revision {current}")
    else:
        found = f"{_shown(url)} has revision {current or 'none'}, this release needs {head}"
        yield Finding("database", "bad" if settings.address.postgres else "note", found, "`stakeout db upgrade`")


def _database_clock(url: str) -> Iterator[Finding]:
    from sqlalchemy import text

    from cep.storage.database import open_database, reached

    engine = open_database(url)
    try:
        with reached(engine), engine.connect() as connection:
            before_s = time.time()
            theirs_s = float(connection.execute(text("SELECT extract(epoch FROM clock_timestamp())")).scalar_one())
            yield from _clock("database", theirs_s, before_s, time.time())
    finally:
        engine.dispose()


def _redis(settings: Settings, streams: Sequence[Stream]) -> Iterator[Finding]:
    if not settings.address.redis:
        yield Finding("redis", "ok", "none named: features are kept in this process")
        return
    from redis import Redis, RedisError

    try:
        with Redis.from_url(settings.address.redis, socket_timeout=5, socket_connect_timeout=5) as client:
            version = client.info("server")["redis_version"]
            before_s = time.time()
            seconds, microseconds = client.time()
            after_s = time.time()
    except (RedisError, ValueError, OSError) as error:
        yield Finding(
            "redis", "bad", f"{_shown(settings.address.redis)}: {error}", "start it, or correct STAKEOUT_REDIS"
        )
        return
    yield Finding("redis", "ok", f"{_shown(settings.address.redis)}, version {version}")
    yield from _clock("redis", seconds + microseconds / 1e6, before_s, after_s)


def _store(settings: Settings, streams: Sequence[Stream]) -> Iterator[Finding]:
    store = settings.address.store
    if settings.kafka.bootstrap and "://" not in store:
        found = f"{store} is a folder of this host"
        yield Finding("store", "note", found, "several hosts need a shared URL in STAKEOUT_ADDRESS_STORE")
    else:
        yield Finding("store", "ok", store)
    if "://" not in store:
        there = next(parent for parent in Path(store).absolute().parents if parent.exists())
        if not os.access(Path(store) if Path(store).exists() else there, os.W_OK):
            yield Finding("store", "bad", f"{store} can't be written", "name another in STAKEOUT_ADDRESS_STORE")
