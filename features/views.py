"""LiveView: a feature view in the lane. It keeps the events of every entity's windows and fills the view's columns.

    batch ─▶ the stream's rows ─▶ the entity's place ─▶ windows move, the event enters ─▶ values[view.feature], in place

Each event is given the features as of itself, so that any split into batches gives the same, and a pattern that starts
to read a feature finds it as if it had always done so. A view's numbers are those of the lane: an entity has to be, or
to be part of, what the stream is partitioned by, or a lane sees only its share of the entity's events.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np

from events.columns import I16, I32, I64, U8, Batch, Column, Layout
from events.expression import fields_of
from events.kernel import Int, compiled
from events.order import NEVER_US
from events.program import compile_program, run, scratch
from events.types import Kind
from features import packed
from features.definition import View
from features.entities import (
    COUNTERS,
    DROPPED,
    ENTITIES_N,
    REFUSED,
    TOUCHED_N,
    insert,
    larger,
    place_of,
    sweep,
)
from features.windows import (
    AT,
    BITS,
    CELL_WORDS,
    ENTITY_WORDS,
    FIRST,
    HEAD,
    SEEN_US,
    SIZE,
    TAIL,
    TOUCHED,
    VALUES,
    drop_oldest,
    move_all,
    row_of,
    tell,
)

EVENTS_MAX = 1 << 14
"""Of one entity. At the limit its oldest is let go before its time, counted (`dropped`)."""

ENTITIES_MAX = 4_000_000
"""Of one view. At the limit an entity that was not seen before gets no features: null, counted (`refused`)."""

DONE, ENTITIES, ROWS = range(3)
"""Why `feed` came back: the batch is done; there is no room for an entity, for events."""

PLACE, STREAM, CURRENT, ENTITIES_LIMIT, EVENTS_LIMIT, SWEEP_US = range(6)
"""What `feed` is told in `orders`: where to go on; the stream; includes_current; the two limits; from which instant on
a full view looks again for who is past the TTL."""

SWEEPS = 16
"""Within a TTL, while a view is full."""


class Changed(NamedTuple):
    """An entity whose events have changed. entity: its fields' values.   packed: all that its features follow from"""

    entity: tuple[str | int, ...]
    packed: bytes


@compiled
def place_event(rows: I64, entity: I64, features: I64, cells: I64, counters: I64, free: I64, limit: Int) -> bool:
    """Makes room for one more event of an entity. False: `rows` has none."""
    if entity[TAIL] - entity[HEAD] < entity[SIZE]:
        return True
    if entity[SIZE] >= limit:
        drop_oldest(rows, entity, features, cells)
        counters[DROPPED] += 1
        return True
    return larger(rows, entity, counters, free)


@compiled
def bits_of_event(arguments: I64, ops: I16, args: I64, ends: I64, values: I64, nulls: U8, row: Int, stack: I64) -> Int:
    """A bit for each feature in which an event counts.

    arguments: int64[f], the row of `values` of each feature's field, -1 where it has none
    ends:      int64[f, 2], from where to where its program lies in `ops`; empty: every event counts
    """
    bits = np.int64(0)
    for number in range(arguments.shape[0]):
        counts = arguments[number] < 0 or nulls[arguments[number], row] == 0
        if counts and ends[number, 0] < ends[number, 1]:
            counts = (
                run(
                    ops, args, ends[number, 0], ends[number, 1], values, nulls, np.int64(row), stack, np.int64(0),
                    np.uint64(0), stack,
                )
                != 0
            )  # fmt: skip
        if counts:
            bits |= np.int64(1) << number
    return bits


