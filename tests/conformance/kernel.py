"""The production engine on a conformance case: the same shape of answer as `tests.reference.match`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from cep.automaton.plan import compile_pattern
from cep.language.check import Dialect, check
from cep.language.pattern import Pattern
from cep.matcher.matcher import NEVER_US, Matcher, Matches
from cep.matcher.records import KIND_TIMEOUT
from cep.matcher.state import State
from events.columns import Batch, Column, Layout, StringTable
from events.errors import InvalidDocument
from events.types import INT64
from tests.conformance.cases import FIELDS
from tests.reference import Event, Match

STREAM = "cases"
KEY = "key"
LAYOUT = Layout((STREAM,), (Column(STREAM, KEY, INT64), *(Column(STREAM, name, kind) for name, kind in FIELDS.items())))


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
    values = np.array(
        [
            [key for key, _ in events],
            [strings.code(str(event.fields["kind"])) for _, event in events],
            [event.fields["v"] for _, event in events],
        ],
        np.int64,
    ).reshape(3, len(events))
    nulls = np.zeros((3, len(events)), np.uint8)
    return Batch(LAYOUT, np.zeros(len(events), np.int16), at_us, at_us, values, nulls, NoRecords())


def start_matcher(pattern: Pattern, strings: StringTable, jumps: bool = True, timeouts: bool = True) -> Matcher:
    """A matcher with one plan that reports time-outs, or not: then its automaton has fewer states.

    (The cases had one watermark, at the end of the input.)
    """
    keyed = replace(pattern, streams=(STREAM,), key=(KEY,), timeouts=timeouts)
    matcher = Matcher(jumps)
    matcher.use([compile_pattern(keyed)], LAYOUT, strings.code)
    return matcher


def step_names(matcher: Matcher) -> list[str]:
    """The steps of its only plan, by number."""
    plan = matcher.plans[0]
    assert plan is not None
    return [step.name for step in plan.steps]


def read(matches: Matches, names: Sequence[str], events: Sequence[Event]) -> tuple[list[Match], list[Match]]:
    """Matches and time-outs as step name → event ids; `events` by number in the log."""
    answer: tuple[list[Match], list[Match]] = ([], [])
    for row in range(len(matches)):
        taken: dict[int, list[int]] = {}
        for place in range(int(matches.offsets[row]), int(matches.offsets[row + 1])):
            taken.setdefault(int(matches.steps[place]), []).append(events[int(matches.sequences[place])].id)
        match = tuple((names[step], tuple(taken[step])) for step in sorted(taken))
        answer[int(matches.kind[row] == KIND_TIMEOUT)].append(match)
    return answer


def match(
    pattern: Pattern, streams: Mapping[str, Sequence[Event]], dialect: Dialect = "flink", timeouts: bool = True
) -> dict[str, tuple[list[Match], list[Match]]]:
    """Each key's events → (matches, time-outs). The plan is compiled once; every key has the state to itself.

    Raises InvalidDocument for a pattern that the dialect rejects.
    """
    problems = check(pattern, dialect)
    if problems:
        raise InvalidDocument(pattern.name, problems)
    strings = StringTable()
    matcher = start_matcher(pattern, strings, timeouts=timeouts)
    names = step_names(matcher)
    answers: dict[str, tuple[list[Match], list[Match]]] = {}
    for key, events in streams.items():
        matcher.state = State.empty(16)
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
