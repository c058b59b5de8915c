"""Groups in groups: one that begins another is strict, whatever is said of it."""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import pytest

from cep.automaton.plan import compile_pattern
from cep.language.check import check
from cep.language.pattern import Contiguity, Group, Inner, Pattern, Step, Times
from events.expression import Binary, Constant, Field
from events.types import BOOL, STRING
from tests.conformance.cases import STREAMS
from tests.fuzz.case import Case, numbered
from tests.fuzz.compare import Answer, in_batches
from tests.reference import Event

KEYS = enumerate(["s", *kinds, "t"] for kinds in product("abx", repeat=5))
EVENTS = numbered(
    (key, Event(0, place, {"kind": kind, "v": 0})) for key, kinds in KEYS for place, kind in enumerate(kinds)
)
"""A key for each stream of five events between the first and the last."""

REACHED = (Contiguity.NEXT, Contiguity.FOLLOWED_BY, Contiguity.FOLLOWED_BY_ANY)
QUANTIFIERS = {
    "once": Group(()),
    "optional": Group((), optional=True),
    "twice": Group((), times=Times(2, 2)),
    "twice in a row": Group((), times=Times(2, 2), inner=Inner.CONSECUTIVE),
    "once or twice": Group((), times=Times(1, 2), inner=Inner.COMBINATIONS, optional=True),
    "often": Group((), times=Times(1, None), optional=True),
    "often in a row": Group((), times=Times(1, None), inner=Inner.CONSECUTIVE),
}


def step(name: str, contiguity: Contiguity = Contiguity.FOLLOWED_BY) -> Step:
    """A step that takes events of the kind that it is named after."""
    return Step(name, contiguity, Binary("=", Field("kind", STRING), Constant(name, STRING), BOOL))


def found(*items: Step | Group) -> Answer:
    """Matches and time-outs of `s`, the items and `t`."""
    pattern = Pattern("p", (step("s"), *items, step("t")), STREAMS[:1], ("key",), within_us=100, timeouts=True)
    assert not check(pattern)
    answer = in_batches(Case({}, EVENTS), [compile_pattern(pattern)], ())
    assert {kind for kind, _ in answer} == {"match", "timeout"}
    return answer


@pytest.mark.parametrize("name", ["once", "optional", "twice in a row", "often in a row"])
@pytest.mark.parametrize("reached", REACHED)
def test_a_group_that_begins_another_is_strict(reached: Contiguity, name: str) -> None:
    """((a) b) is (a b) reached as `next`, whatever is said of the inner group's contiguity, and of the outer one's."""
    outer = replace(QUANTIFIERS[name], contiguity=reached)
    flat = found(replace(outer, contiguity=Contiguity.NEXT, steps=(step("a"), step("b"))))
    for unmeant in REACHED:
        alone = Group((step("a", unmeant),), unmeant)
        assert found(replace(outer, steps=(alone, step("b")))) == flat
        assert found(replace(outer, steps=(Group((alone,), unmeant), step("b")))) == flat


@pytest.mark.parametrize("quantifier", QUANTIFIERS.values(), ids=QUANTIFIERS)
@pytest.mark.parametrize("reached", REACHED)
def test_a_group_that_is_taken_once_changes_nothing(reached: Contiguity, quantifier: Group) -> None:
    """((a b)+ x) is (a b)+, reached as `next`, and x: what begins it is a loop, or may be left out."""
    pair = replace(quantifier, steps=(step("a"), step("b")))
    flat = found(replace(pair, contiguity=Contiguity.NEXT), step("x"))
    for unmeant in REACHED:
        assert found(Group((replace(pair, contiguity=unmeant), step("x")), reached)) == flat
