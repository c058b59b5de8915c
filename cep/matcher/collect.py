"""Links: freeing those that nothing reaches, and walking those of a match.

Links and events are only ever appended, so a link's predecessor has a lower row and compaction keeps the order of
events: one backward pass marks, one forward pass moves.
"""

from __future__ import annotations

from cep.matcher.columns import *  # noqa: F403  the column names of every array
from events.columns import I32, I64
from events.kernel import Int, compiled


@compiled
def collect(
    partials: I32, starts: I32, links: I32, events: I64, held: I32, cells: I32, queue: I32, queue_heads: I64,
    counters: I64, new_link: I32, new_event: I32,
) -> None:  # fmt: skip
    """Mark from partials, starts and held matches, then compact links and events. O(all rows).

    new_link, new_event: [rows] of -1; answered: each row's new place, -1 for freed
    """
    count = counters[N_LINKS]
    for partial in range(counters[N_PARTIALS]):
        if partials[partial, A_START] != -1:
            new_link[partials[partial, A_LINK]] = 0
    for cell in range(counters[N_CELLS]):
        place = cells[cell, L_HELD]
        while place != -1:
            new_link[held[place, M_LINK]] = 0
            new_event[held[place, M_EVENT]] = 0
            place = held[place, M_NEXT]
    for link in range(count - 1, -1, -1):
        if new_link[link] == 0:
            new_event[links[link, K_EVENT]] = 0
            if links[link, K_PREV] != -1:
                new_link[links[link, K_PREV]] = 0
    for start in range(counters[N_STARTS]):
        if starts[start, T_EVENT] != -1:
            new_event[starts[start, T_EVENT]] = 0
    kept = 0
    for event in range(counters[N_EVENTS]):
        if new_event[event] == 0:
            for column in range(EVENT_WIDTH):
                events[kept, column] = events[event, column]
            new_event[event] = kept
            kept += 1
    counters[N_EVENTS] = kept
    kept = 0
    for link in range(count):
        if new_link[link] == 0:
            before = links[link, K_PREV]
            links[kept, K_PREV] = -1 if before == -1 else new_link[before]
            links[kept, K_EVENT] = new_event[links[link, K_EVENT]]
            links[kept, K_STEP] = links[link, K_STEP]
            new_link[link] = kept
            kept += 1
    counters[N_LINKS] = kept
    for partial in range(counters[N_PARTIALS]):
        if partials[partial, A_START] != -1:
            partials[partial, A_LINK] = new_link[partials[partial, A_LINK]]
    for cell in range(counters[N_CELLS]):
        place = cells[cell, L_HELD]
        while place != -1:
            held[place, M_LINK] = new_link[held[place, M_LINK]]
            held[place, M_EVENT] = new_event[held[place, M_EVENT]]
            place = held[place, M_NEXT]
    for plan in range(queue_heads.shape[0]):
        offset = queue_heads[plan, QH_OFFSET]
        capacity = queue_heads[plan, QH_CAPACITY]
        head = queue_heads[plan, QH_HEAD]
        kept = 0
        for place in range(queue_heads[plan, QH_LENGTH]):
            at = offset + ((head + place) & (capacity - 1))
            start = queue[at, Q_START]
            event = queue[at, Q_EVENT]
            if starts[start, T_EVENT] == event:
                to = offset + ((head + kept) & (capacity - 1))
                queue[to, Q_START] = start
                queue[to, Q_EVENT] = new_event[event]
                kept += 1
        queue_heads[plan, QH_LENGTH] = kept
    for start in range(counters[N_STARTS]):
        if starts[start, T_EVENT] != -1:
            starts[start, T_EVENT] = new_event[starts[start, T_EVENT]]


@compiled
def compact_cells(cells: I32, starts: I32, slot_keys: I64, slot_hot: I64, counters: I64, new_slot: I32) -> None:
    """Drop cells that hold nothing and slots that have no cell; both keep their order. O(cells + slots).

    new_slot: [slots] of -1, scratch. The hash tables are stale afterwards.
    """
    kept = 0
    for cell in range(counters[N_CELLS]):
        if cells[cell, L_START] == -1 and cells[cell, L_HELD] == -1:
            continue
        for column in range(CELL_WIDTH):
            cells[kept, column] = cells[cell, column]
        start = cells[kept, L_START]
        while start != -1:
            starts[start, T_CELL] = kept
            start = starts[start, T_NEXT]
        new_slot[cells[kept, L_SLOT]] = 0
        kept += 1
    counters[N_CELLS] = kept
    slots = 0
    for slot in range(counters[N_SLOTS]):
        if new_slot[slot] == 0:
            for column in range(slot_keys.shape[1]):
                slot_keys[slots, column] = slot_keys[slot, column]
            slot_hot[slots] = -1
            new_slot[slot] = slots
            slots += 1
    counters[N_SLOTS] = slots
    for cell in range(kept):
        slot = new_slot[cells[cell, L_SLOT]]
        cells[cell, L_SLOT] = slot
        if cells[cell, L_HOT] != 0:  # which of them really are hot is found out at their next event
            cells[cell, L_HOT_NEXT] = slot_hot[slot]
            slot_hot[slot] = cell


@compiled
def count_links(links: I32, out: I64, rows: Int, lengths: I64) -> None:
    """lengths[i + 1] = events of output row i, summed up: the offsets of `write_links`."""
    for row in range(rows):
        count = 0
        link = out[row, O_LINK]
        while link != -1:
            count += 1
            link = links[link, K_PREV]
        lengths[row + 1] = lengths[row] + count


@compiled
def write_links(
    links: I32, events: I64, out: I64, rows: Int, offsets: I64, steps: I32, sequences: I64, at: I64
) -> None:
    """The events of each output row, oldest first: step, number in the log, own time."""
    for row in range(rows):
        place = offsets[row + 1]
        link = out[row, O_LINK]
        while link != -1:
            place -= 1
            steps[place] = links[link, K_STEP]
            event = links[link, K_EVENT]
            sequences[place] = events[event, V_SEQUENCE]
            at[place] = events[event, V_AT]
            link = links[link, K_PREV]
