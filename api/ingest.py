"""Events in: checked against their stream, then written to the log, all of a request or none.

bytes ─ the decoder of a lane ─▶ accepted, or every problem with its line ─▶ log ─▶ (topic, partition, offset)
"""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping, Sequence
from functools import partial
from typing import NamedTuple, Protocol

import msgspec
from confluent_kafka import KafkaError, KafkaException, Message, Producer

from cep.alert import escaped, key_text
from cep.log.kafka_topics import client_settings
from cep.log.protocol import Partition
from cep.log.sqlite import SqliteLog
from cep.settings import Kafka
from events.columns import Column, Layout, StringTable
from events.decode import Decoder
from events.errors import InvalidDocument, Problem, ServiceUnavailable
from events.schema import Stream
from events.texts import Texts

PROBLEMS_MAX = 100
"""Bad events of one request that are told."""


class Placed(NamedTuple):
    """Where the log has an event."""

    partition: Partition
    offset: int


class Ingest(Protocol):
    """Writes records to a source topic. Any thread may use it."""

    def append(self, topic: str, records: Sequence[tuple[bytes | None, bytes]]) -> list[Placed]:
        """Durably, in order for each key. Raises ServiceUnavailable if not all of them were taken."""

    def close(self) -> None:
        """Idempotent."""


class SqliteIngest:
    """Into the embedded log."""

    def __init__(self, log: SqliteLog) -> None:
        self._log = log

    def append(self, topic: str, records: Sequence[tuple[bytes | None, bytes]]) -> list[Placed]:
        """See Ingest."""
        first = self._log.append(topic, records, time.time_ns() // 1000)
        return [Placed(Partition(topic, 0), first + place) for place in range(len(records))]

    def close(self) -> None:
        """See Ingest. The file is the caller's."""


class KafkaIngest:
    """Into Kafka, by one idempotent producer."""

    def __init__(self, settings: Kafka) -> None:
        self._settings = settings
        self._producer = Producer({
            **client_settings(settings),
            "enable.idempotence": True,
            "acks": "all",
            "linger.ms": 0,
            "compression.type": "lz4",
            "delivery.timeout.ms": settings.call_timeout_ms,
        })  # fmt: skip
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._poll, name="ingest", daemon=True)
        self._thread.start()

    def append(self, topic: str, records: Sequence[tuple[bytes | None, bytes]]) -> list[Placed]:
        """See Ingest."""
        waiting = threading.Semaphore(0)
        told: list[tuple[KafkaError | None, Message] | None] = [None] * len(records)

        def note(place: int, error: KafkaError | None, message: Message) -> None:
            told[place] = error, message
            waiting.release()

        try:
            for place, (key, value) in enumerate(records):
                self._producer.produce(topic, value, key, on_delivery=partial(note, place))
        except (BufferError, KafkaException) as error:
            raise ServiceUnavailable(f"{topic}: {error}", "send less at a time, or later") from error
        until = time.monotonic() + self._settings.call_timeout_ms / 1000 + 1
        for _ in records:
            waiting.acquire(timeout=max(0.0, until - time.monotonic()))
        return [self._placed(topic, one) for one in told]

    def close(self) -> None:
        """See Ingest."""
        self._stopped.set()
        self._thread.join()
        self._producer.flush(self._settings.call_timeout_ms / 1000)

    def _placed(self, topic: str, told: tuple[KafkaError | None, Message] | None) -> Placed:
        error = told[0] if told else None
        if told is None or error is not None:
            reason = error.str() if error else "no answer in time"
            raise ServiceUnavailable(
                f"{topic}: {reason}", "send the request again: what the log has already is known by its event id"
            )
        message = told[1]
        return Placed(Partition(topic, message.partition() or 0), message.offset() or 0)

    def _poll(self) -> None:
        while not self._stopped.is_set():
            self._producer.poll(0.05)


def lines_of(body: bytes) -> list[bytes]:
    """The records of an NDJSON text; empty lines are none."""
    return [line for line in (one.strip() for one in body.split(b"\n")) if line]


def checked(stream: Stream, records: Sequence[bytes]) -> list[tuple[bytes | None, bytes]]:
    """The records with their keys. Raises InvalidDocument with the bad ones, each by its place: nothing is written."""
    layout = Layout((stream.name,), tuple(Column(stream.name, field.name, field.type) for field in stream.fields))
    decoded = Decoder(stream, layout, StringTable()).decode(Texts.of(list(records)))
    if decoded.rejected:
        problems = [
            Problem(f"[{one.row}].{one.path.removeprefix('$').removeprefix('.')}", f"{one.reason.value}: {one.detail}")
            for one in decoded.rejected[:PROBLEMS_MAX]
        ]
        raise InvalidDocument(f"{len(decoded.rejected)} of {len(records)} events of {stream.name}", problems)
    return [(key_of(stream, record), record) for record in records]


def key_of(stream: Stream, record: bytes) -> bytes | None:
    """The record key: the text of the stream's key fields, several parted by U+001F; None where it has no key."""
    if not stream.key:
        return None
    fields: Mapping[str, object] = msgspec.json.decode(record, type=dict[str, object])
    texts = (fields.get(name) for name in stream.key)
    return "\x1f".join(
        escaped(key_text(text if isinstance(text, str | int | bool) else None)) for text in texts
    ).encode()
