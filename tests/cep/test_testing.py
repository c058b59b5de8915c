"""The test kit: what a person writes about events, and what comes back."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from cep.cli.documents import EXAMPLES
from cep.testing import START_US, Scene, matches, measures, read_lines, scene, sentences, timeouts
from events.errors import InvalidDocument
from events.schema import read_stream

CARD_TESTING = EXAMPLES / "patterns" / "card-testing.yaml"

PROBED = """
    card_id=7 amount=1                    @0s
    card_id=7 amount=1.50                 @10s
    card_id=7 amount=0.99                 @20s   # still nothing that anyone notices
    card_id=8 amount=900                  @30s
    card_id=7 amount=800 merchant_id=m-9  @2m
"""

PAIR = """
name: pair
stream: payments
key: [card]
within: 10s
timeouts: true
steps:
  - {name: small, where: amount < 1}
  - {name: big, where: amount > 500}
alert: {message: "{small.amount} then {big.amount}"}
"""


def test_a_match_maps_steps_to_the_numbers_of_its_events() -> None:
    assert matches(CARD_TESTING, PROBED) == [{"probe": [1, 2, 3], "cashout": [5]}]


def test_the_sentence_is_the_one_that_a_person_would_see() -> None:
    assert sentences(CARD_TESTING, PROBED) == ["3 probes, then 800 at m-9"]


def test_the_measures_are_those_of_the_alert() -> None:
    assert measures(CARD_TESTING, PROBED) == [{"loss": 803.49, "probes": 3}]


@pytest.mark.parametrize("written", ["rfc3339", "datetime", "epoch_s", "epoch_ms", "epoch_us", "epoch_ns"])
def test_an_event_time_is_in_the_record_as_the_stream_writes_it(written: str) -> None:
    """So that a measure can read it back."""
    stream = read_stream(
        {"stream": "s", "event_time": {"field": "at", "format": written}, "fields": {"at": "instant", "k": "int64"}}
    )
    document = {"name": "p", "stream": "s", "key": ["k"], "steps": [{"name": "a"}], "measures": {"at": "a.at"}}
    assert measures(document, "k=1 @1h", streams=[stream]) == [{"at": START_US + 3_600_000_000}]


def test_the_streams_are_found_beside_the_pattern_so_its_types_count() -> None:
    with pytest.raises(InvalidDocument, match="amount is decimal"):
        matches(CARD_TESTING, "card_id=7 amount=much")


def test_a_window_that_ends_is_a_time_out_and_no_match() -> None:
    late = "card=7 amount=0.50 @0s\ncard=7 amount=600 @10s"
    assert matches(PAIR, late) == []
    assert timeouts(PAIR, late) == [{"small": [1]}]


def test_until_stops_the_time_before_the_window_ends() -> None:
    assert timeouts(PAIR, "card=7 amount=0.50 @0s", until="@9s") == []
    assert timeouts(PAIR, "card=7 amount=0.50 @0s", until="@10s") == [{"small": [1]}]


def test_an_event_without_a_time_comes_a_second_after_the_one_before() -> None:
    assert [line.at_us for line in read_lines("a=1 @5s\na=2\na=3 @2026-01-01T00:01:00Z")] == [
        1_767_225_605_000_000,
        1_767_225_606_000_000,
        1_767_225_660_000_000,
    ]


def test_a_line_may_name_its_stream() -> None:
    text = "logins: user=1 device=new @0s\ntransfers: user=1 amount=200"
    assert [(line.stream, line.fields["user"]) for line in read_lines(text)] == [("logins", "1"), ("transfers", "1")]


def test_every_wrong_line_is_reported_at_once() -> None:
    with pytest.raises(InvalidDocument) as caught:
        matches(PAIR, "card=7 amount=1 @10s\ncard=7 amount=2 @5s\ncard 7\ncard=1 amount=2 @soon")
    assert [problem.where for problem in caught.value.problems] == ["line 2", "line 3", "line 4"]


def test_an_unknown_field_is_named_with_those_that_there_are() -> None:
    with pytest.raises(InvalidDocument, match="transactions has no field `card`"):
        matches(CARD_TESTING, "card=7 amount=1")


def test_a_field_that_is_left_out_is_null_and_holds_in_no_comparison() -> None:
    assert matches(PAIR, "card=7 @0s\ncard=7 amount=600 @1s") == []


def test_a_played_text_leaves_its_state_for_who_wants_to_look() -> None:
    played: Scene = scene(PAIR, "card=7 amount=0.5 @0s", until="@1s")
    assert played.alerts == []
    assert played.state.matcher.live_sequences().dtype == np.int64


def test_a_pattern_may_read_several_streams(tmp_path: Path) -> None:
    """A condition may look at a step on another stream; `next` counts the events of all of them."""
    head = "event_time: {field: at, format: rfc3339}\nfields: {user: string, at: instant, "
    fields = {
        "logins": "ok: bool, device: string}",
        "transfers": "amount: float64, device: string}",
        "pages": "n: int64}",
    }
    (tmp_path / "streams").mkdir()
    for name, own in fields.items():
        (tmp_path / "streams" / f"{name}.yaml").write_text(f"stream: {name}\n{head}{own}")
    pattern = tmp_path / "taken-over.yaml"
    pattern.write_text("""
        name: taken-over
        key: [user]
        within: 10m
        steps:
          - {name: fails, stream: logins, where: ok = false, times: {at_least: 2}, greedy: true}
          - {name: login, stream: logins, where: ok = true}
          - {name: transfer, stream: transfers, contiguity: next, where: amount > 100 and device <> login.device}
    """)
    found = matches(
        pattern,
        """
        logins:    user=a ok=false device=x
        transfers: user=a amount=5000 device=x
        logins:    user=a ok=false device=x
        logins:    user=b ok=true device=q
        logins:    user=a ok=true device=y
        transfers: user=b amount=900 device=z
        transfers: user=a amount=900 device=z
        transfers: user=a amount=900 device=q
        """,
    )
    assert found == [{"fails": [1, 3], "login": [5], "transfer": [7]}]
