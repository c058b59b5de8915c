"""Memory asked for ahead: the slot, cell and partials of events to come, so that none of them is waited for.

    event     + 8 ──▶ its slot      + 4 ──▶ its cell      + 2 ──▶ the cell's first partial        (`ask_ahead`)
    touch    + 32 ──▶ its row's columns     + 15 ──▶ its place in the table of cells
                      + 8 ──▶ its cell      + 4 ──▶ the partials that it will read                (`ask_ahead_of_touch`)

A hint is a hint: what is found here may have moved when the event's turn comes, and is looked at again then. Worth a
third of the speed of one dense pattern over 20,000 keys, and more where state is larger than the caches.
"""

from __future__ import annotations

import numpy as np

from cep.matcher.keys import likely_cell, place_of, place_of_cell
from cep.matcher.records import *  # noqa: F403  the fields of every record
from events.columns import I32, I64, U8
from events.kernel import Int, ask_for, compiled, inlined

AHEAD = 8
"""So many events ahead memory is asked for what they will read,"""
AHEAD_OF_TOUCH = 16
"""and so many (row, plan) pairs, where only these are looked at. Both are powers of two."""


@inlined
def likely_slot(direct: I32, slot_table: U32, by_code: bool, values: I64, column: Int, row: Int) -> Int:
    """The slot that an event most likely has, its key being one field and the only key space; -1 for none."""
    value = values[column, row]
    slot = np.int64(-1)
    if by_code:
        if np.uint64(value) < np.uint64(direct.shape[1]):
            slot = np.int64(direct[0, np.uint32(value)] >> 1) - 1
    else:
        found = slot_table[place_of(value, slot_table.shape[0])]
        if found != NIL:
            slot = np.int64(found)
    return slot


@compiled
def find_slots(
    direct: I32, slot_table: U32, by_code: bool, values: I64, nulls: U8, column: Int, first: Int, likely_slots: I32
) -> None:  # fmt: skip
    """likely_slots[row] for all rows from `first` on: the slot it has by its code, or most likely has; or -1."""
    for row in range(first, values.shape[1]):
        slot = likely_slot(direct, slot_table, by_code, values, column, row)
        likely_slots[row] = slot if nulls[column, row] == 0 else -1


@inlined
def ask_ahead(
    slots: Records, slot_keys: I64, cells: Records, partials: Records, by_code: bool, row: Int, likely_slots: I32
) -> None:  # fmt: skip
    """Ask the memory for what the next events will read: a slot, nearer ones' cell, the nearest one's first partial."""
    slot = np.int64(likely_slots[np.uint32(row + AHEAD)])
    if slot >= 0:
        ask_for(slots, slot)
        if not by_code:
            ask_for(slot_keys, slot)
    slot = np.int64(likely_slots[np.uint32(row + AHEAD // 2)])
    if slot >= 0 and slots[np.uint32(slot)].cell != NIL:
        ask_for(cells, np.int64(slots[np.uint32(slot)].cell))
    slot = np.int64(likely_slots[np.uint32(row + AHEAD // 4)])
    if slot >= 0 and slots[np.uint32(slot)].cell != NIL:
        cell = slots[np.uint32(slot)].cell
        if cells[cell].trail != NIL:
            ask_for(partials, np.int64(cells[cell].trail))
        elif cells[cell].first != NIL:
            ask_for(partials, np.int64(cells[cell].first))


@inlined
def ask_ahead_of_touch(
    slots: Records, cells: Records, partials: Records, index: Records, width: Int, direct: I32, slot_table: U32,
    by_code: bool, lone: bool, values: I64, at_us: I64, event_at_us: I64, column: Int, touch_row: I32, touch_plan: I32,
    touch_word: I64, touch: Int, likely_slots: I32, likely_cells: U32,
) -> None:  # fmt: skip
    """The same for (row, plan) pairs: a row's columns, a nearer one's place in the table of cells, a nearer one's cell,
    the nearest one's partials.

    likely_slots: int32[AHEAD_OF_TOUCH], likely_cells: uint32[AHEAD_OF_TOUCH], by place: what was found ahead, -1 or NIL
    """
    far = np.uint32(touch_row[np.uint32(touch + 2 * AHEAD_OF_TOUCH)])
    if far != touch_row[np.uint32(touch + 2 * AHEAD_OF_TOUCH - 1)]:
        ask_for(values[column], np.int64(far))
        ask_for(at_us, np.int64(far))
        ask_for(event_at_us, np.int64(far))
    far = np.uint32(touch + AHEAD_OF_TOUCH - 1)
    slot = np.int64(likely_slots[np.uint32((far - 1) & AHEAD_OF_TOUCH - 1)])
    if touch_row[far] != touch_row[np.uint32(far - 1)] or slot < 0:
        slot = likely_slot(direct, slot_table, by_code, values, column, np.uint32(touch_row[far]))
    likely_slots[np.uint32(far & AHEAD_OF_TOUCH - 1)] = slot
    if slot >= 0:
        if lone:
            ask_for(slots, slot)
        else:
            ask_for(index, np.int64(place_of_cell(index, width, slot, np.int64(touch_plan[far]))))
    near = np.uint32(touch + AHEAD_OF_TOUCH // 2)
    slot = np.int64(likely_slots[np.uint32(near & AHEAD_OF_TOUCH - 1)])
    cell = NIL
    if slot >= 0:
        cell = slots[np.uint32(slot)].cell if lone else likely_cell(index, width, slot, np.int64(touch_plan[near]))
        if cell != NIL:
            ask_for(cells, np.int64(cell))
    likely_cells[np.uint32(near & AHEAD_OF_TOUCH - 1)] = cell
    near = np.uint32(touch + AHEAD_OF_TOUCH // 4)
    cell = likely_cells[np.uint32(near & AHEAD_OF_TOUCH - 1)]
    if cell != NIL and cells[cell].last != NIL:
        ask_for(partials, np.int64(cells[cell].last))
        if touch_word[near] & cells[cell].interest != 0:
            ask_for(partials, np.int64(cells[cell].first))
