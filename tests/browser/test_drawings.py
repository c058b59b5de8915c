"""The strip and the automaton, as numbers: what is drawn lies where it should."""

from __future__ import annotations

from itertools import pairwise

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from api.dashboard.automaton import STATES_DRAWN_MAX, draw_automaton
from api.dashboard.strip import ITEMS_MAX, LEFT, RIGHT, RUN_MAX, Bound, Strip, draw_strip
from cep.automaton.plan import compile_pattern
from cep.demo import load_shipped
from cep.language.document import read_pattern
from cep.language.pattern import Pattern, flatten
from events.schema import read_stream
from tests.browser.world import ABSENCE, STREAM

SECOND = 1_000_000
STREAMS = {"transactions": read_stream(STREAM.read_text())}
SILENT = read_pattern(yaml.safe_load(ABSENCE), STREAMS, "silent-cash-out")


def strip_of(pattern: Pattern | None, events: list[tuple[str, int]], at_s: int | None = None) -> Strip:
    """events: step and second of each."""
    bound = [Bound(step, f"e{number}", at_s * SECOND) for number, (step, at_s) in enumerate(events)]
    last_s = events[-1][1] if at_s is None else at_s
    return draw_strip(
        bound,
        flatten(pattern.steps) if pattern else [],
        at_us=last_s * SECOND,
        started_us=events[0][1] * SECOND,
        within_us=pattern.within_us if pattern else 0,
    )


def test_a_negated_step_is_drawn_where_it_was_waited_for() -> None:
    strip = strip_of(SILENT, [("probe", 0), ("probe", 20), ("probe", 30), ("cashout", 130)])
    assert [(row.name, row.state, row.count) for row in strip.rows] == [
        ("probe", "taken", 3),
        ("counter", "absent", 0),
        ("cashout", "taken", 1),
    ]
    (absence,) = strip.absences
    assert (absence.x1, absence.x2) == (strip.marks[2].x, strip.marks[3].x)
    assert strip.within == "30 min"
    assert strip.cut
    assert [gap.text for gap in strip.gaps] == ["20 s", "10 s", "1 min 40 s"]


def test_an_absence_at_the_end_reaches_to_the_end_of_the_window() -> None:
    document = yaml.safe_load(ABSENCE)
    document["steps"] = document["steps"][:2]
    document["alert"] = {"severity": "high", "message": "silence"}
    strip = strip_of(read_pattern(document, STREAMS, "p"), [("probe", 0), ("probe", 5), ("probe", 9)], at_s=1800)
    (absence,) = strip.absences
    assert (absence.x1, absence.x2) == (strip.marks[-1].x, strip.end_x)


def test_a_long_run_is_shortened_with_a_count() -> None:
    strip = strip_of(None, [("probe", second) for second in range(40)] + [("cashout", 60)])
    assert sum(mark.count or 1 for mark in strip.marks) == 41
    assert [mark.count for mark in strip.marks if mark.count] == [35]
    assert len(strip.marks) <= RUN_MAX + 1
    assert [mark.number for mark in strip.marks if mark.number] == [1, 2, 3, 39, 40, 41]


def test_of_a_pattern_that_is_gone_the_steps_are_those_of_the_events() -> None:
    strip = strip_of(None, [("a", 0), ("b", 10), ("a", 20)])
    assert [row.name for row in strip.rows] == ["a", "b"]
    assert strip.within == ""


@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 10**6)), min_size=1, max_size=200))
def test_marks_are_in_order_of_time_inside_of_the_drawing_and_none_is_lost(events: list[tuple[str, int]]) -> None:
    events.sort(key=lambda event: event[1])
    strip = strip_of(None, events)
    xs = [mark.x for mark in strip.marks]
    assert xs == sorted(xs)
    assert all(LEFT <= x <= RIGHT + 0.001 for x in xs)
    assert all(after - before >= 30 for before, after in pairwise(xs))
    assert len(xs) <= ITEMS_MAX + 1
    assert sum(mark.count or 1 for mark in strip.marks) == len(events)


@pytest.mark.parametrize("pattern", [*load_shipped(), SILENT], ids=lambda pattern: str(pattern.name))
def test_every_edge_of_the_automaton_is_drawn_and_lies_inside(pattern: Pattern) -> None:
    plan = compile_pattern(pattern)
    drawing = draw_automaton(plan)
    assert drawing is not None
    assert len(drawing.nodes) == len(plan.states) + 1
    ends = {(number, edge.action, edge.target) for number, state in enumerate(plan.states) for edge in state.edges}
    kills = {(number, action) for number, action, _ in ends if action.name == "KILL"}
    others = {end for end in ends if end[1].name != "KILL"}
    assert len(drawing.arrows) == len(kills) + len(others)
    assert len({(node.x, node.y) for node in drawing.nodes}) == len(drawing.nodes)
    for arrow in drawing.arrows:
        assert 0 <= arrow.x <= drawing.width
        assert drawing.top <= arrow.y <= drawing.top + drawing.height


def test_an_automaton_that_is_too_large_is_not_drawn() -> None:
    document = yaml.safe_load(ABSENCE)
    document["steps"][0]["times"] = {"at_least": STATES_DRAWN_MAX + 2}
    assert draw_automaton(compile_pattern(read_pattern(document, STREAMS, "p"))) is None
