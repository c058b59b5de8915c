"""Source, Commit and ControlLog: what a lane asks of a log, and the values that pass between them.

    Source ── drain ──▶ Slice, Slice …                one slice per partition, records in offset order
                            │  (decode, order, match)
    Commit ◀── Outputs ─────┤                         alerts, scores, late records, dead letters: bytes by topic
           ◀── JournalRecord┘                         what was taken, so that a replay does the same

`Outputs` and `JournalRecord` become visible together or not at all, and only while the lane is still its owner's.
Adapters: files.py (NDJSON source), sqlite.py (all of them in one file), kafka.py. Each passes tests/contract.

An offset only grows within a partition; it need not be dense (Kafka has transaction markers, a file byte positions).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

import msgspec
import numpy as np

from events import order
from events.columns import I64
from events.errors import IntegrityViolation
from events.texts import Texts

FORMAT = 1
"""Of journal records; raised when a reader of before could not read them."""

REPLAY_VERSION = 1
"""Raised when the same log and journal would give other matches."""

ALERTS = "alerts"
DEAD_LETTERS = "dead_letters"
LATE = "late"
SCORES = "scores"
OUTPUT_TOPICS = (ALERTS, DEAD_LETTERS, LATE, SCORES)
"""The names outputs go by; the Kafka adapter maps each to a topic of the application."""


Partition = order.Source
"""(topic, partition): one ordered part of a source. SQLite topics and files have the partition 0 only."""

Positions = dict[Partition, int]
"""The next offset to read, by partition."""


class Record(NamedTuple):
    """One record, for readers that are in no hurry: dead letters, late records, tests."""

    partition: Partition
    offset: int
    timestamp_us: int
    key: bytes | None
    value: bytes | None


class Slice(Protocol):
    """Records of one partition in offset order. Only `texts` is at hand; the rest is made when asked for, so that a
    lane that doesn't need it doesn't pay for it."""

    @property
    def partition(self) -> Partition: ...

    @property
    def next_offset(self) -> int:
        """Where reading goes on: the last record's offset + its length (Kafka, SQLite: + 1)."""

    @property
    def texts(self) -> Texts:
        """The values; an empty one where a record has none: that isn't JSON either."""

    @property
    def values(self) -> Sequence[bytes | None]: ...

    def __len__(self) -> int: ...

    def offsets(self) -> I64:
        """Of each record."""

    def timestamps_us(self) -> I64:
        """Of each record, as the log keeps it; order.NEVER_US where it keeps none."""

    def record(self, row: int) -> Record:
        """One record whole."""


@dataclass(frozen=True, slots=True)
class Rows:
    """A slice whose parts are at hand: from SQLite, a file, a test."""

    partition: Partition
    next_offset: int
    values: Sequence[bytes | None]
    offset_list: Sequence[int]
    timestamp_list: Sequence[int] | None = None
    key_list: Sequence[bytes | None] | None = None

    def __len__(self) -> int:
        return len(self.values)

    @property
    def texts(self) -> Texts:
        """See Slice."""
        return Texts.of([value or b"" for value in self.values])

    def offsets(self) -> I64:
        """See Slice."""
        return np.asarray(self.offset_list, dtype=np.int64)

    def timestamps_us(self) -> I64:
        """See Slice."""
        if self.timestamp_list is None:
            return np.full(len(self), order.NEVER_US, dtype=np.int64)
        return np.asarray(self.timestamp_list, dtype=np.int64)

    def record(self, row: int) -> Record:
        """See Slice."""
        stamp = order.NEVER_US if self.timestamp_list is None else self.timestamp_list[row]
        key = None if self.key_list is None else self.key_list[row]
        return Record(self.partition, self.offset_list[row], stamp, key, self.values[row])


DECIDE = "decide"
"""The header of a record whose decision is waited for (decision 13)."""


