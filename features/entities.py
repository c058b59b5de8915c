"""Entities: from the values of an entity's fields to its place, and the memory that its events lie in.

keys    int64[e, fields]      the values of each entity's fields as columns store them
table   int32[2^n]            open addressing at most half full, the place of an entity or -1
free    int64[64]             for each size of block (a power of two), the first free one or -1; AT of its row: the next
"""

from __future__ import annotations

import numpy as np

from events.columns import I32, I64, U8
from events.kernel import Int, compiled, inlined
from features.windows import AT, ENTITY_WORDS, FIRST, HEAD, SEEN_US, SIZE, TAIL, TOUCHED

ENTITIES_N, ROWS_N, REFUSED, DROPPED, TOUCHED_N = range(5)
"""What is counted: entities, rows ever given out, events without a place for their entity, events let go before their
time, entities in `touched`."""
COUNTERS = 5

BLOCK_MIN = 4
MIX = np.uint64(0x9E3779B97F4A7C15)


@inlined
def mixed(hashed: Int, value: Int) -> Int:
    """A hash of a hash and the next value."""
    return np.int64((np.uint64(hashed) ^ np.uint64(value)) * MIX)


@inlined
def slot_in(table: I32, hashed: Int) -> Int:
    """Where a search begins: the middle bits."""
    return np.int64(np.uint64(hashed) >> np.uint64(24)) & (table.shape[0] - 1)


@compiled
def place_of(keys: I64, table: I32, columns: I64, values: I64, nulls: U8, row: Int) -> Int:
    """The place of an event's entity: -1 when it was never seen, -2 where a field of it is null.

    columns: int64[fields], the rows of `values` that its fields are
    """
    hashed = np.int64(0)
    for field in range(columns.shape[0]):
        if nulls[columns[field], row] != 0:
            return np.int64(-2)
        hashed = mixed(hashed, values[columns[field], row])
    at = slot_in(table, hashed)
    while table[at] >= 0:
        place = np.int64(table[at])
        same = True
        for field in range(columns.shape[0]):
            same = same and keys[place, field] == values[columns[field], row]
        if same:
            return place
        at = (at + 1) & (table.shape[0] - 1)
    return np.int64(-1)


@compiled
def enlist(keys: I64, table: I32, place: Int) -> None:
    """Enters an entity into the table."""
    hashed = np.int64(0)
    for field in range(keys.shape[1]):
        hashed = mixed(hashed, keys[place, field])
    at = slot_in(table, hashed)
    while table[at] >= 0:
        at = (at + 1) & (table.shape[0] - 1)
    table[at] = place


@compiled
def insert(keys: I64, table: I32, entities: I64, cells: I64, counters: I64, columns: I64, values: I64, row: Int) -> Int:
    """A new entity without events. The caller has made sure of room."""
    place = counters[ENTITIES_N]
    counters[ENTITIES_N] += 1
    for field in range(columns.shape[0]):
        keys[place, field] = values[columns[field], row]
    for word in range(ENTITY_WORDS):
        entities[place, word] = 0
    for number in range(cells.shape[1]):
        for word in range(cells.shape[2]):
            cells[place, number, word] = 0
    enlist(keys, table, place)
    return place


@inlined
def class_of(size: Int) -> Int:
    """The number of a block's size: which power of two."""
    found = 0
    while size >> found > 1:
        found += 1
    return found


@compiled
def larger(rows: I64, entity: I64, counters: I64, free: I64) -> bool:
    """A block of twice the size for an entity's events, which move there. False: `rows` has no room for it."""
    size = entity[SIZE]
    wanted = max(BLOCK_MIN, 2 * size)
    place = class_of(wanted)
    first = free[place]
    if first >= 0:
        free[place] = rows[first, AT]
    elif counters[ROWS_N] + wanted <= rows.shape[0]:
        first = counters[ROWS_N]
        counters[ROWS_N] += wanted
    else:
        return False
    for number in range(entity[HEAD], entity[TAIL]):
        for word in range(rows.shape[1]):
            rows[first + (number & (wanted - 1)), word] = rows[entity[FIRST] + (number & (size - 1)), word]
    give_back(rows, entity, free)
    entity[FIRST] = first
    entity[SIZE] = wanted
    return True


@compiled
def give_back(rows: I64, entity: I64, free: I64) -> None:
    """An entity's block is free."""
    if entity[SIZE] > 0:
        place = class_of(entity[SIZE])
        rows[entity[FIRST], AT] = free[place]
        free[place] = entity[FIRST]
        entity[SIZE] = 0


@compiled
def sweep(
    keys: I64, table: I32, entities: I64, cells: I64, rows: I64, counters: I64, free: I64, touched: I32, since_us: Int
) -> None:  # fmt: skip
    """Forgets the entities not seen since an instant, whose windows are all empty; the others move up."""
    kept = np.int64(0)
    counters[TOUCHED_N] = 0
    for place in range(counters[ENTITIES_N]):
        if entities[place, SEEN_US] < since_us:
            give_back(rows, entities[place], free)
            continue
        for field in range(keys.shape[1]):
            keys[kept, field] = keys[place, field]
        for word in range(ENTITY_WORDS):
            entities[kept, word] = entities[place, word]
        for number in range(cells.shape[1]):
            for word in range(cells.shape[2]):
                cells[kept, number, word] = cells[place, number, word]
        if entities[kept, TOUCHED] != 0:
            touched[counters[TOUCHED_N]] = kept
            counters[TOUCHED_N] += 1
        kept += 1
    counters[ENTITIES_N] = kept
    table[:] = -1
    for place in range(kept):
        enlist(keys, table, place)
