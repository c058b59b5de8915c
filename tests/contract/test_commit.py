"""One contract for every Commit: SQLite, Kafka. And for the control log that lies beside it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec
import pytest
from confluent_kafka import Consumer, KafkaError, KafkaException, Producer, TopicPartition

from cep.control import Activate, PatternVersion, Pause, read, write
from cep.log.kafka import KafkaControl
from cep.log.kafka_commit import KafkaCommit
from cep.log.kafka_topics import Topics, check_topics, create_topics
from cep.log.protocol import (
    ALERTS,
    LATE,
    BatchEntry,
    Commit,
    ControlLog,
    JournalRecord,
    Outputs,
    Start,
    TickEntry,
    decode_journal,
    encode_journal,
)
from cep.log.sqlite import SqliteCommit, SqliteControl, SqliteLog
from cep.settings import Kafka
from events.errors import Fenced, IntegrityViolation, InvalidDocument, LimitReached, ServiceUnavailable
from tests.contract.broker_requests import write_in_no_transaction, write_marker, writer_of


@dataclass
class Place:
    """Where commits go: `open` makes one more owner, `visible` reads an output topic as a consumer would."""

    open: Callable[[], Commit]
    visible: Callable[[str], list[bytes]]
    control: Callable[[], ControlLog]


@pytest.fixture(params=["sqlite", pytest.param("kafka", marks=pytest.mark.kafka)])
def place(request: pytest.FixtureRequest, tmp_path: Path, unique: str) -> Iterator[Place]:
    with ExitStack() as stack:
        if request.param == "sqlite":
            log = SqliteLog(tmp_path / "log.db", durable=False)
            stack.callback(log.close)
            yield Place(
                lambda: SqliteCommit(log),
                lambda topic: [value for _, _, value in log.outputs(topic)],
                lambda: _kept(stack, SqliteControl(log)),
            )
            return
        settings = Kafka(bootstrap=request.getfixturevalue("kafka"))
        create_topics(unique, 1, settings)

        def commit() -> Commit:
            made = kafka_commit(settings, unique)
            stack.callback(made.close)
            return made

        yield Place(
            commit,
            lambda topic: visible(settings, Topics(unique).output(topic)),
            lambda: _kept(stack, KafkaControl(settings, unique)),
        )


def _kept(stack: ExitStack, log: ControlLog) -> ControlLog:
    stack.callback(log.close)
    return log


def kafka_commit(settings: Kafka, app: str, still_mine: Callable[[], None] = lambda: None) -> KafkaCommit:
    return KafkaCommit(settings, app, 0, still_mine=still_mine, pulse=lambda: None)


def visible(settings: Kafka, topic: str) -> list[bytes]:
    """What a consumer of committed records sees, up to the stable end."""
    reader = Consumer(
        {
            "bootstrap.servers": settings.bootstrap,
            "group.id": "test",
            "isolation.level": "read_committed",
            "enable.partition.eof": True,
            "auto.offset.reset": "earliest",
        }
    )
    reader.assign([TopicPartition(topic, 0, 0)])
    values: list[bytes] = []
    while (message := reader.poll(10)) is not None:
        error = message.error()
        if error is not None:
            assert error.code() == KafkaError._PARTITION_EOF, error
            break
        values.append(message.value() or b"")
    reader.close()
    return values


def record(commit: Commit, number: int, offset: int = 0, alerts: int = 0, late: int = 0) -> JournalRecord:
    """`alerts`, `late`: how many there are, this commit's too."""
    return JournalRecord(
        app="app",
        lane=0,
        lanes=1,
        epoch=commit.epoch(),
        number=number,
        partitions=(Start("tx", 0, offset),),
        entries=(BatchEntry(((0, offset + 10),), 5, 0, 99), TickEntry(100, 6, (0,))),
        sequences={ALERTS: alerts, LATE: late},
        chain_before=number,
        chain=number + 1,
    )


