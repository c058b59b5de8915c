"""One contract for every Source: file, SQLite, Kafka."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path

import pytest
from confluent_kafka import KafkaException, Producer
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from cep.log.files import FileSource
from cep.log.kafka import KafkaSource
from cep.log.kafka_reader import Reader
from cep.log.protocol import DECIDE, Partition, Slice, Source
from cep.log.sqlite import SqliteLog, SqliteSource
from cep.settings import Kafka
from events.errors import IntegrityViolation, InvalidDocument, ServiceUnavailable

KINDS = ["file", "sqlite", pytest.param("kafka", marks=pytest.mark.kafka)]


@dataclass
class Log:
    """A log of one topic: `open` makes a reader, `append` writes more values (None where it can't grow)."""

    topic: str
    open: Callable[[], Source]
    append: Callable[[Sequence[bytes]], None] | None

    @property
    def place(self) -> Partition:
        return Partition(self.topic, 0)


@pytest.fixture(params=KINDS)
def make(request: pytest.FixtureRequest, tmp_path: Path, unique: str) -> Iterator[Callable[[Sequence[bytes]], Log]]:
    """A log that holds these values in partition 0."""
    with ExitStack() as stack:

        def kept(source: Source) -> Source:
            stack.callback(source.close)
            return source

        def of_file(values: Sequence[bytes]) -> Log:
            path = tmp_path / "tx.ndjson"
            path.write_bytes(b"".join(value + b"\n" for value in values))
            return Log(unique, lambda: kept(FileSource({unique: path})), None)

        def of_sqlite(values: Sequence[bytes]) -> Log:
            log = SqliteLog(tmp_path / "log.db", durable=False)
            stack.callback(log.close)

            def append(more: Sequence[bytes]) -> None:
                log.append(unique, [(b"k", value) for value in more], 7_000)

            append(values)
            return Log(unique, lambda: kept(SqliteSource(log, [unique])), append)

        def of_kafka(values: Sequence[bytes]) -> Log:
            address = request.getfixturevalue("kafka")
            _make_topic(address, unique, 1)

            def append(more: Sequence[bytes]) -> None:
                _produce(address, unique, 0, more)

            append(values)
            return Log(unique, lambda: kept(KafkaSource(Kafka(bootstrap=address), "app", 0, 1, [unique])), append)

        yield {"file": of_file, "sqlite": of_sqlite, "kafka": of_kafka}[request.param]


def _make_topic(address: str, name: str, partitions: int) -> None:
    admin = AdminClient({"bootstrap.servers": address})  # it must outlive its answers
    admin.create_topics([NewTopic(name, partitions, 1)])[name].result()
    _await(lambda: name in admin.list_topics(timeout=5).topics)  # whom one asks may not have heard of it yet


def _await(is_so: Callable[[], bool]) -> None:
    until = time.monotonic() + 20
    while not is_so() and time.monotonic() < until:
        time.sleep(0.02)


def _produce(address: str, topic: str, partition: int, values: Sequence[bytes]) -> None:
    producer = Producer({"bootstrap.servers": address, "linger.ms": 0})
    for value in values:
        producer.produce(topic, value, b"k", partition, timestamp=7)
    assert producer.flush(10) == 0


@pytest.mark.kafka
@pytest.mark.parametrize(("header", "hurried"), [([(DECIDE, b"")], True), ([("other", b"x")], False), (None, False)])
def test_a_record_whose_decision_is_waited_for_says_so(
    kafka: str, unique: str, header: list[tuple[str, str | bytes | None]] | None, hurried: bool
) -> None:
    _make_topic(kafka, unique, 1)
    producer = Producer({"bootstrap.servers": kafka, "linger.ms": 0})
    producer.produce(unique, b"{}", b"k", 0, headers=header)
    assert producer.flush(10) == 0
    source = KafkaSource(Kafka(bootstrap=kafka), "app", 0, 1, [unique])
    try:
        source.seek({Partition(unique, 0): 0})
        until = time.monotonic() + 20
        while not (drained := source.drain(1000, 0.1)).slices:
            assert time.monotonic() < until
        assert drained.hurried is hurried
        assert not source.drain(1000, 0.0).hurried
    finally:
        source.close()


def _drained(source: Source, count: int, records_max: int = 1000) -> list[Slice]:
    """Slices until `count` records came. A log that never brings them fails the test by its time."""
    slices: list[Slice] = []
    until = time.monotonic() + 20
    while sum(map(len, slices)) < count and time.monotonic() < until:
        slices += source.drain(records_max, 0.1).slices
    return slices


def _values(slices: Sequence[Slice]) -> list[bytes | None]:
    return [value for part in slices for value in part.values]


def _numbers(start: int, stop: int) -> list[bytes]:
    return [b'{"n": %d}' % number for number in range(start, stop)]


def test_everything_is_read_once_in_order(make: Callable[[Sequence[bytes]], Log]) -> None:
    """From the beginning to the end, however many are taken at once."""
    log = make(_numbers(0, 100))
    source = log.open()
    source.seek(source.begin())
    slices = _drained(source, 100, records_max=7)
    assert _values(slices) == _numbers(0, 100)
    assert max(map(len, slices)) <= 7


def test_offsets_grow_and_next_offset_is_where_reading_goes_on(make: Callable[[Sequence[bytes]], Log]) -> None:
    """Each slice begins where the one before said that reading goes on."""
    log = make(_numbers(0, 50))
    source = log.open()
    begin = source.begin()
    source.seek(begin)
    expected = begin[log.place]
    for part in _drained(source, 50, records_max=10):
        offsets = part.offsets().tolist()
        assert offsets[0] == expected
        assert offsets == sorted(set(offsets))
        assert [part.record(row).offset for row in range(len(part))] == offsets
        expected = part.next_offset
    assert expected == source.end()[log.place]


def test_a_new_reader_resumes_at_any_position(make: Callable[[Sequence[bytes]], Log]) -> None:
    """After a crash: what was taken isn't read again, what wasn't is."""
    log = make(_numbers(0, 30))
    first = log.open()
    first.seek(first.begin())
    taken = _drained(first, 13, records_max=13)
    position = taken[-1].next_offset
    count = len(_values(taken))
    second = log.open()
    second.seek({log.place: position})
    assert _values(_drained(second, 30 - count)) == _numbers(count, 30)


def test_a_replay_reads_the_same_batches(make: Callable[[Sequence[bytes]], Log]) -> None:
    """`read_to` the recorded offsets gives the slices that `drain` gave, and `drain` goes on behind them."""
    log = make(_numbers(0, 60))
    live = log.open()
    live.seek(live.begin())
    slices = _drained(live, 60, records_max=9)
    replay = log.open()
    replay.seek(replay.begin())
    for part in slices[:3]:
        (again,) = replay.read_to({log.place: part.next_offset})
        assert (again.values, again.next_offset) == (part.values, part.next_offset)
        assert again.offsets().tolist() == part.offsets().tolist()
        assert again.timestamps_us().tolist() == part.timestamps_us().tolist()
    rest = _values(slices[3:])
    assert _values(_drained(replay, len(rest))) == rest


def test_a_replay_of_what_is_not_there_is_an_integrity_violation(make: Callable[[Sequence[bytes]], Log]) -> None:
    """A journal that took more than the log holds can't be followed."""
    log = make(_numbers(0, 5))
    source = log.open()
    source.seek(source.begin())
    with pytest.raises(IntegrityViolation):
        source.read_to({log.place: source.end()[log.place] + 5})


def test_the_end_is_known_only_once_it_is_read(make: Callable[[Sequence[bytes]], Log]) -> None:
    """`at_end` is what turns a partition idle: it may not say so while records wait."""
    log = make(_numbers(0, 20))
    source = log.open()
    source.seek(source.begin())
    seen = 0
    while seen < 20:
        assert source.at_end() == frozenset()
        seen += sum(map(len, source.drain(8, 0.1).slices))
    assert _comes_to_its_end(source, log.place)


def test_an_empty_partition_is_at_its_end(make: Callable[[Sequence[bytes]], Log]) -> None:
    """Also one that never had a record."""
    log = make([])
    source = log.open()
    source.seek(source.begin())
    assert _comes_to_its_end(source, log.place)


def _comes_to_its_end(source: Source, place: Partition) -> bool:
    until = time.monotonic() + 20
    while place not in source.at_end() and time.monotonic() < until:
        assert source.drain(8, 0.05).slices == []
    return place in source.at_end()


def test_backlog_is_said_while_a_drain_is_full(make: Callable[[Sequence[bytes]], Log]) -> None:
    """It decides how often the lane commits."""
    log = make(_numbers(0, 100))
    source = log.open()
    source.seek(source.begin())
    drained = source.drain(5, 5.0)
    while not drained.slices:
        drained = source.drain(5, 5.0)
    assert sum(map(len, drained.slices)) <= 5
    assert drained.backlog or sum(map(len, drained.slices)) < 5


def test_held_partitions_are_not_read(make: Callable[[Sequence[bytes]], Log]) -> None:
    """Until they are let go; then nothing is missing."""
    log = make(_numbers(0, 10))
    source = log.open()
    source.seek(source.begin())
    first = _drained(source, 1, records_max=1)
    source.hold(frozenset({log.place}))
    assert source.drain(100, 0.2).slices == []
    source.hold(frozenset())
    assert _values(first) + _values(_drained(source, 9)) == _numbers(0, 10)


def test_an_identity_stays_with_the_topic(make: Callable[[Sequence[bytes]], Log]) -> None:
    """Two readers see the same one."""
    log = make(_numbers(0, 1))
    assert log.open().identities() == log.open().identities()
    assert list(log.open().identities()) == [log.topic]


def test_records_that_arrive_later_are_read(make: Callable[[Sequence[bytes]], Log]) -> None:
    """A log that grows wakes its reader; a file is finite and says so."""
    log = make(_numbers(0, 3))
    source = log.open()
    source.seek(source.begin())
    assert _values(_drained(source, 3)) == _numbers(0, 3)
    assert source.finite == (log.append is None)
    if log.append is not None:
        log.append(_numbers(3, 6))
        slices = _drained(source, 3, records_max=3)
        assert _values(slices) == _numbers(3, 6)
        assert [part.record(row).key for part in slices for row in range(len(part))] == [b"k"] * 3
        assert [stamp_us for part in slices for stamp_us in part.timestamps_us().tolist()] == [7_000] * 3


# --- What only one of them has --------------------------------------------------------------------------------------


def test_a_file_without_a_last_newline_ends_with_a_record(tmp_path: Path) -> None:
    """The last line counts, and its end is the file's."""
    (tmp_path / "a").write_bytes(b"1\n22\n333")
    source = FileSource({"a": tmp_path / "a"})
    source.seek(source.begin())
    (part,) = source.drain(10, 0).slices
    assert (part.values, part.offsets().tolist()) == ([b"1", b"22", b"333"], [0, 2, 5])
    assert part.next_offset == source.end()[Partition("a", 0)]
    assert source.at_end() == {Partition("a", 0)}
    source.close()


def test_lines_longer_than_a_chunk_are_whole(tmp_path: Path) -> None:
    """A record may span several reads."""
    lines = [b"x" * 700_000, b"y", b"z" * 300_000]
    (tmp_path / "a").write_bytes(b"\n".join(lines) + b"\n")
    source = FileSource({"a": tmp_path / "a"})
    source.seek(source.begin())
    assert _values(_drained(source, 3, records_max=2)) == lines
    source.close()


def test_a_missing_file_says_so(tmp_path: Path) -> None:
    """Bad paths are found at the start."""
    with pytest.raises(InvalidDocument, match="No such file"):
        FileSource({"a": tmp_path / "none"})


def test_two_files_share_a_batch(tmp_path: Path) -> None:
    """Each gives a part, in order of partition; the longer one goes on alone."""
    (tmp_path / "a").write_bytes(b"\n".join(_numbers(0, 3)))
    (tmp_path / "b").write_bytes(b"\n".join(_numbers(10, 30)))
    source = FileSource({"b": tmp_path / "b", "a": tmp_path / "a"})
    source.seek(source.begin())
    first = source.drain(8, 0).slices
    assert [(part.partition.topic, len(part)) for part in first] == [("a", 3), ("b", 5)]
    assert len(_drained(source, 15)[0]) == 15
    source.close()


@pytest.mark.kafka
def test_a_lane_reads_its_own_partitions_only(kafka: str, unique: str) -> None:
    """Partition p belongs to lane p mod L, and a slice holds one partition."""
    _make_topic(kafka, unique, 4)
    for place in range(4):
        _produce(kafka, unique, place, _numbers(place * 10, place * 10 + 10))
    source = KafkaSource(Kafka(bootstrap=kafka), "app", 1, 2, [unique])
    source.seek(source.begin())
    slices = _drained(source, 20)
    assert {part.partition.partition for part in slices} == {1, 3}
    assert sorted(value or b"" for value in _values(slices)) == _numbers(10, 20) + _numbers(30, 40)
    source.close()


@pytest.mark.kafka
def test_only_committed_records_are_read_and_markers_leave_holes(kafka: str, unique: str) -> None:
    """Sources may be filled by transactions: aborted records are not events, the end is behind the last marker."""
    _make_topic(kafka, unique, 1)
    producer = Producer({"bootstrap.servers": kafka, "transactional.id": unique})
    producer.init_transactions(20)
    for number in range(6):
        producer.begin_transaction()
        producer.produce(unique, b"%d" % number, partition=0)
        if number % 2:
            producer.flush(10)
            producer.abort_transaction(10)
        else:
            producer.commit_transaction(10)
    source = KafkaSource(Kafka(bootstrap=kafka), "app", 0, 1, [unique])
    source.seek(source.begin())
    slices = _drained(source, 3)
    assert _values(slices) == [b"0", b"2", b"4"]
    assert [offset for part in slices for offset in part.offsets().tolist()] == [0, 4, 8]
    assert _comes_to_its_end(source, Partition(unique, 0))
    source.close()


@pytest.mark.kafka
def test_records_without_value_or_key(kafka: str, unique: str) -> None:
    """A tombstone is a record too; so is one whose value is empty, which is something else."""
    _make_topic(kafka, unique, 1)
    producer = Producer({"bootstrap.servers": kafka, "linger.ms": 0})
    sent = [(None, b"1"), (b"k", None), (b"", b""), (None, None), (b"k", b'{"a":"\0"}'), (b"\0", b"\xff")]
    for key, value in sent:
        producer.produce(unique, value, key)
    assert producer.flush(10) == 0
    with closing(KafkaSource(Kafka(bootstrap=kafka), "app", 0, 1, [unique])) as source:
        source.seek(source.begin())
        slices = _drained(source, len(sent))
    records = [part.record(row) for part in slices for row in range(len(part))]
    assert [(record.key, record.value) for record in records] == sent
    assert _values(slices) == [value for _, value in sent]
    assert [text for part in slices for text in part.texts] == [value or b"" for _, value in sent]


@pytest.mark.kafka
def test_a_closed_source_refuses(kafka: str, unique: str) -> None:
    """Its client is gone; asking it would be the end of the process."""
    _make_topic(kafka, unique, 1)
    source = KafkaSource(Kafka(bootstrap=kafka), "app", 0, 1, [unique])
    source.seek(source.begin())
    source.close()
    source.close()
    for ask in (lambda: source.drain(1, 0), lambda: source.seek({}), lambda: source.hold(frozenset())):
        with pytest.raises(ServiceUnavailable, match="closed"):
            ask()


@pytest.mark.kafka
def test_settings_that_the_client_does_not_know(kafka: str) -> None:
    with pytest.raises(KafkaException, match=r"no\.such\.setting"):
        Reader({"bootstrap.servers": kafka, "group.id": "g", "no.such.setting": "1"})
    with pytest.raises(KafkaException, match=r"fetch\.min\.bytes"):
        Reader({"bootstrap.servers": kafka, "group.id": "g", "fetch.min.bytes": "some"})


@pytest.mark.kafka
def test_a_topic_made_anew_has_another_identity(kafka: str, unique: str) -> None:
    """So that offsets of the old one aren't taken for the new one's."""
    source = KafkaSource(Kafka(bootstrap=kafka), "app", 0, 1, [unique])
    _make_topic(kafka, unique, 1)
    before = source.identities()
    admin = AdminClient({"bootstrap.servers": kafka})
    admin.delete_topics([unique])[unique].result()
    _await(lambda: unique not in admin.list_topics(timeout=5).topics)
    _make_topic(kafka, unique, 1)
    assert source.identities() != before
    source.close()


@pytest.mark.kafka
def test_a_missing_topic_says_how_to_make_it(kafka: str, unique: str) -> None:
    """The first thing that a new installation meets."""
    source = KafkaSource(Kafka(bootstrap=kafka), "app", 0, 1, [unique])
    with pytest.raises(ServiceUnavailable, match="topics create"):
        source.begin()
    source.close()
