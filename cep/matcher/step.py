"""The matching kernels: rows of a batch, in order, through every plan they concern.

For each event: the touched plans (`touch`: those of which an event part holds) and the hot cells of its keys (those
with a partial that any event concerns, as strict contiguity does). For each such pair of key and plan `visit` steps the
partials that the event concerns through the edges of their states, then the start state, then takes the matches. An
event that concerns nobody costs a look at its key, or nothing at all when no plan can be hot.

A cell knows by which bits its partials can be moved (`interest`), and for one condition that reads earlier events a
value that the event's field has to exceed (`bound`); so an event that moves none of them doesn't look at them.

Before anything is changed for a (row, plan) the kernel makes sure of room in every array and answers what it needs
otherwise; the driver grows that array and calls again, and the kernel goes on with the very same (row, plan).

There are four loops: `step_touched` where no cell can be hot, else `step_one` where there is one plan (a back-test,
most often), so that each event concerns one cell at most, or `step_strict` where that is a strict sequence and busy,
else `step`. They differ in how they come to a cell, not in what happens there.
"""

from __future__ import annotations

import numpy as np

from cep.matcher.ahead import AHEAD, AHEAD_OF_TOUCH, ask_ahead, ask_ahead_of_touch, find_slots
from cep.matcher.keys import K_COLUMNS, K_DIRECT, K_FIELDS, NULL_KEY, cell_of, heat, insert_cell, slot_of
from cep.matcher.records import *  # noqa: F403  the fields of every record
from cep.matcher.room import room_for
from cep.matcher.trail import base_of, find_trails, follow, holds, new_trail
from cep.matcher.visit import asked_of, visit, warm
from events.columns import I16, I32, I64, U8
from events.kernel import Int, ask_for, compiled, inlined, seldom


@inlined
def slot_by_code(
    keyspaces: I64, slots: Records, slot_keys: I64, slot_table: U32, direct: I32, by_code: bool, column: Int,
    space: Int, kind: Int, values: I64, nulls: U8, row: Int,
) -> Int:  # fmt: skip
    """`slot_of`, in short where keys are one code of `column`."""
    if by_code and nulls[column, row] == 0:
        code = values[column, row]
        known = np.uint64(code) < np.uint64(direct.shape[1])
        slot = np.uint32((direct[0, np.uint32(code)] >> 1) - 1) if known else NIL
    else:
        slot = slot_of(keyspaces, slots, slot_keys, slot_table, direct, space, kind, values, nulls, row)
    return slot


@compiled
def after_idle(
    plans: Records, conditions: Records, slots: Records, cells: Records, direct: I32, values: I64, nulls: U8,
    column: Int, row: Int, until: Int,
) -> Int:  # fmt: skip
    """The first row of [row, until) that has something to do with bits that every event has; else `until`.

    The key is one code. A loop of its own, so short that the processor is many events ahead by itself.
    """
    codes = values[column]
    entries = direct[0]
    while row < until:
        code = codes[np.uint32(row)]
        if np.uint64(code) < np.uint64(entries.shape[0]) and entries[np.uint32(code)] & 1 != 0:
            cell = slots[np.uint32((entries[np.uint32(code)] >> 1) - 1)].hot
            while cell != NIL:
                plan = cells[cell].plan
                always = plans[plan].always
                if (
                    asked_of(plans, conditions, cells, values, nulls, np.uint32(row), plan, cell, always) != 0
                    or cells[cell].interest & always == 0  # it has cooled since
                ):
                    return row
                cell = cells[cell].hot_next
        row += 1
    return row


