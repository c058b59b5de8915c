"""Decisions: one event in, and what was made of it out, within a deadline.

    event ─▶ log ─▶ lane ─▶ commit ─▶ journal passed it? its alerts? ─▶ decision

The lane's journal says when the event was decided upon, its alerts what came of it; so nothing is asked of the lane
itself, and an answer is never ahead of what everybody can read. A commit comes `lane.commit_ms` after the last one, or
at once where there is an alert: whoever waits for decisions sets it low (docs/api.md).
"""

from __future__ import annotations

import time
from typing import Annotated, Literal

import msgspec
from fastapi import APIRouter, Query
from pydantic import BaseModel

from api.deps import Analyst, Body, Repeatable, Used
from api.follow import Committed, Follower
from api.ingest import Placed, checked
from api.problems import refusals
from api.routes.events import EVENTS, refuse_when_behind, stream_of
from api.schemas import AlertOut, CaseOut, Place, alert_values, place_of

router = APIRouter(tags=["decisions"], route_class=Repeatable)

BLOCKING = ("high", "critical")
"""Severities of which one alert is enough to block."""


class Decision(BaseModel):
    """decision: block, for an alert of severity high or critical that this event completed; review, for another one;
    else approve. timed_out: the deadline came first, and the decision is `unknown`."""

    decision: Literal["approve", "review", "block", "unknown"]
    timed_out: bool
    place: Place
    alerts: list[AlertOut]
    milliseconds: float


@router.post("/streams/{stream}/decisions", openapi_extra=EVENTS, responses=refusals(429))
def decide(
    services: Used,
    _: Analyst,
    stream: str,
    body: Body,
    deadline_ms: Annotated[int, Query(ge=1, description="at most serve.deadline_ms_max")] = 1000,
) -> Decision:
    """Writes one event and waits for what the patterns make of it. Also after the deadline the event counts."""
    started = time.perf_counter()
    declared = stream_of(services, stream)
    (record,) = checked(declared, [body.strip()])
    refuse_when_behind(services)
    (placed,) = services.ingest.append(declared.topic, [record])
    seconds = min(deadline_ms, services.settings.serve.deadline_ms_max) / 1000
    left = seconds - (time.perf_counter() - started)
    done = services.follower.wait(placed.partition, placed.offset, max(0.0, left))
    alerts = completed_by(services.follower, placed, record[1], declared.event_id)
    severities = {one.alert.severity for one in alerts}
    verdict: Literal["approve", "review", "block", "unknown"] = (
        "block" if severities & set(BLOCKING) else "review" if alerts else "approve" if done else "unknown"
    )
    return Decision(
        decision=verdict,
        timed_out=not done,
        place=place_of(*placed),
        alerts=[
            AlertOut(
                **alert_values(one.alert),
                case=CaseOut(status="open", assignee=None, outcome=None, revision=0, snoozed_until=None),
            )
            for one in alerts
        ],
        milliseconds=round((time.perf_counter() - started) * 1000, 3),
    )


def completed_by(follower: Follower, placed: Placed, record: bytes, event_id: str | None) -> list[Committed]:
    """The newest alerts whose last event is this one."""
    mine = f"{placed.partition.topic}/{placed.partition.partition}/{placed.offset}"
    if event_id is not None:
        mine = str(msgspec.json.decode(record, type=dict[str, object]).get(event_id))
    with follower.news:
        return [one for one in follower.alerts if one.alert.events and one.alert.events[-1].event_id == mine]