class Drained(NamedTuple):
    """What one `drain` took: slices in order of partition, at most one each.

    backlog: more is waiting than one drain takes, so commits need not hurry
    hurried: someone waits for what comes of one of the records (`DECIDE`)
    """

    slices: Sequence[Slice]
    backlog: bool
    hurried: bool = False


class Source(Protocol):
    """Reads events by position. One thread uses it. Every call may raise ServiceUnavailable."""

    finite: bool
    """Does it end (a file)? Then `at_end` is final."""

    def partitions(self) -> tuple[Partition, ...]:
        """Those of this lane as the log has them now, in order. Asks the log."""

    def begin(self) -> Positions:
        """The oldest offset that can still be read, for each of `partitions()`."""

    def end(self) -> Positions:
        """The offset behind the last record that a reader may see, for each of `partitions()`."""

    def identities(self) -> Mapping[str, str]:
        """Something that changes when a topic is deleted and made anew, by topic."""

    def seek(self, positions: Positions) -> None:
        """Reads these partitions, and no others, from these offsets on; none of them is held."""

    def hold(self, partitions: frozenset[Partition]) -> None:
        """`drain` leaves these partitions alone until the next call: they ran ahead of the others."""

    def drain(self, records_max: int, wait_s: float) -> Drained:
        """Waits up to `wait_s` for a first record, then takes what has arrived, without waiting for more."""

    def read_to(self, positions: Positions) -> list[Slice]:
        """Goes on reading up to these offsets, exactly, for a replay; slices as `drain` would give them.

        Raises IntegrityViolation if the log no longer has a record there.
        """

    def at_end(self) -> frozenset[Partition]:
        """The partitions of which everything was read. Asks the log; a partition that doesn't answer isn't one."""

    def close(self) -> None:
        """Idempotent."""


@dataclass(slots=True)
class Outputs:
    """What a lane has to say since its last commit: (key, value) by output topic, in order."""

    records: dict[str, list[tuple[bytes, bytes]]] = field(default_factory=dict)
    count: int = 0
    size: int = 0

    def add(self, topic: str, key: bytes, value: bytes) -> None:
        """Appends a record to the topic of that name."""
        self.records.setdefault(topic, []).append((key, value))
        self.count += 1
        self.size += len(key) + len(value)


class BatchEntry(msgspec.Struct, frozen=True, array_like=True, tag="b"):
    """A batch was taken.

    moved:          (place in the record's `partitions`, next offset) of each partition that gave records; none where
                    only the control offset moved
    watermark_us:   of the lane, after the batch
    control_offset: changes below it were applied before the batch
    wall_us:        wall time when it was read: `processed_at` of its alerts
    """

    moved: tuple[tuple[int, int], ...]
    watermark_us: int
    control_offset: int
    wall_us: int


class TickEntry(msgspec.Struct, frozen=True, array_like=True, tag="t"):
    """Time passed without events. `idle`: places of all partitions taken as idle from here on; `end`: of a file."""

    wall_us: int
    watermark_us: int
    idle: tuple[int, ...]
    end: bool = False


Entry = BatchEntry | TickEntry


class Start(msgspec.Struct, frozen=True, array_like=True):
    """A partition and the next offset to read when the record began."""

    topic: str
    number: int
    offset: int


class JournalRecord(msgspec.Struct, frozen=True, kw_only=True):
    """One commit of one lane. Records of a lane follow each other: `number` by one, `chain_before` = `chain` before.

    lanes:      how many the application has; fixed
    epoch:      one more at each restore; never goes back
    partitions: the lane's partitions with their positions before the first entry
    sequences:  the next sequence number of each output topic, after this record
    chain:      64 bits over every entry so far, what the matcher counted and the ids of the alerts
    sources:    `Source.identities` when the lane started
    models:     digest and runtime version of each model in use
    snapshot:   where the newest snapshot lies, or empty
    """

    format: int = FORMAT
    replay_version: int = REPLAY_VERSION
    app: str
    lane: int
    lanes: int
    epoch: int
    number: int
    partitions: tuple[Start, ...]
    entries: tuple[Entry, ...]
    sequences: dict[str, int]
    chain_before: int
    chain: int
    sources: dict[str, str] = {}
    models: dict[str, str] = {}
    snapshot: str = ""


