"""Alerts: read, followed live, and worked on.

GET /v1/alerts/stream     server-sent events; `id` is lane:sequence,… of all that was sent, so that a client that
                          comes again with Last-Event-ID misses nothing and gets nothing twice
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from datetime import datetime
from time import monotonic
from typing import Annotated, Any, Literal

import msgspec
from fastapi import APIRouter, Header, Path, Query, Request, Response
from fastapi.responses import StreamingResponse
from pydantic import BaseModel, Field
from sqlalchemy import Connection
from starlette.concurrency import run_in_threadpool

from api.alert_forms import CaseLine, CaseWhole, case, line, whole
from api.deps import Analyst, Reader, ServicesNow
from api.forms import (
    ALERT_PREFIX,
    Cursor,
    InstantIn,
    Limit,
    NameText,
    bad_cursor,
    check_match,
    etag,
    instant,
    json_answer,
    microseconds,
)
from api.problems import Detail, Refusal, declared, not_found
from api.services import Services
from api.writes import WRITES, WriteRoute
from cep.alert import Alert
from cep.storage.cases import Action, Case, Kind, Outcome, Status, act, read_actions
from cep.storage.database import reading, writing
from cep.storage.queries import (
    CURSOR,
    Filters,
    Listed,
    newest_sequences,
    read_alert,
    read_alerts,
    read_alerts_after,
)
from events.errors import ServiceUnavailable

LOOK_SECONDS = 0.1
"""Between two looks for new alerts, of one connection."""

QUIET_SECONDS = 15.0
"""After so long without an alert a comment is sent: proxies drop what is silent."""

PLACES = re.compile(r"(|[0-9]{1,9}:[0-9]{1,18}(,[0-9]{1,9}:[0-9]{1,18}){0,999})")

AlertId = Annotated[str, Path(pattern="^alert_[0-9a-f]{32}$", description="alert_ and 32 hexadecimal digits")]
IfMatch = Annotated[str | None, Header(max_length=1000, description="the ETag of what was read; else 412")]
Severity = Literal["low", "medium", "high", "critical"]
Severities = Annotated[list[Severity] | None, Query(max_length=4)]

reads = APIRouter(prefix="/v1/alerts", tags=["alerts"])
writes = APIRouter(prefix="/v1/alerts", tags=["alerts"], route_class=WriteRoute, dependencies=WRITES)


class AlertPage(BaseModel):
    """Alerts, newest first."""

    items: list[CaseLine]
    next_cursor: str | None


class CaseNow(BaseModel):
    """Where a case stands."""

    id: str
    status: Status
    assignee: str | None
    outcome: Outcome | None
    revision: int


class ActionLine(BaseModel):
    """What someone did."""

    action: Kind
    actor: str
    at: datetime
    note: str
    detail: dict[str, Any]


class ActionList(BaseModel):
    """The audit of a case, in order."""

    items: list[ActionLine]


Note = Annotated[str, Field(max_length=10_000)]


class Noted(BaseModel):
    """Why."""

    note: Note = ""

    model_config = {"extra": "forbid"}


class Remark(BaseModel):
    """What is to be remembered."""

    note: Note = Field(min_length=1)

    model_config = {"extra": "forbid"}


class Resolution(Noted):
    """What it was."""

    outcome: Outcome


class Snooze(Noted):
    """Alerts of this pattern and key are read as snoozed until then; an instant that is past ends that."""

    until: InstantIn


# --- Reading ----------------------------------------------------------------------------------------------------------


@reads.get("", response_model=AlertPage, responses=declared(422))
def list_alerts(
    services: ServicesNow,
    actor: Reader,
    limit: Limit = 100,
    cursor: Cursor = None,
    pattern: NameText | None = None,
    severity: Severities = None,
    kind: Literal["match", "timeout"] | None = None,
    key: Annotated[
        list[Annotated[str, Query(max_length=1000, pattern="^[^=]+=")]] | None,
        Query(max_length=16, description="name=value, as the pattern's key; all of its fields, in order"),
    ] = None,
    status: Status | None = None,
    assignee: NameText | None = None,
    since: InstantIn | None = None,
    until: InstantIn | None = None,
    awake: Annotated[bool, Query(description="leave out what is snoozed now")] = False,
) -> Response:
    """Alerts, newest first. since: the first instant that is included, until: the first that isn't."""
    if cursor is not None and not CURSOR.fullmatch(cursor):
        raise bad_cursor(cursor)
    filters = Filters(
        pattern=pattern,
        severities=severity,
        kind=kind,
        key=dict(part.split("=", 1) for part in key) if key else None,
        since_us=None if since is None else microseconds(since),
        until_us=None if until is None else microseconds(until),
        status=status,
        assignee=assignee,
        awake_us=services.clock.wall_us() if awake else None,
    )
    with reading(services.engine) as connection:
        page = read_alerts(connection, filters, limit=limit, cursor=cursor)
    items = [{**line(listed.alert), **case(listed)} for listed in page.items]
    return json_answer(msgspec.json.encode({"items": items, "next_cursor": page.next_cursor}))


