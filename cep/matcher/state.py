"""State: every partial match of a lane as flat arrays; growing, compacting, copying.

A snapshot is `copy()`; there is nothing else to save. Layouts: `columns`.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any, TypeVar, cast

import numpy as np
import numpy.typing as npt

from cep.matcher import columns as c
from cep.matcher.collect import collect, compact_cells
from cep.matcher.keys import KEY_FIELDS_MAX, rebuild
from cep.matcher.tables import Tables
from events.columns import F64, I32, I64
from events.errors import LimitReached

Array = TypeVar("Array", bound=npt.NDArray[Any])

ROWS_MAX = 1 << 28
"""Rows of any one array of state."""


@dataclass(slots=True)
class State:
    """The arrays (see `columns` for their columns)."""

    cells: I32
    chains: I32
    partials: I32
    starts: I32
    links: I32
    events: I64
    registers: I64
    held: I32
    queue: I32
    queue_heads: I64
    slots: I64
    slot_table: I32
    cell_index: I64
    counters: I64

    @classmethod
    def empty(cls, rows: int = 4096) -> State:
        """No key, no partial; room for `rows` of each (a power of two)."""
        counters = np.zeros(c.COUNTERS_ALL, np.int64)
        for place in (c.FREE_CHAIN, c.FREE_PARTIAL, c.FREE_START, c.FREE_HELD):
            counters[place] = -1
        counters[c.N_REGISTERS] = c.REGISTER_HEAD + c.REGISTERS_MAX  # row 0 is the start state's: nothing seen
        return cls(
            cells=aligned((rows, c.CELL_WIDTH), np.int32),
            chains=aligned((rows, c.CHAIN_WIDTH), np.int32),
            partials=aligned((rows, c.PARTIAL_WIDTH), np.int32),
            starts=aligned((rows, c.START_WIDTH), np.int32, -1),
            links=aligned((8 * rows, c.LINK_WIDTH), np.int32),
            events=aligned((8 * rows, c.EVENT_WIDTH), np.int64),
            registers=aligned((4 * rows,), np.int64),
            held=aligned((rows, c.HELD_WIDTH), np.int32),
            queue=aligned((0, c.QUEUE_WIDTH), np.int32),
            queue_heads=aligned((0, c.QUEUE_HEAD_WIDTH), np.int64),
            slots=aligned((rows, c.SLOT_WIDTH), np.int64, -1),
            slot_table=aligned((2 * rows,), np.int32, -1),
            cell_index=aligned((2 * rows, 2), np.int64, -1),
            counters=counters,
        )

    @property
    def start_at(self) -> I64:
        """int64[starts]: the instant of each start, inside its row."""
        return self.starts.view(np.int64)[:, c.START_AT]

    @property
    def bounds(self) -> F64:
        """float64[chains]: the bound of each chain, inside its row."""
        return self.chains.view(np.float64)[:, c.CHAIN_BOUND]

    @property
    def slot_keys(self) -> I64:
        """int64[slots, 1 + KEY_FIELDS_MAX]: key space and values."""
        return self.slots[:, : 1 + KEY_FIELDS_MAX]

    @property
    def slot_hot(self) -> I64:
        """int64[slots]: the head of each slot's list of hot cells."""
        return self.slots[:, c.SLOT_HOT]

    @property
    def cell_keys(self) -> I64:
        """int64[2^n]: slot and plan of each place in the table of cells."""
        return self.cell_index[:, 0]

    @property
    def cell_table(self) -> I64:
        """int64[2^n]: the cell of each place."""
        return self.cell_index[:, 1]

    def copy(self) -> State:
        """Every array copied."""
        arrays = self.arrays().items()
        copies = {name: aligned(array.shape, array.dtype) for name, array in arrays}
        for name, array in arrays:
            copies[name][...] = array
        return State(**copies)

    def arrays(self) -> dict[str, npt.NDArray[Any]]:
        """The arrays by name, for a snapshot."""
        return {field.name: getattr(self, field.name) for field in fields(self)}

    @property
    def bytes(self) -> int:
        """Memory held by the arrays."""
        return sum(array.nbytes for array in self.arrays().values())

    def fit_plans(self, count: int) -> None:
        """Give every plan an expiry ring."""
        known = len(self.queue_heads)
        if count <= known:
            return
        heads = np.zeros((count, c.QUEUE_HEAD_WIDTH), np.int64)
        heads[:known] = self.queue_heads
        ring = 256
        for plan in range(known, count):
            heads[plan, c.QH_OFFSET] = len(self.queue) + (plan - known) * ring
            heads[plan, c.QH_CAPACITY] = ring
            heads[plan, c.QH_DUE] = np.iinfo(np.int64).max
        self.queue = np.concatenate([self.queue, np.zeros(((count - known) * ring, c.QUEUE_WIDTH), np.int32)])
        self.queue_heads = heads

    # -- room -----------------------------------------------------------------------------------------------------

    def grow(self, need: int, tables: Tables) -> None:
        """Make room for what a kernel asked for: counters[NEED] rows of the array `need`. Raises LimitReached."""
        more = int(self.counters[c.NEED])
        if need == c.NEED_QUEUE:
            self.grow_queue(more)
        elif need == c.NEED_LINKS or need == c.NEED_EVENTS:
            self.collect_or_grow(need, more)
        elif need == c.NEED_CELLS:
            self.cells = longer(self.cells, 1)
            self.rehash(tables)
        elif need == c.NEED_SLOTS:
            self.slots = longer(self.slots, 1, -1)
            self.rehash(tables)
        elif need == c.NEED_STARTS:
            self.starts = longer(self.starts, more, -1)
        else:
            name = {
                c.NEED_CHAINS: "chains",
                c.NEED_PARTIALS: "partials",
                c.NEED_HELD: "held",
                c.NEED_REGISTERS: "registers",
            }[need]
            setattr(self, name, longer(getattr(self, name), more))

    def compact_keys(self, tables: Tables) -> None:
        """Free cells without partials and slots without cells, when they take half of a full array."""
        cells, slots = int(self.counters[c.N_CELLS]), int(self.counters[c.N_SLOTS])
        if 2 * cells <= len(self.cells) and 2 * slots <= len(self.slots):
            return
        used = (self.cells[:cells, c.L_START] != -1) | (self.cells[:cells, c.L_HELD] != -1)
        if 2 * int(used.sum()) > cells:
            return
        compact_cells(
            self.cells, self.starts, self.slot_keys, self.slot_hot, self.counters, np.full(slots, -1, np.int32)
        )
        self.rehash(tables)

    def rehash(self, tables: Tables) -> None:
        """Both hash tables at most half full, filled anew."""
        slots = 2 * len(self.slots)
        cells = 2 * len(self.cells)
        self.slot_table = aligned((power_of_two(slots),), np.int32, -1)
        self.cell_index = aligned((power_of_two(cells), 2), np.int64, -1)
        rebuild(
            tables.keyspaces,
            self.slot_keys,
            self.slot_table,
            self.cells,
            self.cell_keys,
            self.cell_table,
            self.counters,
        )

    def grow_queue(self, plan: int) -> None:
        """Twice the ring for one plan; the others keep theirs."""
        heads = self.queue_heads
        capacities = heads[:, c.QH_CAPACITY].copy()
        capacities[plan] *= 2
        queue = np.zeros((int(capacities.sum()), c.QUEUE_WIDTH), np.int32)
        offset = 0
        for place in range(len(heads)):
            old, length, first = (int(heads[place, at]) for at in (c.QH_OFFSET, c.QH_LENGTH, c.QH_HEAD))
            order = old + (first + np.arange(length)) % int(heads[place, c.QH_CAPACITY])
            queue[offset : offset + length] = self.queue[order]
            heads[place, c.QH_OFFSET], heads[place, c.QH_HEAD] = offset, 0
            heads[place, c.QH_CAPACITY] = capacities[place]
            offset += int(capacities[place])
        self.queue = queue

    def collect_or_grow(self, need: int, more: int) -> None:
        """Free the links and events that no partial reaches; grow when more than a quarter is left."""
        self.collect_links()
        links, events = int(self.counters[c.N_LINKS]), int(self.counters[c.N_EVENTS])
        if 4 * (links + (more if need == c.NEED_LINKS else 0)) > len(self.links):
            self.links = longer(self.links, more)
        if 4 * (events + (more if need == c.NEED_EVENTS else 0)) > len(self.events):
            self.events = longer(self.events, more)

    def collect_links(self) -> I32:
        """Mark and compact links and events; answers the old rows of the events kept, in order."""
        kept_links = np.full(int(self.counters[c.N_LINKS]), -1, np.int32)
        kept_events = np.full(int(self.counters[c.N_EVENTS]), -1, np.int32)
        collect(
            self.partials,
            self.starts,
            self.links,
            self.events,
            self.held,
            self.cells,
            self.queue,
            self.queue_heads,
            self.counters,
            kept_links,
            kept_events,
        )
        return np.flatnonzero(kept_events >= 0).astype(np.int32)


LINE = 64


def aligned(shape: tuple[int, ...], dtype: npt.DTypeLike, fill: int = 0) -> npt.NDArray[Any]:
    """An array that begins at a cache line, so that a row of 32 or 64 bytes lies in one."""
    size = int(np.prod(shape)) * np.dtype(dtype).itemsize
    room = np.empty(size + LINE, np.uint8)
    first = -room.ctypes.data % LINE
    array = room[first : first + size].view(dtype).reshape(shape)
    array[...] = fill
    return array


def power_of_two(rows: int) -> int:
    """The least power of two that is at least `rows`."""
    return 1 << max(rows - 1, 1).bit_length()


def longer(array: Array, more: int, fill: int = 0) -> Array:
    """A copy with room for at least `more` further rows, at least twice as long."""
    rows = max(2 * len(array), power_of_two(len(array) + more))
    if rows > ROWS_MAX:
        raise LimitReached(
            f"state of the matcher: an array would grow beyond {ROWS_MAX} rows",
            "shorten windows, bound loops, or spread the keys over more lanes",
        )
    grown = aligned((rows, *array.shape[1:]), array.dtype, fill)
    grown[: len(array)] = array
    return cast(Array, grown)
