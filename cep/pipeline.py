"""The one line: a batch in, alerts out. Pure: no clock, no socket, no random source.

Batch ─▶ enrich ─▶ bits ─▶ match ─▶ Alert    `process`     events
          (time passes)        ─▶ Alert    `advance`     time-outs, absences, matches no longer held back
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal
from itertools import pairwise
from typing import Any, NamedTuple, get_args

import msgspec
import numpy as np

from cep.alert import (
    UNIT,
    Alert,
    AlertKind,
    KeyValue,
    MatchedEvent,
    alert_id,
    canonical,
    escaped,
    key_group,
    pattern_group,
)
from cep.automaton.plan import Plan, compile_pattern, layout_of
from cep.control import Activate, Change, ModelAlias, ModelVersion, PatternVersion, Pause, Resume, Retire
from cep.enrich import Enrichment
from cep.language.document import read_pattern
from cep.language.message import render_message, said_always, steps_read
from cep.language.pattern import Pattern
from cep.log.ledger import Held
from cep.matcher import records as c
from cep.matcher.matcher import Matcher, Matches
from cep.matcher.tables import Mode
from cep.measures import MeasuredFields, as_json, measured
from cep.scored import ScoredEvent, Told, scored_events
from events.columns import Batch, Column, Layout, StringTable, value_of
from events.errors import InvalidDocument, LimitReached
from events.expression import Event, Value
from events.schema import Stream
from events.types import Kind, Type
from features.store import EntityState
from features.views import LiveView


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a batch or the passing of time gave. counts: partials started, events taken, partials died, matches.

    scores: the events of the batch whose score is to be told
    """

    alerts: list[Alert]
    counts: tuple[int, int, int, int]
    scores: list[ScoredEvent] = field(default_factory=list)


@dataclass(slots=True)
class Running:
    """A plan in its place.

    names:    of its steps;  escaped_names: as they stand in the canonical text of an alert
    groups:   of the pattern in that text
    sentence: its message, where every alert has the same
    measured: what its measures read, None where it has none
    """

    plan: Plan
    mode: Mode
    measured: MeasuredFields | None = None
    names: tuple[str, ...] = field(init=False)
    escaped_names: tuple[str, ...] = field(init=False)
    groups: dict[AlertKind, str] = field(init=False)
    sentence: str | None = field(init=False)

    def __post_init__(self) -> None:
        pattern, kinds = self.plan.pattern, get_args(AlertKind)
        self.names = tuple(step.name for step in self.plan.steps)
        self.escaped_names = tuple(map(escaped, self.names))
        self.groups = {kind: pattern_group(pattern.name, pattern.version, kind) for kind in kinds}
        self.sentence = said_always(pattern.alert.message)


class Captured(NamedTuple):
    """What an alert tells of an event.

    escaped_id: its id as it stands in the canonical text of an alert
    added:      the values of features and score;  failed: did a model fail on it?
    told:       the event as it was bound so far, by the names of steps: several patterns often take the same
    """

    event_id: str
    escaped_id: str
    payload: bytes
    added: dict[str, Value]
    failed: bool
    told: dict[str, MatchedEvent]


class Key(NamedTuple):
    """A key as alerts show it, and as it stands in their canonical text."""

    fields: dict[str, KeyValue]
    group: str


