"""Lane: read · process · commit, and its recovery by replay.

    Source ── drain ──▶ Machine.push ──▶ Ledger.note ──▶ … ──▶ Commit.commit(outputs, journal record)
    ControlLog ───────▶ Machine.apply ─┘  (between batches)    every few ms to 500 ms
    Clock ────────────▶ Machine.tick ──┘  (in silence)

A lane is single-threaded. Everything that decides is in the `Machine`: a pure function of slices, changes and ticks.
So recovery is the same calls again, with the boundaries that the journal has kept and nothing put out; then the hash
chain is compared and the lane goes live. `Flow`, at the end, is the machine of production.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from itertools import chain, groupby
from time import perf_counter
from typing import Generic, Protocol, TypeVar

import numpy as np

from cep.alert import Alert
from cep.control import Change, read
from cep.log.ledger import Counts, Decided, Held, KeyOf, Ledger, moved
from cep.log.protocol import (
    OUTPUT_TOPICS,
    REPLAY_VERSION,
    BatchEntry,
    Commit,
    ControlLog,
    Entry,
    Failpoint,
    JournalRecord,
    Partition,
    Positions,
    Slice,
    Source,
    TickEntry,
    no_failpoint,
)
from cep.scored import ScoredEvent
from cep.settings import Lane as LaneSettings
from cep.telemetry import LaneCounts
from cep.tracing import tracer
from events.columns import Batch, Layout, StringTable
from events.decode import Decoder
from events.errors import IntegrityViolation, ServiceUnavailable
from events.order import NEVER_US, Arrived, Ordered, Orderer, Refused, Tick
from events.schema import Stream
from events.texts import Texts
from features.store import EntityState, Guard


class Clock(Protocol):
    """The worker's clocks; tests move theirs by hand."""

    def wall_us(self) -> int:
        """Microseconds since 1970."""

    def steady_us(self) -> int:
        """Microseconds that never go back, and go on while the process or the machine is stopped."""


class Machine(Protocol):
    """What a lane decides by. Pure: the same calls in the same order give the same answers."""

    def take_up(self, partitions: Sequence[Partition]) -> None:
        """These are the source's partitions from here on; those of before are among them."""

    def apply(self, changes: Sequence[Change]) -> Decided:
        """Changes what is watched for. A change that can't be applied is left out and counted, the same in a replay."""

    def push(self, slices: Sequence[Slice], read_at_us: int) -> Decided:
        """Takes one read of the source."""

    def watch(self, at_end: Collection[Partition], wall_us: int) -> Tick | None:
        """Live only, after each read: the tick that is due now, or None."""

    def tick(self, tick: Tick) -> Decided:
        """Time passes."""

    def finish(self, wall_us: int) -> tuple[Tick, Decided]:
        """A finite source is at its end: the tick to journal, and what it came to."""

    def ahead(self) -> Collection[Partition]:
        """The partitions that shouldn't be read for now."""


Online = Callable[[Guard], Mapping[str, int]]
"""Hands on what has changed with a commit, for those who read features; answers what has become of it so far."""


