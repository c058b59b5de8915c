"""How far the lanes are, as their journal says.

    journal (and alerts) ── follow ──▶ Lanes ──▶ statuses, lag, `passed`: is a change live?, `await_event`

Embedded the file is read; with Kafka a thread of its own reads committed records only. An alert belongs to a commit,
whose journal record says how many alerts the lane has written up to there: so whoever has read that many of them has
read all of that commit, in whatever order topics are delivered.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from time import monotonic
from typing import Protocol

import msgspec
from confluent_kafka import KafkaException

from cep.alert import Alert
from cep.log.kafka import KafkaSource
from cep.log.kafka_settle import TAIL, Tails
from cep.log.kafka_topics import Topics
from cep.log.protocol import ALERTS, BatchEntry, JournalRecord, Partition, Positions, decode_journal
from cep.log.sqlite import SqliteLog
from cep.settings import Settings
from events.errors import LimitReached, StakeoutError
from events.order import NEVER_US

FOLLOW_SECONDS = 0.05
"""How long one look at the topics waits for a record."""

AGAIN_SECONDS = 1.0
"""Between two attempts while the log can't be followed."""

WAITED_MAX = 10_000
"""Alerts kept for those who wait for an event; the oldest go first."""

_log = logging.getLogger("stakeout.api")


@dataclass(frozen=True, slots=True)
class LaneStatus:
    """One lane after its last commit. watermark_us: None before the first event.

    positions: the next offset to read, by source partition.  alerts: written so far, as the next one's sequence
    """

    lane: int
    epoch: int
    record: int
    committed_at_us: int = 0
    watermark_us: int | None = None
    control_offset: int = 0
    positions: Positions = field(default_factory=dict)
    alerts: int = 0


def after(status: LaneStatus | None, record: JournalRecord) -> LaneStatus:
    """The status after one more record of the lane."""
    ordered = sorted(Partition(start.topic, start.number) for start in record.partitions)
    positions = {Partition(start.topic, start.number): start.offset for start in record.partitions}
    status = LaneStatus(record.lane, record.epoch, record.number) if status is None else status
    watermark_us, control_offset, wall_us = status.watermark_us, status.control_offset, status.committed_at_us
    for entry in record.entries:
        wall_us = entry.wall_us
        watermark_us = entry.watermark_us if entry.watermark_us > NEVER_US else watermark_us
        if isinstance(entry, BatchEntry):
            control_offset = entry.control_offset
            positions.update((ordered[place], offset) for place, offset in entry.moved)
    return LaneStatus(
        record.lane,
        record.epoch,
        record.number,
        wall_us,
        watermark_us,
        control_offset,
        positions,
        record.sequences.get(ALERTS, 0),
    )


class Lanes:
    """What is known of all lanes. Any thread may use it; followers `take` records and `note` alerts."""

    def __init__(self, count: int, waiting_max: int) -> None:
        self.count, self._waiting_max = count, waiting_max
        self.trouble = ""
        """Why the journal can't be followed just now; empty while it can."""
        self._moved = threading.Condition()
        self._statuses: dict[int, LaneStatus] = {}
        self._waiters = 0
        self._alerts: list[Alert] = []
        self._seen: dict[int, int] = {}

    def take(self, record: JournalRecord) -> None:
        """A lane has committed."""
        with self._moved:
            self._statuses[record.lane] = after(self._statuses.get(record.lane), record)
            self._moved.notify_all()

    def note(self, alerts: Sequence[Alert]) -> None:
        """Alerts that can be read now, in order. They are kept while someone waits."""
        with self._moved:
            for alert in alerts:
                self._seen[alert.lane] = alert.sequence + 1
            if self._waiters:
                self._alerts = [*self._alerts, *alerts][-WAITED_MAX:]
            self._moved.notify_all()

    def statuses(self) -> list[LaneStatus]:
        """Of the lanes that have ever committed, in order."""
        with self._moved:
            return [status for _, status in sorted(self._statuses.items())]

    def passed(self, control_offset: int) -> bool:
        """Have all lanes applied the control log up to there?"""
        found = self.statuses()
        return len(found) == self.count and all(status.control_offset >= control_offset for status in found)

    def position(self, partition: Partition) -> int:
        """How far this source partition was read by its lane; 0 before that."""
        return max((status.positions.get(partition, 0) for status in self.statuses()), default=0)

    def wait_until(self, holds: Callable[[], bool], deadline_s: float) -> bool:
        """Waits until it holds, at most up to `deadline_s` on the monotonic clock; answers whether it does."""
        with self._moved:
            while not holds():
                left_s = deadline_s - monotonic()
                if left_s <= 0:
                    return False
                self._moved.wait(left_s)
            return True

    @property
    def waited_for(self) -> bool:
        """Is anyone waiting for an event? Then lanes of this process commit at once."""
        return self._waiters > 0

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """Around the writing of an event and the wait for it: alerts are kept from here on. Raises LimitReached."""
        with self._moved:
            if self._waiters >= self._waiting_max:
                hint = "wait for fewer at once, or raise server.waiting_max and server.threads"
                raise LimitReached(f"{self._waiters} decisions are waited for, which is the limit", hint)
            self._waiters += 1
        try:
            yield
        finally:
            with self._moved:
                self._waiters -= 1
                if not self._waiters:
                    self._alerts = []

    def await_event(
        self, partition: Partition, offset: int, event_id: str, at_us: int | None, deadline_s: float
    ) -> tuple[bool, list[Alert]]:
        """Waits for the commit that holds an event; answers whether it came, and the alerts whose last event it is.

        at_us: its instant, where the stream is put in order by event time: the watermark must have passed it, too
        """

        def decided() -> bool:
            for status in self._statuses.values():
                if status.positions.get(partition, 0) > offset:
                    in_time = at_us is None or (status.watermark_us is not None and status.watermark_us >= at_us)
                    return in_time and self._seen.get(status.lane, 0) >= status.alerts
            return False

        with self._moved:
            came = self.wait_until(decided, deadline_s)
            return came, [alert for alert in self._alerts if alert.events and alert.events[-1].event_id == event_id]

    def begin_seen(self, lane: int, sequence: int) -> None:
        """A follower begins to read the lane's alerts behind this one."""
        with self._moved:
            self._seen[lane] = max(self._seen.get(lane, 0), sequence)


