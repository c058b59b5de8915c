"""Alerts as REST shows them. Events and measures are the very JSON of the alerts topic, digit by digit."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import msgspec
from pydantic import BaseModel, Field

from api.forms import ALERT_PREFIX, instant_text
from cep.alert import Alert
from cep.storage.queries import Listed


class EventBound(BaseModel):
    """An event, bound to its step."""

    step: str
    event_id: str
    at: datetime
    event: Any = Field(description="the event's own JSON; null where it was too large for the alert")
    features: dict[str, Any] = Field(default={}, description="as of the event")


class AlertLine(BaseModel):
    """An alert in a list."""

    id: str = Field(pattern="^alert_[0-9a-f]{32}$", description="alert_ and the alert_id of the alerts topic")
    pattern: str
    version: int
    kind: str
    severity: str
    message: str
    key: dict[str, Any]
    at: datetime = Field(description="of the last matched event, or of the end of the window")
    started_at: datetime
    processed_at: datetime
    measures: dict[str, Any]
    suppressed: bool
    degraded: bool = Field(description="a model failed on one of its events")
    lane: int
    sequence: int


class CaseLine(AlertLine):
    """An alert and what people made of it."""

    status: str
    assignee: str | None
    outcome: str | None
    revision: int = Field(description="how often it was acted on; as ETag")
    snoozed_until: datetime | None


class AlertWhole(AlertLine):
    """An alert with its events."""

    events: list[EventBound]


class CaseWhole(CaseLine):
    """An alert with its events, and what people made of it."""

    events: list[EventBound]


def line(alert: Alert) -> dict[str, Any]:
    """An alert without its events."""
    told: dict[str, Any] = {"id": ALERT_PREFIX + alert.alert_id}
    for name in ("pattern", "version", "kind", "severity", "message", "key"):
        told[name] = getattr(alert, name)
    told["at"] = instant_text(alert.at_us)
    told["started_at"] = instant_text(alert.started_at_us)
    told["processed_at"] = instant_text(alert.processed_at_us)
    for name in ("measures", "suppressed", "degraded", "lane", "sequence"):
        told[name] = getattr(alert, name)
    return told


def whole(alert: Alert) -> dict[str, Any]:
    """An alert with its events."""
    return {**line(alert), "events": [_bound(event) for event in alert.events]}


def case(listed: Listed) -> dict[str, Any]:
    """What people made of an alert."""
    until_us = listed.snoozed_until_us
    return {
        "status": listed.status,
        "assignee": listed.assignee,
        "outcome": listed.outcome,
        "revision": listed.revision,
        "snoozed_until": None if until_us is None else instant_text(until_us),
    }


def _bound(event: msgspec.Struct) -> dict[str, Any]:
    """Whatever an alert tells of an event, under the names of REST."""
    told = msgspec.structs.asdict(event)
    return {("at" if name == "at_us" else name): _shown(name, value) for name, value in told.items()}


def _shown(name: str, value: Any) -> Any:
    return instant_text(value) if name == "at_us" else value
