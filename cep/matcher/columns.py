"""The columns of every array the kernels touch, by name.

Rows are records, so that one partial, start, cell or link lies in one cache line; a snapshot is a copy of the arrays.

    cell      one key x one pattern: its open starts in order of time, its partials by state
    chain     the partials of a cell that wait in one state
    start     the event with which partials of a cell began; its partials are a list through them
    partial   a match in progress; the events it took are a list of links, newest first, shared between branches

        cell ──▶ chain(state 3) ──▶ partial ⇄ partial ⇄ partial        (all in state 3)
          │                           │
          └───▶ start(10:02) ──▶ partial ⇄ partial ⇄ …                  (all begun at 10:02)
                  ⇅
                start(10:05) ──▶ …                      partial ──▶ link ──▶ link ──▶ link (the start event)

A list ends with -1. Free rows of an array form a list through their first column.
"""

# plans: int64[P, PLAN_WIDTH]
(
    P_START_LO,  # edges of the start state: [lo, hi)
    P_START_HI,
    P_START_ANY,  # condition bits of which one must be set for a start
    P_START_ALWAYS,  # 1: every event may start
    P_START_HIST,  # bits of the start state that need their program
    P_ALWAYS,  # bits whose event part every event satisfies
    P_WITHIN,  # window in microseconds, 0 for none
    P_SKIP,
    P_SKIP_STEP,
    P_ORDERED,
    P_CAP,  # partials one key may have
    P_POLICY,
    P_REGISTERS,
    P_REGISTER_NULLS,  # null mask of registers that have seen nothing
    P_KEYSPACE,
    P_CONDITIONS,  # first row in conditions
    P_EDGES_MAX,  # most edges of one state
    P_DISTINCT,  # 1: equal matches of one event are one match
    P_TIMEOUTS,  # 1: timed-out partials are an output
    P_STATES,  # states of the plan
    P_JUMPS,  # 1: several windows of a key may end at one stroke (see `expire`)
    PLAN_WIDTH,
) = range(22)

# states: int64[S, STATE_WIDTH]
(
    S_LO,  # edges: [lo, hi)
    S_HI,
    S_INTEREST,  # bits that can change what happens to a partial in this state
    S_ALL,  # 1: any event can
    S_HIST,  # bits that read earlier events
    S_PENDING,  # 1: the end of the window makes it a match
    S_BOUND,  # the one history condition `field > ...` (or >=, <, <=) that chains of this state have a bound for, or -1
    STATE_WIDTH,
) = range(8)

# edges: int64[E, EDGE_WIDTH]
(
    E_MUST,
    E_MUST_NOT,
    E_ACTION,
    E_TARGET,  # state, or -1 for a match
    E_STEP,  # plan-wide number of the step
    E_UPDATE_LO,  # register updates: [lo, hi)
    E_UPDATE_HI,
    EDGE_WIDTH,
) = range(8)

# conditions that read earlier events: int64[C, CONDITION_WIDTH]
(
    C_LO,  # program: [lo, hi)
    C_HI,
    C_FIELD,  # fast form `field OP factor * register`: column, or -1 when only the program will do
    C_OP,
    C_FLOAT,  # 1: compared as float64
    C_REGISTER,  # register, or the sum of an average
    C_COUNT,  # register of an average's count, else -1
    C_FACTOR,  # float64 bits
    CONDITION_WIDTH,
) = range(9)

# register updates: int64[U, UPDATE_WIDTH]
U_OP, U_REGISTER, U_COLUMN, U_FLOAT, UPDATE_WIDTH = range(5)  # U_FLOAT: NaN counts as NULL
UPDATE_COUNT, UPDATE_SUM_INT, UPDATE_SUM_FLOAT, UPDATE_MIN_INT, UPDATE_MIN_FLOAT = range(5)
UPDATE_MAX_INT, UPDATE_MAX_FLOAT, UPDATE_FIRST, UPDATE_LAST = range(5, 9)

# cells: int32[n, CELL_WIDTH], a cache line each
(
    L_SLOT,
    L_PLAN,
    L_CHAIN,  # first chain
    L_COUNT,  # partials
    L_START,  # oldest open start
    L_START_LAST,
    L_HELD,  # matches held back, by start
    L_HOT,  # 1: in its slot's list of cells that every event concerns
    L_HOT_NEXT,
) = range(9)
CELL_WIDTH = 16

