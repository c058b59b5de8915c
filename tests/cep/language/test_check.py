"""Where the two dialects part, and what an author is warned of.

What both refuse is in test_builder.py (Flink's list) and bad_documents.txt.
"""

from __future__ import annotations

import pytest

from cep.language import pattern as tree
from cep.language.builder import Pattern
from cep.language.check import check, warnings
from cep.language.document import attempt_pattern
from cep.language.limits import CONDITIONS_MAX, DEPTH_MAX, KEY_FIELDS_MAX, LOOP_MAX, STEPS_MAX
from cep.language.pattern import Group, Step, Times
from events.expression import parse
from events.types import INT64
from tests.cep.language.streams import TRANSACTIONS


def begin(first: str | Pattern, skip: str = "", emit: str = "") -> Pattern:
    return Pattern.begin(first, key=["card_id"], stream="transactions", skip=skip, emit=emit)


def syntax(builder: Pattern) -> tree.Pattern:
    """The tree, also of what the checks would refuse."""
    return attempt_pattern(builder.document(), {"transactions": TRANSACTIONS}, "test")[0]


LOOP_WITHOUT_END = "steps[0]: the loop over `a` has no end: every partial that has reached it would live for ever"


@pytest.mark.parametrize(
    ("builder", "native"),
    [
        (begin("a").followed_by("b"), []),
        (begin("a").one_or_more().followed_by("b").within("10m"), []),
        (begin("a").one_or_more().until("online"), []),
        (begin("a").one_or_more().gap("5s"), []),
        (begin("a").times(2, 4), []),
        (begin("a").one_or_more(), [LOOP_WITHOUT_END]),
        (begin("a").times_or_more(3).consecutive().next("b"), [LOOP_WITHOUT_END]),
        (begin("a").followed_by("b").followed_by_any("c").gap("5s"), []),
        (
            begin("a").followed_by_any("b"),
            [
                "steps[1].contiguity: every partial that waits for `b` would live for ever: followed_by_any keeps"
                " waiting after each match"
            ],
        ),
        (
            begin("a").followed_by_any("b").times(2).gap("5s"),
            [
                "steps[1].contiguity: every partial that waits for `b` would live for ever: followed_by_any keeps"
                " waiting after each match"
            ],
        ),
        (
            begin("a").followed_by("b").times(2).gap("20m").within("10m"),
            ["steps[1].gap: the gap of 20 minutes is longer than the whole pattern may take (10 minutes)"],
        ),
        (
            begin("a").where("amount > b.amount").followed_by("b"),
            ["steps[0].where:10: `b` comes later: nothing of it is known here"],
        ),
        (
            begin("when").followed_by("then"),
            [
                "steps[0].name: `when` is a word of SQL, so no condition could read `when.field`",
                "steps[1].name: `then` is a word of SQL, so no condition could read `then.field`",
            ],
        ),
    ],
)
def test_what_flink_lets_pass_is_refused_where_it_would_leak_or_never_match(
    builder: Pattern, native: list[str]
) -> None:
    pattern = syntax(builder)
    assert [f"{problem.where}: {problem.reason}" for problem in check(pattern)] == native
    assert check(pattern, "flink") == []


def test_an_absence_that_ends_a_group_is_refused_where_flink_forgets_it() -> None:
    """At the end of a pattern it needs a window; in a group that comes again nothing says until when it counts."""
    group = Pattern.begin("b").not_followed_by("n")
    at_end = syntax(begin("a").followed_by(group))
    repeated = syntax(begin("a").followed_by(group).times(2).followed_by("c").within("10m"))
    once = syntax(begin("a").followed_by(group).followed_by("c").within("10m"))
    for refused in (at_end, repeated):
        assert [problem.where for problem in check(refused)] == ["steps[1].group[1].contiguity"]
        assert [problem.where for problem in check(refused, "flink")] == ["steps[1].group[1].contiguity"]
    assert check(once) == check(once, "flink") == []