@compiled
def feed(
    orders: I64, stream: I16, at_us: I64, values: I64, nulls: U8, keys: I64, table: I32, entities: I64, cells: I64,
    rows: I64, counters: I64, free: I64, touched: I32, features: I64, fields: I64, kept: I64, arguments: I64,
    columns: I64, ops: I16, args: I64, ends: I64, stack: I64,
) -> Int:  # fmt: skip
    """Events from orders[PLACE] on; comes back when it needs room, having changed nothing of the event at hand.

    fields: int64[k], the rows of `values` of the entity's fields.   kept: int64[a], those of what is kept of an event
    columns: those that the features go to
    """
    for row in range(orders[PLACE], stream.shape[0]):
        orders[PLACE] = row
        if stream[row] != orders[STREAM]:
            continue
        place = place_of(keys, table, fields, values, nulls, row)
        if place == -1 and counters[ENTITIES_N] >= entities.shape[0]:
            if counters[ENTITIES_N] < orders[ENTITIES_LIMIT] or at_us[row] >= orders[SWEEP_US]:
                return ENTITIES
            counters[REFUSED] += 1
            place = np.int64(-2)
        if place == -2:
            for number in range(columns.shape[0]):
                if columns[number] >= 0:
                    nulls[columns[number], row] = 1
            continue
        if place == -1:
            place = insert(keys, table, entities, cells, counters, fields, values, row)
        entity = entities[place]
        mine = cells[place]
        now_us = at_us[row]
        move_all(rows, entity, features, mine, now_us)
        bits = bits_of_event(arguments, ops, args, ends, values, nulls, row, stack)
        if bits != 0 and not place_event(rows, entity, features, mine, counters, free, orders[EVENTS_LIMIT]):
            return ROWS
        entity[SEEN_US] = now_us
        if orders[CURRENT] == 0:
            tell(rows, entity, features, mine, values, nulls, columns, row)
        if bits != 0:
            at = row_of(entity, entity[TAIL])
            rows[at, AT] = now_us
            rows[at, BITS] = bits
            for number in range(kept.shape[0]):
                rows[at, VALUES + number] = values[kept[number], row]
            entity[TAIL] += 1
            if entity[TOUCHED] == 0:
                entity[TOUCHED] = 1
                touched[counters[TOUCHED_N]] = place
                counters[TOUCHED_N] += 1
        if orders[CURRENT] != 0:
            if bits != 0:
                move_all(rows, entity, features, mine, now_us)
            tell(rows, entity, features, mine, values, nulls, columns, row)
    orders[PLACE] = stream.shape[0]
    return DONE


