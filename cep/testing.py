"""The test kit for patterns: events as text in, matches out.

    from cep.testing import matches

    def test_a_cash_out_after_three_probes_is_found() -> None:
        assert matches("patterns/card-testing.yaml", '''
            card_id=7 amount=1                    @0s
            card_id=7 amount=1.50                 @10s
            card_id=7 amount=0.99                 @20s
            card_id=7 amount=800 merchant_id=m-9  @2m
        ''') == [{"probe": [1, 2, 3], "cashout": [4]}]

A match maps each step to the numbers of its events, as one counts them in the text: from 1. One event a line:

    fields    name=value; text with spaces in quotes; a field that is left out is null
    @time     since the beginning, as @90s or @1h30m, or an instant as @2026-01-01T12:00:00Z; without one the event
              comes a second after the line before. Times never go back: the text is the order
    stream:   in front, where a pattern reads several: `logins: card_id=7 @5s`
    #         a comment, to the end of the line

After the last event time goes on for ever, so that windows end and absences show; `until="@10m"` stops it. The streams
are those of `streams`, else of the folder `streams/` beside the pattern. A pattern given as YAML text or as a mapping
has none beside it: without `streams`, the fields and their types are then read off the events.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from pathlib import Path

import msgspec
import numpy as np
import yaml

from cep.alert import Alert
from cep.automaton.plan import compile_pattern
from cep.cli.documents import load_streams, stream_paths, text_of
from cep.control import Activate, PatternVersion
from cep.declared import declared
from cep.explain import events_by_key, explain_run
from cep.explain_text import text_of_key, text_of_run
from cep.language.document import dump_pattern, read_pattern
from cep.language.pattern import Pattern
from cep.matcher.matcher import NEVER_US
from cep.pipeline import LaneState, advance, process
from events.columns import Batch
from events.duration import duration_us
from events.errors import InvalidDocument, Problem
from events.schema import Field, Format, Stream
from events.types import BOOL, INSTANT, INT64, STRING, Kind, Type
from features.views import LiveView

START_US = 1_767_225_600_000_000
"""2026-01-01T00:00:00Z, where `@0s` is."""

STEP_US = 1_000_000
"""Between two events without times."""

DECIMAL = Type(Kind.DECIMAL, 18, 6)
EVENT_TIME = "at"

Match = dict[str, list[int]]
"""Step → numbers of its events."""

Source = str | Path | Mapping[str, object]
"""A pattern: its file, its YAML text, or the document as a mapping."""

Streams = str | Path | Sequence[Stream] | None
"""A file or folder of declarations, or what was read from them."""

Views = Sequence[str | Path]
"""Feature views: files, or YAML texts."""


def matches(
    pattern: Source, events: str, *, streams: Streams = None, views: Views = (), until: str = ""
) -> list[Match]:
    """The matches, in the order in which they come out.

    >>> small_then_big = '''
    ... name: small-then-big
    ... stream: payments
    ... key: [card]
    ... within: 1m
    ... steps:
    ...   - {name: small, where: amount < 1}
    ...   - {name: big, contiguity: next, where: amount > 500}
    ... '''
    >>> matches(small_then_big, '''
    ...     card=7 amount=0.80  @0s
    ...     card=8 amount=900   @5s
    ...     card=7 amount=600   @10s     # the same card as the first
    ... ''')
    [{'small': [1], 'big': [3]}]

    Raises InvalidDocument with every problem of the pattern or of the text.
    """
    return [match_of(alert) for alert in scene(pattern, events, streams=streams, views=views, until=until).alerts
            if alert.kind == "match"]  # fmt: skip


def timeouts(
    pattern: Source, events: str, *, streams: Streams = None, views: Views = (), until: str = ""
) -> list[Match]:
    """The partials whose window ended, if the pattern asks for them with `timeouts: true`."""
    return [match_of(alert) for alert in scene(pattern, events, streams=streams, views=views, until=until).alerts
            if alert.kind == "timeout"]  # fmt: skip


def sentences(
    pattern: Source, events: str, *, streams: Streams = None, views: Views = (), until: str = ""
) -> list[str]:
    """The sentence of each alert.

    >>> sentences({"name": "large", "stream": "payments", "key": ["card"],
    ...            "steps": [{"name": "it", "where": "amount > 100"}],
    ...            "alert": {"message": "{it.amount} on card {card}"}}, "card=7 amount=120.50")
    ['120.5 on card 7']
    """
    return [alert.message for alert in scene(pattern, events, streams=streams, views=views, until=until).alerts]


def measures(
    pattern: Source, events: str, *, streams: Streams = None, views: Views = (), until: str = ""
) -> list[dict[str, object]]:
    """The measures of each alert, as JSON has them: a decimal is a number, an instant microseconds, NULL None.

    >>> measures({"name": "large", "stream": "payments", "key": ["card"],
    ...           "steps": [{"name": "it", "where": "amount > 100"}],
    ...           "measures": {"over": "it.amount - 100", "note": "it.note"}}, "card=7 amount=120.50 note=null")
    [{'note': None, 'over': 20.5}]
    """
    return [{name: msgspec.json.decode(value) for name, value in alert.measures.items()}
            for alert in scene(pattern, events, streams=streams, views=views, until=until).alerts]  # fmt: skip


def explain(pattern: Source, events: str, *, streams: Streams = None, until: str = "") -> str:
    """Why the events gave the matches that they gave, key by key: each partial, what was tested, and why it ended.

    >>> print(explain({"name": "p", "stream": "payments", "key": ["card"], "within": "1m",
    ...                "steps": [{"name": "small", "where": "amount < 1"},
    ...                          {"name": "big", "contiguity": "next", "where": "amount > 500"}]},
    ...               "card=7 amount=0.80 @0s\\ncard=7 amount=600 @5s"))
    [0] amount > 500
    [1] amount < 1
    <BLANKLINE>
    card=7
    2026-01-01 00:00:00.000  event 1  amount=0.800000
        start  [1] true  begins #1: takes it as small → (1)
    2026-01-01 00:00:05.000  event 2  amount=600.000000
        #1 (1) small 1  [0] true   takes it as big: match 1 is complete
        #1              matched: match 1
        start           [1] false  begins nothing
        match 1         comes out: small 1, big 2
    2 events; 1 match; 1 partial: 1 matched
    """
    wanted, rows, state = _ready(pattern, events, streams)
    (running,) = state.running
    assert running is not None
    lines = [f"[{place}] {condition}" for place, condition in enumerate(running.plan.conditions)]
    batch = _batch(rows, state)
    for key, own in events_by_key(wanted, batch, state.strings, [row.line.number for row in rows]).items():
        lines += ["", text_of_key(wanted.key, key)]
        lines += text_of_run(explain_run(running.plan, own, end_us=_end_us(until)))
    return "\n".join(lines)


@dataclass(frozen=True, slots=True)
class Scene:
    """A played text: the alerts, and the state in which it ended."""

    alerts: list[Alert]
    state: LaneState


def scene(
    pattern: Source,
    events: str,
    *,
    streams: Streams = None,
    views: Views = (),
    until: str = "",
    beside: Sequence[Source] = (),
) -> Scene:
    """Play a text through the whole line, from columns to alerts; `matches` and its like show parts of it.

    beside: further patterns, of the same streams, that are live as well
    """
    _, rows, state = _ready(pattern, events, streams, views)
    for other in beside:
        _watch(state, _pattern(other, {stream.name: stream for stream in state.streams}))
    alerts = process(_batch(rows, state), state).alerts if rows else []
    return Scene([*alerts, *advance(_end_us(until), state).alerts], state)


def _ready(pattern: Source, events: str, streams: Streams, views: Views = ()) -> tuple[Pattern, list[Row], LaneState]:
    """The pattern, the events of the text, and a lane that waits for them with the pattern live."""
    lines = read_lines(events)
    known = declared(_declared(pattern, streams, lines), {name: _view_text(name) for name in map(str, views)})
    wanted = _pattern(pattern, known.streams)
    rows = _typed(lines, [stream for name, stream in known.streams.items() if name in wanted.streams])
    state = LaneState(tuple(known.streams.values()), views=tuple(LiveView(view) for view in known.views))
    _watch(state, wanted)
    return wanted, rows, state


def _watch(state: LaneState, pattern: Pattern) -> None:
    """Make a pattern live."""
    state.apply([PatternVersion(pattern.name, 1, dump_pattern(pattern)), Activate(pattern.name, 1)])


def _view_text(source: str) -> str:
    """A view's file, or its own text."""
    return source if "\n" in source else text_of(Path(source), "view")


