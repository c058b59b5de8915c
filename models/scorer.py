"""Scorer: a model in the lane. It reads the columns of a batch and fills the column `score` of its stream.

    batch ─▶ rows of the stream ─▶ vectors ─▶ Graph ─▶ values[score], nulls[score], in place

A score depends on nothing but the event's own vector: any split into batches gives the same. Where the model fails,
the score is its declared fallback or null, counted in `failed`.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping

import numpy as np

from events.columns import I64, Batch, Column, Layout
from events.errors import IntegrityViolation
from events.schema import Stream
from events.types import FLOAT64, Type
from models.card import Card, fingerprint_of
from models.document import SCORE
from models.graph import verified
from models.vector import vectors_of


class Scorer:
    """One version of a model, verified. One thread uses it.

    failed:      events that the model gave no score, so far
    failed_rows: those of the last batch
    """

    def __init__(
        self, card: Card, model: bytes, streams: Mapping[str, Stream], views: Mapping[str, str] | None = None
    ) -> None:
        """views: the live feature views, name → definition, as the card keeps them.

        Raises IntegrityViolation with the difference if file, card, streams and views don't fit each other.
        """
        self.card, self.failed = card, 0
        self.failed_rows: I64 = np.zeros(0, np.int64)
        where = f"model {card.name} version {card.version}"
        _check_views(card, views or {}, where)
        _check_inputs(card, streams, where)
        self._graph = verified(card, model, where)
        self._types = _types(card, streams)
        self._missing = [one.missing for one in card.inputs]
        self._stream = -1
        self._score: int | None = None
        self._places: list[int] = []

    def needed(self) -> set[tuple[str, str]]:
        """The columns that its inputs are, as (stream, field or `view.feature`)."""
        return {(self.card.stream, one.name) for one in self.card.inputs}

    def columns(self) -> tuple[Column, ...]:
        """What it fills."""
        return (Column(self.card.stream, SCORE, FLOAT64),)

    def use(self, layout: Layout, code: Callable[[str], int]) -> None:
        """From here on batches have this layout: with `needed` and `columns`, or without `score`; then it rests."""
        stream = self.card.stream
        self._score = layout.positions.get((stream, SCORE))
        self._stream = layout.streams.index(stream) if stream in layout.streams else -1
        if self._score is not None:
            self._places = [layout.positions[stream, one.name] for one in self.card.inputs]

    def read(self, batch: Batch, row: int) -> dict[str, float | None]:
        """What it reads of one event, by name; null is None, whatever stands for it."""
        rows, unknown = np.array([row]), [None] * len(self._places)
        (vector,) = vectors_of(batch.values, batch.nulls, self._places, self._types, unknown, rows).tolist()
        return {
            one.name: None if batch.nulls[place, row] else number
            for one, place, number in zip(self.card.inputs, self._places, vector, strict=True)
        }

    def compute(self, batch: Batch) -> None:
        """Fills `score` of the events of its stream, in place."""
        self.failed_rows = np.zeros(0, np.int64)
        if self._score is None:
            return
        rows = np.flatnonzero(batch.stream == self._stream)
        if not len(rows):
            return
        vectors = vectors_of(batch.values, batch.nulls, self._places, self._types, self._missing, rows)
        scores = self._graph.score(vectors)
        failed = np.isnan(scores)
        if failed.any():
            self.failed_rows = rows[failed]
            self.failed += len(self.failed_rows)
            if self.card.fallback is not None:
                scores[failed], failed[:] = self.card.fallback, False
        batch.nulls[self._score, rows] = failed
        scores[failed] = 0.0
        batch.values[self._score, rows] = scores.view(np.int64)


def _types(card: Card, streams: Mapping[str, Stream]) -> list[Type]:
    fields = _fields(streams[card.stream])
    return [fields[one.name] for one in card.inputs]


def _fields(stream: Stream) -> dict[str, Type]:
    return {field.name: field.type for field in (*stream.fields, *stream.derived)}


def _check_inputs(card: Card, streams: Mapping[str, Stream], where: str) -> None:
    """Raises IntegrityViolation for every input that the stream doesn't have, or has with another type."""
    stream = streams.get(card.stream)
    if stream is None:
        raise IntegrityViolation(f"{where}: scores the stream {card.stream}, which isn't declared", "declare it")
    fields = _fields(stream)
    wrong = [
        f"{one.name} was {one.type}, is {fields.get(one.name, 'gone')}"
        for one in card.inputs
        if str(fields.get(one.name)) != one.type
    ]
    if wrong:
        raise IntegrityViolation(
            f"{where}: its inputs aren't those of the stream {card.stream}: {'; '.join(wrong)}", "train it anew"
        )


def _check_views(card: Card, views: Mapping[str, str], where: str) -> None:
    """Raises IntegrityViolation with the lines in which a live view differs from the one it was trained with."""
    live = {name: views[name] for name in card.views if name in views}
    if fingerprint_of(card.inputs, live) == card.fingerprint and live == card.views:
        return
    lines = [f"view {name}: isn't there" for name in card.views if name not in live]
    for name, text in live.items():
        if text != card.views[name]:
            diff = difflib.unified_diff(
                card.views[name].splitlines(), text.splitlines(), "trained", "live", n=0, lineterm=""
            )
            lines.append("\n    ".join([f"view {name}:", *diff]))
    raise IntegrityViolation(
        f"{where}: was trained with other features than are live (fingerprint {card.fingerprint[:16]}): "
        + ("; ".join(lines) or "the card's inputs were changed"),
        "train it anew with the views of now, or bring back those of then",
    )
