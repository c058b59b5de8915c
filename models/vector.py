"""Columns to vectors: the one way from stored integers to what a model reads, in training and when it scores."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from events.columns import F64, I64, U8
from events.types import Kind, Type


def vectors_of(
    values: I64, nulls: U8, places: Sequence[int], types: Sequence[Type], missing: Sequence[float | None], rows: I64
) -> F64:
    """float64[rows, inputs] of columns as a `Batch` has them.

    places: the column of each input; a decimal is in units of its field, a bool is 0 or 1
    missing: what stands for null, NaN where it is None

    >>> from events.types import BOOL, Type
    >>> values, nulls = np.array([[81250, 5], [1, 0]]), np.array([[0, 1], [0, 0]], np.uint8)
    >>> vectors_of(values, nulls, (0, 1), (Type(Kind.DECIMAL, 12, 2), BOOL), (None, None), np.arange(2)).tolist()
    [[812.5, 1.0], [nan, 0.0]]
    """
    vectors = np.empty((len(rows), len(places)), np.float64)
    for number, (place, kind, stand_in) in enumerate(zip(places, types, missing, strict=True)):
        stored = values[place, rows]
        column = vectors[:, number]
        if kind.kind is Kind.FLOAT64:
            column[:] = stored.view(np.float64)
        elif kind.kind is Kind.DECIMAL:
            np.divide(stored, 10.0**kind.scale, out=column)
        else:
            column[:] = stored
        column[nulls[place, rows] != 0] = np.nan if stand_in is None else stand_in
    return vectors
