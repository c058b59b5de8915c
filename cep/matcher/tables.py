"""Plans laid end to end as the arrays that the kernels read. Rebuilt at a batch boundary when plans change."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from functools import lru_cache

import numpy as np

from cep.automaton.graph import FINAL, Action, Edge, State
from cep.automaton.plan import Plan
from cep.automaton.predicates import Predicate
from cep.language.pattern import Emit, Skip
from cep.matcher import records as c
from cep.matcher import registers as r
from cep.matcher.keys import K_COLUMNS, K_DIRECT
from cep.matcher.records import Records
from cep.matcher.touch import PREDICATE_WIDTH, R_BIT, R_LO, R_PLAN
from cep.matcher.trail import FIELDS, FIELDS_MAX, NO_FIELD, PLACES, STRICT_MAX
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
    """What the kernels know of the plans (fields: `records`, `touch`, `keys`)."""

    plans: Records
    states: Records
    edges: Records
    conditions: Records
    updates: Records
    keyspaces: I64
    streams: int
    """Streams of the layout: rows of each key space."""
    widest: int
    """Rows of the largest partial."""
    ops: I16
    args: I64
    predicates: I64
    ranges: I64
    bounds: I64
    codes: I64
    code_values: I64
    lists: I64
    members: Records
    dense: I32
    always: I32
    scan: bool
    """Can any plan have partials that every event concerns?"""
    crowds: bool
    """Is there one plan only, a strict sequence, and its key one code?"""


@dataclass(frozen=True, slots=True)
class Trail:
    """What the trails of a strict sequence keep.

    length:   events of the sequence
    columns:  the fields of a place
    recalled: of each register: the state whose event it was taken from, and the field of its place
    """

    length: int
    columns: list[int]
    recalled: list[tuple[int, int]]

    @property
    def blocks(self) -> int:
        """Rows of a trail."""
        return -(-(PLACES + (self.length - 1) * (FIELDS + len(self.columns))) // c.BLOCK)


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


SpaceKey = tuple[tuple[str, tuple[str, ...]], ...]
"""A key space: the streams it is about, each with the fields of its key."""


def build(
    plans: Sequence[Plan | None],
    layout: Layout,
    code_of: Callable[[str], int],
    modes: Sequence[Mode],
    spaces: dict[SpaceKey, int],
    jumps: bool = False,
    partials_max: int = c.PARTIALS_PER_KEY_MAX,
) -> Tables:
    """Lay plans end to end; None is a place whose plan was retired.

    layout:  the columns of the batches to come; every field a plan reads must be there
    code_of: string constants to codes
    spaces:  the numbers of key spaces, which slots refer to; new ones are added
    jumps:   see `expire`
    partials_max: partials that one pattern may have open for one key
    """
    return _Laying(layout, code_of, spaces, jumps, partials_max).all(plans, modes)


class _Laying:
    """The state of one `build`."""

    def __init__(
        self,
        layout: Layout,
        code_of: Callable[[str], int],
        spaces: dict[SpaceKey, int],
        jumps: bool,
        partials_max: int,
    ) -> None:
        self.layout = layout
        self.partials_max = partials_max
        self.jumps = jumps
        self.programs = Programs(code_of)
        self.code_of = code_of
        self.spaces = spaces
        self.plans: list[dict[str, int]] = []
        self.states: list[dict[str, int]] = []
        self.edges: list[dict[str, int]] = []
        self.conditions: list[dict[str, float]] = []
        self.updates: list[dict[str, int]] = []
        self.predicates: list[list[int]] = []
        self.searches: list[tuple[int, Predicate, str]] = []
        self.dense: list[int] = []
        self.always: list[int] = []
        self.scan = False

    def all(self, plans: Sequence[Plan | None], modes: Sequence[Mode]) -> Tables:
        """Every plan, then the searches over all of them."""
        for number, (plan, mode) in enumerate(zip(plans, modes, strict=True)):
            if plan is None:
                self.plans.append({})
            else:
                self.plan(number, plan, mode)
        ranges, bounds, codes, values, lists, members = self.index()
        keyspaces = self.keyspaces()
        ops = np.concatenate(self.programs.ops) if self.programs.ops else np.empty(0, np.int16)
        args = np.concatenate(self.programs.args) if self.programs.args else np.empty(0, np.int64)
        return Tables(
            plans=records(self.plans, c.PLAN),
            states=records(self.states, c.STATE),
            edges=records(self.edges, c.EDGE),
            conditions=records(self.conditions, c.CONDITION),
            updates=records(self.updates, c.UPDATE),
            keyspaces=keyspaces,
            streams=max(len(self.layout.streams), 1),
            widest=max([one.get("blocks", 1) for one in self.plans], default=1),
            ops=ops.astype(np.int16),
            args=args.astype(np.int64),
            predicates=matrix(self.predicates, PREDICATE_WIDTH),
            ranges=ranges,
            bounds=bounds,
            codes=codes,
            code_values=values,
            lists=lists,
            members=members,
            dense=np.array(self.dense, np.int32),
            always=np.array(self.always, np.int32),
            scan=self.scan,
            crowds=self.crowds(keyspaces),
        )

    def crowds(self, keyspaces: I64) -> bool:
        """See `Tables`."""
        alone = len(self.plans) == len(self.spaces) == len(self.layout.streams) == 1
        return alone and self.plans[0].get("strict", 0) > 0 and bool(keyspaces[0, K_DIRECT] != 0)

    def keyspaces(self) -> I64:
        """Each key space's columns in each stream; zeros where this layout doesn't have them (see `keys`)."""
        streams = self.layout.streams
        rows = np.zeros((len(self.spaces) * max(len(streams), 1), K_COLUMNS + c.KEY_FIELDS_MAX), np.int64)
        for key, space in self.spaces.items():
            for stream, names in key:
                columns = [self.layout.positions.get((stream, name)) for name in names]
                if stream not in streams or None in columns:
                    continue
                direct = len(names) == 1 and self.layout.columns[columns[0] or 0].type.kind is Kind.STRING
                found = [column or 0 for column in columns]
                rows[space * len(streams) + streams.index(stream), : K_COLUMNS + len(names)] = [
                    len(names), int(direct), *found
                ]  # fmt: skip
        return rows

    # -- one plan -------------------------------------------------------------------------------------------------

    def plan(self, number: int, plan: Plan, mode: Mode) -> None:
        """Append a plan's states, edges, conditions and predicates."""
        pattern = plan.pattern
        key = tuple((stream, pattern.key) for stream in pattern.streams)
        space = self.spaces.setdefault(key, len(self.spaces))
        base = len(self.conditions)
        trail = self.trail(plan)
        always, history = c.ANY, 0
        for bit, one in enumerate(plan.predicates):
            self.conditions.append(self.condition(one, plan, trail))
            if mode is not Mode.PAUSED:
                self.predicate(number, bit, one, plan)
            always |= (1 << bit) if one.always else 0
            history |= (1 << bit) if one.history is not None else 0
        bound = self.bound_of(plan, history, base) if trail is None else -1
        updates = [self.step_updates(plan, place, trail) for place in range(len(plan.steps))]
        first_state = len(self.states)
        gaps = any(edge.gap_us for state in plan.states for edge in state.edges) or any(
            state.gap_us for state in plan.states
        )
        for place, state in enumerate(plan.states):
            tabled = not gaps and (place > 0 or not any(edge.target == 0 for one in plan.states for edge in one.edges))
            self.state(place, state, updates, always, history, mode, bound, tabled)
        quiet = not (gaps or pattern.timeouts or any(state.pending for state in plan.states))
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
        names = [step.name for step in plan.steps]
        registers = len(plan.registers)
        self.plans.append(
            {
                "start_any": any_bits,
                "start_always": int(starts_always),
                "start_history": self.states[first_state]["history"],
                "always": always,
                "bound": base + bound if bound >= 0 else 0,
                "bound_bit": 1 << bound if bound >= 0 else 0,
                "registers": registers,
                "registers_null": sum(1 << at for at, need in enumerate(plan.registers) if need.aggregate != "count"),
                "gaps": int(gaps),
                "blocks": -(-(c.MASKS + 1 + registers) // c.BLOCK),
                "within": pattern.within_us,
                "states": first_state,
                "conditions": base,
                "skip": SKIPS.index(pattern.skip),
                "skip_step": names.index(pattern.skip_to) if pattern.skip_to in names else int(c.NIL),
                "ordered": int(pattern.emit is Emit.ORDERED),
                "cap": self.partials_max,
                "keyspace": space,
                "edges_max": max(len(state.edges) for state in plan.states),
                "distinct": int(plan.distinct),
                "waits": int(plan.distinct and any(map(may_wait, plan.states))),
                "timeouts": int(pattern.timeouts),
                "jumps": int(self.jumps),
                "ring": int(c.NIL),
                "paused": int(mode is Mode.PAUSED),
                "quiet": int(trail is None and quiet and pattern.within_us > 0 and pattern.emit is not Emit.ORDERED),
                **(self.on_trails(plan, trail) if trail is not None else {}),
            }
        )

    def on_trails(self, plan: Plan, trail: Trail) -> dict[str, int]:
        """The fields of a plan that is matched on trails; appends what they keep and recall."""
        kept = len(self.updates)
        self.updates.extend({"column": column} for column in trail.columns)
        recalled = len(self.updates)
        for register, (need, (state, field)) in enumerate(zip(plan.registers, trail.recalled, strict=True)):
            self.updates.append({**update_of(need, register), "state": state, "field": field})
        return {
            "strict": trail.length,
            "fields": len(trail.columns),
            "kept": kept,
            "recalled": recalled,
            "keeps": kept_by_a_match(plan, trail.length),
            "lasts": plan.pattern.within_us or c.ANY,
            "blocks": trail.blocks,
            "edges_max": trail.length,
        }

    def trail(self, plan: Plan) -> Trail | None:
        """What trails keep of a strict sequence (see `trail`), None for any other plan.

        Each of its states has one edge only, which takes the event and leads to the next one; nothing comes of the end
        of a window but that the partial is gone; and earlier steps that a condition reads are of one event each.
        """
        states = plan.states
        if not 2 <= len(states) <= min(STRICT_MAX, self.partials_max) or plan.pattern.timeouts:
            return None
        earlier = sum(1 << bit for bit, one in enumerate(plan.predicates) if one.history is not None)
        for place, state in enumerate(states):
            after = place + 1 if place + 1 < len(states) else FINAL
            edges = [(edge.action, edge.target, edge.gap_us) for edge in state.edges]
            if edges != [(Action.TAKE, after, 0)] or state.pending or state.gap_us:
                return None
        guard = states[0].edges[0].guard
        if (guard.must | guard.must_not) & earlier:
            return None
        streams = plan.pattern.streams
        columns: list[int] = []
        recalled: list[tuple[int, int]] = []
        for need in plan.registers:
            places = [place for place, state in enumerate(states) if plan.steps[state.step].name == need.step]
            if len(places) != 1:
                return None
            field = NO_FIELD
            if need.field is not None:
                stream = plan.steps[states[places[0]].step].stream if len(streams) > 1 else streams[0]
                column = self.layout.positions[stream, need.field]
                columns.extend([] if column in columns else [column])
                field = columns.index(column)
            recalled.append((places[0], field))
        trail = Trail(len(states), columns, recalled)
        return trail if trail.blocks <= c.BLOCKS_MAX and len(columns) <= FIELDS_MAX else None

    def column_of(self, stream: str) -> Callable[[str], int]:
        """A field of a stream to its column."""
        return lambda name: self.layout.positions[stream, name]

    def bound_of(self, plan: Plan, history: int, base: int) -> int:
        """The condition that cells have a bound for: the one that alone reads earlier events, if it can; or -1."""
        reads = 0
        for state in plan.states[1:]:
            for edge in state.edges:
                reads |= (edge.guard.must | edge.guard.must_not) & history
        if reads.bit_count() != 1 or not has_bound(self.conditions[base + reads.bit_length() - 1]):
            return -1
        return reads.bit_length() - 1

    def state(
        self,
        place: int,
        state: State,
        updates: list[tuple[int, int]],
        always: int,
        history: int,
        mode: Mode,
        bound: int,
        tabled: bool,
    ) -> None:
        """Append a state and its edges. tabled: may what its edges come to be looked up?"""
        lo = len(self.edges)
        read = 0
        for edge in state.edges:
            read |= edge.guard.must | edge.guard.must_not
            takes = edge.action is Action.TAKE
            span = updates[edge.step] if takes else (0, 0)
            self.edges.append(
                {
                    "must": edge.guard.must,
                    "must_not": edge.guard.must_not,
                    "gap": edge.gap_us,
                    "action": int(edge.action),
                    "target": edge.target if edge.target >= 0 else int(c.NIL),
                    "step": edge.step if takes else int(c.NIL),
                    "update_lo": span[0],
                    "update_hi": span[1],
                }
            )
        interest = read & (~always | history)
        if is_concerned_by_all(state.edges, place, always & ~history):
            interest |= c.ANY
        if mode is Mode.PAUSED:
            interest = 0
        self.scan = self.scan or (place > 0 and interest & always != 0)
        self.states.append(
            {
                "lo": lo,
                "hi": len(self.edges),
                "interest": interest,
                "history": read & history,
                "gap": state.gap_us,
                "gapped": int(any(edge.gap_us for edge in state.edges)),
                "pending": int(state.pending),
                "bounded": int(bound >= 0 and (read >> bound) & 1 != 0),
                **(outcomes_of(state.edges, place, always & ~history) if tabled else {}),
            }
        )

    def step_updates(self, plan: Plan, place: int, trail: Trail | None) -> tuple[int, int]:
        """Append what taking an event of a step does to the registers, nothing on a trail; answers the range."""
        lo = len(self.updates)
        if trail is not None:
            return lo, lo
        step = plan.steps[place]
        streams = plan.pattern.streams
        column_of = self.column_of(step.stream if len(streams) > 1 else streams[0])
        for register, need in enumerate(plan.registers):
            if need.step == step.name:
                column = column_of(need.field) if need.field is not None else int(c.NIL)
                update = update_of(need, register)
                if update["op"] == c.UPDATE_FIRST and step.times.single and not plan.distinct:
                    update["op"] = c.UPDATE_LAST  # the same for a step that takes one event, and cheaper
                self.updates.append({**update, "column": column})
        return lo, len(self.updates)

    def condition(self, one: Predicate, plan: Plan, trail: Trail | None) -> dict[str, float]:
        """The row of a condition that reads earlier events; all zeros for others."""
        if one.history is None:
            return {}
        column_of = self.column_of(one.stream or plan.pattern.streams[0])
        lo, hi = self.programs.add(one.history, column_of, plan.registers.index)
        fast = fast_form(one.history)
        if fast is None:
            return {"lo": lo, "hi": hi}
        field, op, history, factor = fast
        count = int(c.NIL)
        if history.aggregate == "avg":
            count, register = average_of(history, plan.registers)
        else:
            register = plan.registers.index(history)
        if trail is not None and history.aggregate == "count":
            return {"lo": lo, "hi": hi}
        state, kept = trail.recalled[register] if trail is not None else (0, 0)
        return {
            "lo": lo,
            "hi": hi,
            "fast": 1,
            "field": column_of(field.name),
            "op": OPERATORS[op],
            "real": int(field.type == FLOAT64),
            "register": register,
            "count": count,
            "factor": factor,
            "state": state,
            "kept": kept,
        }

    def predicate(self, plan: int, bit: int, one: Predicate, of: Plan) -> None:
        """Append the event part of a condition, unless every event satisfies it."""
        if one.always:
            return
        column_of = self.column_of(one.stream or of.pattern.streams[0])
        lo = hi = -1
        if one.rest is not None:
            lo, hi = self.programs.add(one.rest, column_of, lambda history: 0)
        number = len(self.predicates)
        stream = self.layout.streams.index(one.stream) if one.stream else -1
        self.predicates.append([plan, 1 << bit, lo, hi, stream])
        if one.search is None:
            self.dense.append(number)
        else:
            self.searches.append((number, one, self.layout.columns[column_of(one.search.field)].stream))

    # -- the index ------------------------------------------------------------------------------------------------

    def members_of(self, numbers: I64) -> Records:
        """Predicates as members of lists; there can be many, since an interval's list has all that hold there."""
        predicates = matrix(self.predicates, PREDICATE_WIDTH)[numbers]
        made = np.zeros(len(numbers), c.MEMBER)
        made["bit"], made["plan"] = predicates[:, R_BIT], predicates[:, R_PLAN]
        made["rest"] = np.where(predicates[:, R_LO] >= 0, numbers + 1, 0)
        return made

    def index(self) -> tuple[I64, I64, I64, I64, I64, Records]:
        """Searches of all plans by column: ranges, bounds, codes, their values, lists, members."""
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
        starts[1:] = np.cumsum([len(numbers) for numbers in lists])
        members = self.members_of(np.array([number for numbers in lists for number in numbers], np.int64))
        return (
            matrix(ranges, 7),
            np.array(bounds, np.int64),
            matrix(codes, 5),
            np.array(values, np.int64),
            starts,
            members,
        )


def matrix(rows: list[list[int]], width: int) -> I64:
    """Rows as an int64 matrix, also when there are none."""
    return np.array(rows, np.int64).reshape(len(rows), width)


def records(rows: Sequence[Mapping[str, float]], kind: np.dtype[np.void]) -> Records:
    """Rows as records; a field that a row doesn't name is 0."""
    made = np.zeros(len(rows), kind)
    for place, row in enumerate(rows):
        for name, value in row.items():
            made[place][name] = value
    return made


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
    """An interval in which nothing holds: the widest between two bounds, or else one without an end; or an empty one.

    >>> idle_interval([5, 500], [[0], [], [1]], False)
    (5, 500)
    >>> idle_interval([500], [[], [1]], False)
    (-9223372036854775808, 500)
    """
    smallest, largest = (-np.inf, np.inf) if is_float else (np.iinfo(np.int64).min, np.iinfo(np.int64).max)
    edges: list[float] = [smallest, *bounds, largest]
    free = [span for span, held in zip(itertools.pairwise(edges), members, strict=True) if not held]
    finite = [(low, high) for low, high in free if low > smallest and high < largest]
    low, high = max(finite, key=lambda span: span[1] - span[0], default=free[0] if free else (0, 0))
    return bits_of(low, is_float), bits_of(high, is_float)


def is_concerned_by_all(edges: Sequence[Edge], number: int, always: int) -> bool:
    """Can an event for which no bit but `always` is set do more than leave a partial of this state where it is?"""
    fired = [edge for edge in edges if edge.guard.must & ~always == 0 and edge.guard.must_not & always == 0]
    return not (len(fired) == 1 and fired[0].action is Action.IGNORE and fired[0].target == number)


@lru_cache(maxsize=4096)  # the patterns of a lane are of few shapes
def outcomes_of(edges: tuple[Edge, ...], number: int, always: int) -> dict[str, int]:
    """What the edges of a state come to by the values of the bits they read; `always`: those that every event has.

    >>> from cep.automaton.graph import Guard
    >>> wait, take = Edge(Guard(must_not=4), Action.IGNORE, target=1), Edge(Guard(must=4), Action.TAKE)
    >>> outcomes_of((wait, take), 1, 0)
    {'outcomes': 2817, 'first_bit': 2, 'second_bit': 63, 'third_bit': 63}
    """
    read = 0
    for edge in edges:
        read |= (edge.guard.must | edge.guard.must_not) & ~always
    bits = [place for place in range(read.bit_length()) if read >> place & 1]
    if len(bits) > 3:
        return {}
    found = 0
    for values in range(1 << len(bits)):
        seen = always
        for place, bit in enumerate(bits):
            seen |= (values >> place & 1) << bit
        fired = [
            (place, edge)
            for place, edge in enumerate(edges)
            if edge.guard.must & ~seen == 0 and edge.guard.must_not & seen == 0
        ]
        found |= outcome_of(fired, number) << 8 * values
    first, second, third = [*bits, 63, 63, 63][:3]
    found -= found >> 63 << 64  # as int64
    return {"outcomes": found, "first_bit": first, "second_bit": second, "third_bit": third}


def outcome_of(fired: Sequence[tuple[int, Edge]], number: int) -> int:
    """What edges that hold come to in the state of this number, as one byte (`records.OUTCOME_*`).

    The start state has no partials: what it ignores is nobody's.
    """
    killed = any(edge.action is Action.KILL for _, edge in fired)
    left = [
        (place, edge)
        for place, edge in fired
        if edge.action is not Action.KILL
        and not (killed and edge.target != FINAL)
        and not (number == 0 and edge.action is not Action.TAKE)
    ]
    if not left:
        return c.OUTCOME_ENDS
    place, edge = left[0]
    if len(left) > 1 or place >> 8 - c.OUTCOME_BITS:
        return c.OUTCOME_GENERAL
    if edge.action is Action.TAKE:
        return (c.OUTCOME_MATCHES if edge.target == FINAL else c.OUTCOME_TAKES) | place << c.OUTCOME_BITS
    return c.OUTCOME_STAYS if edge.target == number else c.OUTCOME_GENERAL


def kept_by_a_match(plan: Plan, strict: int) -> int:
    """The states of a strict sequence, as bits, whose partials stay when there is a match: those that began later than
    what its strategy removes.
    """
    skip = plan.pattern.skip
    if skip is Skip.PAST_LAST_EVENT:
        return 0
    first = 0
    if skip in (Skip.TO_FIRST, Skip.TO_LAST):
        places = [place for place, one in enumerate(plan.states) if plan.steps[one.step].name == plan.pattern.skip_to]
        first = places[0 if skip is Skip.TO_FIRST else -1] if places else 0
    return sum(1 << state for state in range(1, strict) if state <= strict - first)


def may_wait(state: State) -> bool:
    """May a partial in this state become a match by no further event of its own?"""
    return state.pending or any(edge.action is Action.IGNORE and edge.target == FINAL for edge in state.edges)


def has_bound(condition: Mapping[str, float]) -> bool:
    """Can a cell keep the bound beyond which a field must be for this condition? (One float64 comparison.)"""
    ordered = (r.OP_LT, r.OP_LE, r.OP_GT, r.OP_GE)
    return condition.get("fast") == 1 and condition["real"] == 1 and condition["op"] in ordered


def update_of(need: History, register: int) -> dict[str, int]:
    """The update of a register, but for where it reads."""
    is_float = need.of is not None and need.of.kind is Kind.FLOAT64
    return {"op": update_op(need), "register": register, "real": int(is_float)}


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

    With a factor or an average both sides must be float64, what is averaged too: the arithmetic is the program's own.
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
    if right.aggregate == "avg" and (left.type != FLOAT64 or right.of != FLOAT64):
        return None
    return left, op, right, factor
