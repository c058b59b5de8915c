"""Alert: what a person sees, and its identity.

    alert_id = 48 bits milliseconds since 1970, then the first 80 bits of SHA-256 over `canonical(...)`; 32 hex digits

The instant is that of the last matched event; for an absence or a time-out, of the end of its window or gap. The
canonical text has only parts that any engine knows, so that another one can compute the same id.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from typing import Literal

import msgspec

KeyValue = str | int | bool | None
AlertKind = Literal["match", "timeout"]

GROUP = "\x1e"
UNIT = "\x1f"


class MatchedEvent(msgspec.Struct, frozen=True, omit_defaults=True):
    """One event of a match, bound to its step. `event` is the record's own JSON.

    features: what was added to it: `view.feature` and `score` as of the event, those that are not null; left out of the
              JSON where there are none
    """

    step: str
    event_id: str
    at_us: int
    event: msgspec.Raw
    features: dict[str, int | float] = msgspec.field(default_factory=dict)


class Alert(msgspec.Struct, frozen=True, kw_only=True):
    """One alert, as it stands on the alerts topic (JSON).

    at_us:     instant of the last matched event, or of the end of the window
    measures:  the pattern's, each as JSON (`cep.measures`), by name
    degraded:  a model failed on one of the events: the score there is its fallback or null
    lane, epoch, sequence: set by the commit; `sequence` is gapless per lane and output topic
    processed_at_us: wall time of the batch in the journal, so that a replay writes the same record
    """

    alert_id: str
    pattern: str
    version: int
    kind: AlertKind
    severity: str
    message: str
    key: dict[str, KeyValue]
    at_us: int
    started_at_us: int
    events: list[MatchedEvent]
    measures: dict[str, msgspec.Raw] = msgspec.field(default_factory=dict)
    suppressed: bool = False
    degraded: bool = False
    lane: int = 0
    epoch: int = 0
    sequence: int = 0
    processed_at_us: int = 0


def escaped(text: str) -> str:
    """`text` without control characters: backslash and everything below U+0020 as `\\uXXXX`.

    >>> escaped("a\\x1fb")
    'a\\\\u001fb'
    """
    if text.isprintable() and "\\" not in text:
        return text
    return "".join(f"\\u{ord(sign):04x}" if sign < " " or sign == "\\" else sign for sign in text)


def key_text(value: KeyValue) -> str:
    """A key value as it stands in the canonical text: true, false, null, digits or the text itself.

    >>> [key_text(value) for value in (True, None, 17, "card-1")]
    ['true', 'null', '17', 'card-1']
    """
    if isinstance(value, str):
        return value
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return str(value)


def group_of(parts: Iterable[str]) -> str:
    """A group of the canonical text: its parts, escaped, parted by U+001F.

    >>> group_of(["probe", "e1", "e2"])
    'probe\\x1fe1\\x1fe2'
    """
    return UNIT.join([escaped(part) for part in parts])


def pattern_group(name: str, version: int, kind: AlertKind) -> str:
    """What matched, and how."""
    return group_of((name, str(version), kind))


def key_group(key: Mapping[str, KeyValue]) -> str:
    """The values of a key. UTF-8 of it is the record key of an alert or a score.

    >>> key_group({"card_id": "c7"})
    'c7'
    """
    return group_of([key_text(value) for value in key.values()])


def canonical(pattern: str, key: str, steps: Iterable[str]) -> str:
    """The text that is hashed: the groups of pattern and key, and of each step, parted by U+001E.

    steps: in order of steps, each `group_of` its name and the ids of its events, in order of events
    """
    return GROUP.join([pattern, key, *steps])


def alert_id(at_us: int, text: str) -> str:
    """128 bits as 32 hex digits; sorts by time. `text` is `canonical(...)`.

    >>> alert_id(1_700_000_000_123_999, "a")
    '018bcfe5687bca978112ca1bbdcafac2'
    """
    return f"{(at_us // 1000) & 0xFFFFFFFFFFFF:012x}" + hashlib.sha256(text.encode()).hexdigest()[:20]
