"""What is wrong with a pattern, and what its author should know.

`check` answers errors. The dialect `flink` refuses what Apache Flink CEP 2.3 refuses, and a loop whose body may be
empty, on which Flink never ends; the dialect `native` also refuses what would grow without end or could never match.
Limits and names hold in both. `warnings` answers what is allowed but may surprise.

Every rule is one function, pattern in, problems out; a rule knows nothing of the others.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from math import comb, prod
from typing import Literal

from cep.language.advice import WARNINGS, loops_end
from cep.language.limits import (
    CONDITIONS_MAX,
    DEPTH_MAX,
    DESCRIPTION_CHARS_MAX,
    KEY_FIELDS_MAX,
    KEYWORDS,
    LOOP_MAX,
    MEASURES_MAX,
    MESSAGE_CHARS_MAX,
    NAME_CHARS_MAX,
    PATTERN_NAME,
    PERMUTE_MAX,
    STATES_MAX,
    STEP_NAME,
    STEPS_MAX,
    STREAMS_MAX,
    WITHIN_MAX_US,
)
from cep.language.pattern import Contiguity, Group, Inner, Pattern, Skip, Step, flatten, opened
from cep.language.places import Item, Place, called, histories, last_of, loops, nullable, places, unbounded
from cep.language.wording import closest, column_of, span
from events.errors import Problem
from events.expression import Expression

Dialect = Literal["native", "flink"]
Rule = Callable[[Pattern, list[Place]], Iterator[Problem]]


def check(pattern: Pattern, dialect: Dialect = "native") -> list[Problem]:
    """What makes the pattern unusable; empty when nothing does."""
    found = list(places(pattern.steps))
    rules = FLINK if dialect == "flink" else NATIVE
    return [problem for rule in rules for problem in rule(pattern, found)]


def warnings(pattern: Pattern) -> list[Problem]:
    """What is allowed but may surprise: lost matches, late alerts, partials that stay. For patterns without errors."""
    found = list(places(pattern.steps))
    return [problem for rule in WARNINGS for problem in rule(pattern, found)]


# -- limits and names -------------------------------------------------------------------------------------------------


def pattern_limits(pattern: Pattern, found: list[Place]) -> Iterator[Problem]:
    """How large a pattern may be as a whole."""
    steps = sum(isinstance(place.item, Step) for place in found)
    if not steps:
        yield Problem("steps", "a pattern needs at least one step", "steps: [{name: first, where: ...}]")
    if steps > STEPS_MAX:
        yield Problem("steps", f"{steps} steps; a pattern has at most {STEPS_MAX}", "split it into several patterns")
    yield from counted("key", len(pattern.key), KEY_FIELDS_MAX, "key fields")
    yield from counted("stream", len(pattern.streams), STREAMS_MAX, "streams")
    yield from counted("description", len(pattern.description), DESCRIPTION_CHARS_MAX, "characters")
    yield from counted("measures", len(pattern.measures), MEASURES_MAX, "measures")
    yield from counted("alert.message", len(pattern.alert.message), MESSAGE_CHARS_MAX, "characters")
    conditions = {expression for place in found for expression in conditions_of(place.item)}
    yield from counted("steps", len(conditions), CONDITIONS_MAX, "different conditions")


def counted(path: str, number: int, most: int, of_what: str) -> Iterator[Problem]:
    """A number that has a limit."""
    if number > most:
        yield Problem(path, f"{number} {of_what}; at most {most} are allowed")


def conditions_of(item: Item) -> list[Expression]:
    """`where` and `until`, those that are there."""
    where = item.where if isinstance(item, Step) else None
    return [expression for expression in (where, item.until) if expression is not None]


def depth(pattern: Pattern, found: list[Place]) -> Iterator[Problem]:
    """How deep groups may stand in groups."""
    for place in found:
        if isinstance(place.item, Group) and len(place.around) == DEPTH_MAX:
            yield Problem(f"{place.path}.{place.item.word}", f"groups stand at most {DEPTH_MAX} deep")


def loop_limits(pattern: Pattern, found: list[Place]) -> Iterator[Problem]:
    """How far a loop counts, alone and inside others."""
    for place in found:
        largest = max(place.item.times.at_least, place.item.times.at_most or 0)
        if largest > LOOP_MAX:
            yield Problem(
                f"{place.path}.times",
                f"a loop counts at most to {LOOP_MAX}, found {largest}",
                "count with a feature (a windowed count) and compare it in `where`",
            )
    states = sum(copies(place) for place in found if isinstance(place.item, Step))
    if states > STATES_MAX:
        permutes = any(place.is_member for place in found)
        yield Problem(
            "steps",
            f"its loops inside {'loops and permutes' if permutes else 'loops'} count {states} elements one by one;"
            f" at most {STATES_MAX} are allowed",
            "lower the bounds of the loops, or leave the upper bound away",
        )


def copies(place: Place) -> int:
    """How many copies of an item the automaton has: the product of the bounds around it and its own.

    A member of a `permute` has one for every set of other members after which it may come.
    """
    items: list[Item] = [*place.around, place.item]
    bounds = prod(min(max(item.times.at_most or item.times.at_least, 1), LOOP_MAX) for item in items)
    others = ((len(group.steps) - 1, group.any_of) for group in place.around if group.any_of)
    return bounds * prod(sum(comb(number, taken) for taken in range(any_of)) for number, any_of in others)


def permute_limits(pattern: Pattern, found: list[Place]) -> Iterator[Problem]:
    """How many steps may come in any order, and how many of them."""
    for place in found:
        item = place.item
        if isinstance(item, Step) or not item.any_of:
            continue
        members = len(item.steps)
        if members > PERMUTE_MAX:
            yield Problem(
                f"{place.path}.permute",
                f"{members} steps in any order; at most {PERMUTE_MAX} are allowed",
                "put those whose order is known into a `group`, which counts as one",
            )
        if item.any_of < 0 or (members and item.any_of > members):
            reason = f"{item.any_of} of {members} can't come: each of them comes once"
            yield Problem(f"{place.path}.any_of", reason, "leave it away for all of them")


def window_limits(pattern: Pattern, found: list[Place]) -> Iterator[Problem]:
    """How long a pattern may wait."""
    spans = [("within", pattern.within_us), *((f"{place.path}.gap", place.item.gap_us) for place in found)]
    for path, length_us in spans:
        if length_us < 0:
            yield Problem(path, "a length of time can't be negative")
        if length_us > WITHIN_MAX_US:
            yield Problem(path, f"{span(length_us)} is too long; the longest is {span(WITHIN_MAX_US)}")


def pattern_name(pattern: Pattern, found: list[Place]) -> Iterator[Problem]:
    """The pattern's name is part of addresses, topics and files."""
    if len(pattern.name) > NAME_CHARS_MAX or not PATTERN_NAME.fullmatch(pattern.name):
        yield Problem(
            "name",
            f"`{pattern.name}` is no name for a pattern",
            "lower-case letters, digits, and single `-` or `_` between them, as `card-testing`;"
            f" at most {NAME_CHARS_MAX} characters",
        )


