"""Documents that are right: what they become, and that they come back."""

from __future__ import annotations

import json
from decimal import Decimal

import pytest
import yaml
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from cep.language.document import attempt_pattern, dump_pattern, read_pattern
from cep.language.limits import DOCUMENT_CHARS_MAX
from cep.language.pattern import AlertText, Contiguity, Emit, Group, Inner, Pattern, Skip, Step, Times, flatten
from cep.measures import measured
from events.errors import InvalidDocument
from events.expression import Event, render
from tests.cep.language.streams import STREAMS

MINUTE_US = 60_000_000

CARD_TESTING = """
name: card-testing
description: small probes, then a cash-out
stream: transactions
key: [card_id]
within: 10m
skip: past_last_event
steps:
  - {name: probe,   where: "amount < 2", times: {at_least: 3}, greedy: true}
  - {name: cashout, contiguity: followed_by, where: "amount > 500 and amount > 50 * avg(probe.amount)"}
alert: {severity: high, message: "{count(probe)} probes, then {cashout.amount} at {cashout.merchant_id}"}
"""


def read(text: str) -> Pattern:
    return read_pattern(text, STREAMS, "test")


def steps(text: str) -> tuple[Step | Group, ...]:
    """The steps of a document that says no more than its steps."""
    return read(f"{{name: p, stream: transactions, key: card_id, within: 10m, steps: [{text}]}}").steps


def step(text: str) -> Step:
    """A step that follows another."""
    found = steps(f"{{name: before}}, {text}")[1]
    assert isinstance(found, Step)
    return found


def test_the_card_testing_document_becomes_three_or_more_probes_and_a_cashout() -> None:
    pattern = read(CARD_TESTING)
    probe, cashout = flatten(pattern.steps)
    assert (pattern.name, pattern.description) == ("card-testing", "small probes, then a cash-out")
    assert (pattern.streams, pattern.key) == (("transactions",), ("card_id",))
    assert (pattern.within_us, pattern.skip, pattern.emit) == (10 * MINUTE_US, Skip.PAST_LAST_EVENT, Emit.EAGER)
    assert pattern.alert.severity == "high"
    assert (probe.name, probe.times, probe.greedy, probe.source) == ("probe", Times(3, None), True, "amount < 2")
    assert (cashout.name, cashout.times, cashout.contiguity) == ("cashout", Times(), Contiguity.FOLLOWED_BY)
    assert cashout.where is not None
    assert render(cashout.where) == "amount > 500 AND amount > 50 * avg(probe.amount)"


def test_what_is_left_away_has_a_plain_meaning() -> None:
    pattern = read("{name: p, stream: transactions, key: card_id, steps: [{name: a}]}")
    assert pattern == Pattern("p", (Step("a"),), ("transactions",), ("card_id",), alert=AlertText("medium", ""))


@pytest.mark.parametrize(
    ("text", "times", "optional"),
    [
        ("times: 1", Times(1, 1), False),
        ("times: 3", Times(3, 3), False),
        ("times: {exactly: 3}", Times(3, 3), False),
        ("times: {at_least: 3}", Times(3, None), False),
        ("times: {at_least: 2, at_most: 4}", Times(2, 4), False),
        ("times: {at_least: 0, at_most: 4}", Times(1, 4), True),
        ("times: {at_least: 0}", Times(1, None), True),
        ("one_or_more: true", Times(1, None), False),
        ("one_or_more: false", Times(1, 1), False),
        ("one_or_more: true, optional: true", Times(1, None), True),
    ],
)
def test_a_loop_counts_as_it_says_and_none_at_all_is_optional(text: str, times: Times, optional: bool) -> None:
    found = step(f"{{name: a, {text}}}")
    assert (found.times, found.optional) == (times, optional)


@pytest.mark.parametrize(
    ("option", "inner"),
    [
        ("consecutive", Inner.CONSECUTIVE),
        ("combinations", Inner.COMBINATIONS),
        ("allow_combinations", Inner.COMBINATIONS),
    ],
)
def test_a_loop_is_relaxed_inside_unless_it_says_otherwise(option: str, inner: Inner) -> None:
    assert step("{name: a, times: 2}").inner is Inner.RELAXED
    assert step(f"{{name: a, times: 2, {option}: true}}").inner is inner


