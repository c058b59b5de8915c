"""Order: compared with a slow model that looks at one record at a time, and told as small stories."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from events.columns import Batch, Column, Layout, StringTable
from events.decode import Decoder, RawRecords, Reason
from events.errors import IntegrityViolation, InvalidDocument, LimitReached
from events.order import FOREVER_US, NEVER_US, Arrived, Ordered, Orderer, Refused, Source, Tick
from events.schema import Field, Format, Late, Order, Stream
from events.types import INSTANT, INT64, STRING


def stream(name: str = "tx", **changes: object) -> Stream:
    fields = (
        Field("at", INSTANT, format=Format.EPOCH_US),
        Field("id", STRING),
        Field("amount", INT64),
        Field("note", STRING, nullable=True),
    )
    declared = Stream(name, f"{name}-topic", fields, "at", order=Order.EVENT_TIME, max_ahead_us=100)
    return replace(declared, **changes)  # type: ignore[arg-type]  # a test names fields that exist


@dataclass(frozen=True)
class Rec:
    """A record: event time, log timestamp, id; not JSON where `bad`."""

    at: int
    log: int = 1_000_000
    id: str = "x"
    bad: bool = False

    @property
    def raw(self) -> bytes:
        return b"!" if self.bad else json.dumps({"at": self.at, "id": self.id, "amount": self.at * 3}).encode()


Read = list[tuple[str, int, int, Rec]]
"""(stream, partition, offset, record) in the order in which they came."""


def layout_of(streams: Sequence[Stream]) -> Layout:
    return Layout(
        tuple(item.name for item in streams),
        tuple(Column(item.name, name, item.field(name).type) for item in streams for name in ("amount", "note")),
    )


@dataclass
class Lane:
    """An orderer with its decoders, fed with records."""

    streams: Sequence[Stream]
    sources: Sequence[Source]
    held_max: int = 1000
    strings: StringTable = field(default_factory=StringTable)

    def __post_init__(self) -> None:
        self.layout = layout_of(self.streams)
        self.decoders = {item.name: Decoder(item, self.layout, self.strings) for item in self.streams}
        self.orderer = Orderer(self.streams, self.sources, self.layout, self.held_max)

    def push(self, read: Read, wall_us: int = 0) -> Ordered:
        parts = []
        for name in dict.fromkeys(row[0] for row in read):
            mine = [row for row in read if row[0] == name]
            raw = [record.raw for _, _, _, record in mine]
            parts.append(
                Arrived(
                    name,
                    np.array([row[1] for row in mine], np.int64),
                    np.array([row[2] for row in mine], np.int64),
                    np.array([row[3].log for row in mine], np.int64),
                    raw,
                    self.decoders[name].decode(raw),
                )
            )
        return self.orderer.push(parts, wall_us)


Event = tuple[int, int, str, int, int, int, bool, str]
"""(at, event time, topic, partition, offset, amount, marked, event id)"""


def events(ordered: Ordered, streams: Sequence[Stream]) -> list[Event]:
    """The batch as plain tuples; checks on the way what a Batch promises."""
    batch = ordered.batch
    check_batch(batch)
    assert isinstance(batch.records, RawRecords)
    rows = []
    for row in range(len(batch)):
        topic, partition, offset = batch.records.position(row)
        declared = streams[int(batch.stream[row])]
        assert declared.topic == topic
        column = batch.layout.positions[declared.name, "amount"]
        amount = int(batch.values[column, row])
        assert batch.nulls[column, row] == 0
        assert json.loads(batch.records.payload(row))["amount"] == amount
        rows.append(
            (
                int(batch.at_us[row]),
                int(batch.event_at_us[row]),
                topic,
                partition,
                offset,
                amount,
                bool(ordered.marked[row]),
                batch.records.event_id(row),
            )
        )
    return rows


def check_batch(batch: Batch) -> None:
    n, c = len(batch), len(batch.layout.columns)
    for array, shape, kind in (
        (batch.stream, (n,), np.int16),
        (batch.at_us, (n,), np.int64),
        (batch.event_at_us, (n,), np.int64),
        (batch.values, (c, n), np.int64),
        (batch.nulls, (c, n), np.uint8),
    ):
        assert array.shape == shape
        assert array.dtype == kind
        assert array.flags.c_contiguous
    assert (np.diff(batch.at_us) >= 0).all()


def fates(ordered: Ordered) -> dict[str, list[tuple[Reason, str, int, int]]]:
    def listed(refused: Iterable[Refused]) -> list[tuple[Reason, str, int, int]]:
        return sorted((item.reason, item.source.topic, item.source.partition, item.offset) for item in refused)

    return {"dead": listed(ordered.dead), "late": listed(ordered.late), "dropped": listed(ordered.dropped)}


# --- the slow model ---------------------------------------------------------------------------------------------------


@dataclass
class Slow:
    """The section "Order and time", one record at a time."""

    streams: Sequence[Stream]
    sources: Sequence[Source]
    watermark: int = NEVER_US
    peak: int = NEVER_US
    read_at: int = 0

    def __post_init__(self) -> None:
        self.peaks = dict.fromkeys(self.sources, NEVER_US)
        self.floors = dict.fromkeys(self.sources, NEVER_US)
        self.stamps = dict.fromkeys(self.sources, NEVER_US)
        self.idle: set[Source] = set()
        self.held: list[Event] = []
        self.seen: dict[str, list[tuple[str, int]]] = {item.name: [] for item in self.streams}
        self.fates: dict[str, list[tuple[Reason, str, int, int]]] = {}

    def w(self, source: Source) -> int:
        declared = next(item for item in self.streams if item.topic == source.topic)
        return max(self.floors[source], self.peaks[source] - declared.out_of_order_us - 1)

    def step(self) -> None:
        self.fates = {"dead": [], "late": [], "dropped": []}

    def push(self, read: Read, wall: int) -> list[Event]:
        self.step()
        fresh: list[tuple[int, Event]] = []
        before = self.watermark
        if read:
            self.read_at = wall
        for name, partition, offset, record in read:
            declared = next(item for item in self.streams if item.name == name)
            source = Source(declared.topic, partition)
            where = (declared.topic, partition, offset)
            if source in self.idle:
                self.idle.discard(source)
                self.floors[source] = max(self.floors[source], before)
            if record.bad:
                self.fates["dead"].append((Reason.NOT_JSON, *where))
                continue
            if record.log != NEVER_US and record.at > record.log + declared.max_ahead_us:
                self.fates["dead"].append((Reason.TOO_FAR_AHEAD, *where))
                continue
            at, marked = record.at, False
            if declared.order is Order.EVENT_TIME and record.at <= self.w(source):
                if declared.late is not Late.PROCESS:
                    kind = "late" if declared.late is Late.TOPIC else "dropped"
                    self.fates[kind].append((Reason.LATE, *where))
                    continue
                at, marked = self.w(source) + 1, True
            self.peak = max(self.peak, record.at)
            self.peaks[source] = max(self.peaks[source], record.at)
            self.stamps[source] = max(self.stamps[source], record.log)
            text = record.id if declared.event_id else "/".join(map(str, where))
            event = (at, record.at, declared.topic, partition, offset, record.at * 3, marked, text)
            fresh.append((self.stamps[source], event))
        if self.streams[0].order is Order.ARRIVAL:
            return self.arrived(fresh)
        self.held += [event for _, event in fresh]
        return self.release()

    def arrived(self, fresh: list[tuple[int, Event]]) -> list[Event]:
        out = []
        for _, event in sorted(fresh, key=lambda item: (item[0], item[1][2], item[1][3], item[1][4])):
            self.watermark = max(self.watermark, event[1])
            out.append((self.watermark, *event[1:]))
        return self.unseen(out)

    def tick(self, tick: Tick) -> list[Event]:
        self.step()
        for source in self.idle - set(tick.idle):
            self.floors[source] = max(self.floors[source], self.watermark)
        self.idle = set(tick.idle)
        if tick.end:
            self.watermark = FOREVER_US
        elif self.idle == set(self.sources) and self.peak != NEVER_US:
            longest = max(item.idle_after_us for item in self.streams)
            self.watermark = max(self.watermark, self.peak + max(0, tick.wall_us - self.read_at - longest))
        return self.release() if self.streams[0].order is Order.EVENT_TIME else []

    def release(self) -> list[Event]:
        self.watermark = max([self.watermark, *self.least()])
        due = sorted((event for event in self.held if event[0] <= self.watermark), key=lambda e: (e[0], *e[2:5]))
        self.held = [event for event in self.held if event[0] > self.watermark]
        return self.unseen(due)

    def least(self) -> list[int]:
        awake = [self.w(source) for source in self.sources if source not in self.idle]
        return [min(awake)] if awake else []

    def unseen(self, due: list[Event]) -> list[Event]:
        out = []
        for event in due:
            declared = next(item for item in self.streams if item.topic == event[2])
            recent = self.seen[declared.name][-declared.dedupe_ids_max :]
            if declared.event_id and any(
                text == event[7] and event[0] - at <= declared.dedupe_us for text, at in recent
            ):
                self.fates["dropped"].append((Reason.DUPLICATE, *event[2:5]))
                continue
            self.seen[declared.name].append((event[7], event[0]))
            out.append(event)
        return out


# --- any steps, compared ----------------------------------------------------------------------------------------------

records = st.builds(
    Rec,
    at=st.integers(0, 60) | st.just(500),
    log=st.sampled_from([30, 50, 60, 450, NEVER_US]),
    id=st.sampled_from("abcdefgh"),
    bad=st.integers(0, 9).map(lambda draw: draw == 0),
)


@st.composite
def lanes(draw: st.DrawFn) -> tuple[list[Stream], list[Source]]:
    order = draw(st.sampled_from(Order))
    streams = []
    for name in ("tx", "login")[: draw(st.integers(1, 2))]:
        streams.append(
            stream(
                name,
                order=order,
                out_of_order_us=draw(st.sampled_from([0, 1, 5, 20])),
                late=draw(st.sampled_from(Late)),
                event_id=draw(st.sampled_from([None, "id"])),
                dedupe_us=draw(st.sampled_from([3, 10, 1000])),
                dedupe_ids_max=draw(st.sampled_from([1, 3, 100])),
                idle_after_us=draw(st.sampled_from([2, 5])),
            )
        )
    sources = [Source(item.topic, number) for item in streams for number in range(draw(st.integers(1, 3)))]
    return streams, draw(st.permutations(sources))


def numbered(streams: Sequence[Stream], drawn: list[tuple[Source, Rec]], offsets: Counter[Source]) -> Read:
    """Gives each record the next offset of its source (with gaps, as transactions leave them)."""
    read = []
    names = {item.topic: item.name for item in streams}
    for source, record in drawn:
        read.append((names[source.topic], source.partition, offsets[source], record))
        offsets[source] += 1 + record.at % 2
    return read


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_the_orderer_answers_as_the_slow_model_does(data: st.DataObject) -> None:
    """Reads, ticks and restores in any sequence: the same events, fates and watermarks."""
    streams, sources = data.draw(lanes())
    lane, slow = Lane(streams, sources), Slow(streams, sorted(sources))
    offsets: Counter[Source] = Counter()
    wall = 0
    for step in data.draw(st.lists(st.sampled_from("rrrrtwd"), max_size=12)):
        wall += data.draw(st.integers(0, 4))
        if step == "r":
            drawn = data.draw(st.lists(st.tuples(st.sampled_from(sources), records), max_size=8))
            read = numbered(streams, drawn, offsets)
            ordered, expected = lane.push(read, wall), slow.push(read, wall)
        elif step == "d":
            saved = lane.orderer.dump()
            lane.orderer = Orderer.load(saved, streams, sources, lane.layout, lane.held_max)
            assert plain(lane.orderer.dump()) == plain(saved)
            continue
        else:
            quiet = data.draw(st.sets(st.sampled_from(sources)))
            tick = Tick(wall, tuple(sorted(quiet))) if step == "t" else lane.orderer.watch(quiet, wall)
            if tick is None:
                continue
            ordered, expected = lane.orderer.tick(tick), slow.tick(tick)
        assert events(ordered, streams) == expected
        assert fates(ordered) == {kind: sorted(rows) for kind, rows in slow.fates.items()}
        assert ordered.watermark_us == lane.orderer.watermark_us == slow.watermark
        assert len(lane.orderer) == len(slow.held)
    tick, ordered = lane.orderer.finish(wall)
    assert events(ordered, streams) == slow.tick(tick)
    assert len(lane.orderer) == 0


def plain(state: object) -> object:
    assert isinstance(state, dict)
    return {key: value.tolist() if isinstance(value, np.ndarray) else value for key, value in state.items()}


# --- what is promised of any split ------------------------------------------------------------------------------------


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_the_accepted_sequence_is_a_function_of_the_log_alone(data: st.DataObject) -> None:
    """event_time, no partition idle: any split into batches and any interleaving of partitions give the same."""
    streams, sources = data.draw(lanes())
    streams = [replace(item, order=Order.EVENT_TIME, dedupe_ids_max=1000) for item in streams]
    log = data.draw(st.lists(st.tuples(st.sampled_from(sources), records), max_size=30))
    accepted = []
    for _ in range(2):
        lane = Lane(streams, sources)
        mine = {source: [record for at, record in log if at == source] for source in sources}
        turns = data.draw(st.permutations([source for source, _ in log]))
        mixed = [(source, mine[source].pop(0)) for source in turns]
        cuts = sorted(data.draw(st.lists(st.integers(0, len(mixed)), max_size=6)))
        offsets: Counter[Source] = Counter()
        out = []
        for first, last in pairwise([0, *cuts, len(mixed)]):
            out += events(lane.push(numbered(streams, mixed[first:last], offsets)), streams)
        accepted.append(out + events(lane.orderer.finish(0)[1], streams))
    assert accepted[0] == accepted[1]


@settings(max_examples=50, deadline=None)
@given(st.lists(records, max_size=20), st.lists(st.integers(0, 20), max_size=5))
def test_one_partition_by_arrival_is_the_same_in_any_split(log: list[Rec], cuts: list[int]) -> None:
    """Offset order, and "now" is the greatest event time so far."""
    declared = [stream(order=Order.ARRIVAL, event_id="id", dedupe_us=5, dedupe_ids_max=3)]
    source = Source("tx-topic", 0)
    read = numbered(declared, [(source, record) for record in log], Counter())
    lane, whole = Lane(declared, [source]), Lane(declared, [source])
    out = []
    for first, last in pairwise([0, *sorted(min(cut, len(read)) for cut in cuts), len(read)]):
        out += events(lane.push(read[first:last]), declared)
    assert out == events(whole.push(read), declared)


@pytest.mark.parametrize("seed", range(3))
def test_thousands_of_held_events_leave_in_order(seed: int) -> None:
    """Runs merge, slots are recycled, and nothing is lost: what leaves is the log, sorted."""
    rng = np.random.default_rng(seed)
    n, parts = 6000, 3
    declared = stream(out_of_order_us=2000, max_ahead_us=10**9)
    sources = [Source(declared.topic, number) for number in range(parts)]
    lane = Lane([declared], sources, held_max=10**6)
    at = (np.arange(n) // 2 + rng.integers(0, 1500, n)).tolist()
    read = numbered([declared], [(sources[int(rng.integers(parts))], Rec(time)) for time in at], Counter())
    out, first = [], 0
    while first < n:
        last = first + int(rng.choice([1, 10, 300, 1000]))
        out += events(lane.push(read[first:last]), [declared])
        first = last
    assert len(lane.orderer) > 1000
    out += events(lane.orderer.finish(0)[1], [declared])
    expected = sorted((record.at, partition, offset) for _, partition, offset, record in read)
    assert [(event[0], event[3], event[4]) for event in out] == expected


# --- stories: event time ----------------------------------------------------------------------------------------------

P0, P1 = Source("tx-topic", 0), Source("tx-topic", 1)


def story(*sources: Source, held_max: int = 1000, **changes: object) -> Lane:
    return Lane([stream("tx", **changes)], sources or (P0, P1), held_max)


def tx(partition: int, offset: int, at: int, **more: object) -> tuple[str, int, int, Rec]:
    return ("tx", partition, offset, Rec(at, **more))  # type: ignore[arg-type]  # a test names fields that exist


def times(ordered: Ordered) -> list[int]:
    return [int(at_us) for at_us in ordered.batch.at_us]


def test_the_drawing_in_the_docstring() -> None:
    """The lane watermark is the least W; events wait for it."""
    lane = story(out_of_order_us=1)
    p0 = [tx(0, offset, at) for offset, at in enumerate((1, 2, 5))]
    p1 = [tx(1, offset, at) for offset, at in enumerate((2, 3, 8, 7))]
    ordered = lane.push(p0 + p1)
    assert times(ordered) == [1, 2, 2, 3]
    assert ordered.watermark_us == 3
    assert times(lane.orderer.finish(0)[1]) == [5, 7, 8]


def test_ties_leave_by_topic_partition_and_offset() -> None:
    """Whatever the order of arrival."""
    streams = [stream("b"), stream("a")]
    sources = [Source("b-topic", 0), Source("a-topic", 2), Source("a-topic", 10)]
    lane = Lane(streams, sources)
    lane.push([("b", 0, 0, Rec(5)), ("a", 10, 0, Rec(5)), ("a", 10, 1, Rec(5)), ("a", 2, 7, Rec(5))])
    out = events(lane.orderer.finish(0)[1], streams)
    assert [event[2:5] for event in out] == [
        ("a-topic", 2, 7),
        ("a-topic", 10, 0),
        ("a-topic", 10, 1),
        ("b-topic", 0, 0),
    ]
    assert [event[7] for event in out] == ["a-topic/2/7", "a-topic/10/0", "a-topic/10/1", "b-topic/0/0"]


def test_an_event_is_late_at_its_own_partitions_watermark_and_not_one_microsecond_later() -> None:
    """W = greatest - out_of_order - 1 µs; the other partition's W doesn't matter."""
    lane = story(out_of_order_us=10)
    ordered = lane.push([tx(0, 0, 100), tx(0, 1, 89), tx(0, 2, 90), tx(1, 0, 1)])
    assert fates(ordered)["dropped"] == [(Reason.LATE, "tx-topic", 0, 1)]
    assert ordered.counts.late_dropped == 1


def test_late_events_go_where_the_stream_says() -> None:
    """Dropped, to the late topic, or processed one microsecond after W and marked."""
    read = [tx(0, 0, 100), tx(0, 1, 50), tx(0, 2, 101)]
    topic = story(P0, late=Late.TOPIC).push(read)
    assert [(item.offset, item.event_at_us, item.log_at_us) for item in topic.late] == [(1, 50, 1_000_000)]
    assert topic.late[0].raw == Rec(50).raw
    assert topic.counts.late_topic == 1
    ordered = story(P0, late=Late.PROCESS).push(read)
    assert [(event[0], event[1], event[6]) for event in events(ordered, [stream()])] == [
        (100, 100, False),
        (100, 50, True),
    ]
    assert ordered.counts.late_processed == 1


def test_an_event_far_ahead_of_the_log_touches_nothing() -> None:
    """It goes to the dead letters, and the watermark stays; a log without timestamps has no such check."""
    ordered = story(P0).push([tx(0, 0, 5, log=10), tx(0, 1, 111, log=10), tx(0, 2, 110, log=10)])
    assert fates(ordered)["dead"] == [(Reason.TOO_FAR_AHEAD, "tx-topic", 0, 1)]
    assert ordered.watermark_us == 109
    assert ordered.counts.too_far_ahead == 1
    assert not story(P0).push([tx(0, 0, 111, log=NEVER_US)]).dead


def test_rejected_records_are_dead_letters_with_their_place() -> None:
    """Path and detail are the decoder's."""
    ordered = story(P0).push([tx(0, 4, 5), tx(0, 9, 6, bad=True, log=77)])
    (dead,) = ordered.dead
    assert (dead.stream, dead.source, dead.offset, dead.log_at_us, dead.raw) == ("tx", P0, 9, 77, b"!")
    assert (dead.reason, dead.path, dead.event_at_us) == (Reason.NOT_JSON, "$", None)
    assert ordered.counts.rejected == 1


