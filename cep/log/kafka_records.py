"""The client's messages as arrays: no Python object per record.

messages    int64[n]: addresses of rd_kafka_message_t, a public struct of librdkafka, in the order of arrival
    │  counted     which partition each is of, and how much room they need
    ▼  gathered    values, keys, offsets and timestamps, those of one partition together
KafkaSlice, …      one per partition, all over the same arrays
    │
    ▼  freed       the client has its messages back: nothing above points into them
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
from llvmlite import ir  # type: ignore[import-untyped]  # llvmlite ships no types
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from cep.log.protocol import Partition, Record
from events.columns import I64, U8
from events.kernel import Int, compiled
from events.order import NEVER_US
from events.texts import PADDING, Texts

# --- rd_kafka_message_t: the place of each member in bytes, where pointers have eight of them ---

ERROR, TOPIC, NUMBER, VALUE, VALUE_SIZE, KEY, KEY_SIZE, OFFSET = range(0, 64, 8)

# --- groups: int64[g, 8], a partition each ---

G_TOPIC, G_NUMBER, G_RECORDS, G_BYTES, G_KEY_BYTES, G_ROW, G_AT, G_KEY_AT = range(8)
"""G_TOPIC: the client's topic. G_BYTES: of all values, with their NULs. The last three: where its next record goes."""

# --- columns: int64[6, n] ---

BEGIN, END, KEY_BEGIN, KEY_END, PLACE, STAMP = range(6)

NO_VALUE, NO_KEY = 1, 2


# --- memory that no array knows ---------------------------------------------------------------------------------------


def _loaded(bits: int) -> Any:
    def typed(typing: Any, address: Any) -> Any:
        def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            found = builder.load(builder.inttoptr(args[0], ir.IntType(bits).as_pointer()))
            return found if bits == 64 else builder.sext(found, ir.IntType(64))

        return types.int64(types.int64), code

    return typed


def _copied(typing: Any, array: Any, at: Any, address: Any, size: Any) -> Any:
    def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        data = context.make_array(signature.args[0])(context, builder, args[0]).data
        source = builder.inttoptr(args[2], ir.IntType(8).as_pointer())
        cgutils.raw_memcpy(builder, builder.gep(data, [args[1]]), source, args[3], 1)  # type: ignore[no-untyped-call]  # numba's, typed in part
        return context.get_dummy_value()

    return types.void(array, types.int64, types.int64, types.int64), code


def _called(typing: Any, function: Any, message: Any) -> Any:
    def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        number = ir.IntType(64)
        place = builder.inttoptr(args[0], ir.FunctionType(number, [number, number]).as_pointer())
        return builder.call(place, [args[1], number(0)])

    return types.int64(types.int64, types.int64), code


word_at: Callable[[Int], Int] = cast(Any, intrinsic(_loaded(64)))
"""The eight bytes at an address."""

half_at: Callable[[Int], Int] = cast(Any, intrinsic(_loaded(32)))
"""The four bytes at an address, as a signed number."""

copy: Callable[[U8, Int, Int, Int], None] = cast(Any, intrinsic(_copied))
"""To array[at:] so many bytes from an address."""

call: Callable[[Int, Int], Int] = cast(Any, intrinsic(_called))
"""A function of C at an address, given a message and NULL. The number is nonsense where it answers none."""


# --- kernels ----------------------------------------------------------------------------------------------------------


@compiled
def counted(messages: I64, group_of: I64, groups: I64) -> Int:
    """The partition of each message (-1: it is no record but news), and what each partition needs. How many there are.

    groups: a row for each message, so that there is always one left
    """
    found: Int = 0
    g: Int = 0
    for m in range(len(messages)):
        message = messages[m]
        if half_at(message + ERROR) != 0:
            group_of[m] = -1
            continue
        topic, number = word_at(message + TOPIC), half_at(message + NUMBER)
        if found == 0 or groups[g, G_TOPIC] != topic or groups[g, G_NUMBER] != number:  # they come in runs
            g = 0
            while g < found and (groups[g, G_TOPIC] != topic or groups[g, G_NUMBER] != number):
                g += 1
            if g == found:
                groups[g, :] = 0
                groups[g, G_TOPIC], groups[g, G_NUMBER] = topic, number
                found += 1
        group_of[m] = g
        groups[g, G_RECORDS] += 1
        groups[g, G_BYTES] += word_at(message + VALUE_SIZE) + 1
        groups[g, G_KEY_BYTES] += word_at(message + KEY_SIZE) + 1
    return found


