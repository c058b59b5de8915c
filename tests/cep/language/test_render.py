"""Patterns as sentences."""

from __future__ import annotations

import pytest

from cep.language.builder import Pattern
from cep.language.render import render
from tests.cep.language.streams import STREAMS, TRANSACTIONS

ONE = {"transactions": TRANSACTIONS}


def begin(first: str | Pattern, key: tuple[str, ...] = ("card_id",)) -> Pattern:
    return Pattern.begin(first, key=key)


@pytest.mark.parametrize(
    ("builder", "sentence"),
    [
        (
            begin("probe").times_or_more(3).greedy().followed_by("cashout").within("10m"),
            "3 or more `probe` (greedy), followed by `cashout`, within 10 minutes, per card_id",
        ),
        (begin("a"), "`a`, per card_id"),
        (
            begin("a").next("b").followed_by_any("c").not_next("d").not_followed_by("e").followed_by("f").within("90s"),
            "`a`, directly followed by `b`, followed by any `c`, not directly followed by `d`, not followed by `e`,"
            " followed by `f`, within 90 seconds, per card_id",
        ),
        (
            begin("a").times(2).consecutive().next("b").times(2, 4).allow_combinations().next("c").optional(),
            "2 `a` (in a row), directly followed by 2 to 4 `b` (in any combination), directly followed by optionally"
            " `c`, per card_id",
        ),
        (
            begin("a").one_or_more().until("amount > 5").followed_by("b").gap("5s"),
            "1 or more `a` (until amount > 5), followed by `b` (at most 5 seconds after the event before), per card_id",
        ),
        (
            begin("a").times(3).gap("1m").not_followed_by("n").gap("2h"),
            "3 `a` (each at most 1 minute after the one before), not followed by `n` (for 2 hours), per card_id",
        ),
        (
            begin("a", ("card_id", "merchant_id", "country")).next(Pattern.begin("b").next("c")).times(2).consecutive(),
            "`a`, directly followed by 2 times (`b`, directly followed by `c`) (in a row), per card_id, merchant_id and"
            " country",
        ),
        (
            Pattern.begin("a", key=["card_id"], skip={"to_last": "a"}, emit="ordered", timeouts=True).within("1d"),
            "`a`, within 1 day, per card_id; a match removes the partials that began before its last `a`; alerts come"
            " in the order of their starts; partials that time out are alerts too",
        ),
    ],
)
def test_a_pattern_reads_as_a_sentence(builder: Pattern, sentence: str) -> None:
    assert render(builder.build(ONE)) == sentence


def test_steps_of_several_streams_say_theirs() -> None:
    builder = begin("a").from_stream("logins").followed_by("b").from_stream("transactions")
    assert render(builder.build(STREAMS)) == "`a` (of logins), followed by `b` (of transactions), per card_id"
