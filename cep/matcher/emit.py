"""From completed matches to the output: order, distinctness, the after-match strategy, what is held back.

Matches of one event are put in order of their start; among equal starts the one whose events came earlier is first
(at the first difference, the earlier event wins: it took where the other waited). A match then removes starts and
matches up to a bound (`Skip`); the bound is always a prefix of both lists, because both are ordered by start.

    strategy          removes what began
    TO_NEXT           at the match's first event or before
    PAST_LAST_EVENT   at its last event or before
    TO_FIRST[step]    before the first event of that step
    TO_LAST[step]     before the last event of that step

`Emit.ORDERED` holds a match back while an earlier start is open.
"""

from __future__ import annotations

import numpy as np

from cep.matcher.lists import drop_chains, kill_partial
from cep.matcher.records import *  # noqa: F403  the fields of every record
from events.columns import I64
from events.kernel import Int, compiled, inlined, seldom, unfolded

SKIP_NONE, SKIP_TO_NEXT, SKIP_PAST_LAST, SKIP_TO_FIRST, SKIP_TO_LAST = range(5)


@compiled
def length_of(links: Records, link: Int) -> Int:
    """How many events a chain of links has."""
    count = 0
    while link != NIL:
        count += 1
        link = links[link].prev
    return count


@compiled
def compare(links: Records, left: Int, right: Int) -> Int:
    """-1, 0 or 1: which of two chains of links comes first. O(length).

    The one with the earlier event where they first differ, else the longer one, else the one that took the same event
    for the earlier step where they first differ.
    """
    longer = length_of(links, left)
    shorter = length_of(links, right)
    by_length = np.sign(shorter - longer)
    while longer > shorter:
        left = links[left].prev
        longer -= 1
    while shorter > longer:
        right = links[right].prev
        shorter -= 1
    by_event = 0
    by_step = 0
    while left != right:
        if links[left].event != links[right].event:
            by_event = 1 if links[left].event > links[right].event else -1
        elif links[left].step != links[right].step:
            by_step = 1 if links[left].step > links[right].step else -1
        left = links[left].prev
        right = links[right].prev
    if by_event != 0:
        return by_event
    return by_length if by_length != 0 else by_step


@inlined
def set_match(matches: Records, place: Int, at: Int, event: Int, link: Int, kind: Int) -> None:
    """One match: when it was complete, its start's event, its links, its kind."""
    row = np.uint32(place)
    matches[row].at = at
    matches[row].event = event
    matches[row].link = link
    matches[row].kind = kind


@inlined
def comes_after(links: Records, matches: Records, left: Int, event: Int, link: Int) -> bool:
    """Does a match come after one that starts with `event` and has these links?"""
    other = matches[left].event
    return bool(other > event or (other == event and compare(links, matches[left].link, link) > 0))


@compiled
def sort_matches(links: Records, matches: Records, count: Int) -> None:
    """Order matches of one event. O(count) where they are in order already, as nearly always, else O(count log count).

    (A heap: the largest match is at its root; it goes to the end, and the last one sinks from the root.)
    """
    place = 1
    while place < count and not comes_after(links, matches, place - 1, matches[place].event, matches[place].link):
        place += 1
    if place >= count:
        return
    heap = count
    root = count // 2
    while heap > 1:
        if root > 0:  # first all are made a heap, from its last inner node on
            root -= 1
            sinking = matches[root]
            at, event, link, kind = sinking.at, sinking.event, sinking.link, sinking.kind
        else:
            heap -= 1
            sinking = matches[heap]
            at, event, link, kind = sinking.at, sinking.event, sinking.link, sinking.kind
            top = matches[0]
            set_match(matches, heap, top.at, top.event, top.link, top.kind)
        hole = root
        while 2 * hole + 1 < heap:
            larger = 2 * hole + 1
            other = larger + 1
            if other < heap and comes_after(links, matches, other, matches[larger].event, matches[larger].link):
                larger = other
            if not comes_after(links, matches, larger, event, link):
                break
            set_match(
                matches, hole, matches[larger].at, matches[larger].event, matches[larger].link, matches[larger].kind
            )
            hole = larger
        set_match(matches, hole, at, event, link, kind)


@compiled
def distinct_matches(links: Records, matches: Records, count: Int) -> Int:
    """Drop equal neighbours of sorted matches; answers how many are left."""
    kept = min(count, 1)
    for place in range(1, count):
        same = (
            matches[place].event == matches[kept - 1].event
            and compare(links, matches[place].link, matches[kept - 1].link) == 0
        )
        if not same:
            one = matches[place]
            set_match(matches, kept, one.at, one.event, one.link, one.kind)
            kept += 1
    return kept


@compiled
def close_equals(cells: Records, partials: Records, links: Records, matches: Records, cell: Int, count: Int) -> None:
    """Close the partials that hold just what a match holds: they are not to complete it again without an event.

    O(partials of the cell, plus matches by partials of their start).
    """
    first = cells[cell].first
    for place in range(count):
        while first != NIL and partials[first].event < matches[place].event:
            first = partials[first].next
        partial = first
        while partial != NIL and partials[partial].event == matches[place].event:
            if compare(links, partials[partial].link, matches[place].link) == 0:
                links[partials[partial].link].closed = 1
            partial = partials[partial].next