class LiveView:
    """One view, running. One thread uses it.

    refused: events whose entity had no place.   dropped: events let go before their time
    """

    def __init__(self, view: View, entities_max: int = ENTITIES_MAX, events_max: int = EVENTS_MAX) -> None:
        """entities_max, events_max: the limits of the module; the latter a power of two."""
        self.view = view
        self.shape = packed.Shape(view)
        self._limits = entities_max, events_max
        self._features = self.shape.table
        count = min(1024, entities_max)
        self._keys = np.zeros((count, len(view.entity)), np.int64)
        self._table = np.full(4096, -1, np.int32)
        self._entities = np.zeros((count, ENTITY_WORDS), np.int64)
        self._cells = np.zeros((count, len(view.features), CELL_WORDS), np.int64)
        self._rows = np.zeros((4096, self.shape.words), np.int64)
        self._touched = np.zeros(count, np.int32)
        self._counters = np.zeros(COUNTERS, np.int64)
        self._free = np.full(64, -1, np.int64)
        self._stack = scratch()
        self._stream = -1
        self._sweep_us = NEVER_US
        self._fields = self._kept = self._arguments = self._columns = np.zeros(0, np.int64)
        self._ops, self._args = np.zeros(0, np.int16), np.zeros(0, np.int64)
        self._ends = np.zeros((len(view.features), 2), np.int64)

    @property
    def refused(self) -> int:
        """Events without features, as there was no place for their entity."""
        return int(self._counters[REFUSED])

    @property
    def dropped(self) -> int:
        """Events let go before their time, as their entity had too many."""
        return int(self._counters[DROPPED])

    def __len__(self) -> int:
        """How many entities it knows."""
        return int(self._counters[ENTITIES_N])

    def needed(self) -> set[tuple[str, str]]:
        """The columns that it reads."""
        view = self.view
        names = {field.name for field in (*view.entity, *(one.argument for one in view.features)) if field}
        names.update(*(fields_of(one.where) for one in view.features if one.where is not None))
        return {(view.stream, name) for name in names}

    def columns(self) -> tuple[Column, ...]:
        """The columns that it fills."""
        return tuple(Column(self.view.stream, field.name, field.type) for field in self.view.columns)

    def use(self, layout: Layout, code: Callable[[str], int]) -> None:
        """From here on batches have this layout; `code` gives a string's code."""
        view, place = self.view, layout.positions
        self._stream = layout.streams.index(view.stream) if view.stream in layout.streams else -1
        if self._stream < 0:
            return
        column_of = {name: at for (stream, name), at in place.items() if stream == view.stream}
        self._fields = np.array([column_of[one.name] for one in view.entity], np.int64)
        self._kept = np.array([column_of[one.name] for one in self.shape.arguments], np.int64)
        asked = [one.argument for one in view.features]
        self._arguments = np.array([column_of[one.name] if one else -1 for one in asked], np.int64)
        self._columns = np.array([column_of.get(one.name, -1) for one in view.columns], np.int64)
        ops: list[I16] = [np.zeros(0, np.int16)]
        args: list[I64] = [np.zeros(0, np.int64)]
        end = 0
        for number, feature in enumerate(view.features):
            self._ends[number] = end
            if feature.where is not None:
                program = compile_program(feature.where, column_of.__getitem__, _no_register, code)
                ops.append(program.ops)
                args.append(program.args)
                end += len(program.ops)
                self._ends[number, 1] = end
        self._ops, self._args = np.concatenate(ops), np.concatenate(args)

    def compute(self, batch: Batch) -> None:
        """Fills the columns of the view's features, event by event, in place."""
        if self._stream < 0:
            return
        entities_max, events_max = self._limits
        orders = np.array(
            [0, self._stream, self.view.includes_current, entities_max, events_max, self._sweep_us], np.int64
        )
        while wanted := feed(
            orders, batch.stream, batch.at_us, batch.values, batch.nulls, self._keys, self._table, self._entities,
            self._cells, self._rows, self._counters, self._free, self._touched, self._features, self._fields,
            self._kept, self._arguments, self._columns, self._ops, self._args, self._ends, self._stack,
        ):  # fmt: skip
            if wanted == ENTITIES:
                self._more_entities(int(batch.at_us[orders[PLACE]]))
                orders[SWEEP_US] = self._sweep_us
            else:
                self._rows = _longer(self._rows, 2 * len(self._rows))

    def _more_entities(self, now_us: int) -> None:
        """Forgets who is past the TTL; doubles the room unless that was enough."""
        self._sweep(now_us - self.view.ttl_us)
        self._sweep_us = now_us + max(1, self.view.ttl_us // SWEEPS)
        if len(self._entities) == self._limits[0] or len(self) <= len(self._entities) * 3 // 4:
            return
        count = min(2 * len(self._entities), self._limits[0])
        self._keys, self._entities = _longer(self._keys, count), _longer(self._entities, count)
        self._cells, self._touched = _longer(self._cells, count), _longer(self._touched, count)
        if 2 * count > len(self._table):
            self._table = np.full(4 * len(self._table), -1, np.int32)
            self._sweep(NEVER_US)  # nobody is older: it only enters all of them

    def _sweep(self, since_us: int) -> None:
        sweep(
            self._keys, self._table, self._entities, self._cells, self._rows, self._counters, self._free, self._touched,
            since_us,
        )  # fmt: skip

    def changed(self, text: Callable[[int], str]) -> Iterator[Changed]:
        """The entities with new events since this was asked last, as they are now. text: of a string's code."""
        kinds = [one.type.kind for one in self.view.entity]
        count = int(self._counters[TOUCHED_N])
        self._counters[TOUCHED_N] = 0
        for place in self._touched[:count].tolist():
            entity = self._entities[place]
            entity[TOUCHED] = 0
            keys = zip(self._keys[place].tolist(), kinds, strict=True)
            yield Changed(
                tuple(text(key) if kind is Kind.STRING else key for key, kind in keys),
                self.shape.pack(self._events(entity), int(entity[SEEN_US])),
            )

    def _events(self, entity: I64) -> I64:
        """The kept events of an entity, the oldest first."""
        numbers = np.arange(entity[HEAD], entity[TAIL])
        return self._rows[entity[FIRST] + (numbers & (entity[SIZE] - 1)), : VALUES + len(self.shape.arguments)]


def _no_register(_: object) -> int:
    raise AssertionError("a view's condition reads no step")


def _longer(array: np.ndarray, count: int) -> np.ndarray:
    more = np.zeros((count, *array.shape[1:]), array.dtype)
    more[: len(array)] = array
    return more