# --- stories: idle partitions and ticks -------------------------------------------------------------------------------


def test_a_partition_without_records_holds_the_watermark_until_it_is_idle() -> None:
    """It is idle after idle_after at the end of the log; the tick says so and is written once."""
    lane = story(idle_after_us=5)
    assert times(lane.push([tx(0, 0, 100), tx(0, 1, 200)], wall_us=1000)) == []
    assert lane.orderer.watch([P1], 1000) is None
    assert lane.orderer.watch([P1], 1004) is None
    tick = lane.orderer.watch([P1], 1005)
    assert tick == Tick(1005, (P1,))
    assert times(lane.orderer.tick(tick)) == [100]
    assert lane.orderer.watch([P1], 1006) is None


def test_the_clock_of_idleness_starts_again_with_each_record_and_each_gap() -> None:
    """Read something, or not at the end: not idle yet."""
    lane = story(P0, idle_after_us=5)
    lane.push([tx(0, 0, 100)], 1000)
    assert lane.orderer.watch([P0], 1000) is None
    assert lane.orderer.watch([], 1004) is None
    assert lane.orderer.watch([P0], 1006) is None
    lane.push([tx(0, 1, 101)], 1010)
    assert lane.orderer.watch([P0], 1011) is None
    assert lane.orderer.watch([P0], 1016) == Tick(1016, (P0,))


