"""One event and one cell: the partials that the event concerns, a new start, the matches that come of them.

`visit` is the whole of what an event does to one (key, plan). It is part of three of the loops over events in `step`;
the fourth has only trails to `follow`.
"""

from __future__ import annotations

import numpy as np

from cep.matcher.emit import emit, set_match
from cep.matcher.expire import drop_over, drop_stale, expire, full_ring, push
from cep.matcher.keys import K_COLUMNS, K_DIRECT, K_FIELDS, NULL_KEY, heat, insert_cell
from cep.matcher.lists import (
    append_partial,
    build_chains,
    capture,
    chain_of,
    drop_chains,
    free_partial,
    insert_partial,
    join_chain,
    leave_chain,
    new_link,
    new_partial,
    remove_partial,
    settle,
)
from cep.matcher.records import *  # noqa: F403  the fields of every record
from cep.matcher.registers import covering, fast_holds, masks_of, out_of_bound, program_holds, take_in
from cep.matcher.room import room_for
from cep.matcher.trail import follow, holds, new_trail
from events.columns import I16, I32, I64, U8
from events.kernel import Int, apart, ask_for, compiled, inlined, seldom, trailing_zeros, unfolded

TAKE, IGNORE, KILL = range(3)
FIRED_MAX = 256
MOVED = 1 << 16
"""A chain that has moved as a whole has the state MOVED + target until every chain of its cell was stepped."""


@inlined
def held_bits(
    conditions: Records, ops: I16, args: I64, stack: I64, values: I64, nulls: U8, row: Int, registers: I64, base: Int,
    first: Int, bits: Int,
) -> Int:  # fmt: skip
    """Of conditions that read earlier events those that hold for the partial with masks at `base`."""
    holding = np.int64(0)
    while bits != 0:
        condition = np.uint32(first + trailing_zeros(bits))
        if not seldom(conditions[condition].fast == 0):
            holds = fast_holds(conditions, values, nulls, row, registers, base, condition)
        else:
            holds = program_holds(conditions, ops, args, stack, values, nulls, row, registers, base, condition)
        if holds:
            holding |= bits & -bits
        bits &= bits - 1
    return holding


@inlined
def take(
    edges: Records, updates: Records, partials: Records, links: Records, counters: I64, values: I64, nulls: U8,
    row: Int, registers: I64, edge: Int, partial: Int, event: Int,
) -> None:  # fmt: skip
    """Let a partial take the event by an edge and go on."""
    counters[TAKEN] += 1
    partials[partial].link = new_link(links, counters, partials[partial].link, event, edges[edge].step)
    partials[partial].state = edges[edge].target
    take_in(
        updates, edges[edge].update_lo, edges[edge].update_hi, values, nulls, row, registers, masks_of(partial)
    )  # fmt: skip


@inlined
def outcome_of(states: Records, state: Int, seen: Int) -> Int:
    """What becomes of a partial on these bits: OUTCOME_*, and << OUTCOME_BITS the edge, counted from the first."""
    values = (
        (seen >> states[state].first_bit & 1)
        | (seen >> states[state].second_bit & 1) << 1
        | (seen >> states[state].third_bit & 1) << 2
    )
    return states[state].outcomes >> (values << 3) & 255


@inlined
def fire(edges: Records, lo: Int, hi: Int, seen: Int, since: Int, fired: I64) -> tuple[Int, Int, bool]:
    """The edges of [lo, hi) that hold, into `fired`: how many, how many of them go on, and whether one kills.

    since: time since the event that the partial took last
    """
    fires = np.int64(0)
    onward = np.int64(0)
    killed = False
    for edge in range(lo, hi):
        if (
            edges[edge].must & ~seen == 0 and edges[edge].must_not & seen == 0
            and (edges[edge].gap == 0 or since < edges[edge].gap)
        ):  # fmt: skip
            fired[fires] = edge
            fires += 1
            if edges[edge].action == KILL:
                killed = True
            elif edges[edge].target != NIL:
                onward += 1
    return fires, np.int64(0) if killed else onward, killed


