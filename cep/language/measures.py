"""What the measures of a match are, slowly: what each means."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from cep.language.pattern import Pattern
from events.expression import Event, Value, evaluate


def measured(pattern: Pattern, matched: Mapping[str, Sequence[Event]]) -> dict[str, Value | None]:
    """Name to value; None is NULL. `matched` are the events of each step in order; one at least is there."""
    first = next(event for events in matched.values() for event in events)
    return {measure.name: evaluate(measure.value, first, matched) for measure in pattern.measures}