# chains: int32[n, CHAIN_WIDTH]; the last two columns are one float64, `bounds`: no partial of the chain can satisfy its
# state's S_BOUND condition for a field that is not beyond it
H_NEXT, H_STATE, H_FIRST, H_LAST, H_COUNT = range(5)
CHAIN_WIDTH = 8
CHAIN_BOUND = 3  # among a row's float64

# partials: int32[n, PARTIAL_WIDTH]
(
    A_CHAIN_NEXT,
    A_CHAIN_PREV,
    A_START_NEXT,
    A_START_PREV,
    A_START,
    A_LINK,
    A_REGISTERS,  # offset of its registers, 0 for none
    A_STATE,
    PARTIAL_WIDTH,
) = range(9)

# starts: int32[n, START_WIDTH]; the last two columns are one int64, the instant: `start_at`
T_NEXT, T_PREV, T_FIRST, T_EVENT, T_CELL = range(5)
START_WIDTH = 8
START_AT = 3  # among a row's int64

# slots: int64[n, SLOT_WIDTH], a cache line each: key space, up to four values (`slot_keys`), head of its hot cells
SLOT_HOT = 5
SLOT_WIDTH = 8

# links: int32[n, LINK_WIDTH]
K_PREV, K_EVENT, K_STEP, LINK_WIDTH = range(4)

# captured events: int64[n, EVENT_WIDTH]
V_SEQUENCE, V_AT, V_NOW, EVENT_WIDTH = range(4)  # number in the log, own time, instant of matching

# held matches: int32[n, HELD_WIDTH]
M_NEXT, M_EVENT, M_LINK, M_KIND, HELD_WIDTH = range(5)

# output: int64[n, OUT_WIDTH]
O_PLAN, O_SLOT, O_SEQUENCE, O_KIND, O_LINK, O_EVENT, OUT_WIDTH = range(7)
KIND_MATCH, KIND_TIMEOUT, KIND_ABSENCE = range(3)

# expiry queues: int32[n, QUEUE_WIDTH] in one array; queue heads int64[P, QUEUE_HEAD_WIDTH]
Q_START, Q_EVENT, QUEUE_WIDTH = range(3)
QH_OFFSET, QH_CAPACITY, QH_HEAD, QH_LENGTH, QH_DUE, QUEUE_HEAD_WIDTH = range(6)

# counters and free lists: int64[COUNTERS]
(
    N_CELLS,
    N_CHAINS,
    N_PARTIALS,
    N_STARTS,
    N_LINKS,
    N_EVENTS,
    N_HELD,
    N_OUT,
    N_REGISTERS,
    N_SLOTS,
    FREE_CHAIN,
    FREE_PARTIAL,
    FREE_START,
    FREE_HELD,
    LIVE_CHAINS,
    LIVE_PARTIALS,
    LIVE_STARTS,
    LIVE_HELD,
    LIVE_REGISTERS,
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
    NEED,  # which array needs room
    SCRATCH_MATCHES,
    COUNTERS,
) = range(32)

PARTIALS_PER_KEY_MAX = 100_000
"""Partials that one pattern may have open for one key; further ones are not opened, and counted."""

PATTERNS_MAX = 10_000
"""Plans a lane may hold, draining ones included."""

REGISTERS_MAX = 48
REGISTER_HEAD = 2
"""A row of registers: mask of those that are NULL, mask of those that have seen an event, then the registers."""
FREE_REGISTERS = COUNTERS
"""Free lists of register rows by size, behind the counters."""
COUNTERS_ALL = COUNTERS + REGISTERS_MAX + 2

# what a kernel answers
DONE = 0
NEED_CELLS, NEED_CHAINS, NEED_PARTIALS, NEED_STARTS, NEED_LINKS, NEED_EVENTS = 1, 2, 3, 4, 5, 6
NEED_HELD, NEED_OUT, NEED_REGISTERS, NEED_SLOTS, NEED_QUEUE, NEED_SCRATCH = 7, 8, 9, 10, 11, 12