@dataclass(slots=True)
class LaneState:
    """Everything a lane derives from its log.

    layout:   the columns batches must have: what keys and conditions of the running patterns read
    captured: number in the log → what an alert would tell of it, for every event that a partial has taken
    patterns_max: plans it may hold, draining ones included
    views, told: features first, then what scores; `told` also says which scored events go out
    """

    streams: tuple[Stream, ...]
    layout: Layout = field(init=False)
    strings: StringTable = field(default_factory=StringTable)
    matcher: Matcher = field(default_factory=Matcher)
    patterns_max: int = c.PATTERNS_MAX
    running: list[Running | None] = field(default_factory=list)
    versions: dict[tuple[str, int], dict[str, Any]] = field(default_factory=dict)
    captured: dict[int, Captured] = field(default_factory=dict)
    views: tuple[LiveView, ...] = ()
    told: Told = field(default_factory=Told)

    def __post_init__(self) -> None:
        self.layout = layout_of(self.streams, (), self.enriched())
        for one in self.enrichments:
            one.use(self.layout, self.strings.code)

    @property
    def enrichments(self) -> tuple[Enrichment, ...]:
        """In the order in which they run."""
        return (*self.views, *self.told.champions)

    @property
    def added(self) -> set[str]:
        """The names of the columns that enrichments fill."""
        return {column.name for one in self.enrichments for column in one.columns()}

    def enriched(self) -> set[tuple[str, str]]:
        """The columns that enrichments read and fill."""
        filled = {(column.stream, column.name) for one in self.enrichments for column in one.columns()}
        return filled.union(*(one.needed() for one in self.enrichments))

    def apply(self, changes: Sequence[Change]) -> int:
        """Apply control changes, at a batch boundary. May replace `layout`. Answers how many were left out."""
        left_out = sum(not self.apply_one(change) for change in changes)
        plans = [place.plan for place in self.running if place is not None]
        layout = layout_of(self.streams, plans, self.enriched())
        if layout != self.layout:
            self.layout = layout
        for one in self.enrichments:
            one.use(self.layout, self.strings.code)
        self.matcher.use(
            [place.plan if place else None for place in self.running],
            self.layout,
            self.strings.code,
            [place.mode if place else Mode.LIVE for place in self.running],
        )
        return left_out

    def apply_one(self, change: Change) -> bool:
        """One change; those of rooms that a lane does not have yet are not its concern.

        False: it names a version that isn't there or can't be compiled, and was left out; what ran before runs on.
        """
        if isinstance(change, PatternVersion):
            self.versions.setdefault((change.name, change.version), change.document)  # it never changes
        elif isinstance(change, Activate):
            running = self.compiled(change.name, change.version)
            if running is None:
                return False
            self.end(change.name, change.partials)
            self.start(running)
        elif isinstance(change, Retire):
            self.end(change.name, change.partials)
        elif isinstance(change, Pause | Resume):
            wanted, there = (Mode.PAUSED, Mode.LIVE) if isinstance(change, Pause) else (Mode.LIVE, Mode.PAUSED)
            for place in self.running:
                if place is not None and place.plan.pattern.name == change.name and place.mode is there:
                    place.mode = wanted
        elif isinstance(change, ModelVersion | ModelAlias):
            self.told.apply(change)
        return True

    def compiled(self, name: str, version: int) -> Running | None:
        """A version, ready to run; None where no control record has it, or it can't be compiled here."""
        streams = {stream.name: stream for stream in self.streams}
        document = self.versions.get((name, version))
        if document is None:
            return None
        try:
            pattern = read_pattern(document, streams, f"{name} version {version}")
            plan = compile_pattern(replace(pattern, version=version))
        except (InvalidDocument, LimitReached):
            return None
        return Running(plan, Mode.LIVE, MeasuredFields(pattern, self.streams) if pattern.measures else None)

    def start(self, running: Running) -> None:
        """Run a version from here on. Raises LimitReached where the lane has no place for it."""
        self.drop_drained()
        if None in self.running:
            self.running[self.running.index(None)] = running
        elif len(self.running) < self.patterns_max:
            self.running.append(running)
        else:
            pattern = running.plan.pattern
            raise LimitReached(
                f"pattern {pattern.name} version {pattern.version}: the lane holds {len(self.running)} plans, which is "
                "the limit",
                "retire patterns, or raise limits.patterns_max",
            )

    def drop_drained(self) -> None:
        """Free the places of draining plans that have no partial left."""
        busy = self.matcher.busy()
        for number, place in enumerate(self.running):
            if place is not None and place.mode is Mode.DRAINING and number not in busy:
                self.running[number] = None

    def end(self, name: str, partials: str) -> None:
        """End the running version of a pattern: its partials drain or are dropped."""
        for number, place in enumerate(self.running):
            if place is None or place.plan.pattern.name != name:
                continue
            if partials == "discard":
                self.running[number] = None
            else:
                place.mode = Mode.DRAINING


def process(batch: Batch, state: LaneState) -> Outcome:
    """Enrich a batch, then match it."""
    enrich(batch, state)
    return match(batch, state)


def enrich(batch: Batch, state: LaneState) -> None:
    """Features, then scores, into their columns."""
    for one in state.enrichments:
        one.compute(batch)


def match(batch: Batch, state: LaneState) -> Outcome:
    """An enriched batch to alerts."""
    before = state.matcher.state.counters.copy()
    first = state.matcher.sequence
    matches = state.matcher.process(batch)
    capture(batch, first, matches, state)
    return replace(outcome(matches, before, state), scores=scored_events(batch, state.told))


def advance(now_us: int, state: LaneState) -> Outcome:
    """Let time pass."""
    before = state.matcher.state.counters.copy()
    return outcome(state.matcher.advance(now_us), before, state)