class Follower(Protocol):
    """Keeps a `Lanes` up to date."""

    lanes: Lanes

    def look(self) -> None:
        """Takes what is new, where it can be had at once. Raises ServiceUnavailable."""

    def close(self) -> None:
        """Idempotent."""


_alert = msgspec.json.Decoder(Alert)


class SqliteFollower:
    """Reads the file whenever it is asked to: after each commit of the lane in this process, and before an answer."""

    def __init__(self, log: SqliteLog, waiting_max: int) -> None:
        self.lanes = Lanes(1, waiting_max)
        self._log = log
        self._lock = threading.Lock()
        self._number = self._first()
        self._output = -1

    def look(self) -> None:
        """See Follower."""
        with self._lock:
            begin = self._output < 0
            if begin:  # before the journal is read: an alert written in between is read, not missed
                self._output = self._log.output_end(ALERTS)
            fresh = self._log.journal(self._number)
            if begin and fresh:
                self.lanes.begin_seen(0, fresh[0].sequences.get(ALERTS, 0))
            for record in fresh:
                self._number = record.number + 1
            self._read_alerts(fresh)
            for record in fresh:
                self.lanes.take(record)

    def close(self) -> None:
        """See Follower."""

    def _first(self) -> int:
        """Where to begin: at the last record that tells the control offset."""
        newest = self._log.journal_from_end()
        for record in newest:
            if any(isinstance(entry, BatchEntry) for entry in record.entries):
                return record.number
        return 0

    def _read_alerts(self, fresh: Sequence[JournalRecord]) -> None:
        if not fresh:
            return
        found = self._log.outputs(ALERTS, self._output)
        if found:
            self._output = found[-1][0] + 1
            self.lanes.note(_read([value for _, _, value in found]))


class KafkaFollower:
    """Follows journal and alerts in a thread of its own."""

    def __init__(self, settings: Settings) -> None:
        self.lanes = Lanes(settings.lane.count, settings.server.waiting_max)
        self._settings = settings
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="follower", daemon=True)
        self._thread.start()

    def look(self) -> None:
        """See Follower: the thread does."""

    def close(self) -> None:
        """See Follower."""
        self._stopped.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stopped.is_set():
            try:
                self._follow()
            except (StakeoutError, KafkaException) as error:
                self.lanes.trouble = str(error)
                _log.warning("journal not followed", extra={"told": {"error": str(error)}})
                self._stopped.wait(AGAIN_SECONDS)

    def _follow(self) -> None:
        topics = Topics(self._settings.app)
        alerts = topics.output(ALERTS)
        source = KafkaSource(self._settings.kafka, f"{self._settings.app}-api", 0, 1, [topics.journal, alerts])
        try:
            source.seek(self._start(topics.journal, alerts))
            self.lanes.trouble = ""
            while not self._stopped.is_set():
                for part in source.drain(4096, FOLLOW_SECONDS).slices:
                    values = [value for value in part.values if value is not None]
                    if part.partition.topic == alerts:
                        self.lanes.note(_read(values))
                    else:
                        for value in values:
                            self.lanes.take(decode_journal(value))
        finally:
            source.close()

    def _start(self, journal: str, alerts: str) -> Positions:
        """Takes the last records of each lane, and answers where to go on."""
        positions: Positions = {}
        for lane in range(self._settings.lane.count):
            tails = Tails(self._settings.kafka, self._settings.app, lane, lambda: None)
            ends = tails.ends()
            positions[Partition(journal, lane)] = ends[journal].stable
            # A few that were there before, too: both ends can't be asked for at the same instant.
            positions[Partition(alerts, lane)] = max(ends[alerts].begin, ends[alerts].stable - TAIL)
            newest = _newest(tails, journal, ends[journal].begin, ends[journal].stable)
            for record in newest:
                self.lanes.take(record)
            if newest:
                self.lanes.begin_seen(lane, newest[-1].sequences.get(ALERTS, 0))
        return positions


def _read(values: Sequence[bytes]) -> list[Alert]:
    """Those that are alerts: the sink tells of others."""
    found = []
    for value in values:
        with suppress(msgspec.MsgspecError, UnicodeDecodeError):
            found.append(_alert.decode(value))
    return found


def _newest(tails: Tails, journal: str, begin: int, end: int) -> list[JournalRecord]:
    """The last records of a lane, as many as it takes to know its control offset."""
    reach = TAIL
    while True:
        start = max(begin, end - reach)
        found = [decode_journal(message.value() or b"") for message in tails.read(journal, start, end)]
        told = any(isinstance(entry, BatchEntry) for record in found for entry in record.entries)
        if told or start == begin:
            return found
        reach *= 16


def lag(statuses: Sequence[LaneStatus], ends: Mapping[Partition, int]) -> dict[int, int]:
    """Records that are in the log and not yet in a commit, by lane."""
    return {
        status.lane: sum(
            max(0, ends[partition] - offset) for partition, offset in status.positions.items() if partition in ends
        )
        for status in statuses
    }
