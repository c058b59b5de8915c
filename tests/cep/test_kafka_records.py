"""Kafka's messages to arrays, the messages being of our own making."""

from __future__ import annotations

import ctypes
from ctypes import CFUNCTYPE, POINTER, Structure, c_char_p, c_int32, c_int64, c_size_t, c_void_p
from typing import NamedTuple

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from cep.log.kafka_records import KafkaSlice, freed, slices_of
from cep.log.protocol import Partition, Record
from events.order import NEVER_US


class Message(Structure):
    """rd_kafka_message_t, as librdkafka's header declares it."""

    _fields_ = (
        ("err", c_int32),
        ("rkt", c_void_p),
        ("partition", c_int32),
        ("payload", c_char_p),
        ("len", c_size_t),
        ("key", c_char_p),
        ("key_len", c_size_t),
        ("offset", c_int64),
        ("_private", c_void_p),  # here: the timestamp + 2, so that none is 0
    )


class Sent(NamedTuple):
    topic: int
    partition: int
    key: bytes | None
    value: bytes | None
    stamp_ms: int
    error: int


CALLED = CFUNCTYPE(c_int64, POINTER(Message), c_void_p)
SENT = st.builds(
    Sent,
    st.integers(1, 2),
    st.integers(0, 2),
    st.none() | st.binary(max_size=4),
    st.none() | st.binary(max_size=20),
    st.integers(-1, 2**40),
    st.sampled_from([0, 0, 0, 0, -191, 1]),
)


def address(function: object) -> int:
    return ctypes.cast(function, c_void_p).value or 0  # type: ignore[arg-type]  # a function is one of what it takes


@CALLED
def stamp_of(message: ctypes._Pointer[Message], kind: int | None) -> int:
    return int(message.contents._private) - 2


def taken(sent: list[Sent]) -> tuple[dict[Partition, KafkaSlice], list[int]]:
    """The slices, the places of what is news."""
    messages = [
        Message(one.error, one.topic, one.partition, one.value, len(one.value or b""), one.key, len(one.key or b""), at,
                one.stamp_ms + 2)
        for at, one in enumerate(sent)
    ]  # fmt: skip
    addresses = [ctypes.addressof(message) for message in messages]
    slices, news = slices_of(np.array(addresses, np.int64), address(stamp_of), lambda topic: f"t{topic}")
    return slices, [addresses.index(one) for one in news]


def records_of(part: KafkaSlice) -> list[Record]:
    return [part.record(row) for row in range(len(part))]


@settings(deadline=None)  # the first call loads the kernels
@given(st.lists(SENT, max_size=30))
def test_each_partition_gets_its_records_in_order(sent: list[Sent]) -> None:
    expected: dict[Partition, list[Record]] = {}
    for at, one in enumerate(sent):
        if not one.error:
            partition, stamp_us = Partition(f"t{one.topic}", one.partition), one.stamp_ms * 1000
            record = Record(partition, at, stamp_us if stamp_us >= 0 else NEVER_US, one.key, one.value)
            expected.setdefault(partition, []).append(record)
    slices, news = taken(sent)
    assert {partition: records_of(part) for partition, part in slices.items()} == expected
    assert news == [at for at, one in enumerate(sent) if one.error]
    for partition, part in slices.items():
        records = expected[partition]
        assert part.values == [record.value for record in records]
        assert list(part.texts) == [record.value or b"" for record in records]
        assert part.offsets().tolist() == [record.offset for record in records]
        assert part.timestamps_us().tolist() == [record.timestamp_us for record in records]
        assert part.next_offset == records[-1].offset + 1
        cut = len(records) // 2
        halves = [part.part(slice(cut)).alone(), part.part(slice(cut, None))]
        assert records_of(KafkaSlice.joined(halves)) == records


def test_every_message_is_given_back() -> None:
    seen: list[int] = []

    @CALLED
    def destroy(message: ctypes._Pointer[Message], nothing: int | None) -> int:
        seen.append(ctypes.addressof(message.contents))
        return 0

    messages = [Message() for _ in range(3)]
    addresses = [ctypes.addressof(message) for message in messages]
    freed(np.array(addresses, np.int64), address(destroy))
    assert seen == addresses
