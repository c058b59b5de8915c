"""One case, asked of the reference and of the kernel in several ways: the answers must be the same."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from cep.automaton.plan import Plan, compile_pattern
from cep.language.check import check
from cep.language.pattern import Pattern
from cep.matcher.matcher import NEVER_US, Matcher
from events.columns import StringTable
from events.errors import LimitReached
from tests.conformance.cases import read_pattern
from tests.conformance.judge import match_text
from tests.conformance.kernel import batch_of, read, start_matcher, step_names
from tests.conformance.kernel import match as alone
from tests.fuzz.case import Case, before
from tests.reference import Event, Match, Ties, TooManyRuns
from tests.reference import match as reference
from tests.refusal import reject_reason

Answer = Counter[tuple[str, Match]]
"""("match" or "timeout", which events), each as often as it came out."""

Kernel = Callable[[Case, Sequence[Plan], Sequence[int]], Answer]
"""The first plan's answer, the events given in batches."""

KINDS = ("match", "timeout")

RUNS_MAX = 400
"""Runs that the reference may have open for one key."""


@dataclass(frozen=True, slots=True)
class Disagreement:
    """Asked in which way, the reference's answer, the kernel's, or what it died of."""

    way: str
    expected: Answer | str
    got: Answer | str

    def __str__(self) -> str:
        if isinstance(self.expected, str) or isinstance(self.got, str):
            return f"{self.way}\n  expected  {self.expected}\n  got       {self.got}"
        return f"{self.way}\n" + "\n".join(
            f"  {whose:24}  {answer_text(more - less)}"
            for whose, more, less in (
                ("only the reference has", self.expected, self.got),
                ("only the kernel has", self.got, self.expected),
                ("both have", self.expected, self.expected - self.got),
            )
        )


def answer_text(answer: Answer) -> str:
    """All of it on one line."""
    return "; ".join(f"{kind} {match_text(found)}" for kind, found in answer.elements()) or "nothing"


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a case.

    refused:      it is no pattern, both say so, or its automaton is too large
    shortened:    its last events were left away, as the reference would not have come to an end in time
    found:        how many matches and time-outs there were
    disagreement: None if all answers are the same
    """

    refused: bool = False
    shortened: bool = False
    found: int = 0
    disagreement: Disagreement | None = None


def ask(case: Case, kernel: Kernel | None = None) -> Outcome:
    """Compare all ways. `kernel` stands in for the real one, to see that a wrong one is caught."""
    pattern, kernel = case.pattern, kernel or in_batches
    problems, reason = check(pattern, case.dialect), reject_reason(pattern)
    if problems or (reason and case.dialect == "flink"):
        if problems and (reason or case.dialect == "native"):
            return Outcome(refused=True)
        said = [f"refused: {problems[0]}" if problems else "accepted", f"refused: {reason}" if reason else "accepted"]
        return Outcome(disagreement=Disagreement("is it a pattern?", said[1], said[0]))
    try:
        plans = [compile_pattern(one) for one in (pattern, *neighbours(case))]
        expected = by_reference(case, pattern)
    except LimitReached:
        return Outcome(refused=True)
    except AssertionError as error:
        return Outcome(disagreement=Disagreement("compiled", "a plan", f"AssertionError: {error}"))
    except TooManyRuns as error:
        return replace(ask(before(case, error.event), kernel), shortened=True)
    ways: list[tuple[str, Answer, Callable[[], Answer]]] = [
        ("in one batch", expected, lambda: kernel(case, plans, ())),
        ("in batches, the state moved in between", expected, lambda: kernel(case, plans, case.cuts)),
    ]
    if case.jumps:
        jumping = by_reference(case, pattern, jumps=True)
        ways.append(("each key alone, time jumps", jumping, lambda: each_alone(case, pattern)))
    for way, right, answer in ways:
        try:
            got: Answer | str = answer()
        except Exception as error:  # whatever it is, this case shows it
            got = f"{type(error).__name__}: {error}"
        if got != right:
            return Outcome(disagreement=Disagreement(way, right, got))
    return Outcome(found=expected.total())


def by_key(case: Case, pattern: Pattern) -> dict[int, list[Event]]:
    """The events of each key that the pattern reads."""
    keys: dict[int, list[Event]] = {key: [] for key, _ in case.events}
    for key, event in case.events:
        if event.stream in pattern.streams:
            keys[key].append(event)
    return keys


def by_reference(case: Case, pattern: Pattern, jumps: bool = False) -> Answer:
    """The reference's answer, key by key."""
    found: Answer = Counter()
    for events in by_key(case, pattern).values():
        matches, timeouts = reference(pattern, events, Ties.EARLIEST, jumps, RUNS_MAX)
        collect(found, (matches, timeouts if pattern.timeouts else []))
    return found


def in_batches(case: Case, plans: Sequence[Plan], cuts: Sequence[int]) -> Answer:
    """The kernel's answer for the first plan; at a move a new matcher goes on with a copy of the state."""
    strings, events = StringTable(), [event for _, event in case.events]
    matcher = start_matcher(plans, strings, jumps=False)
    names = step_names(matcher)
    found: Answer = Counter()
    for first, last in zip([0, *cuts], [*cuts, len(events)], strict=True):
        if first in case.moves:
            matcher = restored(matcher, plans, strings)
        collect(found, read(matcher.process(batch_of(case.events[first:last], strings)), names, events))
    collect(found, read(matcher.advance(NEVER_US), names, events))
    return found


def neighbours(case: Case) -> list[Pattern]:
    """The pattern beside it, if it is one."""
    if case.beside is None:
        return []
    pattern = read_pattern(case.beside, "beside")
    return [] if check(pattern, "flink") else [pattern]


def restored(matcher: Matcher, plans: Sequence[Plan], strings: StringTable) -> Matcher:
    """A new matcher that goes on from a copy of another's arrays."""
    again = start_matcher(plans, strings, jumps=False)
    again.state = matcher.state.copy()
    again.sequence, again.now_us = matcher.sequence, matcher.now_us
    return again


def each_alone(case: Case, pattern: Pattern) -> Answer:
    """The kernel's answer for each key by itself, event by event, time jumping to each."""
    found: Answer = Counter()
    streams = {str(key): events for key, events in by_key(case, pattern).items()}
    for answers in alone(pattern, streams, case.dialect).values():
        collect(found, answers)
    return found


def collect(found: Answer, answers: tuple[list[Match], list[Match]]) -> None:
    """Add matches and time-outs."""
    for kind, some in zip(KINDS, answers, strict=True):
        found.update((kind, answer) for answer in some)
