"""Plans laid end to end as the arrays that the kernels read. Rebuilt at a batch boundary when plans change."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum

import numpy as np

from cep.automaton.graph import Action, Edge, State
from cep.automaton.plan import Plan
from cep.automaton.predicates import Predicate
from cep.language.pattern import Emit, Skip
from cep.matcher import columns as c
from cep.matcher import registers as r
from cep.matcher.keys import KEY_FIELDS_MAX
from events.columns import I16, I32, I64, Layout
from events.expression import Binary, Constant, Expression, Field, History
from events.program import Program, compile_program
from events.types import FLOAT64, Kind

SKIPS = (Skip.NO_SKIP, Skip.TO_NEXT, Skip.PAST_LAST_EVENT, Skip.TO_FIRST, Skip.TO_LAST)
OPERATORS = {"<": r.OP_LT, "<=": r.OP_LE, ">": r.OP_GT, ">=": r.OP_GE, "=": r.OP_EQ, "!=": r.OP_NE}
MIRRORED = {"<": ">", "<=": ">=", ">": "<", ">=": "<=", "=": "=", "!=": "!="}


class Mode(Enum):
    """What a plan may still do."""

    LIVE = "live"
    DRAINING = "draining"  # its partials run to their end, nothing starts
    PAUSED = "paused"  # nothing starts, nothing is taken; windows end


@dataclass(frozen=True, slots=True)
class Tables:
    """What the kernels know of the plans (column names: `columns`, `touch`)."""

    plans: I64
    states: I64
    edges: I64
    conditions: I64
    updates: I64
    keyspaces: I64
    ops: I16
    args: I64
    predicates: I64
    ranges: I64
    bounds: I64
    codes: I64
    code_values: I64
    lists: I64
    entries: I32
    dense: I32
    always: I32
    scan: bool
    """Can any plan have partials that every event concerns?"""
    step_names: tuple[str, ...]
    state_base: tuple[int, ...]
    """First state of each plan."""


class Programs:
    """Programs laid end to end."""

    def __init__(self, code_of: Callable[[str], int]) -> None:
        self.code_of = code_of
        self.ops: list[I16] = []
        self.args: list[I64] = []
        self.length = 0

    def add(
        self, expression: Expression, column_of: Callable[[str], int], register_of: Callable[[History], int]
    ) -> tuple[int, int]:
        """Append the program of an expression; answers its range."""
        program: Program = compile_program(expression, column_of, register_of, self.code_of)
        lo = self.length
        self.ops.append(program.ops)
        self.args.append(program.args)
        self.length += len(program.ops)
        return lo, self.length


def key_streams(plan: Plan) -> str:
    """The stream whose columns hold the plan's key and fields (patterns over several streams: issue of the layout)."""
    return plan.pattern.streams[0]


def build(
    plans: Sequence[Plan | None],
    layout: Layout,
    code_of: Callable[[str], int],
    modes: Sequence[Mode],
    jumps: bool = False,
    partials_max: int = c.PARTIALS_PER_KEY_MAX,
) -> Tables:
    """Lay plans end to end; None is a place whose plan was retired.

    layout:  the columns of the batches to come; every field a plan reads must be there
    code_of: string constants to codes
    jumps:   see `expire`
    partials_max: partials that one pattern may have open for one key
    """
    return _Laying(layout, code_of, jumps, partials_max).all(plans, modes)


