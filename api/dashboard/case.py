"""One alert: its verdict, the strip, its events and entity, and the work on its case."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Literal, get_args
from urllib.parse import urlencode

import msgspec
from fastapi import APIRouter, Request, Response
from fastapi.responses import RedirectResponse

from api.dashboard.login import own_path
from api.dashboard.pages import Screen, page
from api.dashboard.queue import TOLD, line_of, score_of, score_text
from api.dashboard.strip import Bound, draw_strip, hues
from api.dashboard.versions import read_version
from api.dashboard.visitor import Known, Sent, Visitor, check_form, check_role
from api.dashboard.wording import AMOUNT, body_of, date, entity, length
from api.deps import ServicesNow
from api.problems import Refusal
from api.services import Services
from cep.alert import Alert, MatchedEvent
from cep.alert import key_text as value_text
from cep.demo import fields_shown
from cep.language.document import secrets
from cep.language.pattern import Pattern, flatten
from cep.language.wording import plural
from cep.storage.cases import Action, Done, Kind, Outcome, act, read_actions
from cep.storage.database import reading, writing
from cep.storage.queries import Filters, Listed, read_alert, read_alerts
from events.errors import InvalidDocument
from events.schema import Stream
from models.document import SCORE

router = APIRouter(route_class=Screen)

OTHERS = 8
EVENTS_SHOWN = 200
"""Of a match, in the table; the strip counts all."""
HIDDEN = "•••"
HOURS = {1: "1 hour", 4: "4 hours", 24: "1 day", 168: "1 week"}
ACTIONS = get_args(Kind)
DONE = {
    "claim": "claimed it",
    "release": "released it",
    "resolve": "resolved it",
    "escalate": "escalated it",
    "snooze": "snoozed it",
    "note": "wrote",
}


@dataclass(frozen=True, slots=True)
class Cell:
    """A field of an event; `read`: the pattern's step looks at it."""

    text: str
    read: bool


@dataclass(frozen=True, slots=True)
class EventLine:
    """An event of the match, in words. number: from 1, as in the strip."""

    number: int
    step: str
    hue: int
    event_id: str
    at_us: int
    gap: str
    cells: tuple[Cell, ...]
    features: tuple[tuple[str, str], ...]
    score: str


@dataclass(frozen=True, slots=True)
class Deed:
    """A line of the audit, in words."""

    actor: str
    did: str
    note: str
    at_us: int


def verdict(alert: Alert) -> str:
    """The alert in one sentence.

    >>> from msgspec import Raw
    >>> event = MatchedEvent("a", "e", 60_000_000, Raw(b"{}"))
    >>> verdict(Alert(alert_id="", pattern="p", version=1, kind="match", severity="high", message="4 probes, then 812",
    ...     key={"card_id": "c7"}, at_us=60_000_000, started_at_us=0, events=[event]))
    '4 probes, then 812: 1 event of card_id c7 within 1 min.'
    """
    said = (alert.message or alert.pattern).rstrip(".")
    said = said[:1].upper() + said[1:]
    took = length(alert.at_us - alert.started_at_us)
    whom = " and ".join(f"{name} {value_text(value)}" for name, value in alert.key.items())
    events = plural(len(alert.events), "event")
    late = "waited for in vain" if alert.kind == "timeout" else "within"
    return f"{said}: {events} of {whom or 'the stream'} {late} {took}."


def columns_of(pattern: Pattern | None, events: Sequence[MatchedEvent]) -> tuple[list[str], Mapping[str, list[str]]]:
    """The fields to show, money first, and those that each step reads; all fields where the pattern isn't known."""
    if pattern is not None:
        read = fields_shown(pattern)
        columns = list(dict.fromkeys(name for step in read.values() for name in step))
        money = [AMOUNT] if any(AMOUNT in body_of(event) for event in events[:1]) else []
        if columns:
            return list(dict.fromkeys([*money, *columns])), read
    return list(dict.fromkeys(name for event in events[:EVENTS_SHOWN] for name in body_of(event))), {}


def event_lines(
    alert: Alert,
    columns: Sequence[str],
    read: Mapping[str, Sequence[str]],
    colours: Mapping[str, int],
    secret: set[str],
) -> list[EventLine]:
    """The table of events. secret: fields whose values aren't shown."""
    lines, before_us = [], None
    for number, event in enumerate(alert.events[:EVENTS_SHOWN], 1):
        body = body_of(event)
        shown = {name: HIDDEN if name in secret else body[name] for name in columns if name in body}
        lines.append(
            EventLine(
                number,
                event.step,
                colours.get(event.step, 0),
                event.event_id,
                event.at_us,
                "" if before_us is None else f"+{length(max(0, event.at_us - before_us))}",
                tuple(Cell(shown.get(name, ""), name in read.get(event.step, columns)) for name in columns),
                tuple(
                    (name, str(value) if isinstance(value, int) else f"{value:.2f}")
                    for name, value in event.features.items()
                    if name != SCORE
                ),
                score_text(score_of(event)),
            )
        )
        before_us = event.at_us
    return lines


def deed_of(done: Done) -> Deed:
    """A line of the audit."""
    did = DONE[done.action]
    if outcome := done.detail.get("outcome"):
        did += f" as {outcome}"
    if until_us := done.detail.get("until_us"):
        did += f" until {date(until_us)}"
    return Deed(done.actor, did, done.note, done.at_us)


