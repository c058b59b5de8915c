"""Labels: what became known of events afterwards, single and in bulk."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter
from pydantic import BaseModel, Discriminator, Field, Tag

from api.deps import Analyst, Reader, ServicesNow
from api.forms import LABEL_PREFIX, Cursor, InstantIn, Limit, NameText, bad_cursor, instant, microseconds
from api.problems import Refusal, declared
from api.writes import WRITES, WriteRoute
from cep.storage.database import reading, writing
from cep.storage.labels import Known, Label, insert_labels, read_labels

LABELS_MAX = 1000
"""In one request."""

ID_MAX = 2**63 - 1

reads = APIRouter(prefix="/v1/labels", tags=["labels"])
writes = APIRouter(prefix="/v1/labels", tags=["labels"], route_class=WriteRoute, dependencies=WRITES)

Text = Annotated[str, Field(min_length=1, max_length=255, pattern="^[^\\x00]*$")]


class LabelIn(BaseModel):
    """What became known of an event."""

    event_id: Text = Field(description="as alerts name it: the stream's event id, or topic/partition/offset")
    label: Known
    stream: Text | None = Field(default=None, description="default: the only one declared")
    at: InstantIn | None = Field(default=None, description="when it became known; default: now")
    note: Annotated[str, Field(max_length=10_000, pattern="^[^\\x00]*$")] = ""

    model_config = {"extra": "forbid"}


class LabelsIn(BaseModel):
    """Several at once: all are kept, or none."""

    items: list[LabelIn] = Field(min_length=1, max_length=LABELS_MAX)

    model_config = {"extra": "forbid"}


def _form(body: Any) -> str:
    """Which of the two a body is; the name is in parentheses, so that it is no part of a pointer (`api.problems`)."""
    return "(several)" if isinstance(body, LabelsIn) or (isinstance(body, dict) and "items" in body) else "(one)"


Labels = Annotated[
    Annotated[LabelIn, Tag("(one)")] | Annotated[LabelsIn, Tag("(several)")],
    Discriminator(_form),
]


class LabelLine(BaseModel):
    """A label that is kept."""

    id: str
    stream: str
    event_id: str
    label: Known
    at: datetime
    received_at: datetime
    actor: str
    note: str


class LabelPage(BaseModel):
    """Labels, newest first."""

    items: list[LabelLine]
    next_cursor: str | None


class LabelsKept(BaseModel):
    """The ids of labels, in the order in which they were sent."""

    ids: list[str]


@writes.post("", status_code=201, responses=declared(400, 404, 409, 413, 415, 422))
def write_labels(asked: Labels, services: ServicesNow, actor: Analyst) -> LabelsKept:
    """Keeps a label, or `items` of them. The newest of an event counts; those before stay."""
    from api.routes.events import stream_of

    now_us = services.clock.wall_us()
    found = [
        Label(
            stream=stream_of(services, each.stream).name,
            event_id=each.event_id,
            label=each.label,
            at_us=now_us if each.at is None else microseconds(each.at),
            received_at_us=now_us,
            actor=actor.name,
            note=each.note,
        )
        for each in (asked.items if isinstance(asked, LabelsIn) else [asked])
    ]
    if any(label.at_us > now_us for label in found):
        raise Refusal(422, "label_in_the_future", "a label can't have become known after now", "leave `at` out")
    with writing(services.engine) as connection:
        ids = insert_labels(connection, found)
    return LabelsKept(ids=[f"{LABEL_PREFIX}{number}" for number in ids])


@reads.get("", responses=declared(422))
def list_labels(
    services: ServicesNow,
    actor: Reader,
    limit: Limit = 100,
    cursor: Cursor = None,
    stream: NameText | None = None,
    event_id: NameText | None = None,
) -> LabelPage:
    """Labels, newest first."""
    number = (cursor or "").removeprefix(LABEL_PREFIX)
    if cursor is not None and not (number.isascii() and number.isdecimal() and int(number[:20]) <= ID_MAX):
        raise bad_cursor(cursor)
    before = None if cursor is None else int(number)
    with reading(services.engine) as connection:
        page = read_labels(connection, stream=stream, event_id=event_id, limit=limit, before=before)
    items = [
        LabelLine(
            id=f"{LABEL_PREFIX}{kept.label_id}",
            stream=kept.label.stream,
            event_id=kept.label.event_id,
            label=kept.label.label,
            at=instant(kept.label.at_us),
            received_at=instant(kept.label.received_at_us),
            actor=kept.label.actor,
            note=kept.label.note,
        )
        for kept in page.items
    ]
    return LabelPage(items=items, next_cursor=None if page.next_cursor is None else f"{LABEL_PREFIX}{page.next_cursor}")