@pytest.mark.parametrize(
    "builder",
    [
        begin(Pattern.begin("a").optional()).one_or_more().within("10m"),
        begin(Pattern.begin("a").optional().followed_by("b").times(0, 3)).times_or_more(2).within("10m"),
        begin(Pattern.begin(Pattern.begin("a").optional()).next("b").optional()).one_or_more().within("10m"),
    ],
)
@pytest.mark.parametrize("dialect", ["native", "flink"])
def test_a_loop_that_could_go_round_without_an_event_is_refused_though_flink_never_returns(
    builder: Pattern, dialect: str
) -> None:
    (problem,) = check(syntax(builder), "flink" if dialect == "flink" else "native")
    assert problem.reason.startswith("every step of this loop may be left out")


@pytest.mark.parametrize(
    "builder",
    [
        begin(Pattern.begin("a").optional()).times(2).within("10m"),
        begin(Pattern.begin("a").optional().followed_by("b")).one_or_more().within("10m"),
        begin("a").optional(),
        begin(Pattern.begin("a").not_followed_by("n")).followed_by("b").within("10m"),
        begin("a").not_followed_by("n").not_followed_by("m").followed_by("b"),
        begin("a").not_next("n"),
        begin("a").times(2).greedy().followed_by("b"),
        begin("a").one_or_more().greedy().not_followed_by("n").followed_by("b").within("10m"),
    ],
)
def test_odd_but_defined_patterns_pass(builder: Pattern) -> None:
    assert check(syntax(builder)) == check(syntax(builder), "flink") == []


# -- warnings ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("builder", "messages"),
    [
        pytest.param(begin("a").followed_by("b").within("10m"), [], id="nothing to say"),
        pytest.param(
            begin("a").times(2, 3).greedy().followed_by("b").within("10m"),
            [
                "steps[0].greedy: after 3 of `a` one more such event is neither taken nor lets `b` be taken: matches"
                " can be lost"
            ],
            id="a bounded greedy loop loses matches",
        ),
        pytest.param(
            begin("a").one_or_more().consecutive().greedy().followed_by("b").within("10m"),
            [
                "steps[0].greedy: once another event has ended the loop, a further `a` can't be taken and is not"
                " passed over either: matches can be lost"
            ],
            id="so does a greedy loop in a row",
        ),
        pytest.param(
            begin("a").times(3).greedy().followed_by("b").within("10m"),
            [],
            id="greedy over a fixed number does nothing",
        ),
        pytest.param(
            begin("a", skip="to_next", emit="ordered").followed_by("b").within("10m"),
            [
                "emit: an alert waits until no partial with an earlier start is open: up to 10 minutes later than its"
                " last event"
            ],
            id="ordered alerts wait",
        ),
        pytest.param(
            begin("a", emit="ordered").followed_by("b").within("10m"), [], id="without skipping there is no wait"
        ),
        pytest.param(
            begin("a").not_followed_by("n").within("1h"),
            ["steps[1].contiguity: an alert comes only when `n` has stayed away: 1 hour after the first event"],
            id="an absence takes its window",
        ),
        pytest.param(
            begin("a").not_followed_by("n").gap("5m").within("1h"),
            ["steps[1].contiguity: an alert comes only when `n` has stayed away: 5 minutes after the last event"],
            id="or its gap",
        ),
        pytest.param(
            begin("a").not_next("n").within("1h"),
            [
                "steps[1].contiguity: an alert waits for the key's next event, which shows that it is no `n`, at the"
                " latest 1 hour after its first"
            ],
            id="not next takes the next event",
        ),
        pytest.param(
            begin("a").not_followed_by("n").followed_by("b").optional().within("1h"),
            ["steps[2]: without `b` the match is complete at once, though `n` may still follow"],
            id="an optional last step cuts an absence short",
        ),
        pytest.param(
            begin("a").gap("5s").followed_by("b").within("1h"),
            ["steps[0].gap: `a` is the first event, so its gap has no effect"],
            id="a gap before the first event",
        ),
        pytest.param(
            begin("a").times(2).gap("5s").next("b").gap("5s").next("c"), [], id="gaps end every wait, and so does next"
        ),
        pytest.param(
            begin("a").followed_by("b").followed_by("c").gap("5s"),
            ["steps[1]: a partial that waits for `b` lives for ever if none comes"],
            id="without a window a partial can wait for ever",
        ),
        pytest.param(
            begin("a").one_or_more().greedy().until("online").next("b"),
            ["steps[0].until: a partial in the loop over `a` lives until an event ends it, for ever if none comes"],
            id="until bounds only what it reaches",
        ),
        pytest.param(
            begin("a").one_or_more().followed_by("b").within("1h"),
            ["steps[0]: n events of `a` leave about n²/2 partials that wait for `b`"],
            id="a loop that is not greedy branches",
        ),
        pytest.param(
            begin("a").one_or_more().consecutive().next("b").within("1h"), [], id="but what comes next doesn't pile up"
        ),
        pytest.param(
            begin("a").one_or_more().allow_combinations().followed_by("b").within("1h"),
            [
                "steps[0].combinations: partials double with every event that `a` takes, up to the cap of partials per"
                " key"
            ],
            id="combinations double",
        ),
        pytest.param(
            begin("a").one_or_more().greedy().followed_by("b").where("amount > avg(a.amount)").within("1h"),
            [
                "steps[0]: a condition reads the events of `a`, so every open partial keeps its own sums and is looked"
                " at one by one: cost per event grows with the open partials of a key"
            ],
            id="sums over an open loop are kept per partial",
        ),
    ],
)
def test_an_author_is_warned_of(builder: Pattern, messages: list[str]) -> None:
    pattern = syntax(builder)
    assert check(pattern) == []
    assert [f"{problem.where}: {problem.reason}" for problem in warnings(pattern)] == messages


