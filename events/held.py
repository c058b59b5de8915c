"""Events on their way to the matcher: rows, and the arena in which they wait until their turn."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from events.columns import I64, U8
from events.texts import NO_TEXTS, Texts

SOURCE, OFFSET, LOG_AT, AT, EVENT_AT, MARKED = range(6)
HEADS = 6


@dataclass(slots=True)
class Rows:
    """Events on their way, n of them.

    numbers: int64[HEADS + c, n]: source (its place in `Orderer.sources`), offset, log timestamp, the instant by which
             it is ordered, event time, 1 where late; then the columns of the layout
    nulls:   uint8[c, n]
    """

    numbers: I64
    nulls: U8
    raw: Texts
    ids: Sequence[str | None] | None

    def __len__(self) -> int:
        return int(self.numbers.shape[1])

    def take(self, places: I64) -> Rows:
        """The rows at `places` (ascending or not, each at most once)."""
        n = len(places)
        if n and int(places[-1]) - int(places[0]) == n - 1 and bool((places[1:] > places[:-1]).all()):
            part = slice(int(places[0]), int(places[-1]) + 1)
            some = self.ids[part] if self.ids is not None else None
            return Rows(self.numbers[:, part], self.nulls[:, part], self.raw[part], some)
        ids = [self.ids[place] for place in places.tolist()] if self.ids is not None else None
        return Rows(self.numbers.take(places, axis=1), self.nulls.take(places, axis=1), self.raw.take(places), ids)

    def sorted_by(self, key: I64) -> Rows:
        """By (key, source); rows of one source and key stay as they are."""
        source = self.numbers[SOURCE]
        if len(self) < 2 or bool(((key[1:] > key[:-1]) | ((key[1:] == key[:-1]) & (source[1:] >= source[:-1]))).all()):
            return self
        return self.take(np.lexsort((source, key)))

    def in_order(self) -> Rows:
        """By (instant, source); rows of one source and instant stay as they are: by offset."""
        return self.sorted_by(self.numbers[AT])


def no_rows(columns: int) -> Rows:
    """None at all, with `columns` columns."""
    return Rows(np.empty((HEADS + columns, 0), np.int64), np.empty((columns, 0), np.uint8), NO_TEXTS, None)


def joined(parts: Sequence[Rows], columns: int) -> Rows:
    """One after the other."""
    some = [part for part in parts if len(part)]
    if len(some) < 2:
        return some[0] if some else no_rows(columns)
    ids: list[str | None] | None = None
    if any(part.ids is not None for part in some):
        ids = [text for part in some for text in (part.ids if part.ids is not None else [None] * len(part))]
    return Rows(
        np.concatenate([part.numbers for part in some], axis=1),
        np.concatenate([part.nulls for part in some], axis=1),
        Texts.joined([part.raw for part in some]),
        ids,
    )


@dataclass(slots=True)
class _Run:
    """Held events by their instant: at_us ascending, slot in the arena."""

    at_us: I64
    slot: I64

    def __len__(self) -> int:
        return len(self.at_us)


class Held:
    """Rows in an arena, found by runs of (instant, slot).

        runs    ├──────────────────────────┤├────────────┤├─────┤├─┤     each at least twice as long as the next
        arena   slots with numbers, nulls, raw, ids; `free` is a stack of unused slots

    `put` adds a run and merges while the last is more than half as long as the one before, so an event is merged a
    logarithmic number of times (as instant and slot only); `release` cuts the beginning off each run.
    """

    def __init__(self, columns: int) -> None:
        self.count = 0
        self._columns = columns
        self._runs: list[_Run] = []
        self._has_ids = False
        self._empty()

    def _empty(self) -> None:
        self._numbers = np.empty((HEADS + self._columns, 0), np.int64)
        self._nulls = np.empty((self._columns, 0), np.uint8)
        self._raw = np.empty(0, object)
        self._ids = np.empty(0, object)
        self._free = np.empty(0, np.int64)
        self._n_free = 0

    def put(self, rows: Rows) -> None:
        """Hold these."""
        n = len(rows)
        if not n:
            return
        if self._n_free < n:
            self._grow(n)
        slot = self._free[self._n_free - n : self._n_free].copy()
        self._n_free -= n
        self._numbers[:, slot] = rows.numbers
        self._nulls[:, slot] = rows.nulls
        self._raw[slot] = np.fromiter(rows.raw, object, n)
        if rows.ids is not None:
            self._has_ids = True
            self._ids[slot] = np.fromiter(rows.ids, object, n)
        self.count += n
        self._runs.append(_run(rows.numbers[AT], slot))
        while len(self._runs) > 1 and 2 * len(self._runs[-1]) > len(self._runs[-2]):
            last, before = self._runs.pop(), self._runs.pop()
            self._runs.append(_merged([before, last]))

    def release(self, until_us: int) -> Rows:
        """Let go of all at or before `until_us`, by instant; equal instants of one source stay in order of offset."""
        due: list[_Run] = []
        for run in self._runs:
            if run.at_us[0] <= until_us:
                cut = int(np.searchsorted(run.at_us, until_us, "right"))
                due.append(_Run(run.at_us[:cut], run.slot[:cut]))
                run.at_us, run.slot = run.at_us[cut:], run.slot[cut:]
        if not due:
            return no_rows(self._columns)
        self._runs = [run for run in self._runs if len(run)]
        slot = _merged(due).slot
        rows = self._rows(slot)
        self._raw[slot] = None
        self._ids[slot] = None
        self._free[self._n_free : self._n_free + len(slot)] = slot
        self._n_free += len(slot)
        self.count -= len(slot)
        if not self.count:
            self._empty()
        return rows

    def all(self) -> Rows:
        """What is held, in the order of release; it stays held."""
        return self._rows(_merged(self._runs).slot).in_order() if self._runs else no_rows(self._columns)

    def first_us(self) -> int | None:
        """The earliest instant held."""
        return min((int(run.at_us[0]) for run in self._runs), default=None)

    def instant_us(self, nth: int) -> int:
        """The instant of the nth held event (from 1)."""
        return int(np.partition(np.concatenate([run.at_us for run in self._runs]), nth - 1)[nth - 1])

    def _rows(self, slot: I64) -> Rows:
        ids = self._ids[slot].tolist() if self._has_ids else None
        raw = Texts.of(self._raw[slot].tolist())
        return Rows(self._numbers.take(slot, axis=1), self._nulls.take(slot, axis=1), raw, ids)

    def _grow(self, n: int) -> None:
        size = len(self._raw)
        more = max(n, size, 1024)
        self._numbers = np.concatenate((self._numbers, np.empty((HEADS + self._columns, more), np.int64)), axis=1)
        self._nulls = np.concatenate((self._nulls, np.empty((self._columns, more), np.uint8)), axis=1)
        self._raw = np.concatenate((self._raw, np.empty(more, object)))
        self._ids = np.concatenate((self._ids, np.empty(more, object)))
        free = np.empty(size + more, np.int64)
        free[: self._n_free] = self._free[: self._n_free]
        free[self._n_free : self._n_free + more] = np.arange(size, size + more)
        self._free = free
        self._n_free += more


def _run(at_us: I64, slot: I64) -> _Run:
    """By instant; equal instants stay in the order given."""
    if bool((at_us[1:] >= at_us[:-1]).all()):
        return _Run(at_us, slot)
    order = np.argsort(at_us, kind="stable")
    return _Run(at_us[order], slot[order])


def _merged(runs: Sequence[_Run]) -> _Run:
    """One run of all; equal instants stay in the order of `runs`."""
    if len(runs) == 1:
        return runs[0]
    return _run(np.concatenate([run.at_us for run in runs]), np.concatenate([run.slot for run in runs]))