def test_a_partition_that_returns_is_held_to_the_lane_watermark_before() -> None:
    """Also for its later records, until its own W is beyond."""
    lane = story(idle_after_us=5, out_of_order_us=10)
    lane.push([tx(0, 0, 1000)], 0)
    lane.orderer.tick(Tick(5, (P1,)))
    assert lane.orderer.watermark_us == 989
    ordered = lane.push([tx(1, 0, 989), tx(1, 1, 990), tx(0, 1, 2000)], 10)
    assert fates(ordered)["dropped"] == [(Reason.LATE, "tx-topic", 1, 0)]
    assert (times(ordered), ordered.watermark_us) == ([], 989)
    assert fates(lane.push([tx(1, 2, 985)], 10))["dropped"] == [(Reason.LATE, "tx-topic", 1, 2)]


def test_when_all_are_idle_time_goes_on_from_the_greatest_event_time() -> None:
    """The first tick releases all that is held; a replayed history doesn't jump to today."""
    lane = story(P0, idle_after_us=5)
    lane.push([tx(0, 0, 100), tx(0, 1, 200)], 1_000_000)
    lane.orderer.watch([P0], 1_000_000)
    tick = lane.orderer.watch([P0], 1_000_005)
    assert tick is not None
    ordered = lane.orderer.tick(tick)
    assert (times(ordered), ordered.watermark_us) == ([200], 200)
    assert lane.orderer.watch([P0], 1_000_100, due_us=295) == Tick(1_000_100, (P0,))
    assert lane.orderer.watch([P0], 1_000_100, due_us=296) is None
    assert lane.orderer.watch([P0], 1_000_100) is None
    assert lane.orderer.tick(Tick(1_000_100, (P0,))).watermark_us == 295
    assert lane.orderer.tick(Tick(999, (P0,))).watermark_us == 295


