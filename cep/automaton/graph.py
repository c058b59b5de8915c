"""The automaton while it is being built: guards, edges, states.

    guard   a conjunction over condition bits: every bit of `must` is 1, every bit of `must_not` is 0
    edge    (guard, action, target); the target of KILL has no meaning
    state   edges in order; the order decides which of two equal matches comes first

Actions on an event for which the guard holds:

    TAKE      the event is bound to the state's step, the partial goes on in the target
    IGNORE    the partial goes on in the target without the event
    KILL      the partial ends; KILL beats every other edge of the state but a match that the same event completes
    PROCEED   the target's edges count as the state's own (removed by `passes.without_proceed`)

A partial for which no edge holds ends.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from enum import IntEnum

FINAL = -1
"""The target of an edge that completes the match."""

NO_STEP = -1
"""The step of a state that takes nothing."""


class Action(IntEnum):
    """What an edge does; the values stand in the plan's tables."""

    TAKE = 0
    IGNORE = 1
    KILL = 2
    PROCEED = 3


@dataclass(frozen=True, slots=True)
class Guard:
    """A conjunction of condition bits."""

    must: int = 0
    must_not: int = 0

    def __and__(self, other: Guard) -> Guard:
        return Guard(self.must | other.must, self.must_not | other.must_not)

    @property
    def possible(self) -> bool:
        """Can it hold at all?

        >>> (Guard(must=1) & Guard(must_not=1)).possible
        False
        """
        return self.must & self.must_not == 0

    def negated(self) -> list[Guard]:
        """Its negation as guards of which exactly one holds.

        >>> Guard(must=0b01, must_not=0b10).negated()
        [Guard(must=0, must_not=1), Guard(must=3, must_not=0)]
        """
        parts, before = [], Guard()
        for place in range((self.must | self.must_not).bit_length()):
            bit = 1 << place
            if self.must & bit:
                parts.append(before & Guard(must_not=bit))
                before = before & Guard(must=bit)
            elif self.must_not & bit:
                parts.append(before & Guard(must=bit))
                before = before & Guard(must_not=bit)
        return parts


ALWAYS = Guard()

NEVER = Guard(must=1, must_not=1)
"""A guard that holds for no event."""


def both(left: Iterable[Guard], right: Iterable[Guard]) -> list[Guard]:
    """The conjunction of two disjunctions, impossible parts left out."""
    others = list(right)
    return [joined for one in left for other in others if (joined := one & other).possible]


def kept(guards: list[Guard]) -> list[Guard]:
    """The guards of an edge that stays, as one that is never followed, where none of them is possible.

    What an edge says of gaps then does not depend on who sees that it is never followed: here that is only seen of one
    condition and its own negation.
    """
    return guards or [NEVER]


@dataclass(frozen=True, slots=True)
class Edge:
    """One edge.

    name:  the negated step's name on a KILL edge
    step:  the step a TAKE edge binds the event to; set when PROCEED edges are removed, until then the state's own
    gap_us: a TAKE edge is there only for less than that time after the event taken last, 0 for always
    """

    guard: Guard
    action: Action
    target: int = FINAL
    name: str = ""
    step: int = NO_STEP
    gap_us: int = 0


@dataclass(frozen=True, slots=True)
class State:
    """A state that waits for events of `step` (index into the pattern's flat list of steps).

    pending:  a match once the window (or gap) ends: the state of a trailing absence
    gap_us:   the partial ends when that much time has passed since the event it took last; 0 for none. (Operators set
              it for an absence at the end only; the others follow from the edges.)
    """

    step: int = NO_STEP
    edges: tuple[Edge, ...] = ()
    pending: bool = False
    gap_us: int = 0
    label: str = ""


@dataclass(slots=True)
class Graph:
    """States by number. Operators only ever add states, or tie a loop they have just opened."""

    states: list[State] = field(default_factory=list)

    def add(self, state: State) -> int:
        """A new state's number."""
        self.states.append(state)
        return len(self.states) - 1

    def append(self, number: int, *edges: Edge) -> None:
        """Further edges of a state that its operator still holds open."""
        state = self.states[number]
        self.states[number] = replace(state, edges=state.edges + edges)

    def copy(self, number: int, edges: Iterable[Edge]) -> int:
        """A copy with other edges; edges back to the original lead back to the copy."""
        place = len(self.states)
        turned = tuple(replace(edge, target=place) if edge.target == number else edge for edge in edges)
        return self.add(replace(self.states[number], edges=turned))
