"""The end of windows: what began `within` ago or earlier is over.

Each plan keeps the starts it opened in a ring, in order of time; entries of starts that ended before are stale and
fall out when they come up, or when the ring is compacted. So expiry pops a prefix: O(1) per start, never a sweep.

    queue        [.. stale | start | start | stale | start ..]   one ring per plan, in one array
    queue_heads  [plan] -> offset, capacity (a power of two), head, length, due (instant at which the first one ends)
"""

from __future__ import annotations

from cep.matcher.columns import *  # noqa: F403  the column names of every array
from cep.matcher.emit import emit
from cep.matcher.lists import chain_of, drop_start, free_partial, leave_chain, without_empty_chains
from events.columns import I32, I64
from events.kernel import Int, compiled, inlined

NEVER = 9_223_372_036_854_775_807


@inlined
def push(queue: I32, heads: I64, starts: I32, start_at: I64, plan: Int, within: Int, start: Int) -> None:
    """Append a start to its plan's ring. The caller has made sure of room."""
    capacity = heads[plan, QH_CAPACITY]
    length = heads[plan, QH_LENGTH]
    at = heads[plan, QH_OFFSET] + ((heads[plan, QH_HEAD] + length) & (capacity - 1))
    queue[at, Q_START] = start
    queue[at, Q_EVENT] = starts[start, T_EVENT]
    heads[plan, QH_LENGTH] = length + 1
    if length == 0:
        heads[plan, QH_DUE] = start_at[start] + within


@compiled
def compact(queue: I32, heads: I64, starts: I32, plan: Int) -> None:
    """Drop a ring's stale entries in place. O(length)."""
    offset = heads[plan, QH_OFFSET]
    capacity = heads[plan, QH_CAPACITY]
    head = heads[plan, QH_HEAD]
    kept = 0
    for place in range(heads[plan, QH_LENGTH]):
        at = offset + ((head + place) & (capacity - 1))
        start = queue[at, Q_START]
        event = queue[at, Q_EVENT]
        if starts[start, T_EVENT] == event:
            to = offset + ((head + kept) & (capacity - 1))
            queue[to, Q_START] = start
            queue[to, Q_EVENT] = event
            kept += 1
    heads[plan, QH_LENGTH] = kept


@compiled
def first_due(queue: I32, heads: I64, starts: I32, start_at: I64, plan: Int, within: Int) -> Int:
    """The plan's oldest open start, or -1; stale entries before it are popped and `due` is set."""
    while heads[plan, QH_LENGTH] > 0:
        at = heads[plan, QH_OFFSET] + heads[plan, QH_HEAD]
        start = queue[at, Q_START]
        if starts[start, T_EVENT] == queue[at, Q_EVENT]:
            heads[plan, QH_DUE] = start_at[start] + within
            return start
        heads[plan, QH_HEAD] = (heads[plan, QH_HEAD] + 1) & (heads[plan, QH_CAPACITY] - 1)
        heads[plan, QH_LENGTH] -= 1
    heads[plan, QH_DUE] = NEVER
    return -1


@compiled
def expire(
    plans: I64,
    states: I64,
    cells: I32,
    chains: I32,
    partials: I32,
    starts: I32,
    start_at: I64,
    links: I32,
    registers: I64,
    held: I32,
    queue: I32,
    queue_heads: I64,
    matches: I32,
    out: I64,
    counters: I64,
    plan: Int,
    now: Int,
) -> Int:
    """End everything of a plan whose window is over at `now`, instant by instant. Answers DONE or what needs room.

    A cell's starts of one instant end together: pending partials become matches, the others time out, then the
    after-match strategy runs and held matches are released. Stops before a start for which there is no room.

    With P_JUMPS all of a cell's windows that are over end together, as in Flink when a watermark jumps past them. What
    times out then depends on the watermark; without it, on the events alone.
    """
    within = plans[plan, P_WITHIN]
    size = plans[plan, P_REGISTERS]
    while queue_heads[plan, QH_LENGTH] > 0 and queue_heads[plan, QH_DUE] <= now:
        start = first_due(queue, queue_heads, starts, start_at, plan, within)
        if start == -1 or queue_heads[plan, QH_DUE] > now:
            break
        cell = starts[start, T_CELL]
        room = cells[cell, L_COUNT] + counters[LIVE_HELD]
        if counters[N_OUT] + room > out.shape[0]:
            counters[NEED] = room
            return NEED_OUT
        if counters[LIVE_HELD] + cells[cell, L_COUNT] > held.shape[0]:
            counters[NEED] = cells[cell, L_COUNT]
            return NEED_HELD
        if cells[cell, L_COUNT] > matches.shape[0]:
            counters[NEED] = cells[cell, L_COUNT]
            return NEED_SCRATCH
        last = start_at[start] if plans[plan, P_JUMPS] == 0 else now - within
        count = 0
        while cells[cell, L_START] != -1 and start_at[cells[cell, L_START]] <= last:
            start = cells[cell, L_START]
            partial = starts[start, T_FIRST]
            while partial != -1:
                after = partials[partial, A_START_NEXT]
                state = partials[partial, A_STATE]
                if states[state, S_PENDING] != 0:
                    matches[count, M_EVENT] = starts[start, T_EVENT]
                    matches[count, M_LINK] = partials[partial, A_LINK]
                    matches[count, M_KIND] = KIND_ABSENCE
                    count += 1
                else:
                    counters[TIMED_OUT] += 1
                    if plans[plan, P_TIMEOUTS] != 0:
                        place = counters[N_OUT]
                        counters[N_OUT] += 1
                        out[place, O_PLAN] = plan
                        out[place, O_SLOT] = cells[cell, L_SLOT]
                        out[place, O_SEQUENCE] = -1
                        out[place, O_KIND] = KIND_TIMEOUT
                        out[place, O_LINK] = partials[partial, A_LINK]
                        out[place, O_EVENT] = starts[start, T_EVENT]
                leave_chain(partials, chains, chain_of(chains, cells, counters, cell, state), partial)
                free_partial(partials, registers, counters, size, partial)
                cells[cell, L_COUNT] -= 1
                partial = after
            starts[start, T_FIRST] = -1
            drop_start(starts, cells, counters, start)
        if count > 0 or cells[cell, L_HELD] != -1:
            emit(
                plans, cells, chains, partials, starts, links, registers, held, matches, out, counters,
                cell, count, -1,
            )  # fmt: skip
        without_empty_chains(chains, cells, counters, cell)
        first_due(queue, queue_heads, starts, start_at, plan, within)
    return DONE
