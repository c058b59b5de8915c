"""Labels: what events turned out to be."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import BaseModel, Field

from api.deps import Analyst, Reader, Repeatable, Used
from api.schemas import Instant, instant, micros
from cep.storage import labels

router = APIRouter(tags=["labels"], route_class=Repeatable)


class LabelIn(BaseModel):
    """at: since when it is so; now unless it is said."""

    stream: str = Field(min_length=1, max_length=255, pattern=r"^[^\x00]*$")
    event_id: str = Field(min_length=1, max_length=255, pattern=r"^[^\x00]*$")
    label: labels.Kind
    at: Instant | None = None


class LabelsIn(BaseModel):
    """Up to 1,000 of them."""

    items: list[LabelIn] = Field(min_length=1, max_length=1000)


class LabelsTaken(BaseModel):
    """new: those that weren't told before."""

    taken: int
    new: int


class LabelOut(BaseModel):
    """A label, who told it and when."""

    stream: str
    event_id: str
    label: labels.Kind
    at: Instant
    actor: str
    told_at: Instant


class LabelList(BaseModel):
    """The first told first."""

    items: list[LabelOut]


@router.post("/labels", status_code=201)
def add_labels(services: Used, actor: Analyst, wanted: LabelsIn) -> LabelsTaken:
    """Tells what events turned out to be. What was told before stays as it was told."""
    now_us = services.wall_us()
    told = [
        labels.Label(
            one.stream, one.event_id, one.label, now_us if one.at is None else micros(one.at), actor.name, now_us
        )
        for one in wanted.items
    ]
    with services.transaction() as connection:
        new = labels.insert_labels(connection, told)
    return LabelsTaken(taken=len(told), new=new)


@router.get("/labels")
def list_labels(
    services: Used,
    _: Reader,
    stream: Annotated[str, Query(min_length=1, max_length=255)],
    event_id: Annotated[str, Query(min_length=1, max_length=255)],
) -> LabelList:
    """Those of one event."""
    with services.transaction() as connection:
        found = labels.read_labels(connection, stream.replace("\x00", "\ufffd"), event_id.replace("\x00", "\ufffd"))
    return LabelList(
        items=[
            LabelOut(
                stream=one.stream,
                event_id=one.event_id,
                label=one.label,
                at=instant(one.at_us),
                actor=one.actor,
                told_at=instant(one.told_at_us),
            )
            for one in found
        ]
    )