class Lane:
    """One lane: `restore` once, then `step` again and again.

    Every method may raise Fenced (another owns the lane: exit at once), IntegrityViolation (stop, a person must look)
    or ServiceUnavailable (stop; a restart goes on where the journal ends).
    """

    def __init__(
        self,
        app: str,
        number: int,
        settings: LaneSettings,
        *,
        source: Source,
        commit: Commit,
        control: ControlLog,
        machine: Machine,
        clock: Clock,
        silent_us: int = 8_000_000,
        failpoint: Failpoint = no_failpoint,
        online: Online | None = None,
    ) -> None:
        """`silent_us`: after a longer gap between two steps the lane asks whether it is still its owner's.

        online: told after each commit
        """
        self.number = number
        self.done = False
        """The source was finite and everything in it is committed."""
        self.counts = LaneCounts()
        self._app, self._settings = app, settings
        self._source, self._commit, self._control, self._machine = source, commit, control, machine
        self._clock, self._silent_us, self._failpoint, self._online = clock, silent_us, failpoint, online
        self._tracer = tracer()
        self._ledger = Ledger(app, number, 0, settings)
        self._positions: Positions = {}  # where the next batch begins
        self._committed: Positions = {}  # where the next journal record begins
        self._identities: Mapping[str, str] = {}
        self._control_offset = 0
        self._watermark_us = NEVER_US
        self._alert_waits = False
        self._held: frozenset[Partition] = frozenset()
        self._awake_us = self._committed_us = clock.steady_us()
        self._control_look_us = self._partitions_look_us = 0

    # --- Recovery ---------------------------------------------------------------------------------------------------

    def restore(self) -> Iterator[None]:
        """Claims the lane and repeats what its journal says, an entry per step of this iterator; then it is live.

        Raises IntegrityViolation where the log no longer holds what the journal took, or the replay came out otherwise.
        """
        self._awake()  # stopped before it could claim, it would fence the owner of now
        last = self._commit.claim()
        self._ledger = Ledger(self._app, self.number, self._commit.epoch(), self._settings)
        self.counts.epoch = self._commit.epoch()
        self._identities = self._source.identities()
        if last is None:
            self._begin()
        else:
            yield from self._replay()
        self._go_live()

    def _begin(self) -> None:
        """A new journal: its first record holds nothing but where the lane begins to read."""
        partitions = self._source.begin() if self._settings.start == "earliest" else self._source.end()
        self._take_up(partitions)
        self._source.seek(partitions)
        self._write()

    def _replay(self) -> Iterator[None]:
        for record in self._commit.journal():
            self._check_record(record)
            if not self._positions:
                self._check_source(record)
            self._go_to(record)
            for entry in record.entries:
                self._repeat(entry)
                self.counts.replayed_entries += 1
                self._failpoint("repeated")
                yield
                self._awake()
            self._compare(record)

    def _check_record(self, record: JournalRecord) -> None:
        """Is it one that this lane and this release may follow?"""
        ledger, where = self._ledger, f"journal of {self._app}, lane {self.number}, record {record.number}"
        if record.replay_version != REPLAY_VERSION:
            raise IntegrityViolation(
                f"{where}: written with replay version {record.replay_version}; this release replays {REPLAY_VERSION}",
                "run the release that wrote it and let it stop in a planned way",
            )
        if (record.app, record.lane, record.lanes) != (self._app, self.number, self._settings.count):
            raise IntegrityViolation(
                f"{where}: is of {record.app}, lane {record.lane} of {record.lanes}; this is {self._app}, lane "
                f"{self.number} of {self._settings.count}",
                "the number of lanes is fixed once they have run: `stakeout lanes resize` changes it",
            )
        if self._positions and (record.number, record.chain_before) != (ledger.number, ledger.chain):
            raise IntegrityViolation(
                f"{where}: does not follow record {ledger.number - 1}: one is missing, or another's"
            )
        if not self._positions:
            ledger.begin_at(record)

    def _check_source(self, record: JournalRecord) -> None:
        """Does the source still hold everything from the first record on?"""
        for topic, identity in record.sources.items():
            if self._identities.get(topic, identity) != identity:
                raise IntegrityViolation(
                    f"source {topic}: deleted and made anew since the journal began",
                    "name another application id to begin anew",
                )
        begin, end = self._source.begin(), self._source.end()
        for partition, offset in _starts(record).items():
            if partition not in begin or not begin[partition] <= offset <= end[partition]:
                held = f"{begin[partition]} to {end[partition]}" if partition in begin else "nothing"
                name = f"source {partition.topic}/{partition.partition}"
                raise IntegrityViolation(
                    f"{name}: the journal begins at {offset}, the log holds {held}",
                    "the source was trimmed or recreated: keep it longer, or name another application id to begin anew",
                )

    def _go_to(self, record: JournalRecord) -> None:
        """Goes on where the record begins: where the one before ended, or with partitions that are new from here on."""
        starts = _starts(record)
        if starts == self._positions:
            return
        if any(starts.get(partition) != offset for partition, offset in self._positions.items()):
            raise IntegrityViolation(
                f"journal of {self._app}, lane {self.number}: record {record.number} begins at other offsets than the "
                "one before it ended at"
            )
        self._take_up(starts)
        self._source.seek(starts)

    def _repeat(self, entry: Entry) -> None:
        if isinstance(entry, TickEntry):
            partitions = sorted(self._positions)
            tick = Tick(entry.wall_us, tuple(partitions[place] for place in entry.idle), entry.end)
            self._add(entry, self._machine.tick(tick), None)
            self.done = entry.end
            return
        self._apply(self._control_offset, entry.control_offset, None, entry.wall_us)
        if entry.moved:
            partitions = sorted(self._positions)
            stops = {partitions[place]: offset for place, offset in entry.moved}
            slices = self._source.read_to(stops)
            self._positions.update(stops)
            self._add(entry, self._machine.push(slices, entry.wall_us), None)

    def _compare(self, record: JournalRecord) -> None:
        sequences = {**dict.fromkeys(OUTPUT_TOPICS, 0), **record.sequences}  # a topic that it doesn't know had nothing
        if (self._ledger.chain, self._ledger.sequences) != (record.chain, sequences):
            raise IntegrityViolation(
                f"journal of {self._app}, lane {self.number}: replay of record {record.number}, epoch {record.epoch}, "
                f"came to chain {self._ledger.chain:016x} and sequences {self._ledger.sequences}; the journal has "
                f"{record.chain:016x} and {record.sequences}",
                "the release, a model or the source differs from what ran before: run what ran then",
            )
        self._ledger.turn()
        self._committed = dict(self._positions)

    def _go_live(self) -> None:
        self._awake_us = self._committed_us = self._clock.steady_us()
        self._partitions_look_us = self._awake_us
        if not self.done:
            self._apply(self._control_offset, self._control.end(), _no_key, self._clock.wall_us())
        self._failpoint("restored")

    # --- Live -------------------------------------------------------------------------------------------------------

    def step(self, wait_s: float) -> bool:
        """Waits up to `wait_s` for records, decides, and commits if it is time. Answers whether there were any."""
        now_us = self._awake()
        self._look_around(now_us)
        drained = self._source.drain(self._settings.batch_records_max, self._patience(now_us, wait_s))
        if drained.slices:
            self._take(drained.slices)
        if drained.hurried:
            self.hurry()
        self._let_time_pass(bool(drained.slices))
        if self._commit_due(self._clock.steady_us(), drained.backlog):
            self._write()
        return bool(drained.slices)

    def hurry(self) -> None:
        """Someone waits for what comes of the events read now: commits as if an alert waited."""
        self._alert_waits = True

    def flush(self) -> None:
        """Commits what waits: before a planned stop."""
        if self._ledger.entries:
            self._write()

    def close(self) -> None:
        """Gives up the lane without committing."""
        self._source.close()
        self._commit.close()
        self._control.close()

    def _awake(self) -> int:
        """Now; after a long gap only if the lane is still ours."""
        now_us = self._clock.steady_us()
        if now_us - self._awake_us > self._silent_us:
            self._commit.check()
        self._awake_us = now_us
        return now_us

    def _look_around(self, now_us: int) -> None:
        """Between two batches: what the control log has, and now and then which partitions the source has."""
        if now_us >= self._control_look_us:
            self._control_look_us = now_us + self._settings.control_look_ms * 1000
            self._apply(self._control_offset, None, _no_key, self._clock.wall_us())
        if now_us >= self._partitions_look_us:
            self._partitions_look_us = now_us + self._settings.partitions_look_ms * 1000
            with suppress(ServiceUnavailable):  # asked again soon; a broker that stays away stops the commits
                self._find_partitions()
            self._commit.look()

    def _find_partitions(self) -> None:
        new = [partition for partition in self._source.partitions() if partition not in self._positions]
        if not new:
            return
        if self._settings.count > 1:
            names = ", ".join(f"{partition.topic}/{partition.partition}" for partition in new)
            raise IntegrityViolation(
                f"source: new partitions {names}, with {self._settings.count} lanes: their keys move between lanes",
                "move to a new application id, or to a topic with as many partitions from the start",
            )
        begin = self._source.begin()
        self.flush()
        self._take_up({**self._positions, **{partition: begin[partition] for partition in new}})
        self._source.seek(self._positions)
        self._held = frozenset()

    def _take(self, slices: Sequence[Slice]) -> None:
        wall_us = self._clock.wall_us()
        self._failpoint("drained")
        decided = self._machine.push(slices, wall_us)
        positions = {part.partition: part.next_offset for part in slices}
        entry = BatchEntry(moved(positions, self._positions), decided.watermark_us, self._control_offset, wall_us)
        self._positions.update(positions)
        self.counts.records += sum(map(len, slices))
        self._add(entry, decided, _keys(slices))
        self._failpoint("processed")
        if (ahead := frozenset(self._machine.ahead())) != self._held:
            self._source.hold(ahead)
            self._held = ahead

    def _let_time_pass(self, busy: bool) -> None:
        at_end, wall_us = self._source.at_end(), self._clock.wall_us()
        if self._source.finite:
            if not busy and len(at_end) == len(self._positions) and not self.done:
                tick, decided = self._machine.finish(wall_us)
                self._tick(tick, decided)
                self._write()
                self.done = True
            return
        if tick_due := self._machine.watch(at_end, wall_us):
            self._tick(tick_due, self._machine.tick(tick_due))

    def _tick(self, tick: Tick, decided: Decided) -> None:
        places = {partition: place for place, partition in enumerate(sorted(self._positions))}
        idle = tuple(sorted(places[partition] for partition in tick.idle))
        self._add(TickEntry(tick.wall_us, decided.watermark_us, idle, tick.end), decided, _no_key)
        self._failpoint("ticked")

    # --- Both -------------------------------------------------------------------------------------------------------

    def _take_up(self, positions: Positions) -> None:
        self._machine.take_up(sorted(positions))
        self._positions = dict(sorted(positions.items()))
        self._committed = dict(self._positions)

    def _apply(self, start: int, stop: int | None, key_of: KeyOf | None, wall_us: int) -> None:
        """Applies control records, each with an entry of its own: it takes no records."""
        if start == stop:
            return
        for placed in read(self._control, start, stop):
            decided = self._machine.apply(placed.record.changes)
            self._control_offset = placed.next_offset
            self.counts.changes += len(placed.record.changes)
            self._add(BatchEntry((), decided.watermark_us, self._control_offset, wall_us), decided, key_of)
            self._failpoint("applied")

    def _add(self, entry: Entry, decided: Decided, key_of: KeyOf | None) -> None:
        if key_of is None and decided.watermark_us != entry.watermark_us:
            raise IntegrityViolation(
                f"journal of {self._app}, lane {self.number}: record {self._ledger.number} has watermark "
                f"{entry.watermark_us} where the replay came to {decided.watermark_us}",
                "the release or the source differs from what ran before: run what ran then",
            )
        self._ledger.note(entry, decided, key_of)
        self._watermark_us = decided.watermark_us
        if key_of is not None:
            self._alert_waits = self._alert_waits or bool(decided.alerts or decided.scores)
            _count(self.counts, entry, decided)

    def _patience(self, now_us: int, wait_s: float) -> float:
        """How long a drain may wait: no longer than to the next commit."""
        if not self._ledger.entries:
            return wait_s
        return max(0.0, min(wait_s, (self._committed_us + self._pause_us(False) - now_us) / 1e6))

    def _pause_us(self, backlog: bool) -> int:
        """The time between two commits: short while an alert waits, long while more records wait than a drain takes."""
        if backlog:
            return self._settings.commit_backlog_ms * 1000
        return (self._settings.commit_alert_ms if self._alert_waits else self._settings.commit_ms) * 1000

    def _commit_due(self, now_us: int, backlog: bool) -> bool:
        ledger, limits = self._ledger, self._settings
        full = (
            len(ledger.entries) >= limits.commit_entries_max
            or ledger.outputs.count >= limits.commit_outputs_max
            or ledger.outputs.size >= limits.commit_bytes_max
        )
        return full or (bool(ledger.entries) and now_us - self._committed_us >= self._pause_us(backlog))

    def _write(self) -> None:
        """Commits everything since the last commit."""
        record = self._ledger.record(self._committed, self._identities)
        started_us = self._awake()
        told = {"lane": self.number, "record": record.number, "outputs": self._ledger.outputs.count}
        with self._tracer.start_as_current_span("lane.commit", attributes=told):
            self._commit.commit(self._ledger.outputs, record)
        self._committed_us = self._clock.steady_us()
        if self._online is not None:
            self.counts.online_entities = self._online(Guard(self._ledger.epoch, record.number))
        self._ledger.turn()
        self._committed = dict(self._positions)
        self._alert_waits = False
        self.counts.commits += 1
        self.counts.commit_seconds.add((self._committed_us - started_us) / 1e6)
        self.counts.spent("commit", (self._committed_us - started_us) / 1e6)
        self.counts.alerts_stripped = self._ledger.stripped
        self.counts.control_offset, self.counts.watermark_us = self._control_offset, self._watermark_us


