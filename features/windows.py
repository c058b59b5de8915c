"""Windows over the events of one entity, for every feature of a view at once: the kernels.

    rows       int64[r, 2 + arguments + distincts]   AT, BITS, the arguments' values, then a link for each distinct
    entity     int64[6]       the block of `rows` that is its ring of events, which are kept, when it was seen
    cells      int64[f, 6]    of each feature: which events are in its window, and what they come to
    features   int64[f, 8]    what each of them is (`Table`)

The kept events are the state; cells only remember what follows from them, so that an event costs what enters and leaves
a window. Events have numbers of their own, from 0, whatever block they lie in: number n is row FIRST + (n & SIZE - 1).

                 HEAD      LO (first in the window)     HI (first that has not entered)     TAIL
    ──gone──────┤──────────┤────────────────────────────┤──────────delay───────────────────┤
"""

from __future__ import annotations

import numpy as np

from events.columns import I64, U8
from events.kernel import Int, bits_of, compiled, inlined, real_of
from features.definition import Aggregate, Shape

AGGREGATE, ARGUMENT, REAL, SHAPE, SIZE_US, DELAY_US, LINK, POWER = range(8)
"""Of a feature. ARGUMENT, LINK: columns of `rows`, -1 for none.   REAL: is it of float64?   POWER: 10^scale"""
FEATURE_WORDS = 8

FIRST, SIZE, HEAD, TAIL, SEEN_US, TOUCHED = range(6)
"""Of an entity. SEEN_US: its last event.   TOUCHED: changed since somebody asked"""
ENTITY_WORDS = 6

LO, HI, N, HIGH, LOW, LAST_US = range(6)
"""Of a cell. A sum is HIGH x 2^32 + LOW, so that none overflows; an extreme is HIGH, stale if LOW; HIGH counts distinct
values.   LAST_US: the last event of a session"""
CELL_WORDS = 6

AT, BITS, VALUES = range(3)

COUNT, SUM, AVG, MIN, MAX, DISTINCT = (int(one) for one in Aggregate)
SLIDING, TUMBLING, SESSION = (int(one) for one in Shape)
WORD = np.int64(0xFFFFFFFF)
HALF = np.int64(1 << 31)


@inlined
def row_of(entity: I64, number: Int) -> Int:
    """Where an event lies."""
    return entity[FIRST] + (number & (entity[SIZE] - 1))


@inlined
def beats(feature: I64, one: Int, other: Int) -> Int:
    """Is `one` at least as extreme?"""
    if feature[REAL] != 0:
        higher = real_of(one) >= real_of(other)
        lower = real_of(one) <= real_of(other)
    else:
        higher = one >= other
        lower = one <= other
    return higher if feature[AGGREGATE] == MAX else lower


@compiled
def enter(rows: I64, entity: I64, feature: I64, cell: I64, bit: Int, number: Int) -> None:
    """The next event comes into a window that it counts in."""
    row = row_of(entity, number)
    kind = feature[AGGREGATE]
    if kind == DISTINCT:
        value = rows[row, feature[ARGUMENT]]
        rows[row, feature[LINK]] = -1
        before = number - 1
        found = False
        while before >= cell[LO] and not found:
            other = row_of(entity, before)
            found = (rows[other, BITS] & bit) != 0 and rows[other, feature[ARGUMENT]] == value
            if found:
                rows[other, feature[LINK]] = number
            before -= 1
        if not found:
            cell[HIGH] += 1
    elif kind in (MIN, MAX):
        value = rows[row, feature[ARGUMENT]]
        if cell[N] == 0 or beats(feature, value, cell[HIGH]):
            cell[HIGH] = value
            cell[LOW] = 0
    elif kind != COUNT and feature[REAL] == 0:
        value = rows[row, feature[ARGUMENT]]
        cell[HIGH] += value >> 32
        cell[LOW] += value & WORD
    cell[N] += 1


@compiled
def leave(rows: I64, entity: I64, feature: I64, cell: I64, number: Int) -> None:
    """The oldest event of a window that it counts in goes."""
    row = row_of(entity, number)
    kind = feature[AGGREGATE]
    cell[N] -= 1
    if kind == DISTINCT:
        if rows[row, feature[LINK]] < 0:
            cell[HIGH] -= 1
    elif kind in (MIN, MAX):
        if rows[row, feature[ARGUMENT]] == cell[HIGH]:
            cell[LOW] = 1
    elif kind != COUNT and feature[REAL] == 0:
        value = rows[row, feature[ARGUMENT]]
        cell[HIGH] -= value >> 32
        cell[LOW] -= value & WORD


@inlined
def empty(cell: I64, number: Int) -> None:
    """Nothing before `number` is in the window."""
    cell[LO] = number
    cell[N] = 0
    cell[HIGH] = 0
    cell[LOW] = 0


