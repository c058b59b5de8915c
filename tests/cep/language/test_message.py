"""The sentence of an alert. Wrong templates are in bad_documents.txt."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cep.language.message import check_message, read_message, render_message
from events.types import FLOAT64, INT64, STRING

PROBES: list[dict[str, object]] = [
    {"amount": 1.5, "merchant": "m1"},
    {"amount": None, "merchant": "m2"},
    {"amount": 2, "merchant": "m3"},
]
MATCHED: dict[str, list[dict[str, object]]] = {
    "probe": PROBES,
    "cashout": [{"amount": 725.10, "at": "2026-01-02T03:04:05Z", "online": True}],
    "note": [],
}
KEY = {"card_id": "c-17", "shop": 4, "gone": None}


@pytest.mark.parametrize(
    ("template", "sentence"),
    [
        ("nothing to fill in", "nothing to fill in"),
        ("", ""),
        ("{count(probe)} probes, then {cashout.amount}", "3 probes, then 725.1"),
        ("{probe.merchant} is the last, {first(probe.merchant)} the first", "m3 is the last, m1 the first"),
        ("{last(probe.merchant)}", "m3"),
        ("{count(probe.amount)} of {count(probe)} have an amount", "2 of 3 have an amount"),
        ("sum {sum(probe.amount)}, least {min(probe.amount)}, most {max(probe.amount)}", "sum 3.5, least 1.5, most 2"),
        ("an average has two decimals: {avg(probe.amount)}", "an average has two decimals: 1.75"),
        ("card {card_id} in shop {shop}", "card c-17 in shop 4"),
        ("{ COUNT( probe ) } and { cashout . online }", "3 and true"),
        ("{{braces}} stay {{{card_id}}}", "{braces} stay {c-17}"),
        ("null is {gone}, {first(note.amount)}, {note.amount}, {sum(note.amount)}", "null is ?, ?, ?, ?"),
        ("none is none: {count(note)}", "none is none: 0"),
        ("{cashout.nothing} and {nobody.amount}", "? and ?"),
    ],
)
def test_a_template_is_filled_from_the_match_and_the_key(template: str, sentence: str) -> None:
    assert render_message(template, MATCHED, KEY) == sentence


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (7, "7"),
        (-7.5, "-7.5"),
        (1e7, "10000000"),
        (1e22, "10000000000000000000000"),
        (1e-7, "0.0000001"),
        (0.1, "0.1"),
        (3.0, "3"),
        (Decimal("12.50"), "12.50"),
        (2**63 - 1, "9223372036854775807"),
        (float("inf"), "?"),
        (float("nan"), "?"),
        (1e300, "?"),
        (True, "true"),
        (False, "false"),
        (None, "?"),
        ("a\nb\x1b[31m", "a b [31m"),
        ("x" * 200, "x" * 79 + "…"),
    ],
)
def test_a_value_is_shown_plainly_on_one_line(value: object, text: str) -> None:
    assert render_message("{a.v}", {"a": [{"v": value}]}, {}) == text


@pytest.mark.parametrize(
    ("values", "total"),
    [
        ([0.1, 0.2], "0.3"),
        (["10.50", "0.50"], "11.00"),
        ([1, "two", None, True, {}], "1"),
        (["1e999999999", 2], "2"),
        (["1e-999999999", 2], "2"),
    ],
)
def test_sums_are_exact_and_leave_out_what_is_no_number(values: list[object], total: str) -> None:
    assert render_message("{sum(a.v)}", {"a": [{"v": value} for value in values]}, {}) == total


def test_a_right_template_has_no_problems() -> None:
    steps = {"a": {"v": FLOAT64, "n": INT64, "s": STRING}}
    template = (
        "{a.s} {first(a.s)} {last(a.n)} {count(a)} {count(a.s)} {sum(a.v)} {avg(a.n)} {min(a.v)} {max(a.n)} {k} {{}}"
    )
    assert check_message(template, steps, ["k"]) == []


def test_a_secret_may_be_counted_but_not_shown() -> None:
    steps, secret = {"a": {"pan": STRING}}, {"a": {"pan"}}
    (problem,) = check_message("{a.pan} {count(a.pan)}", steps, [], (), secret, "alert.message")
    assert str(problem) == "alert.message:1: `pan` is secret: no message may show it"
    (problem,) = check_message("{pan}", steps, ["pan"], (), secret)
    assert problem.reason == "`pan` is secret: no message may show it"


@given(st.text("{}ab.()count sum\n"), st.dictionaries(st.sampled_from(["a", "b"]), st.none() | st.text() | st.floats()))
def test_no_template_and_no_event_makes_an_alert_fail(template: str, event: dict[str, object]) -> None:
    read_message(template)
    assert isinstance(render_message(template, {"a": [event, {}], "b": []}, event), str)