class _Laying:
    """The state of one `build`."""

    def __init__(self, layout: Layout, code_of: Callable[[str], int], jumps: bool, partials_max: int) -> None:
        self.layout = layout
        self.partials_max = partials_max
        self.jumps = jumps
        self.programs = Programs(code_of)
        self.code_of = code_of
        self.plans: list[list[int]] = []
        self.states: list[list[int]] = []
        self.edges: list[list[int]] = []
        self.conditions: list[list[int]] = []
        self.updates: list[list[int]] = []
        self.keyspaces: dict[tuple[int, ...], int] = {}
        self.predicates: list[list[int]] = []
        self.searches: list[tuple[int, Predicate, str]] = []
        self.dense: list[int] = []
        self.always: list[int] = []
        self.steps: list[str] = []
        self.bases: list[int] = []
        self.scan = False

    def all(self, plans: Sequence[Plan | None], modes: Sequence[Mode]) -> Tables:
        """Every plan, then the searches over all of them."""
        for number, (plan, mode) in enumerate(zip(plans, modes, strict=True)):
            self.bases.append(len(self.states))
            if plan is None:
                self.plans.append([0] * c.PLAN_WIDTH)
            else:
                self.plan(number, plan, mode)
        ranges, bounds, codes, values, lists, entries = self.index()
        ops = np.concatenate(self.programs.ops) if self.programs.ops else np.empty(0, np.int16)
        args = np.concatenate(self.programs.args) if self.programs.args else np.empty(0, np.int64)
        spaces = [[len(key), -1, *key, *[0] * (KEY_FIELDS_MAX - len(key))] for key in self.keyspaces]
        return Tables(
            plans=matrix(self.plans, c.PLAN_WIDTH),
            states=matrix(self.states, c.STATE_WIDTH),
            edges=matrix(self.edges, c.EDGE_WIDTH),
            conditions=matrix(self.conditions, c.CONDITION_WIDTH),
            updates=matrix(self.updates, c.UPDATE_WIDTH),
            keyspaces=matrix(spaces, 2 + KEY_FIELDS_MAX),
            ops=ops.astype(np.int16),
            args=args.astype(np.int64),
            predicates=matrix(self.predicates, 4),
            ranges=ranges,
            bounds=bounds,
            codes=codes,
            code_values=values,
            lists=lists,
            entries=entries,
            dense=np.array(self.dense, np.int32),
            always=np.array(self.always, np.int32),
            scan=self.scan,
            step_names=tuple(self.steps),
            state_base=tuple(self.bases),
        )

    # -- one plan -------------------------------------------------------------------------------------------------

    def plan(self, number: int, plan: Plan, mode: Mode) -> None:
        """Append a plan's states, edges, conditions and predicates."""
        pattern = plan.pattern
        stream = key_streams(plan)
        places = self.layout.positions

        def column_of(name: str) -> int:
            return places[stream, name]

        def register_of(history: History) -> int:
            return plan.registers.index(history)

        key = tuple(column_of(name) for name in pattern.key)
        space = self.keyspaces.setdefault(key, len(self.keyspaces))
        base = len(self.conditions)
        always = history = 0
        for bit, one in enumerate(plan.predicates):
            self.conditions.append(self.condition(one, plan, column_of, register_of))
            if mode is not Mode.PAUSED:
                self.predicate(number, bit, one, column_of, register_of)
            always |= (1 << bit) if one.always else 0
            history |= (1 << bit) if one.history is not None else 0
        first_step = len(self.steps)
        updates = [self.step_updates(plan, place, column_of) for place in range(len(plan.steps))]
        self.steps.extend(step.name for step in plan.steps)
        first_state = len(self.states)
        for state in plan.states:
            self.state(state, first_state, first_step, updates, always, history, mode, base)
        start = plan.states[0]
        takes = [edge for edge in start.edges if edge.action is Action.TAKE]
        any_bits = 0
        starts_always = False
        for edge in takes:
            selective = edge.guard.must & ~always
            any_bits |= selective & -selective
            starts_always = starts_always or selective == 0
        if mode is not Mode.LIVE:
            any_bits, starts_always = 0, False
        if starts_always:
            self.always.append(number)
        nulls = sum(1 << place for place, need in enumerate(plan.registers) if need.aggregate != "count")
        row = [0] * c.PLAN_WIDTH
        row[c.P_START_LO], row[c.P_START_HI] = self.states[first_state][c.S_LO], self.states[first_state][c.S_HI]
        row[c.P_START_ANY], row[c.P_START_ALWAYS] = any_bits, int(starts_always)
        row[c.P_START_HIST] = self.states[first_state][c.S_HIST]
        row[c.P_ALWAYS] = always
        row[c.P_WITHIN] = pattern.within_us
        row[c.P_SKIP] = SKIPS.index(pattern.skip)
        row[c.P_SKIP_STEP] = self.skip_step(plan, first_step)
        row[c.P_ORDERED] = int(pattern.emit is Emit.ORDERED)
        row[c.P_CAP] = self.partials_max
        row[c.P_REGISTERS], row[c.P_REGISTER_NULLS] = len(plan.registers), nulls
        row[c.P_KEYSPACE], row[c.P_CONDITIONS] = space, base
        row[c.P_EDGES_MAX] = max(len(state.edges) for state in plan.states)
        row[c.P_DISTINCT], row[c.P_TIMEOUTS] = int(plan.distinct), int(pattern.timeouts)
        row[c.P_JUMPS] = int(self.jumps)
        row[c.P_STATES] = len(plan.states)
        self.plans.append(row)

    def skip_step(self, plan: Plan, first_step: int) -> int:
        """The number of the step that the after-match strategy names, -1 for none."""
        names = [step.name for step in plan.steps]
        return first_step + names.index(plan.pattern.skip_to) if plan.pattern.skip_to in names else -1

    def state(
        self,
        state: State,
        first: int,
        first_step: int,
        updates: list[tuple[int, int]],
        always: int,
        history: int,
        mode: Mode,
        base: int,
    ) -> None:
        """Append a state and its edges."""
        lo = len(self.edges)
        read = 0
        for edge in state.edges:
            read |= edge.guard.must | edge.guard.must_not
            span = updates[edge.step] if edge.action is Action.TAKE else (0, 0)
            target = edge.target + first if edge.target >= 0 else -1
            step = edge.step + first_step if edge.action is Action.TAKE else -1
            self.edges.append([edge.guard.must, edge.guard.must_not, int(edge.action), target, step, span[0], span[1]])
        number = len(self.states) - first
        concerned = mode is not Mode.PAUSED and is_concerned_by_all(state.edges, number, always, history)
        self.scan = self.scan or (concerned and number > 0)
        reads = read & history
        bound = base + reads.bit_length() - 1 if reads.bit_count() == 1 else -1
        if bound >= 0 and not has_bound(self.conditions[bound]):
            bound = -1
        self.states.append([lo, len(self.edges), read & ~always, int(concerned), reads, int(state.pending), bound])

    def step_updates(self, plan: Plan, place: int, column_of: Callable[[str], int]) -> tuple[int, int]:
        """Append what taking an event of a step does to the registers; answers the range."""
        lo = len(self.updates)
        for register, need in enumerate(plan.registers):
            if need.step == plan.steps[place].name:
                column = column_of(need.field) if need.field is not None else -1
                is_float = need.of is not None and need.of.kind is Kind.FLOAT64
                self.updates.append([update_op(need), register, column, int(is_float)])
        return lo, len(self.updates)

    def condition(
        self, one: Predicate, plan: Plan, column_of: Callable[[str], int], register_of: Callable[[History], int]
    ) -> list[int]:
        """The row of a condition that reads earlier events; all zeros for others."""
        row = [0] * c.CONDITION_WIDTH
        if one.history is None:
            return row
        row[c.C_LO], row[c.C_HI] = self.programs.add(one.history, column_of, register_of)
        fast = fast_form(one.history)
        row[c.C_FIELD] = -1
        if fast is not None:
            field, op, history, factor = fast
            row[c.C_FIELD], row[c.C_OP] = column_of(field.name), OPERATORS[op]
            row[c.C_FLOAT] = int(field.type == FLOAT64)
            row[c.C_COUNT] = -1
            if history.aggregate == "avg":
                count, total = average_of(history, plan.registers)
                row[c.C_REGISTER], row[c.C_COUNT] = total, count
            else:
                row[c.C_REGISTER] = register_of(history)
            row[c.C_FACTOR] = int(np.float64(factor).view(np.int64))
        return row

    def predicate(
        self,
        plan: int,
        bit: int,
        one: Predicate,
        column_of: Callable[[str], int],
        register_of: Callable[[History], int],
    ) -> None:
        """Append the event part of a condition, unless every event satisfies it."""
        if one.always:
            return
        lo = hi = -1
        if one.rest is not None:
            lo, hi = self.programs.add(one.rest, column_of, register_of)
        number = len(self.predicates)
        self.predicates.append([plan, 1 << bit, lo, hi])
        if one.search is None:
            self.dense.append(number)
        else:
            self.searches.append((number, one, self.layout.columns[column_of(one.search.field)].stream))

    # -- the index ------------------------------------------------------------------------------------------------

    def index(self) -> tuple[I64, I64, I64, I64, I64, I32]:
        """Searches of all plans by column: ranges, bounds, codes, their values, lists, entries."""
        by_column: dict[tuple[int, str], list[tuple[int, Predicate]]] = {}
        for number, one, stream in self.searches:
            assert one.search is not None
            column = self.layout.positions[stream, one.search.field]
            by_column.setdefault((column, one.search.kind), []).append((number, one))
        ranges: list[list[int]] = []
        codes: list[list[int]] = []
        bounds: list[int] = []
        values: list[int] = []
        lists: list[list[int]] = []
        for (column, kind), found in by_column.items():
            first = len(lists)
            if kind == "range":
                is_float = self.layout.columns[column].type.kind is Kind.FLOAT64
                edges, members = intervals(found, is_float)
                lo = len(bounds)
                bounds.extend(bits_of(edge, is_float) for edge in edges)
                idle = idle_interval(edges, members, is_float)
                ranges.append([column, int(is_float), lo, len(bounds), first, *idle])
                lists.extend(members)
            else:
                by_value: dict[int, list[int]] = {}
                for number, one in found:
                    assert one.search is not None
                    wanted = [*one.search.ints, *(self.code_of(text) for text in one.search.texts)]
                    for value in wanted:
                        by_value.setdefault(value, []).append(number)
                lo = len(values)
                values.extend(sorted(by_value))
                codes.append([column, 0, lo, len(values), first])
                lists.extend(by_value[value] for value in sorted(by_value))
        starts = np.zeros(len(lists) + 1, np.int64)
        starts[1:] = np.cumsum([len(members) for members in lists])
        entries = np.array([number for members in lists for number in members], np.int32)
        return (
            matrix(ranges, 7),
            np.array(bounds, np.int64),
            matrix(codes, 5),
            np.array(values, np.int64),
            starts,
            entries,
        )