@compiled
def step(
    plans: Records, states: Records, edges: Records, conditions: Records, updates: Records, ops: I16, args: I64,
    keyspaces: I64, streams: Int,
    cells: Records, chains: Records, partials: Records, registers: I64, links: Records, events: Records,
    held: Records, queue: Records, rings: Records, slots: Records, slot_keys: I64, slot_table: U32, direct: I32,
    index: Records, counters: I64, matches: Records, out: Records, stack: I64, fired: I64,
    stream_of: I16, values: I64, nulls: U8, at_us: I64, event_at_us: I64, first_sequence: Int,
    touch_row: I32, touch_plan: I32, touch_word: I64, touches: Int, widest: Int, likely_slots: I32,
    likely_cells: U32,
) -> Int:  # fmt: skip
    """Match rows from counters[RESUME_ROW] on, where cells can be hot. Answers DONE, or which array needs room
    (counters[NEED]: how much).

    touch_*:   [touches] rows in order, with plan and bits
    stream_of: each row's stream, of `streams`
    widest:    rows of the largest partial
    fired:     int64[FIRED_MAX] scratch; matches: HELD[n] scratch; likely_*: see `ask_ahead_of_touch`
    """
    rows = at_us.shape[0]
    spaces = keyspaces.shape[0] // streams
    alone = spaces == 1 and streams == 1 and keyspaces[0, K_FIELDS] == 1
    by_code = alone and keyspaces[0, K_DIRECT] != 0
    key_column = np.uint32(keyspaces[0, K_COLUMNS]) if alone else np.uint32(0)
    crowded = alone and 4 * touches > rows  # most events concern a cell
    width = counters[INDEX_WIDTH]
    likely_slots[:AHEAD_OF_TOUCH] = -1
    likely_cells[:] = NIL
    if crowded:
        find_slots(direct, slot_table, by_code, values, nulls, key_column, counters[RESUME_ROW], likely_slots)
    touch = counters[RESUME_TOUCH]
    row = counters[RESUME_ROW]
    budget = np.int64(0)  # rows that every array is known to have room for
    known_row = np.int64(-1)  # (row, key space) whose slot is `known_slot`
    known_space = np.int64(-1)
    known_slot = NIL
    while row < rows:
        ahead = np.int64(touch_row[np.uint32(touch)]) if touch < touches else rows
        if by_code and row < ahead and counters[RESUME_HOT] == 0:
            row = after_idle(plans, conditions, slots, cells, direct, values, nulls, key_column, row, ahead)
        if row >= rows:
            break
        if crowded and row + AHEAD < rows:
            ask_ahead(slots, slot_keys, cells, partials, by_code, row, likely_slots)
        event_row = np.uint32(row)
        now = at_us[event_row]
        event = NIL
        hot_space = np.int64(0)
        hot = NIL
        hot_before = NIL  # the hot cell before, once it was found to stay hot
        hot_seen = np.int64(0)
        while True:
            # the next plan that this event concerns -----------------------------------------------------------------
            touched = touch < touches and touch_row[np.uint32(touch)] == row
            space = hot_space - 1
            if touched:
                plan = np.uint32(touch_plan[np.uint32(touch)])
                word = touch_word[np.uint32(touch)] | plans[plan].always
                space = np.int64(plans[plan].keyspace)
            elif hot == NIL:
                if hot_space == spaces:
                    break
                space = hot_space
                hot_space += 1
                hot_before = NIL
            kind = space * streams + (np.int64(stream_of[event_row]) if streams > 1 else 0)
            if known_row != row or known_space != space:
                known_row = row
                known_space = space
                known_slot = slot_by_code(
                    keyspaces, slots, slot_keys, slot_table, direct, by_code, key_column, space, kind, values, nulls,
                    event_row,
                )  # fmt: skip
            slot = known_slot
            if touched:
                if alone and not crowded and touch + 2 * AHEAD_OF_TOUCH < touches:
                    ask_ahead_of_touch(
                        slots, cells, partials, index, width, direct, slot_table, by_code, False, values, at_us,
                        event_at_us, key_column, touch_row, touch_plan, touch_word, touch, likely_slots, likely_cells,
                    )  # fmt: skip
                cell = NIL
                if slot < NULL_KEY:
                    cell = likely_cells[np.uint32(touch & AHEAD_OF_TOUCH - 1)]
                    if cell == NIL or cells[cell].slot != slot or cells[cell].plan != plan:
                        cell = cell_of(cells, index, width, slot, plan)
            else:
                if hot == NIL:
                    hot = slots[slot].hot if slot < NULL_KEY else NIL
                    if hot == NIL:
                        continue
                cell = hot
                hot = cells[cell].hot_next
                plan = cells[cell].plan
                if seldom(hot_seen < counters[RESUME_HOT]):  # it has had its turn
                    hot_before = cell
                    hot_seen += 1
                    continue
                if cells[cell].interest & plans[plan].always == 0:  # it has cooled since
                    cells[cell].hot = 0
                    if hot_before == NIL:
                        heat(keyspaces, slots, direct, space, kind, values, event_row, slot, hot)
                    else:
                        cells[hot_before].hot_next = hot
                    continue
                hot_before = cell
                hot_seen += 1
                word = plans[plan].always
                other = touch - 1
                while other >= 0 and touch_row[other] == row and touch_plan[other] != plan:
                    other -= 1
                if other >= 0 and touch_row[other] == row:  # it was touched, and is done
                    continue

            need, budget, event = visit(
                plans, states, edges, conditions, updates, ops, args, keyspaces, streams, cells, chains, partials,
                registers, links, events, held, queue, rings, slots, slot_keys, slot_table, direct, index, counters,
                matches, out, stack, fired, values, nulls, event_at_us, widest, event_row, first_sequence + row, now,
                plan, slot, cell, word, touched, space, kind, event, budget,
            )  # fmt: skip
            if seldom(need != DONE):
                counters[RESUME_ROW] = row
                counters[RESUME_TOUCH] = touch
                counters[RESUME_HOT] = hot_seen - 1 if hot_seen > 0 else 0
                return need
            if slot == NIL:
                known_row = np.int64(-1)  # it may have got one
            if touched:
                touch += 1
        counters[RESUME_HOT] = 0
        row += 1
    counters[RESUME_HOT] = 0
    counters[RESUME_ROW] = 0
    counters[RESUME_TOUCH] = 0
    return DONE