def step_names(pattern: Pattern, found: list[Place]) -> Iterator[Problem]:
    """Conditions, messages and skips name steps: each name is a word, and there once."""
    seen: dict[str, str] = {}
    for place in found:
        if isinstance(place.item, Group):
            continue
        name, path = place.item.name, f"{place.path}.name"
        if len(name) > NAME_CHARS_MAX or not STEP_NAME.fullmatch(name):
            rule = f"letters, digits and `_`, a letter first; at most {NAME_CHARS_MAX} characters"
            yield Problem(path, f"`{name}` is no name for a step", rule)
        if name in seen:
            yield Problem(path, f"there is a step `{name}` already, at {seen[name]}", "give it another name")
        seen.setdefault(name, place.path)


def measure_names(pattern: Pattern, found: list[Place]) -> Iterator[Problem]:
    """A measure is a field of its alert: its name is a word."""
    for name in (measure.name for measure in pattern.measures):
        if len(name) > NAME_CHARS_MAX or not STEP_NAME.fullmatch(name):
            rule = f"letters, digits and `_`, a letter first; at most {NAME_CHARS_MAX} characters"
            yield Problem(f"measures.{name}", f"`{name}` is no name for a measure", rule)


# -- what Flink refuses too -------------------------------------------------------------------------------------------


