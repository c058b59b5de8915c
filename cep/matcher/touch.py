"""Which plans an event concerns, and by which bits: one search per field, whatever the number of conditions.

    ranges  for each column with thresholds: its distinct bounds, sorted; each interval between two bounds has the list
            of predicates that hold in it
    codes   for each column with equalities: its distinct values, sorted, each with its list
    dense   predicates that no search can answer: run on every event

        bounds        0.99      2.0        500
        interval   [0]     [1]      [2]         [3]
        list      small   probe      —        cash-out        a value in the idle interval costs two comparisons

A predicate with a program left (the rest of a conjunction) runs it only when its search hit.
"""

from __future__ import annotations

import numpy as np

from cep.matcher.records import Records
from events.columns import F64, I16, I32, I64, U8
from events.kernel import Int, compiled, inlined
from events.program import run

# predicates: int64[n, PREDICATE_WIDTH]; R_STREAM -1: of any stream
R_PLAN, R_BIT, R_LO, R_HI, R_STREAM, PREDICATE_WIDTH = range(6)
# ranges: int64[n, 7] and codes: int64[n, 4]
G_COLUMN, G_FLOAT, G_LO, G_HI, G_LIST, G_IDLE_LO, G_IDLE_HI = range(7)


@compiled
def rest_holds(
    predicates: I64, predicate: Int, ops: I16, args: I64, values: I64, nulls: U8, row: Int, stack: I64
) -> bool:
    """A predicate's program on event `row`; it reads no registers."""
    lo = predicates[predicate, R_LO]
    hi = predicates[predicate, R_HI]
    return bool(run(ops, args, lo, hi, values, nulls, row, stack, np.int64(0), np.uint64(0), stack) == 1)


@inlined
def bit_of(
    predicates: I64, predicate: Int, ops: I16, args: I64, values: I64, nulls: U8, row: Int, stack: I64
) -> Int:  # fmt: skip
    """A predicate's bit, where also its program holds if it has one."""
    holds = predicates[predicate, R_LO] < 0 or rest_holds(predicates, predicate, ops, args, values, nulls, row, stack)
    return predicates[predicate, R_BIT] if holds else np.int64(0)


@inlined
def bit_of_member(
    predicates: I64, members: Records, place: Int, ops: I16, args: I64, values: I64, nulls: U8, row: Int, stack: I64
) -> Int:  # fmt: skip
    """The same of a member of a list."""
    member = np.uint32(place)
    rest = np.int64(members[member].rest)
    holds = rest == 0 or rest_holds(predicates, rest - 1, ops, args, values, nulls, row, stack)
    return members[member].bit if holds else np.int64(0)


@compiled
def wake(ranges: I64, values: I64, nulls: U8, awake: U8) -> None:
    """awake[i] = 1 where some field lies outside its idle interval; column by column, so that it vectorises."""
    floats = values.view(np.float64)
    ranges_float = ranges.view(np.float64)
    awake[:] = 0
    for group in range(ranges.shape[0]):
        column = ranges[group, G_COLUMN]
        missing = nulls[column]
        if ranges[group, G_FLOAT] != 0:
            low = ranges_float[group, G_IDLE_LO]
            high = ranges_float[group, G_IDLE_HI]
            reals = floats[column]
            for row in range(awake.shape[0]):
                awake[row] |= np.uint8((reals[row] < low) | (reals[row] >= high)) & (missing[row] ^ np.uint8(1))
        else:
            least = ranges[group, G_IDLE_LO]
            most = ranges[group, G_IDLE_HI]
            wholes = values[column]
            for row in range(awake.shape[0]):
                awake[row] |= np.uint8((wholes[row] < least) | (wholes[row] >= most)) & (missing[row] ^ np.uint8(1))


