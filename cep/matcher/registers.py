"""Registers: what a partial remembers of the events it took, so that no condition walks back over them.

    registers[row]      uint64 mask of registers that are NULL
    registers[row + 1]  uint64 mask of registers that have seen an event
    registers[row + 2 + r]  register r, stored as columns are

Sums run in log order. count counts from 0; first and last take NULL as it comes, the others skip it
(and NaN, which is NULL to expressions).
"""

from __future__ import annotations

import numpy as np

from cep.matcher.columns import *  # noqa: F403  the column names of every array
from events.columns import I16, I64, U8
from events.kernel import Int, compiled, inlined
from events.program import run

OP_LT, OP_LE, OP_GT, OP_GE, OP_EQ, OP_NE = range(6)


@inlined
def compare_values(op: Int, left: Int, right: Int) -> bool:
    """left OP right, for two int64 or two float64 (no operator holds for NaN)."""
    ordered = left == left and right == right
    less = (op == OP_LT or op == OP_LE or op == OP_NE) and left < right
    more = (op == OP_GT or op == OP_GE or op == OP_NE) and left > right
    same = (op == OP_EQ or op == OP_LE or op == OP_GE) and left == right
    return bool(ordered and (less or more or same))


@compiled
def program_holds(
    conditions: I64,
    ops: I16,
    args: I64,
    stack: I64,
    values: I64,
    nulls: U8,
    row: Int,
    registers: I64,
    base: Int,
    condition: Int,
) -> bool:
    """A condition's program for event `row` and the partial with registers at `base`."""
    lo = conditions[condition, C_LO]
    hi = conditions[condition, C_HI]
    masked = np.uint64(registers[base])
    return run(ops, args, lo, hi, values, nulls, row, registers, base + REGISTER_HEAD, masked, stack) == 1


@inlined
def fast_holds(conditions: I64, values: I64, nulls: U8, row: Int, registers: I64, base: Int, condition: Int) -> bool:
    """The fast form: `field OP factor * register`, an average being sum / count."""
    field = conditions[condition, C_FIELD]
    register = conditions[condition, C_REGISTER]
    result = False
    if nulls[field, row] == 0 and (registers[base] >> register) & 1 == 0:
        place = base + REGISTER_HEAD + register
        if conditions[condition, C_FLOAT] == 0:
            result = compare_values(conditions[condition, C_OP], values[field, row], registers[place])
        else:
            right = registers.view(np.float64)[place]
            count = conditions[condition, C_COUNT]
            if count >= 0:
                right = right / registers[base + REGISTER_HEAD + count]
            right = conditions.view(np.float64)[condition, C_FACTOR] * right
            result = compare_values(conditions[condition, C_OP], values.view(np.float64)[field, row], right)
    return result


@inlined
def far_side(conditions: I64, registers: I64, base: Int, condition: Int) -> Int:
    """What the field of a fast-form float64 condition is compared with; NaN when that is NULL."""
    register = conditions[condition, C_REGISTER]
    value = np.nan
    if (registers[base] >> register) & 1 == 0:
        value = registers.view(np.float64)[base + REGISTER_HEAD + register]
        count = conditions[condition, C_COUNT]
        if count >= 0:
            value = value / registers[base + REGISTER_HEAD + count]
        value = conditions.view(np.float64)[condition, C_FACTOR] * value
    return value


@inlined
def out_of_bound(conditions: I64, values: I64, nulls: U8, row: Int, condition: Int, bound: Int) -> Int:
    """Is the event's field on the wrong side of the bound, so that no partial behind it satisfies the condition?"""
    field = conditions[condition, C_FIELD]
    op = conditions[condition, C_OP]
    value = values.view(np.float64)[field, row]
    rises = op == OP_GT or op == OP_GE
    wrong = value < bound if rises else value > bound
    return wrong or nulls[field, row] != 0


@compiled
def update(updates: I64, lo: Int, hi: Int, values: I64, nulls: U8, row: Int, registers: I64, base: Int) -> None:
    """Add event `row` to the registers of the step that took it: updates [lo, hi). O(hi - lo)."""
    floats = values.view(np.float64)
    kept = registers.view(np.float64)
    for place in range(lo, hi):
        op = updates[place, U_OP]
        register = updates[place, U_REGISTER]
        column = updates[place, U_COLUMN]
        at = base + REGISTER_HEAD + register
        bit = np.int64(1) << register
        missing = column >= 0 and nulls[column, row] != 0
        if updates[place, U_FLOAT] != 0 and op < UPDATE_FIRST:
            missing = missing or floats[column, row] != floats[column, row]
        seen = registers[base + 1] & bit != 0
        if op == UPDATE_COUNT:
            if not missing:
                registers[at] += 1
            continue
        if op == UPDATE_LAST or op == UPDATE_FIRST:
            if op == UPDATE_FIRST and seen:
                continue
            registers[base + 1] |= bit
            if missing:
                registers[base] |= bit
            else:
                registers[base] &= ~bit
                registers[at] = values[column, row]
            continue
        if missing:
            continue
        if not seen:
            registers[base + 1] |= bit
            registers[base] &= ~bit
            registers[at] = values[column, row]
        elif op == UPDATE_SUM_FLOAT:
            kept[at] += floats[column, row]
        elif op == UPDATE_SUM_INT:
            before = registers[at]
            after = before + values[column, row]
            registers[at] = after
            if ((before ^ after) & (values[column, row] ^ after)) < 0:
                registers[base] |= bit
        elif op == UPDATE_MIN_INT:
            registers[at] = min(registers[at], values[column, row])
        elif op == UPDATE_MAX_INT:
            registers[at] = max(registers[at], values[column, row])
        elif op == UPDATE_MIN_FLOAT:
            kept[at] = min(kept[at], floats[column, row])
        else:
            kept[at] = max(kept[at], floats[column, row])