def _starts(record: JournalRecord) -> Positions:
    return {Partition(start.topic, start.number): start.offset for start in record.partitions}


def _no_key(refused: Refused) -> bytes | None:
    """Of a record that isn't at hand any more: it was held."""
    return None


def _keys(slices: Sequence[Slice]) -> KeyOf:
    """Finds the keys of refused records in what was just read."""
    by_partition = {part.partition: part for part in slices}

    def key_of(refused: Refused) -> bytes | None:
        part = by_partition.get(refused.source)
        if part is None:
            return None
        offsets = part.offsets()
        row = int(np.searchsorted(offsets, refused.offset))
        return part.record(row).key if row < len(part) and offsets[row] == refused.offset else None

    return key_of


def _count(counts: LaneCounts, entry: Entry, decided: Decided) -> None:
    if isinstance(entry, TickEntry):
        counts.ticks += 1
    elif entry.moved:
        counts.batches += 1
    counts.alerts += len(decided.alerts)
    for alert in decided.alerts:
        of = alert.pattern, alert.severity
        counts.alerts_of[of] = counts.alerts_of.get(of, 0) + 1
    for refused in decided.dead:
        counts.dead_letters[refused.reason] = counts.dead_letters.get(refused.reason, 0) + 1
    counts.open_partials, counts.limits = decided.held.partials, decided.held.limits
    for stage, seconds in decided.seconds.items():
        counts.spent(stage, seconds)
    counts.late += len(decided.late)
    counts.scores += len(decided.scores)
    counts.changes_left_out += decided.changes_left_out
    started, taken, died, matched = decided.counts
    counts.started += started
    counts.taken += taken
    counts.died += died
    counts.matched += matched
    for name, count in decided.tally.items():
        counts.tally[name] = counts.tally.get(name, 0) + count