class Commit(Protocol):
    """Writes outputs and one journal record atomically, if the lane is still mine. One thread uses it."""

    def claim(self) -> JournalRecord | None:
        """Makes the lane mine: whoever held it before can't commit any more. Answers the last committed record.

        Raises ServiceUnavailable.
        """

    def epoch(self) -> int:
        """The epoch to write from this claim on: greater than that of any record."""

    def journal(self) -> Iterator[JournalRecord]:
        """The committed records that are kept, in order, up to the one that `claim` answered.

        Raises IntegrityViolation for one of another format.
        """

    def check(self) -> None:
        """Asks whoever decides, not a local view, whether the lane is still mine. Raises Fenced if not, or if nobody
        answers. For a process that was stopped for a while."""

    def look(self) -> None:
        """Now and then between two commits: is the last one still whole? Mends what the log lost of it.

        Raises Fenced if a restart must do that, ServiceUnavailable if it began to mend and could not. If nobody
        answers, the next look asks again.
        """

    def commit(self, outputs: Outputs, record: JournalRecord) -> None:
        """Returns when both are durable and visible.

        Raises Fenced when the lane is another's now, or may be: exit at once; nothing of these outputs is visible then.
        Raises ServiceUnavailable when the log could not be brought to take them: whether it did is for the next owner
        to read. Raises LimitReached, before anything is sent, for a record that the log would refuse for its size.
        """

    def close(self) -> None:
        """Gives up without committing. Idempotent."""


class ControlLog(Protocol):
    """The ordered changes of patterns, views, models and lists, as bytes. cep/control.py gives them meaning."""

    def append(self, value: bytes) -> int:
        """Writes one record durably; answers the offset behind it. Raises ServiceUnavailable."""

    def read(self, start: int, stop: int | None = None) -> list[tuple[int, bytes]]:
        """(offset, value) from `start`. With `stop`: exactly up to there, waiting for the log, for a replay; raises
        IntegrityViolation if a record is gone. Without: what has arrived, without waiting."""

    def end(self) -> int:
        """The offset behind the last record. Asks the log."""

    def close(self) -> None:
        """Idempotent."""


Failpoint = Callable[[str], None]
"""Called with a name at each instant at which a crash is interesting. cep/worker.py hands in one that kills."""


def no_failpoint(name: str) -> None:
    """The failpoint of production."""


encode_journal = msgspec.msgpack.Encoder().encode
_journal_decoder = msgspec.msgpack.Decoder(JournalRecord)


class _Format(msgspec.Struct):
    format: int = 0


_format_decoder = msgspec.msgpack.Decoder(_Format)


def decode_journal(data: bytes) -> JournalRecord:
    """Raises IntegrityViolation for bytes that aren't a record of this format; replay versions are the lane's to check.

    >>> record = JournalRecord(app="a", lane=0, lanes=1, epoch=1, number=0, partitions=(),
    ...                        entries=(BatchEntry((), 1, 2, 3),), sequences={}, chain_before=0, chain=7)
    >>> decode_journal(encode_journal(record)) == record
    True
    """
    try:
        found = _format_decoder.decode(data).format
    except msgspec.MsgspecError as error:
        raise IntegrityViolation(f"journal: a record can't be read: {error}") from error
    if found != FORMAT:
        raise IntegrityViolation(
            f"journal: a record has format {found}; this release reads {FORMAT}",
            "run the release that wrote it, or newer",
        )
    try:
        return _journal_decoder.decode(data)
    except msgspec.MsgspecError as error:
        raise IntegrityViolation(f"journal: a record can't be read: {error}") from error
