"""The state of an entity's windows as bytes, and what its features come to at an instant.

    8 bytes   mark of the view's definition: what another one packed is not read
    8 bytes   when the entity was seen last, int64 µs
    int64[n, 2 + arguments]   the kept events, the oldest first, little endian

It is the events that are kept, not the numbers, so that a read is right when it is made: a count over ten minutes falls
although no event comes. The kernels that made the numbers for the lane make them here.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from enum import StrEnum
from typing import NamedTuple

import numpy as np

from events.columns import I64, U8, StringTable, value_of
from events.expression import Value
from events.schema import Field
from events.types import Kind
from features.definition import Aggregate, View
from features.windows import (
    CELL_WORDS,
    ENTITY_WORDS,
    FEATURE_WORDS,
    SIZE,
    TAIL,
    VALUES,
    move_all,
    tell,
)

HEADER = 16


class Status(StrEnum):
    """What a read found, in Feast's words."""

    PRESENT = "PRESENT"
    NULL_VALUE = "NULL_VALUE"
    NOT_FOUND = "NOT_FOUND"
    OUTSIDE_MAX_AGE = "OUTSIDE_MAX_AGE"


class Known(NamedTuple):
    """A feature as it was read. at_us: when its entity was seen last, 0 where it never was"""

    value: Value | None
    status: Status
    at_us: int


class Shape:
    """How the kernels see a view.

    arguments: the fields that are kept of an event
    table:     int64[f, 8], the words of `features.windows` for each feature
    words:     of a row, links included
    """

    def __init__(self, view: View) -> None:
        self.view = view
        self.arguments: tuple[Field, ...] = tuple(
            dict.fromkeys(
                one.argument for one in view.features if one.argument and one.aggregate is not Aggregate.COUNT
            )
        )
        self.table = np.zeros((len(view.features), FEATURE_WORDS), np.int64)
        link = VALUES + len(self.arguments)
        for row, one in zip(self.table, view.features, strict=True):
            kept = one.argument if one.argument in self.arguments else None
            place = VALUES + self.arguments.index(kept) if kept else -1
            real = kept is not None and kept.type.kind is Kind.FLOAT64
            distinct = one.aggregate is Aggregate.DISTINCT
            scale = kept.type.scale if kept else 0
            window = one.window
            row[:] = (
                one.aggregate, place, real, window.shape, window.size_us, window.delay_us, link if distinct else -1,
                10**scale,
            )  # fmt: skip
            link += distinct
        self.words = link
        self._mark = hashlib.sha256(view.definition.encode()).digest()[:8]
        self._columns = np.arange(len(view.features))

    def pack(self, events: I64, seen_us: int) -> bytes:
        """The bytes of an entity. events: int64[n, 2 + arguments], the oldest first"""
        return self._mark + seen_us.to_bytes(8, "little", signed=True) + events.astype("<i8").tobytes()

    def read(self, states: Sequence[bytes | None], now_us: int) -> list[tuple[Known, ...]]:
        """The features of each entity at an instant (or when it was seen last, if that is later).

        None, and what another definition packed: NOT_FOUND.
        """
        count = len(self.view.features)
        values, nulls = np.zeros((count, len(states)), np.int64), np.ones((count, len(states)), np.uint8)
        seen = [self._replay(state, now_us, values, nulls, place) for place, state in enumerate(states)]
        types = [one.type for one in self.view.features]
        strings = StringTable()  # no feature is a string
        return [
            tuple(
                _known(None if null else value_of(value, kind, strings), at_us, now_us - self.view.ttl_us)
                for value, null, kind in zip(values[:, place].tolist(), nulls[:, place].tolist(), types, strict=True)
            )
            for place, at_us in enumerate(seen)
        ]

    def _replay(self, state: bytes | None, now_us: int, values: I64, nulls: U8, place: int) -> int | None:
        """Fills a column of values and nulls; answers when the entity was seen last, None if it can't be read."""
        if state is None or state[:8] != self._mark:
            return None
        seen_us = int.from_bytes(state[8:HEADER], "little", signed=True)
        events = np.frombuffer(state, "<i8", offset=HEADER).reshape(-1, VALUES + len(self.arguments))
        size = 1 << max(2, (len(events) - 1).bit_length())
        rows = np.zeros((size, self.words), np.int64)
        rows[: len(events), : events.shape[1]] = events
        entity = np.zeros(ENTITY_WORDS, np.int64)
        entity[SIZE], entity[TAIL] = size, len(events)
        cells = np.zeros((len(self.view.features), CELL_WORDS), np.int64)
        move_all(rows, entity, self.table, cells, max(now_us, seen_us))
        tell(rows, entity, self.table, cells, values, nulls, self._columns, place)
        return seen_us


def _known(value: Value | None, seen_us: int | None, oldest_us: int) -> Known:
    if seen_us is None:
        return Known(None, Status.NOT_FOUND, 0)
    if seen_us < oldest_us:
        return Known(value, Status.OUTSIDE_MAX_AGE, seen_us)
    return Known(value, Status.NULL_VALUE if value is None else Status.PRESENT, seen_us)
