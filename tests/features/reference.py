"""What a view's features are, by the words of the definition: each time all events of an entity are gone through."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

from events.expression import evaluate
from features.definition import Aggregate, Feature, Shape, View

Row = Mapping[str, Any]
"""An event: field → value, and `at` in µs."""


def features_at(view: View, events: Sequence[Row], now_us: int) -> list[Any]:
    """The features of one entity at an instant. events: its own up to then, in the order of the log"""
    return [_value(one, _window(one, [row for row in events if _counts(one, row)], now_us)) for one in view.features]


def _counts(feature: Feature, row: Row) -> bool:
    known = feature.argument is None or row[feature.argument.name] is not None
    return known and (feature.where is None or evaluate(feature.where, row, {}) is True)


def _window(feature: Feature, events: Sequence[Row], now_us: int) -> list[Row]:
    window = feature.window
    until_us = now_us - window.delay_us
    rows = [row for row in events if row["at"] <= until_us]
    if window.shape is Shape.SLIDING:
        return [row for row in rows if row["at"] > until_us - window.size_us]
    if window.shape is Shape.TUMBLING:
        return [row for row in rows if row["at"] // window.size_us == until_us // window.size_us]
    session: list[Row] = []
    after_us = until_us
    for row in reversed(rows):
        if after_us - row["at"] > window.size_us:
            break
        session.insert(0, row)
        after_us = row["at"]
    return session


def _value(feature: Feature, rows: Sequence[Row]) -> Any:
    if feature.aggregate is Aggregate.COUNT:
        return len(rows)
    assert feature.argument is not None
    values = [row[feature.argument.name] for row in rows]
    if feature.aggregate is Aggregate.DISTINCT:
        return len(set(values))
    if not values:
        return None
    if feature.aggregate in (Aggregate.MIN, Aggregate.MAX):
        return min(values) if feature.aggregate is Aggregate.MIN else max(values)
    total = values[0]
    for value in values[1:]:
        total += value
    if feature.aggregate is Aggregate.SUM:
        return total
    if isinstance(total, float):
        return total / len(values)
    scale = 10**feature.argument.type.scale
    return int(Decimal(total) * scale) / (len(values) * scale)
