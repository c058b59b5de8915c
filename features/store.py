"""OnlineStore: the packed state of each entity's windows, for those who read features outside of a lane.

    lane, after its commit ── write(guard, entries) ──▶ store ── read(view, entities) ──▶ packed.Shape.read

A write carries the guard of its commit. What an older lane, or an older commit, writes late is left out.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Sequence
from typing import NamedTuple, Protocol

import msgspec

Entity = tuple[str | int, ...]
"""The values of an entity's fields, as a view declares them; a decimal or instant in its stored integer."""

ENTRIES_MAX = 1_000_000
"""Of a MemoryStore. At the limit the one that was written first is forgotten, counted (`forgotten`)."""


class Guard(NamedTuple):
    """Whose write it is: the lane's epoch, then the number of the commit's journal record. The larger one counts."""

    epoch: int
    commit: int


class EntityState(NamedTuple):
    """What the features of one entity follow from. ttl_us: for how long it is worth keeping after it was written"""

    view: str
    entity: Entity
    packed: bytes
    ttl_us: int


class OnlineStore(Protocol):
    """Any thread may use it. Both methods raise ServiceUnavailable where the store can't be reached."""

    def write(self, guard: Guard, entries: Sequence[EntityState]) -> int:
        """Keeps them; answers how many were left out, as what is there is newer."""

    def read(self, view: str, entities: Sequence[Entity]) -> list[bytes | None]:
        """What was packed, in the order of `entities`; None where there is nothing."""

    def close(self) -> None:
        """Ends its connections."""


def name_of(entity: Entity) -> str:
    """An entity as text: JSON, so that 1 and "1" are two.

    >>> name_of(("card-1", 7))
    '["card-1",7]'
    """
    return msgspec.json.encode(entity).decode()


class MemoryStore:
    """A store within the process: what `stakeout serve` has without Redis."""

    def __init__(self, entries_max: int = ENTRIES_MAX) -> None:
        self.forgotten = 0
        self._entries_max = entries_max
        self._kept: OrderedDict[tuple[str, Entity], tuple[Guard, bytes]] = OrderedDict()
        self._lock = threading.Lock()

    def write(self, guard: Guard, entries: Sequence[EntityState]) -> int:
        """See OnlineStore."""
        left_out = 0
        with self._lock:
            for entry in entries:
                key = entry.view, entry.entity
                before = self._kept.get(key)
                if before is not None and before[0] > guard:
                    left_out += 1
                    continue
                self._kept[key] = guard, entry.packed
                if len(self._kept) > self._entries_max:
                    self._kept.popitem(last=False)
                    self.forgotten += 1
        return left_out

    def read(self, view: str, entities: Sequence[Entity]) -> list[bytes | None]:
        """See OnlineStore."""
        with self._lock:
            found = [self._kept.get((view, entity)) for entity in entities]
        return [None if one is None else one[1] for one in found]

    def close(self) -> None:
        """See OnlineStore."""