def matrix(rows: list[list[int]], width: int) -> I64:
    """Rows as an int64 matrix, also when there are none."""
    return np.array(rows, np.int64).reshape(len(rows), width)


def bits_of(value: float, is_float: bool) -> int:
    """A bound as it is stored in an int64 array."""
    return int(np.float64(value).view(np.int64)) if is_float else int(value)


def beyond(value: float, is_float: bool) -> float:
    """The next larger stored value."""
    return float(np.nextafter(value, np.inf)) if is_float else value + 1


def intervals(found: list[tuple[int, Predicate]], is_float: bool) -> tuple[list[float], list[list[int]]]:
    """Distinct bounds, and for each interval between them the predicates that hold there.

    Interval k is [bounds[k - 1], bounds[k]); the first one begins at the smallest value, the last never ends.
    """
    largest = np.inf if is_float else np.iinfo(np.int64).max
    smallest = -np.inf if is_float else np.iinfo(np.int64).min
    edges: set[float] = set()
    for _, one in found:
        assert one.search is not None
        if one.search.low > one.search.high:
            continue
        if one.search.low > smallest:
            edges.add(one.search.low)
        if one.search.high < largest:
            edges.add(beyond(one.search.high, is_float))
    bounds = sorted(edges)
    members: list[list[int]] = [[] for _ in range(len(bounds) + 1)]
    for number, one in found:
        assert one.search is not None
        if one.search.low > one.search.high:
            continue
        lo = int(np.searchsorted(np.array(bounds, object), one.search.low, "right")) if bounds else 0
        lo = lo if one.search.low > smallest else 0
        hi = len(bounds)
        if one.search.high < largest:
            hi = bounds.index(beyond(one.search.high, is_float))
        for place in range(lo, hi + 1):
            members[place].append(number)
    return bounds, members