def due_us(state: LaneState) -> int | None:
    """The earliest instant at which `advance` has something to do, or None."""
    return state.matcher.due_us()


def changed(state: LaneState) -> list[EntityState]:
    """What the features of the entities follow from that have new events since this was asked last."""
    return [
        EntityState(live.view.name, entity, packed, live.view.ttl_us)
        for live in state.views
        for entity, packed in live.changed(state.strings.text)
    ]


def held(state: LaneState) -> Held:
    """What a lane holds now, and which of its limits were reached how often."""
    counters = state.matcher.state.counters
    limits = {
        "partials_per_key": int(counters[c.CAPPED]),
        "entities_of_a_view": sum(live.refused for live in state.views),
        "events_of_an_entity": sum(live.dropped for live in state.views),
    }
    return Held(int(counters[c.LIVE_PARTIALS] + counters[c.MORE_PARTIALS]), limits)


def capture(batch: Batch, first: int, matches: Matches, state: LaneState) -> None:
    """Keep the records that partials have taken from this batch, and forget those that none holds any more."""
    live = state.matcher.live_sequences()
    fresh = live[np.searchsorted(live, first) :]
    failed = state.told.failed_rows()
    added = [column for column in state.layout.columns if column.name in state.added]
    for sequence in {*fresh.tolist(), *matches.sequences[matches.sequences >= first].tolist()}:
        row = sequence - first
        values = added_to(batch, row, added, state) if added else {}
        event_id = batch.records.event_id(row)
        state.captured[sequence] = Captured(
            event_id, escaped(event_id), batch.records.payload(row), values, row in failed, {}
        )
    if len(state.captured) > 4096 and len(state.captured) > 2 * len(live):
        kept = {*live.tolist(), *matches.sequences.tolist()}
        state.captured = {sequence: state.captured[sequence] for sequence in state.captured if sequence in kept}


def added_to(batch: Batch, row: int, added: Sequence[Column], state: LaneState) -> dict[str, Value]:
    """What views and models gave an event, by name; nulls are left out."""
    stream = batch.layout.streams[batch.stream[row]]
    places = [(one, batch.layout.positions[stream, one.name]) for one in added if one.stream == stream]
    return {
        one.name: value_of(int(batch.values[place, row]), one.type, state.strings)
        for one, place in places
        if not batch.nulls[place, row]
    }


def outcome(matches: Matches, before: np.ndarray[Any, np.dtype[np.int64]], state: LaneState) -> Outcome:
    """Alerts of matches, with the kernel's counts since `before`."""
    after = state.matcher.state.counters
    counts = tuple(int(after[name] - before[name]) for name in (c.STARTED, c.TAKEN, c.DIED, c.MATCHED))
    return Outcome(alerts_of(matches, state), (counts[0], counts[1], counts[2], counts[3]))


def alerts_of(matches: Matches, state: LaneState) -> list[Alert]:
    """The alert of each match. Columns become lists at once: a number at a time costs more than all the rest."""
    if not len(matches):
        return []
    types = {(column.stream, column.name): column.type for column in state.layout.columns}
    events = list(zip(matches.steps.tolist(), matches.sequences.tolist(), matches.at.tolist(), strict=True))
    measured_of = fields_measured(matches, state)
    keys_of: dict[tuple[str, tuple[str, ...], int], Key] = {}
    alerts = []
    for place, kind, complete_us, slot, values, (first, last) in zip(
        matches.plan.tolist(),
        matches.kind.tolist(),
        matches.complete_at.tolist(),
        matches.slot.tolist(),
        matches.keys.tolist(),
        pairwise(matches.offsets.tolist()),
        strict=True,
    ):
        running = state.running[place]
        assert running is not None, "a match of a retired plan"
        pattern = running.plan.pattern
        taken = events[first:last]
        at_us = taken[-1][2] if kind == c.KIND_MATCH else complete_us
        told: AlertKind = "timeout" if kind == c.KIND_TIMEOUT else "match"
        named = pattern.streams[0], pattern.key, slot
        key = keys_of.get(named)
        if key is None:
            fields = key_of(pattern, values, types, state)
            key = keys_of[named] = Key(fields, key_group(fields))
        measures = measures_of(running.plan, key.fields, taken, measured_of[place]) if place in measured_of else {}
        alerts.append(alert_of(running, told, at_us, key, taken, measures, state))
    return alerts