def output(number: int, epoch: int = 1) -> bytes:
    """An alert or a late record, as far as the log looks into it."""
    return json.dumps({"epoch": epoch, "sequence": number, "processed_at_us": 99}).encode()


def outputs(*values: bytes, topic: str = ALERTS) -> Outputs:
    found = Outputs()
    for value in values:
        found.add(topic, b"key", value)
    return found


def test_the_first_claim_finds_no_journal(place: Place) -> None:
    """A new lane begins with epoch 1."""
    commit = place.open()
    assert commit.claim() is None
    assert commit.epoch() == 1
    assert list(commit.journal()) == []


def test_the_journal_is_read_back_as_it_was_written(place: Place) -> None:
    """In order, whole, by whoever claims the lane next; the epoch grows."""
    first = place.open()
    first.claim()
    records = [record(first, number, number * 10, alerts=number + 1) for number in range(5)]
    for number, each in enumerate(records):
        first.commit(outputs(output(number)), each)
    second = place.open()
    assert second.claim() == records[-1]
    assert list(second.journal()) == records
    assert second.epoch() == 2


def test_outputs_and_record_become_visible_together(place: Place) -> None:
    """Every topic of a commit, in order."""
    commit = place.open()
    commit.claim()
    both = outputs(output(0), output(1))
    both.add(LATE, b"key", output(0))
    commit.commit(both, record(commit, 0, alerts=2, late=1))
    assert (place.visible(ALERTS), place.visible(LATE)) == ([output(0), output(1)], [output(0)])


def test_a_commit_may_hold_the_record_only(place: Place) -> None:
    """Most commits have no alerts."""
    commit = place.open()
    commit.claim()
    commit.commit(Outputs(), record(commit, 0))
    assert place.open().claim() == record(commit, 0)


def test_an_owner_of_before_is_fenced_and_nothing_of_it_is_visible(place: Place) -> None:
    """Whoever claimed last owns the lane; a zombie's outputs never appear."""
    old = place.open()
    old.claim()
    old.commit(outputs(output(0)), record(old, 0, alerts=1))
    new = place.open()
    assert new.claim() == record(old, 0, alerts=1)
    with pytest.raises(Fenced):
        old.commit(outputs(output(1)), record(old, 1, alerts=2))
    new.commit(outputs(output(1, epoch=2)), record(new, 1, alerts=2))
    assert place.visible(ALERTS) == [output(0), output(1, epoch=2)]
    assert [each.epoch for each in _journal(place)] == [1, 2]


def _journal(place: Place) -> list[JournalRecord]:
    reader = place.open()
    reader.claim()
    return list(reader.journal())


def test_many_outputs_in_one_commit(place: Place) -> None:
    """A burst: ten thousand alerts become visible at once."""
    commit = place.open()
    commit.claim()
    values = [output(number) for number in range(10_000)]
    commit.commit(outputs(*values), record(commit, 0, alerts=10_000))
    assert place.visible(ALERTS) == values


def test_a_crash_before_the_commit_leaves_nothing(place: Place) -> None:
    """An owner that dies between two commits: the next one finds the last whole commit."""
    crashed = place.open()
    crashed.claim()
    crashed.commit(outputs(output(0)), record(crashed, 0, alerts=1))

    class Crash(BaseException):
        pass

    def crash(name: str) -> None:
        if name == "produced":
            raise Crash

    assert isinstance(crashed, SqliteCommit | KafkaCommit)
    crashed._failpoint = crash
    with pytest.raises(Crash):
        crashed.commit(outputs(output(1)), record(crashed, 1, alerts=2))
    after = place.open()
    assert after.claim() == record(crashed, 0, alerts=1)
    assert place.visible(ALERTS) == [output(0)]


