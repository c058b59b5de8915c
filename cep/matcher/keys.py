"""Keys to slots, and (slot, plan) to cells.

    keyspaces   int64[K * streams, 2 + KEY_FIELDS_MAX]   number of fields (0: not of this stream), 1 for direct, columns
    slots       the rows of `records.SLOT`;  slot_keys int64[slots, KEY_FIELDS_MAX]
    direct      int32[K + 1, codes]  for keys of one string: by its code, 2 * (slot + 1) + 1 if the slot has hot cells;
                                     the last row is of `step_strict`: 1 + the key's trail, 0 for not known to it
    slot_table  uint32[2^n]       for all others: open addressing at most half full, slot or NIL
    index       ENTRY[2^n]        cells: open addressing at most half full, by slot and plan; where that takes no more,
                ENTRY[K * width]  a place for every slot and plan (width: counters[INDEX_WIDTH], else 0)

Hashed, eight plans of one slot have their places in one cache line of the index, and the next eight in another one
anywhere: an event that concerns many plans reads few lines, and a slot with a thousand cells stands in no other one's
way.
"""

from __future__ import annotations

import numpy as np

from cep.matcher.records import *  # noqa: F403  the fields of every record
from cep.matcher.trail import base_of
from events.columns import I32, I64, U8
from events.kernel import Int, apart, compiled, inlined, unfolded

PLANS_MAX = 1 << 20
MIX = np.uint64(0x9E3779B97F4A7C15)
NULL_KEY = np.uint32(NIL - 1)
K_FIELDS, K_DIRECT, K_COLUMNS = range(3)


@inlined
def place_of(value: Int, size: Int) -> Int:
    """Where a number belongs in a table of `size` (a power of two): the middle bits of a product."""
    return np.uint32(np.int64((np.uint64(value) * MIX) >> np.uint64(24)) & (size - 1))


@inlined
def joined(hashed: Int, value: Int) -> Int:
    """A hash of a hash and the next value."""
    return np.int64((np.uint64(hashed) ^ np.uint64(value)) * MIX)


@inlined
def slot_of(
    keyspaces: I64, slots: Records, slot_keys: I64, slot_table: U32, direct: I32, space: Int, kind: Int, values: I64,
    nulls: U8, row: Int,
) -> Int:  # fmt: skip
    """The slot of an event's key: NIL when the key was never inserted or is none of its stream's, NULL_KEY for a NULL.

    space: key space; kind: its row of `keyspaces` for the event's stream
    """
    fields = keyspaces[kind, K_FIELDS]
    found: Int = NIL
    if fields > 0:
        column = keyspaces[kind, K_COLUMNS]
        missing = nulls[column, row] != 0
        first = values[column, row]
        hashed = first + space
        for field in range(1, fields):
            column = keyspaces[kind, K_COLUMNS + field]
            missing = missing or nulls[column, row] != 0
            hashed = joined(hashed, values[column, row])
        if missing:
            found = NULL_KEY
        elif keyspaces[kind, K_DIRECT] != 0:
            if first < direct.shape[1]:
                found = np.uint32((direct[space, first] >> 1) - 1)
        else:
            mask = slot_table.shape[0] - 1
            at = place_of(hashed, slot_table.shape[0])
            while slot_table[at] != NIL:
                slot = slot_table[at]
                same = slots[slot].space == space
                for field in range(fields):
                    same = same and slot_keys[slot, field] == values[keyspaces[kind, K_COLUMNS + field], row]
                if same:
                    found = slot
                    break
                at = np.uint32((at + 1) & mask)
    return found


@compiled
def place_slot(
    keyspaces: I64, streams: Int, slots: Records, slot_keys: I64, slot_table: U32, direct: I32, slot: Int
) -> None:
    """Enter an existing slot into its table."""
    space = np.int64(slots[slot].space)
    fields = np.int64(0)
    by_code = np.int64(0)
    for stream in range(streams):
        fields = max(fields, keyspaces[space * streams + stream, K_FIELDS])
        by_code = max(by_code, keyspaces[space * streams + stream, K_DIRECT])
    if by_code != 0:
        direct[space, slot_keys[slot, 0]] = 2 * (np.int64(slot) + 1) + (slots[slot].hot != NIL)
    else:
        hashed = slot_keys[slot, 0] + space
        for field in range(1, fields):
            hashed = joined(hashed, slot_keys[slot, field])
        mask = slot_table.shape[0] - 1
        at = place_of(hashed, slot_table.shape[0])
        while slot_table[at] != NIL:
            at = (at + 1) & mask
        slot_table[at] = slot


@compiled
def insert_slot(
    keyspaces: I64, streams: Int, slots: Records, slot_keys: I64, slot_table: U32, direct: I32, counters: I64,
    space: Int, kind: Int, values: I64, row: Int,
) -> Int:  # fmt: skip
    """A new slot for an event's key. See `insert_cell`."""
    apart()
    slot = np.uint32(counters[N_SLOTS])
    counters[N_SLOTS] += 1
    slots[slot].space = space
    slots[slot].cell = NIL
    slots[slot].hot = NIL
    for field in range(KEY_FIELDS_MAX):
        slot_keys[slot, field] = -1
    for field in range(keyspaces[kind, K_FIELDS]):
        slot_keys[slot, field] = values[keyspaces[kind, K_COLUMNS + field], row]
    place_slot(keyspaces, streams, slots, slot_keys, slot_table, direct, slot)
    return slot