def test_a_lane_that_saw_nothing_has_no_time() -> None:
    """All idle and no event: the watermark stays where it was."""
    lane = story(P0)
    assert lane.orderer.tick(Tick(10**15, (P0,))).watermark_us == NEVER_US


def test_a_tick_names_all_idle_partitions() -> None:
    """One that it doesn't name any more holds the watermark again, from where the lane stands."""
    lane = story()
    lane.push([tx(0, 0, 100)], 0)
    lane.orderer.tick(Tick(50, (P0, P1)))
    assert lane.orderer.watermark_us == 100
    lane.orderer.tick(Tick(60, (P0,)))
    assert times(lane.push([tx(0, 1, 500)], 61)) == []
    assert fates(lane.push([tx(1, 0, 100)], 62))["dropped"] == [(Reason.LATE, "tx-topic", 1, 0)]


def test_a_finite_log_ends_with_everything_released() -> None:
    """And has no records after its end."""
    lane = story()
    lane.push([tx(0, 0, 100)], 0)
    tick, ordered = lane.orderer.finish(7)
    assert tick == Tick(7, (P0, P1), end=True)
    assert (times(ordered), ordered.watermark_us) == ([100], FOREVER_US)
    assert lane.orderer.watch([P0, P1], 10**9, due_us=5) is None
    with pytest.raises(IntegrityViolation, match="after its recorded end"):
        lane.push([tx(0, 1, 200)], 8)


