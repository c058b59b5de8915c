"""The matching kernel: rows of a batch, in order, through every plan they concern.

For each event: the touched plans (`touch`: those of which an event part holds) and the hot cells of its keys (those
with a partial that any event concerns, as strict contiguity does). For each such pair of key and plan: the partials of
each state through its edges, then the start state, then the matches. An event that concerns nobody costs a look at its
key's slot, or nothing at all when no plan can be hot.

Before anything is changed for a (row, plan) the kernel makes sure of room in every array and answers what it needs
otherwise; the driver grows that array and calls again, and the kernel goes on with the very same (row, plan).
"""

from __future__ import annotations

import numpy as np

from cep.matcher.columns import *  # noqa: F403  the column names of every array
from cep.matcher.emit import emit
from cep.matcher.expire import compact, expire, push
from cep.matcher.keys import cell_of, insert_cell, insert_slot, slot_of
from cep.matcher.lists import (
    chain_of,
    drop_start,
    free_partial,
    join_chain,
    join_start,
    leave_chain,
    leave_start,
    link_start,
    new_partial,
    new_registers,
    new_start,
    without_empty_chains,
)
from cep.matcher.registers import OP_GE, OP_GT, far_side, fast_holds, out_of_bound, program_holds, update
from cep.matcher.room import room_for
from events.columns import F64, I16, I32, I64, U8
from events.kernel import Int, compiled

TAKE, IGNORE, KILL = range(3)
FIRED_MAX = 256
MOVED = -2
"""A chain that has moved as a whole has the state MOVED - target until every chain of its cell was stepped."""


@compiled
def settle(
    states: I64, conditions: I64, registers: I64, cells: I32, chains: I32, bounds: F64, partials: I32, cell: Int
) -> bool:
    """Give moved chains their new state; two of one state become one. Does any event concern one of them?

    O(chains squared), and O(partials) where the new state keeps a bound.
    """
    hot = False
    chain = cells[cell, L_CHAIN]
    while chain != -1:
        if chains[chain, H_STATE] <= MOVED:
            state = MOVED - chains[chain, H_STATE]
            hot = hot or states[state, S_ALL] != 0
            condition = states[state, S_BOUND]
            if condition >= 0:
                rising = conditions[condition, C_OP] == OP_GT or conditions[condition, C_OP] == OP_GE
                bounds[chain] = np.inf if rising else -np.inf
                partial = chains[chain, H_FIRST]
                while partial != -1:
                    side = far_side(conditions, registers, np.int64(partials[partial, A_REGISTERS]), condition)
                    if (rising and side < bounds[chain]) or (not rising and side > bounds[chain]):
                        bounds[chain] = side
                    partial = partials[partial, A_CHAIN_NEXT]
            other = cells[cell, L_CHAIN]
            while other != -1 and (chains[other, H_STATE] != state or other == chain):
                other = chains[other, H_NEXT]
            chains[chain, H_STATE] = state
            if other != -1 and chains[other, H_COUNT] > 0:
                if condition >= 0:
                    rising = conditions[condition, C_OP] == OP_GT or conditions[condition, C_OP] == OP_GE
                    if (rising and bounds[other] < bounds[chain]) or (not rising and bounds[other] > bounds[chain]):
                        bounds[chain] = bounds[other]
                first = chains[other, H_FIRST]
                last = chains[chain, H_LAST]
                partials[last, A_CHAIN_NEXT] = first
                partials[first, A_CHAIN_PREV] = last
                chains[chain, H_LAST] = chains[other, H_LAST]
                chains[chain, H_COUNT] += chains[other, H_COUNT]
                chains[other, H_FIRST] = -1
                chains[other, H_LAST] = -1
                chains[other, H_COUNT] = 0
            if other != -1:
                chains[other, H_STATE] = -1
        chain = chains[chain, H_NEXT]
    return hot