@pytest.mark.parametrize("contiguity", list(Contiguity))
def test_each_way_to_reach_a_step_has_its_word(contiguity: Contiguity) -> None:
    assert step(f"{{name: a, contiguity: {contiguity}}}, {{name: b}}").contiguity is contiguity


def test_a_step_follows_the_one_before_at_any_distance_unless_it_says_otherwise() -> None:
    assert step("{name: a}").contiguity is Contiguity.FOLLOWED_BY


@pytest.mark.parametrize(
    ("text", "skip", "to"),
    [
        ("no_skip", Skip.NO_SKIP, ""),
        ("to_next", Skip.TO_NEXT, ""),
        ("past_last_event", Skip.PAST_LAST_EVENT, ""),
        ("{to_first: b}", Skip.TO_FIRST, "b"),
        ("{to_last: b}", Skip.TO_LAST, "b"),
    ],
)
def test_each_way_to_skip_has_its_word(text: str, skip: Skip, to: str) -> None:
    pattern = read(f"{{name: p, stream: transactions, key: card_id, skip: {text}, steps: [{{name: a}}, {{name: b}}]}}")
    assert (pattern.skip, pattern.skip_to) == (skip, to)


def test_alternatives_become_one_condition_that_keeps_its_text() -> None:
    either = step('{name: a, where: "amount < 2", or: ["online", "risk > 0.5 and amount > 9"]}')
    joined = step('{name: a, where: "(amount < 2) or (online) or (risk > 0.5 and amount > 9)"}')
    assert either == joined
    assert either.source == "(amount < 2) or (online) or (risk > 0.5 and amount > 9)"


def test_a_single_alternative_needs_no_list() -> None:
    assert step('{name: a, where: "online", or: "amount > 9"}').source == "(online) or (amount > 9)"


def test_a_loop_may_read_what_it_took_before_and_what_later_steps_took_in_an_earlier_round() -> None:
    rising = step('{name: a, one_or_more: true, where: "amount > a.amount or count(a) = 0"}')
    assert rising.where is not None
    (group,) = steps('{group: [{name: a, where: "count(b) = 0 or amount > b.amount"}, {name: b}], one_or_more: true}')
    assert isinstance(group, Group)
    assert len(group.steps) == 2


def test_a_group_has_steps_and_the_options_of_a_loop() -> None:
    _, group = steps(
        "{name: a}, {group: [{name: b}, {name: c, contiguity: next}], contiguity: followed_by_any, one_or_more: true,"
        ' consecutive: true, optional: true, until: "amount > 9"}'
    )
    assert isinstance(group, Group)
    assert group.steps == (Step("b"), Step("c", Contiguity.NEXT))
    assert (group.contiguity, group.times, group.inner) == (
        Contiguity.FOLLOWED_BY_ANY,
        Times(1, None),
        Inner.CONSECUTIVE,
    )
    assert group.optional
    assert group.until is not None


def test_a_pattern_of_several_streams_names_the_stream_of_each_step() -> None:
    pattern = read("""
name: new-device
stream: transactions
key: card_id
within: 1h
steps:
  - {name: login, stream: logins, where: "not ok"}
  - {name: cashout, where: "amount > 500"}
""")
    assert pattern.streams == ("logins", "transactions")
    assert [each.stream for each in flatten(pattern.steps)] == ["logins", "transactions"]


def test_in_a_pattern_of_one_stream_no_step_names_it() -> None:
    pattern = read("{name: p, key: card_id, within: 1h, steps: [{name: a, stream: logins, where: ok}]}")
    assert (pattern.streams, flatten(pattern.steps)[0].stream) == (("logins",), "")


def test_measures_are_named_expressions_over_the_events_of_the_match_and_its_key() -> None:
    pattern = read(
        CARD_TESTING
        + 'measures: {probes: count(probe), times_over: "cashout.amount / avg(probe.amount)", card: card_id}'
    )
    assert [measure.name for measure in pattern.measures] == ["card", "probes", "times_over"]
    assert [render(measure.value) for measure in pattern.measures] == [
        "card_id",
        "count(probe)",
        "cashout.amount / avg(probe.amount)",
    ]
    probes: list[Event] = [{"amount": Decimal(1), "card_id": "c"}, {"amount": Decimal(3), "card_id": "c"}]
    matched: dict[str, list[Event]] = {"probe": probes, "cashout": [{"amount": Decimal(600), "card_id": "c"}]}
    assert measured(pattern, {"card_id": "c"}, matched) == {"probes": 2, "times_over": 300.0, "card": "c"}


