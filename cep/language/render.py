"""A pattern as a sentence.

3 or more `probe` (greedy), followed by `cashout`, within 10 minutes, per card_id
"""

from __future__ import annotations

from cep.language.pattern import Contiguity, Emit, Group, Inner, Pattern, Skip, Step
from cep.language.wording import span
from events import expression

REACHED = {
    Contiguity.NEXT: "directly followed by",
    Contiguity.FOLLOWED_BY: "followed by",
    Contiguity.FOLLOWED_BY_ANY: "followed by any",
    Contiguity.NOT_NEXT: "not directly followed by",
    Contiguity.NOT_FOLLOWED_BY: "not followed by",
}

INSIDE = {Inner.CONSECUTIVE: "in a row", Inner.COMBINATIONS: "in any combination"}

AFTER_MATCH = {
    Skip.TO_NEXT: "a match removes the other partials with its start",
    Skip.PAST_LAST_EVENT: "a match removes the partials that began before it ended",
    Skip.TO_FIRST: "a match removes the partials that began before its first `{}`",
    Skip.TO_LAST: "a match removes the partials that began before its last `{}`",
}


def render(pattern: Pattern) -> str:
    """What the pattern looks for, in one paragraph."""
    sentence = sequence(pattern.steps)
    if pattern.within_us:
        sentence += f", within {span(pattern.within_us)}"
    if pattern.key:
        sentence += f", per {enumeration(pattern.key)}"
    parts = [sentence]
    if pattern.skip in AFTER_MATCH:
        parts.append(AFTER_MATCH[pattern.skip].format(pattern.skip_to))
    if pattern.emit is Emit.ORDERED:
        parts.append("alerts come in the order of their starts")
    if pattern.timeouts:
        parts.append("partials that time out are alerts too")
    return "; ".join(parts)


def enumeration(names: tuple[str, ...]) -> str:
    """
    >>> enumeration(("a",)), enumeration(("a", "b", "c"))
    ('a', 'a, b and c')
    """
    return " and ".join(part for part in (", ".join(names[:-1]), names[-1]) if part)


def sequence(items: tuple[Step | Group, ...]) -> str:
    """Items one after the other."""
    return ", ".join(f"{REACHED[item.contiguity]} {described(item)}" if place else described(item)
                     for place, item in enumerate(items))  # fmt: skip


def members(group: Group) -> str:
    """The steps of a group, or so many of them in any order."""
    if not group.any_of:
        return sequence(group.steps)
    names = enumeration(tuple(described(member) for member in group.steps))
    if group.any_of == len(group.steps):
        return f"{names}, in any order"
    return f"one of: {names}" if group.any_of == 1 else f"any {group.any_of} of: {names}, in any order"


def described(item: Step | Group) -> str:
    """One item: how many of what, and its options."""
    what = f"({members(item)})" if isinstance(item, Group) else f"`{item.name}`"
    words = " ".join(part for part in ("optionally" if item.optional else "", amount(item), what) if part)
    options = [
        f"of {item.stream}" if isinstance(item, Step) and item.stream else "",
        INSIDE.get(item.inner, ""),
        "greedy" if item.greedy else "",
        f"until {expression.render(item.until)}" if item.until is not None else "",
        gap(item),
    ]
    given = ", ".join(option for option in options if option)
    return f"{words} ({given})" if given else words


def amount(item: Step | Group) -> str:
    """How many, empty for one."""
    times, unit = item.times, " times" if isinstance(item, Group) else ""
    if times.single:
        return ""
    if times.at_most is None:
        return f"{times.at_least} or more{unit}"
    if times.at_most == times.at_least:
        return f"{times.at_least}{unit}"
    return f"{times.at_least} to {times.at_most}{unit}"


def gap(item: Step | Group) -> str:
    """The longest time since the event before."""
    if not item.gap_us:
        return ""
    if item.contiguity.negated:
        return f"for {span(item.gap_us)}"
    if not item.times.single:
        return f"each at most {span(item.gap_us)} after the one before"
    return f"at most {span(item.gap_us)} after the event before"