@unfolded
def bound_of(links: Records, skip: Int, skip_step: Int, event: Int, link: Int) -> Int:
    """What began before this event is removed by the match; 0 removes nothing."""
    if skip == SKIP_TO_NEXT:
        return np.int64(event) + 1
    if skip == SKIP_PAST_LAST:
        return np.int64(links[link].event) + 1
    bound = np.int64(0)
    while link != NIL:
        if links[link].step == skip_step:
            bound = np.int64(links[link].event)
            if skip == SKIP_TO_LAST:
                break
        link = links[link].prev
    return bound


@inlined
def write(
    out: Records, counters: I64, plan: Int, slot: Int, sequence: Int, at: Int, kind: Int, link: Int, event: Int
) -> None:
    """One row of output. The caller has made sure that there is one."""
    place = np.uint32(counters[N_OUT])
    counters[N_OUT] += 1
    out[place].at = at
    out[place].sequence = sequence
    out[place].plan = plan
    out[place].slot = slot
    out[place].kind = kind
    out[place].link = link
    out[place].event = event


@compiled
def hold(
    links: Records, held: Records, cells: Records, counters: I64, cell: Int, at: Int, event: Int, link: Int, kind: Int
) -> None:
    """Put a match among those of its cell, in the order of `sort_matches`. O(matches held)."""
    place = np.uint32(counters[FREE_HELD])
    if place != NIL:
        counters[FREE_HELD] = held[place].next
    else:
        place = np.uint32(counters[N_HELD])
        counters[N_HELD] += 1
    counters[LIVE_HELD] += 1
    set_match(held, place, at, event, link, kind)
    before = NIL
    after = cells[cell].held
    while after != NIL and (
        held[after].event < event or (held[after].event == event and compare(links, held[after].link, link) <= 0)
    ):
        before = after
        after = held[after].next
    held[place].next = after
    if before == NIL:
        cells[cell].held = place
    else:
        held[before].next = place


@compiled
def release(held: Records, cells: Records, counters: I64, cell: Int) -> None:
    """Free the first held match of a cell."""
    place = cells[cell].held
    cells[cell].held = held[place].next
    held[place].next = counters[FREE_HELD]
    counters[FREE_HELD] = place
    counters[LIVE_HELD] -= 1


@inlined
def kill_before(
    plans: Records, cells: Records, chains: Records, partials: Records, counters: I64, cell: Int, bound: Int
) -> None:
    """End the partials of a cell that began before an event. O(partials that end)."""
    while cells[cell].first != NIL and partials[cells[cell].first].event < bound:
        blocks = np.int64(plans[cells[cell].plan].blocks)
        kill_partial(cells, chains, partials, counters, blocks, cell, cells[cell].first)
        counters[DIED] += 1
    if cells[cell].chain != NIL:
        drop_chains(cells, chains, counters, cell)


@unfolded
def emit(
    plans: Records, cells: Records, chains: Records, partials: Records, links: Records, held: Records,
    matches: Records, out: Records, counters: I64, cell: Int, count: Int, sequence: Int,
) -> None:  # fmt: skip
    """Turn `count` matches of one event (or one instant) of a cell into output and apply the strategy.

    matches: [count], `event` being the start's. With ORDERED also releases what is no longer held. The caller has made
    sure of room in `out` and `held` for all of them. O(matches + what they remove).
    """
    plan = cells[cell].plan
    slot = cells[cell].slot
    skip = plans[plan].skip
    if count > 1:
        sort_matches(links, matches, count)
        if plans[plan].distinct != 0:
            count = distinct_matches(links, matches, count)
    if seldom(plans[plan].waits != 0):
        close_equals(cells, partials, links, matches, cell, count)
    if skip == SKIP_NONE:
        for place in range(count):
            one = matches[place]
            write(out, counters, plan, slot, sequence, one.at, one.kind, one.link, one.event)
        counters[MATCHED] += count
        return
    if plans[plan].ordered == 0:
        bound = np.int64(0)
        for place in range(count):
            one = matches[place]
            if one.event >= bound:
                write(out, counters, plan, slot, sequence, one.at, one.kind, one.link, one.event)
                counters[MATCHED] += 1
                bound = bound_of(links, skip, plans[plan].skip_step, one.event, one.link)
                kill_before(plans, cells, chains, partials, counters, cell, bound)
        return
    for place in range(count):
        one = matches[place]
        hold(links, held, cells, counters, cell, one.at, one.event, one.link, one.kind)
    while cells[cell].held != NIL:
        first = cells[cell].held
        event = held[first].event
        link = held[first].link
        oldest = cells[cell].first
        if oldest != NIL and partials[oldest].event < event:
            break
        write(out, counters, plan, slot, sequence, held[first].at, held[first].kind, link, event)
        counters[MATCHED] += 1
        release(held, cells, counters, cell)
        bound = bound_of(links, skip, plans[plan].skip_step, event, link)
        kill_before(plans, cells, chains, partials, counters, cell, bound)
        while cells[cell].held != NIL and held[cells[cell].held].event < bound:
            release(held, cells, counters, cell)
