"""Events into the log: what `POST /v1/events` and decisions write by.

    SqliteIngest   one transaction of the embedded log
    KafkaIngest    an idempotent producer, acks=all, the record's key as the stream declares it

Records of one call keep their order within a partition. An answer means that the log holds them.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from time import monotonic
from typing import Any, NamedTuple, Protocol

from confluent_kafka import KafkaException, Message, Producer, TopicCollection
from confluent_kafka.admin import AdminClient

from cep.alert import key_group
from cep.log.kafka import offsets_at
from cep.log.kafka_topics import client_settings, translated
from cep.log.protocol import DECIDE, Partition, Positions
from cep.log.sqlite import SqliteLog
from cep.settings import Kafka
from cep.worker import SystemClock
from events.errors import ServiceUnavailable

ENDS_SECONDS = 0.2
"""For so long it is believed where partitions end: a burst asks the brokers no more often."""


class Written(NamedTuple):
    """Where a record stands in the log."""

    partition: Partition
    offset: int


class Ingest(Protocol):
    """Writes events. Any thread may use it."""

    def append(
        self, topic: str, records: Sequence[tuple[bytes | None, bytes]], waited_for: bool = False
    ) -> list[Written]:
        """Writes (key, value) records durably; answers where each stands.

        waited_for: the lane that reads them commits at once
        Raises ServiceUnavailable: some of them may be in the log then.
        """

    def ends(self, topics: Sequence[str]) -> Positions:
        """The offset behind the last record, by partition. Raises ServiceUnavailable."""

    def close(self) -> None:
        """Idempotent."""


class SqliteIngest:
    """Into the embedded log. A call is one transaction: all of it or nothing."""

    def __init__(self, log: SqliteLog) -> None:
        self._log = log
        self._clock = SystemClock()

    def append(
        self, topic: str, records: Sequence[tuple[bytes | None, bytes]], waited_for: bool = False
    ) -> list[Written]:
        """See Ingest. The lane of this process is told by `Lanes.waited_for`."""
        first = self._log.append(topic, records, self._clock.wall_us())
        return [Written(Partition(topic, 0), first + place) for place in range(len(records))]

    def ends(self, topics: Sequence[str]) -> Positions:
        """See Ingest."""
        return {Partition(topic, 0): self._log.input_end(topic) for topic in topics}

    def close(self) -> None:
        """See Ingest. The log is its opener's."""


class KafkaIngest:
    """Into Kafka. The brokers drop what the client sends twice, and all copies are written before it is answered."""

    def __init__(self, settings: Kafka) -> None:
        self._settings = settings
        self._producer = Producer(
            {
                **client_settings(settings),
                "enable.idempotence": True,
                "acks": "all",
                "linger.ms": 0,
                "partitioner": "murmur2_random",  # as Java's clients: another one would split a key
                "message.max.bytes": settings.message_bytes_max,
                "delivery.timeout.ms": settings.call_timeout_ms,
            }
        )
        self._admin = AdminClient(client_settings(settings))
        self._lock = threading.Lock()
        self._ends: dict[str, tuple[float, Positions]] = {}

    def append(
        self, topic: str, records: Sequence[tuple[bytes | None, bytes]], waited_for: bool = False
    ) -> list[Written]:
        """See Ingest."""
        headers = [(DECIDE, b"")] if waited_for else None
        delivery = _Delivery(len(records))
        until = monotonic() + self._settings.call_timeout_ms / 1000 + 1.0
        for place, (key, value) in enumerate(records):
            self._produce(topic, key, value, headers, delivery.report(place))
        while delivery.waits and monotonic() < until:
            self._producer.poll(0.005)
        return delivery.answer(topic)

    def ends(self, topics: Sequence[str]) -> Positions:
        """See Ingest."""
        found: Positions = {}
        for topic in topics:
            with self._lock:
                at_s, ends = self._ends.get(topic, (-1e9, {}))
            if monotonic() - at_s > ENDS_SECONDS:
                ends = self._asked(topic)
                with self._lock:
                    self._ends[topic] = monotonic(), ends
            found.update(ends)
        return found

    def close(self) -> None:
        """See Ingest."""
        self._producer.flush(self._settings.call_timeout_ms / 1000)

    def _produce(self, topic: str, key: bytes | None, value: bytes, headers: Any, report: Any) -> None:
        until = monotonic() + self._settings.call_timeout_ms / 1000
        while True:
            try:
                return self._producer.produce(topic, value, key, headers=headers, on_delivery=report)
            except BufferError:  # the client's queue is full
                if monotonic() > until:
                    raise ServiceUnavailable(f"Kafka: {topic}: the brokers take no records", "see their log") from None
                self._producer.poll(0.01)
            except KafkaException as error:
                with translated(topic):
                    raise error

    def _asked(self, topic: str) -> Positions:
        timeout_s = self._settings.call_timeout_ms / 1000
        with translated(topic):
            asked = self._admin.describe_topics(TopicCollection([topic]), request_timeout=timeout_s)
            partitions = [Partition(topic, place.id) for place in asked[topic].result().partitions]
        return dict(offsets_at(self._admin, partitions, "latest", timeout_s))


class _Delivery:
    """The reports of one call's records; they come on whichever thread polls."""

    def __init__(self, count: int) -> None:
        self._told: list[Written | str | None] = [None] * count

    @property
    def waits(self) -> bool:
        """Is any report still to come?"""
        return None in self._told

    def report(self, place: int) -> Any:
        """What the client calls with the report of the record at this place."""

        def delivered(error: Any, message: Message) -> None:
            partition, offset = message.partition(), message.offset()
            if error is not None or partition is None or offset is None:
                self._told[place] = "no offset" if error is None else str(error.str())
            else:
                self._told[place] = Written(Partition(str(message.topic()), partition), offset)

        return delivered

    def answer(self, topic: str) -> list[Written]:
        """Where each stands. Raises ServiceUnavailable."""
        written = [one for one in self._told if isinstance(one, Written)]
        if len(written) < len(self._told):
            reason = next((one for one in self._told if isinstance(one, str)), "no answer")
            missing = f"{len(self._told) - len(written)} of {len(self._told)} records weren't confirmed"
            hint = "send them again: a stream that declares an event id drops those that are there twice"
            raise ServiceUnavailable(f"Kafka: {topic}: {missing}: {reason}", hint)
        return written


def record_key(event: Mapping[str, object], fields: Sequence[str]) -> bytes | None:
    """The record key of an event: the text of the stream's key fields, several parted by U+001F.

    >>> record_key({"card_id": "c7", "amount": 3}, ["card_id"])
    b'c7'
    """
    if not fields:
        return None
    key = {name: value for name in fields if isinstance(value := event.get(name), str | int | bool | None)}
    return key_group(key).encode()