# --- stories: arrival -------------------------------------------------------------------------------------------------


def test_arrival_merges_partitions_by_their_greatest_log_timestamp() -> None:
    """A partition is never reordered, and a timestamp that goes back counts as the one before."""
    lane = story(order=Order.ARRIVAL)
    read = [tx(1, 0, 1, log=30), tx(0, 0, 2, log=40), tx(1, 1, 3, log=20), tx(1, 2, 4, log=40), tx(0, 1, 5, log=41)]
    out = events(lane.push(read), lane.streams)
    assert [event[3:5] for event in out] == [(1, 0), (1, 1), (0, 0), (1, 2), (0, 1)]
    out = events(lane.push([tx(0, 2, 6, log=0), tx(1, 3, 7, log=0)]), lane.streams)
    assert [event[3:5] for event in out] == [(1, 3), (0, 2)]


def test_now_is_the_greatest_event_time_so_far() -> None:
    """Nothing is late by arrival; in silence ticks move now, when the matcher has something to do."""
    lane = story(P0, order=Order.ARRIVAL, idle_after_us=5)
    ordered = lane.push([tx(0, 0, 10), tx(0, 1, 7), tx(0, 2, 12)], 100)
    assert times(ordered) == [10, 10, 12]
    assert ordered.batch.event_at_us.tolist() == [10, 7, 12]
    assert ordered.watermark_us == 12
    assert lane.orderer.watch([P0], 100, due_us=20) is None
    assert lane.orderer.watch([P0], 110, due_us=None) is None
    tick = lane.orderer.watch([P0], 113, due_us=20)
    assert tick is not None
    assert lane.orderer.tick(tick).watermark_us == 20
    assert times(lane.push([tx(0, 3, 15)], 120)) == [20]


