"""Trails: strict sequences, in which every step takes the very next event of its key.

Whatever partials such a plan has for a key, they have all taken the key's last events and differ only in where they
began; so in each state waits one at most. A cell keeps one bit per state, and its key's last events in a ring, the
*trail*, each with the fields that conditions of later steps read. (This is Shift-And, the bit-parallel search of a
text, with conditions for letters.)

    state         3          2          1
    open          1          0          1
    trail       event ◀─── event ◀─── event        newest
                began                 began

An event shifts the bits by one and keeps those whose condition holds. Nothing is allocated, freed or linked before a
match, and a short trail lies in one cache line: twice the speed of a dense sequence over 20,000 keys.

A trail takes rows of `partials`, as int64:

    [0]                 open: the states, as bits, in which a partial waits
    [1]                 number of the newest place
    [2 + p * width]     place p: captured event, and << 32 the fields that are NULL
    [3 + p * width]              its instant
    [4 + p * width + f]          its field f
"""

from __future__ import annotations

import numpy as np

from cep.matcher.emit import write
from cep.matcher.lists import capture, free_partial, new_link, new_partial
from cep.matcher.records import *  # noqa: F403  the fields of every record
from cep.matcher.registers import compared, program_holds
from events.columns import I16, I32, I64, U8
from events.kernel import (
    Int,
    apart,
    compiled,
    inlined,
    ones,
    real_of,
    seldom,
    trailing_zeros,
    unfolded,
)

PLACES = 2
"""Where the places of a trail begin,"""
FIELDS = 2
"""and the fields of a place."""
FIELDS_MAX = 31
"""Fields that a place may have, one bit each;"""
NO_FIELD = FIELDS_MAX
"""of a count of events: none, which is never NULL."""
STRICT_MAX = 32
"""Events of a strict sequence; longer ones are matched as all others."""


@inlined
def base_of(trail: Int) -> Int:
    """Where a trail lies among the int64 of the partials."""
    return np.uint32(np.int64(trail) * BLOCK)


@inlined
def place_at(base: Int, newest: Int, back: Int, places: Int, width: Int) -> Int:
    """Where the event lies that came so many events before the newest one, which lies in place `newest` of `places`."""
    nth = newest - back
    return np.uint32(base + PLACES + (nth + places if nth < 0 else nth) * width)


@inlined
def place_before(plans: Records, registers: I64, plan: Int, base: Int, back: Int) -> Int:
    """The same of a trail of a plan."""
    width = FIELDS + np.int64(plans[plan].fields)
    return place_at(base, registers[np.uint32(base + 1)], back, np.int64(plans[plan].strict) - 1, width)


@compiled
def new_trail(plans: Records, cells: Records, partials: Records, registers: I64, counters: I64, cell: Int) -> Int:
    """A cell's trail, with nothing on it. The caller has made sure of room."""
    apart()
    plan = cells[cell].plan
    trail = new_partial(partials, counters, np.int64(plans[plan].blocks))
    counters[MORE_PARTIALS] -= 1
    base = base_of(trail)
    for at in range(PLACES + (np.int64(plans[plan].strict) - 1) * (FIELDS + np.int64(plans[plan].fields))):
        registers[np.uint32(base + at)] = 0
    cells[cell].trail = trail
    cells[cell].count = 1
    return trail


@compiled
def drop_trail(plans: Records, cells: Records, partials: Records, registers: I64, counters: I64, cell: Int) -> None:
    """Free the trail of a cell, and end what is open on it."""
    apart()
    counters[MORE_PARTIALS] += 1 - ones(registers[base_of(cells[cell].trail)])
    free_partial(partials, counters, np.int64(plans[cells[cell].plan].blocks), cells[cell].trail)
    cells[cell].trail = NIL
    cells[cell].count = 0
    cells[cell].interest = 0
    counters[TRAILS_KNOWN] = 0


@inlined
def holds(edges: Records, edge: Int, seen: Int) -> Int:
    """1 if an edge's guard holds on these bits, else 0."""
    return np.int64(edges[edge].must & ~seen == 0) & np.int64(edges[edge].must_not & seen == 0)


