"""The measures of an alert: named values of its match, computed from the records when the alert is written.

    records of the matched events ──Decoder──▶ the fields that measures read ──evaluate──▶ {name: value} ──▶ JSON

They are a function of the records alone, so a replay computes the same. What has no value is NULL: an aggregate over
nothing, a division by zero, a field that its record has no good value for, a float64 that overflows.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from decimal import Decimal

import msgspec
import numpy as np

from cep.language.limits import MEASURE_CHARS_MAX
from cep.language.pattern import Pattern, flatten
from events.columns import Column, Layout, StringTable, value_of
from events.decode import Decoder
from events.expression import Event, Value, evaluate, references
from events.schema import Stream, Validate

Taken = Mapping[int, tuple[str, bytes]]
"""Matched events: number in the log → (step, record)."""


def measured(pattern: Pattern, key: Event, matched: Mapping[str, Sequence[Event]]) -> dict[str, Value | None]:
    """Name to value; None is NULL.

    key:     the match's key, by field: what a bare field of a measure means
    matched: the events of each step in order; a step that took none may be left out
    """
    return {measure.name: _finite(evaluate(measure.value, key, matched)) for measure in pattern.measures}


def _finite(value: Value | None) -> Value | None:
    """JSON has no infinity."""
    return None if isinstance(value, float) and not math.isfinite(value) else value


def as_json(value: Value | None) -> msgspec.Raw:
    """A measure as an alert has it: a decimal with its places, an instant in microseconds since 1970.

    >>> [bytes(as_json(value)).decode() for value in (Decimal("812.50"), 3, 0.1, True, "m-9", None)]
    ['812.50', '3', '0.1', 'true', '"m-9"', 'null']
    """
    if isinstance(value, Decimal):
        return msgspec.Raw(f"{value:f}".encode())
    if isinstance(value, str) and len(value) > MEASURE_CHARS_MAX:
        value = value[: MEASURE_CHARS_MAX - 1] + "…"
    return msgspec.Raw(msgspec.json.encode(value))


class MeasuredFields:
    """Reads out of a pattern's matched records the fields that its measures need; features and scores aren't there."""

    def __init__(self, pattern: Pattern, streams: Sequence[Stream]) -> None:
        first = pattern.streams[0]
        self._stream_of = {step.name: step.stream or first for step in flatten(pattern.steps)}
        recorded = {stream.name: {field.name for field in stream.fields} for stream in streams}
        read: dict[str, set[str]] = {}
        for measure in pattern.measures:
            for past in references(measure.value):
                if past.field and past.field in recorded[self._stream_of[past.step]]:
                    read.setdefault(self._stream_of[past.step], set()).add(past.field)
        self._fields = {stream.name: _Fields(stream, sorted(read[stream.name])) for stream in streams
                        if stream.name in read}  # fmt: skip

    def read(self, taken: Taken) -> dict[int, Event]:
        """Number in the log → the fields of its record; those without a good value are left out, as NULL is."""
        found: dict[int, Event] = {number: {} for number in taken}
        for name, fields in self._fields.items():
            mine = {number: record for number, (step, record) in taken.items() if self._stream_of[step] == name}
            found.update(zip(mine, fields.read(list(mine.values())), strict=True))
        return found


class _Fields:
    """Some fields of one stream's records. Any may be missing: only those that conditions read were ever checked."""

    def __init__(self, stream: Stream, names: Sequence[str]) -> None:
        fields = (replace(field, nullable=field.name != stream.event_time) for field in stream.fields)
        needed = replace(stream, fields=tuple(fields), key=(), event_id=None, validate=Validate.NEEDED)
        self._strings = StringTable()
        self._columns = [Column(stream.name, name, stream.field(name).type) for name in names]
        self._together = self._decoder(needed, self._columns)
        self._alone = [self._decoder(needed, [column]) for column in self._columns]

    def _decoder(self, stream: Stream, columns: Sequence[Column]) -> Decoder:
        return Decoder(stream, Layout((stream.name,), tuple(columns)), self._strings)

    def read(self, records: Sequence[bytes]) -> list[Event]:
        """The known fields of each record."""
        events: list[dict[str, Value | None]] = [{} for _ in records]
        left = self._fill(self._together, self._columns, records, range(len(records)), events)
        if left:  # for one bad field the others count all the same
            for column, decoder in zip(self._columns, self._alone, strict=True):
                self._fill(decoder, [column], [records[row] for row in left], left, events)
        self._strings.keep(np.zeros(0, np.int64))
        return list(events)

    def _fill(
        self,
        decoder: Decoder,
        columns: Sequence[Column],
        records: Sequence[bytes],
        rows: Sequence[int],
        events: Sequence[dict[str, Value | None]],
    ) -> list[int]:
        """Fill in the columns' values; answers the rows of records that could not be decoded."""
        decoded = decoder.decode(records)
        good = [rows[row] for row in decoded.rows.tolist()]
        for column, values, nulls in zip(columns, decoded.values.tolist(), decoded.nulls.tolist(), strict=True):
            for row, value, null in zip(good, values, nulls, strict=True):
                if not null:
                    events[row][column.name] = value_of(value, column.type, self._strings)
        return [rows[rejected.row] for rejected in decoded.rejected]