# --- stories: duplicates ----------------------------------------------------------------------------------------------


def test_an_id_counts_once_within_its_window() -> None:
    """The window is measured from the first one in the order of matching; a duplicate doesn't renew it."""
    lane = story(P0, order=Order.ARRIVAL, event_id="id", dedupe_us=10, max_ahead_us=10**9)
    read = [tx(0, offset, at, id="a") for offset, at in enumerate((100, 105, 110, 111))]
    ordered = lane.push(read)
    assert times(ordered) == [100, 111]
    assert fates(ordered)["dropped"] == [(Reason.DUPLICATE, "tx-topic", 0, 1), (Reason.DUPLICATE, "tx-topic", 0, 2)]
    assert ordered.counts.duplicates == 2
    assert ordered.dropped[0].raw == Rec(105, id="a").raw


def test_the_first_of_two_equal_ids_is_the_first_in_event_time() -> None:
    """Not the first to arrive."""
    lane = story(P0, event_id="id", dedupe_us=1000, out_of_order_us=50)
    lane.push([tx(0, 0, 100, id="a"), tx(0, 1, 90, id="a")])
    ordered = lane.orderer.finish(0)[1]
    assert [event[4] for event in events(ordered, lane.streams)] == [1]


def test_streams_dont_share_ids_and_may_have_none() -> None:
    """Equal ids of two streams are two events."""
    streams = [stream("tx", event_id="id", dedupe_us=100), stream("login", event_id="id", dedupe_us=100), stream("x")]
    lane = Lane(streams, [Source(f"{item.name}-topic", 0) for item in streams])
    lane.push([(name, 0, offset, Rec(5)) for name in ("tx", "login", "x") for offset in (0, 1)])
    out = events(lane.orderer.finish(0)[1], streams)
    assert [event[7] for event in out] == ["x", "x", "x-topic/0/0", "x-topic/0/1"]


