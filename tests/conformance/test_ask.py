"""Asking another process about cases, some of which it never answers."""

from __future__ import annotations

import sys

import pytest

from bench.peers.run import PeerError
from tests.conformance.ask import Flink, main
from tests.conformance.generate import random_case

PEER = """
import json, sys, time
for line in sys.stdin:
    cases = json.loads(line)
    kinds = {case["kind"] for case in cases}
    if "hangs" in kinds:
        time.sleep(60)
    if "dies" in kinds:
        sys.exit(3)
    failed = {"failed": "for a reason"}
    print(json.dumps(failed if "fails" in kinds else [{"rejected": case["id"]} for case in cases]), flush=True)
"""


def test_what_is_not_answered_is_told_and_costs_no_other_case(capfd: pytest.CaptureFixture[str]) -> None:
    """One case each that hangs, ends the process and fails, among others: these are answered all the same, in order."""
    kinds = ("plain", "hangs", "dies", "plain", "fails")
    cases = [{"id": str(number), "kind": kind} for number, kind in enumerate(kinds)]
    with Flink(lambda: [sys.executable, "-c", PEER], seconds=3.0) as flink:
        answered = flink.answers(cases)
    assert answered == [{**case, "rejected": case["id"]} for case in cases if case["kind"] == "plain"]
    told = capfd.readouterr().err
    assert [line.split()[1] for line in told.splitlines()] == ["1", "2", "4"]
    assert "no answer within 3 s" in told
    assert "ends with 3" in told
    assert "fails: for a reason" in told


@pytest.mark.parametrize("broken", [[sys.executable, "-c", "import sys; sys.exit(4)"], None])
def test_no_answer_at_all_is_no_success(broken: list[str] | None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where Flink ends at once, or can't be had, nothing has been compared."""

    def command() -> list[str]:
        if broken is None:
            raise PeerError("no Maven")
        return broken

    monkeypatch.setattr("tests.conformance.ask.question", command)
    assert main(["--cases", "2", "--first", "1"]) == 1


def test_the_case_of_a_seed_is_always_the_same() -> None:
    assert random_case(5) == random_case(5) != random_case(6)
