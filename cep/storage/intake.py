"""What a slice of the alerts topic comes to: rows, rejected records, new progress. Pure.

    Progress + Slice ── take ──▶ Taken(rows, rejected, progress)

The sequence of a lane is gapless and its epoch never goes back; where it is otherwise, taking stops *before* that
record and the progress is `halted`. A record that no row can hold is rejected; if its sequence can be read it is
counted all the same, so that a record of a later release is no gap.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Annotated, NamedTuple

import msgspec

from cep.alert import Alert
from cep.log.protocol import Slice
from cep.storage.rows import Misfit, row_of
from cep.storage.tables import Row
from events.errors import IntegrityViolation

UNREADABLE = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)
"""What msgspec raises for bytes that aren't what they should be."""

Count = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 2)]


class Stamp(msgspec.Struct, frozen=True):
    """What the commit put on an output record."""

    lane: int
    epoch: Count
    sequence: Count


@dataclass(frozen=True, slots=True)
class Progress:
    """A line of `sink_progress`: one lane of one topic."""

    topic: str
    partition: int
    identity: str = ""
    next_offset: int = 0
    next_sequence: int | None = 0
    epoch: int = 0
    halted: str = ""


class Record(NamedTuple):
    """One alert as a row, with the record it came from, in case that the database refuses it."""

    row: Row
    offset: int
    value: bytes


class Rejected(NamedTuple):
    """A record that could not be a row."""

    topic: str
    partition: int
    offset: int
    reason: str
    value: bytes | None


class Taken(NamedTuple):
    """What is to be written in one transaction."""

    records: list[Record]
    rejected: list[Rejected]
    progress: Progress


_stamp = msgspec.json.Decoder(Stamp)
_alert = msgspec.json.Decoder(Alert)


def take(progress: Progress, part: Slice) -> Taken:
    """Takes the records of a slice, up to the first that contradicts those before it."""
    taken = Taken([], [], progress)
    for offset, value in zip(part.offsets().tolist(), part.values, strict=True):
        try:
            taken = _with_record(taken, offset, value)
        except IntegrityViolation as error:
            return taken._replace(progress=replace(taken.progress, halted=str(error)))
    return taken._replace(progress=replace(taken.progress, next_offset=part.next_offset))


def _with_record(taken: Taken, offset: int, value: bytes | None) -> Taken:
    progress = taken.progress
    try:
        stamp = _stamp.decode(value or b"")
    except UNREADABLE as error:
        _reject(taken, offset, value, str(error))
        return taken._replace(progress=replace(progress, next_offset=offset + 1))
    check(progress, offset, stamp)
    try:
        taken.records.append(Record(row_of(_alert.decode(value or b"")), offset, value or b""))
    except (*UNREADABLE, Misfit) as error:
        _reject(taken, offset, value, str(error))
    after = replace(progress, next_offset=offset + 1, next_sequence=stamp.sequence + 1, epoch=stamp.epoch)
    return taken._replace(progress=after)


def check(progress: Progress, offset: int, stamp: Stamp) -> None:
    """Raises IntegrityViolation if a record with this stamp can't be the lane's next. After `resume_lane` any can."""
    if progress.next_sequence is None:
        return
    where = f"{progress.topic}/{progress.partition} at {offset}"
    hint = "see the journal of that lane; `stakeout doctor` compares; the rows so far are right"
    if stamp.lane != progress.partition:
        raise IntegrityViolation(f"{where}: a record of lane {stamp.lane}", hint)
    if stamp.epoch < progress.epoch:
        raise IntegrityViolation(f"{where}: epoch {stamp.epoch} after epoch {progress.epoch}", hint)
    if stamp.sequence != progress.next_sequence:
        raise IntegrityViolation(f"{where}: sequence {stamp.sequence}, expected {progress.next_sequence}", hint)


def _reject(taken: Taken, offset: int, value: bytes | None, reason: str) -> None:
    progress = taken.progress
    taken.rejected.append(Rejected(progress.topic, progress.partition, offset, reason, value))
