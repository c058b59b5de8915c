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


SPLIT_BITS_MAX = 8
"""A state whose edges read more condition bits than this is left as it is by `unsplit`."""

Outcome = tuple[Action, int, int]


def outcomes(state: State, bits: int) -> list[Outcome]:
    """What becomes of a partial in a state on an event with these condition bits: (action, target, step), sorted."""
    fired = [edge for edge in state.edges if edge.guard.must & ~bits == 0 and edge.guard.must_not & bits == 0]
    killed = any(edge.action is Action.KILL for edge in fired)
    return sorted(
        (edge.action, edge.target, edge.step)
        for edge in fired
        if edge.action is not Action.KILL and (not killed or edge.target == FINAL)
    )


def is_sum(state: State, parts: list[State]) -> bool:
    """Does a partial in `state` become, on every event, what a partial in each of `parts` together would become?

    An event on which two of them would complete the match is a no: the order of equal matches would be another one.
    """
    edges = [edge for one in (state, *parts) for edge in one.edges]
    if any(one.pending or one.gap_us for one in (state, *parts)) or any(edge.gap_us for edge in edges):
        return False
    read = 0
    for edge in edges:
        read |= edge.guard.must | edge.guard.must_not
    if read.bit_count() > SPLIT_BITS_MAX:
        return False
    bits = read
    while True:  # every subset of `read`
        whole = outcomes(state, bits)
        if whole != sorted(one for part in parts for one in outcomes(part, bits)):
            return False
        if sum(target == FINAL for _, target, _ in whole) > 1:
            return False
        if bits == 0:
            return True
        bits = (bits - 1) & read


def unsplit(automaton: Automaton) -> Automaton:
    """A state that an event would split into states which together do what it does stays whole.

    A loop that may end or go on is split by any event that neither its body nor the next step takes: one partial then
    waits for the one, one for the other. As a single partial it costs half, and such an event does not concern it. (Not
    where timed-out partials are an output: there both count.)

    >>> more = Edge(Guard(1), Action.TAKE, 0, step=0)
    >>> on = Edge(Guard(2, 1), Action.TAKE, FINAL, step=1)
    >>> wait = State(edges=(more, Edge(Guard(0, 1), Action.IGNORE, 1)))
    >>> await_next = State(edges=(on, Edge(Guard(0, 3), Action.IGNORE, 2)))
    >>> loop = State(edges=(more, Edge(Guard(0, 1), Action.IGNORE, 1), on, Edge(Guard(0, 3), Action.IGNORE, 2)))
    >>> for edge in unsplit(Automaton((loop, wait, await_next))).states[0].edges:
    ...     print(edge.action.name, edge.guard, edge.target)
    TAKE Guard(must=1, must_not=0) 0
    IGNORE Guard(must=2, must_not=1) 1
    TAKE Guard(must=2, must_not=1) -1
    IGNORE Guard(must=0, must_not=3) 0
    """
    states = list(automaton.states)
    for number, state in enumerate(automaton.states):
        ignores = [edge for edge in state.edges if edge.action is Action.IGNORE]
        all_of_them = ALWAYS
        for edge in ignores:
            all_of_them = all_of_them & edge.guard
        if len(ignores) < 2 or not all_of_them.possible:
            continue
        if not is_sum(state, [automaton.states[edge.target] for edge in ignores]):
            continue
        edges: list[Edge] = []
        for edge in state.edges:
            if edge.action is not Action.IGNORE:
                edges.append(edge)
            else:
                others = both([edge.guard], all_of_them.negated())
                edges.extend(replace(edge, guard=guard) for guard in others)
        edges.append(Edge(all_of_them, Action.IGNORE, number))
        states[number] = replace(state, edges=tuple(edges))
    return replace(automaton, states=tuple(states))


def rewritten(automaton: Automaton, split: bool) -> Automaton:
    """All passes, in order; split: every path has a partial of its own (see `unsplit`)."""
    for rewrite in PASSES:
        if rewrite is not unsplit or not split:
            automaton = rewrite(automaton)
    return automaton


PASSES: tuple[Callable[[Automaton], Automaton], ...] = (
    ended_by_gaps,
    without_proceed,
    start_takes_only,
    unsplit,
    reachable_only,
)
