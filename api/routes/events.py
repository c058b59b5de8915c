"""Events in, and decisions on them.

POST /v1/events      202 once the log holds them; waits for no lane
POST /v1/decisions   one event, and what the lane made of it
"""

from __future__ import annotations

from time import monotonic
from typing import Annotated, Any, Literal, cast

import msgspec
from fastapi import APIRouter, Depends, Query, Request, Response
from pydantic import BaseModel, Field

from api.alert_forms import AlertWhole, whole
from api.deps import Operator, ServicesNow
from api.events_in import Arrived, EventCheck, lines_of
from api.forms import json_answer, media_type, raw_body, raw_content
from api.ingest import Written
from api.lanes import lag
from api.problems import Refusal, declared, not_found
from api.routes.lanes import ends_of
from api.services import Services
from api.writes import WRITES, WriteRoute
from cep.alert import Alert
from events.errors import LimitReached
from events.schema import Order, Stream

NDJSON = ("application/x-ndjson", "application/ndjson")
EVENT = {"type": "object", "description": "an event, as its stream declares it: GET /v1/streams"}
LINES = {"type": "string", "description": "an event in each line"}

router = APIRouter(prefix="/v1", tags=["events"], route_class=WriteRoute, dependencies=WRITES)

StreamName = Annotated[
    str | None, Query(alias="stream", min_length=1, max_length=255, description="default: the only one declared")
]


class Stands(BaseModel):
    """Where an event stands in the log."""

    topic: str
    partition: int
    offset: int
    event_id: str


class Accepted(BaseModel):
    """The log holds these events, in the order in which they were sent."""

    count: int
    events: list[Stands]


class Decided(BaseModel):
    """What is known of an event.

    decision: block if an alert that it completed has a severity of server.block, else review if there is an alert, else
    approve; null where the time ran out and no alert is known
    """

    decision: Literal["approve", "review", "block"] | None
    timed_out: bool = Field(
        description="the lane hadn't committed it within the deadline; it is in the log all the same"
    )
    waited_ms: int
    event: Stands
    alerts: list[AlertWhole] = Field(description="those whose last event it is")
    score: float | None = Field(description="where a model scores the stream and an alert tells it")
    features: dict[str, Any] = Field(description="as of the event, where an alert tells them")


@router.post(
    "/events",
    status_code=202,
    responses=declared(400, 404, 409, 413, 415, 422, 429),
    openapi_extra=raw_content(**{"application/json": EVENT, NDJSON[0]: LINES, NDJSON[1]: LINES}),
)
def write_events(
    request: Request,
    services: ServicesNow,
    actor: Operator,
    body: Annotated[bytes, Depends(raw_body)],
    stream: StreamName = None,
) -> Accepted:
    """Writes events to their stream: all of them, or, if one isn't what the stream declares, none.

    Sent again they are there twice, unless the stream declares an event id: then the lane drops the second.
    """
    declared_stream = stream_of(services, stream)
    refuse_a_burst(services)
    one = media_type(request, ("application/json", *NDJSON)) == "application/json"
    numbers, records = (None, [body]) if one else lines_of(body)
    arrived = check_of(request, declared_stream).check(records, services.clock.wall_us(), numbers)
    written = services.ingest.append(declared_stream.topic, [(event.key, event.record) for event in arrived])
    stands = [_stands(event, place) for event, place in zip(arrived, written, strict=True)]
    return Accepted(count=len(stands), events=stands)


@router.post(
    "/decisions",
    response_model=Decided,
    responses=declared(400, 404, 409, 413, 415, 422, 429),
    openapi_extra=raw_content(**{"application/json": EVENT}),
)
def decide(
    request: Request,
    services: ServicesNow,
    actor: Operator,
    body: Annotated[bytes, Depends(raw_body)],
    stream: StreamName = None,
    deadline_ms: Annotated[int | None, Query(ge=1, le=60_000, description="default: server.decide_ms")] = None,
) -> Response:
    """Writes one event and waits for what comes of it: the alerts that it completes, and a decision."""
    started_s = monotonic()
    deadline_s = started_s + (deadline_ms or services.settings.server.decide_ms) / 1000
    declared_stream = stream_of(services, stream)
    refuse_a_burst(services)
    media_type(request, ("application/json",))
    (arrived,) = check_of(request, declared_stream).check([body], services.clock.wall_us())
    lanes = services.lanes
    try:
        with lanes.waiting():
            (written,) = services.ingest.append(declared_stream.topic, [(arrived.key, arrived.record)], waited_for=True)
            stands = _stands(arrived, written)
            at_us = arrived.at_us if declared_stream.order is Order.EVENT_TIME else None
            came, alerts = lanes.await_event(written.partition, written.offset, stands.event_id, at_us, deadline_s)
    except LimitReached as error:
        raise Refusal(429, "too_many_waiting", error.message, error.hint, headers={"Retry-After": "1"}) from error
    waited_ms = int((monotonic() - started_s) * 1000)
    return json_answer(_told(services, stands, came, alerts, waited_ms))


def stream_of(services: Services, name: str | None) -> Stream:
    """The stream of that name; without one, the only one. Raises Refusal."""
    if name is None and len(services.streams) == 1:
        return next(iter(services.streams.values()))
    names = ", ".join(sorted(services.streams))
    if name is None:
        raise Refusal(422, "stream_missing", "several streams are declared: say which", f"?stream= one of {names}")
    if name not in services.streams:
        raise not_found("stream", name, f"the declared streams are {names}")
    return services.streams[name]


def check_of(request: Request, stream: Stream) -> EventCheck:
    """The check of a stream's events."""
    return cast(dict[str, EventCheck], request.app.state.checks)[stream.name]


def refuse_a_burst(services: Services) -> None:
    """While lanes are far behind, more events would only make alerts later. Raises Refusal."""
    statuses = services.lanes.statuses()
    behind = max(lag(statuses, ends_of(services)).values(), default=0) if statuses else 0
    most = services.settings.server.lag_max
    if behind > most:
        detail = f"a lane is {behind} records behind; more are taken below {most} (server.lag_max)"
        raise Refusal(429, "lanes_lag", detail, "send it again later", headers={"Retry-After": "1"})


def _stands(arrived: Arrived, written: Written) -> Stands:
    (topic, partition), offset = written
    event_id = arrived.event_id or f"{topic}/{partition}/{offset}"
    return Stands(topic=topic, partition=partition, offset=offset, event_id=event_id)


def _told(services: Services, stands: Stands, came: bool, alerts: list[Alert], waited_ms: int) -> bytes:
    last = next((alert.events[-1] for alert in alerts if alert.events), None)
    features = dict(getattr(last, "features", {}))
    return msgspec.json.encode(
        {
            "decision": decision_of(alerts, services.settings.server.block) if came or alerts else None,
            "timed_out": not came,
            "waited_ms": waited_ms,
            "event": stands.model_dump(),
            "alerts": [whole(alert) for alert in alerts],
            "score": features.pop("score", None),
            "features": features,
        }
    )


def decision_of(alerts: list[Alert], block: tuple[str, ...]) -> str:
    """What the alerts of an event come to.

    >>> decision_of([], ("high",))
    'approve'
    """
    if any(alert.severity in block for alert in alerts):
        return "block"
    return "review" if alerts else "approve"