@inlined
def list_of_range(
    ranges: I64, ranges_float: F64, bounds: I64, bounds_float: F64, values: I64, floats: F64, nulls: U8, group: Int,
    row: Int,
) -> Int:  # fmt: skip
    """The list of the interval of a column with thresholds in which its value lies, -1 for none."""
    column = np.uint32(ranges[group, G_COLUMN])
    lo = ranges[group, G_LO]
    hi = ranges[group, G_HI]
    idle = nulls[column, row] != 0
    if idle:
        pass
    elif ranges[group, G_FLOAT] != 0:
        real = floats[column, row]
        idle = ranges_float[group, G_IDLE_LO] <= real < ranges_float[group, G_IDLE_HI] or real != real
        while lo < hi and not idle:
            middle = (lo + hi) >> 1
            if bounds_float[np.uint32(middle)] <= real:
                lo = middle + 1
            else:
                hi = middle
    else:
        whole = values[column, row]
        idle = ranges[group, G_IDLE_LO] <= whole < ranges[group, G_IDLE_HI]
        while lo < hi and not idle:
            middle = (lo + hi) >> 1
            if bounds[np.uint32(middle)] <= whole:
                lo = middle + 1
            else:
                hi = middle
    return np.int64(-1) if idle else ranges[group, G_LIST] + lo - ranges[group, G_LO]


@inlined
def list_of_code(codes: I64, code_values: I64, values: I64, nulls: U8, group: Int, row: Int) -> Int:
    """The list of a column's value among its equalities, -1 for none."""
    column = np.uint32(codes[group, G_COLUMN])
    whole = values[column, row]
    lo = codes[group, G_LO]
    last = codes[group, G_HI]
    hi = last
    while lo < hi:
        middle = (lo + hi) >> 1
        if code_values[np.uint32(middle)] < whole:
            lo = middle + 1
        else:
            hi = middle
    found = np.int64(-1)
    if nulls[column, row] == 0 and lo < last and code_values[np.uint32(lo)] == whole:
        found = codes[group, G_LIST] + lo - codes[group, G_LO]
    return found


@compiled
def touch_one(
    predicates: I64, ranges: I64, bounds: I64, codes: I64, code_values: I64, lists: I64, members: Records, dense: I32,
    always: I32, ops: I16, args: I64, stack: I64, words: I64, awake: U8,
    streams: I16, values: I64, nulls: U8, first: Int,
    out_row: I32, out_plan: I32, out_word: I64,
) -> tuple[Int, Int]:  # fmt: skip
    """`touch` where there is one plan, of number 0: its bits are gathered in one word. out_plan is left as it is: 0."""
    rows = values.shape[1]
    sparse = always.shape[0] == 0 and codes.shape[0] == 0 and dense.shape[0] == 0
    floats = values.view(np.float64)
    bounds_float = bounds.view(np.float64)
    ranges_float = ranges.view(np.float64)
    room = out_row.shape[0]
    written = 0
    if sparse:
        wake(ranges, values, nulls, awake)
    for row in range(first, rows):
        if sparse and awake[row] == 0:
            continue
        if written == room:
            return row, written
        word = np.int64(0)
        for group in range(ranges.shape[0]):
            at = list_of_range(ranges, ranges_float, bounds, bounds_float, values, floats, nulls, group, row)
            if at >= 0:
                for place in range(lists[np.uint32(at)], lists[np.uint32(at + 1)]):
                    word |= bit_of_member(predicates, members, place, ops, args, values, nulls, row, stack)
        for group in range(codes.shape[0]):
            at = list_of_code(codes, code_values, values, nulls, group, row)
            if at >= 0:
                for place in range(lists[np.uint32(at)], lists[np.uint32(at + 1)]):
                    word |= bit_of_member(predicates, members, place, ops, args, values, nulls, row, stack)
        for place in range(dense.shape[0]):
            predicate = np.int64(dense[place])
            stream = predicates[predicate, R_STREAM]
            if stream < 0 or stream == streams[row]:
                word |= bit_of(predicates, predicate, ops, args, values, nulls, row, stack)
        out_row[np.uint32(written)] = row
        out_word[np.uint32(written)] = word
        written += word != 0 or always.shape[0] > 0
    return rows, written