def first_is_taken(pattern: Pattern, found: list[Place]) -> Iterator[Problem]:
    """An absence has no meaning before anything was taken."""
    for place in found:
        if place.before is None and place.item.contiguity.negated and not place.is_member:
            where = "a group" if place.around else "a pattern"
            yield Problem(
                f"{place.path}.contiguity",
                f"{where} can't begin with an absence",
                "begin with the event after which nothing of it may come",
            )


def negated_alone(pattern: Pattern, found: list[Place]) -> Iterator[Problem]:
    """An absence is of one step, and carries nothing else."""
    for place in found:
        item = place.item
        if not item.contiguity.negated:
            continue
        if isinstance(item, Group):
            reason = f"a {item.word} can't be absent as a whole"
            yield Problem(f"{place.path}.contiguity", reason, "put the absence on one step")
        options = {
            "times": loops(item),
            "greedy": item.greedy,
            "optional": item.optional,
            str(item.inner): item.inner is not Inner.RELAXED,
            "until": item.until is not None,
        }
        for option in (option for option, given in options.items() if given):
            yield Problem(
                f"{place.path}.{option}",
                f"{called(item)} must not occur, so it can't have `{option}`",
                f"leave `{option}` away: one such event is one too many",
            )


def negation_after_optional(pattern: Pattern, found: list[Place]) -> Iterator[Problem]:
    """After what may be left out it is open from where on the absence counts."""
    for place in found:
        if place.item.contiguity.negated and place.before is not None and place.before.optional:
            yield Problem(
                f"{place.path}.contiguity",
                f"{called(place.item)} must not occur after {called(place.before)}, which is optional: it is open from"
                " where on it must not",
                f"write two patterns, one with {called(place.before)} and one without",
            )


def optional_after_greedy(pattern: Pattern, found: list[Place]) -> Iterator[Problem]:
    """A greedy loop forbids its events to the one step behind it, so that must be there."""
    for place in found:
        if place.item.optional and place.before is not None and place.before.greedy:
            yield Problem(
                f"{place.path}.optional",
                f"{called(place.item)} can't be optional behind the greedy {called(place.before)}",
                f"leave `greedy` away on {called(place.before)}, or make {called(place.item)} a must",
            )


def greedy_fits(pattern: Pattern, found: list[Place]) -> Iterator[Problem]:
    """Greedy is for loops of one step that don't choose."""
    for place in found:
        item = place.item
        if not item.greedy or item.contiguity.negated:
            continue
        if isinstance(item, Group):
            reason, hint = f"a {item.word} can't be greedy", f"make a loop inside the {item.word} greedy"
            yield Problem(f"{place.path}.greedy", reason, hint)
        elif not loops(item):
            reason = f"{called(item)} takes one event, so it can't be greedy"
            yield Problem(f"{place.path}.greedy", reason, "`greedy` is for loops: add `times` or `one_or_more`")
        elif item.inner is Inner.COMBINATIONS:
            yield Problem(
                f"{place.path}.greedy",
                f"{called(item)} can't both try all combinations and take everything",
                "keep `greedy` or `combinations`, not both",
            )


def inner_fits(pattern: Pattern, found: list[Place]) -> Iterator[Problem]:
    """How elements of a loop follow one another means nothing without a loop."""
    for place in found:
        item = place.item
        several = isinstance(item, Group) and item.any_of > 1
        if item.inner is not Inner.RELAXED and not loops(item) and not several and not item.contiguity.negated:
            yield Problem(
                f"{place.path}.{item.inner}",
                f"{called(item)} is no loop, so `{item.inner}` has no meaning",
                "add `times` or `one_or_more`; how the step itself is reached is its `contiguity`",
            )


