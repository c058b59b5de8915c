"""Records as one stretch of bytes, so that kernels read them and nobody makes an object of each.

    array    {"card":"c1"}\\0{"card":"c2"}\\0…\\0\\0\\0      a NUL behind each record, PADDING of them at the end
             ▲           ▲
          begins[0]   ends[0]

A record becomes `bytes` where one is asked for: a dead letter, an event that a partial takes, one that is held.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import overload

import numpy as np

from events.columns import I64, U8

PADDING = 16
"""Kernels read eight bytes at a time, from any place of a record on and behind it."""


class Texts(Sequence[bytes]):
    """n records: record r is array[begins[r]:ends[r]], and array[ends[r]] a NUL. Nothing of it is changed any more."""

    __slots__ = ("array", "begins", "ends")

    def __init__(self, array: U8, begins: I64, ends: I64) -> None:
        self.array, self.begins, self.ends = array, begins, ends

    @staticmethod
    def of(records: Sequence[bytes]) -> Texts:
        """These records, copied if they aren't `Texts` yet.

        >>> texts = Texts.of([b"one", b"", b"three"])
        >>> texts[2], list(texts[:2]), list(texts.take(np.array([2, 0])))
        (b'three', [b'one', b''], [b'three', b'one'])
        """
        if isinstance(records, Texts):
            return records
        sizes = np.fromiter(map(len, records), np.int64, len(records))
        whole = bytearray(b"\0").join((*records, bytes(PADDING)))  # `bytearray`: an array over `bytes` is another type
        ends = np.cumsum(sizes + 1) - 1
        return Texts(np.frombuffer(whole, np.uint8), ends - sizes, ends)

    @staticmethod
    def joined(parts: Sequence[Texts]) -> Texts:
        """One after the other; copied where they don't lie in one array."""
        if len(parts) == 1:
            return parts[0]
        begins, ends = [part.begins for part in parts], [part.ends for part in parts]
        if not parts or any(part.array is not parts[0].array for part in parts):
            stretches, at = [], 0
            for place, part in enumerate(parts):
                first, last = part.stretch()
                stretches += [part.array[first:last], _NUL]
                begins[place], ends[place] = part.begins + (at - first), part.ends + (at - first)
                at += last - first + 1
            array = np.concatenate([*stretches, np.zeros(PADDING, np.uint8)])
        else:
            array = parts[0].array
        none = np.empty(0, np.int64)
        return Texts(array, np.concatenate([none, *begins]), np.concatenate([none, *ends]))

    def __len__(self) -> int:
        return len(self.begins)

    @overload
    def __getitem__(self, place: int) -> bytes: ...

    @overload
    def __getitem__(self, place: slice) -> Texts: ...

    def __getitem__(self, place: int | slice) -> bytes | Texts:
        if isinstance(place, slice):
            return Texts(self.array, self.begins[place], self.ends[place])
        return self.array[self.begins.item(place) : self.ends.item(place)].tobytes()

    def __iter__(self) -> Iterator[bytes]:
        return iter(self.listed())

    def listed(self) -> list[bytes]:
        """Each record as an object: faster than one by one."""
        first, last = self.stretch()
        whole = self.array[first:last].tobytes()
        return [
            whole[begin:end]
            for begin, end in zip((self.begins - first).tolist(), (self.ends - first).tolist(), strict=True)
        ]

    def take(self, places: I64) -> Texts:
        """The records at these places."""
        return Texts(self.array, self.begins[places], self.ends[places])

    def alone(self) -> Texts:
        """The same in an array of its own."""
        return Texts.joined([self, NO_TEXTS])

    def stretch(self) -> tuple[int, int]:
        """From where to where in the array the records lie."""
        return (int(self.begins.min()), int(self.ends.max())) if len(self) else (0, 0)

    def sizes(self) -> I64:
        """Of each record, in bytes."""
        return self.ends - self.begins


_NUL = np.zeros(1, np.uint8)

NO_TEXTS = Texts.of(())
"""None at all."""