@inlined
def note(plan: Int, bit: Int, words: I64, out_row: I32, out_plan: I32, row: Int, written: Int) -> Int:
    """Add a bit to its plan's word, and a plan's first one to the output; answers the entries written."""
    if bit != 0:
        if words[plan] == 0:
            out_row[np.uint32(written)] = row
            out_plan[np.uint32(written)] = plan
            written += 1
        words[plan] |= bit
    return written


@compiled
def touch(
    predicates: I64, ranges: I64, bounds: I64, codes: I64, code_values: I64, lists: I64, members: Records, dense: I32,
    always: I32, ops: I16, args: I64, stack: I64, words: I64, awake: U8,
    streams: I16, values: I64, nulls: U8, first: Int,
    out_row: I32, out_plan: I32, out_word: I64,
) -> tuple[Int, Int]:  # fmt: skip
    """Bits of rows from `first` on. Answers (rows done, entries written); stops early when `out_*` might be full.

    lists[k], lists[k + 1]: the members of list k; words: int64[plans] scratch, all 0
    always: plans that every event may start
    awake:  uint8[rows] scratch
    streams: each row's stream
    """
    rows = values.shape[1]
    sparse = always.shape[0] == 0 and codes.shape[0] == 0 and dense.shape[0] == 0
    floats = values.view(np.float64)
    bounds_float = bounds.view(np.float64)
    ranges_float = ranges.view(np.float64)
    room = out_row.shape[0]
    plans = words.shape[0]
    written = 0
    if sparse:
        wake(ranges, values, nulls, awake)
    for row in range(first, rows):
        if sparse and awake[row] == 0:
            continue
        if written + 2 * plans > room:
            return row, written
        begin = written
        for place in range(always.shape[0]):
            plan = always[place]
            out_row[written] = row
            out_plan[written] = plan
            words[plan] = 0
            written += 1
        for group in range(ranges.shape[0]):
            at = list_of_range(ranges, ranges_float, bounds, bounds_float, values, floats, nulls, group, row)
            if at >= 0:
                for place in range(lists[np.uint32(at)], lists[np.uint32(at + 1)]):
                    bit = bit_of_member(predicates, members, place, ops, args, values, nulls, row, stack)
                    written = note(members[np.uint32(place)].plan, bit, words, out_row, out_plan, row, written)
        for group in range(codes.shape[0]):
            at = list_of_code(codes, code_values, values, nulls, group, row)
            if at >= 0:
                for place in range(lists[np.uint32(at)], lists[np.uint32(at + 1)]):
                    bit = bit_of_member(predicates, members, place, ops, args, values, nulls, row, stack)
                    written = note(members[np.uint32(place)].plan, bit, words, out_row, out_plan, row, written)
        for place in range(dense.shape[0]):
            predicate = np.int64(dense[place])
            stream = predicates[predicate, R_STREAM]
            if stream < 0 or stream == streams[row]:
                bit = bit_of(predicates, predicate, ops, args, values, nulls, row, stack)
                written = note(np.uint32(predicates[predicate, R_PLAN]), bit, words, out_row, out_plan, row, written)
        if always.shape[0] == 0:
            for place in range(begin, written):
                plan = out_plan[place]
                out_word[place] = words[plan]
                words[plan] = 0
        else:  # a plan that every event starts stands first; its later entry is folded into it
            kept = begin
            for place in range(begin, written):
                plan = out_plan[place]
                if place < begin + always.shape[0] or words[plan] != 0:
                    out_row[kept] = row
                    out_plan[kept] = plan
                    out_word[kept] = words[plan]
                    words[plan] = 0
                    kept += 1
            written = kept
    return rows, written
