"""A pattern's items where they stand, and what rules ask of them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from cep.language.pattern import Group, Step, flatten
from events.expression import History, references

Item = Step | Group


@dataclass(frozen=True, slots=True)
class Place:
    """An item where it stands.

    path:    `steps[1].group[0]`
    before:  the item before it in its sequence, None for the first and for a member of a `permute`
    after:   the item that comes next in its sequence, None for the last and for a member of a `permute`
    around:  the groups it stands in, outermost first
    """

    path: str
    item: Item
    before: Item | None
    after: Item | None
    around: tuple[Group, ...]

    @property
    def is_member(self) -> bool:
        """Does it stand in a `permute`, with no fixed neighbours?"""
        return bool(self.around) and self.around[-1].any_of > 0


def places(steps: tuple[Item, ...], path: str = "steps", around: tuple[Group, ...] = ()) -> Iterator[Place]:
    """Every step and group in order, a group before its members."""
    in_order = not around or not around[-1].any_of
    for index, item in enumerate(steps):
        here = f"{path}[{index}]"
        before = steps[index - 1] if index and in_order else None
        after = steps[index + 1] if index + 1 < len(steps) and in_order else None
        yield Place(here, item, before, after, around)
        if isinstance(item, Group):
            yield from places(item.steps, f"{here}.{item.word}", (*around, item))


def last_of(found: list[Place]) -> Place | None:
    """The last item of the pattern itself."""
    last = [place for place in found if not place.around and place.after is None]
    return last[0] if last else None


def called(item: Item) -> str:
    """How a message names an item."""
    if isinstance(item, Group):
        return f"the {item.word} of " + ", ".join(f"`{step.name}`" for step in flatten((item,)))
    return f"`{item.name}`"


def loops(item: Item) -> bool:
    """Does it take more than one element?"""
    return not item.times.single


def unbounded(item: Item) -> bool:
    """Is it a loop without an upper bound?"""
    return item.times.at_most is None


def nullable(item: Item) -> bool:
    """Can it be passed without taking an event?"""
    if item.optional or item.contiguity.negated:
        return True
    return isinstance(item, Group) and all(nullable(inner) for inner in item.steps)


def histories(place: Place) -> Iterator[tuple[str, History]]:
    """What the item's conditions read of other events, in a stable order."""
    where = place.item.where if isinstance(place.item, Step) else None
    for path, expression in ((f"{place.path}.where", where), (f"{place.path}.until", place.item.until)):
        found = references(expression) if expression is not None else set()
        first_of_step = {history.step: history for history in found}
        yield from ((path, first_of_step[step]) for step in sorted(first_of_step))
