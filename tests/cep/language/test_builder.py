"""The builder: Flink's words, and the same patterns as documents give."""

from __future__ import annotations

import pytest

from cep.language.builder import Pattern
from cep.language.document import read_pattern
from cep.language.pattern import Contiguity, Group, Inner, Skip, Times, flatten
from events.errors import InvalidDocument
from tests.cep.language.streams import STREAMS, TRANSACTIONS

ONE = {"transactions": TRANSACTIONS}


def problems(builder: Pattern) -> list[str]:
    """What `build` refuses, as `place: reason`."""
    with pytest.raises(InvalidDocument) as caught:
        builder.build(ONE)
    return [f"{problem.where}: {problem.reason}" for problem in caught.value.problems]


def begin(first: str | Pattern = "a") -> Pattern:
    return Pattern.begin(first, key=["card_id"]).within("10m")


def test_the_builder_and_the_document_give_the_same_pattern() -> None:
    built = (
        Pattern.begin("probe", key=["card_id"], name="card-testing", skip="past_last_event")
        .where("amount < 2")
        .times_or_more(3)
        .greedy()
        .followed_by("cashout")
        .where("amount > 500 and amount > 50 * avg(probe.amount)")
        .within("10m")
        .alert(severity="high", message="{count(probe)} probes")
        .measures(probes="count(probe)", loss="sum(probe.amount) + cashout.amount")
        .build(ONE)
    )
    document = """
name: card-testing
stream: transactions
key: [card_id]
within: 10m
skip: past_last_event
steps:
  - {name: probe, where: "amount < 2", times: {at_least: 3}, greedy: true}
  - {name: cashout, where: "amount > 500 and amount > 50 * avg(probe.amount)"}
alert: {severity: high, message: "{count(probe)} probes"}
measures: {probes: count(probe), loss: sum(probe.amount) + cashout.amount}
"""
    assert built == read_pattern(document, STREAMS, "test")


def test_every_word_of_flink_sets_what_it_names() -> None:
    pattern = (
        Pattern.begin("a", key=["card_id"], skip={"to_last": "a"}, emit="ordered", timeouts=True, description="why")
        .one_or_more()
        .consecutive()
        .until("online")
        .next("b")
        .times(2)
        .followed_by("c")
        .times(2, 4)
        .allow_combinations()
        .followed_by_any("d")
        .gap("5s")
        .not_next("e")
        .not_followed_by("f")
        .followed_by("g")
        .times(0, 2)
        .within("1h")
        .build(ONE)
    )
    a, b, c, d, e, f, g = flatten(pattern.steps)
    assert (a.times, a.inner, a.until is not None) == (Times(1, None), Inner.CONSECUTIVE, True)
    assert (b.contiguity, b.times) == (Contiguity.NEXT, Times(2, 2))
    assert (c.contiguity, c.times, c.inner) == (Contiguity.FOLLOWED_BY, Times(2, 4), Inner.COMBINATIONS)
    assert (d.contiguity, d.gap_us) == (Contiguity.FOLLOWED_BY_ANY, 5_000_000)
    assert (e.contiguity, f.contiguity) == (Contiguity.NOT_NEXT, Contiguity.NOT_FOLLOWED_BY)
    assert (g.times, g.optional) == (Times(1, 2), True)
    assert (pattern.skip, pattern.skip_to, pattern.timeouts) == (Skip.TO_LAST, "a", True)
    assert (pattern.name, pattern.description, pattern.streams) == ("pattern", "why", ("transactions",))


@pytest.mark.parametrize(
    ("builder", "condition"),
    [
        (begin().where("online"), "online"),
        (begin().where("online").where("amount > 1"), "(online) and (amount > 1)"),
        (begin().where("online").or_("amount > 1"), "(online) or (amount > 1)"),
        (begin().or_("online"), "online"),
        (begin().where("online").or_("amount > 1").or_("risk > 0"), "(online) or (amount > 1) or (risk > 0)"),
        (begin().where("online").or_("amount > 1").where("risk > 0"), "((online) or (amount > 1)) and (risk > 0)"),
    ],
)
def test_where_adds_by_and_while_or_is_an_alternative_to_all_before(builder: Pattern, condition: str) -> None:
    assert flatten(builder.build(ONE).steps)[0].source == condition