@reads.get(
    "/stream",
    response_class=StreamingResponse,
    responses={
        **declared(422, 429),
        200: {"content": {"text/event-stream": {"schema": {"type": "string"}}}, "description": "alerts as they come"},
    },
)
async def follow_alerts(
    request: Request,
    services: ServicesNow,
    actor: Reader,
    pattern: NameText | None = None,
    severity: Severities = None,
    last_event_id: Annotated[str | None, Header(max_length=32_000, description="goes on behind it")] = None,
) -> StreamingResponse:
    """Alerts as they come, as server-sent events: from now on, or behind the one that `Last-Event-ID` names."""
    places = _places(last_event_id)
    if places is None:
        places = await run_in_threadpool(_newest, services)
    following = request.app.state.following
    if len(following) >= services.settings.server.streams_max:
        hint = "close others, or raise server.streams_max"
        raise Refusal(429, "too_many_streams", f"{len(following)} follow already, which is the limit", hint)

    async def told() -> AsyncIterator[bytes]:
        mark = object()
        following.add(mark)
        try:
            async for text in _followed(request, services, places, pattern, severity):
                yield text
        finally:
            following.discard(mark)

    headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    return StreamingResponse(told(), media_type="text/event-stream", headers=headers)


@reads.get("/{id}", response_model=CaseWhole, responses=declared(404, 422))
def read_one_alert(id: AlertId, services: ServicesNow, actor: Reader) -> Response:
    """One alert with its events. Its ETag is for `If-Match`."""
    with reading(services.engine) as connection:
        listed = _found(connection, id)
    body = msgspec.json.encode({**whole(listed.alert), **case(listed)})
    return json_answer(body, ETag=etag(listed.revision))


@reads.get("/{id}/actions", responses=declared(404, 422))
def list_actions(id: AlertId, services: ServicesNow, actor: Reader) -> ActionList:
    """Who did what with it, in order."""
    with reading(services.engine) as connection:
        _found(connection, id)
        done = read_actions(connection, id.removeprefix(ALERT_PREFIX))
    return ActionList(
        items=[
            ActionLine.model_validate(
                {
                    "action": one.action,
                    "actor": one.actor,
                    "at": instant(one.at_us),
                    "note": one.note,
                    "detail": one.detail,
                }
            )
            for one in done
        ]
    )


# --- Working ----------------------------------------------------------------------------------------------------------

ACTIONS = declared(400, 404, 409, 412, 413, 415, 422)


@writes.post("/{id}/claim", responses=ACTIONS)
def claim_alert(
    id: AlertId,
    services: ServicesNow,
    actor: Analyst,
    response: Response,
    asked: Noted | None = None,
    if_match: IfMatch = None,
) -> CaseNow:
    """It is mine."""
    return _acted(services, id, actor.name, "claim", response, if_match, (asked or Noted()).note)


@writes.post("/{id}/release", responses=ACTIONS)
def release_alert(
    id: AlertId,
    services: ServicesNow,
    actor: Analyst,
    response: Response,
    asked: Noted | None = None,
    if_match: IfMatch = None,
) -> CaseNow:
    """It is nobody's again."""
    return _acted(services, id, actor.name, "release", response, if_match, (asked or Noted()).note)


@writes.post("/{id}/resolve", responses=ACTIONS)
def resolve_alert(
    id: AlertId, services: ServicesNow, actor: Analyst, response: Response, asked: Resolution, if_match: IfMatch = None
) -> CaseNow:
    """It is settled."""
    return _acted(services, id, actor.name, "resolve", response, if_match, asked.note, outcome=asked.outcome)


@writes.post("/{id}/escalate", responses=ACTIONS)
def escalate_alert(
    id: AlertId,
    services: ServicesNow,
    actor: Analyst,
    response: Response,
    asked: Noted | None = None,
    if_match: IfMatch = None,
) -> CaseNow:
    """Someone else must look."""
    return _acted(services, id, actor.name, "escalate", response, if_match, (asked or Noted()).note)