def _end_us(until: str) -> int:
    return NEVER_US if not until else _instant_us(until, "until")


def match_of(alert: Alert) -> Match:
    """An alert's events by step, as numbers."""
    found: Match = {}
    for event in alert.events:
        found.setdefault(event.step, []).append(int(event.event_id))
    return found


# -- the text ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Line:
    """One event as written."""

    number: int
    stream: str
    fields: dict[str, str]
    at_us: int


def read_lines(text: str) -> list[Line]:
    """The events of a text. Raises InvalidDocument with every problem, by line.

    >>> [(line.fields, line.at_us - START_US) for line in read_lines("card=7 note='a b'  @2s # first")]
    [({'card': '7', 'note': 'a b'}, 2000000)]
    """
    found: list[Line] = []
    problems: list[Problem] = []
    now_us = START_US - STEP_US
    for place, line in enumerate(text.splitlines(), 1):
        try:
            words = shlex.split(line, comments=True)
            if not words:
                continue
            stream = words.pop(0)[:-1] if words[0].endswith(":") and "=" not in words[0] else ""
            at = [word for word in words if word.startswith("@")]
            at_us = _instant_us(at[-1], f"line {place}") if at else now_us + STEP_US
            if at_us < now_us:
                raise ValueError(f"{at[-1]} is before the line above: the text is the order of the events")
            fields = dict(_assigned(word) for word in words if not word.startswith("@"))
        except ValueError as error:
            problems.append(Problem(f"line {place}", str(error), f"it reads: {line.strip()}"))
            continue
        except InvalidDocument as error:
            problems += error.problems
            continue
        now_us = at_us
        found.append(Line(len(found) + 1, stream, fields, at_us))
    if problems:
        raise InvalidDocument("events", problems)
    return found


