"""The queue: alerts, newest first, by filters that are in the address."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from urllib.parse import urlencode

from fastapi import APIRouter, Request, Response
from fastapi.responses import HTMLResponse

from api.dashboard.pages import Screen, page
from api.dashboard.visitor import Known
from api.dashboard.wording import age, body_of, entity, moment, money
from api.deps import ServicesNow
from api.problems import Refusal
from cep.alert import MatchedEvent
from cep.storage.database import reading
from cep.storage.queries import Filters, Listed, newest_sequences, read_alerts
from events.duration import UNITS_US
from models.document import SCORE

router = APIRouter(route_class=Screen)

PAGE_ALERTS = 50
SEVERITIES = ("critical", "high", "medium", "low")
STATUSES = ("open", "claimed", "escalated", "resolved")
ANY = "any"
PERIODS = {"1h": "last hour", "24h": "last day", "7d": "last week", "30d": "last month"}

TOLD = {
    "claim": "Claimed: it is yours now.",
    "release": "Released: it is open again.",
    "resolve": "Resolved.",
    "escalate": "Escalated.",
    "snooze": "Snoozed: alerts of this pattern and entity stay out of the queue until then.",
    "note": "Your note is kept.",
}


@dataclass(frozen=True, slots=True)
class Asked:
    """What the address asks for; empty asks for everything."""

    status: str = "open"
    pattern: str = ""
    severity: tuple[str, ...] = ()
    assignee: str = ""
    key: str = ""
    since: str = ""
    snoozed: bool = False

    def filters(self, now_us: int) -> Filters:
        """For the table."""
        return Filters(
            pattern=self.pattern or None,
            severities=self.severity or None,
            key={str(place): part.strip() for place, part in enumerate(self.key.split(","))} if self.key else None,
            since_us=now_us - _period_us(self.since) if self.since else None,
            status=None if self.status == ANY else self.status,
            assignee=self.assignee or None,
            awake_us=None if self.snoozed else now_us,
        )

    def query(self, **changed: str) -> str:
        """The address's query, with some of it changed; what is as by default is left away."""
        values: dict[str, str | tuple[str, ...]] = {
            "status": "" if self.status == "open" else self.status,
            "pattern": self.pattern,
            "severity": self.severity,
            "assignee": self.assignee,
            "key": self.key,
            "since": self.since,
            "snoozed": "1" if self.snoozed else "",
        }
        given = {name: value for name, value in {**values, **changed}.items() if value}
        return urlencode(given, doseq=True)


@dataclass(frozen=True, slots=True)
class Line:
    """A row of the queue, in words."""

    alert_id: str
    severity: str
    score: str
    entity: str
    pattern: str
    message: str
    amount: str
    events: int
    at_us: int
    age: str
    assignee: str
    status: str
    outcome: str
    revision: int
    snoozed: bool
    timed_out: bool


def asked_of(request: Request) -> Asked:
    """What the address asks for. Raises Refusal."""
    given = request.query_params
    status, since = given.get("status") or "open", given.get("since", "")
    if status not in (*STATUSES, ANY):
        raise Refusal(422, "invalid_request", f"status: found {status!r}", f"one of {', '.join(STATUSES)}, {ANY}")
    if since and since not in PERIODS:
        raise Refusal(422, "invalid_request", f"since: found {since!r}", f"one of {', '.join(PERIODS)}")
    return Asked(
        status,
        given.get("pattern", ""),
        tuple(value for value in given.getlist("severity") if value),
        given.get("assignee", ""),
        given.get("key", ""),
        since,
        bool(given.get("snoozed")),
    )


def line_of(listed: Listed, now_us: int) -> Line:
    """An alert as a row."""
    alert = listed.alert
    last = alert.events[-1] if alert.events else None
    return Line(
        alert_id=alert.alert_id,
        severity=alert.severity,
        score=score_text(None if last is None else score_of(last)),
        entity=entity(alert.key),
        pattern=alert.pattern,
        message=alert.message or alert.pattern,
        amount=money(body_of(last)) if last else "",
        events=len(alert.events),
        at_us=alert.at_us,
        age=age(now_us - alert.at_us),
        assignee=listed.assignee or "",
        status=listed.status,
        outcome=listed.outcome or "",
        revision=listed.revision,
        snoozed=listed.snoozed_until_us is not None and listed.snoozed_until_us > now_us,
        timed_out=alert.kind == "timeout",
    )


def score_of(event: MatchedEvent) -> float | None:
    """The score of an event, where a model gave it one."""
    return event.features.get(SCORE)


def score_text(score: float | None) -> str:
    """
    >>> score_text(0.9372), score_text(None)
    ('0.937', '')
    """
    return "" if score is None else f"{score:.3f}"


def after_text(sequences: Mapping[int, int]) -> str:
    """Where each lane's alerts were read up to, as one text: what a stream of new ones goes on from.

    >>> after_text({0: 17, 1: 4})
    '0:17,1:4'
    """
    return ",".join(f"{lane}:{sequence}" for lane, sequence in sorted(sequences.items()))


@router.get("/")
def show_queue(request: Request, services: ServicesNow, visitor: Known, cursor: str = "", told: str = "") -> Response:
    """A page of the queue."""
    asked, now_us = asked_of(request), services.clock.wall_us()
    with reading(services.engine) as connection:
        after = newest_sequences(connection)  # before the rows: none is missed
        found = read_alerts(connection, asked.filters(now_us), limit=PAGE_ALERTS, cursor=cursor or None)
    lines = [line_of(listed, now_us) for listed in found.items]
    here = f"/?{asked.query()}" if asked.query() else "/"
    return queue_page(
        request,
        visitor,
        asked,
        lines=lines,
        here=here,
        told=TOLD.get(told, ""),
        patterns=sorted(services.registry.patterns()),
        after=None if cursor else after_text(after),
        next_query=asked.query(cursor=found.next_cursor) if found.next_cursor else "",
        is_first=not cursor,
    )


def queue_page(request: Request, visitor: Known, asked: Asked, **values: object) -> HTMLResponse:
    """The page around the rows."""
    me = visitor.name
    tabs = [
        ("Open", Asked().query(), asked.status == "open"),
        ("Mine", Asked(status="claimed", assignee=me).query(), asked.status == "claimed" and asked.assignee == me),
        ("Claimed", Asked(status="claimed").query(), asked.status == "claimed" and asked.assignee != me),
        ("Escalated", Asked(status="escalated").query(), asked.status == "escalated"),
        ("Resolved", Asked(status="resolved").query(), asked.status == "resolved"),
        ("All", Asked(status=ANY).query(), asked.status == ANY),
    ]
    return page(
        request, visitor, "queue.html", status=HTTPStatus.OK, asked=asked, tabs=tabs, severities=SEVERITIES,
        periods=PERIODS, moment=moment, **values,
    )  # fmt: skip


def _period_us(text: str) -> int:
    return int(text[:-1]) * UNITS_US[text[-1]]
