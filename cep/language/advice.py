"""What is allowed in a pattern but may surprise its author: one function per surprise, for patterns without errors."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from cep.language.pattern import Contiguity, Emit, Group, Inner, Pattern, Skip, Step, flatten
from cep.language.places import Item, Place, called, histories, last_of, loops, unbounded
from cep.language.wording import span
from events.errors import Problem
from events.expression import Binary, Expression, Unary, references, walk

WAITING = (Contiguity.FOLLOWED_BY, Contiguity.FOLLOWED_BY_ANY)

Rule = Callable[[Pattern, list[Place]], Iterator[Problem]]


def greedy_loses(pattern: Pattern, found: list[Place]) -> Iterator[Problem]:
    """Greedy forbids the loop's events to the next step, also where the loop can't take them any more."""
    for place in found:
        item, after = place.item, place.after
        if not item.greedy or after is None:
            continue
        times = item.times
        if times.at_most is not None and times.at_most != times.at_least:
            yield Problem(
                f"{place.path}.greedy",
                f"after {times.at_most} of {called(item)} one more such event is neither taken nor lets"
                f" {called(after)} be taken: matches can be lost",
                "leave the upper bound or `greedy` away",
            )
        elif item.inner is Inner.CONSECUTIVE and unbounded(item) and after.contiguity in WAITING:
            yield Problem(
                f"{place.path}.greedy",
                f"once another event has ended the loop, a further {called(item)} can't be taken and is not passed"
                " over either: matches can be lost",
                "leave `consecutive` or `greedy` away",
            )


def alerts_wait(pattern: Pattern, found: list[Place]) -> Iterator[Problem]:
    """Patterns whose alerts can't come at once, and how late they are."""
    if pattern.emit is Emit.ORDERED and pattern.skip is not Skip.NO_SKIP:
        until_when = f"up to {span(pattern.within_us)}" if pattern.within_us else "maybe for ever, without `within`,"
        yield Problem(
            "emit",
            f"an alert waits until no partial with an earlier start is open: {until_when} later than its last event",
            "`emit: eager` alerts at once",
        )
    last = last_of(found)
    if last is None or not last.item.contiguity.negated:
        return
    path, name = f"{last.path}.contiguity", called(last.item)
    if last.item.contiguity is Contiguity.NOT_NEXT:
        end = f", at the latest {span(pattern.within_us)} after its first" if pattern.within_us else ""
        yield Problem(path, f"an alert waits for the key's next event, which shows that it is no {name}{end}")
        return
    if last.item.gap_us:
        end = f"{span(last.item.gap_us)} after the last event"
    else:
        end = f"{span(pattern.within_us)} after the first event"
    yield Problem(path, f"an alert comes only when {name} has stayed away: {end}")


def absence_is_cut_short(pattern: Pattern, found: list[Place]) -> Iterator[Problem]:
    """An optional last step lets a match end before the absence in front of it is over."""
    last = last_of(found)
    before = last.before if last else None
    if last and last.item.optional and before and before.contiguity is Contiguity.NOT_FOLLOWED_BY:
        yield Problem(
            last.path,
            f"without {called(last.item)} the match is complete at once, though {called(before)} may still follow",
            f"make {called(last.item)} a must, or leave it away",
        )


def gap_without_before(pattern: Pattern, found: list[Place]) -> Iterator[Problem]:
    """The first event has none before it."""
    first = found[0]
    if first.item.gap_us and not loops(first.item) and isinstance(first.item, Step):
        yield Problem(f"{first.path}.gap", f"{called(first.item)} is the first event, so its gap has no effect")


def loops_end(pattern: Pattern, found: list[Place]) -> Iterator[Problem]:
    """Without a window an open loop, or a step that waits for any event, keeps its partials for ever."""
    if pattern.within_us:
        return
    for place in found:
        item = place.item
        if unbounded(item) and item.until is None and not item.gap_us and not breaks_off(item):
            yield Problem(
                place.path,
                f"the loop over {called(item)} has no end: every partial that has reached it would live for ever",
                f"add `within` to the pattern, or an upper bound{'' if isinstance(item, Group) else ', `gap`'} or"
                " `until` to the loop",
            )
        if item.contiguity is Contiguity.FOLLOWED_BY_ANY and place.before is not None and not hurried(item):
            yield Problem(
                f"{place.path}.contiguity",
                f"every partial that waits for {called(item)} would live for ever: followed_by_any keeps waiting after"
                " each match",
                "add `within` to the pattern, or use followed_by",
            )
        if isinstance(item, Group) and item.any_of > 1 and item.inner is Inner.COMBINATIONS:
            yield Problem(
                f"{place.path}.combinations",
                f"every partial that waits for the others of {called(item)} would live for ever: in any combination it"
                " keeps waiting after each match",
                "add `within` to the pattern, or leave `combinations` away",
            )