@compiled
def move(rows: I64, entity: I64, feature: I64, cell: I64, bit: Int, at_us: Int) -> None:
    """A window moves to an instant; time never goes back."""
    now_us = at_us - feature[DELAY_US]
    shape = feature[SHAPE]
    while cell[HI] < entity[TAIL]:
        row = row_of(entity, cell[HI])
        if rows[row, AT] > now_us:
            break
        if (rows[row, BITS] & bit) != 0:
            if shape == SESSION:
                if cell[N] > 0 and rows[row, AT] - cell[LAST_US] > feature[SIZE_US]:
                    empty(cell, cell[HI])
                cell[LAST_US] = rows[row, AT]
            enter(rows, entity, feature, cell, bit, cell[HI])
        cell[HI] += 1
    if shape == SESSION:
        if cell[N] == 0 or now_us - cell[LAST_US] > feature[SIZE_US]:
            empty(cell, cell[HI])
    else:
        until_us = now_us - feature[SIZE_US]
        if shape == TUMBLING:
            until_us = now_us - now_us % feature[SIZE_US] - 1
        while cell[LO] < cell[HI]:
            row = row_of(entity, cell[LO])
            if rows[row, AT] > until_us:
                break
            if (rows[row, BITS] & bit) != 0:
                leave(rows, entity, feature, cell, cell[LO])
            cell[LO] += 1


@compiled
def move_all(rows: I64, entity: I64, features: I64, cells: I64, at_us: Int) -> None:
    """All windows of an entity move; events that are in none any more are let go."""
    head = entity[TAIL]
    for number in range(features.shape[0]):
        cell = cells[number]
        move(rows, entity, features[number], cell, np.int64(1) << number, at_us)
        head = min(head, cell[LO])
    entity[HEAD] = head


@compiled
def drop_oldest(rows: I64, entity: I64, features: I64, cells: I64) -> None:
    """The oldest kept event goes before its time."""
    number = entity[HEAD]
    bits = rows[row_of(entity, number), BITS]
    for place in range(features.shape[0]):
        cell = cells[place]
        if cell[LO] == number:
            if cell[HI] == number:
                cell[HI] += 1
            elif (bits >> place) & 1 != 0:
                leave(rows, entity, features[place], cell, number)
            cell[LO] += 1
    entity[HEAD] += 1


@compiled
def extreme(rows: I64, entity: I64, feature: I64, cell: I64, bit: Int) -> None:
    """Looks for an extreme anew: the one before has left."""
    first = True
    for number in range(cell[LO], cell[HI]):
        row = row_of(entity, number)
        if (rows[row, BITS] & bit) != 0:
            value = rows[row, feature[ARGUMENT]]
            if first or beats(feature, value, cell[HIGH]):
                cell[HIGH] = value
            first = False
    cell[LOW] = 0


@compiled
def real_sum(rows: I64, entity: I64, feature: I64, cell: I64, bit: Int) -> float:
    """A sum of float64, the oldest first. Made anew each time: what was added can't be taken away exactly."""
    total = 0.0
    for number in range(cell[LO], cell[HI]):
        row = row_of(entity, number)
        if (rows[row, BITS] & bit) != 0:
            total += real_of(rows[row, feature[ARGUMENT]])
    return total


@compiled
def tell(rows: I64, entity: I64, features: I64, cells: I64, values: I64, nulls: U8, columns: I64, at: Int) -> None:
    """Every feature, as its windows stand, into column `at` of values and nulls.

    columns: int64[f], the row of `values` of each feature, -1 where nobody asks for it
    """
    for number in range(features.shape[0]):
        feature = features[number]
        cell = cells[number]
        bit = np.int64(1) << number
        kind = feature[AGGREGATE]
        null = cell[N] == 0
        value = np.int64(0)
        if kind == COUNT:
            value = cell[N]
            null = False
        elif kind == DISTINCT:
            value = cell[HIGH]
            null = False
        elif not null and (kind in (MIN, MAX)):
            if cell[LOW] != 0:
                extreme(rows, entity, feature, cell, bit)
            value = cell[HIGH]
        elif not null and feature[REAL] != 0:
            total = real_sum(rows, entity, feature, cell, bit)
            value = bits_of(total / cell[N] if kind == AVG else total)
        elif not null:
            high = cell[HIGH] + (cell[LOW] >> 32)
            if high < -HALF or high >= HALF:
                null = True
            else:
                value = (high << 32) | (cell[LOW] & WORD)
                if kind == AVG:
                    value = bits_of(value / (float(cell[N]) * float(feature[POWER])))
        column = columns[number]
        if column >= 0:
            values[column, at] = np.int64(0) if null else value
            nulls[column, at] = null