def test_the_control_log_is_read_by_offset(place: Place) -> None:
    """From any offset, exactly up to one, and what arrives later."""
    control = place.control()
    version = PatternVersion("p", 1, {"steps": [{"name": "a"}]})
    first = write(control, [version, Activate("p", 1)], author="ann", at_us=7)
    second = write(control, [Pause("p")], author="ben", at_us=8)
    reader = place.control()
    placed = read(reader, 0, second)
    assert [each.next_offset for each in placed] == [first, second]
    assert placed[0].record.changes == (version, Activate("p", 1))
    assert (placed[1].record.author, placed[1].record.at_us) == ("ben", 8)
    assert read(reader, first, second) == placed[1:]
    assert reader.end() == second


def test_a_control_record_over_the_limit_is_not_written(place: Place) -> None:
    """Found by the writer, not by the lanes."""
    control = place.control()
    with pytest.raises(LimitReached, match="control log"):
        write(control, [PatternVersion("p", 1, {"x": "y" * 1_000_000})], author="ann", at_us=0)
    assert control.end() == 0


def test_a_record_of_another_format_is_refused() -> None:
    """A newer release's journal isn't guessed at."""
    ours = JournalRecord(
        app="a", lane=0, lanes=1, epoch=1, number=0, partitions=(), entries=(), sequences={}, chain_before=0, chain=0
    )
    data = encode_journal(msgspec.structs.replace(ours, format=99))
    with pytest.raises(IntegrityViolation, match="format 99; this release reads 1"):
        decode_journal(data)
    with pytest.raises(IntegrityViolation, match="can't be read"):
        decode_journal(json.dumps({"not": "msgpack"}).encode())


# --- What only one of them has --------------------------------------------------------------------------------------


def test_jobs_that_wait_together_fail_alone(tmp_path: Path) -> None:
    """Group commit: a job that raises takes nothing of the others with it."""
    log = SqliteLog(tmp_path / "log.db", durable=False)

    def bad(connection: object) -> None:
        raise ValueError("mine alone")

    futures = [log.submit(bad) for _ in range(3)]
    first = log.append("tx", [(None, b"a")], 1)
    with pytest.raises(ValueError, match="mine alone"):
        futures[0].result()
    assert (first, log.append("tx", [(None, b"b")], 1)) == (0, 1)
    log.close()
    with pytest.raises(ServiceUnavailable, match="closed"):
        log.append("tx", [(None, b"c")], 1)


def test_another_releases_file_is_refused(tmp_path: Path) -> None:
    """A schema that this release doesn't know isn't touched."""
    log = SqliteLog(tmp_path / "log.db", durable=False)
    log.run(lambda connection: connection.execute("PRAGMA user_version = 99"))
    log.close()
    with pytest.raises(ServiceUnavailable, match="schema 99; this release reads 1"):
        SqliteLog(tmp_path / "log.db")


@pytest.mark.kafka
def test_topics_are_made_once_and_checked(kafka: str, unique: str) -> None:
    """Making them again makes nothing; another number of lanes is a problem per topic."""
    settings = Kafka(bootstrap=kafka)
    made = create_topics(unique, 2, settings, {f"{unique}-tx": 3})
    assert {
        f"{unique}-{name}" for name in ("journal", "control", "alerts", "dead-letters", "late", "scores", "tx")
    } == set(made)
    assert create_topics(unique, 2, settings) == []
    with pytest.raises(InvalidDocument, match="journal: has 2 partitions, expected 3"):
        check_topics(unique, 3, settings)
    with pytest.raises(InvalidDocument, match="is missing"):
        check_topics("nobody", 1, settings)


@pytest.mark.kafka
def test_a_record_the_broker_would_refuse_is_found_before_it_is_sent(kafka: str, unique: str) -> None:
    """Sizes are checked first: nothing of the commit is begun, and the next one works."""
    settings = Kafka(bootstrap=kafka, message_bytes_max=10_000)
    create_topics(unique, 1, settings)
    commit = kafka_commit(settings, unique)
    commit.claim()
    with pytest.raises(LimitReached, match="the limit is 10000"):
        commit.commit(outputs(b"x" * 10_001), record(commit, 0))
    commit.commit(outputs(b"x" * 9_000), record(commit, 0))
    assert len(visible(settings, Topics(unique).output(ALERTS))) == 1
    commit.close()


