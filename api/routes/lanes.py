"""Lanes, streams and dead letters: what an operator looks at."""

from __future__ import annotations

from datetime import datetime

import msgspec
from fastapi import APIRouter
from pydantic import BaseModel, Field

from api.deps import Reader, ServicesNow
from api.forms import Cursor, Limit, bad_cursor, instant
from api.lanes import LaneStatus, lag
from api.letters import cursor_of, newest, places_of
from api.problems import declared
from api.services import Services
from cep.log.ledger import DeadLetter
from cep.log.protocol import Positions

router = APIRouter(prefix="/v1", tags=["operations"])


class Place(BaseModel):
    """How far a source partition was read."""

    topic: str
    partition: int
    next_offset: int
    end: int | None = Field(description="of the log; null where it can't be had just now")


class LaneLine(BaseModel):
    """One lane after its last commit, as its journal says."""

    lane: int
    epoch: int = Field(description="one more with each restart or change of owner")
    journal_record: int
    committed_at: datetime | None
    watermark: datetime | None
    control_offset: int
    alerts: int = Field(description="written since the journal began")
    lag: int | None = Field(description="records in the log that no commit holds yet; null where it can't be had")
    positions: list[Place]


class LaneList(BaseModel):
    """All lanes that have ever committed. expected: how many the application has."""

    items: list[LaneLine]
    expected: int
    trouble: str = Field(description="why the journal can't be followed; empty while it can")


class StreamField(BaseModel):
    """A field of a stream."""

    name: str
    type: str
    nullable: bool
    sensitivity: str


class StreamLine(BaseModel):
    """A declared stream."""

    name: str
    topic: str
    key: list[str]
    event_time: str
    event_id: str | None
    order: str
    fields: list[StreamField]


class StreamList(BaseModel):
    """The declared streams."""

    items: list[StreamLine]


class LetterLine(BaseModel):
    """A record that could not be used, where it was and why."""

    lane: int
    sequence: int
    stream: str
    topic: str
    partition: int
    offset: int
    event_at: datetime | None
    processed_at: datetime
    reason: str
    path: str = Field(description="inside the record")
    detail: str
    size: int = Field(description="of the record in bytes; text or base64 hold the beginning of a large one")
    text: str | None
    base64: str | None


class LetterPage(BaseModel):
    """Dead letters, newest first."""

    items: list[LetterLine]
    next_cursor: str | None


@router.get("/dead-letters", responses=declared(422))
def list_dead_letters(services: ServicesNow, actor: Reader, limit: Limit = 100, cursor: Cursor = None) -> LetterPage:
    """Records that could not be used, newest first."""
    below = {} if cursor is None else places_of(cursor)
    if below is None:
        raise bad_cursor(cursor or "")
    page, places = newest(services, limit, below)
    return LetterPage(items=[_letter(placed.letter) for placed in page], next_cursor=cursor_of(places))


@router.get("/lanes")
def list_lanes(services: ServicesNow, actor: Reader) -> LaneList:
    """Lag, watermark, epoch and last commit of each lane."""
    lanes = services.lanes
    statuses, ends = lanes.statuses(), ends_of(services)
    behind = lag(statuses, ends)
    items = [_line(status, ends, behind.get(status.lane)) for status in statuses]
    return LaneList(items=items, expected=lanes.count, trouble=lanes.trouble)


@router.get("/streams")
def list_streams(services: ServicesNow, actor: Reader) -> StreamList:
    """What the streams declare."""
    items = [
        StreamLine(
            name=stream.name,
            topic=stream.topic,
            key=list(stream.key),
            event_time=stream.event_time,
            event_id=stream.event_id,
            order=stream.order.value,
            fields=[
                StreamField(
                    name=field.name, type=str(field.type), nullable=field.nullable, sensitivity=field.sensitivity.value
                )
                for field in stream.fields
            ],
        )
        for stream in services.streams.values()
    ]
    return StreamList(items=items)


def ends_of(services: Services) -> Positions:
    """Where the source partitions end."""
    return services.ingest.ends([stream.topic for stream in services.streams.values()])


def _letter(letter: DeadLetter) -> LetterLine:
    told = msgspec.structs.asdict(letter)
    event_at_us = letter.event_at_us
    return LetterLine(
        **{name: told[name] for name in LetterLine.model_fields if name in told},
        event_at=None if event_at_us is None else _in_years(event_at_us),
        processed_at=instant(letter.processed_at_us),
    )


def _line(status: LaneStatus, ends: Positions, behind: int | None) -> LaneLine:
    return LaneLine(
        lane=status.lane,
        epoch=status.epoch,
        journal_record=status.record,
        committed_at=instant(status.committed_at_us) if status.committed_at_us else None,
        watermark=None if status.watermark_us is None else _in_years(status.watermark_us),
        control_offset=status.control_offset,
        alerts=status.alerts,
        lag=behind,
        positions=[
            Place(topic=partition.topic, partition=partition.partition, next_offset=offset, end=ends.get(partition))
            for partition, offset in sorted(status.positions.items())
        ],
    )


def _in_years(at_us: int) -> datetime | None:
    try:
        return instant(at_us)
    except OverflowError:  # the end of a finite source
        return None
