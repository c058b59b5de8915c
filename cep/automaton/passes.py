"""Rewrites from the graph the operators build to the one the kernels run: an ordered tuple of pure functions.

Each takes and answers an `Automaton`; `PASSES` is their order.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

from cep.automaton.graph import ALWAYS, FINAL, NO_STEP, Action, Edge, Guard, State, both


@dataclass(frozen=True, slots=True)
class Automaton:
    """States by number, and the one in which every partial is born."""

    states: tuple[State, ...]
    start: int = 0


def disjoint(guards: Iterable[Guard]) -> list[Guard]:
    """Guards that hold for the same events, never two at once.

    >>> disjoint([Guard(1), Guard(2)])
    [Guard(must=1, must_not=0), Guard(must=2, must_not=1)]
    """
    parts: list[Guard] = []
    free = [ALWAYS]
    for guard in guards:
        parts.extend(both(free, [guard]))
        free = both(free, guard.negated())
    return parts


def ways_to_final(automaton: Automaton, target: int) -> list[Guard]:
    """When nothing more has to be taken behind `target`: guards of which at most one holds."""
    found: list[Guard] = []
    waiting = [(ALWAYS, target)]
    seen: set[tuple[Guard, int]] = set()
    while waiting:
        guard, number = waiting.pop()
        if (guard, number) in seen:
            continue
        seen.add((guard, number))
        for edge in automaton.states[number].edges:
            joined = guard & edge.guard
            if edge.action is Action.PROCEED and joined.possible:
                if edge.target == FINAL:
                    found.append(joined)
                else:
                    waiting.append((joined, edge.target))
    return disjoint(found)


def reached(automaton: Automaton, number: int) -> list[Edge]:
    """A state's edges and those it reaches by PROCEED, in the order in which matches are preferred."""
    found: list[Edge] = []
    waiting = [(ALWAYS, number)]
    while waiting:
        guard, place = waiting.pop()
        state = automaton.states[place]
        for edge in state.edges:
            joined = guard & edge.guard
            if not joined.possible:
                continue
            if edge.action is not Action.PROCEED:
                found.append(replace(edge, guard=joined, step=state.step if edge.action is Action.TAKE else NO_STEP))
            elif edge.target != FINAL:
                waiting.append((joined, edge.target))
    return found


def ways_on(automaton: Automaton, number: int, seen: frozenset[int] = frozenset()) -> list[int]:
    """The gaps of all that a partial of a state could still take, and of an end that only time brings."""
    state = automaton.states[number]
    gaps = [state.gap_us] if state.pending else []
    for edge in state.edges:
        if edge.action is Action.TAKE:
            gaps.append(edge.gap_us)
        elif edge.action is Action.PROCEED and edge.target != FINAL and edge.target not in seen:
            gaps += ways_on(automaton, edge.target, seen | {number})
    return gaps


def ended_by_gaps(automaton: Automaton) -> Automaton:
    """A partial ends when the last of its ways on has lost its gap.

    >>> a = State(step=0, edges=(Edge(Guard(1), Action.TAKE, gap_us=5), Edge(Guard(2), Action.TAKE, gap_us=9)))
    >>> ended_by_gaps(Automaton((a,))).states[0].gap_us
    9
    """
    ends = [ways_on(automaton, number) for number in range(len(automaton.states))]
    return replace(
        automaton,
        states=tuple(
            replace(state, gap_us=max(gaps) if gaps and all(gaps) else 0)
            for state, gaps in zip(automaton.states, ends, strict=True)
        ),
    )


def without_proceed(automaton: Automaton) -> Automaton:
    """Every state has all the edges it reaches by PROCEED; a take that may end the match has an edge to FINAL.

    >>> b = State(step=1, edges=(Edge(Guard(2), Action.TAKE, FINAL),))
    >>> a = State(step=0, edges=(Edge(Guard(1), Action.TAKE, 1), Edge(ALWAYS, Action.PROCEED, 1)))
    >>> for edge in without_proceed(Automaton((a, b))).states[0].edges:
    ...     print(edge.action.name, edge.guard.must, edge.target, edge.step)
    TAKE 1 1 0
    TAKE 2 -1 1
    """
    states = []
    for number, state in enumerate(automaton.states):
        edges: list[Edge] = []
        for edge in reached(automaton, number):
            edges.append(edge)
            if edge.action is Action.TAKE and edge.target != FINAL:
                ends = both([edge.guard], ways_to_final(automaton, edge.target))
                edges.extend(replace(edge, guard=guard, target=FINAL) for guard in ends)
        states.append(replace(state, edges=tuple(edges)))
    return replace(automaton, states=tuple(states))


def start_takes_only(automaton: Automaton) -> Automaton:
    """The start is always there: an event it does not take leaves it as it is.

    >>> start = State(step=0, edges=(Edge(Guard(1), Action.TAKE), Edge(ALWAYS, Action.IGNORE, 0)))
    >>> [edge.action.name for edge in start_takes_only(Automaton((start,))).states[1].edges]
    ['TAKE']
    """
    states = list(automaton.states)
    start = states[automaton.start]
    takes = tuple(edge for edge in states[automaton.start].edges if edge.action is not Action.IGNORE)
    states.append(replace(start, edges=takes, label="start"))
    return Automaton(tuple(states), len(states) - 1)


def reachable_only(automaton: Automaton) -> Automaton:
    """States that a partial can be in, numbered from the start at 0 in order of discovery.

    >>> lost = State(edges=())
    >>> start = State(step=0, edges=(Edge(Guard(1), Action.TAKE, FINAL, step=0),))
    >>> len(reachable_only(Automaton((lost, start), 1)).states)
    1
    """
    numbers = {automaton.start: 0}
    order = [automaton.start]
    for number in order:
        for edge in automaton.states[number].edges:
            if edge.action is not Action.KILL and edge.target != FINAL and edge.target not in numbers:
                numbers[edge.target] = len(order)
                order.append(edge.target)
    states = tuple(
        replace(
            automaton.states[number],
            edges=tuple(
                replace(edge, target=numbers.get(edge.target, FINAL)) for edge in automaton.states[number].edges
            ),
        )
        for number in order
    )
    return Automaton(states, 0)


PASSES: tuple[Callable[[Automaton], Automaton], ...] = (
    ended_by_gaps,
    without_proceed,
    start_takes_only,
    reachable_only,
)


def rewritten(automaton: Automaton) -> Automaton:
    """All passes, in order."""
    for rewrite in PASSES:
        automaton = rewrite(automaton)
    return automaton