def test_json_text_and_a_mapping_mean_what_yaml_means() -> None:
    mapping = yaml.safe_load(CARD_TESTING)
    assert read(json.dumps(mapping)) == read_pattern(mapping, STREAMS, "test") == read(CARD_TESTING)


def test_json_escapes_are_read_as_json() -> None:
    document = yaml.safe_load(CARD_TESTING) | {"description": "🃏/\t"}
    assert read(json.dumps(document).replace("/", "\\/")).description == "🃏/"


def test_problems_in_a_mapping_or_in_json_stand_at_their_path() -> None:
    document = yaml.safe_load(CARD_TESTING) | {"within": "10"}
    for given_as in (document, json.dumps(document)):
        with pytest.raises(InvalidDocument) as caught:
            read_pattern(given_as, STREAMS, "test")
        assert [problem.where for problem in caught.value.problems] == ["within"]


def test_the_message_of_the_error_shows_all_problems() -> None:
    with pytest.raises(InvalidDocument) as caught:
        read_pattern("name: p\nkey: card_id\nstream: transactions\nsteps: [{name: a, were: x}]\n", STREAMS, "x.yaml")
    assert str(caught.value) == (
        "x.yaml: 1 problem\n  x.yaml:4 steps[0].were: there is no `were` here\n    hint: did you mean `where`?"
    )


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("a" * (DOCUMENT_CHARS_MAX + 1), "the text has 65537 characters; a document has at most 65536"),
        ("a: " + "[" * 1_000, "lists and mappings stand more than 32 deep"),
        ("{" * 5_000, "lists and mappings stand more than 32 deep"),
        ("a: &a [1]\nb: [*a, *a]", "anchors and aliases (`&`, `*`) are not read"),
        ("0x" + "f" * 60_000, "the number has 60002 characters, too many for any number here"),
        ("name: \x00", "this is no YAML: unacceptable character #x0000: special characters are not allowed"),
        ("a: b\n--- \nc: d", "this is no YAML: expected a single document in the stream but found another document"),
        ('{"name": "p", "name": "q"', "this is no YAML: while parsing a flow mapping expected ',' or '}', but got"),
    ],
)
def test_a_text_that_is_no_document_is_refused_before_it_costs_anything(text: str, reason: str) -> None:
    with pytest.raises(InvalidDocument) as caught:
        read(text)
    assert caught.value.problems[0].reason.startswith(reason)


# -- there and back ---------------------------------------------------------------------------------------------------

CONDITIONS = st.sampled_from(
    ["amount < 2", "online", "country in ('DE', 'FR')", "not online or risk >= 0.5", "attempts > 1 + 2", "amount > 1e3"]
)
LENGTHS = st.sampled_from(["5s", "90s", "1h30m", "1ms"])
TIMES: st.SearchStrategy[dict[str, object]] = st.sampled_from(
    [
        {},
        {"times": 2},
        {"times": {"at_least": 2}},
        {"times": {"at_least": 0, "at_most": 3}},
        {"times": {"exactly": 4}},
        {"one_or_more": True},
    ]
)


@st.composite
def options(draw: st.DrawFn) -> dict[str, object]:
    """What steps and groups have in common; mostly sound."""
    found = dict(draw(TIMES))
    word = draw(st.sampled_from(["", "", "consecutive", "combinations", "greedy", "optional", "until"]))
    if word == "until":
        found["until"] = draw(CONDITIONS)
    elif word:
        found[word] = True
    return found


def chosen(members: int) -> st.SearchStrategy[dict[str, object]]:
    """How many members of a `permute` come; mostly sound."""
    return st.sampled_from([{}, {"consecutive": True}, *({"any_of": number} for number in range(1, members + 2))])


