"""Rows in and out of the lists of `columns`: each O(1) but where it says otherwise."""

from __future__ import annotations

from cep.matcher.columns import *  # noqa: F403  the column names of every array
from events.columns import I32, I64
from events.kernel import Int, compiled, inlined


@inlined
def new_chain(chains: I32, counters: I64) -> Int:
    """A chain row. The caller has made sure that there is one."""
    place = counters[FREE_CHAIN]
    if place != -1:
        counters[FREE_CHAIN] = chains[place, 0]
    else:
        place = counters[N_CHAINS]
        counters[N_CHAINS] += 1
    counters[LIVE_CHAINS] += 1
    return place


@inlined
def new_partial(partials: I32, counters: I64) -> Int:
    """A partial row. The caller has made sure that there is one."""
    place = counters[FREE_PARTIAL]
    if place != -1:
        counters[FREE_PARTIAL] = partials[place, 0]
    else:
        place = counters[N_PARTIALS]
        counters[N_PARTIALS] += 1
    counters[LIVE_PARTIALS] += 1
    return place


@inlined
def new_start(starts: I32, counters: I64) -> Int:
    """A start row. The caller has made sure that there is one."""
    place = counters[FREE_START]
    if place != -1:
        counters[FREE_START] = starts[place, 0]
    else:
        place = counters[N_STARTS]
        counters[N_STARTS] += 1
    counters[LIVE_STARTS] += 1
    return place


@inlined
def new_registers(registers: I64, counters: I64, size: Int) -> Int:
    """A row of `size` registers behind REGISTER_HEAD masks. The caller has made sure that there is room."""
    place = counters[FREE_REGISTERS + size]
    if place != 0:
        counters[FREE_REGISTERS + size] = registers[place]
    else:
        place = counters[N_REGISTERS]
        counters[N_REGISTERS] += size + REGISTER_HEAD
    counters[LIVE_REGISTERS] += size + REGISTER_HEAD
    return place


@inlined
def free_registers(registers: I64, counters: I64, size: Int, place: Int) -> None:
    """Give a row of registers back."""
    registers[place] = counters[FREE_REGISTERS + size]
    counters[FREE_REGISTERS + size] = place
    counters[LIVE_REGISTERS] -= size + REGISTER_HEAD


@inlined
def link_start(starts: I32, cells: I32, cell: Int, start: Int) -> None:
    """Append a start to its cell's list: the youngest is last."""
    last = cells[cell, L_START_LAST]
    starts[start, T_PREV] = last
    starts[start, T_NEXT] = -1
    if last == -1:
        cells[cell, L_START] = start
    else:
        starts[last, T_NEXT] = start
    cells[cell, L_START_LAST] = start


@inlined
def drop_start(starts: I32, cells: I32, counters: I64, start: Int) -> None:
    """Take an empty start out of its cell's list and free it."""
    cell = starts[start, T_CELL]
    before = starts[start, T_PREV]
    after = starts[start, T_NEXT]
    if before == -1:
        cells[cell, L_START] = after
    else:
        starts[before, T_NEXT] = after
    if after == -1:
        cells[cell, L_START_LAST] = before
    else:
        starts[after, T_PREV] = before
    starts[start, T_EVENT] = -1
    starts[start, 0] = counters[FREE_START]
    counters[FREE_START] = start
    counters[LIVE_STARTS] -= 1


@inlined
def join_start(partials: I32, starts: I32, partial: Int, start: Int) -> None:
    """Put a partial at the head of its start's list."""
    first = starts[start, T_FIRST]
    partials[partial, A_START] = start
    partials[partial, A_START_PREV] = -1
    partials[partial, A_START_NEXT] = first
    if first != -1:
        partials[first, A_START_PREV] = partial
    starts[start, T_FIRST] = partial


