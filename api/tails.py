"""The two tails: of the embedded log's file, and of Kafka's topics. See `api.follow`."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Sequence
from time import monotonic, sleep
from typing import Any

import msgspec
from confluent_kafka import Consumer, KafkaError, TopicPartition
from confluent_kafka.admin import AdminClient

from api.follow import ALERTS_KEPT, Look, alerts_of
from cep.log.kafka import mends, offset_of, offsets_at, reader_settings
from cep.log.kafka_topics import Topics, client_settings, translated
from cep.log.protocol import ALERTS, DEAD_LETTERS, Partition, Positions, decode_journal
from cep.log.sqlite import SqliteLog
from cep.settings import Settings
from events.errors import ServiceUnavailable

LOOK_SECONDS = 0.005
"""Between looks at the embedded log."""

TAKEN_MAX = 1000
"""Records of one look."""

JOURNAL_BACK = 64
"""Offsets before the end of a journal from which its last record is looked for: transactions have markers between."""


class SqliteTail:
    """Of the one file."""

    def __init__(self, log: SqliteLog, topics: Sequence[str]) -> None:
        self._log, self._topics = log, tuple(topics)
        self._connection = log.connect()
        self._lock = threading.Lock()
        (end,) = self._rows("SELECT coalesce(max(offset) + 1, 0) FROM output WHERE topic = ?", ALERTS)[0]
        (last,) = self._rows("SELECT coalesce(max(number), 0) FROM journal")[0]
        self._next, self._number = max(0, end - ALERTS_KEPT), last

    def look(self, wait_s: float) -> Look:
        """See Tail."""
        until = monotonic() + wait_s
        while True:
            journal = self._rows(
                "SELECT number, value FROM journal WHERE number >= ? ORDER BY number LIMIT ?", self._number, TAKEN_MAX
            )
            alerts = self._rows(
                "SELECT 0, offset, value FROM output WHERE topic = ? AND offset >= ? ORDER BY offset LIMIT ?",
                ALERTS, self._next, TAKEN_MAX,
            )  # fmt: skip
            if journal or alerts:
                break
            if monotonic() > until:
                return Look((), ())
            sleep(LOOK_SECONDS)
        if journal:
            self._number = journal[-1][0] + 1
        if alerts:
            self._next = alerts[-1][1] + 1
        return Look(alerts_of(alerts), [decode_journal(value) for _, value in journal])

    def ends(self) -> Positions:
        """See Tail."""
        found = dict(self._rows("SELECT name, next_offset FROM topic"))
        return {Partition(topic, 0): found.get(topic, 0) for topic in self._topics}

    def dead_letters(self, limit: int) -> list[dict[str, Any]]:
        """See Tail."""
        query = "SELECT value FROM output WHERE topic = ? ORDER BY offset DESC LIMIT ?"
        return [msgspec.json.decode(value) for (value,) in self._rows(query, DEAD_LETTERS, limit)]

    def close(self) -> None:
        """See Tail."""
        self._connection.close()

    def _rows(self, query: str, *values: object) -> list[Any]:
        try:
            with self._lock:
                return self._connection.execute(query, values).fetchall()
        except sqlite3.Error as error:
            raise ServiceUnavailable(f"{self._log.path}: {error}", "check that the file is ours to read") from error


class KafkaTail:
    """Of an application's journal and alerts topics."""

    def __init__(self, settings: Settings, topics: Sequence[str]) -> None:
        """Raises ServiceUnavailable."""
        self._kafka, self._sources = settings.kafka, tuple(topics)
        names = Topics(settings.app)
        self._journal, self._letters = names.journal, names.output(DEAD_LETTERS)
        self._timeout_s = settings.kafka.call_timeout_ms / 1000
        self._admin = AdminClient(client_settings(settings.kafka))
        self._consumer = Consumer({**reader_settings(settings.kafka, f"{settings.app}-api"), "fetch.wait.max.ms": 10})
        self._assign(names.output(ALERTS))

    def look(self, wait_s: float) -> Look:
        """See Tail."""
        alerts, journal = [], []
        messages = self._consumer.consume(1, wait_s)
        for message in [*messages, *(self._consumer.consume(TAKEN_MAX, 0) if messages else [])]:
            error = message.error()
            if error is None:
                value = message.value() or b""
                if message.topic() == self._journal:
                    journal.append(decode_journal(value))
                else:
                    alerts.append((message.partition() or 0, offset_of(message), value))
            elif error.code() != KafkaError._PARTITION_EOF and not mends(error):
                raise ServiceUnavailable(f"{message.topic()}: {error.str()}")
        return Look(alerts_of(alerts), journal)

    def ends(self) -> Positions:
        """See Tail."""
        found = [place for topic in self._sources for place in self._partitions(topic)]
        return offsets_at(self._admin, found, "latest", self._timeout_s)

    def dead_letters(self, limit: int) -> list[dict[str, Any]]:
        """See Tail. A consumer of its own reads the end of the topic."""
        places = self._partitions(self._letters)
        ends = offsets_at(self._admin, places, "latest", self._timeout_s)
        begin = offsets_at(self._admin, places, "earliest", self._timeout_s)
        starts = [TopicPartition(*place, max(begin[place], ends[place] - 2 * limit)) for place in places]
        found: list[dict[str, Any]] = []
        at_end, until = 0, monotonic() + self._timeout_s
        consumer = Consumer(reader_settings(self._kafka, f"{self._letters}-api"))
        try:
            with translated(self._letters):
                consumer.assign(starts)
                while at_end < len(places) and monotonic() < until:
                    for message in consumer.consume(TAKEN_MAX, 0.1):
                        error = message.error()
                        at_end += error is not None and error.code() == KafkaError._PARTITION_EOF
                        if error is None:
                            found.append(msgspec.json.decode(message.value() or b"{}"))
        finally:
            consumer.close()
        return sorted(found, key=lambda one: int(one.get("processed_at_us", 0)), reverse=True)[:limit]

    def close(self) -> None:
        """See Tail."""
        self._consumer.close()

    def _assign(self, alerts: str) -> None:
        """From a little before the end of each partition."""
        places = [*self._partitions(self._journal), *self._partitions(alerts)]
        begin = offsets_at(self._admin, places, "earliest", self._timeout_s)
        end = offsets_at(self._admin, places, "latest", self._timeout_s)
        back = {self._journal: JOURNAL_BACK, alerts: ALERTS_KEPT}
        starts = [TopicPartition(*place, max(begin[place], end[place] - back[place.topic])) for place in places]
        with translated(self._journal):
            self._consumer.assign(starts)

    def _partitions(self, topic: str) -> list[Partition]:
        with translated(topic):
            found = self._admin.list_topics(topic, timeout=self._timeout_s).topics[topic]
            if found.error is not None:
                raise ServiceUnavailable(f"{topic}: {found.error.str()}", "`stakeout topics create` makes the topics")
        return [Partition(topic, number) for number in sorted(found.partitions)]
