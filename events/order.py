"""Order: which events are matched when, and which never. Pure: wall time is handed in.

               one read of the log                              one entry of the journal
    lane ──► Arrived(stream, partition[], offset[],   push ──► Ordered.batch         → matching, in this order
             log_at_us[], raw[], decoder.decode(raw))                 .watermark_us  → matching (time-outs), journal
    lane ──► watch(at_end, wall_us, due_us) ──► Tick? tick ──►        .dead          → dead-letter topic
    lane ──► (a file is at its end)                 finish ──►        .late          → late topic
                                                                      .dropped       → nowhere, counted
    live                                                        journal
      ordered = orderer.push(arrived, read_at_us)                 batch {next offsets, watermark_us, read_at_us}
      tick = orderer.watch(at_end, wall_us, due_us)
      if tick: ordered = orderer.tick(tick)                       tick {wall_us, watermark_us, idle}
    replay
      the same `push` and `tick` with what the journal holds, never `watch`: the same answers

Two orders, one for all streams of a lane (docs: exactly-once.md, "Order and time"):

*event_time*: W(p) = greatest event time seen in partition p - out_of_order - 1 µs. A record at or below the W of its
own partition at its offset is late. The lane watermark is the least W of the partitions that aren't idle; what is at or
below it leaves in the order (event time, topic, partition, offset), the rest is held:

    p0   ──1──2──5──▷ W=3          held: 5 7 8
    p1   ──2──3──8──7──▷ W=6       lane watermark = 3: out went 1 2 2 3 (with out_of_order = 1 µs)

*arrival*: records leave in the batch in which they came, partitions merged by (greatest log timestamp so far in the
partition, topic, partition); `at_us` is the greatest event time so far, and so is the watermark.

A partition is idle from the tick that says so until its next record, and doesn't hold the watermark meanwhile; on its
return W is at least the lane watermark at that moment. When all are idle, a tick sets the watermark to the greatest
event time + the wall time since the last batch - idle_after, never less than the greatest event time.

At the limit of held events the oldest are released before their time (`forced`), and W of every partition is raised to
the last of them; replaying the journal does the same. `ahead` names the partitions to pause so that it doesn't happen.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from events.columns import I64, U8, Batch, Layout
from events.decode import Decoded, Decoder, RawRecords, Reason
from events.errors import IntegrityViolation, InvalidDocument, Problem
from events.held import AT, EVENT_AT, HEADS, LOG_AT, MARKED, OFFSET, SOURCE, Held, Rows, joined, no_rows
from events.schema import Late, Order, Stream
from events.seen import Seen
from events.texts import Texts
from events.types import Kind

NEVER_US = -(2**62)
"""Before every instant: the watermark of a lane that has seen nothing; the log timestamp of a log that has none."""

FOREVER_US = 2**62
"""After every instant: the watermark at the end of a finite log."""

HELD_MAX = 1_000_000
"""Events one lane holds until their turn."""

Plain = dict[str, int | str | bytes | list[str] | npt.NDArray[np.generic]]


class Source(NamedTuple):
    """One source partition."""

    topic: str
    partition: int


@dataclass(frozen=True, slots=True)
class Arrived:
    """The records of one stream in one read; those of one partition in order of offset, partitions mixed as they came.

    partition, offset, log_at_us: int64[n], one per record of `raw` (log_at_us: NEVER_US where the log has none)
    raw:                          `Texts`; other sequences are copied
    decoded:                      what the stream's Decoder made of `raw`
    """

    stream: str
    partition: I64
    offset: I64
    log_at_us: I64
    raw: Sequence[bytes]
    decoded: Decoded


@dataclass(frozen=True, slots=True)
class Refused:
    """A record that isn't matched: where it came from, its bytes, and why (path and detail as in `Rejected`).

    event_at_us is None where the record has no readable event time.
    """

    stream: str
    source: Source
    offset: int
    log_at_us: int
    event_at_us: int | None
    raw: bytes
    reason: Reason
    path: str
    detail: str


@dataclass(frozen=True, slots=True)
class Tick:
    """Time that passes without records: a journal entry.

    idle: the source partitions that are idle from here on, all of them
    end:  the log is finite and was read to its end
    """

    wall_us: int
    idle: tuple[Source, ...]
    end: bool = False


@dataclass(slots=True)
class Counts:
    """How many records met which fate in one entry."""

    released: int = 0
    rejected: int = 0
    too_far_ahead: int = 0
    late_dropped: int = 0
    late_topic: int = 0
    late_processed: int = 0
    duplicates: int = 0
    ids_evicted: int = 0
    forced: int = 0


@dataclass(frozen=True, slots=True)
class Ordered:
    """What one entry of the journal lets out.

    batch:         the released events in matching order, maybe none; arrays C-contiguous, at_us non-decreasing.
                   `event_at_us` differs from `at_us` for `order: arrival` and for late events that are processed
    marked:        uint8[n], 1 where an event was late and is processed all the same (`late: process`)
    watermark_us:  no later batch has an event at or below it (`order: arrival`: below it)
    dead:          rejected by the decoder, or too far ahead of the log
    late:          late, of a stream with `late: topic`
    dropped:       late, of a stream with `late: drop`, and duplicates
    """

    batch: Batch
    marked: U8
    watermark_us: int
    dead: list[Refused]
    late: list[Refused]
    dropped: list[Refused]
    counts: Counts


class Orderer:
    """The order of one lane: its watermarks, the events held until their turn, the ids seen."""

    def __init__(
        self, streams: Sequence[Stream], sources: Iterable[Source], layout: Layout, held_max: int = HELD_MAX
    ) -> None:
        """An orderer that has seen nothing.

        streams: those of the lane, all with a source, all in `layout.streams`
        sources: the lane's source partitions, in any order
        Raises InvalidDocument where streams can't share a lane.
        """
        _check_lane(streams)
        self.streams = tuple(streams)
        self.sources = tuple(sorted(Source(*source) for source in sources))
        self.layout = layout
        self.held_max = held_max
        self.order = streams[0].order if streams else Order.ARRIVAL
        self.watermark_us = NEVER_US
        self._peak_us = NEVER_US
        self._read_at_us = NEVER_US
        self._ended = False
        self._parts = _Partitions(self.streams, self.sources)
        self._stream_code = np.array([layout.streams.index(stream.name) for stream in streams], np.int16)
        self._held = Held(len(layout.columns))
        self._seen = {
            place: Seen(stream.dedupe_us, stream.dedupe_ids_max)
            for place, stream in enumerate(streams)
            if stream.dedupe_us and stream.event_id is not None
        }
        self._pausing = False

    def __len__(self) -> int:
        """How many events are held."""
        return self._held.count

    def push(self, arrived: Sequence[Arrived], read_at_us: int) -> Ordered:
        """Take one read of the log, at most one `Arrived` per stream, and release what is due.

        Raises IntegrityViolation for a record of a partition that isn't the lane's, at or below an offset already
        taken, or after `finish`.
        """
        if any(len(part.raw) for part in arrived):
            if self._ended:
                raise IntegrityViolation("the log goes on after its recorded end", "start a new application id")
            self._read_at_us = read_at_us
        out = _Out()
        rows = joined([self._taken(part, out) for part in arrived], len(self.layout.columns))
        if self.order is Order.ARRIVAL:
            return self._ordered(self._merged(rows), out)
        self.watermark_us = max(self.watermark_us, self._parts.watermark_us())
        return self._ordered(self._due(rows, out), out)

    def watch(self, at_end: Collection[Source], wall_us: int, due_us: int | None = None) -> Tick | None:
        """Live only: the tick that is due now, or None. Call it after each read, also after an empty one.

        at_end: the sources whose position is the end of the log right now
        due_us: the earliest instant at which the matcher has something to do (a time-out, an absence), None for none
        """
        quiet = self._parts.quiet(at_end, wall_us)
        turned_idle = self.order is Order.EVENT_TIME and bool((quiet & ~self._parts.idle).any())
        tick = Tick(wall_us, tuple(self.sources[place] for place in np.flatnonzero(quiet)))
        if turned_idle:
            return tick
        if not quiet.all() or self._ended:
            return None
        passed = self._silence_us(wall_us)
        due = [at for at in (self._held.first_us(), due_us) if at is not None and at <= passed]
        return tick if due and passed > self.watermark_us else None

    def tick(self, tick: Tick) -> Ordered:
        """Apply a tick (live: of `watch`; in a replay: of the journal) and release what is due."""
        self._parts.set_idle(tick.idle, self.watermark_us)
        if tick.end:
            self._ended = True
            self.watermark_us = FOREVER_US
        elif self._parts.idle.all():
            self.watermark_us = self._silence_us(tick.wall_us)
        elif self.order is Order.EVENT_TIME:
            self.watermark_us = max(self.watermark_us, self._parts.watermark_us())
        out = _Out()
        return self._ordered(self._due(no_rows(len(self.layout.columns)), out), out)

    def finish(self, wall_us: int) -> tuple[Tick, Ordered]:
        """The log is finite and was read to its end: the tick to journal, and all that was still held."""
        tick = Tick(wall_us, self.sources, end=True)
        return tick, self.tick(tick)

    def ahead(self) -> tuple[Source, ...]:
        """The sources not to read for now: much is held because they ran ahead of others. Ask after each push.

        From half of `held_max` on until a quarter, the sources that don't hold the watermark back.
        """
        fill = 4 if self._pausing else 2
        self._pausing = self._held.count * fill > self.held_max
        if not self._pausing:
            return ()
        ahead = ~self._parts.idle & (self._parts.watermarks_us() > self.watermark_us)
        return tuple(self.sources[place] for place in np.flatnonzero(ahead))

    def string_codes(self) -> I64:
        """The codes of the string table that held events use, for `StringTable.keep`; sorted, each once."""
        rows = self._held.all()
        strings = [place for place, column in enumerate(self.layout.columns) if column.type.kind is Kind.STRING]
        return np.unique(rows.numbers[[HEADS + place for place in strings]][rows.nulls[strings] == 0])

    def relayout(self, layout: Layout, decoders: Mapping[str, Decoder]) -> list[Refused]:
        """Take another layout between two batches: held events are decoded again, by the decoder of their stream.

        Answers those that are rejected now because the new layout reads more of them: dead letters. Raises LimitReached
        as `Decoder.decode` does; then nothing has changed.
        """
        rows = self._held.all()
        held, refused = Held(len(layout.columns)), []
        stream = self._parts.stream[rows.numbers[SOURCE]]
        for place, declared in enumerate(self.streams):
            mine = rows.take(np.flatnonzero(stream == place))
            decoded = decoders[declared.name].decode(mine.raw)
            refused += [self._refused(mine, item.row, item.reason, item.path, item.detail) for item in decoded.rejected]
            good = mine.take(decoded.rows)
            held.put(Rows(np.vstack((good.numbers[:HEADS], decoded.values)), decoded.nulls, good.raw, good.ids))
        self.layout = layout
        self._stream_code = np.array([layout.streams.index(declared.name) for declared in self.streams], np.int16)
        self._held = held
        return refused

    def dump(self) -> Plain:
        """All that decides future answers: numbers, text, bytes and arrays. Held events are in the order of release."""
        rows = self._held.all()
        state: Plain = {
            "order": self.order.value,
            "topics": [source.topic for source in self.sources],
            "partitions": np.array([source.partition for source in self.sources], np.int64),
            "watermark_us": self.watermark_us,
            "peak_us": self._peak_us,
            "read_at_us": self._read_at_us,
            "ended": int(self._ended),
            "held_numbers": rows.numbers,
            "held_nulls": rows.nulls,
            "held_raw": b"".join(rows.raw),
            "held_raw_sizes": rows.raw.sizes(),
        }
        state |= _packed("held_ids", rows.ids)
        for name in _Partitions.STATE:
            state[f"partition_{name}"] = getattr(self._parts, name).copy()
        for place, seen in self._seen.items():
            name = f"seen.{self.streams[place].name}"
            ids, ats = seen.dump()
            state |= _packed(name, ids)
            state[f"{name}.at_us"] = ats
        return state

    @classmethod
    def load(
        cls,
        state: Plain,
        streams: Sequence[Stream],
        sources: Iterable[Source],
        layout: Layout,
        held_max: int = HELD_MAX,
    ) -> Orderer:
        """The orderer that `dump` described, `layout` and string codes being those of the dump.

        Sources that are new since then begin at the lane watermark. Raises IntegrityViolation where the state doesn't
        fit: another order, a source that is gone, another number of columns.
        """
        orderer = cls(streams, sources, layout, held_max)
        orderer._restore(state)
        return orderer

    def _restore(self, state: Plain) -> None:
        topics, partitions = state["topics"], state["partitions"]
        assert isinstance(topics, list)
        assert isinstance(partitions, np.ndarray)
        before = [Source(topic, int(number)) for topic, number in zip(topics, partitions, strict=True)]
        gone = set(before) - set(self.sources)
        if state["order"] != self.order or gone:
            what = (
                f"sources {sorted(gone)} are gone"
                if gone
                else f"the order was {state['order']!r}, is {self.order.value!r}"
            )
            raise IntegrityViolation(f"the saved order of the lane doesn't fit: {what}", "start a new application id")
        new_place = np.array([self.sources.index(source) for source in before], np.int64)
        self.watermark_us = _int(state["watermark_us"])
        self._peak_us = _int(state["peak_us"])
        self._read_at_us = _int(state["read_at_us"])
        self._ended = bool(state["ended"])
        self._parts.floor_us[:] = self.watermark_us
        for name in _Partitions.STATE:
            getattr(self._parts, name)[new_place] = state[f"partition_{name}"]
        self._held.put(self._saved_rows(state, new_place))
        for place, seen in self._seen.items():
            name = f"seen.{self.streams[place].name}"
            if name in state:
                seen.load(
                    [text for text in _unpacked(name, state) or () if text is not None], _ints(state[f"{name}.at_us"])
                )

    def _saved_rows(self, state: Plain, new_place: I64) -> Rows:
        numbers, nulls = _ints(state["held_numbers"]).copy(), np.asarray(state["held_nulls"], np.uint8)
        columns = len(self.layout.columns)
        if len(numbers) != HEADS + columns:
            raise IntegrityViolation(f"held events have {len(numbers) - HEADS} columns, the layout has {columns}")
        numbers[SOURCE] = new_place[numbers[SOURCE]]
        blob = state["held_raw"]
        assert isinstance(blob, bytes)
        raw = Texts.of(_cut(blob, _ints(state["held_raw_sizes"])))
        return Rows(numbers, nulls, raw, _unpacked("held_ids", state))

    # --- one read ---

    def _taken(self, part: Arrived, out: _Out) -> Rows:
        """The records of `part` that have their place in the order; notes what they mean for their partitions."""
        place = [stream.name for stream in self.streams].index(part.stream)
        stream = self.streams[place]
        source = self._parts.places(place, part.partition)
        self._parts.note(source, part.offset, self.watermark_us)
        rows = _rows(source, part)
        out.counts.rejected += len(part.decoded.rejected)
        out.dead += [
            Refused(
                stream.name,
                self.sources[int(source[item.row])],
                int(part.offset[item.row]),
                int(part.log_at_us[item.row]),
                None,
                part.raw[item.row],
                item.reason,
                item.path,
                item.detail,
            )
            for item in part.decoded.rejected
        ]
        rows = self._not_ahead(rows, stream, out)
        self._peak_us = max(self._peak_us, int(rows.numbers[EVENT_AT].max(initial=NEVER_US)))
        return rows if self.order is Order.ARRIVAL else self._not_late(rows, stream, out)

    def _not_ahead(self, rows: Rows, stream: Stream, out: _Out) -> Rows:
        """Without the events further than max_ahead after their log timestamp."""
        log_at_us = rows.numbers[LOG_AT]
        ahead = (rows.numbers[EVENT_AT] - log_at_us > stream.max_ahead_us) & (log_at_us != NEVER_US)
        if not ahead.any():
            return rows
        detail = f"more than max_ahead after the log's timestamp ({stream.max_ahead_us} µs)"
        path = f"$.{stream.event_time}"
        refused = np.flatnonzero(ahead).tolist()
        out.dead += [self._refused(rows, row, Reason.TOO_FAR_AHEAD, path, detail) for row in refused]
        out.counts.too_far_ahead += len(refused)
        return rows.take(np.flatnonzero(~ahead))

    def _not_late(self, rows: Rows, stream: Stream, out: _Out) -> Rows:
        """Advances W event by event; late events are refused, or marked and put right behind W."""
        numbers = rows.numbers
        before_us = self._parts.advance(numbers[SOURCE], numbers[EVENT_AT])
        late = numbers[EVENT_AT] <= before_us
        if not late.any():
            return rows
        if stream.late is Late.PROCESS:
            numbers[AT] = np.where(late, before_us + 1, numbers[EVENT_AT])
            numbers[MARKED] = late
            out.counts.late_processed += int(late.sum())
            return rows
        detail = "at or below the watermark of its partition"
        places = np.flatnonzero(late).tolist()
        refused = [self._refused(rows, row, Reason.LATE, f"$.{stream.event_time}", detail) for row in places]
        if stream.late is Late.TOPIC:
            out.late += refused
            out.counts.late_topic += len(refused)
        else:
            out.dropped += refused
            out.counts.late_dropped += len(refused)
        return rows.take(np.flatnonzero(~late))

    def _refused(self, rows: Rows, row: int, reason: Reason, path: str, detail: str) -> Refused:
        source, offset, log_at_us, _, event_at_us, _ = rows.numbers[:HEADS, row].tolist()
        stream = self.streams[int(self._parts.stream[source])].name
        return Refused(
            stream, self.sources[source], offset, log_at_us, event_at_us, rows.raw[row], reason, path, detail
        )

    # --- release ---

    def _silence_us(self, wall_us: int) -> int:
        """The watermark of a lane whose partitions are all idle."""
        if self._peak_us == NEVER_US:
            return self.watermark_us
        longest = max(stream.idle_after_us for stream in self.streams)
        return max(self.watermark_us, self._peak_us + max(0, wall_us - self._read_at_us - longest))

    def _merged(self, rows: Rows) -> Rows:
        """In order of arrival; `at_us` and the watermark become the greatest event time so far."""
        if not len(rows):
            return rows
        stamps = self._parts.stamps(rows.numbers[SOURCE], rows.numbers[LOG_AT])
        rows = rows.sorted_by(stamps)
        at_us = np.maximum.accumulate(rows.numbers[EVENT_AT])
        rows.numbers[AT] = np.maximum(at_us, self.watermark_us)
        self.watermark_us = int(rows.numbers[AT, -1])
        return rows

    def _due(self, rows: Rows, out: _Out) -> Rows:
        """What is due of `rows` and of the held events, in order; the rest of `rows` is held."""
        at_us = rows.numbers[AT]
        due = at_us <= self.watermark_us
        if due.all():
            now = rows
        else:
            self._held.put(rows.take(np.flatnonzero(~due)))
            now = rows.take(np.flatnonzero(due))
        held = self._held.release(self.watermark_us)
        released = joined([held, now], len(self.layout.columns)).in_order()
        return released if self._held.count <= self.held_max else self._forced(released, out)

    def _forced(self, released: Rows, out: _Out) -> Rows:
        """Too many are held: the oldest eighth goes out now, and nothing at or below them is taken any more."""
        excess = self._held.count - self.held_max * 7 // 8
        self.watermark_us = self._held.instant_us(excess)
        self._parts.raise_floors(self.watermark_us)
        forced = self._held.release(self.watermark_us).in_order()
        out.counts.forced += len(forced)
        return joined([released, forced], len(self.layout.columns))

    def _ordered(self, rows: Rows, out: _Out) -> Ordered:
        rows = self._unseen(rows, out)
        numbers = np.ascontiguousarray(rows.numbers)
        source = numbers[SOURCE]
        records = RawRecords(rows.raw, rows.ids, self.sources, source, numbers[OFFSET])
        batch = Batch(
            self.layout,
            self._stream_code[self._parts.stream[source]],
            numbers[AT],
            numbers[EVENT_AT],
            numbers[HEADS:],
            np.ascontiguousarray(rows.nulls),
            records,
        )
        out.counts.released = len(rows)
        marked = numbers[MARKED].astype(np.uint8)
        return Ordered(batch, marked, self.watermark_us, out.dead, out.late, out.dropped, out.counts)

    def _unseen(self, rows: Rows, out: _Out) -> Rows:
        """Without the events whose id was released before."""
        if rows.ids is None or not len(rows):
            return rows
        stream = self._parts.stream[rows.numbers[SOURCE]]
        again: list[int] = []
        for place, seen in self._seen.items():
            mine = np.flatnonzero(stream == place)
            ids = rows.ids if len(mine) == len(rows) else [rows.ids[row] for row in mine.tolist()]
            found, evicted = seen.admit(ids, rows.numbers[AT][mine])
            again += mine[found].tolist()
            out.counts.ids_evicted += evicted
        if not again:
            return rows
        again.sort()
        detail = "an event of this id was released before"
        out.dropped += [self._refused(rows, row, Reason.DUPLICATE, "", detail) for row in again]
        out.counts.duplicates += len(again)
        return rows.take(np.delete(np.arange(len(rows)), again))


def _check_lane(streams: Sequence[Stream]) -> None:
    """Streams of one lane have one order and a topic each."""
    problems = []
    for stream in streams:
        first = streams[0]
        if stream.order is not first.order:
            reason = f"{stream.order}, but {first.name}, in the same lane, has {first.order}"
            problems.append(Problem(f"{stream.name}.order", reason, "declare the same order for both"))
    for place, stream in enumerate(streams):
        for other in streams[:place]:
            if other.topic == stream.topic:
                problems.append(Problem(f"{stream.name}.topic", f"{stream.topic} is the topic of {other.name} too"))
    if problems:
        raise InvalidDocument("the streams of a lane", problems)


@dataclass(slots=True)
class _Out:
    """What a step has put aside so far."""

    dead: list[Refused] = field(default_factory=list)
    late: list[Refused] = field(default_factory=list)
    dropped: list[Refused] = field(default_factory=list)
    counts: Counts = field(default_factory=Counts)


def _rows(source: I64, part: Arrived) -> Rows:
    """The good records of `part`."""
    decoded, raw = part.decoded, Texts.of(part.raw)
    n = len(decoded.rows)
    numbers = np.empty((HEADS + len(decoded.values), n), np.int64)
    if n == len(raw):
        numbers[SOURCE], numbers[OFFSET], numbers[LOG_AT] = source, part.offset, part.log_at_us
    else:
        rows = decoded.rows
        numbers[SOURCE], numbers[OFFSET], numbers[LOG_AT] = source[rows], part.offset[rows], part.log_at_us[rows]
        raw = raw.take(rows)
    numbers[AT] = numbers[EVENT_AT] = decoded.event_at_us
    numbers[MARKED] = 0
    numbers[HEADS:] = decoded.values
    return Rows(numbers, decoded.nulls, raw, decoded.ids)


# --- partitions -------------------------------------------------------------------------------------------------------


class _Partitions:
    """What is known of each source partition; arrays over the places in `Orderer.sources`.

    peak_us:     greatest event time seen          floor_us: W is at least this
    stamp_us:    greatest log timestamp seen       offset:   last one taken, -1 for none
    idle:        bool                              end_since_us: wall time, live only, not saved
    stream, out_of_order_us, idle_after_us: of its stream
    """

    STATE = ("peak_us", "floor_us", "stamp_us", "offset", "idle")

    def __init__(self, streams: Sequence[Stream], sources: Sequence[Source]) -> None:
        n = len(sources)
        by_topic = {stream.topic: place for place, stream in enumerate(streams)}
        self.sources = sources
        self.stream = np.array([by_topic[source.topic] for source in sources], np.int64)
        self.out_of_order_us = np.array([streams[place].out_of_order_us for place in self.stream.tolist()], np.int64)
        self.idle_after_us = np.array([streams[place].idle_after_us for place in self.stream.tolist()], np.int64)
        self.peak_us = np.full(n, NEVER_US, np.int64)
        self.floor_us = np.full(n, NEVER_US, np.int64)
        self.stamp_us = np.full(n, NEVER_US, np.int64)
        self.offset = np.full(n, -1, np.int64)
        self.idle = np.zeros(n, np.bool_)
        self.end_since_us = np.full(n, NEVER_US, np.int64)
        self._places = [self._by_partition(place) for place in range(len(streams))]

    def _by_partition(self, stream: int) -> I64:
        """int64: partition number to place, -1 where it isn't the lane's."""
        mine = np.flatnonzero(self.stream == stream).tolist()
        table = np.full(max((self.sources[place].partition for place in mine), default=-1) + 1, -1, np.int64)
        for place in mine:
            table[self.sources[place].partition] = place
        return table

    def places(self, stream: int, partition: I64) -> I64:
        """The place of each record's source."""
        table = self._places[stream]
        if len(partition) and (int(partition.min()) < 0 or int(partition.max()) >= len(table)):
            raise IntegrityViolation(f"a record of partition {partition.max()}, which isn't the lane's")
        places = table[partition]
        if (places < 0).any():
            raise IntegrityViolation(f"a record of partition {partition[places < 0][0]}, which isn't the lane's")
        return places

    def note(self, source: I64, offset: I64, watermark_us: int) -> None:
        """Records came, good ones or not: offsets go up, and an idle partition is back."""
        for place, rows in _segments(source):
            offsets = offset[rows]
            if int(offsets[0]) <= self.offset[place] or bool((offsets[1:] <= offsets[:-1]).any()):
                raise IntegrityViolation(f"{self.sources[place]}: an offset at or below the last one taken came again")
            self.offset[place] = offsets[-1]
            self.end_since_us[place] = NEVER_US
            if self.idle[place]:
                self.idle[place] = False
                self.floor_us[place] = max(int(self.floor_us[place]), watermark_us)

    def advance(self, source: I64, event_at_us: I64) -> I64:
        """W of each event's partition just before the event; the event then counts."""
        before_us = np.empty(len(source), np.int64)
        for place, rows in _segments(source):
            peaks = np.empty(len(before_us[rows]) + 1, np.int64)
            peaks[0] = self.peak_us[place]
            peaks[1:] = event_at_us[rows]
            np.maximum.accumulate(peaks, out=peaks)
            before_us[rows] = np.maximum(peaks[:-1] - (int(self.out_of_order_us[place]) + 1), self.floor_us[place])
            self.peak_us[place] = peaks[-1]
        return before_us

    def stamps(self, source: I64, log_at_us: I64) -> I64:
        """The greatest log timestamp so far of each event's partition, itself included."""
        stamps = np.empty(len(source), np.int64)
        for place, rows in _segments(source):
            mine = np.maximum.accumulate(log_at_us[rows])
            np.maximum(mine, self.stamp_us[place], out=mine)
            stamps[rows] = mine
            self.stamp_us[place] = mine[-1]
        return stamps

    def watermarks_us(self) -> I64:
        """W of each partition."""
        least: I64 = np.maximum(self.floor_us, self.peak_us - self.out_of_order_us - 1)
        return least

    def watermark_us(self) -> int:
        """The least W of the partitions that aren't idle; NEVER_US where all are."""
        return int(self.watermarks_us()[~self.idle].min(initial=FOREVER_US)) if not self.idle.all() else NEVER_US

    def raise_floors(self, watermark_us: int) -> None:
        """From here on nothing at or below the watermark is taken, whatever its partition."""
        np.maximum(self.floor_us, watermark_us, out=self.floor_us)

    def quiet(self, at_end: Collection[Source], wall_us: int) -> npt.NDArray[np.bool_]:
        """Which have been at the end of the log for long enough to be idle."""
        end = np.fromiter((source in at_end for source in self.sources), np.bool_, len(self.sources))
        self.end_since_us[end & (self.end_since_us == NEVER_US)] = wall_us
        self.end_since_us[~end] = NEVER_US
        return end & (wall_us - self.end_since_us >= self.idle_after_us)

    def set_idle(self, idle: Collection[Source], watermark_us: int) -> None:
        """These are idle and no others; who isn't any more is back without a record."""
        now = np.fromiter((source in idle for source in self.sources), np.bool_, len(self.sources))
        back = self.idle & ~now
        self.floor_us[back] = np.maximum(self.floor_us[back], watermark_us)
        self.idle = now


