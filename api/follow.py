"""Following what lanes commit: their journals and their alerts, as they become visible.

    Tail (SQLite or Kafka) ── look ──▶ Follower, a thread ─┬─▶ lanes: positions, watermark, last commit
                                                           ├─▶ the last ALERTS_KEPT alerts, with their places
                                                           └─▶ who waits: decisions, readers of the stream

An alert is shown only once it can be read by anybody: committed.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

import msgspec

from cep.alert import Alert
from cep.log.protocol import JournalRecord, Partition, Positions
from events.errors import ServiceUnavailable

ALERTS_KEPT = 10_000
"""Alerts that a reader of the stream can go back to after its connection broke."""

PAUSE_SECONDS = 1.0
"""Before another try when the log can't be read."""


class Committed(NamedTuple):
    """An alert and where it stands: (partition of the alerts topic, offset)."""

    place: tuple[int, int]
    alert: Alert


class Look(NamedTuple):
    """What has become visible since the last look."""

    alerts: Sequence[Committed]
    journal: Sequence[JournalRecord]


class Tail(Protocol):
    """Reads the end of the outputs. One thread uses `look`; any may ask for `ends`."""

    def look(self, wait_s: float) -> Look:
        """Waits up to so long for something new. Raises ServiceUnavailable."""

    def ends(self) -> Positions:
        """The offset behind the last record of every source partition. Raises ServiceUnavailable."""

    def dead_letters(self, limit: int) -> list[dict[str, Any]]:
        """The newest, newest first, as they stand on their topic. Raises ServiceUnavailable."""

    def close(self) -> None:
        """Idempotent."""


@dataclass(frozen=True, slots=True)
class LaneStatus:
    """What the last journal record of a lane says. positions: the next offset to read, by source partition."""

    lane: int
    lanes: int
    epoch: int
    number: int
    watermark_us: int
    committed_us: int
    control_offset: int
    positions: Positions


def status_of(record: JournalRecord, before: LaneStatus | None) -> LaneStatus:
    """A lane after one more record."""
    positions = {Partition(start.topic, start.number): start.offset for start in record.partitions}
    places = sorted(positions)
    watermark_us = before.watermark_us if before else 0
    committed_us = before.committed_us if before else 0
    control_offset = before.control_offset if before else 0
    for entry in record.entries:
        watermark_us, committed_us = entry.watermark_us, entry.wall_us
        positions.update({places[place]: offset for place, offset in getattr(entry, "moved", ())})
        control_offset = getattr(entry, "control_offset", control_offset)
    return LaneStatus(
        record.lane, record.lanes, record.epoch, record.number, watermark_us, committed_us, control_offset, positions
    )


@dataclass
class Follower:
    """Keeps up with a tail in a thread of its own, from `start` to `close`."""

    tail: Tail
    log: logging.Logger
    lanes: dict[int, LaneStatus] = field(default_factory=dict)
    alerts: deque[Committed] = field(default_factory=lambda: deque(maxlen=ALERTS_KEPT))
    news: threading.Condition = field(default_factory=threading.Condition)
    _listeners: list[Callable[[Sequence[Committed]], None]] = field(default_factory=list)
    _stopped: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None

    def start(self) -> None:
        """Begins to follow."""
        self._thread = threading.Thread(target=self._run, name="follower", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Ends the thread. Idempotent."""
        self._stopped.set()
        if self._thread is not None:
            self._thread.join()
            self._thread = None
            self.tail.close()

    def listen(self, listener: Callable[[Sequence[Committed]], None]) -> list[Committed]:
        """Calls `listener` with all alerts from here on, on the follower's thread; answers those that are kept."""
        with self.news:
            self._listeners.append(listener)
            return list(self.alerts)

    def unlisten(self, listener: Callable[[Sequence[Committed]], None]) -> None:
        """No more."""
        with self.news:
            self._listeners.remove(listener)

    def wait(self, partition: Partition, offset: int, seconds: float) -> bool:
        """Until what a lane made of this record is visible, but so long at most."""
        with self.news:
            return self.news.wait_for(lambda: self._passed(partition, offset), seconds)

    def live(self, control_offset: int) -> bool:
        """Have all lanes applied the control log up to there?"""
        lanes = list(self.lanes.values())
        return bool(lanes) and len(lanes) == lanes[0].lanes and all(
            lane.control_offset >= control_offset for lane in lanes
        )  # fmt: skip

    def wait_live(self, control_offset: int, seconds: float) -> bool:
        """Until they have, but so long at most."""
        with self.news:
            return self.news.wait_for(lambda: self.live(control_offset), seconds)

    def lag(self) -> dict[Partition, int]:
        """Records that are in the log and not yet decided upon, by source partition. Raises ServiceUnavailable."""
        reached = self.positions()
        return {partition: max(0, end - reached.get(partition, 0)) for partition, end in self.tail.ends().items()}

    def positions(self) -> Positions:
        """How far all lanes are."""
        return {place: offset for lane in list(self.lanes.values()) for place, offset in lane.positions.items()}

    def _passed(self, partition: Partition, offset: int) -> bool:
        return any(lane.positions.get(partition, 0) > offset for lane in self.lanes.values())

    def _run(self) -> None:
        while not self._stopped.is_set():
            try:
                look = self.tail.look(0.05)
            except ServiceUnavailable as error:
                self.log.warning("waiting", extra={"told": {"error": str(error)}})
                self._stopped.wait(PAUSE_SECONDS)
                continue
            if look.alerts or look.journal:
                self._take(look)

    def _take(self, look: Look) -> None:
        with self.news:
            self.alerts.extend(look.alerts)
            for record in look.journal:
                self.lanes[record.lane] = status_of(record, self.lanes.get(record.lane))
            if look.alerts:
                for listener in self._listeners:
                    listener(look.alerts)
            self.news.notify_all()


def alerts_of(rows: Sequence[tuple[int, int, bytes]]) -> list[Committed]:
    """(partition, offset, record) as alerts."""
    return [Committed((partition, offset), _decode(value)) for partition, offset, value in rows]


def after(kept: Sequence[Committed], seen: Mapping[int, int]) -> list[Committed]:
    """Those of the kept alerts that a reader has not seen; `seen`: the next offset by partition."""
    return [one for one in kept if one.place[1] >= seen.get(one.place[0], 0)]


_decode = msgspec.json.Decoder(Alert).decode
