"""A run that was explained, as text: event by event each partial, what was tested, what it did, and why it ended.

00:00:31.000  event 3  amount=1.20
    #1 probe 2  [0] true  [1] false (avg(probe.amount)=0.99)  takes it as probe
    start       [0] true                                      takes it as probe: begins #2
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from itertools import groupby

from cep.explain import START, Dropped, End, Found, Outcome, Run, Seen, Told, Turn, Why
from cep.language.message import shown
from cep.language.wording import plural
from events.expression import Value

TOLD_MAX = 20
"""Lines of one event, the start's left out; the others are counted."""

EVENTS_NAMED = 4
"""Events of one partial or match; those in the middle are counted."""

TRUTH = {None: "unknown", True: "true", False: "false"}


def text_of_run(run: Run) -> Iterator[str]:
    """The lines: the story, and what became of everything together. Conditions have the numbers of the plan."""
    for (at_us, place), group in groupby(run.story, lambda told: (told.at_us, told.place)):
        told = list(group)
        what = "time passes" if place is None else text_of_event(run.events[place], run.plan.pattern.key)
        if any(isinstance(one, End) and one.why is Why.OPEN for one in told):
            what = "the events end"
        yield f"{text_of_instant(at_us)}  {what}"
        yield from _lines(told)
    yield _together(run)


def text_of_event(event: Seen, key: Sequence[str] = ()) -> str:
    """Its number and what is known of it, but for the key."""
    fields = " ".join(f"{name}={text_of_value(value)}" for name, value in event.fields.items() if name not in key)
    return f"{event.stream}{' ' * bool(event.stream)}event {event.number}  {fields}".rstrip()


def text_of_instant(at_us: int) -> str:
    """In UTC, to the microsecond where it is needed.

    >>> text_of_instant(1_767_225_600_500_000)
    '2026-01-01 00:00:00.500'
    """
    at = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=at_us)
    return at.replace(tzinfo=None).isoformat(" ", "milliseconds" if at_us % 1000 == 0 else "microseconds")


def text_of_key(names: Sequence[str], values: Sequence[Value | None]) -> str:
    """Whose events they are."""
    return " ".join(f"{name}={text_of_value(value)}" for name, value in zip(names, values, strict=True))


def text_of_value(value: Value | None) -> str:
    """As one reads it; NULL for none."""
    return "NULL" if value is None else shown(value)


def text_of_taken(taken: Sequence[tuple[str, int]]) -> str:
    """Steps with the numbers of their events.

    >>> text_of_taken([("probe", 1), ("probe", 2), ("cashout", 9)])
    'probe 1 2, cashout 9'
    """
    named = []
    for step, group in groupby(taken, lambda one: one[0]):
        numbers = [str(number) for _, number in group]
        if len(numbers) > EVENTS_NAMED:
            numbers = [*numbers[: EVENTS_NAMED - 1], f"… ({len(numbers)} in all)", numbers[-1]]
        named.append(f"{step} {' '.join(numbers)}")
    return ", ".join(named)


def text_of_outcome(outcome: Outcome) -> str:
    """A condition's number and truth, with what it read of the events before."""
    because = ", ".join(f"{name}={text_of_value(value)}" for name, value in outcome.past.items())
    return f"[{outcome.condition}] {TRUTH[outcome.value]}" + (f" ({because})" if because else "")


def _lines(told: Sequence[Told]) -> Iterator[str]:
    """What belongs to one event, or one instant, in columns."""
    kept = [one for nth, one in enumerate(told) if nth < TOLD_MAX or _always(one)]
    rows = [_cells(one) for one in kept]
    turns = [cells for one, cells in zip(kept, rows, strict=True) if isinstance(one, Turn)]
    name_width = max((len(name) for name, _, _ in turns), default=0)
    test_width = max((len(tests) for _, tests, _ in turns), default=0)
    for one, (name, tests, did) in zip(kept, rows, strict=True):
        if isinstance(one, Turn):
            yield f"    {name:<{name_width}}  {tests:<{test_width}}  {did}"
        else:
            yield f"    {name:<{name_width}}  {did}"
    if len(kept) < len(told):
        yield f"    … and {plural(len(told) - len(kept), 'line')} more"


def _always(told: Told) -> bool:
    """Is it told however much there is?"""
    return isinstance(told, Found) or (isinstance(told, Turn) and told.partial == START)


def _cells(told: Told) -> tuple[str, str, str]:
    """Who, what was tested, what it did."""
    match told:
        case Turn(partial=partial, state=state, taken=taken):
            name = "start" if partial == START else f"#{partial} ({state}) {text_of_taken(taken)}"
            return name, "  ".join(map(text_of_outcome, told.tested)), "; ".join(told.did)
        case End():
            return f"#{told.partial}", "", f"{told.why}: {told.by}"
        case Dropped():
            return f"match {told.number}", "", f"is dropped: {told.by}"
    what = f"match {told.number}" if told.number else "time-out"
    return what, "", f"comes out: {text_of_taken(told.taken)}"


def _together(run: Run) -> str:
    """What became of everything, in one line."""
    ends = Counter(end.why.value for end in run.ends)
    found = sum(one.kind != "timeout" for one in run.found)
    parts = [
        plural(len(run.events), "event"),
        f"{found} match" if found == 1 else f"{found} matches",
        plural(ends.total(), "partial") + (": " if ends else "") + ", ".join(f"{n} {why}" for why, n in ends.items()),
    ]
    if run.capped:
        parts.append(f"{run.capped} not opened for want of room")
    return "; ".join(parts)