@compiled
def step_touched(
    plans: Records, states: Records, edges: Records, conditions: Records, updates: Records, ops: I16, args: I64,
    keyspaces: I64, streams: Int,
    cells: Records, chains: Records, partials: Records, registers: I64, links: Records, events: Records,
    held: Records, queue: Records, rings: Records, slots: Records, slot_keys: I64, slot_table: U32, direct: I32,
    index: Records, counters: I64, matches: Records, out: Records, stack: I64, fired: I64,
    stream_of: I16, values: I64, nulls: U8, at_us: I64, event_at_us: I64, first_sequence: Int,
    touch_row: I32, touch_plan: I32, touch_word: I64, touches: Int, widest: Int, likely_slots: I32,
    likely_cells: U32,
) -> Int:  # fmt: skip
    """The same where no cell can be hot: touches only, whatever lies between them."""
    spaces = keyspaces.shape[0] // streams
    alone = spaces == 1 and streams == 1 and keyspaces[0, K_FIELDS] == 1
    by_code = alone and keyspaces[0, K_DIRECT] != 0
    key_column = np.uint32(keyspaces[0, K_COLUMNS]) if alone else np.uint32(0)
    lone = plans.shape[0] == 1  # a slot's only cell is its plan's
    width = counters[INDEX_WIDTH]
    likely_slots[:AHEAD_OF_TOUCH] = -1
    likely_cells[:] = NIL
    budget = np.int64(0)  # rows that every array is known to have room for
    row = np.int64(-1)
    event_row = np.uint32(0)
    now = np.int64(0)
    known_space = np.int64(-1)
    slot = NIL
    event = NIL
    touch = counters[RESUME_TOUCH]
    while touch < touches:
        if alone and touch + 2 * AHEAD_OF_TOUCH < touches:
            ask_ahead_of_touch(
                slots, cells, partials, index, width, direct, slot_table, by_code, lone, values, at_us, event_at_us,
                key_column, touch_row, touch_plan, touch_word, touch, likely_slots, likely_cells,
            )  # fmt: skip
        plan = np.uint32(touch_plan[np.uint32(touch)])
        word = touch_word[np.uint32(touch)] | plans[plan].always
        space = np.int64(plans[plan].keyspace)
        if touch_row[np.uint32(touch)] != row:
            row = np.int64(touch_row[np.uint32(touch)])
            event_row = np.uint32(row)
            now = at_us[event_row]
            event = NIL
            known_space = np.int64(-1)
        kind = space * streams + (np.int64(stream_of[event_row]) if streams > 1 else 0)
        if space != known_space or slot == NIL:
            known_space = space
            slot = slot_by_code(
                keyspaces, slots, slot_keys, slot_table, direct, by_code, key_column, space, kind, values, nulls,
                event_row,
            )  # fmt: skip
        cell = NIL
        if slot < NULL_KEY:
            cell = slots[slot].cell if lone else likely_cells[np.uint32(touch & AHEAD_OF_TOUCH - 1)]
            if not lone and (cell == NIL or cells[cell].slot != slot or cells[cell].plan != plan):
                cell = cell_of(cells, index, width, slot, plan)
        need, budget, event = visit(
            plans, states, edges, conditions, updates, ops, args, keyspaces, streams, cells, chains, partials,
            registers, links, events, held, queue, rings, slots, slot_keys, slot_table, direct, index, counters,
            matches, out, stack, fired, values, nulls, event_at_us, widest, event_row, first_sequence + row, now, plan,
            slot, cell, word, True, space, kind, event, budget,
        )  # fmt: skip
        if seldom(need != DONE):
            counters[RESUME_TOUCH] = touch
            return need
        touch += 1
    counters[RESUME_TOUCH] = 0
    return DONE