def breaks_off(item: Item) -> bool:
    """Is it a loop that the first event ends which it does not take?"""
    return isinstance(item, Step) and item.inner is Inner.CONSECUTIVE and item.where is not None


def hurried(item: Item) -> bool:
    """Does its gap end the wait for it? The gap of a loop is only between the loop's own events."""
    return item.gap_us > 0 and not loops(item)


def partials_stay(pattern: Pattern, found: list[Place]) -> Iterator[Problem]:
    """Without a window, which partials live for ever."""
    if pattern.within_us:
        return
    yield from loops_end(pattern, found)
    for place in found:
        item = place.item
        if unbounded(item) and item.until is None and not item.gap_us and breaks_off(item):
            yield Problem(
                place.path,
                f"a partial in the loop over {called(item)} lives while no other event comes",
                "add `within`",
            )
        if item.until is not None and not item.gap_us:
            yield Problem(
                f"{place.path}.until",
                f"a partial in the loop over {called(item)} lives until an event ends it, for ever if none comes",
                "add `within`",
            )
        if item.contiguity is Contiguity.FOLLOWED_BY and place.before is not None and not hurried(item):
            yield Problem(
                place.path,
                f"a partial that waits for {called(item)} lives for ever if none comes",
                "add `within`",
            )
        if isinstance(item, Group) and item.any_of > 1 and item.inner is Inner.RELAXED:
            yield Problem(
                place.path,
                f"a partial that waits for the others of {called(item)} lives for ever if none comes",
                "add `within`",
            )


def partials_grow(pattern: Pattern, found: list[Place]) -> Iterator[Problem]:
    """Loops whose number of partials grows faster than the number of events."""
    folded = {history.step for place in found for _, history in histories(place)}
    for place in found:
        item = place.item
        if not unbounded(item) or item.contiguity.negated:
            continue
        if item.inner is Inner.COMBINATIONS:
            yield Problem(
                f"{place.path}.combinations",
                f"partials double with every event that {called(item)} takes, up to the cap of partials per key",
                "give the loop an upper bound, or leave `combinations` away",
            )
        elif not item.greedy and place.after is not None and place.after.contiguity in WAITING:
            yield Problem(
                place.path,
                f"n events of {called(item)} leave about n²/2 partials that wait for {called(place.after)}",
                "`greedy: true` keeps one per start" if isinstance(item, Step) else "",
            )
        names = [step.name for step in flatten((item,)) if step.name in folded]
        for name in names:
            yield Problem(
                place.path,
                f"a condition reads the events of `{name}`, so every open partial keeps its own sums and is looked at"
                " one by one: cost per event grows with the open partials of a key",
            )


def order_is_bound(pattern: Pattern, found: list[Place]) -> Iterator[Problem]:
    """A condition that reads another step of its permute holds only after that step, unless it says otherwise."""
    for place in found:
        inside = [*place.around, place.item]
        others = {
            step.name: called(permute)
            for permute, member in zip(place.around, inside[1:], strict=True)
            for step in flatten(permute.steps)
            if permute.any_of and step not in flatten((member,))
        }
        for path, history in histories(place):
            own = place.item.where if isinstance(place.item, Step) and path.endswith(".where") else None
            condition = own or place.item.until
            if history.step in others and condition is not None and not says_if_unknown(condition, history.step):
                yield Problem(
                    path,
                    f"of `{history.step}` nothing is known before it has come, and then this does not hold: it binds"
                    f" the order of {others[history.step]}",
                    f"say what holds then, as `{history.step}.field is null or …`, or put both in a `group`",
                )


def says_if_unknown(condition: Expression, step: str) -> bool:
    """Does it count the events of the step, or say what holds where there are none?"""
    read = {each for each in references(condition) if each.step == step}
    asked = {
        each
        for node in walk(condition)
        if (isinstance(node, Unary) and node.op == "is_null") or (isinstance(node, Binary) and node.op == "coalesce")
        for each in references(node)
    }
    return bool(asked & read) or all(each.aggregate == "count" for each in read)


WARNINGS: tuple[Rule, ...] = (
    greedy_loses,
    alerts_wait,
    absence_is_cut_short,
    gap_without_before,
    partials_stay,
    partials_grow,
    order_is_bound,
)
