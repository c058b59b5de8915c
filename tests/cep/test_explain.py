"""What is told of a run: of every partial what was tested, what it did, and why it ended."""

from __future__ import annotations

import json
import re
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from cep.automaton.plan import compile_pattern
from cep.cli import EXIT_ERROR, main
from cep.cli.documents import EXAMPLES
from cep.explain import Dropped, End, Run, Seen, Why, explain_run
from cep.explain_text import TOLD_MAX, text_of_run
from cep.language.document import read_pattern
from cep.testing import explain
from events.schema import read_stream

PAGE = EXAMPLES.parent / "docs" / "explain.md"
SECOND_US = 1_000_000

STREAMS = {
    name: read_stream(
        {
            "stream": name,
            "event_time": "at",
            "fields": {"at": "instant", "card": "int64", "n": {"type": "int64", "nullable": True}},
        }
    )
    for name in ("payments", "logins")
}


def run(steps: list[dict[str, Any]], events: list[Any], **settings: Any) -> Run:
    """Events are numbers, the value of `n`, a second apart; or (stream, n)."""
    document = {"name": "p", "key": ["card"], "steps": steps, **settings}
    if not any("stream" in step for step in steps):
        document["stream"] = "payments"
    seen = []
    for place, given in enumerate(events):
        stream, n = given if isinstance(given, tuple) else ("", given)
        seen.append(Seen(place + 1, place * SECOND_US, {"card": 7, "n": n}, stream))
    return explain_run(compile_pattern(read_pattern(document, STREAMS, "p")), seen)


def ends(found: Run) -> list[tuple[int, Why, str]]:
    return [(end.partial, end.why, end.by) for end in found.ends]


A = {"name": "a", "where": "n = 1"}
B = {"name": "b", "where": "n = 2"}


def test_a_match_ends_its_partial() -> None:
    found = run([A, B], [1, 3, 2])
    assert ends(found) == [(1, Why.MATCHED, "match 1")]
    assert [(one.kind, one.taken) for one in found.found] == [("match", (("a", 1), ("b", 3)))]
    assert [turn.did for turn in found.turns if turn.partial == 1] == [
        ("passes it over",),
        ("takes it as b: match 1 is complete",),
    ]


def test_strict_contiguity_is_broken_by_an_event_that_is_none() -> None:
    found = run([A, {**B, "contiguity": "next"}], [1, 3])
    assert ends(found) == [
        (1, Why.BROKEN, "strict contiguity: event 2 is none that it may take, and it may pass over none")
    ]


def test_a_greedy_loop_can_leave_no_way_on() -> None:
    loop = {**A, "times": {"at_least": 2, "at_most": 3}, "greedy": True}
    found = run([loop, B], [1, 1, 1, 1], within="1m")
    assert (3, Why.BROKEN, "it may neither take event 4 nor pass over it") not in ends(found)
    assert (1, Why.BROKEN, "it may neither take event 4 nor pass over it") in ends(found)


def test_what_must_not_come_kills_and_is_named() -> None:
    found = run([A, {"name": "logout", "where": "n = 9", "contiguity": "not_followed_by"}, B], [1, 9, 2])
    assert ends(found) == [(1, Why.KILLED, "event 2 is `logout`, which must not come")]


def test_a_window_and_a_gap_time_out() -> None:
    assert ends(run([A, B], [1], within="10s")) == [
        (1, Why.TIMED_OUT, "the window that began with event 1 is over")
    ]  # fmt: skip
    assert ends(run([A, {**B, "gap": "2s"}], [1, 3, 3])) == [(1, Why.TIMED_OUT, "the gap since event 1 is over")]


def test_an_absence_is_a_match_when_the_window_is_over() -> None:
    found = run([A, {**B, "contiguity": "not_followed_by"}], [1], within="10s")
    assert ends(found) == [
        (1, Why.MATCHED, "match 1: the window that began with event 1 is over, and what must not come did not")
    ]
    assert [(one.kind, one.at_us) for one in found.found] == [("absence", 10 * SECOND_US)]


@pytest.mark.parametrize(
    ("skip", "removed"),
    [
        ("past_last_event", "with event 3 or before"),
        ("to_next", "with event 1 or before"),
        ({"to_last": "b"}, "before event 3"),
    ],
)
def test_a_skip_strategy_says_which_match_removed_what(skip: object, removed: str) -> None:
    strategy = skip if isinstance(skip, str) else "to_last"
    found = run([A, {**B, "contiguity": "followed_by_any"}], [1, 3, 2], skip=skip, within="1m")
    assert ends(found) == [
        (1, Why.PRUNED, f"match 1 came out, and skip {strategy} removes what began {removed}")
    ]  # fmt: skip


def test_a_match_that_the_strategy_drops_is_told() -> None:
    """Two starts complete with one event; the first removes the second."""
    found = run([A, B], [1, 1, 2], skip="past_last_event")
    assert [told.number for told in found.story if isinstance(told, Dropped)] == [2]
    assert len(found.found) == 1


def test_a_match_that_is_held_back_comes_out_when_no_earlier_start_is_open() -> None:
    """Match 1, of the events 2 and 3, waits for the start of event 1, whose own match then removes it."""
    steps = [{"name": "a", "where": "n < 10"}, {"name": "b", "where": "n = 10 * a.n"}]
    held = run(steps, [2, 3, 30, 20], skip="past_last_event", emit="ordered", within="1m")
    assert [(one.number, one.place) for one in held.found] == [(2, 3)]
    assert [one.number for one in held.story if isinstance(one, Dropped)] == [1]
    at_once = run(steps, [2, 3, 30, 20], skip="past_last_event", within="1m")
    assert [(one.number, one.place) for one in at_once.found] == [(1, 2)]


