"""The rows of the benchmark: targets in their notes, and peers that count otherwise or can't be run are problems."""

from __future__ import annotations

from typing import Any

import pytest

from bench import __main__ as bench
from bench import engine
from bench.data import thousand_patterns, transactions
from bench.peers.run import PeerError
from bench.works import THOUSAND


def answers(line: dict[str, Any] | None) -> Any:
    def run_peer(peer: str, work: str, **_: object) -> dict[str, Any]:
        if line is None:
            raise PeerError("no gcc")
        return {"work": work, **line}

    return run_peer


def test_a_peer_that_counts_otherwise_is_a_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench, "run_peer", answers({"matches": 3, "events_per_s": 10}))
    run = bench.Run(100)
    assert run.peer("esper", "small_big", 3) == 10.0
    assert run.problems == []
    assert run.peer("esper", "small_big", 4) == 10.0
    assert run.problems == ["esper small_big: 3 matches, where ours are 4"]


def test_a_peer_that_cannot_be_run_is_a_problem_and_asked_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench, "run_peer", answers(None))
    run = bench.Run(100)
    assert [run.peer("c", "small_big", 3), run.peer("c", "small_big", 3)] == [None, None]
    assert run.problems == ["c small_big: no gcc"]


def test_a_target_is_part_of_the_note() -> None:
    assert bench.against("esper/x", 100.0, 10.0, "a", 10)["note"] == "a, target 10x met"
    assert bench.against("esper/x", 99.0, 10.0, "a", 10)["note"] == "a, target 10x missed"
    assert bench.against("esper/x", 99.0, None, "a", 10)["note"] == "a"
    assert bench.thousand_row("json", 299_999.0, 7)["note"] == "matches 7, target 300,000 missed"


@pytest.mark.parametrize(
    ("ours", "judged"), [(25.0, "4.0x ours: as we want it"), (10.0, "10.0x ours: good"), (9.0, "11.1x ours: too far")]
)
def test_the_loop_in_c_is_named_as_far_ahead_as_it_is(ours: float, judged: str) -> None:
    found = bench.behind_c("small_big", ours, 100.0, 7)
    assert judged in found["note"]
    assert found["ratio"] == pytest.approx(ours / 100)


def test_the_five_works_stand_beside_flink_esper_and_c_in_one_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """The peers answer what ours counted; all rows are there, with what both are measured in."""
    matches = {work: engine.from_columns(work, transactions(2_000), passes=1)[0] for work in bench.FIVE}
    few = engine.from_columns(THOUSAND, thousand_patterns(2_000)[0], passes=1)[0]

    def run_peer(peer: str, work: str, **options: object) -> dict[str, Any]:
        assert options["events"] == 2_000
        return {"matches": {**matches, THOUSAND: few}[work], "events_per_s": 1_000.0}

    monkeypatch.setattr(bench, "run_peer", run_peer)
    run = bench.Run(2_000, passes=1)
    rows = [*bench.columns_rows(run), *bench.json_rows(run)]
    assert run.problems == []
    works = (*bench.FIVE, THOUSAND)
    expected = {f"{part}/{work}" for part in ("columns", "esper", "json") for work in works}
    expected |= {f"c/{work}" for work in bench.FIVE if work != "card_testing"}
    assert {one["name"] for one in rows} == expected
    assert len(rows) == len(expected)
    assert {one["unit"] for one in rows} == {"events/s"}
    alone = {one["name"] for one in rows if one["peer"] is None}
    assert alone == {"columns/thousand_patterns", "json/thousand_patterns"}