@compiled
def recall(
    plans: Records, updates: Records, registers: I64, plan: Int, base: Int, state: Int
) -> None:  # fmt: skip
    """Fill the registers of the first row, which is nobody's, with those of the partial that waits in `state`."""
    apart()
    masks = np.int64(0)
    for register in range(np.int64(plans[plan].registers)):
        update = np.uint32(np.int64(plans[plan].recalled) + register)
        field = np.int64(updates[update].field)
        back = state - 1 - np.int64(updates[update].state)
        missing = back < 0
        value = np.int64(0)
        if not missing and field != NO_FIELD:
            place = place_before(plans, registers, plan, base, back)
            value = registers[np.uint32(place + FIELDS + field)]
            missing = (registers[place] >> 32 >> field) & 1 != 0
            if updates[update].real != 0:
                missing = missing or real_of(value) != real_of(value)
        if updates[update].op == UPDATE_COUNT:
            value = np.int64(1) - np.int64(missing)
            missing = False
        masks |= np.int64(missing) << register
        registers[np.uint32(MASKS + 1 + register)] = value
    registers[MASKS] = masks


@inlined
def held_on_trail(
    plans: Records, conditions: Records, updates: Records, ops: I16, args: I64, stack: I64, values: I64, nulls: U8,
    row: Int, registers: I64, plan: Int, base: Int, newest: Int, places: Int, width: Int, state: Int, first: Int,
    bits: Int,
) -> Int:  # fmt: skip
    """Of conditions that read earlier events those that hold for the partial that waits in `state`."""
    holding = np.int64(0)
    while bits != 0:
        condition = np.uint32(first + trailing_zeros(bits))
        if conditions[condition].fast != 0:  # no branch depends on an event: a wrong guess costs more than the rest
            back = state - 1 - np.int64(conditions[condition].state)
            place = place_at(base, newest, max(back, np.int64(0)), places, width)
            kept = np.int64(conditions[condition].kept)
            field = conditions[condition].field
            left = values[field, row]
            right = registers[np.uint32(place + FIELDS + kept)]
            there = np.int64(back >= 0) & ~(np.int64(nulls[field, row]) | registers[place] >> 32 >> kept)
            if conditions[condition].real == 0:
                found = compared(left, right)
            else:
                found = compared(real_of(left), conditions[condition].factor * real_of(right))
            held: Int = there & np.int64(found & np.int64(conditions[condition].op) != 0)
        else:
            recall(plans, updates, registers, plan, base, state)
            held = np.int64(
                program_holds(conditions, ops, args, stack, values, nulls, row, registers, np.int64(MASKS), condition)
            )
        holding |= bits & -bits & -held
        bits &= bits - 1
    return holding


@compiled
def write_match(
    plans: Records, states: Records, edges: Records, registers: I64, links: Records, counters: I64, out: Records,
    plan: Int, slot: Int, trail: Int, event: Int, sequence: Int, now: Int,
) -> None:  # fmt: skip
    """The match that `event` completes: the whole trail and it, oldest first."""
    apart()
    length = np.int64(plans[plan].strict)
    base = base_of(trail)
    start = np.uint32(registers[place_before(plans, registers, plan, base, length - 2)])
    link = NIL
    for state in range(length):
        edge = np.uint32(states[np.uint32(plans[plan].states + state)].lo)
        taken = np.uint32(event)
        if state < length - 1:
            taken = np.uint32(registers[place_before(plans, registers, plan, base, length - 2 - state)])
        link = new_link(links, counters, link, taken, edges[edge].step)
    counters[MATCHED] += 1
    write(out, counters, plan, slot, sequence, now, KIND_MATCH, link, start)


