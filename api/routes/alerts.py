"""Alerts: listed, read, streamed; and the work on them, each action with its actor in the audit."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator, Sequence
from typing import Annotated, Literal

import msgspec
from fastapi import APIRouter, Header, Path, Query, Request, Response
from fastapi.responses import StreamingResponse
from pydantic import BaseModel, Field
from sqlalchemy import Connection

from api.deps import Analyst, Reader, Repeatable, Used
from api.follow import Committed, after
from api.problems import Refused, refusals
from api.schemas import (
    ALERT,
    ALERT_ID,
    ActionOut,
    AlertPage,
    CaseOut,
    Instant,
    WholeAlertOut,
    alert_out,
    alert_values,
    case_out,
    events_out,
    instant,
    micros,
)
from api.services import Services
from cep.storage import cases, queries
from cep.storage.queries import Filters, Listed

router = APIRouter(tags=["alerts"], route_class=Repeatable)

LIST_MAX = 500
HEARTBEAT_SECONDS = 15.0
"""A comment in the stream, so that nobody between takes it for dead."""

Id = Annotated[str, Path(pattern=ALERT_ID)]
Status = Literal["open", "claimed", "escalated", "resolved"]
SEEN = re.compile(r"^\d{1,9}:\d{1,18}(,\d{1,9}:\d{1,18})*$")


class ActionIn(BaseModel):
    """What is done about an alert. outcome: of resolve. until: of snooze."""

    note: str = Field("", max_length=10_000)
    outcome: Literal["fraud", "legitimate", "unclear"] | None = None
    until: Instant | None = None


@router.get("/alerts")
def list_alerts(
    services: Used,
    _: Reader,
    pattern: Annotated[str | None, Query(max_length=255)] = None,
    severity: Annotated[list[str] | None, Query(max_length=10)] = None,
    kind: Literal["match", "timeout"] | None = None,
    key: Annotated[str | None, Query(description='the whole key as JSON: {"card_id": "c7"}', max_length=2000)] = None,
    status: Status | None = None,
    assignee: Annotated[str | None, Query(max_length=255)] = None,
    since: Instant | None = None,
    until: Instant | None = None,
    awake: Annotated[bool, Query(description="leaves out what is snoozed")] = False,
    limit: Annotated[int, Query(ge=1, le=LIST_MAX)] = 50,
    cursor: Annotated[str | None, Query(max_length=64)] = None,
) -> AlertPage:
    """A page, newest first."""
    filters = Filters(
        pattern=pattern,
        severities=severity,
        kind=kind,
        key=key_of(key),
        since_us=None if since is None else micros(since),
        until_us=None if until is None else micros(until),
        status=status,
        assignee=assignee,
        awake_us=services.wall_us() if awake else None,
    )
    with services.transaction() as connection:
        page = queries.read_alerts(connection, filters, limit=limit, cursor=cursor)
    return AlertPage(items=[alert_out(one) for one in page.items], next_cursor=page.next_cursor)


@router.get("/alerts/stream", responses={200: {"content": {"text/event-stream": {"schema": {"type": "string"}}}}})
async def stream(
    request: Request,
    services: Used,
    _: Reader,
    last_event_id: Annotated[str | None, Header(description="goes on behind what was read", max_length=1000)] = None,
) -> StreamingResponse:
    """Server-sent events: every alert as soon as it is committed. An event's id is where to go on."""
    if last_event_id is not None and not SEEN.match(last_event_id):
        raise Refused(422, "last_event_id", "Last-Event-ID isn't one of this stream", "leave it away to begin now")
    open_now = request.app.state.__dict__.setdefault("streams_open", [0])
    if open_now[0] >= services.settings.serve.streams_max:
        raise Refused(429, "too_many_streams", "too many readers of the stream", "setting serve.streams_max")
    return StreamingResponse(_told(services, last_event_id, open_now), media_type="text/event-stream")


@router.get("/alerts/{alert_id}")
def get_alert(services: Used, _: Reader, alert_id: Id, response: Response) -> WholeAlertOut:
    """One alert with the very events that made it; its ETag is for If-Match."""
    with services.transaction() as connection:
        found = read_one(connection, alert_id)
        done = cases.read_actions(connection, found.alert.alert_id)
    response.headers["ETag"] = f'"{found.revision}"'
    return WholeAlertOut(
        **alert_values(found.alert),
        case=case_out(found),
        events=events_out(found.alert),
        actions=[
            ActionOut(action=one.action, actor=one.actor, at=instant(one.at_us), note=one.note, detail=one.detail)
            for one in done
        ],
    )


