"""Registers: what a partial remembers of the events it took, so that no condition walks back over them.

    registers[base]          masks: of those that are NULL, and << 32 of those that have seen an event
    registers[base + 1 + r]  register r, stored as columns are

`registers` are the partials as int64, `base` is where a partial's masks lie. Sums run in log order. count counts
from 0; first and last take NULL as it comes, the others skip it (and NaN, which is NULL to expressions).
"""

from __future__ import annotations

import numpy as np

from cep.matcher.records import *  # noqa: F403  the fields of every record
from events.columns import I16, I64, U8
from events.kernel import Int, apart, bits_of, compiled, inlined, real_of, unfolded
from events.program import run

LESS, MORE, SAME = 1, 2, 4
OP_LT, OP_LE, OP_GT, OP_GE, OP_EQ, OP_NE = LESS, LESS | SAME, MORE, MORE | SAME, SAME, LESS | MORE
NULLS = (1 << 32) - 1


@inlined
def masks_of(partial: Int) -> Int:
    """Where a partial's masks lie among the registers."""
    return np.uint32(np.int64(partial) * BLOCK + MASKS)


@inlined
def compared(left: Int, right: Int) -> Int:
    """How two int64 or two float64 compare, as a bit of an operator; 0 with NaN, so that no operator holds for it."""
    return np.int64(left < right) | np.int64(left > right) << 1 | np.int64(left == right) << 2


@inlined
def compare_values(op: Int, left: Int, right: Int) -> bool:
    """left OP right."""
    return bool(compared(left, right) & np.int64(op) != 0)


@compiled
def program_holds(
    conditions: Records, ops: I16, args: I64, stack: I64, values: I64, nulls: U8, row: Int, registers: I64, base: Int,
    condition: Int,
) -> bool:  # fmt: skip
    """A condition's program for event `row` and the partial with masks at `base`."""
    apart()
    lo = np.int64(conditions[condition].lo)
    hi = np.int64(conditions[condition].hi)
    masked = np.uint64(registers[base] & NULLS)
    return run(ops, args, lo, hi, values, nulls, row, registers, base + 1, masked, stack) == 1


@inlined
def fast_holds(
    conditions: Records, values: I64, nulls: U8, row: Int, registers: I64, base: Int, condition: Int
) -> bool:
    """The fast form: `field OP factor * register`, an average being sum / count."""
    field = conditions[condition].field
    register = conditions[condition].register
    result = False
    if nulls[field, row] == 0 and (registers[base] >> register) & 1 == 0:
        if conditions[condition].real == 0:
            result = compare_values(
                conditions[condition].op, values[field, row], registers[np.uint32(base + 1 + register)]
            )
        else:
            right = real_of(registers[np.uint32(base + 1 + register)])
            count = conditions[condition].count
            if count != NIL:
                right = right / registers[np.uint32(base + 1 + count)]
            right = conditions[condition].factor * right
            result = compare_values(conditions[condition].op, real_of(values[field, row]), right)
    return result


@unfolded
def covering(conditions: Records, condition: Int, registers: I64, base: Int, bound: Int) -> Int:
    """A bound that also covers this partial: beyond what the field of the fast-form float64 condition is compared with.

    NaN is the bound of nothing, and of a partial for which that is NULL.
    """
    register = conditions[condition].register
    op = conditions[condition].op
    rises = op & MORE != 0
    result = bound
    if (registers[base] >> register) & 1 == 0:
        side = real_of(registers[np.uint32(base + 1 + register)])
        count = conditions[condition].count
        if count != NIL:
            side = side / registers[np.uint32(base + 1 + count)]
        side = conditions[condition].factor * side
        if bound != bound or (side < bound if rises else side > bound):
            result = side
    return result


@inlined
def out_of_bound(conditions: Records, values: I64, nulls: U8, row: Int, condition: Int, bound: Int) -> bool:
    """Is the event's field on the wrong side of the bound, so that no partial behind it satisfies the condition?"""
    field = conditions[condition].field
    op = conditions[condition].op
    value = real_of(values[field, row])
    rises = op & MORE != 0
    inside = value >= bound if rises else value <= bound  # false for NaN on either side
    return nulls[field, row] != 0 or not inside


@unfolded
def update(updates: Records, lo: Int, hi: Int, values: I64, nulls: U8, row: Int, registers: I64, base: Int) -> None:
    """Add event `row` to the registers of the step that took it: updates [lo, hi). O(hi - lo)."""
    masks = registers[base]
    for nth in range(lo, hi):
        place = np.uint32(nth)
        op = updates[place].op
        register = np.int64(updates[place].register)
        column = updates[place].column
        at = np.uint32(base + 1 + register)
        bit = np.int64(1) << register
        missing = column != NIL and nulls[column, row] != 0
        if op == UPDATE_LAST or op == UPDATE_FIRST:
            if op == UPDATE_LAST or masks & (bit << 32) == 0:
                masks |= bit << 32
                if missing:
                    masks |= bit
                else:
                    masks &= ~bit
                    registers[at] = values[column, row]
            continue
        if updates[place].real != 0:
            missing = missing or real_of(values[column, row]) != real_of(values[column, row])
        if missing:
            continue
        if op == UPDATE_COUNT:
            registers[at] += 1
        elif masks & (bit << 32) == 0:
            masks |= bit << 32
            masks &= ~bit
            registers[at] = values[column, row]
        elif op == UPDATE_SUM_FLOAT:
            registers[at] = bits_of(real_of(registers[at]) + real_of(values[column, row]))
        elif op == UPDATE_SUM_INT:
            before = registers[at]
            after = before + values[column, row]
            registers[at] = after
            if ((before ^ after) & (values[column, row] ^ after)) < 0:
                masks |= bit
        elif op == UPDATE_MIN_INT:
            registers[at] = min(registers[at], values[column, row])
        elif op == UPDATE_MAX_INT:
            registers[at] = max(registers[at], values[column, row])
        elif op == UPDATE_MIN_FLOAT:
            registers[at] = bits_of(min(real_of(registers[at]), real_of(values[column, row])))
        else:
            registers[at] = bits_of(max(real_of(registers[at]), real_of(values[column, row])))
    registers[base] = masks


@inlined
def take_in(updates: Records, lo: Int, hi: Int, values: I64, nulls: U8, row: Int, registers: I64, base: Int) -> None:
    """`update`, without a call for what is most frequent by far: one field of the last event."""
    if hi - lo == 1 and updates[lo].op == UPDATE_LAST:
        register = np.int64(updates[lo].register)
        column = updates[lo].column
        masks = registers[base] | (np.int64(1) << register << 32) | (np.int64(1) << register)
        if nulls[column, row] == 0:
            masks ^= np.int64(1) << register
            registers[np.uint32(base + 1 + register)] = values[column, row]
        registers[base] = masks
    elif lo < hi:
        update(updates, lo, hi, values, nulls, row, registers, base)
