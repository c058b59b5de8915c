"""The closed list of classes in which we differ from Flink on purpose (design/semantics.md, Decisions).

A class is decided by the shape of the pattern alone. Its answer:

    duplicate             Flink's, equal as sets: a loop over a group finds some matches twice
    gap                   the reference's: the time from one taken event to the next, where Flink watches wrong states
    not-next-at-end       the reference's: a match when the window closes and nothing came, where Flink times out
    accepted-by-mistake   the reference's: a not_followed_by that ends a group is honoured where the group is taken
                          once, else rejected; greedy with combinations is rejected (as Flink does in one order)
    nullable-loop         rejected: Flink does not end
"""

from __future__ import annotations

from cep.language.pattern import Contiguity, Group, Inner, Pattern, Skip, Step
from tests.reference import Item, items_of, loops_over_group
from tests.refusal import may_be_absent, may_be_empty

DUPLICATE = "duplicate"
GAP = "gap"
NOT_NEXT_AT_END = "not-next-at-end"
ACCEPTED_BY_MISTAKE = "accepted-by-mistake"
NULLABLE_LOOP = "nullable-loop"

CLASSES = (NULLABLE_LOOP, ACCEPTED_BY_MISTAKE, GAP, NOT_NEXT_AT_END, DUPLICATE)


def difference_class(pattern: Pattern) -> str | None:
    """The class of a pattern, None where we answer as Flink does. The first of `CLASSES` that applies."""
    groups = [item for item in items_of(pattern.steps) if isinstance(item, Group)]
    if any(group.times.at_most is None and all(map(may_be_empty, group.steps)) for group in groups):
        return NULLABLE_LOOP
    if greedy_combinations(pattern) or forgets_negation(pattern.steps, at_end=windowed(pattern)):
        return ACCEPTED_BY_MISTAKE
    if misplaced_gap(pattern.steps, awaited_alone=False):
        return GAP
    if windowed(pattern) and ends_in_not_next(pattern.steps):
        return NOT_NEXT_AT_END
    if loops_over_group(pattern):
        return DUPLICATE
    return None


def windowed(pattern: Pattern) -> bool:
    """Does time close the pattern's last step?"""
    return pattern.within_us > 0 or last_step(pattern.steps).gap_us > 0


def last_step(items: tuple[Item, ...]) -> Step:
    """The step at the very end."""
    last = items[-1]
    return last_step(last.steps) if isinstance(last, Group) else last


def greedy_combinations(pattern: Pattern) -> bool:
    """Is a loop greedy and open for combinations?"""
    return any(item.greedy and item.inner is Inner.COMBINATIONS for item in items_of(pattern.steps))


def forgets_negation(items: tuple[Item, ...], at_end: bool) -> bool:
    """Does a group end in a not_followed_by that Flink does not check? at_end: do `items` end a windowed pattern?"""
    for item in items:
        if isinstance(item, Group):
            checked = at_end and item is items[-1] and item.times.single
            if item.steps[-1].contiguity is Contiguity.NOT_FOLLOWED_BY and not checked:
                return True
            if forgets_negation(item.steps, checked):
                return True
    return False


def ends_in_not_next(items: tuple[Item, ...]) -> bool:
    """Is the last step a not_next, in no group or in one that is taken a fixed number of times?"""
    last = items[-1]
    if isinstance(last, Group):
        return last.times.at_most is not None and ends_in_not_next(last.steps)
    return last.contiguity is Contiguity.NOT_NEXT


def misplaced_gap(items: tuple[Item, ...], awaited_alone: bool) -> bool:
    """Is there a gap on anything but a single step that is the only one a run may be waiting for?

    awaited_alone: may the run that reaches `items` be waiting for nothing but their first step?
    """
    for item in items:
        if item.gap_us and not (isinstance(item, Step) and plain(item) and awaited_alone):
            return True
        if isinstance(item, Group):
            fixed = item.times.at_least == item.times.at_most and not may_be_absent(item)
            again = item.times.single or ends_exactly(item.steps, False)
            if misplaced_gap(item.steps, awaited_alone and fixed and again):
                return True
        awaited_alone = ends_exactly((item,), awaited_alone)
    return False


def plain(step: Step) -> bool:
    """One element, not optional; of the absences only not_followed_by."""
    return step.times.single and not step.optional and step.contiguity is not Contiguity.NOT_NEXT


def ends_exactly(items: tuple[Item, ...], before: bool) -> bool:
    """Once `items` are complete, does a run wait for what comes behind them and for nothing else?"""
    last = items[-1]
    if last.contiguity is Contiguity.NOT_FOLLOWED_BY:
        return ends_exactly(items[:-1], before) if len(items) > 1 else before
    fixed = last.times.at_least == last.times.at_most and not may_be_absent(last)
    inside = ends_exactly(last.steps, False) if isinstance(last, Group) else not last.contiguity.negated
    return fixed and inside


def may_tie(pattern: Pattern) -> bool:
    """Can a skip strategy have to choose between matches with the same start event?

    Not where every run has one way on: fixed numbers of events, next and followed_by only. Elsewhere Flink's choice is
    the order of its heaps (`tests.reference.Ties`).
    """
    return pattern.skip is not Skip.NO_SKIP and any(map(branches, items_of(pattern.steps)))


def branches(item: Item) -> bool:
    """May a run have more than one way on here?"""
    fixed = item.times.at_least == item.times.at_most and not may_be_absent(item)
    any_inside = item.inner is Inner.COMBINATIONS
    return not fixed or any_inside or item.contiguity is Contiguity.FOLLOWED_BY_ANY
