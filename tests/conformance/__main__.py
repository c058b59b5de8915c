"""Runs the conformance cases: `python -m tests.conformance [FILE ...] [--engine reference|kernel] [--subset first]`.

Prints which classes of differences there were and how each was judged, the cases that failed, and at the very end
`N passed, M failed`. Exit 1 if any failed.
"""

from __future__ import annotations

import argparse
import importlib
import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from cep.language.pattern import Pattern
from events.errors import InvalidDocument
from tests.conformance.cases import DEFAULT_FILE, Case, read_cases
from tests.conformance.classes import CLASSES
from tests.conformance.judge import TIE, Answer, Engine, Verdict, judge, reference
from tests.conformance.operators import FIRST, operators
from tests.reference import Event, Ties

HOW = {
    None: "Flink's answer, as multisets",
    "nullable-loop": "must be rejected",
    "accepted-by-mistake": "the reference's answer",
    "gap": "the reference's answer",
    "not-next-at-end": "the reference's answer",
    "duplicate": "Flink's answer, as sets",
    TIE: "the reference's answer with the simple rule",
}
TEXT_MAX = 400


def main(arguments: Sequence[str] | None = None) -> int:
    """Run, print, and return the exit code."""
    options = parse(arguments)
    cases = [case for path in options.files or [DEFAULT_FILE] for case in read_cases(path)]
    if options.subset == "first":
        cases = first_subset(cases)
    ties = Ties(options.ties)
    engine = reference(ties) if options.engine == "reference" else kernel()
    judged = [(case, judge(case, engine(case.pattern, case.streams), ties)) for case in cases]
    print_classes([verdict for _, verdict in judged])
    failed = [(case, verdict) for case, verdict in judged if verdict.failure]
    print_failures(failed[: options.show])
    print(f"{len(judged) - len(failed)} passed, {len(failed)} failed")
    return 1 if failed else 0


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.conformance", description="Do we answer as Flink CEP does?")
    parser.add_argument("files", nargs="*", type=Path, metavar="FILE", help="cases (default: the shipped ones)")
    parser.add_argument("--engine", choices=("reference", "kernel"), default="kernel")
    parser.add_argument("--subset", choices=("all", "first"), default="all", help="first: simple operators only")
    parser.add_argument(
        "--ties",
        choices=list(map(str, Ties)),
        default="earliest",
        help="flink: the simple rule fails where Flink's heaps decide otherwise",
    )
    parser.add_argument("--show", type=int, default=5, help="so many failures are printed")
    return parser.parse_args(arguments)


def kernel() -> Engine:
    """The production matcher, through its adapter `tests/conformance/kernel.py`; what it rejects is InvalidDocument."""
    matcher: Engine = importlib.import_module("tests.conformance.kernel").match

    def answer(pattern: Pattern, streams: Mapping[str, tuple[Event, ...]]) -> Answer:
        try:
            return matcher(pattern, streams)
        except InvalidDocument as problems:
            return str(problems)

    return answer


def first_subset(cases: list[Case]) -> list[Case]:
    """The cases that need the first operators only; says how many, and what the others need."""
    chosen = [case for case in cases if operators(case.document) <= FIRST]
    print(f"{len(chosen)} of {len(cases)} cases use only: {', '.join(sorted(FIRST))}")
    needed = Counter(name for case in cases for name in operators(case.document) - FIRST)
    print("the others need: " + ", ".join(f"{name} ({count})" for name, count in needed.most_common()))
    print()
    return chosen


def print_classes(verdicts: Iterable[Verdict]) -> None:
    """A row for each class: how many, rejected by Flink, answered as Flink does, failed, judged by what."""
    print(f"{'class':22}{'cases':>7}{'rejected':>10}{'as Flink':>10}{'failed':>8}  judged by")
    verdicts = list(verdicts)
    for name in (None, *CLASSES, TIE):
        mine = [verdict for verdict in verdicts if verdict.name == name]
        if not mine:
            continue
        rejected, same = sum(verdict.rejected for verdict in mine), sum(verdict.as_flink for verdict in mine)
        failed = sum(verdict.failure is not None for verdict in mine)
        print(f"{name or 'no difference':22}{len(mine):>7}{rejected:>10}{same:>10}{failed:>8}  {HOW[name]}")
    print()


def print_failures(failed: Iterable[tuple[Case, Verdict]]) -> None:
    """What went wrong, in short."""
    for case, verdict in failed:
        failure = verdict.failure
        assert failure is not None
        print(f"case {case.id}  stream {failure.key or '-'}  class {verdict.name or '-'}")
        for name, text in (
            ("pattern", json.dumps(case.document)),
            ("events", events_text(case, failure.key)),
            ("expected", failure.expected),
            ("got", failure.got),
        ):
            print(f"  {name:9}{text if len(text) <= TEXT_MAX else text[:TEXT_MAX] + ' ...'}")
        print()


def events_text(case: Case, key: str) -> str:
    """A stream on one line: id:kind value @ ms."""
    events = case.streams.get(key, ())
    return " ".join(f"{event.id}:{event.fields['kind']}{event.fields['v']}@{event.at_us // 1000}" for event in events)


if __name__ == "__main__":
    raise SystemExit(main())
