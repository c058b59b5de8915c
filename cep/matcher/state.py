"""State: every partial match of a lane as flat arrays; growing, compacting, copying.

A snapshot is `copy()`; there is nothing else to save. Layouts: `records`.
"""

from __future__ import annotations

import mmap
from dataclasses import dataclass, fields
from typing import Any, TypeVar, cast

import numpy as np
import numpy.typing as npt

from cep.matcher import records as c
from cep.matcher.collect import collect, compact_cells
from cep.matcher.expire import sweep
from cep.matcher.keys import rebuild, relink
from cep.matcher.records import U32, Records
from cep.matcher.tables import Tables
from events.columns import I32, I64
from events.errors import LimitReached

Array = TypeVar("Array", bound=npt.NDArray[Any])

ROWS_MAX = 1 << 28
"""Rows of any one array of state."""
ROWS_FEW = 1 << 20
"""Up to so many rows an array grows fourfold."""


@dataclass(slots=True)
class State:
    """The arrays (see `records` for their fields, `keys` for the tables)."""

    cells: Records
    chains: Records
    partials: Records
    links: Records
    events: Records
    held: Records
    queue: Records
    rings: Records
    slots: Records
    slot_keys: I64
    slot_table: U32
    direct: I32
    index: Records
    counters: I64

    @classmethod
    def empty(cls, rows: int = 4096) -> State:
        """No key, no partial; room for `rows` of each (a power of two)."""
        state = cls(
            cells=reserved(rows, c.CELL),
            chains=reserved(rows, c.CHAIN),
            partials=reserved(rows + c.BLOCKS_MAX, c.PARTIAL),
            links=reserved(8 * rows, c.LINK),
            events=reserved(8 * rows, c.EVENT),
            held=reserved(rows, c.HELD),
            queue=aligned(0, c.DUE),
            rings=aligned(0, c.RING),
            slots=reserved(rows, c.SLOT),
            slot_keys=reserved((rows, c.KEY_FIELDS_MAX), np.int64),
            slot_table=aligned(2 * rows, np.uint32),
            direct=aligned((2, 2 * rows), np.int32),
            index=aligned(2 * rows, c.ENTRY),
            counters=np.zeros(c.COUNTERS_ALL, np.int64),
        )
        state.forget()
        return state

    def forget(self) -> None:
        """Every key and partial; the memory stays."""
        width = self.counters[c.INDEX_WIDTH]
        self.counters[:] = 0
        self.counters[c.INDEX_WIDTH] = width
        self.counters[[c.FREE_CHAIN, c.FREE_HELD]] = c.NIL
        self.counters[c.LOOK_AGAIN] = LOOK_LEAST
        self.counters[c.N_PARTIALS] = c.BLOCKS_MAX  # the first one is the start state's: nothing seen
        self.slot_table[...] = c.NIL
        self.direct[...] = 0
        self.index.view(np.int64)[:] = 0
        self.rings["length"] = 0
        self.rings["due"] = np.iinfo(np.int64).max

    @property
    def registers(self) -> I64:
        """The partials as int64 (see `registers`)."""
        return cast(I64, self.partials.view(np.int64))

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

    def fit_plans(self, tables: Tables) -> None:
        """Give every window and gap its ring, and every key space its tables."""
        for plan in tables.plans:
            plan["ring"] = self.ring_of(0 if plan["quiet"] or plan["strict"] else int(plan["within"]), 0)
        for state in tables.states:
            state["ring"] = self.ring_of(int(state["gap"]), 1)
        spaces = len(tables.keyspaces) // tables.streams
        if len(self.direct) <= spaces:
            self.direct = aligned((spaces + 1, self.direct.shape[1]), np.int32)
        relink(tables.plans, self.cells, self.slots, self.registers, self.counters)
        self.rehash(tables)

    def ring_of(self, within: int, gap: int) -> int:
        """The ring of windows (gap 0) or gaps (1) of a length, a new one if there is none; NIL for no length."""
        if within == 0:
            return int(c.NIL)
        found = np.flatnonzero((self.rings["within"] == within) & (self.rings["gap"] == gap))
        if len(found):
            return int(found[0])
        self.rings = longer(self.rings, 1, exactly=True)
        self.rings[-1] = (within, gap, np.iinfo(np.int64).max, len(self.queue), RING_ROWS, 0, 0)
        self.queue = longer(self.queue, RING_ROWS, exactly=True)
        return len(self.rings) - 1

    # -- room -----------------------------------------------------------------------------------------------------

    def grow(self, need: int, tables: Tables, now_us: int) -> None:
        """Make room for what a kernel asked for: counters[NEED] rows of the array `need`. Raises LimitReached."""
        more = int(self.counters[c.NEED])
        if need == c.NEED_PARTIALS and tables.widest == 1:
            self.sweep(tables, now_us)
            if 2 * (int(self.counters[c.LIVE_PARTIALS]) + more) < len(self.partials):
                return
        if need == c.NEED_RING:
            self.grow_ring(more)
        elif need == c.NEED_CELLS:
            self.cells = longer(self.cells, more)
            self.rehash(tables)
        elif need == c.NEED_SLOTS:
            self.slots = longer(self.slots, more)
            self.slot_keys = longer(self.slot_keys, more)
            self.rehash(tables)
        elif need == c.NEED_CODES:
            self.direct = aligned((len(self.direct), power_of_two(more + 1)), np.int32)
            self.rehash(tables)
        else:
            name = GROWING[need]
            setattr(self, name, longer(getattr(self, name), more))

    def sweep(self, tables: Tables, now_us: int) -> int:
        """Drop the partials that are over and that no event has met since, where nothing comes of that. Answers the
        cells in use.
        """
        return int(sweep(tables.plans, self.cells, self.chains, self.partials, self.registers, self.counters, now_us))

    def compact_keys(self, tables: Tables, now_us: int) -> None:
        """Free cells without partials and slots without cells.

        Looks only when there are twice as many as were left when it looked last.
        """
        cells, slots = int(self.counters[c.N_CELLS]), int(self.counters[c.N_SLOTS])
        if cells + slots < self.counters[c.LOOK_AGAIN]:
            return
        if 4 * self.sweep(tables, now_us) <= 3 * cells:
            new_cell, new_slot = np.full(cells, c.NIL, np.uint32), np.full(slots, c.NIL, np.uint32)
            compact_cells(
                self.cells, self.slots, self.slot_keys, self.queue, self.rings, self.counters, new_cell, new_slot
            )
            self.rehash(tables)
        left = int(self.counters[c.N_CELLS]) + int(self.counters[c.N_SLOTS])
        self.counters[c.LOOK_AGAIN] = max(2 * left, LOOK_LEAST)

    def rehash(self, tables: Tables) -> None:
        """All tables filled anew, at most half full."""
        width = -(-len(tables.plans) // 8) * 8
        hashed = power_of_two(2 * len(self.cells))
        self.counters[c.INDEX_WIDTH] = width if width * len(self.slots) <= hashed else 0
        index_rows = width * len(self.slots) if self.counters[c.INDEX_WIDTH] else hashed
        for name, rows in (("slot_table", power_of_two(2 * len(self.slots))), ("index", index_rows)):
            if len(getattr(self, name)) != rows:
                setattr(self, name, aligned(rows, getattr(self, name).dtype))
            elif name == "index":
                self.index.view(np.int64)[:] = 0
        rebuild(
            tables.keyspaces, tables.streams, self.slots, self.slot_keys, self.slot_table, self.direct, self.cells,
            self.index, self.counters,
        )  # fmt: skip

    def grow_ring(self, ring: int) -> None:
        """Twice the room for one ring, at the end of the queue; the others keep theirs."""
        capacity, length, head = (int(self.rings[ring][name]) for name in ("capacity", "length", "head"))
        place = int(self.rings[ring]["offset"])
        entries = self.queue[place + (head + np.arange(length)) % capacity]
        if place + capacity == len(self.queue):  # it lies at the end already
            self.queue = longer(self.queue[:place], 2 * capacity, exactly=True)
        else:
            place = len(self.queue)
            self.queue = longer(self.queue, 2 * capacity, exactly=True)
        self.queue[place : place + length] = entries
        for name, value in (("offset", place), ("head", 0), ("capacity", 2 * capacity)):
            self.rings[ring][name] = value

    def collect(self, load: float, tables: Tables, now_us: int) -> None:
        """Free the links and events that nothing reaches when either array is that full; afterwards both are at most
        a quarter full. Output that was not taken yet must not refer to them.
        """
        links, events = int(self.counters[c.N_LINKS]), int(self.counters[c.N_EVENTS])
        if links <= load * len(self.links) and events <= load * len(self.events):
            return
        self.sweep(tables, now_us)
        new_link, new_event = np.full(links, c.NIL, np.uint32), np.full(events, c.NIL, np.uint32)
        collect(
            tables.plans, self.partials, self.registers, self.links, self.events, self.held, self.cells, self.counters,
            new_link, new_event,
        )  # fmt: skip
        for name, live in (("links", c.N_LINKS), ("events", c.N_EVENTS)):
            rows = len(getattr(self, name))
            if rows < max(min(4 * int(self.counters[live]), ROWS_MAX), COLLECT_LEAST):
                setattr(self, name, longer(getattr(self, name), 0))


RING_ROWS = 256
GROWING = {
    c.NEED_CHAINS: "chains",
    c.NEED_PARTIALS: "partials",
    c.NEED_LINKS: "links",
    c.NEED_EVENTS: "events",
    c.NEED_HELD: "held",
}
LINE = 64
LOOK_LEAST = 1 << 19
"""Fewer cells and slots than that stay as they are, used or not."""
COLLECT_LEAST = 1 << 20
"""Links and events grow to so many rows before they are collected often."""
RESERVED, RESERVED_MAX = 64, 2 << 30
"""So many times as long an array may grow in place, up to so many bytes: they cost nothing before they are written."""
HUGE = 4 << 20
"""From so many bytes on an array asks for huge pages: it is read here and there, and they are found faster."""


def aligned(shape: int | tuple[int, ...], dtype: npt.DTypeLike) -> npt.NDArray[Any]:
    """Zeros that begin at a cache line, so that a row of 32 or 64 bytes lies in one."""
    size = int(np.prod(shape)) * np.dtype(dtype).itemsize
    room = np.zeros(size + LINE, np.uint8)
    first = -room.ctypes.data % LINE
    return room[first : first + size].view(dtype).reshape(shape)


def reserved(shape: int | tuple[int, ...], dtype: npt.DTypeLike) -> npt.NDArray[Any]:
    """The same with room behind it, in a mapping of its own."""
    size = int(np.prod(shape)) * np.dtype(dtype).itemsize
    room = max(min(RESERVED * size, RESERVED_MAX), size, mmap.PAGESIZE)
    return beginning(mmap.mmap(-1, room, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS), size, dtype).reshape(shape)


def beginning(room: mmap.mmap, size: int, dtype: npt.DTypeLike) -> npt.NDArray[Any]:
    """The first `size` bytes of a mapping."""
    if size >= HUGE and hasattr(mmap, "MADV_HUGEPAGE"):
        room.madvise(mmap.MADV_HUGEPAGE)
    return np.frombuffer(room, np.uint8)[:size].view(dtype)


def mapping_of(array: npt.NDArray[Any]) -> mmap.mmap | None:
    """The mapping at whose beginning an array lies, None for an array without one."""
    base: object = array.base
    while isinstance(base, np.ndarray):
        base = base.base
    room = base.obj if isinstance(base, memoryview) else None
    return room if isinstance(room, mmap.mmap) else None


def power_of_two(rows: int) -> int:
    """The least power of two that is at least `rows`."""
    return 1 << max(rows - 1, 1).bit_length()


def longer(array: Array, more: int, exactly: bool = False) -> Array:
    """The array with room for at least `more` further rows, and unless `exactly`, four times as long, or twice if it
    has ROWS_FEW. In place as far as was reserved, else a copy.
    """
    times = 4 if len(array) < ROWS_FEW else 2
    rows = len(array) + more if exactly else max(times * len(array), power_of_two(len(array) + more))
    if rows > ROWS_MAX:
        raise LimitReached(
            f"state of the matcher: an array would grow beyond {ROWS_MAX} rows",
            "shorten windows, bound loops, or spread the keys over more lanes",
        )
    shape = (rows, *array.shape[1:])
    size = int(np.prod(shape)) * array.itemsize
    room = mapping_of(array)
    if room is not None and size <= len(room):
        return cast(Array, beginning(room, size, array.dtype).reshape(shape))
    grown = reserved(shape, array.dtype)
    grown.reshape(-1).view(np.uint8)[: array.nbytes] = array.reshape(-1).view(np.uint8)
    return cast(Array, grown)