def secret_fields(streams: Mapping[str, Stream]) -> set[str]:
    """Fields that no page shows."""
    return {name for stream in streams.values() for name in secrets(stream)}


@router.get("/alerts/{alert_id}")
def show_alert(
    request: Request, services: ServicesNow, visitor: Known, alert_id: str, told: str = "", next: str = "/"
) -> Response:
    """The page of one alert."""
    return alert_page(request, services, visitor, alert_id, told=TOLD.get(told, ""), back=own_path(next))


@router.post("/alerts/{alert_id}/{action}")
def do(request: Request, services: ServicesNow, visitor: Known, alert_id: str, action: str, form: Sent) -> Response:
    """Does something with the case, if nobody else did meanwhile; else the page says so, and keeps what was written."""
    check_form(visitor, form)
    check_role(visitor, "analyst")
    if action not in ACTIONS:
        raise Refusal(404, "not_found", f"there is no action {action!r}", f"one of {', '.join(ACTIONS)}")
    asked = Action(
        alert_id=alert_id,
        action=msgspec.convert(action, Kind),
        actor=visitor.name,
        at_us=services.clock.wall_us(),
        note=form.get("note", "").strip(),
        outcome=_outcome(form) if action == "resolve" else None,
        until_us=services.clock.wall_us() + _hours(form) * 3_600_000_000 if action == "snooze" else None,
    )
    back = own_path(form.get("next", "/"))
    try:
        with writing(services.engine) as connection:
            done = act(connection, asked, revision=_revision(form))
    except InvalidDocument as error:
        problem = "; ".join(str(each) for each in error.problems)
        return alert_page(request, services, visitor, alert_id, problem=problem, kept=form, back=back, status=422)
    if done is None:
        return alert_page(
            request, services, visitor, alert_id, conflict=True, kept=form, back=back, status=HTTPStatus.CONFLICT
        )
    if form.get("stay"):
        return RedirectResponse(f"/alerts/{alert_id}?{urlencode({'told': action, 'next': back})}", 303)
    joint = "&" if "?" in back else "?"
    return RedirectResponse(f"{back}{joint}told={action}", HTTPStatus.SEE_OTHER)


def alert_page(
    request: Request,
    services: Services,
    visitor: Visitor,
    alert_id: str,
    *,
    told: str = "",
    conflict: bool = False,
    problem: str = "",
    kept: Mapping[str, str] | None = None,
    back: str = "/",
    status: int = 200,
) -> Response:
    """The page. kept: what someone wrote into a form that wasn't taken."""
    now_us = services.clock.wall_us()
    with reading(services.engine) as connection:
        listed = read_alert(connection, alert_id)
        if listed is None:
            hint = "its row comes a moment after the alert; load this page again if it is new"
            raise Refusal(404, "not_found", f"there is no alert {alert_id[:64]!r}", hint)
        deeds = [deed_of(done) for done in read_actions(connection, alert_id)]
        same = read_alerts(connection, Filters(key=listed.alert.key), limit=OTHERS + 1)
    others = [line_of(each, now_us) for each in same.items if each.alert.alert_id != alert_id][:OTHERS]
    return page(
        request,
        visitor,
        "alert.html",
        status=status,
        line=line_of(listed, now_us),
        others=others,
        deeds=deeds,
        told=told,
        conflict=conflict,
        problem=problem,
        kept=kept or {},
        back=back,
        hours=HOURS,
        outcomes=get_args(Outcome),
        may_act=visitor.may("analyst"),
        now_us=now_us,
        **_shown(services, listed),
    )


def _shown(services: Services, listed: Listed) -> dict[str, Any]:
    """The alert's own part of the page."""
    alert = listed.alert
    pattern = read_version(services, alert.pattern, alert.version)
    steps = flatten(pattern.steps) if pattern else []
    bound = [Bound(event.step, event.event_id, event.at_us) for event in alert.events]
    columns, read = columns_of(pattern, alert.events)
    colours = hues(steps, bound)
    within_us = pattern.within_us if pattern else 0
    lines = event_lines(alert, columns, read, colours, secret_fields(services.streams))
    strip = draw_strip(bound, steps, at_us=alert.at_us, started_us=alert.started_at_us, within_us=within_us)
    return {
        "alert": alert,
        "verdict": verdict(alert),
        "who": entity(alert.key),
        "strip": strip,
        "took": length(alert.at_us - alert.started_at_us),
        "columns": columns,
        "events": lines,
        "left": len(alert.events) - len(lines),
        "scored": any(line.score for line in lines),
        "measures": {name: bytes(value).decode() for name, value in alert.measures.items()},
        "described": pattern.description if pattern else "",
        "snoozed_until_us": listed.snoozed_until_us,
    }


def _revision(form: Mapping[str, str]) -> int:
    text = form.get("revision", "")
    if not text.isdecimal() or len(text) > 9:
        raise Refusal(422, "invalid_request", f"revision: found {text[:20]!r}", "load the page again")
    return int(text)


def _outcome(form: Mapping[str, str]) -> Literal["fraud", "legitimate", "unclear"] | None:
    found = form.get("outcome")
    return msgspec.convert(found, Outcome) if found in get_args(Outcome) else None


def _hours(form: Mapping[str, str]) -> int:
    text = form.get("hours", "")
    if text not in map(str, HOURS):
        raise Refusal(422, "invalid_request", f"hours: found {text[:20]!r}", f"one of {', '.join(map(str, HOURS))}")
    return int(text)
