"""OnlineWriter: hands what a lane's features follow from to the online store, after the commit, in a thread of its own.

    lane ── take(guard, entries) ──▶ waiting: the newest of each entity ──▶ store.write ──▶ who reads features

A lane never waits for the store. While it is away, entries wait and are sent again. A lane that starts anew hands over
everything that its replay touched: nothing has to be kept here.
"""

from __future__ import annotations

import logging
import threading
from collections import OrderedDict
from collections.abc import Sequence
from itertools import groupby, islice

from events.errors import ServiceUnavailable
from features.store import Entity, EntityState, Guard, OnlineStore

WRITE_ENTRIES = 512
"""In one round trip."""

RETRY_SECONDS = (0.05, 0.2, 1.0)
"""Between tries while the store is away; the last one again and again."""

_log = logging.getLogger("stakeout")


class OnlineWriter:
    """Counts: written; left_out, as the store had newer ones; dropped at the limit; failed tries to reach the store."""

    def __init__(self, store: OnlineStore, waiting_max: int) -> None:
        self.written = self.left_out = self.dropped = self.failed = 0
        self._store, self._waiting_max = store, waiting_max
        self._waiting: OrderedDict[tuple[str, Entity], tuple[Guard, EntityState]] = OrderedDict()
        self._changed = threading.Condition()
        self._ending = False
        self._thread = threading.Thread(target=self._run, name="online", daemon=True)
        self._thread.start()

    def __len__(self) -> int:
        """How many entries wait."""
        return len(self._waiting)

    def take(self, guard: Guard, entries: Sequence[EntityState]) -> dict[str, int]:
        """These are to be written; at the limit those that have waited longest are dropped. Answers the counts."""
        with self._changed:
            for entry in entries:
                key = entry.view, entry.entity
                self._waiting[key] = guard, entry
                self._waiting.move_to_end(key)
            while len(self._waiting) > self._waiting_max:
                self._waiting.popitem(last=False)
                self.dropped += 1
            self._changed.notify()
        return {"written": self.written, "left_out": self.left_out, "dropped": self.dropped, "failed": self.failed}

    def close(self, seconds: float = 5.0) -> None:
        """Writes what waits, as far as the time allows."""
        with self._changed:
            self._ending = True
            self._changed.notify()
        self._thread.join(seconds)

    def _run(self) -> None:
        tries = 0
        while taken := self._next():
            try:
                for guard, some in groupby(taken, key=lambda each: each[0]):
                    entries = [entry for _, entry in some]
                    left_out = self._store.write(guard, entries)
                    self.left_out += left_out
                    self.written += len(entries) - left_out
                tries = 0
            except ServiceUnavailable as error:
                self.failed += 1
                if not tries:
                    _log.warning("features wait for the online store", extra={"told": {"error": str(error)}})
                self._put_back(taken)
                if self._ending:
                    return
                with self._changed:
                    self._changed.wait_for(lambda: self._ending, RETRY_SECONDS[min(tries, len(RETRY_SECONDS) - 1)])
                tries += 1

    def _next(self) -> list[tuple[Guard, EntityState]]:
        """What has waited longest; nothing when all is done."""
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._ending)
            keys = list(islice(self._waiting, WRITE_ENTRIES))
            return sorted((self._waiting.pop(key) for key in keys), key=lambda each: each[0])

    def _put_back(self, taken: Sequence[tuple[Guard, EntityState]]) -> None:
        """In front, unless a newer one waits."""
        with self._changed:
            for guard, entry in reversed(taken):
                key = entry.view, entry.entity
                if key not in self._waiting:
                    self._waiting[key] = guard, entry
                    self._waiting.move_to_end(key, last=False)
            while len(self._waiting) > self._waiting_max:
                self._waiting.popitem(last=False)
                self.dropped += 1
