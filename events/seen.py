"""Ids that were released lately, for dropping duplicates: a window of time, and a limit."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence

import numpy as np

from events.columns import I64


class Seen:
    """The ids of one stream that were released in the last `window_us`, at most `limit` of them.

    numbers: id ──► its number; ids are numbered as they are released
    ids, ats: place p holds number `first` + p, from place `gone` on; an id that came again after its time is in twice
    """

    def __init__(self, window_us: int, limit: int) -> None:
        self.window_us = window_us
        self.limit = limit
        self._numbers: dict[str, int] = {}
        self._ids: list[str] = []
        self._ats: list[int] = []
        self._first = 0
        self._gone = 0

    def admit(self, ids: Sequence[str | None], at_us: I64) -> tuple[list[int], int]:
        """(places of the duplicates, how many ids were forgotten for the limit); at_us never goes back.

        A duplicate is an id released at most `window_us` and fewer than `limit` ids before; it doesn't renew the id.
        """
        if not len(at_us):
            return [], 0
        texts, ats = [text for text in ids if text is not None], at_us.tolist()
        assert len(texts) == len(ats), "an event without id in a stream that names one"
        self._forget(bisect_left(self._ats, ats[0] - self.window_us, self._gone))
        again: list[int] = []
        if not self._all_new(texts, ats):
            again = self._admit_each(texts, ats)
        evicted = max(0, len(self._ids) - self.limit - self._gone)
        self._forget(self._gone + evicted)
        return again, evicted

    def _all_new(self, texts: Sequence[str], ats: Sequence[int]) -> bool:
        """Admits them if each is new, the common case; else changes nothing."""
        if not self._numbers.keys().isdisjoint(texts):
            return False
        before, first = len(self._numbers), self._first + len(self._ids)
        self._numbers.update(zip(texts, range(first, first + len(texts)), strict=True))
        if len(self._numbers) < before + len(texts):  # one of them twice
            for text in texts:
                self._numbers.pop(text, None)
            return False
        self._ids += texts
        self._ats += ats
        return True

    def _admit_each(self, texts: Sequence[str], ats: Sequence[int]) -> list[int]:
        again = []
        for place, (text, at_us) in enumerate(zip(texts, ats, strict=True)):
            following = self._first + len(self._ids)
            number = self._numbers.get(text)
            known = number is not None and following - number <= self.limit
            if known and number is not None and at_us - self._ats[number - self._first] <= self.window_us:
                again.append(place)
                continue
            self._numbers[text] = following
            self._ids.append(text)
            self._ats.append(at_us)
        return again

    def _forget(self, until: int) -> None:
        """Forget the places before `until`."""
        for place in range(self._gone, until):
            text = self._ids[place]
            if self._numbers[text] == self._first + place:
                del self._numbers[text]
        self._gone = max(self._gone, until)
        if self._gone > 1024 and 2 * self._gone > len(self._ids):
            del self._ids[: self._gone], self._ats[: self._gone]
            self._first += self._gone
            self._gone = 0

    def dump(self) -> tuple[list[str], I64]:
        """Ids and the instants of their release, from the oldest."""
        return self._ids[self._gone :], np.array(self._ats[self._gone :], np.int64)

    def load(self, ids: list[str], at_us: I64) -> None:
        """What `dump` gave."""
        self._ids, self._ats, self._first, self._gone = ids, at_us.tolist(), 0, 0
        self._numbers = {text: number for number, text in enumerate(ids)}