def _segments(source: I64) -> Iterator[tuple[int, I64 | slice]]:
    """(source, its rows in order) for each source that occurs, ascending."""
    if not len(source):
        return
    if bool((source == source[0]).all()):
        yield int(source[0]), slice(None)
        return
    order = np.argsort(source, kind="stable")
    cuts = np.flatnonzero(np.diff(source[order])) + 1
    for first, last in pairwise([0, *cuts.tolist(), len(order)]):
        rows = order[first:last]
        yield int(source[rows[0]]), rows


# --- saved state ------------------------------------------------------------------------------------------------------


def _packed(name: str, texts: Sequence[str | None] | None) -> Plain:
    """Texts as one `bytes` and their sizes, -1 for None; nothing where there are none at all."""
    if texts is None:
        return {}
    coded = [None if text is None else text.encode() for text in texts]
    sizes = np.array([-1 if text is None else len(text) for text in coded], np.int64)
    return {name: b"".join(text for text in coded if text is not None), f"{name}_sizes": sizes}


def _unpacked(name: str, state: Plain) -> list[str | None] | None:
    if name not in state:
        return None
    blob, sizes = state[name], _ints(state[f"{name}_sizes"])
    assert isinstance(blob, bytes)
    texts = _cut(blob, np.maximum(sizes, 0))
    return [text.decode() if size >= 0 else None for text, size in zip(texts, sizes.tolist(), strict=True)]


def _cut(blob: bytes, sizes: I64) -> list[bytes]:
    return [blob[first:last] for first, last in pairwise([0, *np.cumsum(sizes).tolist()])]


def _int(value: object) -> int:
    assert isinstance(value, int)
    return value


def _ints(value: object) -> I64:
    return np.asarray(value, np.int64)
