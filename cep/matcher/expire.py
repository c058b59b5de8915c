"""The end of windows and gaps: what began `within` ago, or took its last event a gap ago, is over.

Where nothing comes of that (a *quiet* plan: no time-outs as an output, no absence, nothing held back, no gaps) a
partial is dropped when an event meets it (`drop_over`), or by a `sweep` over all cells when memory is tidied. All
others end at their very instant:

Windows of one length share a ring, and so do gaps of one length: the instants from which they run, in order of time,
each with its cell. So expiry pops a prefix: O(1) per start (or event taken, for gaps), never a sweep over all cells. An
entry whose partial is gone is stale; it falls out when its time comes, or when the ring is compacted.

    queue   [.. | 10:02 cell 7 | 10:02 cell 9 | 10:05 cell 7 ..]   one ring per length, in one array
    rings   [ring] -> length, due (instant at which the first one ends), offset, capacity, head, entries
"""

from __future__ import annotations

import numpy as np

from cep.matcher.emit import emit, set_match, write
from cep.matcher.lists import drop_chains, kill_partial
from cep.matcher.records import *  # noqa: F403  the fields of every record
from cep.matcher.trail import base_of, drop_trail, is_over
from events.columns import I64
from events.kernel import Int, apart, ask_for, compiled, inlined, ones, unfolded

AHEAD = 8
"""So many entries of a ring ahead memory is asked for their cells."""
NEVER = 9_223_372_036_854_775_807


@inlined
def push(queue: Records, rings: Records, ring: Int, at: Int, cell: Int) -> None:
    """Enter an instant, nearly always the last one so far, into its ring. The caller has made sure of room."""
    mask = rings[ring].capacity - 1
    first = rings[ring].offset
    nth = rings[ring].head + rings[ring].length
    while nth > rings[ring].head and queue[first + ((nth - 1) & mask)].at > at:
        queue[first + (nth & mask)].at = queue[first + ((nth - 1) & mask)].at
        queue[first + (nth & mask)].cell = queue[first + ((nth - 1) & mask)].cell
        nth -= 1
    queue[first + (nth & mask)].at = at
    queue[first + (nth & mask)].cell = cell
    rings[ring].length += 1
    if nth == rings[ring].head:
        rings[ring].due = at + rings[ring].within


@inlined
def drop_stale(queue: Records, rings: Records, cells: Records, partials: Records, ring: Int, now: Int) -> None:
    """Drop a ring's first entries as long as they are due and older than all partials of their cells."""
    mask = rings[ring].capacity - 1
    first = rings[ring].offset
    head = rings[ring].head
    end = head + rings[ring].length
    due = rings[ring].due
    while due <= now and head < end:
        at = queue[first + (head & mask)].at
        due = at + rings[ring].within
        if due > now:
            break
        if end - head > AHEAD:
            ask_for(cells, np.int64(queue[first + ((head + AHEAD) & mask)].cell))
        oldest = cells[queue[first + (head & mask)].cell].first
        if oldest != NIL and partials[oldest].at <= at:
            break
        head += 1
    rings[ring].due = due
    rings[ring].length = end - head
    rings[ring].head = head & mask


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
def full_ring(
    queue: Records, rings: Records, cells: Records, partials: Records, window: Int, gaps: Int, most: Int
) -> Int:
    """A ring that a plan may need and that has no room for `most` entries, -1 for none.

    window: the ring of the plan's window, NIL for none; gaps: 1 if it uses rings of gaps
    """
    apart()
    for ring in range(rings.shape[0]):
        if (ring == window or (gaps != 0 and rings[ring].gap != 0)) and (
            rings[ring].length + most > rings[ring].capacity
        ):
            compact(queue, rings, cells, partials, ring)
            if 4 * (rings[ring].length + most) > rings[ring].capacity:
                return ring
    return -1


@inlined
def end_of(
    plans: Records, states: Records, partials: Records, links: Records, events: Records, plan: Int, partial: Int
) -> Int:
    """The instant at which a partial is over, NEVER if time does not end it."""
    end = np.int64(NEVER)
    if plans[plan].within != 0:
        end = partials[partial].at + plans[plan].within
    gap = states[plans[plan].states + partials[partial].state].gap
    if gap != 0:
        end = min(end, events[links[partials[partial].link].event].now + gap)
    return end


@unfolded
def drop_over(
    plans: Records, cells: Records, chains: Records, partials: Records, counters: I64, cell: Int, now: Int
) -> None:
    """Drop the partials of a cell whose window is over at `now`, nothing coming of it. O(partials dropped)."""
    plan = cells[cell].plan
    first = cells[cell].first
    while first != NIL and partials[first].at + plans[plan].within <= now:
        counters[TIMED_OUT] += 1
        kill_partial(cells, chains, partials, counters, np.int64(plans[plan].blocks), cell, first)
        first = cells[cell].first
    if first == NIL:
        cells[cell].interest = 0
        cells[cell].bound = np.nan
        if cells[cell].chain != NIL:
            drop_chains(cells, chains, counters, cell)