@compiled
def step_one(
    plans: Records, states: Records, edges: Records, conditions: Records, updates: Records, ops: I16, args: I64,
    keyspaces: I64, streams: Int,
    cells: Records, chains: Records, partials: Records, registers: I64, links: Records, events: Records,
    held: Records, queue: Records, rings: Records, slots: Records, slot_keys: I64, slot_table: U32, direct: I32,
    index: Records, counters: I64, matches: Records, out: Records, stack: I64, fired: I64,
    stream_of: I16, values: I64, nulls: U8, at_us: I64, event_at_us: I64, first_sequence: Int,
    touch_row: I32, touch_plan: I32, touch_word: I64, touches: Int, widest: Int, likely_slots: I32,
    likely_cells: U32,
) -> Int:  # fmt: skip
    """The same where there is one plan, and only its key space: the cell of a slot is its plan's."""
    rows = at_us.shape[0]
    alone = streams == 1 and keyspaces[0, K_FIELDS] == 1
    by_code = alone and keyspaces[0, K_DIRECT] != 0
    key_column = np.uint32(keyspaces[0, K_COLUMNS]) if alone else np.uint32(0)
    crowded = alone and 4 * touches > rows  # most events concern a cell
    width = counters[INDEX_WIDTH]
    likely_slots[:AHEAD_OF_TOUCH] = -1
    likely_cells[:] = NIL
    if crowded:
        find_slots(direct, slot_table, by_code, values, nulls, key_column, counters[RESUME_ROW], likely_slots)
    plan = np.uint32(0)
    always = plans[plan].always
    space = np.int64(0)
    touch = counters[RESUME_TOUCH]
    row = counters[RESUME_ROW]
    budget = np.int64(0)  # rows that every array is known to have room for
    while row < rows:
        ahead = np.int64(touch_row[np.uint32(touch)]) if touch < touches else rows
        if by_code and row < ahead and not crowded:
            row = after_idle(plans, conditions, slots, cells, direct, values, nulls, key_column, row, ahead)
        if row >= rows:
            break
        touched = row == ahead
        if crowded:
            if row + AHEAD < rows:
                ask_ahead(slots, slot_keys, cells, partials, by_code, row, likely_slots)
        elif alone and touched and touch + 2 * AHEAD_OF_TOUCH < touches:
            ask_ahead_of_touch(
                slots, cells, partials, index, width, direct, slot_table, by_code, True, values, at_us, event_at_us,
                key_column, touch_row, touch_plan, touch_word, touch, likely_slots, likely_cells,
            )  # fmt: skip
        event_row = np.uint32(row)
        now = at_us[event_row]
        kind = np.int64(stream_of[event_row]) if streams > 1 else np.int64(0)
        slot = np.uint32(likely_slots[event_row]) if crowded and by_code else NIL
        if slot == NIL:
            slot = slot_by_code(
                keyspaces, slots, slot_keys, slot_table, direct, by_code, key_column, space, kind, values, nulls,
                event_row,
            )  # fmt: skip
        cell = slots[slot].cell if slot < NULL_KEY else NIL
        word = always
        if touched:
            word |= touch_word[np.uint32(touch)]
        elif cell == NIL or cells[cell].interest & always == 0:
            if cell != NIL and cells[cell].hot != 0:  # it has cooled since
                cells[cell].hot = 0
                heat(keyspaces, slots, direct, space, kind, values, event_row, slot, NIL)
            row += 1
            continue
        event = NIL
        need, budget, event = visit(
            plans, states, edges, conditions, updates, ops, args, keyspaces, streams, cells, chains, partials,
            registers, links, events, held, queue, rings, slots, slot_keys, slot_table, direct, index, counters,
            matches, out, stack, fired, values, nulls, event_at_us, widest, event_row, first_sequence + row, now, plan,
            slot, cell, word, touched, space, kind, event, budget,
        )  # fmt: skip
        if seldom(need != DONE):
            counters[RESUME_ROW] = row
            counters[RESUME_TOUCH] = touch
            return need
        touch += touched
        row += 1
    counters[RESUME_ROW] = 0
    counters[RESUME_TOUCH] = 0
    return DONE


