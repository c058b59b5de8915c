"""Room: how many rows every array still has, so that no event is left half done."""

from __future__ import annotations

from cep.matcher.records import *  # noqa: F403  the fields of every record
from events.columns import I64
from events.kernel import Int, apart, compiled


@compiled
def room_for(
    counters: I64, cells: Records, chains: Records, partials: Records, links: Records, events: Records, held: Records,
    slots: Records, slot_table: U32, index: Records, out: Records, widest: Int, most: Int,
) -> tuple[Int, Int]:  # fmt: skip
    """(DONE, rows that all arrays have room for) when that is `most` or more, else (the array that is short, 0), and in
    counters[NEED] how much it needs.

    The answer is good until that many were used, whatever was freed meanwhile. Hash tables count up to half load.
    widest: rows of the largest partial
    """
    apart()
    counters[NEED] = most * widest
    if widest == 1:  # and never was another: a freed row fits any partial
        least = partials.shape[0] - BLOCKS_MAX - counters[LIVE_PARTIALS]
    else:
        least = (partials.shape[0] - counters[N_PARTIALS]) // widest
    if least < most:
        return NEED_PARTIALS, 0
    counters[NEED] = most
    room = links.shape[0] - counters[N_LINKS]
    if room < most:
        return NEED_LINKS, 0
    least = min(least, room)
    room = events.shape[0] - counters[N_EVENTS]
    if room < most:
        return NEED_EVENTS, 0
    least = min(least, room)
    room = out.shape[0] - counters[N_OUT] - counters[LIVE_HELD]
    if room < most:
        return NEED_OUT, 0
    least = min(least, room)
    room = held.shape[0] - counters[LIVE_HELD]
    if room < most:
        return NEED_HELD, 0
    least = min(least, room)
    room = chains.shape[0] - counters[LIVE_CHAINS]
    if room < most:
        return NEED_CHAINS, 0
    least = min(least, room)
    room = cells.shape[0] if counters[INDEX_WIDTH] != 0 else min(cells.shape[0], index.shape[0] // 2)
    room -= counters[N_CELLS]
    if room < most:
        return NEED_CELLS, 0
    least = min(least, room)
    room = min(slots.shape[0], slot_table.shape[0] // 2) - counters[N_SLOTS]
    if room < most:
        return NEED_SLOTS, 0
    return DONE, min(least, room)
