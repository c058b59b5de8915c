"""The end of windows: what began `within` ago or earlier is over.

Windows of one length share a ring: the starts they began with, in order of time, each with its cell. So expiry pops a
prefix: O(1) per start, never a sweep. An entry whose start is gone is stale; it falls out when its time comes, or when
the ring is compacted.

    queue   [.. | 10:02 cell 7 | 10:02 cell 9 | 10:05 cell 7 ..]   one ring per length of window, in one array
    rings   [ring] -> length of window, due (instant at which the first one ends), offset, capacity, head, length
"""

from __future__ import annotations

import numpy as np

from cep.matcher.emit import emit, set_match
from cep.matcher.lists import drop_chains, kill_first
from cep.matcher.records import *  # noqa: F403  the fields of every record
from events.columns import I64
from events.kernel import Int, compiled, inlined

NEVER = 9_223_372_036_854_775_807


@inlined
def push(queue: Records, rings: Records, ring: Int, at: Int, cell: Int) -> None:
    """Append a start to its ring. The caller has made sure of room."""
    length = rings[ring].length
    place = rings[ring].offset + ((rings[ring].head + length) & (rings[ring].capacity - 1))
    queue[place].at = at
    queue[place].cell = cell
    rings[ring].length = length + 1
    if length == 0:
        rings[ring].due = at + rings[ring].within


@compiled
def compact(queue: Records, rings: Records, cells: Records, partials: Records, ring: Int) -> None:
    """Drop a ring's entries that are older than all partials of their cells, in place. O(length)."""
    kept = 0
    for nth in range(rings[ring].length):
        place = rings[ring].offset + ((rings[ring].head + nth) & (rings[ring].capacity - 1))
        at = queue[place].at
        cell = queue[place].cell
        first = cells[cell].first
        if first != NIL and partials[first].at <= at:
            place = rings[ring].offset + ((rings[ring].head + kept) & (rings[ring].capacity - 1))
            queue[place].at = at
            queue[place].cell = cell
            kept += 1
    rings[ring].length = kept


@compiled
def expire(
    plans: Records, states: Records, cells: Records, chains: Records, partials: Records, links: Records,
    held: Records, queue: Records, rings: Records, matches: Records, out: Records, counters: I64, ring: Int, now: Int,
) -> Int:  # fmt: skip
    """End every window of a ring that is over at `now`, instant by instant. Answers DONE or what needs room.

    A cell's starts of one instant end together: pending partials become matches, the others time out, then the
    after-match strategy runs and held matches are released. Stops before a start for which there is no room.

    With `jumps` all of a cell's windows that are over end together, as in Flink when a watermark jumps past them. What
    times out then depends on the watermark; without it, on the events alone.
    """
    within = rings[ring].within
    while rings[ring].length > 0:
        entry = rings[ring].offset + rings[ring].head
        rings[ring].due = queue[entry].at + within
        if rings[ring].due > now:
            return DONE
        cell = queue[entry].cell
        first = cells[cell].first
        plan = cells[cell].plan
        if first != NIL and plans[plan].ring == ring and partials[first].at <= queue[entry].at:
            room = cells[cell].count + counters[LIVE_HELD]
            counters[NEED] = room
            if counters[N_OUT] + room > out.shape[0]:
                return NEED_OUT
            if room > held.shape[0]:
                return NEED_HELD
            if room > matches.shape[0]:
                return NEED_SCRATCH
            last = queue[entry].at if plans[plan].jumps == 0 else now - within
            count = 0
            while first != NIL and partials[first].at <= last:
                if states[plans[plan].states + partials[first].state].pending != 0:
                    set_match(matches, count, partials[first].event, partials[first].link, KIND_ABSENCE)
                    count += 1
                else:
                    counters[TIMED_OUT] += 1
                    if plans[plan].timeouts != 0:
                        place = counters[N_OUT]
                        counters[N_OUT] += 1
                        out[place].sequence = -1
                        out[place].plan = plan
                        out[place].slot = cells[cell].slot
                        out[place].kind = KIND_TIMEOUT
                        out[place].link = partials[first].link
                        out[place].event = partials[first].event
                kill_first(cells, chains, partials, counters, np.int64(plans[plan].blocks), cell)
                first = cells[cell].first
            if count > 0 or cells[cell].held != NIL:
                emit(plans, cells, chains, partials, links, held, matches, out, counters, cell, count, np.int64(-1))
            if cells[cell].chain != NIL:
                drop_chains(cells, chains, counters, cell)
        rings[ring].head = (rings[ring].head + 1) & (rings[ring].capacity - 1)
        rings[ring].length -= 1
    rings[ring].due = NEVER
    return DONE