@compiled
def sweep(
    plans: Records, cells: Records, chains: Records, partials: Records, registers: I64, counters: I64, now: Int
) -> Int:
    """`drop_over` for every cell of a quiet plan, and the like for trails; answers the cells in use. O(cells)."""
    used = 0
    last = counters[N_CELLS] - 1
    for cell in range(last + 1):
        first = cells[min(cell + 2 * AHEAD, last)].first
        if first != NIL:
            ask_for(partials, np.int64(first))
        first = cells[min(cell + AHEAD, last)].first
        if first != NIL and partials[first].next != NIL:
            ask_for(partials, np.int64(partials[first].next))
        first = cells[cell].first
        plan = cells[cell].plan
        trail = cells[cell].trail
        if trail != NIL and is_over(plans, cells, registers, cell, now):
            counters[TIMED_OUT] += ones(registers[base_of(trail)])
            drop_trail(plans, cells, partials, registers, counters, cell)
        if first != NIL and plans[plan].quiet != 0 and partials[first].at + plans[plan].within <= now:
            drop_over(plans, cells, chains, partials, counters, cell, now)
        used += cells[cell].count > 0 or cells[cell].held != NIL
    return used


@compiled
def expire(
    plans: Records, states: Records, cells: Records, chains: Records, partials: Records, links: Records,
    events: Records, held: Records, queue: Records, rings: Records, matches: Records, out: Records, counters: I64,
    now: Int,
) -> Int:  # fmt: skip
    """End what is over at `now`, instant by instant. Answers DONE or what needs room.

    A cell's partials of one instant end together: pending ones become matches, the others time out, then the
    after-match strategy runs and held matches are released. Stops before a cell for which there is no room.
    O(rings) per instant; with gaps O(partials of the cell).

    With `jumps` all of a cell's partials that are over end together, as in Flink when a watermark jumps past them. What
    times out then depends on the watermark; without it, on the events alone.
    """
    apart()
    while True:
        ring = 0
        for other in range(rings.shape[0]):
            if rings[other].due < rings[ring].due:
                ring = other
        if rings.shape[0] == 0 or rings[ring].due > now or rings[ring].due == NEVER:
            return DONE
        if rings[ring].length == 0:
            rings[ring].due = NEVER
            continue
        entry = rings[ring].offset + rings[ring].head
        instant = queue[entry].at + rings[ring].within
        if instant > rings[ring].due:  # what was due is gone
            rings[ring].due = instant
            continue
        cell = queue[entry].cell
        plan = cells[cell].plan
        first = cells[cell].first
        gaps = plans[plan].gaps
        if first != NIL and (plans[plan].ring == ring or (gaps != 0 and rings[ring].gap != 0)):
            room = cells[cell].count + counters[LIVE_HELD]
            counters[NEED] = room
            if counters[N_OUT] + room > out.shape[0]:
                return NEED_OUT
            if room > held.shape[0]:
                return NEED_HELD
            if room > matches.shape[0]:
                return NEED_SCRATCH
            last = instant if plans[plan].jumps == 0 else now
            count = 0
            partial = first
            while partial != NIL:
                after = partials[partial].next
                end = end_of(plans, states, partials, links, events, plan, partial)
                if end <= last and end != NEVER:
                    link = partials[partial].link
                    if states[plans[plan].states + partials[partial].state].pending != 0:
                        if links[link].closed == 0:
                            set_match(matches, count, end, partials[partial].event, link, KIND_ABSENCE)
                            count += 1
                    else:
                        counters[TIMED_OUT] += 1
                        if plans[plan].timeouts != 0:
                            write(
                                out, counters, plan, cells[cell].slot, np.int64(-1), end, KIND_TIMEOUT, link,
                                partials[partial].event,
                            )  # fmt: skip
                    kill_partial(cells, chains, partials, counters, np.int64(plans[plan].blocks), cell, partial)
                elif gaps == 0:
                    break  # the others began later
                partial = after
            if count > 0 or cells[cell].held != NIL:
                emit(plans, cells, chains, partials, links, held, matches, out, counters, cell, count, np.int64(-1))
            if cells[cell].chain != NIL:
                drop_chains(cells, chains, counters, cell)
            if cells[cell].first == NIL:
                cells[cell].interest = 0
                cells[cell].bound = np.nan
        rings[ring].head = (rings[ring].head + 1) & (rings[ring].capacity - 1)
        rings[ring].length -= 1
