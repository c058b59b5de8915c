"""Links: freeing those that nothing reaches, and walking those of a match.

Links and events are only ever appended, so a link's predecessor has a lower row and compaction keeps the order of
events: one backward pass marks, one forward pass moves.
"""

from __future__ import annotations

import numpy as np

from cep.matcher.records import *  # noqa: F403  the fields of every record
from cep.matcher.trail import mark_trail, move_trail
from events.columns import I32, I64
from events.kernel import Int, ask_for, compiled, inlined

AHEAD = 16
"""So many cells ahead memory is asked for what they will read."""


@inlined
def ask_ahead(cells: Records, partials: Records, counters: I64, new_link: U32, cell: Int) -> None:
    """Ask the memory for the first partials of later cells, and for where the links of nearer ones are."""
    if cell + AHEAD < counters[N_CELLS]:
        first = cells[cell + AHEAD].first
        if first != NIL:
            ask_for(partials, np.int64(first))
        first = cells[cell + AHEAD // 2].first
        if first != NIL:
            ask_for(new_link, np.int64(partials[first].link))


@compiled
def collect(
    plans: Records, partials: Records, registers: I64, links: Records, events: Records, held: Records, cells: Records,
    counters: I64, new_link: U32, new_event: U32,
) -> None:  # fmt: skip
    """Mark from partials and held matches, then compact links and events. O(all rows).

    new_link, new_event: uint32[rows] of NIL; answered: each row's new place, NIL for freed
    """
    count = counters[N_LINKS]
    for cell in range(counters[N_CELLS]):
        ask_ahead(cells, partials, counters, new_link, cell)
        place = cells[cell].first
        while place != NIL:
            new_link[partials[place].link] = 0
            place = partials[place].next
        place = cells[cell].held
        while place != NIL:
            new_link[held[place].link] = 0
            place = held[place].next
        if cells[cell].trail != NIL:
            mark_trail(plans, cells, registers, cell, new_event)
    for link in range(count - 1, -1, -1):
        if new_link[link] == 0:
            new_event[links[link].event] = 0
            if links[link].prev != NIL:
                new_link[links[link].prev] = 0
    kept = 0
    for event in range(counters[N_EVENTS]):
        if new_event[event] == 0:
            events[kept].sequence = events[event].sequence
            events[kept].at = events[event].at
            events[kept].now = events[event].now
            new_event[event] = kept
            kept += 1
    counters[N_EVENTS] = kept
    kept = 0
    for link in range(count):
        if new_link[link] == 0:
            before = links[link].prev
            links[kept].prev = NIL if before == NIL else new_link[before]
            links[kept].event = new_event[links[link].event]
            links[kept].step = links[link].step
            links[kept].closed = links[link].closed
            new_link[link] = kept
            kept += 1
    counters[N_LINKS] = kept
    for cell in range(counters[N_CELLS]):
        ask_ahead(cells, partials, counters, new_link, cell)
        place = cells[cell].first
        while place != NIL:
            partials[place].link = new_link[partials[place].link]
            partials[place].event = new_event[partials[place].event]
            place = partials[place].next
        place = cells[cell].held
        while place != NIL:
            held[place].link = new_link[held[place].link]
            held[place].event = new_event[held[place].event]
            place = held[place].next
        if cells[cell].trail != NIL:
            move_trail(plans, cells, registers, cell, new_event)


@compiled
def compact_cells(
    cells: Records, slots: Records, slot_keys: I64, queue: Records, rings: Records, counters: I64, new_cell: U32,
    new_slot: U32,
) -> None:  # fmt: skip
    """Drop cells that hold nothing and slots that have no cell; both keep their order. O(cells + slots + starts).

    new_cell: uint32[cells], new_slot: uint32[slots], both of NIL. The hash tables are stale afterwards.
    """
    kept = 0
    for cell in range(counters[N_CELLS]):
        if cells[cell].count > 0 or cells[cell].held != NIL:
            cells[kept] = cells[cell]
            new_cell[cell] = kept
            new_slot[cells[kept].slot] = 0
            kept += 1
    counters[N_CELLS] = kept
    slot_count = 0
    for slot in range(counters[N_SLOTS]):
        if new_slot[slot] == 0:
            slots[slot_count].space = slots[slot].space
            slots[slot_count].hot = NIL
            for field in range(KEY_FIELDS_MAX):
                slot_keys[slot_count, field] = slot_keys[slot, field]
            new_slot[slot] = slot_count
            slot_count += 1
    counters[N_SLOTS] = slot_count
    for cell in range(kept):
        slot = new_slot[cells[cell].slot]
        cells[cell].slot = slot
        if cells[cell].hot != 0:  # which of them really are hot is found out at their next event
            cells[cell].hot_next = slots[slot].hot
            slots[slot].hot = cell
    for ring in range(rings.shape[0]):
        mask = rings[ring].capacity - 1
        left = 0
        for nth in range(rings[ring].length):
            place = rings[ring].offset + ((rings[ring].head + nth) & mask)
            cell = new_cell[queue[place].cell]
            if cell != NIL:
                to = rings[ring].offset + ((rings[ring].head + left) & mask)
                queue[to].at = queue[place].at
                queue[to].cell = cell
                left += 1
        rings[ring].length = left


@compiled
def count_links(links: Records, events: Records, out: Records, rows: Int, lengths: I64) -> None:
    """lengths[i + 1] = events of output row i, summed up: the offsets of `write_links`, which will read the events."""
    for row in range(rows):
        if row + AHEAD < rows:
            ask_for(links, np.int64(out[row + AHEAD].link))
        count = 0
        link = out[row].link
        while link != NIL:
            count += 1
            ask_for(events, np.int64(links[link].event))
            link = links[link].prev
        lengths[row + 1] = lengths[row] + count


@compiled
def write_links(
    links: Records, events: Records, out: Records, rows: Int, offsets: I64, steps: I32, sequences: I64, at: I64
) -> None:
    """The events of each output row, oldest first: step, number in the log, own time."""
    for row in range(rows):
        place = offsets[row + 1]
        link = out[row].link
        while link != NIL:
            place -= 1
            steps[place] = links[link].step
            event = links[link].event
            sequences[place] = events[event].sequence
            at[place] = events[event].at
            link = links[link].prev