@pytest.mark.kafka
def test_who_is_not_the_owner_any_more_exits_before_it_fences_anyone(kafka: str, unique: str) -> None:
    """After an error the coordinator is asked first: a zombie may not make a producer of the rightful owner's name."""
    settings = Kafka(bootstrap=kafka)
    create_topics(unique, 1, settings)

    def not_mine() -> None:
        raise Fenced("the coordinator says no")

    zombie = kafka_commit(settings, unique, not_mine)
    zombie.claim()
    assert zombie._producer is not None
    zombie._producer.begin_transaction()  # the next begin is an error of state, not a fence
    with pytest.raises(Fenced, match="the coordinator says no"):
        zombie.commit(outputs(b"zombie"), record(zombie, 0))
    assert visible(settings, Topics(unique).output(ALERTS)) == []
    zombie.close()


@pytest.mark.kafka
def test_after_an_error_the_same_outputs_are_sent_again_once(kafka: str, unique: str) -> None:
    """A transaction that failed is sent again with a new producer: visible once, in order."""
    settings = Kafka(bootstrap=kafka)
    create_topics(unique, 1, settings)
    commit = kafka_commit(settings, unique)
    commit.claim()
    commit.commit(outputs(output(0)), record(commit, 0, alerts=1))
    assert commit._producer is not None
    commit._producer.begin_transaction()
    commit.commit(outputs(output(1)), record(commit, 1, alerts=2))
    commit.commit(outputs(output(2)), record(commit, 2, alerts=3))
    assert visible(settings, Topics(unique).output(ALERTS)) == [output(0), output(1), output(2)]
    commit.close()


@pytest.mark.kafka
def test_a_commit_that_landed_though_it_failed_is_not_sent_again(kafka: str, unique: str) -> None:
    """The answer was lost, not the transaction: the journal's end says so."""
    settings = Kafka(bootstrap=kafka)
    create_topics(unique, 1, settings)
    commit = kafka_commit(settings, unique)
    commit.claim()
    real = commit._finish

    def lost_answer(producer: object) -> None:
        real(producer)  # type: ignore[arg-type]  # the method, unbound
        commit._finish = real  # type: ignore[method-assign]  # a fault is put in
        raise KafkaException(KafkaError(KafkaError._TRANSPORT, "the answer was lost"))

    commit._finish = lost_answer  # type: ignore[method-assign]  # a fault is put in
    commit.commit(outputs(output(0)), record(commit, 0, alerts=1))
    commit.commit(outputs(output(1)), record(commit, 1, alerts=2))
    assert visible(settings, Topics(unique).output(ALERTS)) == [output(0), output(1)]
    commit.close()


@pytest.mark.kafka
def test_the_third_failure_in_a_row_stops_the_lane(kafka: str, unique: str) -> None:
    """Twice it is sent again; then the reason is said."""
    settings = Kafka(bootstrap=kafka)
    create_topics(unique, 1, settings)
    commit = kafka_commit(settings, unique)
    commit.claim()
    tries: list[int] = []

    def failing(producer: object) -> None:
        tries.append(1)
        raise KafkaException(KafkaError(KafkaError._TRANSPORT, "cut"))

    commit._finish = failing  # type: ignore[method-assign]  # a fault is put in
    with pytest.raises(ServiceUnavailable, match="3 commits in a row failed"):
        commit.commit(outputs(output(0)), record(commit, 0, alerts=1))
    assert len(tries) == 3
    assert visible(settings, Topics(unique).output(ALERTS)) == []
    commit.close()