# --- The machine of production ----------------------------------------------------------------------------------------


class State(Protocol):
    """What `cep.pipeline.LaneState` is to a lane."""

    layout: Layout
    strings: StringTable

    def apply(self, changes: Sequence[Change]) -> int:
        """See Machine.apply. May replace `layout`. Answers how many changes were left out."""


class Outcome(Protocol):
    """What `cep.pipeline` answers."""

    @property
    def alerts(self) -> list[Alert]: ...

    @property
    def scores(self) -> list[ScoredEvent]: ...

    @property
    def counts(self) -> Counts: ...


S = TypeVar("S", bound=State)


@dataclass(frozen=True, slots=True)
class Stages(Generic[S]):
    """The functions of `cep.pipeline`.

    enrich:  adds features and scores to a batch.  match: then matches it.
    advance: time-outs and absences up to an instant.
    due_us:  the earliest instant at which `advance` has something to do, or None
    changed: the entities whose features' events have changed since it was asked last
    held:    what there is, and which limits were reached
    """

    enrich: Callable[[Batch, S], None]
    match: Callable[[Batch, S], Outcome]
    advance: Callable[[int, S], Outcome]
    due_us: Callable[[S], int | None]
    changed: Callable[[S], list[EntityState]]
    held: Callable[[S], Held]


