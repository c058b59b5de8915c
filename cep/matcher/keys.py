"""Keys to slots, and (slot, plan) to cells: two open-addressing tables of at most half load.

    keyspaces   int64[K, 2 + KEY_FIELDS_MAX]   number of fields, base of the direct table or -1, columns
    slot_keys   int64[slots, 1 + KEY_FIELDS_MAX]   key space, values
    slot_table  int32[2^n]   slot or -1
    cell_keys   int64[2^n]   slot * 2^20 + plan, or -1;  cell_table int64[2^n]   the cell

The cells of one slot lie side by side in the table, so that an event that concerns many plans reads few cache lines.
"""

from __future__ import annotations

import numpy as np

from cep.matcher.columns import *  # noqa: F403  the column names of every array
from events.columns import I32, I64, U8
from events.kernel import Int, compiled, inlined

KEY_FIELDS_MAX = 4
PLANS_MAX = 1 << 20
MIX = np.uint64(0x9E3779B97F4A7C15)
NO_SLOT, NULL_KEY = -1, -2


@inlined
def place_of(value: Int, size: Int) -> Int:
    """Where a number belongs in a table of `size` (a power of two): the middle bits of a product."""
    return np.int64((np.uint64(value) * MIX) >> np.uint64(24)) & (size - 1)


@inlined
def joined(hashed: Int, value: Int) -> Int:
    """A hash of a hash and the next value."""
    return np.int64((np.uint64(hashed) ^ np.uint64(value)) * MIX)


@inlined
def slot_of(keyspaces: I64, slot_keys: I64, slot_table: I32, space: Int, values: I64, nulls: U8, row: Int) -> Int:
    """The slot of an event's key in a key space: NO_SLOT when the key was never inserted, NULL_KEY for a NULL."""
    fields = keyspaces[space, 0]
    column = keyspaces[space, 2]
    if nulls[column, row] != 0:
        return NULL_KEY
    first = values[column, row]
    hashed = first + space
    for field in range(1, fields):
        column = keyspaces[space, 2 + field]
        if nulls[column, row] != 0:
            return NULL_KEY
        hashed = joined(hashed, values[column, row])
    mask = slot_table.shape[0] - 1
    at = place_of(hashed, slot_table.shape[0])
    while True:
        slot = slot_table[at]
        if slot == -1:
            return NO_SLOT
        if slot_keys[slot, 1] == first and slot_keys[slot, 0] == space:
            same = True
            for field in range(1, fields):
                if slot_keys[slot, 1 + field] != values[keyspaces[space, 2 + field], row]:
                    same = False
            if same:
                return np.int64(slot)
        at = (at + 1) & mask


@compiled
def place_slot(keyspaces: I64, slot_keys: I64, slot_table: I32, slot: Int) -> None:
    """Enter an existing slot into the table."""
    space = slot_keys[slot, 0]
    hashed = slot_keys[slot, 1] + space
    for field in range(1, keyspaces[space, 0]):
        hashed = joined(hashed, slot_keys[slot, 1 + field])
    mask = slot_table.shape[0] - 1
    at = place_of(hashed, slot_table.shape[0])
    while slot_table[at] != -1:
        at = (at + 1) & mask
    slot_table[at] = slot


@compiled
def insert_slot(
    keyspaces: I64, slot_keys: I64, slot_table: I32, slot_hot: I64, counters: I64, space: Int, values: I64, row: Int
) -> Int:
    """A new slot for an event's key. The caller has made sure of room and that the key is not NULL."""
    slot = counters[N_SLOTS]
    counters[N_SLOTS] += 1
    slot_keys[slot, 0] = space
    for field in range(keyspaces[space, 0]):
        slot_keys[slot, 1 + field] = values[keyspaces[space, 2 + field], row]
    slot_hot[slot] = -1
    place_slot(keyspaces, slot_keys, slot_table, slot)
    return slot


@inlined
def cell_of(cell_keys: I64, cell_table: I64, slot: Int, plan: Int) -> Int:
    """The cell of a key and a plan, -1 when there is none."""
    wanted = slot * PLANS_MAX + plan
    mask = cell_table.shape[0] - 1
    at = (place_of(slot, cell_keys.shape[0]) + plan) & mask
    while cell_keys[at] != wanted:
        if cell_keys[at] == -1:
            return np.int64(-1)
        at = (at + 1) & mask
    return np.int64(cell_table[at])


@compiled
def place_cell(cell_keys: I64, cell_table: I64, slot: Int, plan: Int, cell: Int) -> None:
    """Enter a cell into the table."""
    mask = cell_table.shape[0] - 1
    at = (place_of(slot, cell_keys.shape[0]) + plan) & mask
    while cell_keys[at] != -1:
        at = (at + 1) & mask
    cell_keys[at] = slot * PLANS_MAX + plan
    cell_table[at] = cell


@compiled
def insert_cell(cells: I32, cell_keys: I64, cell_table: I64, counters: I64, slot: Int, plan: Int) -> Int:
    """A new, empty cell. The caller has made sure of room."""
    cell = counters[N_CELLS]
    counters[N_CELLS] += 1
    cells[cell, L_SLOT] = slot
    cells[cell, L_PLAN] = plan
    cells[cell, L_CHAIN] = -1
    cells[cell, L_COUNT] = 0
    cells[cell, L_START] = -1
    cells[cell, L_START_LAST] = -1
    cells[cell, L_HELD] = -1
    cells[cell, L_HOT] = 0
    cells[cell, L_HOT_NEXT] = -1
    place_cell(cell_keys, cell_table, slot, plan, cell)
    return cell


@compiled
def rebuild(
    keyspaces: I64, slot_keys: I64, slot_table: I32, cells: I32, cell_keys: I64, cell_table: I64, counters: I64
) -> None:
    """Fill both tables anew from slots and cells (after growth or compaction)."""
    slot_table[:] = -1
    cell_keys[:] = -1
    for slot in range(counters[N_SLOTS]):
        place_slot(keyspaces, slot_keys, slot_table, slot)
    for cell in range(counters[N_CELLS]):
        place_cell(cell_keys, cell_table, cells[cell, L_SLOT], cells[cell, L_PLAN], cell)
