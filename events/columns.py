"""Batch: events as columns, and the string table that turns text into codes.

values[c, i]   int64, column c of event i (float64 columns hold their bits: `values.view(float64)`)
nulls[c, i]    uint8, 1 where the field is absent, null, or of another stream
at_us[i]       int64, non-decreasing: the instant matching uses as "now"
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Protocol

import numpy as np
import numpy.typing as npt

from events.errors import LimitReached
from events.types import Kind, Type

I16 = npt.NDArray[np.int16]
I32 = npt.NDArray[np.int32]
I64 = npt.NDArray[np.int64]
U8 = npt.NDArray[np.uint8]
F64 = npt.NDArray[np.float64]

STRINGS_MAX = 4_000_000
"""Distinct strings one lane's table may hold."""


@dataclass(frozen=True, slots=True)
class Column:
    """One column of a layout: a field of a stream."""

    stream: str
    name: str
    type: Type


@dataclass(frozen=True, slots=True)
class Layout:
    """Which columns a batch has, in order: only the fields that a pattern, key or view reads."""

    streams: tuple[str, ...]
    columns: tuple[Column, ...]
    positions: dict[tuple[str, str], int] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        places = {(column.stream, column.name): place for place, column in enumerate(self.columns)}
        object.__setattr__(self, "positions", places)


class Records(Protocol):
    """The events of a batch as they came, for what leaves with an alert. Row numbers are the batch's."""

    def event_id(self, row: int) -> str:
        """The producer's unique id where the schema names one, else topic/partition/offset."""

    def payload(self, row: int) -> bytes:
        """The event as JSON text."""


@dataclass(frozen=True, slots=True)
class Batch:
    """Events in the order in which they are matched (shapes in the module docstring).

    stream:       int16[n], position in `layout.streams`
    event_at_us:  int64[n], each event's own time (equals at_us unless the stream is ordered by arrival)
    """

    layout: Layout
    stream: I16
    at_us: I64
    event_at_us: I64
    values: I64
    nulls: U8
    records: Records

    def __len__(self) -> int:
        return len(self.at_us)


class StringTable:
    """Text to code and back; codes are dense from 0 and recycled by `keep`.

    One table per lane, shared by all streams and columns, so that equal text has equal codes. `generation` changes when
    codes were freed: whoever remembers codes forgets them then.
    """

    def __init__(self, limit: int = STRINGS_MAX) -> None:
        self.limit = limit
        self.codes: dict[str, int] = {}
        self.texts: list[str | None] = []
        self.free: list[int] = []
        self.generation = 0

    def __len__(self) -> int:
        return len(self.codes)

    def code(self, text: str) -> int:
        """The code of `text`, a new one if it has none.

        Raises LimitReached when the table is full.
        """
        found = self.codes.get(text)
        if found is not None:
            return found
        if len(self.codes) >= self.limit:
            raise LimitReached(
                f"string table: all {self.limit} strings are in use",
                "raise limits.strings_max, or key and compare by fields with fewer distinct values",
            )
        if self.free:
            place = self.free.pop()
            self.texts[place] = text
        else:
            place = len(self.texts)
            self.texts.append(text)
        self.codes[text] = place
        return place

    def text(self, code: int) -> str:
        """The text of a code in use."""
        text = self.texts[code]
        assert text is not None, f"string code {code} is free"
        return text

    def keep(self, live: Sequence[int] | npt.NDArray[np.int64]) -> int:
        """Free every code that is not in `live`; answers how many were freed."""
        kept = set(np.asarray(live, np.int64).tolist())
        freed = [code for code in self.codes.values() if code not in kept]
        for code in freed:
            text = self.texts[code]
            assert text is not None
            del self.codes[text]
            self.texts[code] = None
        self.free.extend(reversed(freed))
        self.generation += 1
        return len(freed)


def value_of(stored: int, kind: Type, strings: StringTable) -> int | float | Decimal | bool | str:
    """What an int64 of a column means (`events.types`), as `expression.evaluate` has it: an instant is an integer.

    >>> value_of(81250, Type(Kind.DECIMAL, 12, 2), StringTable()), value_of(1, Type(Kind.BOOL), StringTable())
    (Decimal('812.50'), True)
    """
    if kind.kind is Kind.DECIMAL:
        return Decimal(stored).scaleb(-kind.scale)
    if kind.kind is Kind.FLOAT64:
        return float(np.int64(stored).view(np.float64))
    if kind.kind is Kind.STRING:
        return strings.text(stored)
    return bool(stored) if kind.kind is Kind.BOOL else stored
