"""`permute`: what it means, by its definition, and what its page shows."""

from __future__ import annotations

import re
from collections import Counter
from itertools import permutations, product

import pytest

from cep.automaton.plan import compile_pattern, explain
from cep.language import builder
from cep.language.check import check, warnings
from cep.language.document import dump_pattern, read_pattern
from cep.language.limits import PERMUTE_MAX
from cep.language.pattern import Contiguity, Group, Inner, Pattern, Step
from cep.language.render import render
from events.errors import InvalidDocument
from events.expression import Binary, Constant, Field
from events.types import BOOL, STRING
from tests.cep.language.streams import STREAMS, TRANSACTIONS
from tests.conformance.cases import STREAMS as ASKED
from tests.conformance.kernel import match
from tests.reference import Event, Match

begin = builder.Pattern.begin


# -- the definition ---------------------------------------------------------------------------------------------------

STREAMS_OF_KINDS = ["".join(["s", *kinds, "t"]) for kinds in product("abcx", repeat=4)]
BETWEEN = {
    Contiguity.NEXT: Inner.CONSECUTIVE,
    Contiguity.FOLLOWED_BY: Inner.RELAXED,
    Contiguity.FOLLOWED_BY_ANY: Inner.COMBINATIONS,
}


def step(name: str, contiguity: Contiguity = Contiguity.FOLLOWED_BY) -> Step:
    """A step that takes events of one kind: the first letter of its name."""
    return Step(name, contiguity, Binary("=", Field("kind", STRING), Constant(name[0], STRING), BOOL))


def matches_of(*between: Step | Group) -> dict[str, Counter[Match]]:
    """The matches of `s`, what is given, and `t` in every stream; steps by name, as their places in patterns differ."""
    pattern = Pattern("p", (step("s"), *between, step("t")), ASKED[:1], ("key",), within_us=100)
    streams = {
        kinds: [Event(place, place, {"kind": kind, "v": 0}) for place, kind in enumerate(kinds)]
        for kinds in STREAMS_OF_KINDS
    }
    answers = match(pattern, streams, "native")
    return {kinds: Counter(tuple(sorted(one)) for one in answers[kinds][0]) for kinds in streams}


def passes_over_a_missing_member(found: Match, members: tuple[str, ...], any_of: int, kinds: str) -> bool:
    """Is there an event that was not taken while a member was awaited that takes it?"""
    taken = {place: name for name, (place,) in found}
    missing = list(members)
    for place in range(1, len(kinds)):
        if len(missing) == len(members) - any_of:
            return False
        if taken.get(place) in missing:
            missing.remove(taken[place])
        elif any(name[0] == kinds[place] for name in missing):
            return True
    return False


@pytest.mark.parametrize("contiguity", list(BETWEEN))
@pytest.mark.parametrize("members", [("a", "b", "c"), ("a", "a2", "b")])
def test_a_permute_finds_what_the_orders_find_and_nothing_twice(
    members: tuple[str, ...], contiguity: Contiguity
) -> None:
    """In all streams of four events. Relaxed, it finds what passes over no event for which a member is missing."""
    relaxed = contiguity is Contiguity.FOLLOWED_BY
    together = 0
    for any_of in range(1, len(members) + 1):
        inner = BETWEEN[contiguity] if any_of > 1 else Inner.RELAXED
        ours = matches_of(Group(tuple(map(step, members)), contiguity, inner=inner, any_of=any_of))
        theirs: dict[str, Counter[Match]] = {kinds: Counter() for kinds in STREAMS_OF_KINDS}
        for order in permutations(members, any_of):
            alone = matches_of(*(step(name, Contiguity.FOLLOWED_BY_ANY if relaxed else contiguity) for name in order))
            for kinds, found in alone.items():
                theirs[kinds].update(
                    one for one in found if not relaxed or not passes_over_a_missing_member(one, members, any_of, kinds)
                )
        assert ours == theirs
        assert all(number == 1 for found in ours.values() for number in found.values())
        together += sum(len(found) for found in ours.values()) if any_of > 1 else 0
    assert together > 20


def test_a_permute_followed_by_takes_the_first_event_for_each_member() -> None:
    """A pattern for the order b, a would also find the second a."""
    pair = (step("a"), step("b"))
    relaxed = Group(pair, any_of=2)
    any_choice = Group(pair, Contiguity.FOLLOWED_BY_ANY, inner=Inner.COMBINATIONS, any_of=2)
    first, second = ((("a", (place,)), ("b", (2,)), ("s", (0,)), ("t", (5,))) for place in (1, 3))
    assert matches_of(relaxed)["sabaxt"] == Counter([first])
    assert matches_of(any_choice)["sabaxt"] == Counter([first, second])


# -- the automaton ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("members", range(1, PERMUTE_MAX + 1))
def test_the_automaton_has_a_state_for_every_set_of_members(members: int) -> None:
    """One more waits for the last step; the full set and the start are it and the first."""
    names = "abcdefgh"[:members]
    pattern = Pattern("p", (Group(tuple(map(step, names)), any_of=members), step("t")), ASKED[:1], ("key",))
    assert check(pattern) == []
    assert len(compile_pattern(pattern).states) == 2**members


