"""A pattern may read as many earlier values as a partial has registers, each right, and no more."""

from __future__ import annotations

import pytest

from cep.automaton.plan import REGISTERS_MAX, compile_pattern
from cep.language.document import read_pattern
from cep.testing import matches
from events.errors import LimitReached
from events.schema import read_stream

FIELDS = [f"f{number}" for number in range(REGISTERS_MAX + 1)]
STREAM = read_stream(
    "stream: events\nevent_time: {field: at, format: rfc3339}\n"
    f"fields: {{key: int64, at: instant, {', '.join(f'{name}: int64' for name in FIELDS)}}}"
)


def document(fields: list[str]) -> dict[str, object]:
    """Two events that agree in every field."""
    same = " and ".join(f"{name} = first.{name}" for name in fields)
    steps = [{"name": "first"}, {"name": "second", "contiguity": "followed_by", "where": same}]
    return {"name": "same", "stream": "events", "key": ["key"], "within": "1h", "steps": steps}


def line(changed: int | None = None) -> str:
    """An event; one field may differ."""
    return "key=1 " + " ".join(f"{name}={place + (place == changed)}" for place, name in enumerate(FIELDS))


@pytest.mark.parametrize("changed", [None, 0, 1, 2, REGISTERS_MAX // 2, REGISTERS_MAX - 1])
def test_every_register_counts(changed: int | None) -> None:
    found = matches(document(FIELDS[:REGISTERS_MAX]), f"{line()}\n{line(changed)}", streams=[STREAM])
    assert found == ([{"first": [1], "second": [2]}] if changed is None else [])


def test_one_more_is_refused() -> None:
    pattern = read_pattern(document(FIELDS), {"events": STREAM}, "same")
    with pytest.raises(LimitReached, match=f"{REGISTERS_MAX + 1} registers, at most {REGISTERS_MAX}"):
        compile_pattern(pattern)
