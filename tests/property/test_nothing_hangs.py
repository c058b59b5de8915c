"""Patterns on which Flink CEP hangs or crashes, or whose partials explode: answered or refused, within named limits."""

from __future__ import annotations

from random import Random

import pytest

from cep.automaton.plan import compile_pattern
from cep.language.check import check
from cep.matcher import records as c
from cep.matcher.matcher import NEVER_US, Matcher
from cep.testing import matches
from events.columns import StringTable
from events.errors import InvalidDocument
from tests.conformance.cases import Json, read_pattern
from tests.conformance.generate import random_document
from tests.conformance.kernel import LAYOUT, batch_of
from tests.fuzz.case import Case, every_stage, random_case, random_events
from tests.fuzz.compare import ask
from tests.reference import Event

OPTIONAL = "contiguity: followed_by, optional: true"


def document(*steps: str, more: str = "within: 1h") -> str:
    """A pattern over events with a `kind`."""
    return f"name: p\nstream: events\nkey: [key]\n{more}\nsteps:\n" + "\n".join(f"  - {step}" for step in steps)


def step(kind: str, options: str = "") -> str:
    """A step that takes one kind of event and is named after it."""
    return f"{{name: {kind}, where: kind = '{kind}'{', ' if options else ''}{options}}}"


def found(text: str, kinds: str) -> list[str]:
    """The matches for one event a second, as the kinds and numbers they took."""
    events = "\n".join(f"key=1 kind={kind}" for kind in kinds)
    return sorted(
        " ".join(f"{name}{number}" for name, numbers in match.items() for number in numbers)
        for match in matches(text, events)
    )


@pytest.mark.parametrize(
    "group",
    [
        f"{step('b', 'optional: true')}, {step('c', OPTIONAL)}",
        f"{step('b', 'optional: true, one_or_more: true')}",
        f"{{group: [{step('b')}, {step('c', 'contiguity: next')}], optional: true}}",
        f"{{group: [{step('b', 'optional: true')}], times: 2}}, {{group: [{step('c')}], {OPTIONAL}}}",
    ],
)
def test_a_loop_of_what_may_be_left_out_is_refused(group: str) -> None:
    """Flink never returns from it."""
    for options in ("one_or_more: true", "times: {at_least: 2}, optional: true", "one_or_more: true, until: key = 2"):
        text = document(step("a"), f"{{group: [{group}], contiguity: followed_by, {options}}}", step("d"))
        with pytest.raises(InvalidDocument, match="it could go round without an event, for ever"):
            matches(text, "key=1 kind=a")


@pytest.mark.parametrize(
    ("kinds", "expected"),
    [
        ("ad", ["a1 d2"]),
        ("abd", ["a1 b2 d3", "a1 d3"]),
        ("acbd", ["a1 c2 b3 d4", "a1 c2 d4", "a1 d4"]),  # a group that begins another is strict
        ("abcbcd", None),
    ],
)
def test_a_bounded_loop_of_optional_groups_is_answered(kinds: str, expected: list[str] | None) -> None:
    """A loop with an upper bound ends, whatever it passes over: each match once."""
    group = f"{{group: [{step('b', 'optional: true')}], optional: true}}, {{group: [{step('c')}], {OPTIONAL}}}"
    text = document(step("a"), f"{{group: [{group}], contiguity: followed_by, times: 3, optional: true}}", step("d"))
    answer = found(text, kinds)
    assert len(set(answer)) == len(answer)
    assert expected is None or answer == expected


@pytest.mark.parametrize(
    ("kinds", "expected"),
    [
        ("ad", ["a1 d2"]),
        ("and", []),
        ("abcd", ["a1 b2 c3 d4", "a1 d4"]),
        ("anbcd", []),
        ("abncd", ["a1 b2 c4 d5"]),
        ("abcnd", []),
    ],
)
def test_a_negation_before_an_optional_group_is_answered(kinds: str, expected: list[str]) -> None:
    """The absence counts while the group or the step behind it is awaited, but not inside the group."""
    text = document(
        step("a"),
        step("n", "contiguity: not_followed_by"),
        f"{{group: [{step('b')}, {step('c', 'contiguity: followed_by')}], {OPTIONAL}}}",
        step("d", "contiguity: followed_by"),
    )
    assert found(text, kinds) == expected