def test_what_nothing_has_ended_is_open() -> None:
    assert ends(run([A, B], [1])) == [(1, Why.OPEN, "no event has ended it, and no window")]


def test_a_condition_is_unknown_where_it_reads_null() -> None:
    found = run([A, {**B, "where": "n > a.n"}], [1, None])
    tested = [one for turn in found.turns if turn.place == 1 for one in turn.tested]
    assert [(one.value, dict(one.past)) for one in tested] == [(None, {"a.n": 1}), (None, {})]


def test_a_condition_on_another_stream_does_not_hold() -> None:
    steps = [{**A, "stream": "payments"}, {**B, "stream": "logins"}]
    found = run(steps, [("payments", 1), ("payments", 2), ("logins", 2)], within="1m")
    assert [one.taken for one in found.found] == [(("a", 1), ("b", 3))]
    assert [turn.did for turn in found.turns if turn.place == 1] == [("passes it over",), ("begins nothing",)]


def test_partials_for_which_there_is_no_room_are_counted() -> None:
    plan = compile_pattern(
        read_pattern({"name": "p", "stream": "payments", "key": ["card"], "steps": [A, B]}, STREAMS, "p")
    )
    events = [Seen(place, place, {"card": 7, "n": 1}) for place in range(5)]
    found = explain_run(plan, events, partials_max=3)
    assert (found.capped, len(found.ends)) == (2, 3)
    assert found.turns[-1].did == ("no room for a further partial: 3 are open",)
    assert "2 not opened for want of room" in list(text_of_run(found))[-1]


def test_of_very_many_partials_the_first_are_told_and_the_rest_counted() -> None:
    lines = list(text_of_run(run([A, B], [1] * 30 + [3])))
    last = lines[next(place for place, line in enumerate(lines) if "event 31" in line) :]
    assert [line.split()[0] for line in last[1 : TOLD_MAX + 1]] == [f"#{number}" for number in range(1, TOLD_MAX + 1)]
    assert last[TOLD_MAX + 1].split()[0] == "start"
    assert last[TOLD_MAX + 2] == "    … and 10 lines more"


def test_every_partial_has_one_end() -> None:
    found = run([{**A, "times": {"at_least": 1}}, B], [1, 1, 1, 2, 1, 2], within="4s")
    told = Counter(end.partial for end in found.story if isinstance(end, End))
    assert set(told.values()) == {1}


def test_the_test_kit_tells_it_key_by_key() -> None:
    told = explain(
        {"name": "p", "stream": "payments", "key": ["card"], "within": "1m", "steps": [A, B]},
        "card=7 n=1\ncard=8 n=2\ncard=7 n=2",
    )
    assert [line for line in told.splitlines() if line.startswith("card=")] == ["card=7", "card=8"]
    assert "comes out: a 1, b 3" in told


# -- the command and its page -----------------------------------------------------------------------------------------


def blocks(kind: str) -> list[str]:
    """The page's blocks of a kind."""
    return re.findall(rf"```{kind}\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)


@pytest.fixture
def payments(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the page's file."""
    (tmp_path / "payments.csv").write_text(blocks("csv")[0], encoding="utf-8")
    (tmp_path / "examples").symlink_to(EXAMPLES)
    monkeypatch.chdir(tmp_path)
    return tmp_path / "payments.csv"


COMMAND = ["patterns", "explain", "examples/patterns/card-testing.yaml", "--data", "payments.csv"]


def refused(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert main(arguments) == EXIT_ERROR
    return capsys.readouterr().err


@pytest.mark.usefixtures("payments")
def test_the_page_shows_what_the_command_says(capsys: pytest.CaptureFixture[str]) -> None:
    assert blocks("sh")[0].split() == ["stakeout", *COMMAND, "--key", "card_id=c7"]
    assert main([*COMMAND, "--key", "card_id=c7"]) == 0
    told = capsys.readouterr().out
    assert told[told.index("card_id=c7\n") :].strip() == blocks("text")[0].strip()


@pytest.mark.usefixtures("payments")
def test_without_a_key_those_are_taken_that_begin_the_pattern(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*COMMAND, "--json"]) == 0
    _, *runs = map(json.loads, capsys.readouterr().out.splitlines())
    assert [one["key"] for one in runs] == [{"card_id": "c7"}]
    assert Counter(told["why"] for told in runs[0]["story"] if told["what"] == "end") == {"timed out": 3}


@pytest.mark.usefixtures("payments")
def test_events_that_are_left_out_do_not_end_windows(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*COMMAND, "--events", "2"]) == 0
    told = capsys.readouterr().out
    assert "the first 2 of 5 events; --events takes more" in told
    assert "2 open" in told


def test_rows_have_their_numbers_in_the_file_also_when_it_is_not_in_order(
    payments: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    head, *rows = payments.read_text().splitlines()
    payments.write_text("\n".join([head, *rows[::-1]]) + "\n")
    assert main(COMMAND) == 0
    assert "2026-01-01 00:00:00.000  event 6  amount=0.99" in capsys.readouterr().out


@pytest.mark.usefixtures("payments")
def test_a_key_that_is_wrong_is_told_with_what_to_do(capsys: pytest.CaptureFixture[str]) -> None:
    assert "no event of it in payments.csv" in refused(capsys, *COMMAND, "--key", "card_id=c9")
    assert "--key card_id=…" in refused(capsys, *COMMAND, "--key", "card=c7")
    assert "must be FIELD=VALUE" in refused(capsys, *COMMAND, "--key", "c7")
    assert "add --data FILE" in refused(capsys, *COMMAND[:3], "--key", "card_id=c7")