@router.post("/alerts/{alert_id}/{action}", responses=refusals(412))
def act(
    services: Used,
    actor: Analyst,
    alert_id: Id,
    action: cases.Kind,
    response: Response,
    wanted: ActionIn | None = None,
    if_match: Annotated[str | None, Header(description="the ETag of the alert that was looked at")] = None,
) -> CaseOut:
    """Claims, releases, resolves, escalates, snoozes or notes. With If-Match only if nobody was faster (412)."""
    asked = wanted or ActionIn(note="")
    done = cases.Action(
        alert_id=alert_id.removeprefix(ALERT),
        action=action,
        actor=actor.name,
        at_us=services.wall_us(),
        note=asked.note,
        outcome=asked.outcome,
        until_us=None if asked.until is None else micros(asked.until),
    )
    found = act_on(services, done, if_match)
    response.headers["ETag"] = f'"{found.revision}"'
    return case_out(found)


def act_on(services: Services, action: cases.Action, if_match: str | None) -> Listed:
    """Does it, unless the case isn't as it was when it was looked at. Raises Refused (404, 412), InvalidDocument."""
    expected = None
    if if_match not in (None, "*"):
        text = (if_match or "").strip('"')
        expected = int(text) if text.isdigit() and len(text) < 10 else -1
    with services.transaction() as connection:
        changed = cases.act(connection, action, revision=expected)
        found = read_one(connection, ALERT + action.alert_id)
        if changed is None:
            what = f"{ALERT}{action.alert_id} is at revision {found.revision}, not at {if_match} any more"
            raise Refused(412, "changed_meanwhile", what, "look at it again, then decide anew")
        return found


def read_one(connection: Connection, alert_id: str) -> Listed:
    """Raises Refused (404)."""
    found = queries.read_alert(connection, alert_id.removeprefix(ALERT))
    if found is None:
        raise Refused(404, "no_such_alert", f"there is no alert {alert_id}", "it may not have reached the table yet")
    return found


def key_of(text: str | None) -> dict[str, str | int | bool | None] | None:
    """A key that was given as JSON. Raises Refused (422)."""
    if text is None:
        return None
    try:
        return msgspec.json.decode(text, type=dict[str, str | int | bool | None])
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        raise Refused(422, "key", f"key isn't an object of JSON: {error}", 'as {"card_id": "c7"}') from error


async def _told(services: Services, last_event_id: str | None, open_now: list[int]) -> AsyncIterator[str]:
    loop = asyncio.get_running_loop()
    waiting: asyncio.Queue[Sequence[Committed]] = asyncio.Queue()

    def tell(alerts: Sequence[Committed]) -> None:
        loop.call_soon_threadsafe(waiting.put_nowait, alerts)

    open_now[0] += 1
    kept = services.follower.listen(tell)
    try:
        seen = dict(_seen(last_event_id)) if last_event_id else {}
        behind = {one.place[0]: one.place[1] + 1 for one in kept}
        news = after(kept, {**behind, **seen}) if last_event_id else []
        seen = {**behind, **seen}
        yield ": the alerts as they are committed\n\n"
        while True:
            for one in news:
                seen[one.place[0]] = one.place[1] + 1
                place = ",".join(f"{partition}:{offset}" for partition, offset in sorted(seen.items()))
                yield f"id: {place}\nevent: alert\ndata: {_data(one)}\n\n"
            try:
                news = list(await asyncio.wait_for(waiting.get(), HEARTBEAT_SECONDS))
            except TimeoutError:
                news = []
                yield ": still here\n\n"
    finally:
        open_now[0] -= 1
        services.follower.unlisten(tell)


def _seen(last_event_id: str) -> list[tuple[int, int]]:
    parts = [part.split(":") for part in last_event_id.split(",")]
    return [(int(partition), int(offset)) for partition, offset in parts]


def _data(one: Committed) -> str:
    values = alert_values(one.alert)
    for name in ("at", "started_at", "processed_at"):
        values[name] = values[name].isoformat().replace("+00:00", "Z")
    return json.dumps(values, ensure_ascii=False)
