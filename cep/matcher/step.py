"""The matching kernel: rows of a batch, in order, through every plan they concern.

For each event: the touched plans (`touch`: those of which an event part holds) and the hot cells of its keys (those
with a partial that any event concerns, as strict contiguity does). For each such pair of key and plan: the partials
that the event concerns through the edges of their states, then the start state, then the matches. An event that
concerns nobody costs a look at its key, or nothing at all when no plan can be hot.

A cell knows by which bits its partials can be moved (`interest`), and for one condition that reads earlier events a
value that the event's field has to exceed (`bound`); so an event that moves none of them doesn't look at them.

Before anything is changed for a (row, plan) the kernel makes sure of room in every array and answers what it needs
otherwise; the driver grows that array and calls again, and the kernel goes on with the very same (row, plan).
"""

from __future__ import annotations

import numpy as np

from cep.matcher.emit import emit, set_match
from cep.matcher.expire import drop_over, drop_stale, expire, full_ring, push
from cep.matcher.keys import (
    K_COLUMNS,
    K_DIRECT,
    K_FIELDS,
    NULL_KEY,
    cell_of,
    heat,
    insert_cell,
    insert_slot,
    likely_cell,
    place_of,
    place_of_cell,
    slot_of,
)
from cep.matcher.lists import (
    append_partial,
    build_chains,
    chain_of,
    drop_chains,
    free_partial,
    insert_partial,
    join_chain,
    leave_chain,
    new_partial,
    remove_partial,
    settle,
)
from cep.matcher.records import *  # noqa: F403  the fields of every record
from cep.matcher.registers import covering, fast_holds, masks_of, out_of_bound, program_holds, take_in
from cep.matcher.room import room_for
from events.columns import I16, I32, I64, U8
from events.kernel import Int, ask_for, compiled, inlined, seldom, trailing_zeros

TAKE, IGNORE, KILL = range(3)
FIRED_MAX = 256
AHEAD = 8
"""So many events ahead memory is asked for what they will read,"""
AHEAD_OF_TOUCH = 16
"""and so many (row, plan) pairs, where only these are looked at. A power of two."""
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
        condition = first + trailing_zeros(bits)
        if not seldom(conditions[condition].fast == 0):
            holds = fast_holds(conditions, values, nulls, row, registers, base, condition)
        else:
            holds = program_holds(conditions, ops, args, stack, values, nulls, row, registers, base, condition)
        if holds:
            holding |= bits & -bits
        bits &= bits - 1
    return holding


@inlined
def likely_slot(direct: I32, slot_table: U32, by_code: bool, values: I64, column: Int, row: Int) -> Int:
    """The slot that an event most likely has, its key being one field and the only key space; -1 for none."""
    value = values[column, row]
    slot = np.int64(-1)
    if by_code:
        if value < direct.shape[1]:
            slot = np.int64(direct[0, value] >> 1) - 1
    else:
        found = slot_table[place_of(value, slot_table.shape[0])]
        if found != NIL:
            slot = np.int64(found)
    return slot


@inlined
def hot_slot(direct: I32, slot_table: U32, by_code: bool, values: I64, column: Int, row: Int) -> Int:
    """The same where it may have hot cells."""
    slot = np.int64(-1)
    if not by_code:
        slot = likely_slot(direct, slot_table, by_code, values, column, row)
    else:
        value = values[column, row]
        if value < direct.shape[1] and direct[0, value] & 1 != 0:
            slot = np.int64(direct[0, value] >> 1) - 1
    return slot


