"""Small models for tests: a stream, a document, events made by chance from a seed."""

from __future__ import annotations

from typing import Any

import numpy as np

from events.columns import I64, U8, Batch, Column, Layout
from events.schema import Stream, read_stream
from models.document import SCORE, Model, read_model, score_field
from models.train import Sample
from models.vector import vectors_of

STREAM = read_stream(
    """
    stream: payments
    key: [card]
    event_time: at
    fields:
      card: string
      at: instant
      amount: decimal(12, 2)
      visits: {type: int64, nullable: true}
      share: {type: float64, nullable: true}
      online: bool
    """
)
OTHER = read_stream("{stream: other, event_time: at, fields: {at: instant, amount: int64}}")
STREAMS: dict[str, Stream] = {STREAM.name: STREAM, OTHER.name: OTHER}

INPUTS = ("amount", "visits", "share", "online")
TYPES = [STREAM.field(name).type for name in INPUTS]
SECOND = 1_000_000

SMALL: dict[str, dict[str, object]] = {
    "logistic_regression": {},
    "decision_tree": {"max_depth": 6},
    "random_forest": {"n_estimators": 12, "max_depth": 6},
    "hist_gradient_boosting": {"max_iter": 12, "max_depth": 4},
}
"""Parameters with which each algorithm trains at once."""

LAYOUT = Layout(
    ("other", "payments"),
    (
        Column("other", "amount", OTHER.field("amount").type),
        *(Column("payments", name, kind) for name, kind in zip(INPUTS, TYPES, strict=True)),
        Column("payments", SCORE, score_field().type),
    ),
)


def document(algorithm: str, **more: object) -> dict[str, object]:
    needed: dict[str, object] = {
        "model": "risk",
        "stream": "payments",
        "inputs": list(INPUTS),
        "label": "fraud",
        "algorithm": algorithm,
        "parameters": SMALL.get(algorithm, {}),
        "split": {"delay": "5m", "test": "20m"},
    }
    if algorithm == "logistic_regression":
        needed["missing"] = -1
    return {**needed, **more}


def declared(algorithm: str, **more: object) -> Model:
    return read_model(document(algorithm, **more), STREAMS)


def columns(count: int, seed: int) -> tuple[I64, U8]:
    """values int64[4, count] and nulls uint8[4, count] of INPUTS."""
    chance = np.random.default_rng(seed)
    values = np.stack(
        [
            chance.integers(1, 100_000, count),
            chance.integers(0, 20, count),
            chance.random(count).view(np.int64),
            chance.integers(0, 2, count),
        ]
    )
    nulls = np.zeros(values.shape, np.uint8)
    nulls[1:3] = chance.random((2, count)) < 0.2
    values[nulls != 0] = 0
    return values, nulls


def sample(model: Model, count: int = 4000, seed: int = 1) -> Sample:
    """An event a second; the larger and the more online, the more it is fraud."""
    values, nulls = columns(count, seed)
    missing = [model.missing] * len(INPUTS)
    vectors = vectors_of(values, nulls, range(4), TYPES, missing, np.arange(count))
    chance = np.random.default_rng(seed + 1)
    fraud = (values[0] > 70_000) & (values[3] == 1) & (chance.random(count) < 0.8)
    return Sample(vectors, fraud, np.arange(count) * SECOND, chance.integers(0, 300, count))


def batch(count: int, seed: int) -> Batch:
    """Events of both streams, in LAYOUT, without scores."""
    chance = np.random.default_rng(seed)
    stream = chance.integers(0, 2, count).astype(np.int16)
    values, nulls = np.zeros((6, count), np.int64), np.ones((6, count), np.uint8)
    values[1:5], nulls[1:5] = columns(count, seed)
    theirs = stream == 0
    values[1:5, theirs], nulls[1:5, theirs] = 0, 1
    values[0, theirs], nulls[0, theirs] = 7, 0
    at_us = np.arange(count) * SECOND
    return Batch(LAYOUT, stream, at_us, at_us, values, nulls, records=_NONE)


def part(whole: Batch, first: int, last: int) -> Batch:
    """Its events from `first` to `last`, as a batch of their own."""
    rows = slice(first, last)
    values, nulls = np.ascontiguousarray(whole.values[:, rows]), np.ascontiguousarray(whole.nulls[:, rows])
    return Batch(LAYOUT, whole.stream[rows], whole.at_us[rows], whole.event_at_us[rows], values, nulls, whole.records)


_NONE: Any = None