@writes.post("/{id}/snooze", responses=ACTIONS)
def snooze_alert(
    id: AlertId, services: ServicesNow, actor: Analyst, response: Response, asked: Snooze, if_match: IfMatch = None
) -> CaseNow:
    """Not now: this pattern and key, until an instant."""
    until_us = microseconds(asked.until)
    return _acted(services, id, actor.name, "snooze", response, if_match, asked.note, until_us=until_us)


@writes.post("/{id}/note", responses=ACTIONS)
def note_on_alert(
    id: AlertId, services: ServicesNow, actor: Analyst, response: Response, asked: Remark, if_match: IfMatch = None
) -> CaseNow:
    """To be remembered."""
    return _acted(services, id, actor.name, "note", response, if_match, asked.note)


# --- Inside -----------------------------------------------------------------------------------------------------------


def _found(connection: Connection, id: str) -> Listed:
    listed = read_alert(connection, id.removeprefix(ALERT_PREFIX))
    if listed is None:
        raise not_found("alert", id, "a new alert is a row a moment after it is on its topic")
    return listed


def _acted(
    services: Services,
    id: str,
    actor: str,
    kind: Kind,
    response: Response,
    if_match: str | None,
    note: str,
    *,
    outcome: Outcome | None = None,
    until_us: int | None = None,
) -> CaseNow:
    note = note.replace("\x00", "\ufffd")
    action = Action(id.removeprefix(ALERT_PREFIX), kind, actor, services.clock.wall_us(), note, outcome, until_us)
    with writing(services.engine) as connection:
        check_match(if_match, _found(connection, id).revision)
        changed = act(connection, action, revision=_revision(if_match))
        if changed is None:
            current = _found(connection, id).revision
            check_match(if_match, current)
            raise Refusal(412, "precondition_failed", "it has changed", headers={"ETag": etag(current)})
    response.headers["ETag"] = etag(changed.revision)
    return _case_now(id, changed)


def _revision(if_match: str | None) -> int | None:
    """The one revision that `If-Match` names; None where it names any or several."""
    text = (if_match or "").strip().removeprefix("W/").strip('"')
    return int(text) if text.isascii() and text.isdecimal() and len(text) < 10 else None


def _case_now(id: str, changed: Case) -> CaseNow:
    return CaseNow(
        id=id,
        status=changed.status,
        assignee=changed.assignee,
        outcome=changed.outcome,
        revision=changed.revision,
    )


def _places(last_event_id: str | None) -> dict[int, int] | None:
    if last_event_id is None:
        return None
    if not PLACES.fullmatch(last_event_id):
        detail = f"expected the id of an event of this stream, found {last_event_id[:64]!r}"
        found = Detail(pointer="/last-event-id", source="header", detail=detail)
        raise Refusal(422, "invalid_request", "the request has 1 problem", problems=[found])
    pairs = (part.split(":") for part in last_event_id.split(",") if part)
    return {int(lane): int(sequence) for lane, sequence in pairs}


def _newest(services: Services) -> dict[int, int]:
    with reading(services.engine) as connection:
        return newest_sequences(connection)


def _after(services: Services, places: dict[int, int]) -> list[Alert]:
    with reading(services.engine) as connection:
        return read_alerts_after(connection, places)


async def _followed(
    request: Request, services: Services, places: dict[int, int], pattern: str | None, severity: list[Severity] | None
) -> AsyncIterator[bytes]:
    yield b"retry: 1000\n\n"
    quiet_s = monotonic()
    while not services.stopping.is_set() and not await request.is_disconnected():
        try:
            found = await run_in_threadpool(_after, services, places)
        except ServiceUnavailable:  # the client comes again, with the id of what it had
            return
        for alert in found:
            places[alert.lane] = alert.sequence
            if pattern in (None, alert.pattern) and (severity is None or alert.severity in severity):
                yield _event(alert, places)
                quiet_s = monotonic()
        if monotonic() - quiet_s > QUIET_SECONDS:
            yield b": quiet\n\n"
            quiet_s = monotonic()
        if not found:
            await asyncio.sleep(LOOK_SECONDS)


def _event(alert: Alert, places: dict[int, int]) -> bytes:
    """An alert as a server-sent event: JSON has no line ends of its own, but events as they came may."""
    where = ",".join(f"{lane}:{sequence}" for lane, sequence in sorted(places.items()))
    lines = msgspec.json.encode(whole(alert)).splitlines()
    return f"id: {where}\nevent: alert\n".encode() + b"".join(b"data: %b\n" % each for each in lines) + b"\n"