@compiled
def step_strict(
    plans: Records, states: Records, edges: Records, conditions: Records, updates: Records, ops: I16, args: I64,
    keyspaces: I64, streams: Int,
    cells: Records, chains: Records, partials: Records, registers: I64, links: Records, events: Records,
    held: Records, queue: Records, rings: Records, slots: Records, slot_keys: I64, slot_table: U32, direct: I32,
    index: Records, counters: I64, matches: Records, out: Records, stack: I64, fired: I64,
    stream_of: I16, values: I64, nulls: U8, at_us: I64, event_at_us: I64, first_sequence: Int,
    touch_row: I32, touch_plan: I32, touch_word: I64, touches: Int, widest: Int, likely_slots: I32,
    likely_cells: U32,
) -> Int:  # fmt: skip
    """The same where the one plan is a strict sequence, its key one code, and most events concern a cell.

    A cell that has a trail counts as hot, whatever is open on it: the other loops, if one comes next, find out at its
    next event, and neither the cell nor a list is touched for that of each event. likely_slots: scratch
    """
    rows = at_us.shape[0]
    key_column = np.uint32(keyspaces[0, K_COLUMNS])
    trails = likely_slots[:rows]
    find_trails(direct, counters, values, nulls, key_column, counters[RESUME_ROW], trails)
    plan = np.uint32(0)
    space = np.int64(0)
    always = plans[plan].always
    start = np.uint32(states[np.uint32(plans[plan].states)].lo)
    length = np.int64(plans[plan].strict)
    touch = counters[RESUME_TOUCH]
    row = counters[RESUME_ROW]
    budget = np.int64(0)  # rows that every array is known to have room for
    need = np.int64(DONE)
    while row < rows:
        if row + AHEAD < rows and trails[np.uint32(row + AHEAD)] >= 0:
            ask_for(partials, np.int64(trails[np.uint32(row + AHEAD)]))
        event_row = np.uint32(row)
        touched = touch < touches and np.int64(touch_row[np.uint32(touch)]) == row
        word = always
        if touched:
            word |= touch_word[np.uint32(touch)]
        starts = touched and (plans[plan].start_always != 0 or word & plans[plan].start_any != 0)
        begins = np.int64(starts) & holds(edges, start, word)
        trail = np.uint32(trails[event_row])
        if seldom(bool(budget < length)):
            need, budget = room_for(
                counters, cells, chains, partials, links, events, held, slots, slot_table, index, out, widest,
                length,
            )  # fmt: skip
        if seldom(bool(trail == NIL and need == DONE)):
            slot = slot_of(keyspaces, slots, slot_keys, slot_table, direct, space, space, values, nulls, event_row)
            if slot == NIL and begins != 0 and values[key_column, event_row] >= direct.shape[1]:
                counters[NEED] = values[key_column, event_row]
                need = np.int64(NEED_CODES)
            elif slot == NULL_KEY:
                counters[KEYLESS] += starts
            elif slot != NIL or begins != 0:
                cell = slots[slot].cell if slot != NIL else NIL
                if cell == NIL and begins != 0:
                    cell = insert_cell(
                        keyspaces, streams, slots, slot_keys, slot_table, direct, cells, index, counters, space, space,
                        values, event_row, slot, plan,
                    )  # fmt: skip
                trail = cells[cell].trail if cell != NIL else NIL
                if trail == NIL and begins != 0:
                    trail = np.uint32(new_trail(plans, cells, partials, registers, counters, cell))
                if trail != NIL:
                    cells[cell].interest = ANY
                    warm(plans, keyspaces, slots, cells, direct, values, event_row, plan, space, space, cell)
                    direct[direct.shape[0] - 1, np.uint32(values[key_column, event_row])] = np.int32(trail) + 1
        if seldom(need != DONE):
            counters[RESUME_ROW] = row
            counters[RESUME_TOUCH] = touch
            return need
        if trail != NIL and (begins != 0 or registers[base_of(trail)] != 0):
            budget -= length
            slot = np.uint32((direct[0, np.uint32(values[key_column, event_row])] >> 1) - 1)
            follow(
                plans, states, edges, conditions, updates, ops, args, registers, links, events, counters, out, stack,
                values, nulls, event_at_us, event_row, first_sequence + row, at_us[event_row], plan, slot, trail, word,
                begins, NIL,
            )  # fmt: skip
        touch += touched
        row += 1
    counters[RESUME_ROW] = 0
    counters[RESUME_TOUCH] = 0
    return DONE
