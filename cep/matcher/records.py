"""The records of every array the kernels touch, field by field.

Every record has a fixed size and its references are unsigned, so that a kernel reaches a field with one shift and one
load; those of the hot path fill cache lines. A snapshot is a copy of the arrays.

    slot      one key: values of its fields, its cells that every event concerns
    cell      one key x one pattern: its partials in order of their start
    chain     of a cell with many partials: those that wait in one state
    partial   a match in progress; the events it took are a list of links, newest first, shared between branches

        slot ──▶ cell ──▶ partial(10:02) ⇄ partial(10:02) ⇄ partial(10:05) ⇄ …         by start
                  │             │
                  │             └──▶ link ──▶ link ──▶ link (the start event)
                  └──▶ chain(state 3) ──▶ partial ⇄ partial ⇄ …                        by state, if there are many

A cell of a strict sequence has a trail instead of all these (see `trail`).

A list ends with NIL. Free rows of an array form a list through their first field. States and steps are numbered within
their plan, so that a state of the matcher stays good when other plans come and go.

The constants here become part of the machine code of every @compiled function that names them: by that word this file
counts among the kernels' sources (`events.kernel.sources`).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from cep.automaton.plan import REGISTERS_MAX

Records = Any
"""An array of one of the records below. (NumPy's type of it knows no fields; Numba checks their names.)"""

U32 = npt.NDArray[np.uint32]

NIL = np.uint32(0xFFFF_FFFF)

ANY = 1 << 62
"""A bit of interest that every event has; condition bits are below it."""


def record(size: int = 0, **fields: str) -> np.dtype[np.void]:
    """A record of fields in order, as C lays them out; size: bytes, where it is to be more."""
    plain = np.dtype(list(fields.items()), align=True)
    if size in (0, plain.itemsize):
        return plain
    assert plain.fields is not None
    assert size > plain.itemsize
    offsets = [plain.fields[name][1] for name in fields]
    return np.dtype(
        {"names": list(fields), "formats": list(fields.values()), "offsets": offsets, "itemsize": size}, align=True
    )


# --- what the kernels know of the plans ------------------------------------------------------------------------------

PLAN = record(
    start_any="i8",  # condition bits of which one must be set for a start
    start_history="i8",  # bits of the start state that need their program
    always="i8",  # ANY, and the bits whose event part every event satisfies
    bound_bit="i8",  # the condition that cells have a bound for, 0 for none
    gaps="i8",  # 1: some of its states or edges have a gap
    registers_null="i8",  # mask of the registers that are NULL before they see an event
    within="i8",  # window in microseconds, 0 for none
    start_always="u4",  # 1: every event may start
    states="u4",  # first row in states; the start state
    conditions="u4",  # first row in conditions
    bound="u4",  # the condition of bound_bit
    skip="u4",
    skip_step="u4",
    ordered="u4",
    cap="u4",  # partials one key may have
    registers="u4",
    blocks="u4",  # rows of a partial with its registers
    keyspace="u4",
    edges_max="u4",  # most edges of one state
    distinct="u4",  # 1: equal matches are one match
    waits="u4",  # 1: and one may be complete without a further event, so later than its equal
    timeouts="u4",  # 1: timed-out partials are an output
    jumps="u4",  # 1: several windows of a key may end at one stroke (see `expire`)
    ring="u4",  # the ring of its window, NIL for none
    strict="u4",  # events of a strict sequence, which is matched on trails (see `trail`); 0 for others. Of such a one:
    fields="u4",  # fields that a place of its trails keeps
    kept="u4",  # first row in updates: the columns of these fields
    recalled="u4",  # first row in updates: its registers, each with the state and the field that it is read from
    keeps="i8",  # the states, as bits, whose partials stay when there is a match
    lasts="i8",  # its window, or longer than anything lasts
    paused="u4",  # 1: no event concerns it
    quiet="u4",  # 1: nothing comes of the end of its window, so that a partial may stay beyond it until it is met
)

STATE = record(
    interest="i8",  # bits that can change what happens to a partial in this state; ANY: every event can
    history="i8",  # bits that read earlier events
    lo="u4",  # edges: [lo, hi)
    hi="u4",
    gap="i8",  # in microseconds: a partial ends that long after the event it took last; 0 for never
    ring="u4",  # the ring of its gap, NIL for none
    gapped="u4",  # 1: some of its edges have a gap
    pending="u4",  # 1: the end of the window or gap makes it a match
    bounded="u4",  # 1: it waits for the condition of the plan's bound
    outcomes="i8",  # eight bytes: OUTCOME and << OUTCOME_BITS the edge (from lo) by the values of up to three bits,
    first_bit="u4",  # which are these; 63, which is never set, for none
    second_bit="u4",
    third_bit="u4",
)

# What an event does to a partial of a state, the bits of its conditions being known.
OUTCOME_GENERAL = 0  # the edges have to be tried one by one: it branches, or there are more than three bits, or gaps
OUTCOME_STAYS = 1
OUTCOME_TAKES = 2  # it takes the event by the edge, and goes on
OUTCOME_MATCHES = 3  # it takes the event by the edge, and is complete
OUTCOME_ENDS = 4
OUTCOME_BITS = 3

EDGE = record(
    must="i8",
    must_not="i8",
    gap="i8",  # only for less than that time since the event taken last; 0 for always
    action="u4",
    target="u4",  # state, NIL for a match
    step="u4",
    update_lo="u4",  # register updates: [lo, hi)
    update_hi="u4",
)

CONDITION = record(  # a condition that reads earlier events
    factor="f8",
    lo="u4",  # program: [lo, hi)
    hi="u4",
    fast="u4",  # 1: it is `field OP factor * register`, an average being register / count
    field="u4",  # column
    op="u4",
    real="u4",  # 1: compared as float64
    register="u4",
    count="u4",  # register of an average's count, else NIL
    state="u4",  # of a strict sequence: the state that took the event compared with,
    kept="u4",  # and which of the fields that a place keeps it is
)

MEMBER = record(bit="i8", plan="u4", rest="u4")  # of a list of `touch`; rest: 1 + the predicate with a program, or 0

UPDATE = record(
    op="u4",
    register="u4",
    column="u4",  # NIL: every event
    real="u4",  # 1: NaN counts as NULL
    state="u4",  # of a strict sequence: the state whose event it is read from,
    field="u4",  # and which of the fields that a place keeps
)
UPDATE_COUNT, UPDATE_SUM_INT, UPDATE_SUM_FLOAT, UPDATE_MIN_INT, UPDATE_MIN_FLOAT = range(5)
UPDATE_MAX_INT, UPDATE_MAX_FLOAT, UPDATE_FIRST, UPDATE_LAST = range(5, 9)

# --- state -----------------------------------------------------------------------------------------------------------

SLOT = record(
    space="u4",
    cell="u4",  # one of its cells, to be tried before the table
    hot="u4",  # its cells that every event concerns
)

CELL = record(
    64,
    slot="u4",
    plan="u4",
    first="u4",  # partials in order of their start
    last="u4",
    count="u4",
    chain="u4",  # partials by state, NIL while there are few
    held="u4",  # matches held back, by start
    hot="u4",  # 1: in its slot's list of hot cells
    hot_next="u4",
    trail="u4",  # NIL for none (see `trail`); with one, `count` is 1 whatever is open on it
    interest="i8",  # bits that can move one of its partials (never too few)
    bound="f8",  # no partial satisfies the plan's bounded condition for a field on this side of it
)

CHAIN = record(next="u4", state="u4", first="u4", last="u4", count="u4")

PARTIAL = record(  # every byte belongs to a field: NumPy copies no others
    chain_next="u4",
    chain_prev="u4",
    next="u4",
    prev="u4",
    link="u4",
    state="u4",
    event="u4",  # its start
    unused="u4",
    at="i8",  # instant of its start
    masks="i8",  # registers that are NULL, and << 32 those that have seen an event
    register_0="i8",
    register_1="i8",  # further ones lie in the rows behind it
)
MASKS = 5
"""Of the int64 of a partial, the one that is `masks`."""
BLOCK = 8
"""int64 of one row of partials."""
BLOCKS_MAX = (MASKS + 1 + REGISTERS_MAX + BLOCK - 1) // BLOCK

LINK = record(prev="u4", event="u4", step="u4", closed="u4")  # closed 1: a match of just these came out
EVENT = record(sequence="i8", at="i8", now="i8")  # number in the log, own time, instant of matching
HELD = record(at="i8", next="u4", event="u4", link="u4", kind="u4")  # instant at which it was complete, its start
DUE = record(at="i8", cell="u4")  # an entry of a ring
RING = record(within="i8", gap="i8", due="i8", offset="i8", capacity="i8", head="i8", length="i8")  # gap 1: of gaps
ENTRY = record(tag="u4", cell="u4")  # of the table of cells: a hash of slot and plan, cell + 1; 0: free
OUT = record(at="i8", sequence="i8", plan="u4", slot="u4", kind="u4", link="u4", event="u4")
KIND_MATCH, KIND_TIMEOUT, KIND_ABSENCE = range(3)

# counters and free lists: int64[COUNTERS_ALL]
(
    N_CELLS,
    N_CHAINS,
    N_PARTIALS,
    N_LINKS,
    N_EVENTS,
    N_HELD,
    N_OUT,
    N_SLOTS,
    FREE_CHAIN,
    FREE_HELD,
    LIVE_CHAINS,
    LIVE_PARTIALS,
    MORE_PARTIALS,  # open on trails, beyond one for each trail
    LIVE_HELD,
    STARTED,
    TAKEN,
    DIED,
    MATCHED,
    TIMED_OUT,
    CAPPED,
    KEYLESS,
    RESUME_ROW,  # where to go on after "need room"
    RESUME_TOUCH,
    RESUME_HOT,
    NEED,  # how many rows are needed
    INDEX_WIDTH,  # places of a slot in the table of cells, 0 where it is hashed
    TRAILS_KNOWN,  # 0: what `step_strict` knows of trails is no longer so
    LOOK_AGAIN,  # cells and slots at which to look for unused ones again
    COUNTERS,
) = range(29)
FREE_PARTIAL = COUNTERS
"""Free lists of partials by blocks, behind the counters; 0 ends them."""
COUNTERS_ALL = COUNTERS + BLOCKS_MAX + 1

PARTIALS_PER_KEY_MAX = 100_000
"""Partials that one pattern may have open for one key; further ones are not opened, and counted."""
PARTIALS_PER_CELL_FEW = 8
"""With more partials than this a cell keeps chains."""
PATTERNS_MAX = 10_000
"""Plans a lane may hold, draining ones included."""
KEY_FIELDS_MAX = 4

# what a kernel answers: done, or which array needs room
DONE = 0
NEED_CELLS, NEED_CHAINS, NEED_PARTIALS, NEED_LINKS, NEED_EVENTS = 1, 2, 3, 4, 5
NEED_HELD, NEED_OUT, NEED_SLOTS, NEED_RING, NEED_SCRATCH, NEED_CODES = 6, 7, 8, 9, 10, 11
