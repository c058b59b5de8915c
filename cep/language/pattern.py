"""The syntax tree of a pattern: what a document, the builder and SQL all become.

Every operator is a field of `Step` or `Group`; nothing here knows automata.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from enum import StrEnum

from events.expression import Expression


class Contiguity(StrEnum):
    """How a step is reached from the one before."""

    NEXT = "next"
    FOLLOWED_BY = "followed_by"
    FOLLOWED_BY_ANY = "followed_by_any"
    NOT_NEXT = "not_next"
    NOT_FOLLOWED_BY = "not_followed_by"

    @property
    def negated(self) -> bool:
        """Is it an absence?"""
        return self in (Contiguity.NOT_NEXT, Contiguity.NOT_FOLLOWED_BY)


class Inner(StrEnum):
    """How the elements of a loop follow one another."""

    RELAXED = "relaxed"
    CONSECUTIVE = "consecutive"
    COMBINATIONS = "combinations"


class Skip(StrEnum):
    """The after-match strategy: what a match removes."""

    NO_SKIP = "no_skip"
    TO_NEXT = "to_next"
    PAST_LAST_EVENT = "past_last_event"
    TO_FIRST = "to_first"
    TO_LAST = "to_last"


class Emit(StrEnum):
    """When a match becomes an alert: at once, or once no earlier start is open."""

    EAGER = "eager"
    ORDERED = "ordered"


@dataclass(frozen=True, slots=True)
class Times:
    """At least, at most (None: no bound). `Times(1, 1)` is a single element."""

    at_least: int = 1
    at_most: int | None = 1

    @property
    def single(self) -> bool:
        """Is it no loop at all?"""
        return self.at_least == 1 and self.at_most == 1


@dataclass(frozen=True, slots=True)
class Step:
    """One step. `where` is None when every event will do; alternatives are already joined by OR.

    source: the document's text of the condition, for messages and `explain`
    gap_us: the longest time since the event taken before, 0 for none
    """

    name: str
    contiguity: Contiguity = Contiguity.FOLLOWED_BY
    where: Expression | None = None
    times: Times = Times()
    inner: Inner = Inner.RELAXED
    greedy: bool = False
    optional: bool = False
    until: Expression | None = None
    gap_us: int = 0
    stream: str = ""
    source: str = ""


@dataclass(frozen=True, slots=True)
class Group:
    """Steps that share a quantifier. The first of them is reached as the group is: its contiguity has no meaning.

    any_of: 0 where the steps come in their order; else so many of them come, in any order (a `permute`), each reached
            from the one before it as `inner` says; their own contiguity has no meaning
    """

    steps: tuple[Step | Group, ...]
    contiguity: Contiguity = Contiguity.FOLLOWED_BY
    times: Times = Times()
    inner: Inner = Inner.RELAXED
    greedy: bool = False
    optional: bool = False
    until: Expression | None = None
    gap_us: int = 0
    any_of: int = 0

    @property
    def word(self) -> str:
        """The key under which a document has its steps."""
        return "permute" if self.any_of else "group"


@dataclass(frozen=True, slots=True)
class AlertText:
    """What an alert of the pattern says: severity and the template of its sentence."""

    severity: str = "medium"
    message: str = ""


@dataclass(frozen=True, slots=True)
class Measure:
    """A named value of a match, which its alert carries.

    value:  over the events of the steps; a bare field is one of the key
    source: the document's text
    """

    name: str
    value: Expression
    source: str


@dataclass(frozen=True, slots=True)
class Pattern:
    """One version of a pattern. The first step's contiguity has no meaning (a start is never bound to the past).

    within_us: window of the whole match, exclusive at its end; 0 for none
    skip_to:   the step of Skip.TO_FIRST / TO_LAST, else empty
    timeouts:  do timed-out partials become alerts of kind `timeout`?
    """

    name: str
    steps: tuple[Step | Group, ...]
    streams: tuple[str, ...]
    key: tuple[str, ...]
    within_us: int = 0
    skip: Skip = Skip.NO_SKIP
    skip_to: str = ""
    emit: Emit = Emit.EAGER
    timeouts: bool = False
    description: str = ""
    version: int = 1
    alert: AlertText = field(default_factory=AlertText)
    measures: tuple[Measure, ...] = ()


def opened(items: tuple[Step | Group, ...], at_end: bool = True) -> tuple[Step | Group, ...]:
    """The items, where a group that is taken just once and ends in `not_followed_by` is no more than its steps.

    Nothing may come between such a group and what follows it; at the end of a pattern (at_end) it stays a group.
    A member of a `permute` stays what it is, and is reached as `next`: what may come between members is for the whole.
    """
    result: list[Step | Group] = []
    for place, item in enumerate(items):
        if isinstance(item, Step) or not item.steps:
            result.append(item)
            continue
        if item.any_of:
            members = (opened((member,))[0] for member in item.steps)
            result.append(replace(item, steps=tuple(replace(member, contiguity=Contiguity.NEXT) for member in members)))
            continue
        last = at_end and place == len(items) - 1
        inside = opened(item.steps, last and item.times.single)
        once = item.times.single and not item.optional
        if not last and once and inside[-1].contiguity is Contiguity.NOT_FOLLOWED_BY:
            result += [replace(inside[0], contiguity=item.contiguity), *inside[1:]]
        else:
            result.append(replace(item, steps=inside))
    return tuple(result)


def flatten(steps: tuple[Step | Group, ...]) -> list[Step]:
    """All steps, groups opened, in order."""
    return [step for item in steps for step in (flatten(item.steps) if isinstance(item, Group) else [item])]


def first_steps(item: Step | Group) -> list[Step]:
    """The steps of which one takes the item's first event, where none of them may be left out."""
    if isinstance(item, Step):
        return [item]
    heads = item.steps if item.any_of else item.steps[:1]
    return [step for head in heads for step in first_steps(head)]