@compiled
def branch(
    plans: Records, states: Records, edges: Records, conditions: Records, updates: Records, cells: Records,
    partials: Records, registers: I64, links: Records, events: Records, queue: Records, rings: Records, counters: I64,
    matches: Records, fired: I64, values: I64, nulls: U8, event_at_us: I64, row: Int, sequence: Int, now: Int,
    since: Int, plan: Int, cell: Int, partial: Int, fires: Int, onward: Int, killed: bool, many: bool, count: Int,
    interest: Int, bound: Int, event: Int, waiting: Int,
) -> tuple[Int, Int, Int, Int, Int]:  # fmt: skip
    """Let a partial, which stands in no chain, go all the ways that hold: `fires` edges, `onward` of which go on.

    waiting: with `many`, the list of outcomes that are to join the chains of their states
    Answers the new count (of matches), interest, bound, event and waiting.
    """
    apart()
    first_state = np.int64(plans[plan].states)
    blocks = np.int64(plans[plan].blocks)
    ring = states[np.uint32(first_state + partials[partial].state)].ring
    link = partials[partial].link
    base = masks_of(partial)
    taken = NIL
    taken_step = NIL
    left = onward
    for nth in range(fires):
        edge = np.uint32(fired[nth])
        takes = edges[edge].action == TAKE
        target = edges[edge].target
        if edges[edge].action == KILL or (killed and target != NIL):
            continue
        if takes and edges[edge].step != taken_step:
            event = capture(events, counters, event, sequence, event_at_us, now, row)
            taken_step = edges[edge].step
            taken = new_link(links, counters, link, event, taken_step)
        if target == NIL:
            if not takes and links[link].closed != 0:
                continue
            set_match(matches, count, now, partials[partial].event, taken if takes else link, KIND_MATCH)
            count += 1
            continue
        left -= 1
        outcome = partial
        if left > 0:
            if cells[cell].count >= plans[plan].cap:
                counters[CAPPED] += 1
                continue
            outcome = new_partial(partials, counters, blocks)
            insert_partial(cells, partials, cell, partial, outcome)
            partials[outcome].event = partials[partial].event
            partials[outcome].at = partials[partial].at
            copied = masks_of(outcome)
            for register in range(np.int64(plans[plan].registers) + 1):
                registers[np.uint32(copied + register)] = registers[np.uint32(base + register)]
        partials[outcome].link = link
        if takes:
            counters[TAKEN] += 1
            partials[outcome].link = taken
            take_in(
                updates, edges[edge].update_lo, edges[edge].update_hi, values, nulls, row, registers,
                masks_of(outcome),
            )  # fmt: skip
        partials[outcome].state = target
        at = np.uint32(first_state + target)
        interest |= states[at].interest
        if states[at].bounded != 0:
            bound = covering(conditions, plans[plan].bound, registers, masks_of(outcome), bound)
        turn = states[at].ring
        if turn != NIL and (takes or turn != ring):
            push(queue, rings, np.int64(turn), now if takes else now - since, cell)
        if many:
            partials[outcome].chain_next = waiting
            waiting = outcome
    if onward == 0:
        remove_partial(cells, partials, cell, partial)
        free_partial(partials, counters, blocks, partial)
        counters[DIED] += 1
    return count, interest, bound, event, waiting


@inlined
def asked_of(
    plans: Records, conditions: Records, cells: Records, values: I64, nulls: U8, row: Int, plan: Int, cell: Int,
    word: Int,
) -> Int:  # fmt: skip
    """Of an event's bits those that may move a partial of a cell: all or none, but for the one that has a bound."""
    bit = plans[plan].bound_bit
    asked = word
    if asked & bit != 0 and out_of_bound(conditions, values, nulls, row, plans[plan].bound, cells[cell].bound):
        asked &= ~bit  # it holds for none of them
    return asked if asked & cells[cell].interest != 0 else np.int64(0)


@inlined
def warm(
    plans: Records, keyspaces: I64, slots: Records, cells: Records, direct: I32, values: I64, row: Int, plan: Int,
    space: Int, kind: Int, cell: Int,
) -> None:  # fmt: skip
    """Enter a cell into its slot's list of hot ones if every event concerns it."""
    if cells[cell].interest & plans[plan].always != 0 and cells[cell].hot == 0:
        slot = cells[cell].slot
        cells[cell].hot = 1
        cells[cell].hot_next = slots[slot].hot
        heat(keyspaces, slots, direct, space, kind, values, row, slot, cell)