@inlined
def heat(
    keyspaces: I64, slots: Records, direct: I32, space: Int, kind: Int, values: I64, row: Int, slot: Int, hot: Int
) -> None:
    """Set the head of the list of hot cells of an event's slot."""
    slots[slot].hot = hot
    if keyspaces[kind, K_DIRECT] != 0:
        direct[space, values[keyspaces[kind, K_COLUMNS], row]] = 2 * (np.int64(slot) + 1) + (hot != NIL)


@inlined
def mixed(slot: Int, plan: Int) -> Int:
    """A hash of a slot and the eight plans of which this is one."""
    return (np.uint64(slot) * np.uint64(PLANS_MAX // 8) + np.uint64(np.int64(plan) >> 3)) * MIX


@inlined
def place_of_cell(index: Records, width: Int, slot: Int, plan: Int) -> Int:
    """Where the cell of a key and a plan belongs in the table."""
    if width != 0:
        place = np.int64(slot) * width + np.int64(plan)
    else:
        line = np.int64(mixed(slot, plan) >> np.uint64(24)) & ((index.shape[0] >> 3) - 1)
        place = line << 3 | (np.int64(plan) & 7)
    return np.uint32(place)


@inlined
def tag_of(slot: Int, plan: Int) -> Int:
    """By what the cell of a key and a plan is most likely known in the table."""
    return np.uint32(np.int64(mixed(slot, plan) >> np.uint64(32)) & 0xFFFF_FFF8 | (np.int64(plan) & 7))


@inlined
def likely_cell(index: Records, width: Int, slot: Int, plan: Int) -> Int:
    """The cell that a key and a plan most likely have, NIL for none; it has to be looked at."""
    tag = tag_of(slot, plan)
    mask = np.uint32(index.shape[0] - 1)
    at = place_of_cell(index, width, slot, plan)
    while index[at].cell != 0 and index[at].tag != tag:
        at = np.uint32((at + 1) & mask)
    return np.uint32(index[at].cell - 1)


@inlined
def cell_of(cells: Records, index: Records, width: Int, slot: Int, plan: Int) -> Int:
    """The cell of a key and a plan, NIL when there is none."""
    tag = tag_of(slot, plan)
    mask = np.uint32(index.shape[0] - 1)
    at = place_of_cell(index, width, slot, plan)
    found = NIL
    while index[at].cell != 0:
        if index[at].tag == tag:
            cell = np.uint32(index[at].cell - 1)
            if cells[cell].slot == slot and cells[cell].plan == plan:
                found = cell
                break
        at = np.uint32((at + 1) & mask)
    return found


@unfolded
def place_cell(index: Records, width: Int, slot: Int, plan: Int, cell: Int) -> None:
    """Enter a cell into the table."""
    mask = np.uint32(index.shape[0] - 1)
    at = place_of_cell(index, width, slot, plan)
    while index[at].cell != 0:
        at = np.uint32((at + 1) & mask)
    index[at].tag = tag_of(slot, plan)
    index[at].cell = cell + 1


@unfolded
def insert_cell(
    keyspaces: I64, streams: Int, slots: Records, slot_keys: I64, slot_table: U32, direct: I32, cells: Records,
    index: Records, counters: I64, space: Int, kind: Int, values: I64, row: Int, slot: Int, plan: Int,
) -> Int:  # fmt: skip
    """A new, empty cell for an event's key and a plan, and the key's slot if it has none (NIL).

    The caller has made sure of room and that the key is not NULL.
    """
    if slot == NIL:
        slot = insert_slot(
            keyspaces, streams, slots, slot_keys, slot_table, direct, counters, space, kind, values, row
        )  # fmt: skip
    cell = np.uint32(counters[N_CELLS])
    counters[N_CELLS] += 1
    cells[cell].slot = slot
    cells[cell].plan = plan
    cells[cell].first = NIL
    cells[cell].last = NIL
    cells[cell].count = 0
    cells[cell].chain = NIL
    cells[cell].held = NIL
    cells[cell].hot = 0
    cells[cell].hot_next = NIL
    cells[cell].interest = 0
    cells[cell].bound = np.nan
    cells[cell].trail = NIL
    slots[slot].cell = cell
    place_cell(index, counters[INDEX_WIDTH], slot, plan, cell)
    return cell


@compiled
def relink(plans: Records, cells: Records, slots: Records, registers: I64, counters: I64) -> None:
    """The lists of hot cells anew, of those that are hot and in their order, whatever the loops before left there."""
    for slot in range(counters[N_SLOTS]):
        slots[slot].hot = NIL
    for cell in range(counters[N_CELLS] - 1, -1, -1):
        if cells[cell].trail != NIL and registers[base_of(cells[cell].trail)] == 0:
            cells[cell].interest = 0
        cells[cell].hot = cells[cell].interest & plans[cells[cell].plan].always != 0
        if cells[cell].hot != 0:
            cells[cell].hot_next = slots[cells[cell].slot].hot
            slots[cells[cell].slot].hot = cell


@compiled
def rebuild(
    keyspaces: I64, streams: Int, slots: Records, slot_keys: I64, slot_table: U32, direct: I32, cells: Records,
    index: Records, counters: I64,
) -> None:  # fmt: skip
    """Fill all tables anew from slots and cells (after growth, compaction or a change of plans); index: zeros."""
    slot_table[:] = NIL
    direct[:] = 0
    for slot in range(counters[N_SLOTS]):
        slots[slot].cell = NIL
        place_slot(keyspaces, streams, slots, slot_keys, slot_table, direct, slot)
    for cell in range(counters[N_CELLS]):
        slots[cells[cell].slot].cell = cell
        place_cell(index, counters[INDEX_WIDTH], cells[cell].slot, cells[cell].plan, cell)
