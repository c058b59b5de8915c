"""Rows in and out of the lists of `records`: each O(1) but where it says otherwise."""

from __future__ import annotations

import numpy as np

from cep.matcher.records import *  # noqa: F403  the fields of every record
from events.columns import I64
from events.kernel import Int, apart, ask_for, compiled, inlined, unfolded


@inlined
def new_partial(partials: Records, counters: I64, blocks: Int) -> Int:
    """A partial of so many rows. The caller has made sure that there is room."""
    free = np.uint32(FREE_PARTIAL + blocks)
    place = np.uint32(counters[free])
    if place != 0:
        counters[free] = partials[place].chain_next
        ask_for(partials, np.int64(partials[place].chain_next))
    else:
        place = np.uint32(counters[N_PARTIALS])
        counters[N_PARTIALS] += blocks
    counters[LIVE_PARTIALS] += 1
    return place


@inlined
def free_partial(partials: Records, counters: I64, blocks: Int, partial: Int) -> None:
    """Free a partial that stands in no list any more."""
    free = np.uint32(FREE_PARTIAL + blocks)
    partials[partial].chain_next = counters[free]
    counters[free] = partial
    counters[LIVE_PARTIALS] -= 1


@inlined
def append_partial(cells: Records, partials: Records, cell: Int, partial: Int) -> None:
    """Put a partial behind those that started before it."""
    last = cells[cell].last
    partials[partial].prev = last
    partials[partial].next = NIL
    if last == NIL:
        cells[cell].first = partial
    else:
        partials[last].next = partial
    cells[cell].last = partial
    cells[cell].count += 1


@inlined
def insert_partial(cells: Records, partials: Records, cell: Int, before: Int, partial: Int) -> None:
    """Put a partial behind another one with the same start."""
    after = partials[before].next
    partials[partial].prev = before
    partials[partial].next = after
    partials[before].next = partial
    if after == NIL:
        cells[cell].last = partial
    else:
        partials[after].prev = partial
    cells[cell].count += 1


@inlined
def remove_partial(cells: Records, partials: Records, cell: Int, partial: Int) -> None:
    """Take a partial out of its cell's list."""
    before = partials[partial].prev
    after = partials[partial].next
    if before == NIL:
        cells[cell].first = after
    else:
        partials[before].next = after
    if after == NIL:
        cells[cell].last = before
    else:
        partials[after].prev = before
    cells[cell].count -= 1


@inlined
def chain_of(chains: Records, cells: Records, counters: I64, cell: Int, state: Int) -> Int:
    """The chain of a cell's partials in `state`, a new one if there is none. O(states in use of the cell)."""
    place = cells[cell].chain
    while place != NIL and chains[place].state != state:
        place = chains[place].next
    if place == NIL:
        place = np.uint32(counters[FREE_CHAIN])
        if place != NIL:
            counters[FREE_CHAIN] = chains[place].next
        else:
            place = np.uint32(counters[N_CHAINS])
            counters[N_CHAINS] += 1
        counters[LIVE_CHAINS] += 1
        chains[place].next = cells[cell].chain
        chains[place].state = state
        chains[place].first = NIL
        chains[place].last = NIL
        chains[place].count = 0
        cells[cell].chain = place
    return place


@inlined
def join_chain(partials: Records, chains: Records, chain: Int, partial: Int) -> None:
    """Append a partial to a chain."""
    last = chains[chain].last
    partials[partial].chain_prev = last
    partials[partial].chain_next = NIL
    if last == NIL:
        chains[chain].first = partial
    else:
        partials[last].chain_next = partial
    chains[chain].last = partial
    chains[chain].count += 1


@inlined
def leave_chain(partials: Records, chains: Records, chain: Int, partial: Int) -> None:
    """Take a partial out of the chain it stands in."""
    before = partials[partial].chain_prev
    after = partials[partial].chain_next
    if before == NIL:
        chains[chain].first = after
    else:
        partials[before].chain_next = after
    if after == NIL:
        chains[chain].last = before
    else:
        partials[after].chain_prev = before
    chains[chain].count -= 1


@compiled
def build_chains(cells: Records, chains: Records, partials: Records, counters: I64, cell: Int) -> None:
    """Put the partials of a cell without chains into chains. O(partials)."""
    apart()
    partial = cells[cell].first
    while partial != NIL:
        join_chain(partials, chains, chain_of(chains, cells, counters, cell, partials[partial].state), partial)
        partial = partials[partial].next


@unfolded
def drop_chains(cells: Records, chains: Records, counters: I64, cell: Int) -> None:
    """Free the chains of a cell that are empty. O(states in use)."""
    before = NIL
    place = cells[cell].chain
    while place != NIL:
        after = chains[place].next
        if chains[place].count == 0:
            if before == NIL:
                cells[cell].chain = after
            else:
                chains[before].next = after
            chains[place].next = counters[FREE_CHAIN]
            counters[FREE_CHAIN] = place
            counters[LIVE_CHAINS] -= 1
        else:
            before = place
        place = after


@compiled
def settle(chains: Records, partials: Records, cells: Records, moved: Int, cell: Int) -> None:
    """Give chains that moved as a whole (their state is `moved` + its new number) that state; two of one state become
    one. O(states in use, squared).
    """
    apart()
    chain = cells[cell].chain
    while chain != NIL:
        if chains[chain].state >= moved:
            state = np.uint32(chains[chain].state - moved)
            other = cells[cell].chain
            while other != NIL and chains[other].state != state:
                other = chains[other].next
            chains[chain].state = state
            if other != NIL and chains[other].count > 0:
                first = chains[other].first
                last = chains[chain].last
                partials[last].chain_next = first
                partials[first].chain_prev = last
                chains[chain].last = chains[other].last
                chains[chain].count += chains[other].count
                chains[other].first = NIL
                chains[other].last = NIL
                chains[other].count = 0
            if other != NIL:
                chains[other].state = NIL
        chain = chains[chain].next


@unfolded
def kill_partial(
    cells: Records, chains: Records, partials: Records, counters: I64, blocks: Int, cell: Int, partial: Int
) -> None:
    """End a partial of a cell."""
    if cells[cell].chain != NIL:
        leave_chain(partials, chains, chain_of(chains, cells, counters, cell, partials[partial].state), partial)
    remove_partial(cells, partials, cell, partial)
    free_partial(partials, counters, blocks, partial)


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
