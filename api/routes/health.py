"""Is it alive, is it ready, what has it counted, and what can be asked."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from fastapi import APIRouter, Request, Response
from fastapi.responses import HTMLResponse, PlainTextResponse
from pydantic import BaseModel, Field
from sqlalchemy import text

from api.counted import RequestCounts
from api.deps import ServicesNow
from api.docs_page import docs_page
from api.lanes import lag
from api.routes.lanes import ends_of
from api.services import Services
from cep.storage.database import reading
from cep.telemetry import render
from events.errors import StakeoutError

router = APIRouter(tags=["health"])


class Alive(BaseModel):
    """The process answers."""

    status: str = "ok"


class Ready(BaseModel):
    """Can it do its work? checks: `ok`, or what is wrong.

    ready: the log takes events and lanes are at work on it. The database isn't needed for that: without it alerts can't
    be read for a while, and its check says so.
    """

    ready: bool
    checks: dict[str, str] = Field(examples=[{"log": "ok", "lanes": "ok", "database": "ok"}])


@router.get("/healthz")
def healthz() -> Alive:
    """The process runs and answers. Asks nothing else."""
    return Alive()


@router.get("/readyz", responses={503: {"model": Ready, "description": "not ready, and why"}})
def readyz(services: ServicesNow, response: Response) -> Ready:
    """Log, lanes and database, asked now."""
    checks = {
        "log": _checked(lambda: services.control.end()),
        "lanes": _checked(lambda: _check_lanes(services)),
        "database": _checked(lambda: _check_database(services)),
    }
    ready = checks["log"] == checks["lanes"] == "ok"
    response.status_code = 200 if ready else 503
    return Ready(ready=ready, checks=checks)


@router.get("/metrics", response_class=PlainTextResponse)
def metrics(request: Request, services: ServicesNow) -> PlainTextResponse:
    """Prometheus text: requests, lanes as their journal says, and the counts of a lane in this process."""
    counts: RequestCounts = request.app.state.requests
    lanes = render(services.counts) if services.counts else ""
    gauges = "".join(f"{each}\n" for each in _gauges(services))
    return PlainTextResponse(counts.render() + lanes + gauges, media_type="text/plain; version=0.0.4")


@router.get("/docs", response_class=HTMLResponse, include_in_schema=False)
def docs(request: Request) -> HTMLResponse:
    """The interface on one page, made from its own description."""
    headers = {"Content-Security-Policy": "default-src 'none'; style-src 'self'; img-src 'self'; base-uri 'none'"}
    return HTMLResponse(docs_page(request.app.openapi()), headers=headers)


def _checked(check: Callable[[], object]) -> str:
    try:
        check()
    except StakeoutError as error:
        return str(error)
    return "ok"


def _check_lanes(services: Services) -> None:
    lanes = services.lanes
    found = len(lanes.statuses())
    if lanes.trouble:
        raise StakeoutError(lanes.trouble)
    if found < lanes.count:
        raise StakeoutError(f"{found} of {lanes.count} lanes have ever committed", "start `stakeout worker`")


def _check_database(services: Services) -> None:
    with reading(services.engine) as connection:
        connection.execute(text("SELECT 1 FROM alerts LIMIT 1"))


def _gauges(services: Services) -> Iterator[str]:
    statuses = services.lanes.statuses()
    try:
        behind = lag(statuses, ends_of(services))
    except StakeoutError:  # the log is away: the other numbers are as they were
        behind = {}
    told: dict[str, dict[int, int | float]] = {
        "lag": {**behind},
        "journal_record": {status.lane: status.record for status in statuses},
        "committed_at_seconds": {status.lane: status.committed_at_us / 1e6 for status in statuses},
    }
    for name, values in told.items():
        yield f"# TYPE stakeout_lane_{name} gauge"
        yield from (f'stakeout_lane_{name}{{lane="{lane}"}} {value}' for lane, value in values.items())
