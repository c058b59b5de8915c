"""Ledger: what a lane did since its last commit, as the next journal record and its outputs. Pure.

    note(entry, Decided) ─┬─▶ chain      64 bits, over boundaries, counts and alert ids
                          ├─▶ sequences  gapless per output topic
                          └─▶ outputs    stamped and encoded; none in a replay, which only compares

The same ledger serves the live lane and its replay, so that they can't count differently.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import msgspec

from cep.alert import Alert, key_group
from cep.log.protocol import (
    ALERTS,
    DEAD_LETTERS,
    LATE,
    OUTPUT_TOPICS,
    SCORES,
    Entry,
    JournalRecord,
    Outputs,
    Partition,
    Positions,
    Start,
)
from cep.scored import ScoredEvent
from cep.settings import Lane
from events.errors import IntegrityViolation, LimitReached
from events.order import Refused

Counts = tuple[int, int, int, int]
"""What the matcher did: partials started, events taken, partials died, matches."""

KeyOf = Callable[[Refused], bytes | None]
"""The source record's key of a refused record."""


class Held(NamedTuple):
    """What a lane's state holds. partials: that are open; limits: how often each was reached so far, by name"""

    partials: int
    limits: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Decided:
    """What one entry of the journal came to.

    alerts, scores:   without lane, epoch, sequence and processed_at_us
    changes_left_out: control changes that couldn't be applied
    seconds:          by stage
    """

    alerts: Sequence[Alert] = ()
    dead: Sequence[Refused] = ()
    late: Sequence[Refused] = ()
    counts: Counts = (0, 0, 0, 0)
    watermark_us: int = 0
    tally: Mapping[str, int] = field(default_factory=dict)
    scores: Sequence[ScoredEvent] = ()
    changes_left_out: int = 0
    held: Held = field(default_factory=lambda: Held(0, {}))
    seconds: Mapping[str, float] = field(default_factory=dict)