def test_only_so_many_ids_are_kept_and_the_rest_is_counted() -> None:
    """The oldest is forgotten first."""
    lane = story(P0, order=Order.ARRIVAL, event_id="id", dedupe_us=1000, dedupe_ids_max=2)
    ordered = lane.push([tx(0, offset, 1, id=text) for offset, text in enumerate("abcba")])
    assert [event[7] for event in events(ordered, lane.streams)] == ["a", "b", "c", "a"]
    assert (ordered.counts.ids_evicted, ordered.counts.duplicates) == (2, 1)


# --- stories: limits --------------------------------------------------------------------------------------------------


def test_at_the_limit_the_oldest_leave_before_their_time() -> None:
    """Nothing is lost, it is counted, and the order stays an order: what comes below is late."""
    lane = story(held_max=8, max_ahead_us=10**9)
    ordered = lane.push([tx(0, offset, 10 + offset) for offset in range(10)])
    assert times(ordered) == [10, 11, 12]
    assert (ordered.counts.forced, len(lane.orderer), ordered.watermark_us) == (3, 7, 12)
    ordered = lane.push([tx(1, 0, 12), tx(1, 1, 14)])
    assert fates(ordered)["dropped"] == [(Reason.LATE, "tx-topic", 1, 0)]
    assert times(ordered) == [13]


def test_partitions_that_ran_ahead_are_named_before_the_limit() -> None:
    """Reading only the others lets the watermark come after; half full starts it, a quarter ends it."""
    lane = story(held_max=8)
    lane.push([tx(0, offset, 10 + offset) for offset in range(4)])
    assert lane.orderer.ahead() == ()
    lane.push([tx(0, 4, 14)])
    assert lane.orderer.ahead() == (P0,)
    lane.push([tx(1, 0, 13)])
    assert (len(lane.orderer), lane.orderer.ahead()) == (3, (P0,))
    lane.push([tx(1, 1, 14)])
    assert (len(lane.orderer), lane.orderer.ahead()) == (2, ())


# --- stories: state ---------------------------------------------------------------------------------------------------


def test_held_strings_are_marked() -> None:
    """Codes of held events must survive the recycling of the string table."""
    lane = story(P0)
    for text in ("left", "held"):
        lane.strings.code(text)
    declared = lane.streams[0]
    raw = [
        json.dumps({"at": at, "id": "x", "amount": 1, "note": note}).encode() for at, note in ((1, "left"), (2, "held"))
    ]
    raw.append(json.dumps({"at": 2, "id": "x", "amount": 1}).encode())
    numbers = np.arange(3)
    part = Arrived(declared.name, numbers * 0, numbers, numbers, raw, lane.decoders["tx"].decode(raw))
    lane.orderer.push([part], 0)
    assert lane.orderer.string_codes().tolist() == [lane.strings.codes["held"]]