@inlined
def leave_start(partials: I32, starts: I32, partial: Int) -> None:
    """Take a partial out of its start's list; the start may be empty then."""
    before = partials[partial, A_START_PREV]
    after = partials[partial, A_START_NEXT]
    if before == -1:
        starts[partials[partial, A_START], T_FIRST] = after
    else:
        partials[before, A_START_NEXT] = after
    if after != -1:
        partials[after, A_START_PREV] = before


@inlined
def leave_chain(partials: I32, chains: I32, chain: Int, partial: Int) -> None:
    """Take a partial out of the chain it stands in."""
    before = partials[partial, A_CHAIN_PREV]
    after = partials[partial, A_CHAIN_NEXT]
    if before == -1:
        chains[chain, H_FIRST] = after
    else:
        partials[before, A_CHAIN_NEXT] = after
    if after == -1:
        chains[chain, H_LAST] = before
    else:
        partials[after, A_CHAIN_PREV] = before
    chains[chain, H_COUNT] -= 1


@inlined
def chain_of(chains: I32, cells: I32, counters: I64, cell: Int, state: Int) -> Int:
    """The chain of a cell's partials in `state`, a new one if there is none. O(states in use of the cell)."""
    place = cells[cell, L_CHAIN]
    while place != -1:
        if chains[place, H_STATE] == state:
            return place
        place = chains[place, H_NEXT]
    place = new_chain(chains, counters)
    chains[place, H_NEXT] = cells[cell, L_CHAIN]
    chains[place, H_STATE] = state
    chains[place, H_FIRST] = -1
    chains[place, H_LAST] = -1
    chains[place, H_COUNT] = 0
    cells[cell, L_CHAIN] = place
    return place


@inlined
def join_chain(partials: I32, chains: I32, chain: Int, partial: Int) -> None:
    """Append a partial to a chain."""
    last = chains[chain, H_LAST]
    partials[partial, A_CHAIN_PREV] = last
    partials[partial, A_CHAIN_NEXT] = -1
    if last == -1:
        chains[chain, H_FIRST] = partial
    else:
        partials[last, A_CHAIN_NEXT] = partial
    chains[chain, H_LAST] = partial
    chains[chain, H_COUNT] += 1


@inlined
def without_empty_chains(chains: I32, cells: I32, counters: I64, cell: Int) -> None:
    """Free the cell's chains that hold nothing."""
    before = -1
    place = cells[cell, L_CHAIN]
    while place != -1:
        after = chains[place, H_NEXT]
        if chains[place, H_COUNT] == 0:
            if before == -1:
                cells[cell, L_CHAIN] = after
            else:
                chains[before, H_NEXT] = after
            chains[place, 0] = counters[FREE_CHAIN]
            counters[FREE_CHAIN] = place
            counters[LIVE_CHAINS] -= 1
        else:
            before = place
        place = after


@inlined
def free_partial(partials: I32, registers: I64, counters: I64, size: Int, partial: Int) -> None:
    """Free a partial that stands in no list any more, and its registers."""
    if partials[partial, A_REGISTERS] != 0:
        free_registers(registers, counters, size, partials[partial, A_REGISTERS])
    partials[partial, A_START] = -1
    partials[partial, 0] = counters[FREE_PARTIAL]
    counters[FREE_PARTIAL] = partial
    counters[LIVE_PARTIALS] -= 1


@compiled
def kill_start(
    partials: I32, starts: I32, chains: I32, cells: I32, registers: I64, counters: I64, size: Int, start: Int
) -> None:
    """End every partial of a start, and the start. O(its partials)."""
    cell = starts[start, T_CELL]
    partial = starts[start, T_FIRST]
    while partial != -1:
        after = partials[partial, A_START_NEXT]
        chain = chain_of(chains, cells, counters, cell, partials[partial, A_STATE])
        leave_chain(partials, chains, chain, partial)
        free_partial(partials, registers, counters, size, partial)
        cells[cell, L_COUNT] -= 1
        counters[DIED] += 1
        partial = after
    starts[start, T_FIRST] = -1
    drop_start(starts, cells, counters, start)