def idle_interval(bounds: list[float], members: list[list[int]], is_float: bool) -> tuple[int, int]:
    """The widest interval between two bounds in which nothing holds; an empty one if there is none."""
    widest: tuple[float, float] = (0, 0)
    for place in range(1, len(bounds)):
        if not members[place] and bounds[place] - bounds[place - 1] > widest[1] - widest[0]:
            widest = (bounds[place - 1], bounds[place])
    return bits_of(widest[0], is_float), bits_of(widest[1], is_float)


def is_concerned_by_all(edges: Sequence[Edge], number: int, always: int, history: int) -> bool:
    """Can an event for which no searched bit is set do more than leave a partial of this state where it is?"""
    for edge in edges:
        if (edge.guard.must | edge.guard.must_not) & always & history:
            return True
    fired = [edge for edge in edges if edge.guard.must & ~always == 0 and edge.guard.must_not & always == 0]
    return not (len(fired) == 1 and fired[0].action is Action.IGNORE and fired[0].target == number)


def has_bound(condition: list[int]) -> bool:
    """Can a chain keep the bound beyond which a field must be for this condition? (One float64 comparison.)"""
    ordered = (r.OP_LT, r.OP_LE, r.OP_GT, r.OP_GE)
    return condition[c.C_FIELD] >= 0 and condition[c.C_FLOAT] == 1 and condition[c.C_OP] in ordered


