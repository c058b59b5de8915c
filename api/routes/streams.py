"""The declared streams."""

from __future__ import annotations

from fastapi import APIRouter
from pydantic import BaseModel

from api.deps import Reader, Used

router = APIRouter(tags=["streams"])


class FieldOut(BaseModel):
    """A field of a record."""

    name: str
    type: str
    nullable: bool
    sensitivity: str


class StreamOut(BaseModel):
    """A stream as it is declared."""

    name: str
    topic: str
    key: list[str]
    event_time: str
    event_id: str | None
    order: str
    fields: list[FieldOut]


class StreamList(BaseModel):
    """All of them, by name."""

    items: list[StreamOut]


@router.get("/streams")
def list_streams(services: Used, _: Reader) -> StreamList:
    """What events look like."""
    return StreamList(
        items=[
            StreamOut(
                name=stream.name,
                topic=stream.topic,
                key=list(stream.key),
                event_time=stream.event_time,
                event_id=stream.event_id,
                order=stream.order.value,
                fields=[
                    FieldOut(
                        name=one.name, type=str(one.type), nullable=one.nullable, sensitivity=one.sensitivity.value
                    )
                    for one in stream.fields
                ],
            )
            for _, stream in sorted(services.streams.items())
        ]
    )