class Flow(Generic[S]):
    """decode → order → match, as one Machine."""

    def __init__(self, streams: Sequence[Stream], state: S, stages: Stages[S], held_max: int = 1_000_000) -> None:
        self._streams = {stream.topic: stream for stream in streams}
        self._state, self._stages, self._held_max = state, stages, held_max
        self._decoders = self._made_decoders()
        self._orderer: Orderer | None = None
        self._watermark_us = NEVER_US
        self._decode_s = 0.0

    def take_up(self, partitions: Sequence[Partition]) -> None:
        """See Machine."""
        streams, layout = tuple(self._streams.values()), self._state.layout
        if self._orderer is None:
            self._orderer = Orderer(streams, partitions, layout, self._held_max)
        else:
            self._orderer = Orderer.load(self._orderer.dump(), streams, partitions, layout, self._held_max)

    def apply(self, changes: Sequence[Change]) -> Decided:
        """See Machine."""
        before = self._state.layout
        left_out = self._state.apply(changes)
        dead: list[Refused] = []
        if self._state.layout is not before:
            self._decoders = self._made_decoders()
            by_name = {self._streams[topic].name: decoder for topic, decoder in self._decoders.items()}
            dead = self._ordering().relayout(self._state.layout, by_name)
        return Decided(dead=dead, watermark_us=self._watermark_us, changes_left_out=left_out)

    def push(self, slices: Sequence[Slice], read_at_us: int) -> Decided:
        """See Machine."""
        by_topic = groupby(slices, key=lambda part: part.partition.topic)
        arrived = [self._arrived(topic, list(parts)) for topic, parts in by_topic]
        return self._decide(self._ordering().push(arrived, read_at_us))

    def watch(self, at_end: Collection[Partition], wall_us: int) -> Tick | None:
        """See Machine."""
        return self._ordering().watch(at_end, wall_us, self._stages.due_us(self._state))

    def tick(self, tick: Tick) -> Decided:
        """See Machine."""
        return self._decide(self._ordering().tick(tick))

    def finish(self, wall_us: int) -> tuple[Tick, Decided]:
        """See Machine."""
        tick, ordered = self._ordering().finish(wall_us)
        return tick, self._decide(ordered)

    def ahead(self) -> Collection[Partition]:
        """See Machine."""
        return self._ordering().ahead()

    def changed(self) -> list[EntityState]:
        """What the features of the entities with new events follow from, since this was asked last."""
        return self._stages.changed(self._state)

    def _ordering(self) -> Orderer:
        assert self._orderer is not None, "take_up comes first"
        return self._orderer

    def _made_decoders(self) -> dict[str, Decoder]:
        layout, strings = self._state.layout, self._state.strings
        return {topic: Decoder(stream, layout, strings) for topic, stream in self._streams.items()}

    def _arrived(self, topic: str, parts: Sequence[Slice]) -> Arrived:
        started_s = perf_counter()
        raw = Texts.joined([part.texts for part in parts])
        numbers = np.array([part.partition.partition for part in parts], dtype=np.int64)
        decoded = self._decoders[topic].decode(raw)
        self._decode_s += perf_counter() - started_s
        return Arrived(
            stream=self._streams[topic].name,
            partition=np.repeat(numbers, [len(part) for part in parts]),
            offset=np.concatenate([part.offsets() for part in parts]),
            log_at_us=np.concatenate([part.timestamps_us() for part in parts]),
            raw=raw,
            decoded=decoded,
        )

    def _decide(self, ordered: Ordered) -> Decided:
        """Matches what was released, then lets time reach the watermark."""
        outcomes = []
        began_s = enriched_s = perf_counter()
        if len(ordered.batch):
            self._stages.enrich(ordered.batch, self._state)
            enriched_s = perf_counter()
            outcomes.append(self._stages.match(ordered.batch, self._state))
        if ordered.watermark_us > self._watermark_us:
            self._watermark_us = ordered.watermark_us
            outcomes.append(self._stages.advance(ordered.watermark_us, self._state))
        started, taken, died, matched = (
            sum(column) for column in zip((0, 0, 0, 0), *(o.counts for o in outcomes), strict=True)
        )
        seconds = {
            "decode": self._decode_s, "enrich": enriched_s - began_s, "match": perf_counter() - enriched_s,
        }  # fmt: skip
        self._decode_s = 0.0
        return Decided(
            alerts=list(chain.from_iterable(outcome.alerts for outcome in outcomes)),
            scores=list(chain.from_iterable(outcome.scores for outcome in outcomes)),
            dead=ordered.dead,
            late=ordered.late,
            counts=(started, taken, died, matched),
            watermark_us=self._watermark_us,
            tally=asdict(ordered.counts),
            held=self._stages.held(self._state),
            seconds=seconds,
        )