def test_a_group_is_a_builder_of_its_own() -> None:
    body = Pattern.begin("b").where("online").next("c")
    pattern = begin().followed_by_any(body).times(2).consecutive().followed_by("d").build(ONE)
    group = pattern.steps[1]
    assert isinstance(group, Group)
    assert (group.contiguity, group.times, group.inner) == (
        Contiguity.FOLLOWED_BY_ANY,
        Times(2, 2),
        Inner.CONSECUTIVE,
    )
    assert [step.name for step in flatten(group.steps)] == ["b", "c"]
    assert isinstance(begin(body).one_or_more().build(ONE).steps[0], Group)


def test_each_call_answers_a_new_builder_so_that_a_beginning_can_be_shared() -> None:
    start = begin("probe").where("amount < 2")
    short, long = start.times(2).build(ONE), start.times(5).greedy().build(ONE)
    assert [flatten(pattern.steps)[0].times for pattern in (start.build(ONE), short, long)] == [
        Times(),
        Times(2, 2),
        Times(5, 5),
    ]


def test_of_several_windows_the_shortest_counts() -> None:
    assert begin().within("5m").within("1h").build(ONE).within_us == 300_000_000


def test_several_streams_are_named_step_by_step() -> None:
    pattern = begin("login").from_stream("logins").followed_by("cashout").from_stream("transactions").build(STREAMS)
    assert pattern.streams == ("logins", "transactions")


def test_where_there_is_one_stream_it_needs_no_name() -> None:
    assert begin().build(ONE).streams == ("transactions",)
    with pytest.raises(InvalidDocument, match="the pattern names no stream to read"):
        begin().build(STREAMS)