def fields_measured(matches: Matches, state: LaneState) -> dict[int, dict[int, Event]]:
    """Of each plan with measures that matched: number in the log → what they read of that event. Nothing for others.

    Records are decoded together, each once: one by one costs more than all the rest.
    """
    read: dict[int, dict[int, Event]] = {}
    for place in set(matches.plan.tolist()):
        running = state.running[place]
        if running is None or running.measured is None:
            continue
        mine = np.repeat(matches.plan == place, np.diff(matches.offsets))
        taken = {
            sequence: (running.plan.steps[step].name, state.captured[sequence].payload)
            for step, sequence in zip(matches.steps[mine].tolist(), matches.sequences[mine].tolist(), strict=True)
        }
        fields = running.measured.read(taken)
        read[place] = {sequence: {**event, **state.captured[sequence].added} for sequence, event in fields.items()}
    return read


def measures_of(
    plan: Plan, key: Event, taken: Sequence[tuple[int, int, int]], fields: Mapping[int, Event]
) -> dict[str, Value | None]:
    """The measures of one match; `taken` as in `alert_of`."""
    matched: dict[str, list[Event]] = {}
    for step, sequence, _ in taken:
        matched.setdefault(plan.steps[step].name, []).append(fields[sequence])
    return measured(plan.pattern, key, matched)


def alert_of(
    running: Running,
    kind: AlertKind,
    at_us: int,
    key: Key,
    taken: Sequence[tuple[int, int, int]],
    measures: Mapping[str, Value | None],
    state: LaneState,
) -> Alert:
    """The alert of one match.

    taken: (step of the plan, number of the event in the log, the event's own time)
    """
    pattern, names = running.plan.pattern, running.names
    events: list[MatchedEvent] = []
    groups: dict[int, list[str]] = {}
    degraded = False
    for step, sequence, event_at_us in taken:
        one = state.captured[sequence]
        name = names[step]
        events.append(one.told.get(name) or bound_to(one, name, event_at_us))
        if step in groups:
            groups[step].append(one.escaped_id)
        else:
            groups[step] = [running.escaped_names[step], one.escaped_id]
        degraded = degraded or one.failed
    steps = [UNIT.join(groups[step]) for step in sorted(groups)]
    sentence = running.sentence
    if sentence is None:
        sentence = message_of(pattern, events, measures, key.fields)
    return Alert(
        alert_id=alert_id(at_us, canonical(running.groups[kind], key.group, steps)),
        pattern=pattern.name,
        version=pattern.version,
        kind=kind,
        severity=pattern.alert.severity,
        message=sentence,
        key=key.fields,
        at_us=at_us,
        started_at_us=taken[0][2],
        events=events,
        measures={name: as_json(value) for name, value in measures.items()} if measures else {},
        degraded=degraded,
    )


def message_of(
    pattern: Pattern, events: Sequence[MatchedEvent], measures: Mapping[str, Value | None], key: Mapping[str, KeyValue]
) -> str:
    """The sentence of one alert; of its events only those are parsed that it reads."""
    template = pattern.alert.message
    read = steps_read(template)
    bodies: dict[str, list[Event]] = {}
    for event in events if read else ():
        if event.step in read:
            bodies.setdefault(event.step, []).append({**msgspec.json.decode(event.event), **event.features})
    return render_message(template, bodies, {**measures, **key})


def bound_to(one: Captured, step: str, at_us: int) -> MatchedEvent:
    """A captured event of this instant as it is bound to a step; kept for the next alert."""
    features = {name: plain_number(value) for name, value in one.added.items()}
    event = one.told[step] = MatchedEvent(step, one.event_id, at_us, msgspec.Raw(one.payload), features)
    return event


def plain_number(value: Value) -> int | float:
    """A feature as JSON has it: int64 and instants are whole, a decimal is the nearest float64."""
    assert not isinstance(value, str), "no feature is a string"
    return float(value) if isinstance(value, Decimal) else value


def key_of(
    pattern: Pattern, values: Sequence[int], types: Mapping[tuple[str, str], Type], state: LaneState
) -> dict[str, KeyValue]:
    """The key's fields as an alert shows them."""
    stream = pattern.streams[0]
    return {name: shown(value, types[stream, name], state) for name, value in zip(pattern.key, values, strict=False)}


def shown(value: int, kind: Type, state: LaneState) -> KeyValue:
    """A stored key value: text, a number, or true and false."""
    if kind.kind is Kind.STRING:
        return state.strings.text(value)
    return bool(value) if kind.kind is Kind.BOOL else value
