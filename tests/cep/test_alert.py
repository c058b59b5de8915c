"""The identity of an alert: a golden file pins it, because other engines compute the same."""

from __future__ import annotations

import json
from pathlib import Path

from cep.alert import alert_id, canonical

GOLDEN = json.loads(Path(__file__).with_name("alert_ids.json").read_text())


def test_alert_ids_are_those_of_the_golden_file() -> None:
    """The canonical text and the id of every case are what they were when the format was decided."""
    for case in GOLDEN:
        text = canonical(case["pattern"], case["version"], case["kind"], case["key"], case["steps"])
        assert text == case["text"]
        assert alert_id(case["at_us"], text) == case["alert_id"]


def test_ids_sort_by_time() -> None:
    """The first 48 bits are the milliseconds."""
    assert alert_id(1_000_000, "b") < alert_id(2_000_000, "a")


def test_steps_matter() -> None:
    """The same events bound to other steps are another match."""
    one = canonical("p", 1, "match", ["k"], [("a", ["1"]), ("b", ["2", "3"])])
    other = canonical("p", 1, "match", ["k"], [("a", ["1", "2"]), ("b", ["3"])])
    assert alert_id(0, one) != alert_id(0, other)


def test_no_text_can_forge_another() -> None:
    """Separators inside ids and keys are escaped."""
    one = canonical("p", 1, "match", ["k\x1fl"], [("a", ["1"])])
    other = canonical("p", 1, "match", ["k", "l"], [("a", ["1"])])
    assert one != other
