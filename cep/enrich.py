"""Enrichment: what adds columns to a batch between order and match. Feature views are one, models another."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from events.columns import Batch, Column, Layout


class Enrichment(Protocol):
    """Pure: the same batches in the same order give the same columns, however they are split."""

    def needed(self) -> set[tuple[str, str]]:
        """The columns that it reads, as (stream, field)."""

    def columns(self) -> tuple[Column, ...]:
        """The columns that it fills."""

    def use(self, layout: Layout, code: Callable[[str], int]) -> None:
        """From here on batches have this layout; `code` gives a string's code."""

    def compute(self, batch: Batch) -> None:
        """Fills its columns of a batch, in place."""
