"""Alert ⇄ row of the table. Pure; the way back gives an equal alert."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from typing import Any

import msgspec

from cep.alert import UNIT, Alert, KeyValue, MatchedEvent, escaped
from cep.alert import key_text as value_text
from cep.storage.tables import KEY_CHARS, NAME_CHARS, Row

AT_US_MIN, AT_US_MAX = -62_135_596_800_000_000, 253_402_300_799_999_999
"""The years 1 to 9999."""

ALERT_ID = re.compile(r"[0-9a-f]{32}")

_events = msgspec.json.Decoder(list[MatchedEvent])
_measures = msgspec.json.Decoder(dict[str, msgspec.Raw])
_key = msgspec.json.Decoder(dict[str, KeyValue])


class Misfit(ValueError):
    """An alert that no row can hold; says why."""


def key_text(key: Mapping[str, KeyValue]) -> str:
    """The key as one text to look alerts up by: the record key on the topic. A very long one ends in its own hash.

    >>> key_text({"card_id": "c7", "country": None}) == "c7" + UNIT + "null"
    True
    >>> len(key_text({"card_id": "x" * 1000}))
    256
    """
    text = UNIT.join(escaped(value_text(value)) for value in key.values())
    if len(text) <= KEY_CHARS:
        return text
    digest = hashlib.sha256(text.encode()).hexdigest()
    return f"{text[: KEY_CHARS - len(digest) - 1]}…{digest}"


def row_of(alert: Alert) -> Row:
    """The row. U+0000, which Postgres has no place for, becomes U+FFFD in the message. Raises Misfit."""
    _check(alert)
    try:
        events = msgspec.json.encode(alert.events).decode()
    except UnicodeDecodeError as error:
        raise Misfit(f"an event isn't UTF-8: {error}") from error
    return {
        "alert_id": alert.alert_id,
        "pattern": alert.pattern,
        "version": alert.version,
        "kind": alert.kind,
        "severity": alert.severity,
        "key": msgspec.json.encode(alert.key).decode(),
        "key_text": key_text(alert.key),
        "message": alert.message.replace("\x00", "\ufffd"),
        "at": alert.at_us,
        "started_at": alert.started_at_us,
        "processed_at": alert.processed_at_us,
        "events": events,
        "measures": msgspec.json.encode(alert.measures).decode(),
        "suppressed": alert.suppressed,
        "degraded": alert.degraded,
        "lane": alert.lane,
        "epoch": alert.epoch,
        "sequence": alert.sequence,
    }


def alert_of(row: Mapping[str, Any]) -> Alert:
    """The alert that the row was made of."""
    return Alert(
        alert_id=row["alert_id"],
        pattern=row["pattern"],
        version=row["version"],
        kind=row["kind"],
        severity=row["severity"],
        message=row["message"],
        key=_key.decode(row["key"]),
        at_us=row["at"],
        started_at_us=row["started_at"],
        events=_events.decode(row["events"]),
        measures=_measures.decode(row["measures"]),
        suppressed=row["suppressed"],
        degraded=row["degraded"],
        lane=row["lane"],
        epoch=row["epoch"],
        sequence=row["sequence"],
        processed_at_us=row["processed_at"],
    )


def _check(alert: Alert) -> None:
    if not ALERT_ID.fullmatch(alert.alert_id):
        raise Misfit(f"alert_id: expected 32 hexadecimal digits, found {alert.alert_id[:64]!r}")
    for name, text, most in (("pattern", alert.pattern, NAME_CHARS), ("severity", alert.severity, 32)):
        if len(text) > most or "\x00" in text:
            raise Misfit(f"{name}: expected up to {most} characters without U+0000, found {text[:64]!r}")
    for name, at_us in (("at_us", alert.at_us), ("started_at_us", alert.started_at_us)):
        if not AT_US_MIN <= at_us <= AT_US_MAX:
            raise Misfit(f"{name}: {at_us} isn't in the years 1 to 9999")
    if not 0 <= alert.processed_at_us <= AT_US_MAX:
        raise Misfit(f"processed_at_us: {alert.processed_at_us} isn't in the years 1970 to 9999")
    if not 0 <= alert.version < 2**31:
        raise Misfit(f"version: {alert.version} isn't one")
