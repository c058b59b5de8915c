"""The production engine on a conformance case: the same shape of answer as `tests.reference.match`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from cep.automaton.plan import Plan, compile_pattern
from cep.language.check import Dialect, check
from cep.language.pattern import Pattern
from cep.matcher.matcher import NEVER_US, Matcher, Matches
from cep.matcher.records import KIND_TIMEOUT
from cep.matcher.state import State
from events.columns import Batch, Column, Layout, StringTable
from events.errors import InvalidDocument
from events.types import INT64
from tests.conformance.cases import FIELDS, STREAMS
from tests.reference import Event, Match

ROWS = 16
KEY = "key"
COLUMNS = {KEY: INT64, **FIELDS}
LAYOUT = Layout(STREAMS, tuple(Column(stream, name, kind) for stream in STREAMS for name, kind in COLUMNS.items()))


class NoRecords:
    """Conformance events have no bytes."""

    def event_id(self, row: int) -> str:
        """Never asked for."""
        raise AssertionError(row)

    def payload(self, row: int) -> bytes:
        """Never asked for."""
        raise AssertionError(row)


def batch_of(events: Sequence[tuple[int, Event]], strings: StringTable) -> Batch:
    """Events with their keys, in order, as columns."""
    at_us = np.array([event.at_us for _, event in events], np.int64)
    streams = np.array([STREAMS.index(event.stream or STREAMS[0]) for _, event in events], np.int16)
    values = np.zeros((len(LAYOUT.columns), len(events)), np.int64)
    nulls = np.ones(values.shape, np.uint8)
    for row, (key, event) in enumerate(events):
        first = len(COLUMNS) * int(streams[row])
        for column, value in enumerate((key, event.fields["kind"], event.fields["v"]), first):
            if value is not None:
                values[column, row] = strings.code(value) if isinstance(value, str) else int(value)
                nulls[column, row] = 0
    return Batch(LAYOUT, streams, at_us, at_us, values, nulls, NoRecords())


def start_matcher(plans: Sequence[Plan], strings: StringTable, jumps: bool = True) -> Matcher:
    """A matcher that begins small, and so must grow. (The cases had one watermark, at the end of the input.)"""
    matcher = Matcher(jumps)
    matcher.state = State.empty(ROWS)
    matcher.use(plans, LAYOUT, strings.code)
    return matcher


def step_names(matcher: Matcher) -> list[str]:
    """The steps of its first plan, by number."""
    plan = matcher.plans[0]
    assert plan is not None
    return [step.name for step in plan.steps]


def read(matches: Matches, names: Sequence[str], events: Sequence[Event]) -> tuple[list[Match], list[Match]]:
    """Matches and time-outs of the first plan as step name → event ids; `events` by number in the log."""
    answer: tuple[list[Match], list[Match]] = ([], [])
    for row in np.flatnonzero(matches.plan == 0):
        taken: dict[int, list[int]] = {}
        for place in range(int(matches.offsets[row]), int(matches.offsets[row + 1])):
            taken.setdefault(int(matches.steps[place]), []).append(events[int(matches.sequences[place])].id)
        match = tuple((names[step], tuple(taken[step])) for step in sorted(taken))
        answer[int(matches.kind[row] == KIND_TIMEOUT)].append(match)
    return answer


def match(
    pattern: Pattern, streams: Mapping[str, Sequence[Event]], dialect: Dialect = "flink"
) -> dict[str, tuple[list[Match], list[Match]]]:
    """Each key's events → (matches, time-outs). The plan is compiled once; every key has the state to itself.

    Raises InvalidDocument for a pattern that the dialect rejects.
    """
    problems = check(pattern, dialect)
    if problems:
        raise InvalidDocument(pattern.name, problems)
    strings = StringTable()
    matcher = start_matcher([compile_pattern(pattern)], strings)
    names = step_names(matcher)
    answers: dict[str, tuple[list[Match], list[Match]]] = {}
    for key, events in streams.items():
        matcher.state = State.empty(ROWS)
        matcher.state.fit_plans(matcher.tables)
        matcher.sequence, matcher.now_us = 0, -NEVER_US
        answers[key] = ([], [])
        for place, event in enumerate([*events, None]):
            outcomes = []
            if (matcher.due_us() or NEVER_US) <= (event.at_us if event else NEVER_US):
                outcomes.append(matcher.advance(event.at_us if event else NEVER_US))
            if event:
                outcomes.append(matcher.process(batch_of([(0, event)], strings)))
            for outcome in outcomes:
                for kind, found in enumerate(read(outcome, names, events[: place + 1])):
                    answers[key][kind].extend(found)
    return answers