@st.composite
def documents(draw: st.DrawFn) -> dict[str, object]:
    """Documents of which most have no problems."""
    numbers = iter(range(100))

    def item(first: bool, depth: int) -> dict[str, object]:
        contiguity = {} if first else {"contiguity": draw(st.sampled_from(list(Contiguity))).value}
        if contiguity.get("contiguity", "").startswith("not"):
            return {"name": f"s{next(numbers)}", "where": draw(CONDITIONS), **contiguity}
        if depth < 2 and draw(st.integers(0, 6)) == 0:
            members = [item(True, depth + 1) for _ in range(draw(st.integers(1, 3)))]
            return {"permute": members, **draw(chosen(len(members))), **contiguity, **draw(options())}
        if depth < 2 and draw(st.integers(0, 4)) == 0:
            return {"group": sequence(depth + 1), **contiguity, **draw(options())}
        found: dict[str, object] = {"name": f"s{next(numbers)}", **contiguity, **draw(options())}
        if draw(st.booleans()):
            found["where"] = draw(CONDITIONS)
            found |= draw(st.sampled_from([{}, {}, {"or": ["attempts = 3", "online"]}]))
        if draw(st.integers(0, 5)) == 0:
            found["gap"] = draw(LENGTHS)
        return found

    def sequence(depth: int) -> list[dict[str, object]]:
        return [item(place == 0, depth) for place in range(draw(st.integers(1, 3)))]

    whole = {
        "within": draw(st.sampled_from(["2h", "1d12h"])),
        "skip": draw(st.sampled_from(["no_skip", "to_next", {"to_last": "s0"}])),
        "emit": draw(st.sampled_from(["eager", "ordered"])),
        "timeouts": draw(st.booleans()),
        "description": draw(st.sampled_from(["", "what: it is\nfor"])),
        "alert": draw(st.sampled_from([{}, {"severity": "low"}, {"message": "{count(s0)} of {{card}} {card_id}"}])),
        "measures": draw(st.sampled_from([{}, {"n": "count(s0)", "card": "card_id"}, {"b": "s0.amount * 2 > 3"}])),
    }
    return {"name": "p", "stream": "transactions", "key": ["card_id"], "steps": sequence(0)} | {
        key: value for key, value in whole.items() if value
    }


@settings(max_examples=150, deadline=None)
@given(documents())
def test_a_pattern_that_was_read_comes_back_from_its_canonical_document(document: dict[str, object]) -> None:
    pattern, problems = attempt_pattern(document, STREAMS, "test")
    assume(not problems)
    dumped = dump_pattern(pattern)
    assert read_pattern(dumped, STREAMS, "test") == pattern
    assert read(json.dumps(dumped)) == read(yaml.safe_dump(dumped)) == pattern
    assert dump_pattern(read_pattern(dumped, STREAMS, "test")) == dumped


def test_the_canonical_document_says_nothing_twice() -> None:
    mapping = yaml.safe_load(CARD_TESTING)
    assert dump_pattern(read(CARD_TESTING)) == mapping


WORDS = st.sampled_from(
    ["name", "steps", "group", "permute", "any_of", "where", "or", "times", "at_least", "at_most", "exactly", "greedy",
     "optional", "within", "gap", "key", "skip", "to_first", "stream", "alert", "message", "until", "contiguity",
     "one_or_more", "severity"]
)  # fmt: skip
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-3, 10**12)
    | st.floats()
    | st.sampled_from(["a", "10m", "transactions", "card_id", "amount > 1", "{count(a)}", "next", "not_next", "", " "])
    | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS | st.integers(0, 1), inner, max_size=5),
    max_leaves=25,
)


@settings(max_examples=200, deadline=None)
@given(st.dictionaries(WORDS, VALUES, max_size=8))
def test_whatever_is_given_is_read_or_refused_with_places(document: dict[str, object]) -> None:
    _, problems = attempt_pattern(document, STREAMS, "test")
    assert all(problem.where and problem.reason for problem in problems)


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_whatever_a_text_holds_is_read_or_refused(data: st.DataObject) -> None:
    place = data.draw(st.integers(0, len(CARD_TESTING)))
    length = data.draw(st.integers(0, 20))
    insert = data.draw(st.text("{}[]:,-&*!|>'\"%@`# \n\t\\~ab01.<=?\x85\u2028", max_size=6))
    text = CARD_TESTING[:place] + insert + CARD_TESTING[place + length :]
    attempt_pattern(text, STREAMS, "test")


@pytest.mark.parametrize("key", ["a]", "[", "a[b]c]", "]", ".", "a.b[1]x", ":7", "\x00"])
def test_a_key_may_be_any_text_and_is_only_unknown(key: str) -> None:
    """It ends: a place that no path looks like has no line."""
    with pytest.raises(InvalidDocument):
        read_pattern({key: 1}, {}, "odd")
    with pytest.raises(InvalidDocument):
        read_pattern(json.dumps({"name": "a", key: {key: 1}}), {}, "odd")
