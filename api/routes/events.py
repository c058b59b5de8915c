"""Events in: one as JSON, or many as NDJSON; all of a request are written, or none."""

from __future__ import annotations

import difflib
from typing import Annotated, Any

from fastapi import APIRouter, Header, Path
from pydantic import BaseModel

from api.deps import Analyst, Body, Repeatable, Used
from api.ingest import checked, lines_of
from api.problems import Refused, refusals
from api.schemas import Place, place_of
from api.services import Services
from events.schema import Stream

router = APIRouter(tags=["events"], route_class=Repeatable)

EVENTS: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {"schema": {"type": "object"}},
            "application/x-ndjson": {"schema": {"type": "string"}},
        },
    }
}

Name = Annotated[str, Path(max_length=128)]


class Accepted(BaseModel):
    """How many the log has now, and where the last one of each partition is."""

    accepted: int
    places: list[Place]


@router.post("/streams/{stream}/events", status_code=202, openapi_extra=EVENTS, responses=refusals(429))
def append(
    services: Used,
    _: Analyst,
    stream: Name,
    body: Body,
    content_type: Annotated[str, Header()] = "application/json",
) -> Accepted:
    """202: the log holds them. A bad one: 422 with the place of each, and nothing is written. 429: lanes are behind."""
    declared = stream_of(services, stream)
    records = lines_of(body) if "ndjson" in content_type else [body.strip()]
    if len(records) > services.settings.serve.events_max:
        what = f"{len(records):,} events in one request, the limit is {services.settings.serve.events_max:,}"
        raise Refused(413, "too_many_events", what, "send them in several requests")
    keyed = checked(declared, records)
    refuse_when_behind(services)
    placed = services.ingest.append(declared.topic, keyed)
    last = {one.partition: one for one in placed}
    return Accepted(accepted=len(placed), places=[place_of(*one) for one in last.values()])


def stream_of(services: Services, name: str) -> Stream:
    """A declared stream. Raises Refused (404)."""
    if name not in services.streams:
        near = difflib.get_close_matches(name, services.streams, n=1)
        hint = f"did you mean {near[0]}?" if near else f"declared are {', '.join(services.streams)}"
        raise Refused(404, "no_such_stream", f"there is no stream {name!r}", hint)
    return services.streams[name]


def refuse_when_behind(services: Services) -> None:
    """Raises Refused (429) while lanes are further behind than serve.lag_max."""
    behind = sum(services.follower.lag().values())
    if behind > services.settings.serve.lag_max:
        what = f"lanes are {behind:,} events behind; the limit is {services.settings.serve.lag_max:,}"
        raise Refused(429, "lanes_behind", what, "send again in a moment", headers={"Retry-After": "1"})