def _assigned(word: str) -> tuple[str, str]:
    name, equals, value = word.partition("=")
    if not equals or not name:
        raise ValueError(f"found {word!r}: an event is written as `card_id=7 amount=1.50 @10s`")
    return name, value


def _instant_us(text: str, where: str) -> int:
    """`@90s` since the beginning, or an instant."""
    bare = text.removeprefix("@")
    try:
        return START_US + duration_us(bare)
    except ValueError as first:
        try:
            return _parsed_us(bare)
        except ValueError:
            raise InvalidDocument("events", [Problem(where, str(first))]) from None


def _parsed_us(text: str) -> int:
    instant = datetime.fromisoformat(text)
    whole = instant if instant.tzinfo else instant.replace(tzinfo=UTC)
    return (whole - datetime(1970, 1, 1, tzinfo=UTC)) // (datetime.resolution)


# -- pattern and streams ----------------------------------------------------------------------------------------------


def _path(pattern: Source) -> Path | None:
    """The file, if the pattern is given as one."""
    if isinstance(pattern, Path):
        return pattern
    return Path(pattern) if isinstance(pattern, str) and "\n" not in pattern.strip() else None


def _pattern(pattern: Source, streams: Mapping[str, Stream]) -> Pattern:
    path = _path(pattern)
    if path is not None:
        return read_pattern(text_of(path, "pattern"), streams, str(path))
    assert not isinstance(pattern, Path)
    wanted = read_pattern(pattern, streams, "pattern")
    compile_pattern(wanted)
    return wanted


def _declared(pattern: Source, streams: Streams, lines: Sequence[Line]) -> list[Stream]:
    if isinstance(streams, str | Path):
        return list(load_streams([Path(streams)]))
    if streams is not None:
        return list(streams)
    path = _path(pattern)
    if path is not None:
        return list(load_streams(stream_paths((), (), [path])))
    assert not isinstance(pattern, Path)
    return _read_off(yaml.safe_load(pattern) if isinstance(pattern, str) else pattern, lines)


def _read_off(document: object, lines: Sequence[Line]) -> list[Stream]:
    """Streams with the fields that the events have."""
    named = _streams_named(document)
    found = []
    for name in named:
        mine = [line for line in lines if line.stream in (name, "")]
        names = dict.fromkeys(field for line in mine for field in line.fields if field != EVENT_TIME)
        fields = [Field(field, _type_of([line.fields.get(field) for line in mine]), nullable=True) for field in names]
        found.append(Stream(name, name, (*fields, Field(EVENT_TIME, INSTANT)), EVENT_TIME))
    return found


def _streams_named(document: object) -> list[str]:
    """Every stream that a document names, wherever."""
    if isinstance(document, Mapping):
        own = [document["stream"]] if isinstance(document.get("stream"), str) else []
        return list(dict.fromkeys([*own, *(name for value in document.values() for name in _streams_named(value))]))
    if isinstance(document, list):
        return list(dict.fromkeys(name for value in document for name in _streams_named(value)))
    return []


def _type_of(texts: Sequence[str | None]) -> Type:
    """The narrowest type that all values of a field have."""
    given = [text for text in texts if text is not None]
    if all(text in ("true", "false") for text in given):
        return BOOL
    numbers = [_number(text) for text in given]
    if any(number is None for number in numbers):
        return STRING
    return INT64 if all("." not in text for text in given) else DECIMAL


def _number(text: str) -> Decimal | None:
    try:
        number = Decimal(text)
    except InvalidOperation:
        return None
    return number if number.is_finite() else None


# -- text to columns --------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Row:
    """An event with typed values, as columns and JSON have them."""

    line: Line
    stream: str
    values: dict[str, object]


_encode = msgspec.json.Encoder(decimal_format="number").encode