def update_op(need: History) -> int:
    """The register update of a primitive aggregate."""
    is_float = need.type.kind is Kind.FLOAT64
    if need.aggregate == "sum":
        return c.UPDATE_SUM_FLOAT if is_float else c.UPDATE_SUM_INT
    if need.aggregate == "min":
        return c.UPDATE_MIN_FLOAT if is_float else c.UPDATE_MIN_INT
    if need.aggregate == "max":
        return c.UPDATE_MAX_FLOAT if is_float else c.UPDATE_MAX_INT
    return {"count": c.UPDATE_COUNT, "first": c.UPDATE_FIRST, "last": c.UPDATE_LAST}[need.aggregate]


def average_of(history: History, registers: Sequence[History]) -> tuple[int, int]:
    """The registers (count, sum) of an average."""
    count = total = -1
    for place, need in enumerate(registers):
        if need.step == history.step and need.field == history.field:
            count = place if need.aggregate == "count" else count
            total = place if need.aggregate == "sum" else total
    assert min(count, total) >= 0, "an average without its registers"
    return count, total


def fast_form(expression: Expression) -> tuple[Field, str, History, float] | None:
    """`field OP history` or `field OP constant * history`, either way round, of one type; None for anything else.

    With a factor or an average both sides must be float64, so that the arithmetic is the program's own.
    """
    if not isinstance(expression, Binary) or expression.op not in OPERATORS:
        return None
    left, right, op = expression.left, expression.right, expression.op
    if not isinstance(left, Field):
        left, right, op = right, left, MIRRORED[op]
    if not isinstance(left, Field):
        return None
    factor: float = 1.0
    if isinstance(right, Binary) and right.op == "*":
        one, other = right.left, right.right
        if isinstance(other, Constant):
            one, other = other, one
        if not isinstance(one, Constant) or not isinstance(other, History) or one.value is None:
            return None
        if left.type != FLOAT64 or other.type != FLOAT64:
            return None
        factor, right = float(one.value), other
    if not isinstance(right, History) or right.type != left.type:
        return None
    if right.aggregate == "avg" and left.type != FLOAT64:
        return None
    return left, op, right, factor
