"""Requests that no client library offers, by hand: what brokers say to each other about transactions.

With them a test leaves behind what a broker does that shuts down at the wrong moment: records of an acknowledged
transaction without its markers. The layouts are Kafka's own (clients/src/main/resources/common/message/*.json).
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from time import monotonic, sleep

from confluent_kafka.admin import (  # type: ignore[attr-defined]  # exported, but not by its types
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    ResourceType,
)

PRODUCE, WRITE_MARKERS, DESCRIBE_PRODUCERS = 0, 27, 61
TRANSACTIONAL = 0x10
"""The attribute of a batch."""

INVALID_STATE = 48
"""The error for a transaction that the coordinator doesn't know."""


@dataclass(frozen=True)
class Writer:
    """A producer as one partition knows it."""

    id: int
    epoch: int
    sequence: int


def writer_of(kafka: str, topic: str) -> Writer:
    """Who wrote to partition 0 of the topic."""
    body = _array(_text(topic) + _array(struct.pack(">i", 0)) + b"\0") + b"\0"
    reply = _asked(kafka, DESCRIBE_PRODUCERS, 0, body, flexible=True)
    at = 5 + 4 + 1 + 1 + len(topic) + 1 + 4  # correlation id, tags, throttle, topics, name, partitions, index
    (error,) = struct.unpack_from(">h", reply, at)
    assert error == 0, error
    assert reply[at + 2 : at + 4] == b"\0\x02", "no message, one producer"
    return Writer(*struct.unpack_from(">qii", reply, at + 4))


def write_marker(kafka: str, writer: Writer, topic: str, *, commit: bool) -> None:
    """Ends what the writer has open in partition 0 of the topic, and there only."""
    place = _array(_text(topic) + _array(struct.pack(">i", 0)) + b"\0")
    marker = struct.pack(">qh?", writer.id, writer.epoch, commit) + place + struct.pack(">i", 0) + b"\0"
    reply = _asked(kafka, WRITE_MARKERS, 1, _array(marker) + b"\0", flexible=True)
    assert reply[-5:-3] == b"\0\0", f"error {reply[-5:-3]!r}"


def write_in_no_transaction(kafka: str, name: str, writer: Writer, topic: str, value: bytes) -> None:
    """A record of the writer's transaction `name` in partition 0 of which the coordinator knows nothing."""
    record = b"\0\0\0\x01" + _zigzag(len(value)) + value + b"\0"  # attributes, time, offset; no key; no headers
    record = _zigzag(len(record)) + record
    head = struct.pack(">hiqqqhii", TRANSACTIONAL, 0, 0, 0, writer.id, writer.epoch, writer.sequence + 1, 1)
    body = struct.pack(">ib", -1, 2) + struct.pack(">I", _crc32c(head + record)) + head + record
    batch = struct.pack(">qi", 0, len(body)) + body
    place = struct.pack(">i", 1) + _short_text(topic) + struct.pack(">iii", 1, 0, len(batch)) + batch
    request = _short_text(name) + struct.pack(">hi", -1, 10_000) + place
    with _unverified(kafka):
        until = monotonic() + 30
        while (error := _produced(kafka, topic, request)) == INVALID_STATE and monotonic() < until:
            sleep(0.02)  # the change of the setting is on its way
    assert error == 0, error


def _produced(kafka: str, topic: str, request: bytes) -> int:
    reply = _asked(kafka, PRODUCE, 7, request, flexible=False)
    (error,) = struct.unpack_from(">h", reply, 4 + 4 + 2 + len(topic) + 4 + 4)
    return int(error)


@contextmanager
def _unverified(kafka: str) -> Iterator[None]:
    """The broker believes producers that their transaction has begun, as brokers before 3.6 did."""
    admin = AdminClient({"bootstrap.servers": kafka})
    broker = next(iter(admin.list_topics(timeout=30).brokers))

    def change(how: AlterConfigOpType) -> None:
        entry = ConfigEntry("transaction.partition.verification.enable", "false", incremental_operation=how)
        resource = ConfigResource(ResourceType.BROKER, str(broker), incremental_configs=[entry])
        admin.incremental_alter_configs([resource])[resource].result(30)

    change(AlterConfigOpType.SET)
    try:
        yield
    finally:
        change(AlterConfigOpType.DELETE)


def _asked(kafka: str, key: int, version: int, body: bytes, *, flexible: bool) -> bytes:
    host, _, port = kafka.rpartition(":")
    request = struct.pack(">hhi", key, version, 1) + _short_text("test") + (b"\0" if flexible else b"") + body
    with socket.create_connection((host, int(port)), timeout=30) as connection, connection.makefile("rb") as answer:
        connection.sendall(struct.pack(">i", len(request)) + request)
        return answer.read(*struct.unpack(">i", answer.read(4)))


def _array(*parts: bytes) -> bytes:
    return bytes([len(parts) + 1]) + b"".join(parts)


def _text(text: str) -> bytes:
    return bytes([len(text) + 1]) + text.encode()


def _short_text(text: str) -> bytes:
    return struct.pack(">h", len(text)) + text.encode()


def _zigzag(number: int) -> bytes:
    left, found = number << 1, b""
    while left > 127:
        found += bytes([left & 127 | 128])
        left >>= 7
    return found + bytes([left])


def _crc32c(data: bytes) -> int:
    found = 0xFFFFFFFF
    for byte in data:
        found ^= byte
        for _ in range(8):
            found = found >> 1 ^ (0x82F63B78 if found & 1 else 0)
    return found ^ 0xFFFFFFFF