@compiled
def gathered(
    messages: I64, group_of: I64, groups: I64, found: int, stamp_of: int, values: U8, keys: U8, columns: I64, flags: U8
) -> None:
    """Values and keys, a NUL behind each, and columns, those of one partition together.

    stamp_of: the address of rd_kafka_message_timestamp
    """
    for g in range(1, found):
        groups[g, G_ROW] = groups[g - 1, G_ROW] + groups[g - 1, G_RECORDS]
        groups[g, G_AT] = groups[g - 1, G_AT] + groups[g - 1, G_BYTES]
        groups[g, G_KEY_AT] = groups[g - 1, G_KEY_AT] + groups[g - 1, G_KEY_BYTES]
    for m in range(len(messages)):
        message, g = messages[m], group_of[m]
        if g < 0:
            continue
        row, at, key_at = groups[g, G_ROW], groups[g, G_AT], groups[g, G_KEY_AT]
        value, size = word_at(message + VALUE), word_at(message + VALUE_SIZE)
        key, key_size = word_at(message + KEY), word_at(message + KEY_SIZE)
        copy(values, at, value, size)
        copy(keys, key_at, key, key_size)
        values[at + size] = 0
        keys[key_at + key_size] = 0
        columns[BEGIN, row], columns[END, row] = at, at + size
        columns[KEY_BEGIN, row], columns[KEY_END, row] = key_at, key_at + key_size
        columns[PLACE, row] = word_at(message + OFFSET)
        stamp_ms = call(stamp_of, message)
        columns[STAMP, row] = stamp_ms * 1000 if stamp_ms >= 0 else NEVER_US
        flags[row] = (NO_VALUE if value == 0 else 0) | (NO_KEY if key == 0 else 0)
        groups[g, G_ROW], groups[g, G_AT], groups[g, G_KEY_AT] = row + 1, at + size + 1, key_at + key_size + 1


@compiled
def freed(messages: I64, destroy: int) -> None:
    """Gives the messages back. destroy: the address of rd_kafka_message_destroy"""
    for m in range(len(messages)):
        call(destroy, messages[m])


def warm() -> None:
    """Compiles the kernels, without a message."""
    none, flags = np.empty(0, np.int64), np.empty(0, np.uint8)
    groups = np.zeros((1, 8), np.int64)
    gathered(none, none, groups, counted(none, none, groups), 0, flags, flags, np.empty((6, 0), np.int64), flags)
    freed(none, 0)


# --- from Python ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class KafkaSlice:
    """A slice over arrays. columns, flags: as `gathered` fills them, the rows of this partition."""

    partition: Partition
    texts: Texts
    keys: Texts
    columns: I64
    flags: U8

    def __len__(self) -> int:
        return len(self.flags)

    @property
    def next_offset(self) -> int:
        """See Slice."""
        return int(self.columns[PLACE, -1]) + 1

    @property
    def values(self) -> list[bytes | None]:
        """See Slice."""
        flags = self.flags.tolist()
        return [None if flag & NO_VALUE else value for value, flag in zip(self.texts, flags, strict=True)]

    def offsets(self) -> I64:
        """See Slice."""
        found: I64 = self.columns[PLACE]
        return found

    def timestamps_us(self) -> I64:
        """See Slice."""
        found: I64 = self.columns[STAMP]
        return found

    def record(self, row: int) -> Record:
        """See Slice."""
        flag, offset, stamp_us = int(self.flags[row]), int(self.columns[PLACE, row]), int(self.columns[STAMP, row])
        key, value = (None if flag & NO_KEY else self.keys[row]), (None if flag & NO_VALUE else self.texts[row])
        return Record(self.partition, offset, stamp_us, key, value)

    def part(self, rows: slice) -> KafkaSlice:
        """Some of its records."""
        texts, keys = self.texts[rows], self.keys[rows]
        return KafkaSlice(self.partition, texts, keys, self.columns[:, rows], self.flags[rows])

    def alone(self) -> KafkaSlice:
        """The same in arrays of its own: for keeping it when the others are gone."""
        texts, keys = self.texts.alone(), self.keys.alone()
        return KafkaSlice(self.partition, texts, keys, self.columns.copy(), self.flags.copy())

    @staticmethod
    def joined(parts: Sequence[KafkaSlice]) -> KafkaSlice:
        """Slices of one partition, one after the other."""
        if len(parts) == 1:
            return parts[0]
        return KafkaSlice(
            parts[0].partition,
            Texts.joined([part.texts for part in parts]),
            Texts.joined([part.keys for part in parts]),
            np.concatenate([part.columns for part in parts], axis=1),
            np.concatenate([part.flags for part in parts]),
        )


def slices_of(
    messages: I64, stamp_of: int, name_of: Callable[[int], str]
) -> tuple[dict[Partition, KafkaSlice], list[int]]:
    """The records by partition, and the messages that are news. name_of: the name of a topic of the client."""
    n = len(messages)
    group_of, groups = np.empty(n, np.int64), np.empty((n, 8), np.int64)
    found = counted(messages, group_of, groups)
    totals = groups[:found].sum(axis=0).tolist()
    values, keys = _room(totals[G_BYTES]), _room(totals[G_KEY_BYTES])
    columns, flags = np.empty((6, totals[G_RECORDS]), np.int64), np.empty(totals[G_RECORDS], np.uint8)
    gathered(messages, group_of, groups, found, stamp_of, values, keys, columns, flags)
    all_texts, all_keys = Texts(values, columns[BEGIN], columns[END]), Texts(keys, columns[KEY_BEGIN], columns[KEY_END])
    slices = {}
    for topic, number, count, _, _, stop, _, _ in groups[:found].tolist():
        rows, partition = slice(stop - count, stop), Partition(name_of(topic), number)
        slices[partition] = KafkaSlice(partition, all_texts[rows], all_keys[rows], columns[:, rows], flags[rows])
    news = messages[group_of < 0].tolist() if totals[G_RECORDS] < n else []
    return slices, news


def _room(size: int) -> U8:
    array = np.empty(size + PADDING, np.uint8)
    array[size:] = 0
    return array
