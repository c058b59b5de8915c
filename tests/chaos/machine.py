"""A slow, obvious Machine for tests of the log, the lane and the worker; it needs no pattern.

    {"id": "e1", "card": "c7", "at_us": 5, "amount": 501.0, "wait_us": 0}

An amount over 500 is an alert, whose identity depends on how many events the card had before: a record that is lost or
taken twice changes every later alert of the card. `wait_us` arms an absence: an alert if the card is silent so long.
An event LATE_US behind the newest one is late.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

import msgspec

from cep.alert import Alert, MatchedEvent, alert_id, canonical, group_of, key_group, pattern_group
from cep.control import Change, Pause, Resume
from cep.log.ledger import Decided
from cep.log.protocol import Partition, Slice
from events.decode import Reason
from events.order import FOREVER_US, NEVER_US, Refused, Tick

BIG = 500.0
LATE_US = 60_000_000
IDLE_US = 200_000


class Event(msgspec.Struct, gc=False):
    id: str
    card: str
    at_us: int
    amount: float
    wait_us: int = 0


_decode = msgspec.json.Decoder(Event).decode


@dataclass
class BigAmounts:
    """`paused` by a Pause of any pattern. `applied` has every change, for tests to look at."""

    seen: dict[str, int] = field(default_factory=dict)
    waiting: dict[str, int] = field(default_factory=dict)
    partitions: tuple[Partition, ...] = ()
    applied: list[Change] = field(default_factory=list)
    paused: bool = False
    watermark_us: int = NEVER_US
    read_at_us: int = 0
    quiet_since_us: int | None = None
    behind: frozenset[Partition] = frozenset()

    def take_up(self, partitions: Sequence[Partition]) -> None:
        self.partitions = tuple(partitions)

    def apply(self, changes: Sequence[Change]) -> Decided:
        for change in changes:
            self.applied.append(change)
            if isinstance(change, Pause | Resume):
                self.paused = isinstance(change, Pause)
        return Decided(watermark_us=self.watermark_us)

    def push(self, slices: Sequence[Slice], read_at_us: int) -> Decided:
        alerts: list[Alert] = []
        dead: list[Refused] = []
        late: list[Refused] = []
        taken = 0
        for part in slices:
            for row, raw in enumerate(part.values):
                try:
                    event = _decode(raw or b"")
                except msgspec.MsgspecError:
                    dead.append(_refused(part, row, Reason.NOT_JSON, None))
                    continue
                if event.at_us <= self.watermark_us - LATE_US:
                    late.append(_refused(part, row, Reason.LATE, event.at_us))
                    continue
                taken += 1
                alerts += self._take(event, raw or b"")
        alerts += self._absences()
        self.read_at_us, self.quiet_since_us = read_at_us, None
        return Decided(alerts, dead, late, (taken, taken, 0, len(alerts)), self.watermark_us, {"released": taken})

    def watch(self, at_end: Collection[Partition], wall_us: int) -> Tick | None:
        if set(at_end) != set(self.partitions):
            self.quiet_since_us = None
            return None
        if self.quiet_since_us is None:
            self.quiet_since_us = wall_us
        idle = wall_us - self.quiet_since_us >= IDLE_US
        due = any(self._now(wall_us) >= due_us for due_us in self.waiting.values())
        return Tick(wall_us, self.partitions) if idle and due else None

    def tick(self, tick: Tick) -> Decided:
        self.watermark_us = FOREVER_US if tick.end else max(self.watermark_us, self._now(tick.wall_us))
        alerts = self._absences()
        return Decided(alerts, counts=(0, 0, 0, len(alerts)), watermark_us=self.watermark_us)

    def finish(self, wall_us: int) -> tuple[Tick, Decided]:
        tick = Tick(wall_us, self.partitions, end=True)
        return tick, self.tick(tick)

    def ahead(self) -> Collection[Partition]:
        return self.behind

    def _now(self, wall_us: int) -> int:
        return self.watermark_us + (wall_us - self.read_at_us) - IDLE_US

    def _take(self, event: Event, raw: bytes) -> list[Alert]:
        self.watermark_us = max(self.watermark_us, event.at_us)
        count = self.seen[event.card] = self.seen.get(event.card, 0) + 1
        self.waiting.pop(event.card, None)
        if event.wait_us:
            self.waiting[event.card] = event.at_us + event.wait_us
        if event.amount <= BIG or self.paused:
            return []
        matched = MatchedEvent("big", event.id, event.at_us, msgspec.Raw(raw))
        return [_alert(f"big-{count}", event.card, event.at_us, [matched])]

    def _absences(self) -> list[Alert]:
        due = sorted((at_us, card) for card, at_us in self.waiting.items() if at_us <= self.watermark_us)
        for _, card in due:
            del self.waiting[card]
        return [_alert("silent", card, at_us, []) for at_us, card in due]


def _alert(pattern: str, card: str, at_us: int, events: list[MatchedEvent]) -> Alert:
    steps = [group_of((event.step, event.event_id)) for event in events]
    text = canonical(pattern_group(pattern, 1, "match"), key_group({"card": card}), steps)
    return Alert(
        alert_id=alert_id(max(at_us, 0), text),
        pattern=pattern,
        version=1,
        kind="match",
        severity="high",
        message="",
        key={"card": card},
        at_us=at_us,
        started_at_us=at_us,
        events=events,
    )


def _refused(part: Slice, row: int, reason: Reason, at_us: int | None) -> Refused:
    offset, stamp = int(part.offsets()[row]), int(part.timestamps_us()[row])
    return Refused("big", part.partition, offset, stamp, at_us, part.values[row] or b"", reason, "", "")


def event(number: int, card: str, amount: float, at_us: int | None = None, wait_us: int = 0) -> bytes:
    """One record."""
    return msgspec.json.encode(Event(f"e{number}", card, number if at_us is None else at_us, amount, wait_us))


def expected(records: Sequence[bytes]) -> list[str]:
    """The alert ids of records in order: the oracle."""
    machine = BigAmounts()
    return [alert.alert_id for raw in records for alert in machine._take(_decode(raw), raw)]
