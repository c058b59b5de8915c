"""What is no pattern: the rules of which patterns are refused, beside the reference that answers all others."""

from __future__ import annotations

from cep.language.pattern import Contiguity, Group, Inner, Pattern, Skip, Step, flatten
from tests.reference import Item, inlined, once


def reject_reason(pattern: Pattern) -> str | None:
    """Why the pattern is rejected, None if it is not: what Flink rejects, and what it accepts but can't honour.

    Ours alone: an unbounded loop over a group that may be empty (Flink never returns), and a not_followed_by that ends
    a repeated or optional group in mid-pattern (Flink forgets it).
    """
    reasons = [*sequence_problems(pattern.steps), *whole_problems(pattern)]
    if not reasons:
        reasons = unsound(inlined(pattern.steps), pattern, at_end=True)
    return reasons[0] if reasons else None


def sequence_problems(items: tuple[Item, ...]) -> list[str]:
    """What is wrong with the items of a sequence and their neighbours."""
    if not items:
        return ["a pattern or group needs at least one step"]
    found = ["a pattern or group can't begin with an absence"] if items[0].contiguity.negated else []
    for before, item in zip((None, *items), items, strict=False):
        found += negated_problems(item) if item.contiguity.negated else quantifier_problems(item)
        if before and item.contiguity.negated and may_be_absent(before):
            found.append("an absence can't follow an optional step or group")
        if before and item.optional and before.greedy:
            found.append("an optional step can't follow a greedy one")
        if isinstance(item, Group):
            found += sequence_problems(item.steps)
    return found


def may_be_absent(item: Item) -> bool:
    """Is it optional, one way or the other?"""
    return item.optional or item.times.at_least == 0


def negated_problems(item: Item) -> list[str]:
    """An absence has no quantifier and no group."""
    plain = isinstance(item, Step) and once(item) and not item.greedy and item.inner is Inner.RELAXED and not item.until
    return [] if plain else ["an absence takes no quantifier, option or group"]


def quantifier_problems(item: Item) -> list[str]:
    """What is wrong with times, greedy, inner contiguity and until."""
    least, most = item.times.at_least, item.times.at_most
    checks = (
        (least < 0 or most == 0 or (most is not None and most < least), "times needs 0 <= least <= most, most > 0"),
        (most is None and least == 0, "an unbounded loop takes at least one; make it optional instead"),
        (item.greedy and isinstance(item, Group), "a group can't be greedy"),
        (isinstance(item, Group) and item.any_of > 0, "Flink has no permute"),
        (item.greedy and item.times.single, "a single step can't be greedy"),
        (item.greedy and item.inner is Inner.COMBINATIONS, "greedy and combinations exclude each other"),
        (item.inner is not Inner.RELAXED and item.times.single, "only a loop has an inner contiguity"),
        (item.until is not None and most is not None, "only an unbounded loop has an until"),
        (item.optional and least == 0, "optional twice"),
    )
    return [reason for wrong, reason in checks if wrong]


def whole_problems(pattern: Pattern) -> list[str]:
    """What is wrong with names, windows and the skip target."""
    names = [step.name for step in flatten(pattern.steps)]
    targets = [item.name for item in pattern.steps if isinstance(item, Step)]
    last = pattern.steps[-1]
    singles = [step for step in flatten(pattern.steps) if step.times.single]
    gaps = [step.gap_us for step in singles if step is last or step.contiguity is not Contiguity.NOT_FOLLOWED_BY]
    checks = (
        (len(set(names)) < len(names), "two steps have one name"),
        (pattern.skip in (Skip.TO_FIRST, Skip.TO_LAST) and pattern.skip_to not in targets, "no such step to skip to"),
        (ends_unbounded(last, pattern), "a not_followed_by at the end needs a window"),
        (pattern.within_us > 0 and max(gaps, default=0) > pattern.within_us, "a gap can't be longer than the window"),
    )
    return [reason for wrong, reason in checks if wrong]


def ends_unbounded(last: Item, pattern: Pattern) -> bool:
    """Is it an absence for which no window ever closes?"""
    return last.contiguity is Contiguity.NOT_FOLLOWED_BY and not pattern.within_us and not last.gap_us


def unsound(items: tuple[Item, ...], pattern: Pattern, at_end: bool) -> list[str]:
    """What Flink accepts by mistake and we can't honour. at_end: do `items` end the pattern?"""
    found = []
    for item in items:
        if isinstance(item, Group):
            honoured = at_end and item is items[-1] and item.times.single
            if item.times.at_most is None and all(map(may_be_empty, item.steps)):
                found.append("an unbounded loop over a group that may be empty never ends")
            if item.steps[-1].contiguity is Contiguity.NOT_FOLLOWED_BY and not honoured:
                found.append("a not_followed_by at the end of a repeated or optional group is never checked")
            if honoured and ends_unbounded(item.steps[-1], pattern):
                found.append("a not_followed_by at the end needs a window")
            found += unsound(item.steps, pattern, honoured)
    return found


def may_be_empty(item: Item) -> bool:
    """Can it be passed without taking an event?"""
    if isinstance(item, Group) and all(map(may_be_empty, item.steps)):
        return True
    return item.contiguity.negated or may_be_absent(item)