@compiled
def step(
    plans: I64, states: I64, edges: I64, conditions: I64, updates: I64, ops: I16, args: I64, keyspaces: I64,
    cells: I32, chains: I32, bounds: F64, partials: I32, starts: I32, start_at: I64, links: I32, events: I64,
    registers: I64, held: I32, queue: I32, queue_heads: I64, slot_keys: I64, slot_hot: I64, slot_table: I32,
    cell_keys: I64, cell_table: I64, counters: I64, matches: I32, out: I64, stack: I64, fired: I64,
    values: I64, nulls: U8, at_us: I64, event_at_us: I64, first_sequence: Int,
    touch_row: I32, touch_plan: I32, touch_word: I64, touches: Int, scan: bool,
) -> Int:  # fmt: skip
    """Match rows from counters[RESUME_ROW] on. Answers DONE, or which array needs room (counters[NEED]: how much).

    touch_*:  [touches] rows in order, with plan and bits; scan: hot cells are possible, so every row is looked at
    fired:    int64[FIRED_MAX] scratch; matches: int32[n, HELD_WIDTH] scratch
    """
    rows = at_us.shape[0]
    touch = counters[RESUME_TOUCH]
    row = counters[RESUME_ROW]
    widest = np.int64(REGISTER_HEAD)
    for number in range(plans.shape[0]):
        widest = max(widest, plans[number, P_REGISTERS] + REGISTER_HEAD)
    budget = np.int64(0)  # rows that every array is known to have room for
    known_row = np.int64(-1)  # (row, key space) whose slot is `known_slot`
    known_space = np.int64(-1)
    known_slot = np.int64(-1)
    while row < rows:
        if not scan:
            if touch >= touches:
                break
            row = np.int64(touch_row[touch])
        now = at_us[row]
        event = np.int64(-1)
        first_touch = touch
        while first_touch > 0 and touch_row[first_touch - 1] == row:
            first_touch -= 1
        hot_space = np.int64(0)
        hot = np.int64(-1)
        hot_before = np.int64(-1)  # the hot cell before, once it was found to stay hot
        hot_seen = np.int64(0)
        while True:
            # the next plan that this event concerns -----------------------------------------------------------------
            if touch < touches and touch_row[touch] == row:
                plan = np.int64(touch_plan[touch])
                word = touch_word[touch] | plans[plan, P_ALWAYS]
                if known_row != row or known_space != plans[plan, P_KEYSPACE]:
                    known_row = row
                    known_space = plans[plan, P_KEYSPACE]
                    known_slot = slot_of(keyspaces, slot_keys, slot_table, known_space, values, nulls, row)
                slot = known_slot
                cell = np.int64(-1) if slot < 0 else cell_of(cell_keys, cell_table, slot, plan)
                touched = True
            elif scan:
                while hot == -1 and hot_space < keyspaces.shape[0]:
                    if known_row != row or known_space != hot_space:
                        known_row = row
                        known_space = hot_space
                        known_slot = slot_of(keyspaces, slot_keys, slot_table, known_space, values, nulls, row)
                    hot_space += 1
                    hot_before = np.int64(-1)
                    if known_slot >= 0:
                        hot = np.int64(slot_hot[known_slot])
                if hot == -1:
                    break
                slot = known_slot
                cell = hot
                hot = np.int64(cells[cell, L_HOT_NEXT])
                chain = np.int64(cells[cell, L_CHAIN])
                while chain != -1 and states[chains[chain, H_STATE], S_ALL] == 0:
                    chain = np.int64(chains[chain, H_NEXT])
                if chain == -1:  # it has cooled since
                    cells[cell, L_HOT] = 0
                    if hot_before == -1:
                        slot_hot[slot] = hot
                    else:
                        cells[hot_before, L_HOT_NEXT] = hot
                    continue
                hot_before = cell
                hot_seen += 1
                if hot_seen <= counters[RESUME_HOT]:
                    continue
                plan = np.int64(cells[cell, L_PLAN])
                word = plans[plan, P_ALWAYS]
                touched = False
                done_before = False
                for other in range(first_touch, touch):
                    if touch_plan[other] == plan:
                        done_before = True
                if done_before:
                    continue
            else:
                break

            # windows that are over ----------------------------------------------------------------------------------
            if queue_heads[plan, QH_DUE] <= now:
                need = expire(
                    plans, states, cells, chains, partials, starts, start_at, links, registers, held, queue,
                    queue_heads, matches, out, counters, plan, now,
                )  # fmt: skip
                if need != DONE:
                    counters[RESUME_ROW] = row
                    counters[RESUME_TOUCH] = touch
                    counters[RESUME_HOT] = hot_seen - 1 if hot_seen > 0 else 0
                    return need

            start_possible = touched and (plans[plan, P_START_ALWAYS] != 0 or word & plans[plan, P_START_ANY] != 0)
            live = cell >= 0 and cells[cell, L_COUNT] > 0
            if not live and not start_possible:
                if touched:
                    touch += 1
                continue
            if slot == -2:  # a NULL in the key: the event belongs to nobody
                counters[KEYLESS] += 1
                touch += 1
                continue

            # room -----------------------------------------------------------------------------------------------------
            moving = np.int64(cells[cell, L_COUNT]) if live else np.int64(0)
            most = (moving + 1) * plans[plan, P_EDGES_MAX]
            size = plans[plan, P_REGISTERS]
            if most > budget or most > matches.shape[0]:
                moving = np.int64(0)
                chain = np.int64(cells[cell, L_CHAIN]) if live else np.int64(-1)
                while chain != -1:
                    state = chains[chain, H_STATE]
                    if states[state, S_ALL] != 0 or word & states[state, S_INTEREST] != 0:
                        moving += chains[chain, H_COUNT]
                    chain = np.int64(chains[chain, H_NEXT])
                most = (moving + 1) * plans[plan, P_EDGES_MAX]
                need, budget = room_for(
                    counters, cells, chains, partials, starts, links, events, registers, held, slot_hot, slot_table,
                    cell_table, out, widest, most,
                )  # fmt: skip
                if need == DONE and most > matches.shape[0]:
                    need = NEED_SCRATCH
                if need != DONE:
                    counters[NEED] = most * widest if need == NEED_REGISTERS else most
                    counters[RESUME_ROW] = row
                    counters[RESUME_TOUCH] = touch
                    counters[RESUME_HOT] = hot_seen - 1 if hot_seen > 0 else 0
                    return need
            if start_possible and queue_heads[plan, QH_LENGTH] + 1 > queue_heads[plan, QH_CAPACITY]:
                compact(queue, queue_heads, starts, plan)
                if 4 * queue_heads[plan, QH_LENGTH] >= queue_heads[plan, QH_CAPACITY]:
                    counters[NEED] = plan
                    counters[RESUME_ROW] = row
                    counters[RESUME_TOUCH] = touch
                    counters[RESUME_HOT] = hot_seen - 1 if hot_seen > 0 else 0
                    return NEED_QUEUE
            budget -= most

            # partials of the key, state by state ----------------------------------------------------------------------
            count = np.int64(0)  # completed matches
            waiting = np.int64(-1)  # outcomes, joined to their chains once every chain was stepped
            waiting_last = np.int64(-1)
            moved = False
            chain = np.int64(cells[cell, L_CHAIN]) if moving > 0 else np.int64(-1)
            while chain != -1:
                state = np.int64(chains[chain, H_STATE])
                if states[state, S_ALL] == 0 and word & states[state, S_INTEREST] == 0:
                    chain = np.int64(chains[chain, H_NEXT])
                    continue
                history = word & states[state, S_HIST]
                bound = states[state, S_BOUND]
                asked = word
                if history != 0 and bound >= 0 and out_of_bound(
                    conditions, values, nulls, row, bound, bounds[chain]
                ):  # fmt: skip
                    asked = word & ~history  # it holds for none of them
                    history = np.int64(0)
                fires = np.int64(-1)
                onward = np.int64(0)
                killed = False
                stays = False
                whole = False
                partial = np.int64(chains[chain, H_FIRST])
                while partial != -1:
                    after = np.int64(partials[partial, A_CHAIN_NEXT])
                    seen = asked
                    if history != 0:
                        base = np.int64(partials[partial, A_REGISTERS])
                        bits = history
                        while bits != 0:
                            bit = bits & -bits
                            place = np.int64(0)
                            while (bit >> place) & 1 == 0:
                                place += 1
                            bits ^= bit
                            condition = plans[plan, P_CONDITIONS] + place
                            if conditions[condition, C_FIELD] >= 0:
                                if not fast_holds(conditions, values, nulls, row, registers, base, condition):
                                    seen ^= bit
                            elif not program_holds(
                                conditions, ops, args, stack, values, nulls, row, registers, base, condition
                            ):
                                seen ^= bit
                    if history != 0 or fires == -1:
                        fires = np.int64(0)
                        onward = np.int64(0)
                        killed = False
                        for edge in range(states[state, S_LO], states[state, S_HI]):
                            if edges[edge, E_MUST] & ~seen == 0 and edges[edge, E_MUST_NOT] & seen == 0:
                                fired[fires] = edge
                                fires += 1
                                if edges[edge, E_ACTION] == KILL:
                                    killed = True
                                elif edges[edge, E_TARGET] >= 0:
                                    onward += 1
                        if killed:
                            onward = np.int64(0)
                        stays = (
                            onward == 1 and fires == 1 and edges[fired[0], E_ACTION] == IGNORE
                            and edges[fired[0], E_TARGET] == state
                        )  # fmt: skip
                        if stays and history == 0:
                            break
                        if history == 0 and fires == 1 and onward == 1 and edges[fired[0], E_ACTION] == TAKE:
                            # all of them take and go on together: the chain moves as it is
                            whole = True
                            break
                    if stays:
                        partial = after
                        continue
                    # this partial moves, branches or ends
                    leave_chain(partials, chains, chain, partial)
                    start = np.int64(partials[partial, A_START])
                    link = np.int64(partials[partial, A_LINK])
                    base = np.int64(partials[partial, A_REGISTERS])
                    taken = np.int64(-1)
                    taken_step = np.int64(-1)
                    left = onward
                    for nth in range(fires):
                        edge = fired[nth]
                        if edges[edge, E_ACTION] == KILL:
                            continue
                        takes = edges[edge, E_ACTION] == TAKE
                        target = edges[edge, E_TARGET]
                        if target >= 0 and killed:
                            continue
                        if takes and edges[edge, E_STEP] != taken_step:
                            if event == -1:
                                event = counters[N_EVENTS]
                                counters[N_EVENTS] += 1
                                events[event, V_SEQUENCE] = first_sequence + row
                                events[event, V_AT] = event_at_us[row]
                                events[event, V_NOW] = now
                            taken = counters[N_LINKS]
                            counters[N_LINKS] += 1
                            taken_step = edges[edge, E_STEP]
                            links[taken, K_PREV] = link
                            links[taken, K_EVENT] = event
                            links[taken, K_STEP] = taken_step
                        if target < 0:
                            matches[count, M_EVENT] = starts[start, T_EVENT]
                            matches[count, M_LINK] = taken if takes else link
                            matches[count, M_KIND] = KIND_MATCH
                            count += 1
                            continue
                        left -= 1
                        outcome = partial
                        if left > 0 and cells[cell, L_COUNT] >= plans[plan, P_CAP]:
                            counters[CAPPED] += 1
                            continue
                        if left > 0:
                            outcome = new_partial(partials, counters)
                            join_start(partials, starts, outcome, start)
                            partials[outcome, A_REGISTERS] = 0
                            cells[cell, L_COUNT] += 1
                            if base != 0:
                                copied = new_registers(registers, counters, size)
                                for register in range(size + REGISTER_HEAD):
                                    registers[copied + register] = registers[base + register]
                                partials[outcome, A_REGISTERS] = copied
                        partials[outcome, A_LINK] = link
                        if takes:
                            counters[TAKEN] += 1
                            partials[outcome, A_LINK] = taken
                            if edges[edge, E_UPDATE_LO] < edges[edge, E_UPDATE_HI]:
                                update(
                                    updates, edges[edge, E_UPDATE_LO], edges[edge, E_UPDATE_HI], values, nulls, row,
                                    registers, np.int64(partials[outcome, A_REGISTERS]),
                                )  # fmt: skip
                        partials[outcome, A_STATE] = target
                        partials[outcome, A_CHAIN_NEXT] = -1
                        if waiting == -1:
                            waiting = outcome
                        else:
                            partials[waiting_last, A_CHAIN_NEXT] = outcome
                        waiting_last = outcome
                    if onward == 0:
                        leave_start(partials, starts, partial)
                        if starts[start, T_FIRST] == -1:
                            drop_start(starts, cells, counters, start)
                        free_partial(partials, registers, counters, size, partial)
                        cells[cell, L_COUNT] -= 1
                        counters[DIED] += 1
                    partial = after
                if whole:
                    edge = fired[0]
                    if event == -1:
                        event = counters[N_EVENTS]
                        counters[N_EVENTS] += 1
                        events[event, V_SEQUENCE] = first_sequence + row
                        events[event, V_AT] = event_at_us[row]
                        events[event, V_NOW] = now
                    taken = counters[N_LINKS]
                    while partial != -1:
                        links[taken, K_PREV] = partials[partial, A_LINK]
                        links[taken, K_EVENT] = event
                        links[taken, K_STEP] = edges[edge, E_STEP]
                        partials[partial, A_LINK] = taken
                        partials[partial, A_STATE] = edges[edge, E_TARGET]
                        taken += 1
                        if edges[edge, E_UPDATE_LO] < edges[edge, E_UPDATE_HI]:
                            update(
                                updates, edges[edge, E_UPDATE_LO], edges[edge, E_UPDATE_HI], values, nulls, row,
                                registers, np.int64(partials[partial, A_REGISTERS]),
                            )  # fmt: skip
                        partial = np.int64(partials[partial, A_CHAIN_NEXT])
                    counters[N_LINKS] = taken
                    counters[TAKEN] += chains[chain, H_COUNT]
                    chains[chain, H_STATE] = MOVED - edges[edge, E_TARGET]
                    moved = True
                chain = np.int64(chains[chain, H_NEXT])

            # a new start ----------------------------------------------------------------------------------------------
            if start_possible:
                seen = word
                bits = word & plans[plan, P_START_HIST]
                if bits != 0:
                    registers[0] = plans[plan, P_REGISTER_NULLS]
                    registers[1] = 0
                    for register in range(size):
                        registers[REGISTER_HEAD + register] = 0
                    while bits != 0:
                        bit = bits & -bits
                        place = np.int64(0)
                        while (bit >> place) & 1 == 0:
                            place += 1
                        bits ^= bit
                        if not program_holds(
                            conditions, ops, args, stack, values, nulls, row, registers, np.int64(0),
                            plans[plan, P_CONDITIONS] + place,
                        ):  # fmt: skip
                            seen ^= bit
                start = np.int64(-1)
                taken = np.int64(-1)
                taken_step = np.int64(-1)
                for edge in range(plans[plan, P_START_LO], plans[plan, P_START_HI]):
                    if edges[edge, E_MUST] & ~seen != 0 or edges[edge, E_MUST_NOT] & seen != 0:
                        continue
                    if edges[edge, E_ACTION] != TAKE:
                        continue
                    if edges[edge, E_STEP] != taken_step:
                        if event == -1:
                            event = counters[N_EVENTS]
                            counters[N_EVENTS] += 1
                            events[event, V_SEQUENCE] = first_sequence + row
                            events[event, V_AT] = event_at_us[row]
                            events[event, V_NOW] = now
                        taken = counters[N_LINKS]
                        counters[N_LINKS] += 1
                        taken_step = edges[edge, E_STEP]
                        links[taken, K_PREV] = -1
                        links[taken, K_EVENT] = event
                        links[taken, K_STEP] = taken_step
                    target = edges[edge, E_TARGET]
                    if target < 0 or cell < 0:
                        if cell < 0:
                            if slot < 0:
                                known_row = np.int64(-1)
                                slot = insert_slot(
                                    keyspaces, slot_keys, slot_table, slot_hot, counters, plans[plan, P_KEYSPACE],
                                    values, row,
                                )  # fmt: skip
                            cell = insert_cell(cells, cell_keys, cell_table, counters, slot, plan)
                        if target < 0:
                            matches[count, M_EVENT] = event
                            matches[count, M_LINK] = taken
                            matches[count, M_KIND] = KIND_MATCH
                            count += 1
                            continue
                    if cells[cell, L_COUNT] >= plans[plan, P_CAP]:
                        counters[CAPPED] += 1
                        continue
                    if start == -1:
                        start = new_start(starts, counters)
                        starts[start, T_FIRST] = -1
                        starts[start, T_EVENT] = event
                        starts[start, T_CELL] = cell
                        start_at[start] = now
                        link_start(starts, cells, cell, start)
                        counters[STARTED] += 1
                        if plans[plan, P_WITHIN] != 0:
                            push(queue, queue_heads, starts, start_at, plan, plans[plan, P_WITHIN], start)
                    outcome = new_partial(partials, counters)
                    join_start(partials, starts, outcome, start)
                    cells[cell, L_COUNT] += 1
                    counters[TAKEN] += 1
                    partials[outcome, A_LINK] = taken
                    partials[outcome, A_REGISTERS] = 0
                    if size > 0:
                        base = new_registers(registers, counters, size)
                        partials[outcome, A_REGISTERS] = base
                        registers[base] = plans[plan, P_REGISTER_NULLS]
                        registers[base + 1] = 0
                        for register in range(size):
                            registers[base + REGISTER_HEAD + register] = 0
                        update(
                            updates, edges[edge, E_UPDATE_LO], edges[edge, E_UPDATE_HI], values, nulls, row,
                            registers, base,
                        )  # fmt: skip
                    partials[outcome, A_STATE] = target
                    partials[outcome, A_CHAIN_NEXT] = -1
                    if waiting == -1:
                        waiting = outcome
                    else:
                        partials[waiting_last, A_CHAIN_NEXT] = outcome
                    waiting_last = outcome

            # outcomes into the chains of their states, hot cells into their slot's list -------------------------------
            is_hot = False
            if moved:
                is_hot = settle(
                    states, conditions, registers, cells, chains, bounds, partials, cell
                )  # fmt: skip
            while waiting != -1:
                after = np.int64(partials[waiting, A_CHAIN_NEXT])
                state = np.int64(partials[waiting, A_STATE])
                chain = chain_of(chains, cells, counters, cell, state)
                condition = states[state, S_BOUND]
                if condition >= 0:
                    rising = conditions[condition, C_OP] == OP_GT or conditions[condition, C_OP] == OP_GE
                    if chains[chain, H_COUNT] == 0:
                        bounds[chain] = np.inf if rising else -np.inf
                    side = far_side(conditions, registers, np.int64(partials[waiting, A_REGISTERS]), condition)
                    if (rising and side < bounds[chain]) or (not rising and side > bounds[chain]):
                        bounds[chain] = side
                join_chain(partials, chains, chain, waiting)
                if states[state, S_ALL] != 0:
                    is_hot = True
                waiting = after
            if is_hot and cells[cell, L_HOT] == 0:
                cells[cell, L_HOT] = 1
                cells[cell, L_HOT_NEXT] = slot_hot[slot]
                slot_hot[slot] = cell

            # matches --------------------------------------------------------------------------------------------------
            if count > 0 or (cell >= 0 and cells[cell, L_HELD] != -1):
                emit(
                    plans, cells, chains, partials, starts, links, registers, held, matches, out, counters,
                    cell, count, first_sequence + row,
                )  # fmt: skip
            if cell >= 0:
                without_empty_chains(chains, cells, counters, cell)
            if touched:
                touch += 1

        counters[RESUME_HOT] = 0
        row += 1
    counters[RESUME_ROW] = 0
    counters[RESUME_TOUCH] = 0
    return DONE