class DeadLetter(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A record that isn't an event, on the dead-letter topic and, without `reason`, on the late topic (JSON).

    size:  of the record; `text` or, where it isn't UTF-8, `base64` hold the first dead_letter_bytes_max of it
    """

    stream: str
    topic: str
    partition: int
    offset: int
    timestamp_us: int
    event_at_us: int | None
    reason: str
    path: str
    detail: str
    size: int
    lane: int
    epoch: int
    sequence: int
    processed_at_us: int
    text: str | None = None
    base64: str | None = None


_json = msgspec.json.Encoder().encode
_packed = msgspec.msgpack.Encoder().encode


class Ledger:
    """Counts and collects between two commits of one lane and epoch."""

    def __init__(self, app: str, lane: int, epoch: int, settings: Lane) -> None:
        self.app, self.lane, self.epoch, self.lanes = app, lane, epoch, settings.count
        self.output_bytes_max = settings.output_bytes_max
        self.dead_letter_bytes_max = settings.dead_letter_bytes_max
        self.number = 0
        self.chain = self._chain_before = 0
        self.sequences = dict.fromkeys(OUTPUT_TOPICS, 0)
        self.entries: list[Entry] = []
        self.outputs = Outputs()
        self.stripped = 0

    def begin_at(self, record: JournalRecord) -> None:
        """A replay begins with this record: the oldest that is kept."""
        if record.number != 0:
            raise IntegrityViolation(
                f"journal of {record.app}, lane {record.lane}: begins with record {record.number}, not with its first",
                "records were deleted: restore the journal topic",
            )
        self.chain = self._chain_before = record.chain_before

    def note(self, entry: Entry, decided: Decided, key_of: KeyOf | None) -> None:
        """Adds an entry. Without `key_of` it is a replay: nothing is put out."""
        self.entries.append(entry)
        ids = [alert.alert_id for alert in decided.alerts]
        self.chain = chained(self.chain, entry, decided, ids)
        if key_of is None:
            self._count(decided)
        else:
            self._put_out(entry, decided, key_of)

    def record(self, partitions: Positions, sources: Mapping[str, str]) -> JournalRecord:
        """The next journal record; `partitions`: positions before its first entry."""
        return JournalRecord(
            app=self.app,
            lane=self.lane,
            lanes=self.lanes,
            epoch=self.epoch,
            number=self.number,
            partitions=tuple(Start(topic, place, at) for (topic, place), at in sorted(partitions.items())),
            entries=tuple(self.entries),
            sequences=dict(self.sequences),
            chain_before=self._chain_before,
            chain=self.chain,
            sources=dict(sources),
        )

    def turn(self) -> None:
        """The record is committed: begins the next one."""
        self.number += 1
        self._chain_before = self.chain
        self.entries = []
        self.outputs = Outputs()

    def _count(self, decided: Decided) -> None:
        for topic, count in (
            (ALERTS, len(decided.alerts)),
            (SCORES, len(decided.scores)),
            (DEAD_LETTERS, len(decided.dead)),
            (LATE, len(decided.late)),
        ):
            self.sequences[topic] += count

    def _put_out(self, entry: Entry, decided: Decided, key_of: KeyOf) -> None:
        for alert in decided.alerts:
            self._add(ALERTS, key_group(alert.key).encode(), self._alert(alert, entry.wall_us))
        for scored in decided.scores:
            self._add(SCORES, key_group(scored.key).encode(), self._scored(scored, entry.wall_us))
        for topic, records in ((DEAD_LETTERS, decided.dead), (LATE, decided.late)):
            for refused in records:
                self._add(topic, key_of(refused) or b"", self._letter(topic, refused, entry.wall_us))

    def _add(self, topic: str, key: bytes, value: bytes) -> None:
        self.outputs.add(topic, key, value)
        self.sequences[topic] += 1

    def _alert(self, alert: Alert, wall_us: int) -> bytes:
        """The alert, stamped. One that is too large leaves its events' payloads in the log, where their ids lead."""
        stamped = msgspec.structs.replace(
            alert, lane=self.lane, epoch=self.epoch, sequence=self.sequences[ALERTS], processed_at_us=wall_us
        )
        value = _json(stamped)
        if len(value) <= self.output_bytes_max:
            return value
        self.stripped += 1
        bare = [msgspec.structs.replace(event, event=msgspec.Raw(b"null")) for event in stamped.events]
        value = _json(msgspec.structs.replace(stamped, events=bare))
        if len(value) > self.output_bytes_max:
            raise LimitReached(
                f"alert {alert.alert_id} of {alert.pattern}: {len(value)} bytes without its events' payloads, "
                f"the limit is {self.output_bytes_max}",
                "raise lane.output_bytes_max and the topic's max.message.bytes, or bound the pattern's loops",
            )
        return value

    def _scored(self, scored: ScoredEvent, wall_us: int) -> bytes:
        """The event with its score, stamped. One that is too large leaves its payload in the log."""
        stamped = msgspec.structs.replace(
            scored, lane=self.lane, epoch=self.epoch, sequence=self.sequences[SCORES], processed_at_us=wall_us
        )
        value = _json(stamped)
        if len(value) <= self.output_bytes_max:
            return value
        self.stripped += 1
        return _json(msgspec.structs.replace(stamped, event=msgspec.Raw(b"null")))

    def _letter(self, topic: str, refused: Refused, wall_us: int) -> bytes:
        kept = refused.raw[: self.dead_letter_bytes_max] if topic == DEAD_LETTERS else refused.raw
        try:
            text, coded = kept.decode(), None
        except UnicodeDecodeError:
            text, coded = None, base64.b64encode(kept).decode()
        letter = DeadLetter(
            stream=refused.stream,
            topic=refused.source.topic,
            partition=refused.source.partition,
            offset=refused.offset,
            timestamp_us=refused.log_at_us,
            event_at_us=refused.event_at_us,
            reason=refused.reason.value,
            path=refused.path,
            detail=refused.detail,
            size=len(refused.raw),
            lane=self.lane,
            epoch=self.epoch,
            sequence=self.sequences[topic],
            processed_at_us=wall_us,
            text=text,
            base64=coded,
        )
        return _json(letter)


def chained(before: int, entry: Entry, decided: Decided, alert_ids: Sequence[str]) -> int:
    """64 bits over the chain so far and one entry: its boundary, the matcher's counts, the alerts' ids in order, and
    the scores where there are any.

    >>> from cep.log.protocol import BatchEntry
    >>> entry = BatchEntry(((0, 7),), 5, 0, 1)
    >>> chained(0, entry, Decided(), ["a"]) == chained(0, entry, Decided(), ["b"])
    False
    """
    parts = (before, entry, decided.counts, len(decided.dead), len(decided.late), alert_ids)
    scores = [(scored.event_id, scored.model, scored.version, scored.score) for scored in decided.scores]
    told = _packed((*parts, scores) if scores else parts)
    return int.from_bytes(hashlib.blake2b(told, digest_size=8).digest(), "big")


def moved(positions: Positions, before: Mapping[Partition, int]) -> tuple[tuple[int, int], ...]:
    """`positions` as an entry writes them: by their places among the sorted partitions of `before`."""
    places = {partition: place for place, partition in enumerate(sorted(before))}
    return tuple((places[partition], offset) for partition, offset in sorted(positions.items()))