@unfolded
def follow(
    plans: Records, states: Records, edges: Records, conditions: Records, updates: Records, ops: I16, args: I64,
    registers: I64, links: Records, events: Records, counters: I64, out: Records, stack: I64, values: I64, nulls: U8,
    event_at_us: I64, row: Int, sequence: Int, now: Int, plan: Int, slot: Int, trail: Int, word: Int, begins: Int,
    event: Int,
) -> tuple[Int, Int]:  # fmt: skip
    """What event `row` does to a slot's trail; answers what is open then, and the captured event.

    begins: 1 if the event starts a partial, else 0. The caller has made sure of room.
    O(states between the start and the furthest partial)
    """
    base = base_of(trail)
    length = np.int64(plans[plan].strict)
    first_state = np.uint32(plans[plan].states)
    first_condition = np.int64(plans[plan].conditions)
    lasts = plans[plan].lasts
    places = length - 1
    fields = np.int64(plans[plan].fields)
    width = FIELDS + fields
    opened = registers[base]
    newest = registers[np.uint32(base + 1)]
    moved = begins << 1
    state = np.int64(0)
    left = opened >> 1
    over: Int = np.int64(0)
    while left != 0:
        state += 1
        at = np.uint32(first_state + state)
        seen = word
        history = word & states[at].history
        if history != 0:
            seen = word ^ history | held_on_trail(
                plans, conditions, updates, ops, args, stack, values, nulls, row, registers, plan, base, newest,
                places, width, state, first_condition, history,
            )  # fmt: skip
        began = registers[np.uint32(place_at(base, newest, state - 1, places, width) + 1)]
        late = np.int64(began + lasts <= now) & left & 1
        takes = holds(edges, np.uint32(states[at].lo), seen) & (late ^ 1) & left & 1
        over += late
        moved |= takes << (state + 1)
        left >>= 1
    matched = moved >> length
    taken = ones(moved) - matched
    if moved != 0:
        event = capture(events, counters, event, sequence, event_at_us, now, row)
        if seldom(bool(matched != 0)):
            write_match(
                plans, states, edges, registers, links, counters, out, plan, slot, trail, event, sequence, now
            )  # fmt: skip
            moved &= plans[plan].keeps
        newest = newest + 1 if newest + 1 < places else np.int64(0)
        registers[np.uint32(base + 1)] = newest
        place = place_at(base, newest, np.int64(0), places, width)
        missing = np.int64(0)
        for field in range(fields):
            column = updates[np.uint32(np.int64(plans[plan].kept) + field)].column
            registers[np.uint32(place + FIELDS + field)] = values[column, row]
            missing |= np.int64(nulls[column, row]) << field
        registers[place] = np.int64(event) | missing << 32
        registers[np.uint32(place + 1)] = now
    registers[base] = moved
    stays = ones(moved)
    count = ones(opened)
    counters[TIMED_OUT] += over
    counters[TAKEN] += taken
    counters[STARTED] += begins
    counters[DIED] += count + begins - over - stays
    counters[MORE_PARTIALS] += stays - count
    return moved, event


@inlined
def furthest(opened: Int) -> Int:
    """How many events the partial has that began first, of those that are open; 0 for none."""
    events = np.int64(0)
    while opened > 1:
        events += 1
        opened >>= 1
    return events


@inlined
def mark_trail(plans: Records, cells: Records, registers: I64, cell: Int, new_event: U32) -> None:
    """Mark the events of a trail that an open partial has taken (see `collect`)."""
    base = base_of(cells[cell].trail)
    for back in range(furthest(registers[base])):
        new_event[np.uint32(registers[place_before(plans, registers, cells[cell].plan, base, back)])] = 0


@inlined
def move_trail(plans: Records, cells: Records, registers: I64, cell: Int, new_event: U32) -> None:
    """Give these events their new places."""
    base = base_of(cells[cell].trail)
    for back in range(furthest(registers[base])):
        place = place_before(plans, registers, cells[cell].plan, base, back)
        moved = np.int64(new_event[np.uint32(registers[place])])
        registers[place] = registers[place] >> 32 << 32 | moved


@inlined
def is_over(plans: Records, cells: Records, registers: I64, cell: Int, now: Int) -> bool:
    """Is nothing open on a cell's trail, or nothing that time has left?"""
    base = base_of(cells[cell].trail)
    opened = registers[base]
    over = opened == 0
    if not over:  # the one in the first state began last
        began = place_before(plans, registers, cells[cell].plan, base, trailing_zeros(opened) - 1)
        over = registers[np.uint32(began + 1)] + plans[cells[cell].plan].lasts <= now
    return bool(over)


@compiled
def find_trails(direct: I32, counters: I64, values: I64, nulls: U8, column: Int, first: Int, trails: I32) -> None:
    """trails[row] for all rows from `first` on: the trail of its key, which is one code; -1 where none is known."""
    known = direct[direct.shape[0] - 1]
    if counters[TRAILS_KNOWN] == 0:
        known[:] = 0
        counters[TRAILS_KNOWN] = 1
    for row in range(first, trails.shape[0]):
        code = values[column, row]
        trail = np.int32(0)
        if nulls[column, row] == 0 and np.uint64(code) < np.uint64(known.shape[0]):
            trail = known[np.uint32(code)]
        trails[row] = trail - 1
