"""What goes over the wire. Instants are RFC 3339 in UTC; ids of alerts have the prefix `al_`."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Literal

import msgspec
from pydantic import AwareDatetime, BaseModel, Field, PlainSerializer

from cep.alert import Alert, KeyValue
from cep.log.protocol import Partition
from cep.storage.queries import Listed

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
ALERT = "al_"
ALERT_ID = rf"^{ALERT}[0-9a-f]{{32}}$"


def rfc3339(at: datetime) -> str:
    """With a `Z`, and as many decimals as there are.

    >>> rfc3339(EPOCH)
    '1970-01-01T00:00:00Z'
    """
    return at.astimezone(UTC).isoformat().replace("+00:00", "Z")


Instant = Annotated[AwareDatetime, PlainSerializer(rfc3339)]


def instant(at_us: int) -> datetime:
    """Microseconds since 1970 as an instant; what lies outside of the years 1 to 9999 is their end."""
    try:
        return EPOCH + timedelta(microseconds=at_us)
    except OverflowError:
        return datetime.min.replace(tzinfo=UTC) if at_us < 0 else datetime.max.replace(tzinfo=UTC)


def micros(at: datetime) -> int:
    """An instant as microseconds since 1970."""
    return (at - EPOCH) // timedelta(microseconds=1)


class Place(BaseModel):
    """A record of the log."""

    topic: str
    partition: int
    offset: int


def place_of(partition: Partition, offset: int) -> Place:
    """For the wire."""
    return Place(topic=partition.topic, partition=partition.partition, offset=offset)


class CaseOut(BaseModel):
    """What people made of an alert. revision: of If-Match."""

    status: Literal["open", "claimed", "escalated", "resolved"]
    assignee: str | None
    outcome: Literal["fraud", "legitimate", "unclear"] | None
    revision: int
    snoozed_until: Instant | None


class AlertOut(BaseModel):
    """An alert. at: of the last matched event, or of the end of the window; started_at: of the first event."""

    id: str = Field(pattern=ALERT_ID)
    pattern: str
    version: int
    kind: Literal["match", "timeout"]
    severity: str
    message: str
    key: dict[str, KeyValue]
    at: Instant
    started_at: Instant
    processed_at: Instant
    measures: dict[str, Any]
    case: CaseOut


class MatchedEventOut(BaseModel):
    """An event of a match, bound to its step. event: the record; null where it was too large to be kept."""

    step: str
    event_id: str
    at: Instant
    event: Any


class ActionOut(BaseModel):
    """A line of the audit."""

    action: str
    actor: str
    at: Instant
    note: str
    detail: dict[str, Any]


class WholeAlertOut(AlertOut):
    """An alert with the very events that made it, and what was done about it."""

    events: list[MatchedEventOut]
    actions: list[ActionOut]


class AlertPage(BaseModel):
    """Newest first. next_cursor: null on the last page."""

    items: list[AlertOut]
    next_cursor: str | None


def alert_values(alert: Alert) -> dict[str, Any]:
    """What AlertOut has of the alert itself."""
    return {
        "id": ALERT + alert.alert_id,
        "pattern": alert.pattern,
        "version": alert.version,
        "kind": alert.kind,
        "severity": alert.severity,
        "message": alert.message,
        "key": alert.key,
        "at": instant(alert.at_us),
        "started_at": instant(alert.started_at_us),
        "processed_at": instant(alert.processed_at_us),
        "measures": {name: msgspec.json.decode(value) for name, value in alert.measures.items()},
    }


def alert_out(listed: Listed) -> AlertOut:
    """For a list."""
    return AlertOut(**alert_values(listed.alert), case=case_out(listed))


def case_out(listed: Listed) -> CaseOut:
    """Of an alert as it is listed."""
    until_us = listed.snoozed_until_us
    return CaseOut.model_validate({
        "status": listed.status,
        "assignee": listed.assignee,
        "outcome": listed.outcome,
        "revision": listed.revision,
        "snoozed_until": None if until_us is None else instant(until_us),
    })  # fmt: skip


def events_out(alert: Alert) -> list[MatchedEventOut]:
    """The matched events."""
    return [
        MatchedEventOut(
            step=one.step, event_id=one.event_id, at=instant(one.at_us), event=msgspec.json.decode(one.event)
        )
        for one in alert.events
    ]