def until_fits(pattern: Pattern, found: list[Place]) -> Iterator[Problem]:
    """Only a loop without an upper bound can be ended from outside."""
    for place in found:
        item = place.item
        if item.until is not None and not unbounded(item) and not item.contiguity.negated:
            yield Problem(
                f"{place.path}.until",
                f"`until` ends a loop that has no upper bound, and {called(item)} has one",
                "add `one_or_more` or `times: {at_least: n}`, or leave `until` away",
            )


def times_range(pattern: Pattern, found: list[Place]) -> Iterator[Problem]:
    """Bounds of a loop are positive and in order."""
    for place in found:
        times, path = place.item.times, f"{place.path}.times"
        if times.at_least < 1:
            reason = f"a loop takes at least 1 event, found {times.at_least}"
            yield Problem(path, reason, "`optional: true` lets the whole loop be left out")
        elif times.at_most is not None and times.at_most < times.at_least:
            yield Problem(path, f"at most {times.at_most} is less than at least {times.at_least}", "swap the two")


def trailing_absence_ends(pattern: Pattern, found: list[Place]) -> Iterator[Problem]:
    """That nothing comes is known only when a time has passed."""
    last = last_of(found)
    if last and last.item.contiguity is Contiguity.NOT_FOLLOWED_BY and not pattern.within_us and not last.item.gap_us:
        yield endless_absence(last.path, last.item, "give the pattern a `within`, or the step a `gap`")


def grouped_absence_counts(pattern: Pattern, found: list[Place]) -> Iterator[Problem]:
    """Whether something is absent between the passes of a group is not defined; Flink never looks."""
    for name in uncounted(opened(pattern.steps), at_end=True):
        for place in found:
            if isinstance(place.item, Step) and place.item.name == name:
                what, hint = "a group that may be taken again or left out", "group, or let the group be taken just once"
                if any(group.any_of for group in place.around):
                    what, hint = "a group in a permute", "permute, or between two steps of the group"
                yield Problem(
                    f"{place.path}.contiguity",
                    f"{called(place.item)} ends {what}: nothing says until when it must not occur",
                    f"put it behind the {hint}",
                )


def uncounted(items: tuple[Item, ...], at_end: bool) -> Iterator[str]:
    """The `not_followed_by` steps that end a group which is neither taken just once nor the end of the pattern."""
    for place, item in enumerate(items):
        if isinstance(item, Group) and item.any_of:
            for member in item.steps:
                yield from uncounted((member,), at_end=False)
        elif isinstance(item, Group) and item.steps:
            ends = at_end and place == len(items) - 1 and item.times.single
            last = item.steps[-1]
            if isinstance(last, Step) and last.contiguity is Contiguity.NOT_FOLLOWED_BY and not ends:
                yield last.name
            yield from uncounted(item.steps, ends)


def grouped_absence_ends(pattern: Pattern, found: list[Place]) -> Iterator[Problem]:
    """The same inside a group that ends the pattern, which Flink does not notice."""
    last = last_of(found)
    if last is None:
        return
    path, item = last.path, last.item
    while isinstance(item, Group) and item.steps and not item.any_of:
        path, item = f"{path}.group[{len(item.steps) - 1}]", item.steps[-1]
    endless = not pattern.within_us and not item.gap_us
    if path != last.path and item.contiguity is Contiguity.NOT_FOLLOWED_BY and endless:
        yield endless_absence(path, item, "give the pattern a `within`")


def endless_absence(path: str, item: Item, hint: str) -> Problem:
    """A pattern that ends in an absence without an end."""
    reason = f"the pattern ends when {called(item)} has not occurred, but nothing says by when"
    return Problem(f"{path}.contiguity", reason, hint)


def gap_in_window(pattern: Pattern, found: list[Place]) -> Iterator[Problem]:
    """A gap longer than the window can never be used up."""
    for place in found:
        if pattern.within_us and place.item.gap_us > pattern.within_us:
            yield gap_too_long(pattern, place)