@pytest.mark.kafka
def test_a_record_of_another_owner_at_the_journals_end_means_exit(kafka: str, unique: str) -> None:
    """The last check of a zombie: the journal isn't as it left it, so it sends nothing."""
    settings = Kafka(bootstrap=kafka)
    create_topics(unique, 1, settings)
    commit = kafka_commit(settings, unique)
    commit.claim()
    commit.commit(outputs(output(0)), record(commit, 0, alerts=1))
    commit._last = encode_journal(record(commit, 7, alerts=1))  # as if another had written record 0
    assert commit._producer is not None
    commit._producer.begin_transaction()
    with pytest.raises(Fenced, match="a record that is not mine"):
        commit.commit(outputs(output(1)), record(commit, 1, alerts=2))
    assert visible(settings, Topics(unique).output(ALERTS)) == [output(0)]
    commit.close()


# --- What a broker leaves behind that shuts down at the wrong moment -------------------------------------------------


@dataclass
class Torn:
    """A lane with one whole commit, and a second one: acknowledged, with markers as the test says."""

    kafka: str
    app: str
    commit: KafkaCommit

    @property
    def settings(self) -> Kafka:
        return Kafka(bootstrap=self.kafka)

    def topic(self, name: str) -> str:
        return Topics(self.app).journal if name == "journal" else Topics(self.app).output(name)

    @property
    def second(self) -> JournalRecord:
        return record(self.commit, 1, alerts=2, late=1)

    def write(self, *committed: str) -> None:
        """Two outputs and the journal record; commit markers only where they are named."""
        values = {ALERTS: output(1), LATE: output(0), "journal": encode_journal(self.second)}
        writers = {name: writer_of(self.kafka, self.topic(name)) for name in (ALERTS, "journal")}
        writers[LATE] = replace(writers[ALERTS], sequence=-1)
        for name, value in values.items():
            transaction = Topics(self.app).transactional_id(0)
            write_in_no_transaction(self.kafka, transaction, writers[name], self.topic(name), value)
        for name in committed:
            write_marker(self.kafka, writers[name], self.topic(name), commit=True)

    def visible(self, name: str) -> list[bytes]:
        return visible(self.settings, self.topic(name))


@pytest.fixture
def torn(kafka: str, unique: str) -> Iterator[Torn]:
    settings = Kafka(bootstrap=kafka)
    create_topics(unique, 1, settings)
    commit = kafka_commit(settings, unique)
    commit.claim()
    commit.commit(outputs(output(0)), record(commit, 0, alerts=1))
    yield Torn(kafka, unique, commit)
    commit.close()


@pytest.mark.kafka
def test_a_commit_that_nobody_could_see_is_taken_back(torn: Torn) -> None:
    """No marker was written: the next owner decides those batches again, and the old copies never appear."""
    torn.write()
    heir = kafka_commit(torn.settings, torn.app)
    assert heir.claim() == record(torn.commit, 0, alerts=1)
    again = outputs(output(1, epoch=2))
    heir.commit(again, record(heir, 1, alerts=2))
    assert torn.visible(ALERTS) == [output(0), output(1, epoch=2)]
    assert torn.visible(LATE) == []
    assert [each.epoch for each in heir.journal()] == [1]
    heir.close()


@pytest.mark.kafka
@pytest.mark.parametrize(
    "committed", [[ALERTS], [LATE], ["journal"], [ALERTS, LATE], ["journal", LATE], [ALERTS, LATE, "journal"]], ids=str
)
def test_a_commit_that_could_be_seen_in_part_is_completed(torn: Torn, committed: list[str]) -> None:
    """Markers on some partitions only: what is missing on the others is written again, and nothing twice."""
    torn.write(*committed)
    for _ in range(2):  # the second owner finds nothing to do
        heir = kafka_commit(torn.settings, torn.app)
        assert heir.claim() == torn.second
        heir.close()
        assert (torn.visible(ALERTS), torn.visible(LATE)) == ([output(0), output(1)], [output(0)])
        assert torn.visible("journal")[1:] == [encode_journal(torn.second)]