def test_the_plan_shows_what_each_state_awaits() -> None:
    pattern = Pattern("p", (step("s"), Group((step("a"), step("b")), any_of=2)), ASKED[:1], ("key",))
    assert re.findall(r"\(.*awaits.*|take.*", explain(compile_pattern(pattern))) == [
        "take s               (1)",
        "(1) awaits a or b",
        "take b               (2)",
        "take a               (3)",
        "(2) awaits a",
        "take a               MATCH",
        "(3) awaits b",
        "take b               MATCH",
    ]


# -- the language -----------------------------------------------------------------------------------------------------

TAKEOVER = """
name: takeover
stream: transactions
key: card_id
within: 1h
steps:
  - {name: login, where: online}
  - permute:
      - {name: phone, where: "attempts = 1", times: 2}
      - {name: mail, where: "attempts = 2"}
      - group: [{name: x, where: "attempts = 3"}, {name: y, contiguity: next}]
    any_of: 2
    contiguity: next
    consecutive: true
  - {name: payout, where: "amount > 500"}
"""


def members() -> list[str | builder.Pattern]:
    """Those of the document, in Python."""
    phone, mail = begin("phone").where("attempts = 1"), begin("mail").where("attempts = 2")
    return [phone.times(2), mail, begin("x").where("attempts = 3").next("y")]


def test_the_builder_and_the_document_give_the_same_permute() -> None:
    built = (
        begin("login", key=["card_id"], name="takeover")
        .where("online")
        .next(builder.Pattern.permute(*members(), any_of=2))
        .consecutive()
        .followed_by("payout")
        .where("amount > 500")
        .within("1h")
        .build({"transactions": TRANSACTIONS})
    )
    read = read_pattern(TAKEOVER, STREAMS, "test")
    assert built == read
    permute = read.steps[1]
    assert isinstance(permute, Group)
    assert (permute.any_of, permute.contiguity, permute.inner) == (2, Contiguity.NEXT, Inner.CONSECUTIVE)


def test_a_permute_may_begin_a_pattern_and_holds_steps_by_name() -> None:
    built = begin(builder.Pattern.permute("a", "b"), key=["card_id"]).build({"transactions": TRANSACTIONS})
    assert built.steps == (Group((Step("a"), Step("b")), any_of=2),)


def test_what_is_wrong_in_a_member_is_told_at_its_place() -> None:
    wrong = builder.Pattern.permute(
        begin("a", key=["card_id"]).times(2).times(3), begin("b").next("c").optional().optional()
    )
    with pytest.raises(InvalidDocument) as caught:
        begin("s", key=["card_id"]).next(wrong).build({"transactions": TRANSACTIONS})
    assert [problem.where for problem in caught.value.problems] == [
        "steps[1].permute[0].times",
        "steps[1].permute[0].key",
        "steps[1].permute[1].group[1].optional",
    ]


@pytest.mark.parametrize(
    ("any_of", "words"),
    [
        (0, "(2 `phone`, `mail` and (`x`, directly followed by `y`), in any order)"),
        (2, "(any 2 of: 2 `phone`, `mail` and (`x`, directly followed by `y`), in any order)"),
        (1, "(one of: 2 `phone`, `mail` and (`x`, directly followed by `y`))"),
    ],
)
def test_a_permute_reads_as_a_sentence(any_of: int, words: str) -> None:
    built = begin(builder.Pattern.permute(*members(), any_of=any_of), key=["card_id"])
    assert render(built.build({"transactions": TRANSACTIONS})) == f"{words}, per card_id"


def test_the_canonical_document_says_how_many_only_where_not_all_come() -> None:
    whole = read_pattern(TAKEOVER.replace("any_of: 2", "any_of: 3"), STREAMS, "test")
    assert "any_of" not in str(dump_pattern(whole))
    assert read_pattern(dump_pattern(whole), STREAMS, "test") == whole
    assert "'any_of': 2" in str(dump_pattern(read_pattern(TAKEOVER, STREAMS, "test")))


def test_flink_has_no_permute() -> None:
    problems = check(read_pattern(TAKEOVER, STREAMS, "test"), "flink")
    assert [f"{problem.where}: {problem.reason}" for problem in problems] == [
        "steps[1].permute: Flink has no `permute`"
    ]


@pytest.mark.parametrize(
    ("condition", "warned"),
    [
        ("risk > phone.risk", True),
        ("phone.risk is null or risk > phone.risk", False),
        ("risk > coalesce(phone.risk, 0.0)", False),
        ("count(phone) = 0 or attempts = 2", False),
        ("risk > login.risk", False),
        ("count(mail) = 0 or risk > last(mail.risk)", False),
    ],
)
def test_a_condition_that_binds_the_order_is_warned_of(condition: str, warned: bool) -> None:
    pattern = read_pattern(TAKEOVER.replace("attempts = 2", condition), STREAMS, "test")
    told = [problem for problem in warnings(pattern) if "binds the order" in problem.reason]
    assert [problem.where for problem in told] == (["steps[1].permute[1].where"] if warned else [])


def test_without_a_window_a_permute_may_wait_for_ever() -> None:
    pattern = read_pattern(TAKEOVER.replace("within: 1h\n", "").replace("    consecutive: true\n", ""), STREAMS, "test")
    assert any(
        "waits for the others of the permute of `phone`, `mail`, `x`, `y`" in one.reason for one in warnings(pattern)
    )
