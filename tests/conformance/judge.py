"""Is an answer right? Flink's own where we mean the same, the class's where we differ on purpose."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from cep.language.pattern import Pattern
from tests.conformance.cases import Case
from tests.conformance.classes import DUPLICATE, NULLABLE_LOOP, difference_class, may_tie
from tests.reference import Event, Match, Ties, loops_over_group, match
from tests.refusal import reject_reason

Outcome = tuple[Sequence[Match], Sequence[Match]]
"""(matches, time-outs) of one stream."""

Answer = Mapping[str, Outcome] | str
"""What an engine says: an outcome by key of stream, or the reason for which it rejects the pattern."""

Engine = Callable[[Pattern, Mapping[str, tuple[Event, ...]]], Answer]

TIE = "tie"


@dataclass(frozen=True, slots=True)
class Failure:
    """What is wrong: at which stream (empty for the pattern as a whole), what was expected and what came."""

    key: str
    expected: str
    got: str


@dataclass(frozen=True, slots=True)
class Verdict:
    """How one case ended.

    name:     the class whose answer counted, None for Flink's own
    rejected: did Flink reject the pattern?
    as_flink: is the answer Flink's own too?
    failure:  None if it passed
    """

    name: str | None
    rejected: bool
    as_flink: bool
    failure: Failure | None


def reference(ties: Ties) -> Engine:
    """The reference matcher as an engine."""

    def answer(pattern: Pattern, streams: Mapping[str, tuple[Event, ...]]) -> Answer:
        reason = reject_reason(pattern)
        if reason is not None:
            return reason
        return {key: match(pattern, events, ties) for key, events in streams.items()}

    return answer


def judge(case: Case, answer: Answer, ties: Ties) -> Verdict:
    """One case. With `Ties.EARLIEST` the simple rule among matches with one start counts as right as well."""
    as_sets = loops_over_group(case.pattern)
    flink = case.rejected if case.rejected is not None else case.results
    failure = difference(flink, answer, as_sets)
    name = difference_class(case.pattern)
    if case.rejected is not None or name is None or name == DUPLICATE:
        if failure and ties is Ties.EARLIEST and may_tie(case.pattern):
            simple = difference(reference(ties)(case.pattern, case.streams), answer, as_sets)
            return Verdict(TIE, case.rejected is not None, False, simple)
        return Verdict(name, case.rejected is not None, failure is None, failure)
    ours = "a loop over nothing" if name == NULLABLE_LOOP else reference(ties)(case.pattern, case.streams)
    return Verdict(name, False, failure is None, difference(ours, answer, as_sets))


def difference(expected: Answer, answer: Answer, as_sets: bool) -> Failure | None:
    """The first stream on which two answers differ; two rejections are the same, whatever their words."""
    if isinstance(expected, str) or isinstance(answer, str):
        same = isinstance(expected, str) and isinstance(answer, str)
        return None if same else Failure("", verdict_text(expected), verdict_text(answer))
    for key, wanted in expected.items():
        found = answer[key]
        if not all(equal(*pair, as_sets) for pair in zip(wanted, found, strict=True)):
            return Failure(key, surplus_text(wanted, found), surplus_text(found, wanted))
    return None


def equal(left: Iterable[Match], right: Iterable[Match], as_sets: bool) -> bool:
    """As multisets, or as sets."""
    return set(left) == set(right) if as_sets else Counter(left) == Counter(right)


def verdict_text(answer: Answer) -> str:
    """One line about an answer as a whole."""
    return f"rejected: {answer}" if isinstance(answer, str) else "accepted"


def surplus_text(result: Outcome, other: Outcome) -> str:
    """What one stream's outcome has and the other has not."""
    only = [
        f"{kind} {match_text(found)}"
        for kind, mine, theirs in zip(("match", "timeout"), result, other, strict=True)
        for found in (Counter(mine) - Counter(theirs)).elements()
    ]
    return "; ".join(only) or "nothing more"


def match_text(found: Match) -> str:
    """A match on one line."""
    return "{" + ", ".join(f"{name}: {' '.join(map(str, ids))}" for name, ids in found) + "}"