def test_in_flinks_dialect_a_loop_without_end_is_a_warning() -> None:
    pattern = syntax(begin("a").one_or_more())
    assert (check(pattern, "flink"), [str(problem).splitlines()[0] for problem in warnings(pattern)]) == (
        [],
        [LOOP_WITHOUT_END],
    )


# -- limits -----------------------------------------------------------------------------------------------------------


def pattern_of(*steps: Step | Group, key: tuple[str, ...] = ("k",)) -> tree.Pattern:
    return tree.Pattern("p", steps, ("s",), key, within_us=1)


def numbered(count: int) -> list[Step]:
    """Steps, each with a condition of its own."""
    return [Step(f"s{n}", where=parse(f"v > {n}", {"v": INT64}, {})) for n in range(count)]


def nested(depth: int) -> Step | Group:
    return Step("a") if depth == 0 else Group((nested(depth - 1),))


def doubly(step: Step) -> Step:
    """The same with a second condition of its own."""
    return Step(
        step.name, where=step.where, times=Times(1, None), until=parse(f"v < {step.name[1:]}", {"v": INT64}, {})
    )


def test_each_limit_holds_exactly() -> None:
    ends = parse("v = 0", {"v": INT64}, {})
    at_limit = [
        pattern_of(*numbered(STEPS_MAX)),
        pattern_of(*[doubly(step) for step in numbered(CONDITIONS_MAX // 2)]),
        pattern_of(Step("a", times=Times(LOOP_MAX, LOOP_MAX))),
        pattern_of(nested(DEPTH_MAX)),
        pattern_of(Step("a"), key=tuple(f"k{n}" for n in range(KEY_FIELDS_MAX))),
        pattern_of(Group((Step("a", times=Times(32, 32)),), times=Times(32, None))),
    ]
    beyond = [
        (pattern_of(*numbered(STEPS_MAX + 1)), "33 steps; a pattern has at most 32"),
        (
            pattern_of(Group(tuple(doubly(step) for step in numbered(32)), times=Times(1, None), until=ends)),
            "65 different conditions; at most 64 are allowed",
        ),
        (pattern_of(Step("a", times=Times(1, LOOP_MAX + 1))), "a loop counts at most to 256, found 257"),
        (pattern_of(nested(DEPTH_MAX + 1)), "groups stand at most 4 deep"),
        (pattern_of(Step("a"), key=tuple("abcdefghi")), "9 key fields; at most 8 are allowed"),
        (
            pattern_of(Group((Step("a", times=Times(33, 33)),), times=Times(32, None))),
            "its loops inside loops count 1056 elements one by one; at most 1024 are allowed",
        ),
        (pattern_of(), "a pattern needs at least one step"),
        (pattern_of(Group(())), "a group needs at least one step"),
    ]
    assert [check(pattern) for pattern in at_limit] == [[]] * len(at_limit)
    for pattern, reason in beyond:
        assert reason in [problem.reason for problem in check(pattern)]
        assert reason in [problem.reason for problem in check(pattern, "flink")]