def test_another_layout_decodes_held_events_again() -> None:
    """Those that lack what the new layout reads are dead letters; the others have the new columns."""
    lane = story(P0)
    old = Layout(("tx",), ())
    orderer = Orderer(lane.streams, [P0], old)
    raw = [b'{"at":1,"id":"a","amount":3}', b'{"at":2,"id":"b","amount":"x"}', b'{"at":2,"id":"c","amount":6}']
    numbers = np.arange(3)
    decoded = Decoder(lane.streams[0], old, lane.strings).decode(raw)
    orderer.push([Arrived("tx", numbers * 0, numbers, numbers, raw, decoded)], 0)
    (dead,) = orderer.relayout(lane.layout, lane.decoders)
    assert (dead.offset, dead.reason, dead.path, dead.event_at_us) == (1, Reason.WRONG_TYPE, "$.amount", 2)
    assert [event[5] for event in events(orderer.finish(0)[1], lane.streams)] == [6]


def test_a_layout_that_cant_be_taken_changes_nothing() -> None:
    """The string table is full: recycle it, try again."""
    lane = story(P0)
    old = Layout(("tx",), ())
    orderer = Orderer(lane.streams, [P0], old)
    raw = [b'{"at":1,"id":"a","amount":3,"note":"n"}']
    decoded = Decoder(lane.streams[0], old, lane.strings).decode(raw)
    orderer.push([Arrived("tx", np.array([0]), np.array([0]), np.array([0]), raw, decoded)], 0)
    full = {"tx": Decoder(lane.streams[0], lane.layout, StringTable(limit=0))}
    with pytest.raises(LimitReached):
        orderer.relayout(lane.layout, full)
    assert (orderer.layout, len(orderer)) == (old, 1)


def test_state_is_plain_data() -> None:
    """Numbers, text, bytes, arrays: no pickle, no objects."""
    lane = story(event_id="id", dedupe_us=100)
    lane.push([tx(0, 0, 100, id="é"), tx(0, 1, 200), tx(1, 0, 150)], 1)
    for key, value in lane.orderer.dump().items():
        assert isinstance(key, str)
        assert isinstance(value, int | str | bytes | list | np.ndarray)
        if isinstance(value, np.ndarray):
            assert value.dtype.kind in "iub"


def test_partitions_can_be_added_between_two_batches() -> None:
    """A new one begins at the lane watermark; the others go on."""
    lane = story(P1)
    lane.push([tx(1, 0, 100), tx(1, 1, 200)], 1)
    more = Source("tx-topic", 5)
    lane.orderer = Orderer.load(lane.orderer.dump(), lane.streams, [more, P1, P0], lane.layout)
    assert lane.orderer.watermark_us == 199
    ordered = lane.push([tx(0, 0, 199), tx(0, 1, 250), tx(5, 0, 300), tx(1, 2, 400)], 2)
    assert fates(ordered)["dropped"] == [(Reason.LATE, "tx-topic", 0, 0)]
    assert times(ordered) == [200]


def test_state_that_doesnt_fit_is_refused() -> None:
    """A source that is gone, another order, other columns."""
    lane = story(P0, P1)
    lane.push([tx(0, 0, 100)])
    saved = lane.orderer.dump()
    with pytest.raises(IntegrityViolation, match="are gone"):
        Orderer.load(saved, lane.streams, [P0], lane.layout)
    with pytest.raises(IntegrityViolation, match="'event_time', is 'arrival'"):
        Orderer.load(saved, [stream(order=Order.ARRIVAL)], [P0, P1], lane.layout)
    with pytest.raises(IntegrityViolation, match="2 columns, the layout has 0"):
        Orderer.load(saved, lane.streams, [P0, P1], Layout(("tx",), ()))


def test_a_log_that_contradicts_itself_is_noticed() -> None:
    """An offset twice, an offset that goes back, a partition that isn't ours."""
    lane = story(P0)
    lane.push([tx(0, 5, 100)])
    for read in ([tx(0, 5, 101)], [tx(0, 7, 101), tx(0, 6, 102)], [tx(1, 0, 100)], [tx(-1, 0, 100)]):
        with pytest.raises(IntegrityViolation):
            lane.push(read)


def test_streams_that_cant_share_a_lane_are_named() -> None:
    """All problems at once."""
    streams = [stream("a"), stream("b", order=Order.ARRIVAL), stream("c", topic="a-topic")]
    with pytest.raises(InvalidDocument) as caught:
        Orderer(streams, [Source("a-topic", 0)], layout_of(streams))
    assert [problem.where for problem in caught.value.problems] == ["b.order", "c.topic"]
