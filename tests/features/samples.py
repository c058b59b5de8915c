"""A stream, random views over it, random events, and both as the kernels want them."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from typing import Any

import numpy as np
from hypothesis import strategies as st

from events.columns import Batch, Column, Layout, StringTable
from events.schema import read_stream
from events.types import Kind
from features.definition import View, read_view
from features.views import LiveView
from tests.features.reference import Row

STREAM = read_stream(
    """
    stream: payments
    event_time: at
    fields:
      card: {type: string, nullable: true}
      shop: {type: int64, nullable: true}
      at: instant
      amount: {type: "decimal(12, 2)", nullable: true}
      share: {type: float64, nullable: true}
      country: {type: string, nullable: true}
      online: bool
      pin: {type: int64, nullable: true, sensitivity: secret}
    """
)
STREAMS = {STREAM.name: STREAM}

AGGREGATES = (
    "count", "count(amount)", "sum(amount)", "sum(share)", "sum(shop)", "avg(amount)", "avg(share)", "min(amount)",
    "max(amount)", "min(share)", "max(at)", "distinct(country)", "distinct(shop)", "distinct(amount)",
)  # fmt: skip
CONDITIONS = ("online", "amount > 1", "country = 'DE' or amount < share")
SECOND = 1_000_000


@st.composite
def views(draw: st.DrawFn) -> View:
    """A view of a few features with small windows."""
    features = []
    for number in range(draw(st.integers(1, 6))):
        shape = draw(st.sampled_from(("sliding", "tumbling", "session")))
        window: dict[str, str] = {shape: f"{draw(st.integers(1, 20))}s"}
        if shape != "session" and draw(st.booleans()):
            window["delay"] = f"{draw(st.integers(0, 10))}s"
        feature: dict[str, Any] = {
            "name": f"f{number}", "aggregate": draw(st.sampled_from(AGGREGATES)), "window": window,
        }  # fmt: skip
        if draw(st.booleans()):
            feature["where"] = draw(st.sampled_from(CONDITIONS))
        features.append(feature)
    entity = draw(st.sampled_from((["card"], ["shop"], ["card", "shop"])))
    return read_view(
        {"view": "v", "entity": entity, "features": features, "includes_current": draw(st.booleans())}, STREAMS
    )


@st.composite
def events(draw: st.DrawFn, most: int = 40) -> list[Row]:
    """Events in the order of time, of few entities."""
    rows: list[Row] = []
    at = -5 * SECOND
    for _ in range(draw(st.integers(0, most))):
        at += draw(st.sampled_from((0, 1, SECOND, 3 * SECOND, 11 * SECOND)))
        rows.append(
            {
                "card": draw(st.sampled_from(("a", "b", "b", None))),
                "shop": draw(st.sampled_from((7, -1, None))),
                "at": at,
                "amount": draw(st.none() | st.integers(-300, 300).map(lambda units: Decimal(units).scaleb(-2))),
                "share": draw(st.none() | st.floats(-4, 4)),
                "country": draw(st.sampled_from(("DE", "FR", None))),
                "online": draw(st.booleans()),
            }
        )
    return rows


class Fed:
    """A live view and the columns that it filled."""

    def __init__(self, view: View, **limits: int) -> None:
        self.live = LiveView(view, **limits)
        self.strings = StringTable()
        self.layout = Layout(
            (STREAM.name,),
            (
                *self.live.columns(),
                *(column for column in _columns() if (STREAM.name, column.name) in self.live.needed()),
            ),
        )
        self.live.use(self.layout, self.strings.code)

    def feed(self, rows: Sequence[Row]) -> list[list[Any]]:
        """The features that each event is given."""
        count = len(self.layout.columns)
        values, nulls = np.zeros((count, len(rows)), np.int64), np.zeros((count, len(rows)), np.uint8)
        for place, column in enumerate(self.layout.columns):
            for number, row in enumerate(rows):
                stored = self.stored(row.get(column.name), column.type.kind, column.type.scale)
                nulls[place, number] = stored is None
                values[place, number] = stored or 0
        at = np.array([row["at"] for row in rows], np.int64)
        batch = Batch(self.layout, np.zeros(len(rows), np.int16), at, at, values, nulls, _NoRecords())
        self.live.compute(batch)
        types = [one.type for one in self.live.view.features]
        return [
            [value(values[place, row], nulls[place, row], kind) for place, kind in enumerate(types)]
            for row in range(len(rows))
        ]

    def stored(self, given: Any, kind: Kind, scale: int) -> int | None:
        """As a column stores it."""
        if given is None:
            return None
        if kind is Kind.STRING:
            return self.strings.code(given)
        if kind is Kind.FLOAT64:
            return int(np.float64(given).view(np.int64))
        return int(given.scaleb(scale)) if kind is Kind.DECIMAL else int(given)


def value(stored: Any, null: Any, kind: Any) -> Any:
    """What a stored number means."""
    if null:
        return None
    if kind.kind is Kind.FLOAT64:
        return float(stored.view(np.float64))
    return Decimal(int(stored)).scaleb(-kind.scale) if kind.kind is Kind.DECIMAL else int(stored)


def _columns() -> list[Column]:
    return [Column(STREAM.name, one.name, one.type) for one in STREAM.fields]


class _NoRecords:
    def event_id(self, row: int) -> str:
        raise AssertionError(row)

    def payload(self, row: int) -> bytes:
        raise AssertionError(row)