# What Flink refuses, word for word of semantics.md §1.10.
REFUSED = [
    ("duplicate stage names", begin().next("a"), "steps[1].name: there is a step `a` already, at steps[0]"),
    (
        "second quantifier",
        begin().times(2).one_or_more(),
        "steps[0].times: a step has one quantifier, and here is a second",
    ),
    ("a second times", begin().times(1).times(3), "steps[0].times: a step has one quantifier, and here is a second"),
    (
        "loop on NOT",
        begin().not_next("n").one_or_more().next("b"),
        "steps[1].times: `n` must not occur, so it can't have `times`",
    ),
    (
        "times on NOT",
        begin().not_next("n").times(3).next("b"),
        "steps[1].times: `n` must not occur, so it can't have `times`",
    ),
    (
        "greedy on NOT",
        begin().not_next("n").greedy().next("b"),
        "steps[1].greedy: `n` must not occur, so it can't have `greedy`",
    ),
    (
        "optional on NOT",
        begin().not_followed_by("n").optional(),
        "steps[1].optional: `n` must not occur, so it can't have `optional`",
    ),
    (
        "consecutive on NOT",
        begin().not_next("n").consecutive().next("b"),
        "steps[1].consecutive: `n` must not occur, so it can't have `consecutive`",
    ),
    (
        "until on NOT",
        begin().not_next("n").until("online").next("b"),
        "steps[1].until: `n` must not occur, so it can't have `until`",
    ),
    ("optional twice", begin().optional().optional(), "steps[0].optional: `optional` is given twice"),
    (
        "NOT after optional",
        begin().next("b").optional().not_followed_by("n"),
        "steps[2].contiguity: `n` must not occur after `b`, which is optional: it is open from where on it must not",
    ),
    (
        "NOT after optional group",
        begin().next(Pattern.begin("b")).optional().not_next("n").next("c"),
        "steps[2].contiguity: `n` must not occur after the group of `b`, which is optional: it is open from where"
        " on it must not",
    ),
    (
        "optional after greedy",
        begin().one_or_more().greedy().followed_by("b").optional(),
        "steps[1].optional: `b` can't be optional behind the greedy `a`",
    ),
    ("greedy on a single stage", begin().greedy(), "steps[0].greedy: `a` takes one event, so it can't be greedy"),
    (
        "greedy on an optional single stage",
        begin().optional().greedy(),
        "steps[0].greedy: `a` takes one event, so it can't be greedy",
    ),
    ("greedy on a group", begin(Pattern.begin("b")).one_or_more().greedy(), "steps[0].greedy: a group can't be greedy"),
    (
        "greedy after combinations",
        begin().one_or_more().allow_combinations().greedy(),
        "steps[0].greedy: `a` can't both try all combinations and take everything",
    ),
    (
        "greedy before combinations, which Flink lets pass",
        begin().one_or_more().greedy().allow_combinations(),
        "steps[0].greedy: `a` can't both try all combinations and take everything",
    ),
    (
        "consecutive on a single stage",
        begin().consecutive(),
        "steps[0].consecutive: `a` is no loop, so `consecutive` has no meaning",
    ),
    (
        "combinations on a single stage",
        begin().allow_combinations(),
        "steps[0].combinations: `a` is no loop, so `combinations` has no meaning",
    ),
    (
        "consecutive and combinations",
        begin().times(2).consecutive().allow_combinations(),
        "steps[0].consecutive: a loop can't be both consecutive and try combinations",
    ),
    (
        "consecutive twice",
        begin().times(2).consecutive().consecutive(),
        "steps[0].consecutive: `consecutive` is given twice",
    ),
    (
        "combinations twice",
        begin().times(2).allow_combinations().allow_combinations(),
        "steps[0].combinations: `combinations` is given twice",
    ),
    (
        "until on times(n)",
        begin().times(2).until("online"),
        "steps[0].until: `until` ends a loop that has no upper bound, and `a` has one",
    ),
    (
        "until on times(a, b)",
        begin().times(1, 3).until("online"),
        "steps[0].until: `until` ends a loop that has no upper bound, and `a` has one",
    ),
    (
        "until on a single stage",
        begin().until("online"),
        "steps[0].until: `until` ends a loop that has no upper bound, and `a` has one",
    ),
    ("until twice", begin().one_or_more().until("online").until("online"), "steps[0].until: `until` is given twice"),
    ("times(0)", begin().times(0), "steps[0].times: a loop takes at least 1 event, found 0"),
    ("times(0, 0)", begin().times(0, 0), "steps[0].times: a loop takes at least 1 event, found 0"),
    ("negative", begin().times(-1), "steps[0].times: a loop takes at least 1 event, found -1"),
    ("from > to", begin().times(3, 2), "steps[0].times: at most 2 is less than at least 3"),
    ("timesOrMore(0)", begin().times_or_more(0), "steps[0].times: a loop takes at least 1 event, found 0"),
    (
        "last notFollowedBy without window",
        Pattern.begin("a", key=["card_id"]).not_followed_by("n"),
        "steps[1].contiguity: the pattern ends when `n` has not occurred, but nothing says by when",
    ),
    (
        "gap longer than the window",
        begin().followed_by("b").gap("20m"),
        "steps[1].gap: the gap of 20 minutes is longer than the whole pattern may take (10 minutes)",
    ),
    (
        "skip to an unknown stage",
        Pattern.begin("a", key=["card_id"], skip={"to_first": "z"}),
        "skip.to_first: there is no step `z`",
    ),
    (
        "skip to a stage in a group",
        Pattern.begin(Pattern.begin("b"), key=["card_id"], skip={"to_first": "b"}),
        "skip.to_first: `b` stands in a group and may be there several times over",
    ),
]


@pytest.mark.parametrize(("builder", "message"), [row[1:] for row in REFUSED], ids=[row[0] for row in REFUSED])
def test_what_flink_refuses_is_refused_with_our_reason(builder: Pattern, message: str) -> None:
    assert problems(builder) == [message]


def test_settings_of_the_whole_do_not_belong_to_a_group() -> None:
    body = Pattern.begin("b", skip="to_next").within("5m")
    assert problems(begin().next(body)) == [
        "steps[1].skip: `skip` is of the whole pattern, not of a group",
        "steps[1].within: `within` is of the whole pattern, not of a group",
    ]


def test_all_problems_come_at_once_those_of_groups_with_their_place() -> None:
    body = Pattern.begin("b").times(2).times(3).next("c").where("amont > 1")
    assert problems(begin().where("online >").next(body).optional().optional()) == [
        "steps[1].group[0].times: a step has one quantifier, and here is a second",
        "steps[1].optional: `optional` is given twice",
        "steps[0].where:8: the expression ends after '>', where something must follow",
        "steps[1].group[1].where:1: there is no field 'amont'",
    ]


def test_a_window_that_cannot_be_read_is_told_even_beside_one_that_can() -> None:
    assert problems(begin().within("soon")) == [
        "within: found 'soon', not a duration: write whole numbers with w, d, h, m, s, ms or us, as 1h30m"
    ]
