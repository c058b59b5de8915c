"""Events on their way in: checked against what their stream declares, before the log holds them.

body ── one JSON object, or a line each ──▶ Decoder(validate: all) ──▶ Arrived(record, key, id, instant)
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

import msgspec

from api.ingest import record_key
from api.problems import Detail, Refusal
from cep.automaton.plan import layout_of
from events.columns import StringTable
from events.decode import Decoder
from events.schema import Stream, Validate

PROBLEMS_MAX = 100
"""Told of one body; the others are counted."""

FUTURE = "the event is dated {ahead} s ahead of now; the stream allows {most} s (max_ahead)"


class Arrived(NamedTuple):
    """A good event. event_id: None where the stream names none."""

    record: bytes
    key: bytes | None
    event_id: str | None
    at_us: int


class EventCheck:
    """Checks events of one stream: all its fields, also those that no pattern reads. Any thread may use it."""

    def __init__(self, stream: Stream) -> None:
        self._stream = stream
        self._decoder = Decoder(replace(stream, validate=Validate.ALL), layout_of((stream,), ()), StringTable())
        self._lock = threading.Lock()

    def check(self, records: Sequence[bytes], now_us: int, numbers: Sequence[int] | None = None) -> list[Arrived]:
        """All of them. Raises Refusal with everything that is wrong, so that either all are written or none.

        numbers: of the lines that they were, from 1; None for a body that is one record
        """
        with self._lock:
            decoded = self._decoder.decode(records)
        problems = {item.row: (item.path, item.detail) for item in decoded.rejected}
        for row, at_us in zip(decoded.rows.tolist(), decoded.event_at_us.tolist(), strict=True):
            if at_us > now_us + self._stream.max_ahead_us:
                ahead, most = (at_us - now_us) // 1_000_000, self._stream.max_ahead_us // 1_000_000
                problems[row] = f"$.{self._stream.event_time}", FUTURE.format(ahead=ahead, most=most)
        if problems or not records:
            raise _refusal(problems, records, self._stream.name, numbers)
        ids: Sequence[str | None] = decoded.ids if decoded.ids is not None else [None] * len(records)
        instants = decoded.event_at_us.tolist()
        return [
            Arrived(record, self._key(record), event_id, at_us)
            for record, event_id, at_us in zip(records, ids, instants, strict=True)
        ]

    def _key(self, record: bytes) -> bytes | None:
        return record_key(msgspec.json.decode(record), self._stream.key) if self._stream.key else None


def lines_of(body: bytes) -> tuple[list[int], list[bytes]]:
    """The numbers, from 1, and texts of the lines that aren't blank.

    >>> lines_of(b'{}\\n\\n{}\\r\\n')
    ([1, 3], [b'{}', b'{}'])
    """
    found = [(number, line.strip()) for number, line in enumerate(body.split(b"\n"), 1) if line.strip()]
    return [number for number, _ in found], [line for _, line in found]


def checks_of(streams: Mapping[str, Stream]) -> dict[str, EventCheck]:
    """One for each stream."""
    return {name: EventCheck(stream) for name, stream in streams.items()}


def _refusal(
    problems: Mapping[int, tuple[str, str]], records: Sequence[bytes], stream: str, numbers: Sequence[int] | None
) -> Refusal:
    told = [
        Detail(pointer=_pointer(path), detail=detail, line=None if numbers is None else numbers[row])
        for row, (path, detail) in sorted(problems.items())[:PROBLEMS_MAX]
    ]
    if not records:
        return Refusal(422, "invalid_event", "there is no event in the body", "send one in each line")
    bad = "the record is" if numbers is None else f"{len(problems)} of {len(records)} records are"
    hint = "GET /v1/streams says what the fields must be"
    return Refusal(422, "invalid_event", f"{bad} no event of {stream}; nothing is written", hint, problems=told)


def _pointer(path: str) -> str:
    """The JSON pointer of a decoder's path.

    >>> _pointer("$.amount"), _pointer("$")
    ('/amount', '')
    """
    name = path.removeprefix("$").removeprefix(".")
    return "/" + name.replace("~", "~0").replace("/", "~1") if name else ""