def loosened(rng: Random) -> Json:
    """A random document of which most parts may be left out, and in which groups go round."""
    document = random_document(rng, wide=True)
    for stage in every_stage(document["stages"]):
        if not stage["contiguity"].startswith("not"):
            if rng.random() < 0.6 and stage.get("times", [1, 1])[0]:
                stage["optional"] = True
            if "group" in stage and rng.random() < 0.6:
                stage["times"] = rng.choice(([1, None], [2, None], [1, 3], [2, 2]))
    return document


@pytest.mark.parametrize("chunk", range(4))
def test_loops_and_absences_among_optional_groups_are_answered_or_refused(chunk: int) -> None:
    """The kernel as the reference; what both refuse is refused before anything runs."""
    refused = 0
    for seed in range(200 * chunk, 200 * (chunk + 1)):
        rng = Random(seed)
        document = loosened(rng)
        outcome = ask(Case(document, random_events(document, rng)))
        assert not outcome.disagreement, seed
        refused += outcome.refused
    assert 20 < refused < 180


CAP, EVENTS = 300, 400


@pytest.mark.parametrize(
    "stages",
    [
        [{"times": [1, None], "combinations": "allow"}],
        [{"times": [1, None]}, {"contiguity": "followed_by_any", "times": [1, None], "combinations": "allow"}],
        [{}, *({"contiguity": "followed_by_any", "optional": True},) * 6],
        [{"group": [{"times": [1, None], "combinations": "allow"}, {"contiguity": "followed_by_any"}],
          "times": [1, None], "combinations": "allow"}],
    ],
)  # fmt: skip
def test_partials_that_explode_end_at_their_cap(stages: list[Json]) -> None:
    """Hundreds of events that every step takes: no more partials than allowed, and those not opened are counted."""
    document: Json = {
        "stages": [*named(stages, "s"), {"name": "z", "contiguity": "followed_by", "where": {"kind": "z"}}]
    }
    document["within_ms"] = 10 * EVENTS
    pattern = read_pattern(document, "exploding")
    assert not check(pattern, "flink")
    matcher, strings = Matcher(partials_max=CAP), StringTable()
    matcher.use([compile_pattern(pattern)], LAYOUT, strings.code)
    for number in range(EVENTS):
        event = Event(number, 1_000 * number, {"kind": "a", "v": 1})
        assert len(matcher.process(batch_of([(1, event)], strings))) == 0
        assert int(matcher.state.cells["count"].max()) <= CAP
    assert int(matcher.state.counters[c.CAPPED]) > 0
    matcher.advance(NEVER_US)
    assert matcher.busy() == set()


def named(stages: list[Json], prefix: str) -> list[Json]:
    """Stages with names and conditions that every event fulfils."""
    full: list[Json] = []
    for place, stage in enumerate(stages):
        own: Json = {"contiguity": "followed_by" if place else "begin", **stage}
        if "group" in stage:
            own["group"] = named(stage["group"], f"{prefix}{place}_")
        else:
            own |= {"name": f"{prefix}{place}", "where": {"kind": "a"}}
        full.append(own)
    return full


def test_an_absence_that_is_also_what_ends_its_group_is_answered() -> None:
    """The event ends the group, and so isn't the absent one."""
    absent = "{name: n, where: kind = 'n', contiguity: not_followed_by}"
    inside = f"{step('b')}, {absent}, {step('c', 'contiguity: followed_by')}"
    text = document(step("a"), f"{{group: [{inside}], one_or_more: true, until: kind = 'n'}}", step("d"))
    assert found(text, "abcd") == ["a1 b2 c3 d4"]
    assert found(text, "abncd") == []
    assert found(text, "abcnbcd") == ["a1 b2 c3 d7"]


def test_a_case_that_the_reference_could_not_finish_is_shortened() -> None:
    """Seed 1543 has thousands of runs: both are asked about the events before that."""
    assert ask(random_case(1543)).shortened