def gap_in_window_as_flink(pattern: Pattern, found: list[Place]) -> Iterator[Problem]:
    """The same, but Flink looks at single steps only."""
    for place in found:
        if pattern.within_us and place.item.gap_us > pattern.within_us and not loops(place.item):
            yield gap_too_long(pattern, place)


def gap_too_long(pattern: Pattern, place: Place) -> Problem:
    """A gap that is longer than the window."""
    gap, within = span(place.item.gap_us), span(pattern.within_us)
    return Problem(
        f"{place.path}.gap",
        f"the gap of {gap} is longer than the whole pattern may take ({within})",
        "make the gap shorter or `within` longer",
    )


def skip_target(pattern: Pattern, found: list[Place]) -> Iterator[Problem]:
    """Skipping goes to the first or last event of a step that stands in no group."""
    if pattern.skip not in (Skip.TO_FIRST, Skip.TO_LAST):
        return
    names = [place.item.name for place in found if isinstance(place.item, Step) and not place.around]
    grouped = {place.item.name: place for place in found if isinstance(place.item, Step) and place.around}
    path = f"skip.{pattern.skip}"
    if pattern.skip_to in grouped:
        reason = f"`{pattern.skip_to}` stands in a group and may be there several times over"
        if grouped[pattern.skip_to].is_member:
            reason = f"`{pattern.skip_to}` stands in a permute: where in the match it comes, if it does, is open"
        yield Problem(path, reason, "skip to a step outside the groups")
    elif pattern.skip_to not in names:
        yield Problem(path, f"there is no step `{pattern.skip_to}`", closest(pattern.skip_to, names))


def body_is_not_empty(pattern: Pattern, found: list[Place]) -> Iterator[Problem]:
    """A loop that can go round without an event goes round for ever."""
    for place in found:
        item = place.item
        if isinstance(item, Group) and unbounded(item) and item.steps and all(nullable(inner) for inner in item.steps):
            yield Problem(
                f"{place.path}.{item.word}",
                "every step of this loop may be left out, so it could go round without an event, for ever",
                "make one step of the group a must, and the group `optional` instead",
            )


def not_empty(pattern: Pattern, found: list[Place]) -> Iterator[Problem]:
    """A group has steps."""
    for place in found:
        if isinstance(place.item, Group) and not place.item.steps:
            yield Problem(f"{place.path}.{place.item.word}", f"a {place.item.word} needs at least one step")


def no_permute(pattern: Pattern, found: list[Place]) -> Iterator[Problem]:
    """Flink knows one order."""
    for place in found:
        if isinstance(place.item, Group) and place.item.any_of:
            yield Problem(f"{place.path}.permute", "Flink has no `permute`", "write a pattern for each order")


# -- what only we refuse ----------------------------------------------------------------------------------------------


def time_runs_out(pattern: Pattern, found: list[Place]) -> Iterator[Problem]:
    """Without a window or gap nothing ever times out."""
    if pattern.timeouts and not pattern.within_us and not any(place.item.gap_us for place in found):
        yield Problem("timeouts", "nothing can time out: the pattern has neither `within` nor a `gap`", "add `within`")


def names_are_no_keywords(pattern: Pattern, found: list[Place]) -> Iterator[Problem]:
    """A condition must be able to name the step."""
    for place in found:
        if isinstance(place.item, Step) and place.item.name.lower() in KEYWORDS:
            reason = f"`{place.item.name}` is a word of SQL, so no condition could read `{place.item.name}.field`"
            yield Problem(f"{place.path}.name", reason, "give the step another name")


def skip_to_taken(pattern: Pattern, found: list[Place]) -> Iterator[Problem]:
    """An absent step has no event to skip to."""
    for place in found:
        item = place.item
        if isinstance(item, Step) and item.contiguity.negated and pattern.skip_to == item.name and not place.around:
            yield Problem(
                f"skip.{pattern.skip}",
                f"`{item.name}` must not occur, so no match has an event of it to skip to",
                "skip to a step that takes events",
            )


