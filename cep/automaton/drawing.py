"""A plan's automaton as a Mermaid flow chart, which GitHub and others render in a page.

    a solid arrow     the event is taken, for the step it names
    a dotted arrow    the event is passed over
    an arrow to ✕     the partial ends: the step it names must not occur
    a double circle   a state that is a match when its window ends
    no arrow          for such an event: the partial ends (at the start: nothing begins)

States have the numbers that `plan.explain` gives them; a condition is called after the step that it is of.
"""

from __future__ import annotations

from collections.abc import Iterator

from cep.automaton.graph import FINAL, Action, Edge, Guard
from cep.automaton.plan import Condition, Plan
from cep.language.pattern import Group, Pattern, Step
from events.duration import duration_text

ARROWS = {Action.TAKE: "-->", Action.IGNORE: "-.->", Action.KILL: "--x"}


def draw(plan: Plan) -> str:
    """The chart. Equal plans have equal charts."""
    names = [condition_name(condition, plan.pattern) for condition in plan.conditions]
    lines = ["flowchart LR", *(f"    {node}" for node in nodes(plan))]
    for number, state in enumerate(plan.states):
        labels: dict[tuple[Action, str], list[str]] = {}
        for edge in state.edges:
            label = edge_label(edge, names, plan)
            known = labels.setdefault((edge.action, goal(edge)), [])
            if label not in known:
                known.append(label)
        for (action, target), some in labels.items():
            lines.append(f'    s{number} {ARROWS[action]}|"{" or ".join(some)}"| {target}')
    return "\n".join(lines)


def nodes(plan: Plan) -> Iterator[str]:
    """The start, the states by number, the ends that some edge leads to."""
    yield 's0(["start"])'
    for number, state in enumerate(plan.states[1:], 1):
        yield f's{number}((("{number}")))' if state.pending else f's{number}(("{number}"))'
    goals = {goal(edge) for state in plan.states for edge in state.edges}
    if "match" in goals:
        yield 'match(["match"])'
    if "ended" in goals:
        yield 'ended(["✕"])'


def goal(edge: Edge) -> str:
    """The node that an edge leads to."""
    if edge.action is Action.KILL:
        return "ended"
    return "match" if edge.target == FINAL else f"s{edge.target}"


def edge_label(edge: Edge, names: list[str], plan: Plan) -> str:
    """For which events: of a TAKE or KILL the step, and what else must hold or not."""
    if edge.action is Action.IGNORE:
        return guard_label(edge.guard, names) or "any event"
    killed = [step for step in plan.steps if edge.action is Action.KILL and step.name == edge.name]
    step = killed[0] if killed else plan.steps[edge.step]
    rest = guard_label(without(edge.guard, own_bit(step, plan)), names)
    soon = f"within {duration_text(edge.gap_us)}" if edge.gap_us else ""
    more = ", ".join(text for text in (rest, soon) if text)
    return f"{step.name} ({more})" if more else step.name


def guard_label(guard: Guard, names: list[str]) -> str:
    """A conjunction by the names of its conditions.

    >>> guard_label(Guard(must=0b01, must_not=0b10), ["probe", "cashout"])
    'probe and not cashout'
    """
    return " and ".join(
        name if guard.must >> bit & 1 else f"not {name}"
        for bit, name in enumerate(names)
        if (guard.must | guard.must_not) >> bit & 1
    )


def without(guard: Guard, bits: int) -> Guard:
    """The guard without what `bits` say."""
    return Guard(guard.must & ~bits, guard.must_not)


def own_bit(step: Step, plan: Plan) -> int:
    """The bit of a step's own condition, 0 if it takes every event."""
    own = Condition(step.where, step.stream if len(plan.pattern.streams) > 1 else "")
    return 1 << plan.conditions.index(own) if own in plan.conditions else 0


def condition_name(condition: Condition, pattern: Pattern) -> str:
    """The first step that asks for it, or the loop that it ends."""
    several = len(pattern.streams) > 1
    ends = ""
    for item in every_item(pattern.steps):
        stream = item.stream if several and isinstance(item, Step) else ""
        if isinstance(item, Step) and Condition(item.where, stream) == condition:
            return item.name
        if item.until is not None and Condition(item.until, stream) == condition:
            ends = ends or (f"until of {item.name}" if isinstance(item, Step) else "until of the group")
    return ends


def every_item(items: tuple[Step | Group, ...]) -> Iterator[Step | Group]:
    """Steps and groups, and what is in the groups."""
    for item in items:
        yield item
        if isinstance(item, Group):
            yield from every_item(item.steps)