@inlined
def ask_ahead(
    slots: Records, slot_keys: I64, cells: Records, partials: Records, direct: I32, slot_table: U32, by_code: bool,
    values: I64, column: Int, row: Int, likely_slots: I64,
) -> None:  # fmt: skip
    """Ask the memory for what the next events will read: a slot, nearer ones' cell, the nearest one's first partial.

    likely_slots: int64[AHEAD] at least, by row: what was found ahead
    """
    slot = hot_slot(direct, slot_table, by_code, values, column, row + AHEAD - 1)
    likely_slots[(row + AHEAD - 1) & AHEAD - 1] = slot
    if slot >= 0:
        ask_for(slots, slot)
        if not by_code:
            ask_for(slot_keys, slot)
    slot = likely_slots[(row + AHEAD // 2) & AHEAD - 1]
    if slot >= 0 and slots[slot].hot != NIL:
        ask_for(cells, np.int64(slots[slot].hot))
    slot = likely_slots[(row + AHEAD // 4) & AHEAD - 1]
    if slot >= 0 and slots[slot].hot != NIL and cells[slots[slot].hot].first != NIL:
        ask_for(partials, np.int64(cells[slots[slot].hot].first))


@inlined
def asked_of(
    plans: Records, conditions: Records, cells: Records, values: I64, nulls: U8, row: Int, cell: Int, word: Int
) -> Int:  # fmt: skip
    """Of an event's bits those that may move a partial of a cell: all or none, but for the one that has a bound."""
    plan = cells[cell].plan
    bit = plans[plan].bound_bit
    asked = word
    if asked & bit != 0 and out_of_bound(conditions, values, nulls, row, plans[plan].bound, cells[cell].bound):
        asked &= ~bit  # it holds for none of them
    return asked if asked & cells[cell].interest != 0 else np.int64(0)


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
        code = codes[row]
        if code < entries.shape[0] and entries[code] & 1 != 0:
            cell = slots[(np.int64(entries[code]) >> 1) - 1].hot
            while cell != NIL:
                always = plans[cells[cell].plan].always
                if (
                    asked_of(plans, conditions, cells, values, nulls, row, cell, always) != 0
                    or cells[cell].interest & always == 0  # it has cooled since
                ):
                    return row
                cell = cells[cell].hot_next
        row += 1
    return row


@inlined
def ask_ahead_of_touch(
    slots: Records, cells: Records, partials: Records, index: Records, direct: I32, slot_table: U32, by_code: bool,
    lone: bool, values: I64, at_us: I64, event_at_us: I64, column: Int, touch_row: I32, touch_plan: I32, touch: Int,
    likely_slots: I64, likely_cells: U32,
) -> None:  # fmt: skip
    """The same for (row, plan) pairs: a row's columns, a nearer one's place in the table of cells, a nearer one's cell,
    the nearest one's partials.

    likely_slots: int64[AHEAD_OF_TOUCH], likely_cells: uint32[AHEAD_OF_TOUCH], by place: what was found ahead, -1 or NIL
    """
    far = np.int64(touch_row[touch + 2 * AHEAD_OF_TOUCH])
    if far != touch_row[touch + 2 * AHEAD_OF_TOUCH - 1]:
        ask_for(values[column], far)
        ask_for(at_us, far)
        ask_for(event_at_us, far)
    far = touch + AHEAD_OF_TOUCH - 1
    slot = likely_slot(direct, slot_table, by_code, values, column, np.int64(touch_row[far]))
    likely_slots[far & AHEAD_OF_TOUCH - 1] = slot
    if slot >= 0:
        if lone:
            ask_for(slots, slot)
        else:
            ask_for(index, place_of_cell(index, slot, np.int64(touch_plan[far])))
    near = touch + AHEAD_OF_TOUCH // 2
    slot = likely_slots[near & AHEAD_OF_TOUCH - 1]
    cell = NIL
    if slot >= 0:
        cell = slots[slot].cell if lone else likely_cell(index, slot, np.int64(touch_plan[near]))
        if cell != NIL:
            ask_for(cells, np.int64(cell))
    likely_cells[near & AHEAD_OF_TOUCH - 1] = cell
    cell = likely_cells[(touch + AHEAD_OF_TOUCH // 4) & AHEAD_OF_TOUCH - 1]
    if cell != NIL:
        if cells[cell].last != NIL:
            ask_for(partials, np.int64(cells[cell].last))
        if cells[cell].first != NIL:
            ask_for(partials, np.int64(cells[cell].first))


@inlined
def capture(events: Records, counters: I64, event: Int, sequence: Int, event_at_us: I64, now: Int, row: Int) -> Int:
    """The row's captured event, a new one if it has none yet."""
    if event == NIL:
        event = np.uint32(counters[N_EVENTS])
        counters[N_EVENTS] += 1
        events[event].sequence = sequence
        events[event].at = event_at_us[row]
        events[event].now = now
    return event


@inlined
def new_link(links: Records, counters: I64, before: Int, event: Int, step: Int) -> Int:
    """A link behind `before`."""
    link = np.uint32(counters[N_LINKS])
    counters[N_LINKS] += 1
    links[link].prev = before
    links[link].event = event
    links[link].step = step
    links[link].closed = 0
    return link


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
    first_state = np.int64(plans[plan].states)
    blocks = np.int64(plans[plan].blocks)
    ring = states[first_state + partials[partial].state].ring
    link = partials[partial].link
    base = masks_of(partial)
    taken = NIL
    taken_step = NIL
    left = onward
    for nth in range(fires):
        edge = fired[nth]
        takes = edges[edge].action == TAKE
        target = edges[edge].target
        if edges[edge].action == KILL or (killed and target != NIL):
            continue
        if takes and edges[edge].step != taken_step:
            event = capture(events, counters, event, sequence, event_at_us, now, row)
            taken_step = edges[edge].step
            taken = new_link(links, counters, link, event, taken_step)
        if target == NIL:
            if not takes and plans[plan].distinct != 0:
                if links[link].closed != 0:
                    continue
                links[link].closed = 1
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
                registers[copied + register] = registers[base + register]
        partials[outcome].link = link
        if takes:
            counters[TAKEN] += 1
            partials[outcome].link = taken
            take_in(
                updates, edges[edge].update_lo, edges[edge].update_hi, values, nulls, row, registers,
                masks_of(outcome),
            )  # fmt: skip
        partials[outcome].state = target
        interest |= states[first_state + target].interest
        if states[first_state + target].bounded != 0:
            bound = covering(conditions, plans[plan].bound, registers, masks_of(outcome), bound)
        turn = states[first_state + target].ring
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


@compiled
def step(
    plans: Records, states: Records, edges: Records, conditions: Records, updates: Records, ops: I16, args: I64,
    keyspaces: I64, streams: Int,
    cells: Records, chains: Records, partials: Records, registers: I64, links: Records, events: Records,
    held: Records, queue: Records, rings: Records, slots: Records, slot_keys: I64, slot_table: U32, direct: I32,
    index: Records, counters: I64, matches: Records, out: Records, stack: I64, fired: I64,
    stream_of: I16, values: I64, nulls: U8, at_us: I64, event_at_us: I64, first_sequence: Int,
    touch_row: I32, touch_plan: I32, touch_word: I64, touches: Int, scan: bool, widest: Int, likely_slots: I64, likely_cells: U32,
) -> Int:  # fmt: skip
    """Match rows from counters[RESUME_ROW] on. Answers DONE, or which array needs room (counters[NEED]: how much).

    touch_*:   [touches] rows in order, with plan and bits; scan: hot cells are possible, so every row is looked at
    stream_of: each row's stream, of `streams`
    widest:    rows of the largest partial
    fired:     int64[FIRED_MAX] scratch; matches: HELD[n] scratch; likely_*: see `ask_ahead_of_touch`
    """
    rows = at_us.shape[0]
    spaces = keyspaces.shape[0] // streams
    alone = spaces == 1 and streams == 1 and keyspaces[0, K_FIELDS] == 1
    lone = plans.shape[0] == 1  # a slot's only cell is its plan's
    crowded = scan and 4 * touches > rows
    likely_slots[:] = -1
    likely_cells[:] = NIL
    by_code = alone and keyspaces[0, K_DIRECT] != 0
    key_column = keyspaces[0, K_COLUMNS] if alone else np.int64(0)
    touch = counters[RESUME_TOUCH]
    row = counters[RESUME_ROW]
    budget = np.int64(0)  # rows that every array is known to have room for
    known_row = np.int64(-1)  # (row, key space) whose slot is `known_slot`
    known_space = np.int64(-1)
    known_slot = NIL
    while row < rows:
        ahead = np.int64(touch_row[touch]) if touch < touches else rows
        if not scan:
            row = ahead
        elif by_code and row < ahead:
            row = after_idle(plans, conditions, slots, cells, direct, values, nulls, key_column, row, ahead)
        if row >= rows:
            break
        if alone and crowded and row + AHEAD < rows:
            ask_ahead(slots, slot_keys, cells, partials, direct, slot_table, by_code, values, key_column, row, likely_slots)
        now = at_us[row]
        event = NIL
        hot_space = np.int64(0)
        hot = NIL
        hot_before = NIL  # the hot cell before, once it was found to stay hot
        hot_seen = np.int64(0)
        while True:
            # the next plan that this event concerns -----------------------------------------------------------------
            touched = touch < touches and touch_row[touch] == row
            space = hot_space - 1
            if touched:
                plan = np.uint32(touch_plan[touch])
                word = touch_word[touch] | plans[plan].always
                space = np.int64(plans[plan].keyspace)
            elif hot == NIL:
                if not scan or hot_space == spaces or (lone and touch > 0 and touch_row[touch - 1] == row):
                    break
                space = hot_space
                hot_space += 1
                hot_before = NIL
            kind = space * streams + (np.int64(stream_of[row]) if streams > 1 else 0)
            if known_row != row or known_space != space:
                known_row = row
                known_space = space
                if by_code and nulls[key_column, row] == 0:
                    code = values[key_column, row]
                    known_slot = np.uint32((direct[0, code] >> 1) - 1) if code < direct.shape[1] else NIL
                else:
                    known_slot = slot_of(
                        keyspaces, slots, slot_keys, slot_table, direct, space, kind, values, nulls, row
                    )  # fmt: skip
            slot = known_slot
            if touched:
                if alone and not crowded and touch + 2 * AHEAD_OF_TOUCH < touches:
                    ask_ahead_of_touch(
                        slots, cells, partials, index, direct, slot_table, by_code, lone, values, at_us, event_at_us,
                        key_column, touch_row, touch_plan, touch, likely_slots, likely_cells,
                    )  # fmt: skip
                cell = NIL
                if slot < NULL_KEY:
                    cell = slots[slot].cell if lone else likely_cells[touch & AHEAD_OF_TOUCH - 1]
                    if not lone and (cell == NIL or cells[cell].slot != slot or cells[cell].plan != plan):
                        cell = cell_of(cells, index, slot, plan)
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
                        heat(keyspaces, slots, direct, space, kind, values, row, slot, hot)
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

            # does it concern anything here? -------------------------------------------------------------------------
            starts = touched and (plans[plan].start_always != 0 or word & plans[plan].start_any != 0)
            asked = np.int64(0)
            if cell != NIL:
                asked = asked_of(plans, conditions, cells, values, nulls, row, cell, word)
                if asked != 0 and plans[plan].quiet != 0:
                    if seldom(partials[cells[cell].first].at + plans[plan].within <= now):
                        drop_over(plans, cells, chains, partials, counters, cell, now)
                        if cells[cell].first == NIL:
                            asked = np.int64(0)
            if need == DONE and asked == 0 and not starts:
                if touched:
                    touch += 1
                continue
            if seldom(slot == NULL_KEY):  # the event belongs to nobody
                counters[KEYLESS] += 1
                touch += 1
                continue

            # room -----------------------------------------------------------------------------------------------------
            most = np.int64(plans[plan].edges_max)
            if asked != 0:
                most *= 1 + np.int64(cells[cell].count)
            if seldom(need == DONE and (most > budget or most > matches.shape[0])):
                need, budget = room_for(
                    counters, cells, chains, partials, links, events, held, slots, slot_table, index, out, widest,
                    most,
                )  # fmt: skip
                counters[NEED] = most * widest if need == NEED_PARTIALS else most
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
                counters[RESUME_ROW] = row
                counters[RESUME_TOUCH] = touch
                counters[RESUME_HOT] = hot_seen - 1 if hot_seen > 0 else 0
                return need
            budget -= most

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
                        if asked & states[first_state + chains[chain].state].interest == 0:
                            interest |= states[first_state + chains[chain].state].interest
                            partial = NIL
                        chain = chains[chain].next
                        continue
                    after = partials[partial].chain_next if many else partials[partial].next
                    if after != NIL:  # a list is a chain of misses: the next one is fetched while this one is stepped
                        ask_for(partials, np.int64(after))
                    at = first_state + np.int64(partials[partial].state)
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
                    edge = np.int64(states[at].lo) + (found >> OUTCOME_BITS)
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
                            and first_state + np.int64(edges[fired[0]].target) == at
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
                            event = capture(events, counters, event, first_sequence + row, event_at_us, now, row)
                            at = first_state + np.int64(edges[edge].target)
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
                            first_sequence + row, now, since, plan, cell, partial, fires, onward, killed, many, count,
                            interest, bound, event, waiting,
                        )  # fmt: skip
                    elif found == OUTCOME_TAKES:
                        event = capture(events, counters, event, first_sequence + row, event_at_us, now, row)
                        take(
                            edges, updates, partials, links, counters, values, nulls, row, registers, edge, partial,
                            event,
                        )  # fmt: skip
                        at = first_state + np.int64(edges[edge].target)
                        interest |= states[at].interest
                        if states[at].bounded != 0:
                            bound = covering(conditions, plans[plan].bound, registers, masks_of(partial), bound)
                        if seldom(many):
                            partials[partial].chain_next = waiting
                            waiting = partial
                    else:
                        if found == OUTCOME_MATCHES:
                            event = capture(events, counters, event, first_sequence + row, event_at_us, now, row)
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
                    bits = word & plans[plan].start_history
                    while bits != 0:
                        if not program_holds(
                            conditions, ops, args, stack, values, nulls, row, registers, np.int64(MASKS),
                            first_condition + trailing_zeros(bits),
                        ):  # fmt: skip
                            seen ^= bits & -bits
                        bits &= bits - 1
                started = False
                taken = NIL
                taken_step = NIL
                found = outcome_of(states, first_state, seen)
                fired[0] = np.int64(states[first_state].lo) + (found >> OUTCOME_BITS)
                found &= (1 << OUTCOME_BITS) - 1
                fires = np.int64(found == OUTCOME_TAKES or found == OUTCOME_MATCHES)
                killed = False
                if seldom(found == OUTCOME_GENERAL):
                    fires, onward, killed = fire(
                        edges, states[first_state].lo, states[first_state].hi, seen, np.int64(0), fired
                    )  # fmt: skip
                for nth in range(fires):
                    edge = fired[nth]
                    if edges[edge].action != TAKE or (killed and edges[edge].target != NIL):
                        continue
                    if edges[edge].step != taken_step:
                        event = capture(events, counters, event, first_sequence + row, event_at_us, now, row)
                        taken_step = edges[edge].step
                        taken = new_link(links, counters, NIL, event, taken_step)
                    if cell == NIL:
                        if slot == NIL:
                            known_row = np.int64(-1)
                            slot = insert_slot(
                                keyspaces, streams, slots, slot_keys, slot_table, direct, counters, space, kind,
                                values, row,
                            )  # fmt: skip
                        cell = insert_cell(slots, cells, index, counters, slot, plan)
                    target = edges[edge].target
                    if target == NIL:
                        set_match(matches, count, now, event, taken, KIND_MATCH)
                        count += 1
                        continue
                    if seldom(cells[cell].count >= plans[plan].cap and plans[plan].quiet != 0):
                        drop_over(plans, cells, chains, partials, counters, cell, now)
                    if seldom(cells[cell].count >= plans[plan].cap):
                        counters[CAPPED] += 1
                        continue
                    if not started:
                        started = True
                        counters[STARTED] += 1
                        if ring != NIL:
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
                        registers[base + 1 + register] = 0
                    take_in(
                        updates, edges[edge].update_lo, edges[edge].update_hi, values, nulls, row, registers, base
                    )  # fmt: skip
                    if states[first_state + target].ring != NIL:
                        push(queue, rings, np.int64(states[first_state + target].ring), now, cell)
                    cells[cell].interest |= states[first_state + target].interest
                    if states[first_state + target].bounded != 0:
                        cells[cell].bound = covering(conditions, plans[plan].bound, registers, base, cells[cell].bound)
                    if seldom(many):
                        partials[outcome].chain_next = waiting
                        waiting = outcome
            if cell == NIL:
                touch += 1
                continue

            # outcomes into the chains of their states, the cell into its slot's list if any event concerns it ---------
            if seldom(many):
                if moved:
                    settle(chains, partials, cells, np.int64(MOVED), cell)
                while waiting != NIL:
                    after = partials[waiting].chain_next
                    join_chain(
                        partials, chains, chain_of(chains, cells, counters, cell, partials[waiting].state), waiting
                    )
                    waiting = after
                drop_chains(cells, chains, counters, cell)
            elif seldom(cells[cell].count > PARTIALS_PER_CELL_FEW):
                build_chains(cells, chains, partials, counters, cell)
            if seldom(count > 0 or cells[cell].held != NIL):
                emit(
                    plans, cells, chains, partials, links, held, matches, out, counters, cell, count,
                    first_sequence + row,
                )  # fmt: skip
            if cells[cell].count == 0:
                cells[cell].interest = 0
                cells[cell].bound = np.nan
            elif cells[cell].interest & plans[plan].always != 0 and cells[cell].hot == 0:
                cells[cell].hot = 1
                cells[cell].hot_next = slots[slot].hot
                heat(keyspaces, slots, direct, space, kind, values, row, slot, cell)
            if touched:
                touch += 1

        counters[RESUME_HOT] = 0
        row += 1
    counters[RESUME_ROW] = 0
    counters[RESUME_TOUCH] = 0
    return DONE
