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

from cep.matcher.columns import *  # noqa: F403  the column names of every array
from cep.matcher.lists import kill_start
from events.columns import I32, I64
from events.kernel import Int, compiled

SKIP_NONE, SKIP_TO_NEXT, SKIP_PAST_LAST, SKIP_TO_FIRST, SKIP_TO_LAST = range(5)


@compiled
def length_of(links: I32, link: Int) -> Int:
    """How many events a chain of links has."""
    count = 0
    while link != -1:
        count += 1
        link = links[link, K_PREV]
    return count


@compiled
def compare(links: I32, left: Int, right: Int) -> Int:
    """-1, 0 or 1: which of two chains of links comes first. O(length)."""
    longer = length_of(links, left)
    shorter = length_of(links, right)
    result = np.sign(shorter - longer)  # of two that agree as far as the shorter goes, the longer is first
    while longer > shorter:
        left = links[left, K_PREV]
        longer -= 1
    while shorter > longer:
        right = links[right, K_PREV]
        shorter -= 1
    while left != right:
        if links[left, K_EVENT] != links[right, K_EVENT]:
            result = 1 if links[left, K_EVENT] > links[right, K_EVENT] else -1
        elif links[left, K_STEP] != links[right, K_STEP]:
            result = 1 if links[left, K_STEP] > links[right, K_STEP] else -1
        left = links[left, K_PREV]
        right = links[right, K_PREV]
    return result


@compiled
def sort_matches(links: I32, matches: I32, count: Int) -> None:
    """Order matches of one event; nearly always they are in order already. O(count) then."""
    for place in range(1, count):
        event = matches[place, M_EVENT]
        link = matches[place, M_LINK]
        kind = matches[place, M_KIND]
        at = place
        while at > 0:
            before = matches[at - 1, M_EVENT]
            if before < event or (before == event and compare(links, matches[at - 1, M_LINK], link) <= 0):
                break
            matches[at, M_EVENT] = before
            matches[at, M_LINK] = matches[at - 1, M_LINK]
            matches[at, M_KIND] = matches[at - 1, M_KIND]
            at -= 1
        matches[at, M_EVENT] = event
        matches[at, M_LINK] = link
        matches[at, M_KIND] = kind


@compiled
def distinct_matches(links: I32, matches: I32, count: Int) -> Int:
    """Drop equal neighbours of sorted matches; answers how many are left."""
    kept = min(count, 1)
    for place in range(1, count):
        same = (
            matches[place, M_EVENT] == matches[kept - 1, M_EVENT]
            and compare(links, matches[place, M_LINK], matches[kept - 1, M_LINK]) == 0
        )
        if not same:
            matches[kept, M_EVENT] = matches[place, M_EVENT]
            matches[kept, M_LINK] = matches[place, M_LINK]
            matches[kept, M_KIND] = matches[place, M_KIND]
            kept += 1
    return kept


@compiled
def bound_of(links: I32, skip: Int, skip_step: Int, event: Int, link: Int) -> Int:
    """What began before this event is removed by the match; 0 removes nothing."""
    if skip == SKIP_TO_NEXT:
        return event + 1
    if skip == SKIP_PAST_LAST:
        return links[link, K_EVENT] + 1
    bound = 0
    while link != -1:
        if links[link, K_STEP] == skip_step:
            bound = links[link, K_EVENT]
            if skip == SKIP_TO_LAST:
                break
        link = links[link, K_PREV]
    return bound


@compiled
def write(out: I64, counters: I64, plan: Int, slot: Int, sequence: Int, kind: Int, link: Int, event: Int) -> None:
    """One row of output. The caller has made sure that there is one."""
    place = counters[N_OUT]
    counters[N_OUT] += 1
    out[place, O_PLAN] = plan
    out[place, O_SLOT] = slot
    out[place, O_SEQUENCE] = sequence
    out[place, O_KIND] = kind
    out[place, O_LINK] = link
    out[place, O_EVENT] = event
    counters[MATCHED] += 1


@compiled
def hold(held: I32, cells: I32, counters: I64, cell: Int, event: Int, link: Int, kind: Int) -> None:
    """Put a match behind those that began before it or with it."""
    place = counters[FREE_HELD]
    if place != -1:
        counters[FREE_HELD] = held[place, 0]
    else:
        place = counters[N_HELD]
        counters[N_HELD] += 1
    counters[LIVE_HELD] += 1
    held[place, M_EVENT] = event
    held[place, M_LINK] = link
    held[place, M_KIND] = kind
    before = -1
    after = cells[cell, L_HELD]
    while after != -1 and held[after, M_EVENT] <= event:
        before = after
        after = held[after, M_NEXT]
    held[place, M_NEXT] = after
    if before == -1:
        cells[cell, L_HELD] = place
    else:
        held[before, M_NEXT] = place


@compiled
def release(held: I32, cells: I32, counters: I64, cell: Int) -> None:
    """Free the first held match of a cell."""
    place = cells[cell, L_HELD]
    cells[cell, L_HELD] = held[place, M_NEXT]
    held[place, 0] = counters[FREE_HELD]
    counters[FREE_HELD] = place
    counters[LIVE_HELD] -= 1


@compiled
def emit(
    plans: I64,
    cells: I32,
    chains: I32,
    partials: I32,
    starts: I32,
    links: I32,
    registers: I64,
    held: I32,
    matches: I32,
    out: I64,
    counters: I64,
    cell: Int,
    count: Int,
    sequence: Int,
) -> None:
    """Turn `count` matches of one event (or one instant) of a cell into output and apply the strategy.

    matches: [count, HELD_WIDTH], M_EVENT (the start) and M_LINK. With ORDERED also releases what is no longer held.
    The caller has made sure of room in `out` and `held` for all of them. O(matches + what they remove).
    """
    plan = cells[cell, L_PLAN]
    slot = cells[cell, L_SLOT]
    skip = plans[plan, P_SKIP]
    if count > 1 and (skip != SKIP_NONE or plans[plan, P_DISTINCT] != 0):
        sort_matches(links, matches, count)
        if plans[plan, P_DISTINCT] != 0:
            count = distinct_matches(links, matches, count)
    if skip == SKIP_NONE:
        for place in range(count):
            one = matches[place]
            write(out, counters, plan, slot, sequence, one[M_KIND], one[M_LINK], one[M_EVENT])
        return
    for place in range(count):
        hold(
            held, cells, counters, cell, matches[place, M_EVENT], matches[place, M_LINK], matches[place, M_KIND]
        )  # fmt: skip
    while cells[cell, L_HELD] != -1:
        first = cells[cell, L_HELD]
        event = held[first, M_EVENT]
        link = held[first, M_LINK]
        oldest = cells[cell, L_START]
        if plans[plan, P_ORDERED] != 0 and oldest != -1 and starts[oldest, T_EVENT] < event:
            return
        write(out, counters, plan, slot, sequence, held[first, M_KIND], link, event)
        release(held, cells, counters, cell)
        bound = bound_of(links, skip, plans[plan, P_SKIP_STEP], event, link)
        while cells[cell, L_START] != -1 and starts[cells[cell, L_START], T_EVENT] < bound:
            kill_start(
                partials, starts, chains, cells, registers, counters, plans[plan, P_REGISTERS], cells[cell, L_START]
            )
        while cells[cell, L_HELD] != -1 and held[cells[cell, L_HELD], M_EVENT] < bound:
            release(held, cells, counters, cell)
