"""Plan: a pattern compiled, the columns it reads, and its explanation.

pattern ─constructions─▶ graph with PROCEED ─passes─▶ states and edges over bits ─▶ Plan ─matcher.tables─▶ arrays
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from cep.automaton.constructions import construct
from cep.automaton.graph import ALWAYS, FINAL, Action, Guard, State
from cep.automaton.passes import Automaton, rewritten
from cep.automaton.predicates import Predicate, predicate
from cep.language.pattern import Group, Pattern, Step, flatten, opened
from events.columns import Column, Layout
from events.errors import LimitReached
from events.expression import Expression, History, fields_of, references, render
from events.program import required_registers
from events.schema import Stream

CONDITIONS_MAX = 62
"""Distinct conditions of one pattern: they share one word of bits."""
STATES_MAX = 4096
"""States of one plan."""
EDGES_PER_STATE_MAX = 256
"""Edges of one state."""
REGISTERS_MAX = 32
"""Registers of one partial: two masks of them share one int64."""


@dataclass(frozen=True, slots=True)
class Condition:
    """What a bit means: an expression (None: every event of the stream)."""

    where: Expression | None
    stream: str

    def __str__(self) -> str:
        text = render(self.where) if self.where is not None else "any event"
        return f"{self.stream}: {text}" if self.stream else text


@dataclass(frozen=True, slots=True)
class Plan:
    """A pattern's compiled form: pure data, equal for equal patterns.

    steps:       all steps, groups opened; an edge's `step` is a position here
    conditions:  bit to meaning; predicates[bit] is how it is evaluated
    states:      states[0] is the start
    registers:   what each partial keeps of earlier events
    distinct:    equal matches are possible and become one
    """

    pattern: Pattern
    steps: tuple[Step, ...]
    conditions: tuple[Condition, ...]
    predicates: tuple[Predicate, ...]
    states: tuple[State, ...]
    registers: tuple[History, ...]
    distinct: bool
    fingerprint: str


def has_loop_over_group(pattern: Pattern) -> bool:
    """Can one event complete the same match along two paths? Only a repeated group does that."""

    def loops(items: tuple[Step | Group, ...]) -> bool:
        return any(isinstance(item, Group) and (not item.times.single or loops(item.steps)) for item in items)

    return loops(pattern.steps)


def compile_pattern(pattern: Pattern) -> Plan:
    """Compile a checked pattern.

    Raises LimitReached where the automaton grows beyond STATES_MAX, EDGES_PER_STATE_MAX, CONDITIONS_MAX or
    REGISTERS_MAX.
    """
    items = opened(pattern.steps)
    steps = flatten(items)
    conditions: list[Condition] = []
    several = len(pattern.streams) > 1

    def bits(where: Expression | None, stream: str) -> Guard:
        condition = Condition(where, stream if several else "")
        if condition == Condition(None, ""):
            return ALWAYS
        if condition not in conditions:
            conditions.append(condition)
        return Guard(must=1 << conditions.index(condition))

    graph, start = construct(items, bits, steps)
    automaton = rewritten(Automaton(tuple(graph.states), start), split=pattern.timeouts)
    registers: list[History] = []
    for condition in conditions:
        if condition.where is not None:
            registers.extend(need for need in required_registers(condition.where) if need not in registers)
    within_limits(pattern, automaton, len(conditions), len(registers))
    return Plan(
        pattern=pattern,
        steps=tuple(steps),
        conditions=tuple(conditions),
        predicates=tuple(predicate(condition.where, condition.stream) for condition in conditions),
        states=automaton.states,
        registers=tuple(registers),
        distinct=has_loop_over_group(pattern),
        fingerprint=hashlib.sha256(repr(pattern).encode()).hexdigest()[:16],
    )


def layout_of(streams: Sequence[Stream], plans: Sequence[Plan], enriched: Collection[tuple[str, str]] = ()) -> Layout:
    """The columns that keys and conditions of the plans read, in the order of the streams' declarations.

    enriched: (stream, field) of what else there must be: what enrichments read and fill
    """
    needed = set(enriched)
    for plan in plans:
        first = plan.pattern.streams[0]
        stream_of = {step.name: step.stream or first for step in plan.steps}
        needed.update((stream, name) for stream in plan.pattern.streams for name in plan.pattern.key)
        for condition in plan.conditions:
            if condition.where is not None:
                stream = condition.stream or first
                needed.update((stream, name) for name in fields_of(condition.where))
                needed.update((stream_of[past.step], past.field) for past in references(condition.where) if past.field)
    columns = [
        Column(stream.name, found.name, found.type)
        for stream in streams
        for found in (*stream.fields, *stream.derived)
        if (stream.name, found.name) in needed
    ]
    return Layout(tuple(stream.name for stream in streams), tuple(columns))


def within_limits(pattern: Pattern, automaton: Automaton, conditions: int, registers: int) -> None:
    """Raise LimitReached for an automaton that is too large."""
    edges = max((len(state.edges) for state in automaton.states), default=0)
    for what, found, limit in (
        ("conditions", conditions, CONDITIONS_MAX),
        ("states", len(automaton.states), STATES_MAX),
        ("edges of one state", edges, EDGES_PER_STATE_MAX),
        ("registers", registers, REGISTERS_MAX),
    ):
        if found > limit:
            raise LimitReached(
                f"pattern {pattern.name}: its automaton has {found} {what}, at most {limit} are allowed",
                "split the pattern, or bound its loops and optional steps more tightly",
            )


def explain(plan: Plan) -> str:
    """The automaton as text: conditions with how they are found, then every state with its edges."""
    lines = [f"pattern {plan.pattern.name} version {plan.pattern.version}  plan {plan.fingerprint}", "conditions"]
    for place, condition in enumerate(plan.conditions):
        lines.append(f"  [{place}] {condition}")
        lines.append(f"      {found_by(plan.predicates[place])}")
    lines.append("states")
    for number, state in enumerate(plan.states):
        name = "start" if number == 0 else f"{number}"
        waits = f" awaits {state.label}" if number and state.label else ""
        lines.append(f"  ({name}){waits}{', a match when the window ends' if state.pending else ''}")
        for edge in state.edges:
            goal = "MATCH" if edge.target == FINAL else f"({edge.target})"
            what = f" {plan.steps[edge.step].name}" if edge.action is Action.TAKE else ""
            arrow = f"{edge.action.name.lower()}{what}"
            lines.append(f"      {guard_text(edge.guard):<28} {arrow:<20} {'' if edge.action is Action.KILL else goal}")
    return "\n".join(lines)


def found_by(what: Predicate) -> str:
    """Which kind a condition became."""
    parts = []
    if what.search is not None:
        values = f"{what.search.low} .. {what.search.high}" if what.search.kind == "range" else "equality"
        parts.append(f"search {what.search.field} ({values})")
    if what.rest is not None:
        parts.append(f"then {render(what.rest)}")
    if what.history is not None:
        parts.append(f"per partial {render(what.history)}")
    return ", ".join(parts) or "every event"


def guard_text(guard: Guard) -> str:
    """A guard as text.

    >>> guard_text(Guard(must=0b01, must_not=0b10))
    '[0] and not [1]'
    """
    bits = (guard.must | guard.must_not).bit_length()
    parts = [
        f"[{place}]" if guard.must >> place & 1 else f"not [{place}]"
        for place in range(bits)
        if (guard.must | guard.must_not) >> place & 1
    ]
    return " and ".join(parts) or "always"