@dataclass(frozen=True, slots=True)
class _Records:
    """Event ids are the numbers."""

    rows: Sequence[Row]
    streams: Mapping[str, Stream]

    def event_id(self, row: int) -> str:
        """See events.columns.Records."""
        return str(self.rows[row].line.number)

    def payload(self, row: int) -> bytes:
        """See events.columns.Records."""
        one = self.rows[row]
        stream = self.streams[one.stream]
        values = {stream.event_time: None, **one.values}
        instants = {field.name: field.format for field in stream.fields if field.type == INSTANT}
        for name in values.keys() & instants.keys():
            value = values[name]
            at_us = _parsed_us(value.isoformat()) if isinstance(value, datetime) else _event_time(one, name, stream)
            values[name] = None if at_us is None else _written(at_us, instants[name])
        return _encode(values)


def _written(at_us: int, format: Format) -> object:
    """An instant as records of a stream write it."""
    if format in (Format.RFC3339, Format.DATETIME):
        at = datetime(1970, 1, 1, tzinfo=UTC) + at_us * datetime.resolution
        return at if format is Format.RFC3339 else at.replace(tzinfo=None)
    if format is Format.EPOCH_S:
        return Decimal(at_us).scaleb(-6)
    return at_us * 1000 if format is Format.EPOCH_NS else at_us // (1000 if format is Format.EPOCH_MS else 1)


def _typed(lines: Sequence[Line], streams: Sequence[Stream]) -> list[Row]:
    """Raises InvalidDocument with every problem."""
    rows: list[Row] = []
    problems: list[Problem] = []
    by_name = {stream.name: stream for stream in streams}
    for line in lines:
        where = f"event {line.number}"
        if line.stream not in by_name and (line.stream or len(streams) != 1):
            reason = f"`{line.stream}` is no stream of the pattern" if line.stream else "of which stream?"
            hint = f"put it in front, as `{streams[0].name}: …`; there are {', '.join(by_name)}"
            problems.append(Problem(where, reason, hint))
            continue
        stream = by_name.get(line.stream, streams[0])
        known = {field.name: field for field in stream.fields}
        values: dict[str, object] = {}
        for name, text in line.fields.items():
            if name not in known:
                problems.append(Problem(where, f"{stream.name} has no field `{name}`", f"it has {', '.join(known)}"))
                continue
            value = _value(text, known[name].type)
            if value is None and text != "null":
                problems.append(Problem(where, f"{name} is {known[name].type}, found {text!r}"))
            values[name] = value
        rows.append(Row(line, stream.name, values))
    if problems:
        raise InvalidDocument("events", problems)
    return rows


def _value(text: str, kind: Type) -> object:
    """The value of a text, None for `null` and for what is none."""
    if kind.kind is Kind.STRING:
        return None if text == "null" else text
    if kind.kind is Kind.BOOL:
        return {"true": True, "false": False}.get(text)
    if kind.kind is Kind.INSTANT:
        try:
            return datetime.fromisoformat(text)
        except ValueError:
            return None
    number = _number(text)
    if number is None:
        return None
    if kind.kind is Kind.INT64:
        return int(number) if number == int(number) else None
    return float(number) if kind.kind is Kind.FLOAT64 else number


def _stored(value: object, kind: Type, state: LaneState) -> int:
    """As a column has it (events.types)."""
    if isinstance(value, str):
        return state.strings.code(value)
    if isinstance(value, Decimal):
        return int(value.scaleb(kind.scale).to_integral_value())
    if isinstance(value, datetime):
        return _parsed_us(value.isoformat())
    if isinstance(value, float):
        return int(np.float64(value).view(np.int64))
    assert isinstance(value, int)
    return int(value)


def _batch(rows: Sequence[Row], state: LaneState) -> Batch:
    layout = state.layout
    by_name = {stream.name: stream for stream in state.streams}
    at_us = np.array([row.line.at_us for row in rows], np.int64)
    values = np.zeros((len(layout.columns), len(rows)), np.int64)
    nulls = np.ones(values.shape, np.uint8)
    for place, column in enumerate(layout.columns):
        for number, row in enumerate(rows):
            value = row.values.get(column.name) if row.stream == column.stream else None
            if column.type == INSTANT and value is None and row.stream == column.stream:
                value = _event_time(row, column.name, by_name[row.stream])
            if value is not None:
                values[place, number], nulls[place, number] = _stored(value, column.type, state), 0
    streams = np.array([layout.streams.index(row.stream) for row in rows], np.int16)
    return Batch(layout, streams, at_us, at_us, values, nulls, _Records(rows, by_name))


def _event_time(row: Row, name: str, stream: Stream) -> int | None:
    """The event-time field of an event is its @time, unless the text says otherwise."""
    return row.line.at_us if stream.event_time == name else None