@unfolded
def visit(
    plans: Records, states: Records, edges: Records, conditions: Records, updates: Records, ops: I16, args: I64,
    keyspaces: I64, streams: Int,
    cells: Records, chains: Records, partials: Records, registers: I64, links: Records, events: Records,
    held: Records, queue: Records, rings: Records, slots: Records, slot_keys: I64, slot_table: U32, direct: I32,
    index: Records, counters: I64, matches: Records, out: Records, stack: I64, fired: I64, values: I64, nulls: U8,
    event_at_us: I64, widest: Int,
    row: Int, sequence: Int, now: Int, plan: Int, slot: Int, cell: Int, word: Int, touched: bool, space: Int,
    kind: Int, event: Int, budget: Int,
) -> tuple[Int, Int, Int]:  # fmt: skip
    """What event `row` does to a cell, or to a plan that has none for its key yet (slot or cell NIL).

    sequence: the event's number in the log;  word: its bits;  touched: may it start?
    space, kind: key space, and its row of `keyspaces`;  event: its captured event, NIL for none yet
    budget:   rows that every array is known to have room for
    widest:   rows of the largest partial
    Answers DONE or the array that needs room (counters[NEED]: how much; nothing was changed), budget and event.
    """
    # windows that are over ----------------------------------------------------------------------------------
    need = np.int64(DONE)
    ring = plans[plan].ring  # NIL for a quiet plan
    gaps = plans[plan].gaps
    if seldom(ring != NIL and rings[ring].due <= now):
        drop_stale(queue, rings, cells, partials, ring, now)
    if seldom(gaps != 0 or (ring != NIL and rings[ring].due <= now)):
        need = expire(
            plans, states, cells, chains, partials, links, events, held, queue, rings, matches, out, counters,
            now,
        )  # fmt: skip
        budget = np.int64(0)  # it may have used some

    # does it concern anything here? -------------------------------------------------------------------------
    starts = touched and (plans[plan].start_always != 0 or word & plans[plan].start_any != 0)
    if streams > 1 and keyspaces[kind, K_FIELDS] == 0:  # an event of a stream that the plan isn't about
        starts = False
    asked = np.int64(0)
    if cell != NIL:
        asked = asked_of(plans, conditions, cells, values, nulls, row, plan, cell, word)
        if cells[cell].count == 0 or plans[plan].paused != 0:
            asked = np.int64(0)
        elif seldom(
            asked != 0 and plans[plan].quiet != 0 and partials[cells[cell].first].at + plans[plan].within <= now
        ):
            drop_over(plans, cells, chains, partials, counters, cell, now)
            if cells[cell].first == NIL:
                asked = np.int64(0)
    if need == DONE and asked == 0 and not starts:
        return need, budget, event
    if seldom(slot == NULL_KEY):  # the event belongs to nobody
        counters[KEYLESS] += need == DONE
        return need, budget, event

    # room -----------------------------------------------------------------------------------------------------
    most = np.int64(plans[plan].edges_max)
    if asked != 0:
        most *= 1 + np.int64(cells[cell].count)
    if seldom(need == DONE and (most > budget or most > matches.shape[0])):
        need, budget = room_for(
            counters, cells, chains, partials, links, events, held, slots, slot_table, index, out, widest,
            most,
        )  # fmt: skip
        if need == DONE and most > matches.shape[0]:
            need = np.int64(NEED_SCRATCH)
    if seldom(need == DONE and starts and slot == NIL) and keyspaces[kind, K_DIRECT] != 0:
        code = values[keyspaces[kind, K_COLUMNS], row]
        if code >= direct.shape[1]:
            counters[NEED] = code
            need = np.int64(NEED_CODES)
    if seldom(need == DONE and (gaps != 0 or (ring != NIL and rings[ring].length == rings[ring].capacity))):
        full = full_ring(queue, rings, cells, partials, ring, gaps, most if gaps != 0 else np.int64(1))
        if full >= 0:
            counters[NEED] = full
            need = np.int64(NEED_RING)
    if seldom(need != DONE):
        return need, budget, event
    budget -= most

    if plans[plan].strict != 0:
        begins = np.int64(starts) & holds(edges, np.uint32(states[np.uint32(plans[plan].states)].lo), word)
        if begins == 0 and asked == 0:
            return need, budget, event
        if cell == NIL:
            cell = insert_cell(
                keyspaces, streams, slots, slot_keys, slot_table, direct, cells, index, counters, space, kind, values,
                row, slot, plan,
            )  # fmt: skip
        trail = cells[cell].trail
        if trail == NIL:
            trail = new_trail(plans, cells, partials, registers, counters, cell)
        opened, event = follow(
            plans, states, edges, conditions, updates, ops, args, registers, links, events, counters, out, stack,
            values, nulls, event_at_us, row, sequence, now, plan, cells[cell].slot, trail, word, begins, event,
        )  # fmt: skip
        cells[cell].interest = ANY if opened != 0 else 0
        warm(plans, keyspaces, slots, cells, direct, values, row, plan, space, kind, cell)
        return need, budget, event

    # the partials of the cell that are concerned --------------------------------------------------------------
    first_state = np.int64(plans[plan].states)
    first_condition = np.int64(plans[plan].conditions)
    blocks = np.int64(plans[plan].blocks)
    count = np.int64(0)  # completed matches
    many = cell != NIL and cells[cell].chain != NIL
    waiting = NIL  # outcomes, joined to their chains once every chain was stepped
    moved = False
    if asked != 0:
        interest = np.int64(0)
        bound = np.nan if asked & plans[plan].bound_bit != 0 else cells[cell].bound
        chain = cells[cell].chain
        here = NIL
        partial = NIL if many else cells[cell].first
        while True:
            if partial == NIL:
                if chain == NIL:
                    break
                here = chain
                partial = chains[chain].first
                at = np.uint32(first_state + chains[chain].state)
                if asked & states[at].interest == 0:
                    interest |= states[at].interest
                    partial = NIL
                chain = chains[chain].next
                continue
            after = partials[partial].chain_next if many else partials[partial].next
            if after != NIL:  # a list is a chain of misses: the next one is fetched while this one is stepped
                ask_for(partials, np.int64(after))
            at = np.uint32(first_state + partials[partial].state)
            if asked & states[at].interest == 0:
                interest |= states[at].interest
                partial = after
                continue
            history = asked & states[at].history
            seen = asked
            if history != 0:
                seen = asked ^ history | held_bits(
                    conditions, ops, args, stack, values, nulls, row, registers, masks_of(partial),
                    first_condition, history,
                )  # fmt: skip
            found = outcome_of(states, at, seen)
            edge = np.uint32(states[at].lo + (found >> OUTCOME_BITS))
            found &= (1 << OUTCOME_BITS) - 1
            fires = np.int64(0)
            onward = np.int64(0)
            killed = False
            since = np.int64(0)
            if seldom(found == OUTCOME_GENERAL):
                if gaps != 0:
                    since = now - events[links[partials[partial].link].event].now
                fires, onward, killed = fire(edges, states[at].lo, states[at].hi, seen, since, fired)
                if (
                    onward == 1 and fires == 1 and edges[fired[0]].action == IGNORE
                    and np.uint32(first_state + edges[fired[0]].target) == at
                ):  # fmt: skip
                    found = np.int64(OUTCOME_STAYS)
            if found == OUTCOME_STAYS:
                interest |= states[at].interest
                if states[at].bounded != 0:
                    bound = covering(conditions, plans[plan].bound, registers, masks_of(partial), bound)
                # the others of its chain stay as well, where their outcome can't be another one
                partial = after if history != 0 or states[at].gapped != 0 or not many else NIL
                continue
            if seldom(many):
                if found == OUTCOME_TAKES and history == 0:  # so do all: the chain moves as it is
                    event = capture(events, counters, event, sequence, event_at_us, now, row)
                    at = np.uint32(first_state + edges[edge].target)
                    interest |= states[at].interest
                    while partial != NIL:
                        take(
                            edges, updates, partials, links, counters, values, nulls, row, registers, edge,
                            partial, event,
                        )  # fmt: skip
                        if states[at].bounded != 0:
                            bound = covering(
                                conditions, plans[plan].bound, registers, masks_of(partial), bound
                            )  # fmt: skip
                        partial = partials[partial].chain_next
                    chains[here].state = MOVED + edges[edge].target
                    moved = True
                    continue
                leave_chain(partials, chains, here, partial)
            if seldom(found == OUTCOME_GENERAL):
                count, interest, bound, event, waiting = branch(
                    plans, states, edges, conditions, updates, cells, partials, registers, links, events,
                    queue, rings, counters, matches, fired, values, nulls, event_at_us, row,
                    sequence, now, since, plan, cell, partial, fires, onward, killed, many, count,
                    interest, bound, event, waiting,
                )  # fmt: skip
            elif found == OUTCOME_TAKES:
                event = capture(events, counters, event, sequence, event_at_us, now, row)
                take(
                    edges, updates, partials, links, counters, values, nulls, row, registers, edge, partial,
                    event,
                )  # fmt: skip
                at = np.uint32(first_state + edges[edge].target)
                interest |= states[at].interest
                if states[at].bounded != 0:
                    bound = covering(conditions, plans[plan].bound, registers, masks_of(partial), bound)
                if seldom(many):
                    partials[partial].chain_next = waiting
                    waiting = partial
            else:
                if found == OUTCOME_MATCHES:
                    event = capture(events, counters, event, sequence, event_at_us, now, row)
                    link = new_link(links, counters, partials[partial].link, event, edges[edge].step)
                    set_match(matches, count, now, partials[partial].event, link, KIND_MATCH)
                    count += 1
                remove_partial(cells, partials, cell, partial)
                free_partial(partials, counters, blocks, partial)
                counters[DIED] += 1
            partial = after
        cells[cell].interest = interest
        cells[cell].bound = bound

    # a new start ----------------------------------------------------------------------------------------------
    if starts:
        seen = word
        if seldom(word & plans[plan].start_history != 0):
            registers[MASKS] = plans[plan].registers_null
            for register in range(plans[plan].registers):  # trails recall theirs in this row
                registers[np.uint32(MASKS + 1 + register)] = 0
            bits = word & plans[plan].start_history
            while bits != 0:
                if not program_holds(
                    conditions, ops, args, stack, values, nulls, row, registers, np.int64(MASKS),
                    first_condition + trailing_zeros(bits),
                ):  # fmt: skip
                    seen ^= bits & -bits
                bits &= bits - 1
        found = outcome_of(states, np.uint32(first_state), seen)
        fired[0] = np.int64(states[np.uint32(first_state)].lo) + (found >> OUTCOME_BITS)
        found &= (1 << OUTCOME_BITS) - 1
        fires = np.int64(found != OUTCOME_ENDS)
        killed = False
        if seldom(found == OUTCOME_GENERAL):
            fires, onward, killed = fire(
                edges, states[first_state].lo, states[first_state].hi, seen, np.int64(0), fired
            )  # fmt: skip
        if fires > 0 and cell == NIL:
            cell = insert_cell(
                keyspaces, streams, slots, slot_keys, slot_table, direct, cells, index, counters, space, kind, values,
                row, slot, plan,
            )  # fmt: skip
        if seldom(bool(fires > 0 and cells[cell].count + fires > plans[plan].cap and plans[plan].quiet != 0)):
            drop_over(plans, cells, chains, partials, counters, cell, now)
        started = False
        taken = NIL
        taken_step = NIL
        for nth in range(fires):
            edge = np.uint32(fired[nth])
            target = edges[edge].target
            if edges[edge].action != TAKE or (killed and target != NIL):
                continue
            if edges[edge].step != taken_step:
                event = capture(events, counters, event, sequence, event_at_us, now, row)
                taken_step = edges[edge].step
                taken = new_link(links, counters, NIL, event, taken_step)
            if target == NIL:
                set_match(matches, count, now, event, taken, KIND_MATCH)
                count += 1
                continue
            if seldom(cells[cell].count >= plans[plan].cap):
                counters[CAPPED] += 1
                continue
            if not started:
                started = True
                counters[STARTED] += 1
                if seldom(ring != NIL):
                    push(queue, rings, np.int64(ring), now, cell)
            counters[TAKEN] += 1
            outcome = new_partial(partials, counters, blocks)
            append_partial(cells, partials, cell, outcome)
            partials[outcome].link = taken
            partials[outcome].state = target
            partials[outcome].event = event
            partials[outcome].at = now
            base = masks_of(outcome)
            registers[base] = plans[plan].registers_null
            for register in range(plans[plan].registers):
                registers[np.uint32(base + 1 + register)] = 0
            take_in(updates, edges[edge].update_lo, edges[edge].update_hi, values, nulls, row, registers, base)
            at = np.uint32(first_state + target)
            if seldom(states[at].ring != NIL):
                push(queue, rings, np.int64(states[at].ring), now, cell)
            cells[cell].interest |= states[at].interest
            if states[at].bounded != 0:
                cells[cell].bound = covering(conditions, plans[plan].bound, registers, base, cells[cell].bound)
            if seldom(many):
                partials[outcome].chain_next = waiting
                waiting = outcome
    if cell == NIL:
        return need, budget, event

    # outcomes into the chains of their states, the cell into its slot's list if any event concerns it ---------
    if seldom(many):
        if moved:
            settle(chains, partials, cells, np.int64(MOVED), cell)
        while waiting != NIL:
            after = partials[waiting].chain_next
            join_chain(partials, chains, chain_of(chains, cells, counters, cell, partials[waiting].state), waiting)
            waiting = after
        drop_chains(cells, chains, counters, cell)
    elif seldom(cells[cell].count > PARTIALS_PER_CELL_FEW):
        build_chains(cells, chains, partials, counters, cell)
    if seldom(bool(count > 0 or cells[cell].held != NIL)):
        emit(
            plans, cells, chains, partials, links, held, matches, out, counters, cell, count,
            sequence,
        )  # fmt: skip
    if cells[cell].count == 0:
        cells[cell].interest = 0
        cells[cell].bound = np.nan
    warm(plans, keyspaces, slots, cells, direct, values, row, plan, space, kind, cell)
    return need, budget, event
