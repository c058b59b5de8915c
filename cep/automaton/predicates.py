"""Conditions as bits: what of a condition reads the event alone, and how it is found.

A condition is a conjunction. Its parts that read one event become a search (`Atom`: a range of one field, or a set of
values) and a rest; its parts that read earlier events of the match become a program over registers. All of them
together are one bit, which is set only where the whole condition is true.

    amount > 500 AND channel = 'web' AND amount > 50 * avg(probe.amount)
    ├─ search    channel in {'web'}                    once per event, shared by all patterns
    ├─ rest      amount > 500                          once per event that the search hits
    └─ history   amount > 50 * avg(probe.amount)       per partial, in the states that wait for it
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import reduce

from events.expression import Binary, Expression, History, conjuncts, references
from events.program import Atom, atom, merge
from events.types import BOOL


@dataclass(frozen=True, slots=True)
class Predicate:
    """One condition bit of a plan.

    stream:  the stream whose events it is about; empty when the pattern has one stream
    search:  a search that every event of it passes, None when no search can say
    rest:    what the event must satisfy besides, None for nothing
    history: what the partial must satisfy besides, None for nothing
    """

    stream: str
    search: Atom | None
    rest: Expression | None
    history: Expression | None

    @property
    def always(self) -> bool:
        """Does every event satisfy its event part?"""
        return self.search is None and self.rest is None and not self.stream


def joined(parts: list[Expression]) -> Expression | None:
    """The conjunction of the parts, None for none."""
    return reduce(lambda left, right: Binary("and", left, right, BOOL), parts) if parts else None


def predicate(where: Expression | None, stream: str) -> Predicate:
    """Split a condition.

    Searches over one field merge; of several fields the one with equalities, else the first, is the search and the
    others are left to the rest.
    """
    parts = conjuncts(where) if where is not None else []
    history = [part for part in parts if references(part)]
    own = [part for part in parts if not references(part)]
    searches: dict[str, Atom] = {}
    answered: dict[str, list[Expression]] = {}
    for part in own:
        found = atom(part)
        if found is None:
            continue
        both = merge(searches[found.field], found) if found.field in searches else found
        if both is not None:
            searches[found.field] = both
            answered.setdefault(found.field, []).append(part)
    best = min(searches.values(), key=lambda search: search.kind != "codes", default=None)
    done = answered[best.field] if best is not None else []
    rest = [part for part in own if not any(part is other for other in done)]
    return Predicate(stream, best, joined(rest), joined(history))


def aggregates(where: Expression | None) -> set[History]:
    """What a condition reads of earlier events."""
    return set(references(where)) if where is not None else set()
