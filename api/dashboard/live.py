"""New alerts to open pages, by server-sent events.

    id: 0:17,1:4     how far each lane has been told; a page that comes back goes on from there
    event: alert     data: {"id", "html"}: a row of the queue, for what the page's own filters let through
    event: many      there are more than a page would want row by row: load it again

Each open page costs a query a second per lane, that answers from an index.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator
from typing import NamedTuple

from fastapi import APIRouter, Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import StreamingResponse

from api.dashboard.pages import Screen, fragment
from api.dashboard.queue import Asked, after_text, asked_of, line_of
from api.dashboard.visitor import Known, Visitor
from api.deps import ServicesNow
from api.problems import Refusal
from api.services import Services
from cep.storage.database import reading
from cep.storage.queries import newest_sequences, read_arrived
from events.errors import ServiceUnavailable

router = APIRouter(route_class=Screen)

LOOK_SECONDS = 1.0
BEAT_LOOKS = 15
"""A comment after so many looks without an alert: it finds out whether the page is still there."""
ROWS_MAX = 200
AFTER = re.compile(r"(|[0-9]{1,9}:[0-9]{1,18}(,[0-9]{1,9}:[0-9]{1,18}){0,999})")


class Arrived(NamedTuple):
    """What came since the last look, as a piece of the stream (empty: nothing), and how far it goes."""

    text: str
    after: dict[int, int]


@router.get("/live/alerts")
async def follow_alerts(request: Request, services: ServicesNow, visitor: Known, after: str = "") -> Response:
    """The stream of one page, as the page's own query filters it."""
    following: set[object] = request.app.state.following
    if len(following) >= services.settings.server.streams_max:
        raise Refusal(429, "too_many_streams", f"{len(following)} follow already", "server.streams_max is the limit")
    asked, seen = asked_of(request), _read_after(request.headers.get("last-event-id") or after)

    async def told() -> AsyncIterator[str]:
        me = object()
        following.add(me)
        try:
            async for part in _pieces(request, services, visitor, asked, seen):
                yield part
        finally:
            following.discard(me)

    return StreamingResponse(told(), media_type="text/event-stream", headers={"X-Accel-Buffering": "no"})


async def _pieces(
    request: Request, services: Services, visitor: Visitor, asked: Asked, seen: dict[int, int]
) -> AsyncIterator[str]:
    yield f"retry: 2000\nid: {after_text(seen)}\n\n"
    quiet = 0
    while not services.stopping.is_set() and not await request.is_disconnected():
        try:
            text, seen = await run_in_threadpool(look, services, visitor, asked, seen)
        except ServiceUnavailable:
            text = ""  # the page keeps what it shows, and hears on once the database is back
        quiet = 0 if text else quiet + 1
        if text or quiet % BEAT_LOOKS == 0:
            yield text or ": still here\n\n"
        await asyncio.sleep(LOOK_SECONDS)


def look(services: Services, visitor: Visitor, asked: Asked, seen: dict[int, int]) -> Arrived:
    """What came behind `seen`. Raises ServiceUnavailable."""
    now_us = services.clock.wall_us()
    with reading(services.engine) as connection:
        newest = newest_sequences(connection)
        moved = {lane: seen.get(lane, -1) for lane, sequence in newest.items() if sequence > seen.get(lane, -1)}
        if not moved:
            return Arrived("", seen)
        found = read_arrived(connection, moved, asked.filters(now_us), limit=ROWS_MAX + 1)
    ident = after_text(newest)
    if len(found) > ROWS_MAX:
        return Arrived(_event("many", ident, {}), newest)
    here = f"/?{asked.query()}"
    parts = []
    for listed in sorted(found, key=lambda one: (one.alert.at_us, one.alert.alert_id)):
        line = line_of(listed, now_us)
        html = fragment("row.html", visitor=visitor, line=line, here=here, fresh=True)
        parts.append(_event("alert", ident, {"id": line.alert_id, "html": html}))
    return Arrived("".join(parts), newest)


def _event(name: str, ident: str, data: dict[str, str]) -> str:
    return f"event: {name}\nid: {ident}\ndata: {json.dumps(data)}\n\n"


def _read_after(text: str) -> dict[int, int]:
    if not AFTER.fullmatch(text):
        raise Refusal(422, "invalid_request", f"after: found {text[:64]!r}", "as pages have it: lane:sequence,…")
    pairs = (part.split(":") for part in text.split(",") if part)
    return {int(lane): int(sequence) for lane, sequence in pairs}
