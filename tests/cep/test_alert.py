"""The identity of an alert: a golden file pins it, because other engines compute the same."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from cep.alert import AlertKind, KeyValue, alert_id, canonical, group_of, key_group, pattern_group

GOLDEN = json.loads(Path(__file__).with_name("alert_ids.json").read_text())


def text_of(
    pattern: str,
    version: int,
    kind: AlertKind,
    key: Mapping[str, KeyValue],
    steps: Sequence[tuple[str, Sequence[str]]],
) -> str:
    """The canonical text of a match, each step with the ids of its events."""
    told = [group_of((name, *event_ids)) for name, event_ids in steps]
    return canonical(pattern_group(pattern, version, kind), key_group(key), told)


def test_alert_ids_are_those_of_the_golden_file() -> None:
    """The canonical text and the id of every case are what they were when the format was decided."""
    for case in GOLDEN:
        key = {str(place): value for place, value in enumerate(case["key"])}
        text = text_of(case["pattern"], case["version"], case["kind"], key, case["steps"])
        assert text == case["text"]
        assert alert_id(case["at_us"], text) == case["alert_id"]


def test_ids_sort_by_time() -> None:
    """The first 48 bits are the milliseconds."""
    assert alert_id(1_000_000, "b") < alert_id(2_000_000, "a")


def test_steps_matter() -> None:
    """The same events bound to other steps are another match."""
    one = text_of("p", 1, "match", {"x": "k"}, [("a", ["1"]), ("b", ["2", "3"])])
    other = text_of("p", 1, "match", {"x": "k"}, [("a", ["1", "2"]), ("b", ["3"])])
    assert alert_id(0, one) != alert_id(0, other)


def test_no_text_can_forge_another() -> None:
    """Separators inside ids and keys are escaped."""
    one = text_of("p", 1, "match", {"x": "k\x1fl"}, [("a", ["1"])])
    other = text_of("p", 1, "match", {"x": "k", "y": "l"}, [("a", ["1"])])
    assert one != other