@pytest.mark.kafka
@pytest.mark.parametrize("dies_at", ["undecided", "torn"])
def test_a_repair_that_dies_is_repeated(torn: Torn, dies_at: str) -> None:
    """The coordinator aborts what the dead one had begun, and with it what hung; aborted records are in the log too."""
    torn.write(ALERTS)

    class Crash(BaseException):
        pass

    left = [1 if dies_at == "undecided" else 2]

    def crash(name: str) -> None:
        left[0] -= name == "settling"
        if left[0] == 0:
            raise Crash

    heir = kafka_commit(torn.settings, torn.app)
    heir._failpoint = crash
    with pytest.raises(Crash):
        heir.claim()
    after = kafka_commit(torn.settings, torn.app)
    assert after.claim() == torn.second
    assert (torn.visible(ALERTS), torn.visible(LATE)) == ([output(0), output(1)], [output(0)])
    after.close()


@pytest.mark.kafka
def test_a_look_mends_the_outputs_of_a_lane_at_rest(torn: Torn) -> None:
    """Nothing else would be committed for a while, and its last alert must not wait for that."""
    torn.write("journal")
    torn.commit._last = encode_journal(torn.second)  # it knows of its own commit
    torn.commit.look()
    assert torn.visible(ALERTS) == [output(0)], "no trouble was heard of: nobody is asked"
    torn.commit._note_error(KafkaError(KafkaError._TRANSPORT))
    torn.commit.look()
    assert (torn.visible(ALERTS), torn.visible(LATE)) == ([output(0), output(1)], [output(0)])
    torn.commit.commit(outputs(output(2)), record(torn.commit, 2, alerts=3, late=1))
    assert torn.visible(ALERTS) == [output(0), output(1), output(2)]


@pytest.mark.kafka
def test_a_look_that_finds_the_last_commit_taken_back_means_exit(torn: Torn) -> None:
    """The lane has gone on from what isn't in the journal: only a restart decides it again."""
    torn.write()
    torn.commit._last = encode_journal(torn.second)
    torn.commit._note_error(KafkaError(KafkaError._TRANSPORT))
    with pytest.raises(Fenced, match="lost my last one"):
        torn.commit.look()
    assert torn.visible(ALERTS) == [output(0)]


@pytest.mark.kafka
def test_what_another_has_open_in_the_journal_stops_the_lane(kafka: str, unique: str) -> None:
    """It isn't the lane's to decide; the message says where it is and how to end it."""
    settings = Kafka(bootstrap=kafka, call_timeout_ms=4000)
    create_topics(unique, 1, Kafka(bootstrap=kafka))
    stranger = Producer({"bootstrap.servers": kafka, "transactional.id": f"{unique}-stranger"})
    stranger.init_transactions(30)
    stranger.begin_transaction()
    stranger.produce(Topics(unique).journal, b"?", partition=0)
    stranger.flush(30)
    commit = kafka_commit(settings, unique)
    with pytest.raises(IntegrityViolation, match=r"from offset 0 on.*\n.*kafka-transactions.*--start-offset 0"):
        commit.claim()
    stranger.abort_transaction(30)
    commit.close()


@pytest.mark.kafka
@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        (ALERTS, output(1), "alerts end with number 1; the journal, with record 0 as its last, counts 1 of them"),
        (LATE, b"?", "is not one of a lane"),
        ("journal", b"", "number 1 is in the journal, and not in this topic"),
    ],
    ids=["an alert", "no alert", "a record"],
)
def test_what_the_log_cannot_complete_stops_the_lane(torn: Torn, name: str, value: bytes, reason: str) -> None:
    """Another wrote to the lane's topics, or records are gone: nothing is guessed."""
    value = value or encode_journal(torn.second)
    producer = Producer({"bootstrap.servers": torn.kafka})
    producer.produce(torn.topic(name), value, partition=0)
    assert producer.flush(30) == 0
    heir = kafka_commit(torn.settings, torn.app)
    with pytest.raises(IntegrityViolation, match=reason):
        heir.claim()
    heir.close()