def gap_has_meaning(pattern: Pattern, found: list[Place]) -> Iterator[Problem]:
    """A gap is the time since the event taken before: of a step, and not of an absence in mid-pattern."""
    for place in found:
        item = place.item
        if item.gap_us and isinstance(item, Group):
            reason, hint = f"a {item.word} can't have a `gap`", f"put it on the steps of the {item.word}"
            yield Problem(f"{place.path}.gap", reason, hint)
        elif item.gap_us and item.contiguity.negated and (place.after is not None or place.around):
            yield Problem(
                f"{place.path}.gap",
                f"{called(item)} takes no event, so it can't have a `gap` in mid-pattern",
                f"put the gap on {called(place.after)}" if place.after else "put the gap on a step that takes an event",
            )


def references_are_known(pattern: Pattern, found: list[Place]) -> Iterator[Problem]:
    """A condition reads what was taken before: not what comes later, and not what is never taken."""
    order = {step.name: number for number, step in enumerate(flatten(pattern.steps))}
    negated = {step.name for step in flatten(pattern.steps) if step.contiguity.negated}
    for place in found:
        for path, history in histories(place):
            text = place.item.source if isinstance(place.item, Step) and path.endswith(".where") else ""
            where = path + column_of(text, history.step)
            if history.step in negated:
                reason = f"`{history.step}` must not occur, so nothing of it is ever known"
                yield Problem(where, reason, "read a step that takes events")
            elif order.get(history.step, -1) > latest(place, order):
                reason = f"`{history.step}` comes later: nothing of it is known here"
                yield Problem(where, reason, f"put this condition on `{history.step}`")


def latest(place: Place, order: dict[str, int]) -> int:
    """The last step of which events can be known here: itself, or the last of the outermost loop or permute around it.

    What another step of a permute took is unknown where it has not come yet.
    """
    whole = next((group for group in place.around if loops(group) or group.any_of), place.item)
    return max((order[step.name] for step in flatten((whole,))), default=-1)


def members_are_taken(pattern: Pattern, found: list[Place]) -> Iterator[Problem]:
    """What has a place in an order takes an event, and begins with one."""
    for place in found:
        if not place.is_member:
            continue
        first = place.item
        while isinstance(first, Group) and not first.any_of and first.steps and not first.optional:
            first = first.steps[0]
        if place.item.contiguity.negated:
            reason = f"{called(place.item)} must not occur, so it has no place in an order"
            yield Problem(f"{place.path}.contiguity", reason, "put the absence before or behind the permute")
        elif place.item.optional:
            reason = f"{called(place.item)} is optional, so it is open whether it has a place in the order"
            yield Problem(f"{place.path}.optional", reason, "`any_of` of the permute says how many of its steps come")
        elif first.optional:
            reason = f"{called(place.item)} begins with {called(first)}, which is optional: what comes first is open"
            yield Problem(place.path, reason, "let it begin with a step that must come")


LIMITS: tuple[Rule, ...] = (
    pattern_limits,
    depth,
    loop_limits,
    permute_limits,
    window_limits,
    pattern_name,
    step_names,
    measure_names,
)

SHARED: tuple[Rule, ...] = (
    *LIMITS,
    not_empty,
    first_is_taken,
    negated_alone,
    negation_after_optional,
    optional_after_greedy,
    greedy_fits,
    inner_fits,
    until_fits,
    times_range,
    trailing_absence_ends,
    grouped_absence_ends,
    grouped_absence_counts,
    skip_target,
    body_is_not_empty,
)

FLINK: tuple[Rule, ...] = (*SHARED, gap_in_window_as_flink, no_permute)

NATIVE: tuple[Rule, ...] = (
    *SHARED,
    gap_in_window,
    time_runs_out,
    loops_end,
    names_are_no_keywords,
    skip_to_taken,
    gap_has_meaning,
    references_are_known,
    members_are_taken,
)
