"""Instants, lengths of time and values as people read them. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime

import msgspec

from cep.alert import KeyValue, MatchedEvent
from cep.alert import key_text as value_text

UNITS = (("d", 86_400_000_000), ("h", 3_600_000_000), ("min", 60_000_000), ("s", 1_000_000))

AMOUNT, CURRENCY = "amount", "currency"
"""The fields of an event that say how much money it moves."""

_body = msgspec.json.Decoder(dict[str, msgspec.Raw])


def length(us: int) -> str:
    """A length of time in its two largest units.

    >>> length(372_000_000), length(3_600_000_000), length(2_400_000), length(18_000), length(0)
    ('6 min 12 s', '1 h', '2.4 s', '18 ms', '0 ms')
    """
    if us < 1_000_000:
        return f"{us // 1000} ms"
    if us < 10_000_000:
        return f"{us / 1_000_000:.1f} s".replace(".0 s", " s")
    place = next(place for place, (_, unit_us) in enumerate(UNITS) if us >= unit_us)
    parts = []
    for name, unit_us in UNITS[place : place + 2]:
        if us >= unit_us:
            parts.append(f"{us // unit_us} {name}")
        us %= unit_us
    return " ".join(parts)


def age(us: int) -> str:
    """How long ago, in one unit.

    >>> age(4_000_000), age(130_000_000), age(200_000_000_000), age(-5)
    ('4 s', '2 min', '2 d', 'now')
    """
    name, unit_us = next(((name, unit_us) for name, unit_us in UNITS if us >= unit_us), ("", 0))
    return f"{us // unit_us} {name}" if unit_us else "now"


def moment(at_us: int) -> datetime:
    """The instant, in UTC."""
    return datetime.fromtimestamp(at_us // 1_000_000, UTC).replace(microsecond=at_us % 1_000_000)


def clock(at_us: int) -> str:
    """The time of day, with milliseconds.

    >>> clock(1_767_225_600_250_000)
    '00:00:00.250'
    """
    return moment(at_us).strftime("%H:%M:%S.") + f"{at_us // 1000 % 1000:03d}"


def date(at_us: int) -> str:
    """Day and minute.

    >>> date(1_767_225_600_250_000)
    '2026-01-01 00:00'
    """
    return moment(at_us).strftime("%Y-%m-%d %H:%M")


def rfc3339(at_us: int) -> str:
    """
    >>> rfc3339(1_767_225_600_250_000)
    '2026-01-01T00:00:00.250000Z'
    """
    return moment(at_us).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def entity(key: Mapping[str, KeyValue]) -> str:
    """Whom an alert is about: the values of its key.

    >>> entity({"card_id": "c7", "country": None})
    'c7, null'
    """
    return ", ".join(value_text(value) for value in key.values())


def body_of(event: MatchedEvent) -> dict[str, str]:
    """An event's fields as text: strings without quotes, all else as it was written. Empty if it was left in the log.

    >>> body_of(MatchedEvent("s", "e", 0, msgspec.Raw(b'{"amount":812.50,"m":"x","ok":true}')))
    {'amount': '812.50', 'm': 'x', 'ok': 'true'}
    """
    try:
        fields = _body.decode(event.event)
    except msgspec.MsgspecError:
        return {}
    return {name: _plain(bytes(value)) for name, value in fields.items()}


def money(fields: Mapping[str, str]) -> str:
    """The amount of an event with its currency, empty if it has none.

    >>> money({"amount": "1812.5", "currency": "EUR"}), money({})
    ('1,812.50 EUR', '')
    """
    try:
        amount = float(fields[AMOUNT])
    except (KeyError, ValueError):
        return ""
    return f"{amount:,.2f} {fields.get(CURRENCY, '')}".rstrip()


def _plain(value: bytes) -> str:
    text = value.decode(errors="replace")
    if text.startswith('"'):
        return str(msgspec.json.decode(value))
    return text
