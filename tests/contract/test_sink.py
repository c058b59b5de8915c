"""Every alert of the topic is one row, whatever dies in between: embedded log to SQLite, Kafka to Postgres."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
import pytest
from confluent_kafka import Producer
from sqlalchemy import Engine, text

from cep.alert import Alert, MatchedEvent, alert_id, canonical, group_of, key_group, pattern_group
from cep.log.kafka_topics import Topics, create_topics
from cep.log.protocol import ALERTS
from cep.log.sqlite import SqliteLog
from cep.settings import Kafka, Settings
from cep.storage import queries
from cep.storage.database import open_database
from cep.storage.migrate import upgrade
from cep.storage.outputs import SqliteOutputs
from cep.storage.sink import AlertSink, AlertsTopic, kafka_alerts, project
from deploy.servers import start
from events.errors import Fenced, IntegrityViolation, ServiceUnavailable

ROOT = Path(__file__).resolve().parents[2]
LOG = logging.getLogger("stakeout.test")
SECONDS = 60.0
"""Longest wait for what must come."""

PROCESS = """
import os, sys
from cep.settings import load
from cep.storage.sink import run_sink
sys.exit(run_sink(load(None, os.environ), os.environ))
"""


def alert(sequence: int, lane: int = 0, epoch: int = 1, pattern: str = "card-testing") -> Alert:
    at_us = 1_700_000_000_000_001 + sequence * 1_000_003
    key = f"c{lane}"
    ids = [f"e{lane}-{sequence}", f"f{lane}-{sequence}"]
    steps = [group_of(("probe", *ids[:1])), group_of(("cashout", *ids[1:]))]
    name = canonical(pattern_group(pattern, 3, "match"), key_group({"card_id": key}), steps)
    return Alert(
        alert_id=alert_id(at_us, name),
        pattern=pattern,
        version=3,
        kind="match",
        severity="high",
        message="3 probes, then 900.00 at “m7”",
        key={"card_id": key, "abroad": None},
        at_us=at_us,
        started_at_us=at_us - 17,
        events=[
            MatchedEvent("probe", ids[0], at_us - 17, msgspec.Raw(b'{"amount": 1.10, "note": "\\u0000 \xc3\xa9"}')),
            MatchedEvent("cashout", ids[1], at_us, msgspec.Raw(b'{"amount":900.00000000000000000001}')),
        ],
        measures={"loss": msgspec.Raw(b"900.00"), "merchant": msgspec.Raw(b'"m7 \xc3\xa9"')},
        suppressed=sequence % 2 == 1,
        lane=lane,
        epoch=epoch,
        sequence=sequence,
        processed_at_us=at_us + 5_123,
    )


def encoded(*alerts: Alert) -> list[bytes]:
    return [msgspec.json.encode(each) for each in alerts]


@dataclass
class World:
    """write(lane, values): one committed transaction. Two lanes on Kafka, one embedded."""

    write: Callable[[int, list[bytes]], None]
    source: Callable[[], AlertsTopic]
    topic: str
    engine: Engine
    lanes: int
    stack: ExitStack = field(default_factory=ExitStack)

    def sink(self) -> AlertSink:
        source = self.source()
        self.stack.callback(source.close)
        return AlertSink(source, self.engine, log=LOG)

    def follow(self, sink: AlertSink, records: int) -> None:
        """Turns the sink until it has taken so many."""
        until = time.monotonic() + SECONDS
        while sink.counts.records < records:
            assert time.monotonic() < until, sink.counts
            sink.turn(0.1)

    def rows(self) -> list[Alert]:
        """By lane and sequence."""
        with self.engine.connect() as connection:
            found = [listed.alert for listed in queries.read_alerts(connection, limit=1000).items]
        return sorted(found, key=lambda each: (each.lane, each.sequence))

    def halted(self) -> dict[int, str]:
        with self.engine.connect() as connection:
            lines = queries.read_progress(connection, self.topic)
        return {place: line.halted for place, line in lines.items() if line.halted}


def kafka_writer(bootstrap: str, topic: str) -> Callable[[int, list[bytes]], None]:
    producer = Producer({"bootstrap.servers": bootstrap, "transactional.id": topic, "linger.ms": 0})
    producer.init_transactions(30)

    def write(lane: int, values: list[bytes], keep: bool = True) -> None:
        producer.begin_transaction()
        for value in values:
            producer.produce(topic, value, b"key", partition=lane)
        producer.commit_transaction(30) if keep else producer.abort_transaction(30)

    write(0, [b"never seen"], False)
    return write


def sqlite_writer(log: SqliteLog) -> Callable[[int, list[bytes]], None]:
    query = (
        "INSERT INTO output SELECT 'alerts', coalesce(max(offset) + 1, 0), x'', ? FROM output WHERE topic = 'alerts'"
    )

    def write(lane: int, values: list[bytes]) -> None:
        log.run(lambda connection: connection.executemany(query, [(value,) for value in values]))

    return write


@pytest.fixture(params=["embedded", pytest.param("kafka", marks=[pytest.mark.kafka, pytest.mark.postgres])])
def world(request: pytest.FixtureRequest, tmp_path: Path, unique: str) -> Iterator[World]:
    with ExitStack() as stack:
        if request.param == "embedded":
            log = SqliteLog(tmp_path / "log.db", durable=False)
            stack.callback(log.close)
            url = f"sqlite:///{tmp_path / 'log.db'}"
            made = World(sqlite_writer(log), lambda: SqliteOutputs(log), ALERTS, open_database(url), 1, stack)
        else:
            kafka, url = str(request.getfixturevalue("kafka")), str(request.getfixturevalue("postgres_url"))
            settings = Settings(app=unique, kafka=Kafka(bootstrap=kafka))
            create_topics(unique, 2, settings.kafka)
            topic = Topics(unique).output(ALERTS)
            made = World(
                kafka_writer(kafka, topic), lambda: kafka_alerts(settings), topic, open_database(url), 2, stack
            )
        stack.callback(made.engine.dispose)
        upgrade(url)
        with made.engine.begin() as connection:
            connection.execute(text("DELETE FROM alerts"))
        yield made


def test_every_alert_is_one_row_equal_to_it(world: World) -> None:
    """Of all lanes, with every field, and the events' JSON to the letter."""
    wanted = [alert(sequence, lane) for lane in range(world.lanes) for sequence in range(5)]
    for lane in range(world.lanes):
        world.write(lane, encoded(*(each for each in wanted if each.lane == lane)))
    sink = world.sink()
    sink.load()
    world.follow(sink, len(wanted))
    assert world.rows() == wanted


def test_a_sink_goes_on_where_another_has_ended(world: World) -> None:
    """What was read is not read again."""
    world.write(0, encoded(alert(0), alert(1)))
    first = world.sink()
    first.load()
    world.follow(first, 2)
    world.write(0, encoded(alert(2)))
    second = world.sink()
    second.load()
    world.follow(second, 1)
    assert second.turn(0.2) == 0
    assert second.counts.records == 1
    assert world.rows() == [alert(0), alert(1), alert(2)]


def test_a_projection_read_anew_has_each_row_once(world: World) -> None:
    """The rows that are there stay."""
    world.write(0, encoded(alert(0), alert(1)))
    for _ in range(2):
        sink = world.sink()
        sink.load()
        world.follow(sink, 2)
        with world.engine.begin() as connection:
            queries.forget_progress(connection, world.topic)
    assert world.rows() == [alert(0), alert(1)]


def test_a_poison_record_is_kept_aside_with_its_place(world: World) -> None:
    """The alerts around it are rows; one with a readable sequence is no gap."""
    later_release = encoded(alert(1))[0].replace(b'"kind":"match"', b'"kind":"forecast"')
    poison = [b"\xff{", later_release, b"[" * 100_000]
    world.write(0, [*encoded(alert(0)), *poison, *encoded(alert(2))])
    sink = world.sink()
    sink.load()
    world.follow(sink, 5)
    assert world.rows() == [alert(0), alert(2)]
    with world.engine.connect() as connection:
        kept = queries.read_rejected(connection, world.topic)
    assert [each.value for each in reversed(kept)] == poison
    assert all(each.reason and each.partition == 0 for each in kept)
    assert sink.counts.rejected == 3


def test_a_value_that_the_database_refuses_keeps_no_other_from_its_row(world: World) -> None:
    """It is kept aside too."""
    refuse(world.engine)
    world.write(0, encoded(alert(0), alert(1, pattern="refused"), alert(2)))
    sink = world.sink()
    sink.load()
    world.follow(sink, 3)
    with world.engine.connect() as connection:
        (kept,) = queries.read_rejected(connection, world.topic)
    assert world.rows() == [alert(0), alert(2)]
    assert kept.value == encoded(alert(1, pattern="refused"))[0]
    assert "refuses" in kept.reason
    accept(world.engine)


def refuse(engine: Engine) -> None:
    postgres = "ALTER TABLE alerts ADD CONSTRAINT narrow CHECK (pattern <> 'refused')"
    when = "BEFORE INSERT ON alerts WHEN NEW.pattern = 'refused'"
    sqlite = f"CREATE TRIGGER narrow {when} BEGIN SELECT RAISE(ABORT, 'no'); END"
    with engine.begin() as connection:
        connection.execute(text(postgres if engine.dialect.name == "postgresql" else sqlite))


def accept(engine: Engine) -> None:
    sqlite, postgres = "DROP TRIGGER narrow", "ALTER TABLE alerts DROP CONSTRAINT narrow"
    with engine.begin() as connection:
        connection.execute(text(postgres if engine.dialect.name == "postgresql" else sqlite))


@pytest.mark.parametrize(
    ("last", "reason"),
    [
        (alert(2), "sequence 2, expected 1"),
        (alert(0), "sequence 0, expected 1"),
        (alert(1, epoch=0), "epoch 0 after epoch 1"),
        (alert(1, lane=7), "lane 7"),
    ],
)
def test_a_contradiction_halts_that_lane_and_no_other(world: World, last: Alert, reason: str) -> None:
    """Rows before it are written; it is recorded, and stays so in the next sink."""
    world.write(0, encoded(alert(0), last))
    sink = world.sink()
    sink.load()
    if world.lanes == 1:
        with pytest.raises(IntegrityViolation, match=reason):
            world.follow(sink, 2)
        with pytest.raises(IntegrityViolation, match=reason):
            world.sink().load()
    else:
        world.follow(sink, 1)
        world.write(1, encoded(alert(0, 1)))
        world.follow(sink, 2)
        again = world.sink()
        again.load()
        world.write(1, encoded(alert(1, 1)))
        world.follow(again, 1)
    assert reason in world.halted()[0]
    assert world.halted().keys() == {0}
    assert world.rows() == [alert(0), *(alert(number, 1) for number in range(2 * (world.lanes - 1)))]


def test_a_halted_lane_goes_on_when_a_person_says_so(world: World) -> None:
    """With whatever comes next."""
    world.write(0, encoded(alert(0), alert(5), alert(6)))
    sink = world.sink()
    sink.load()
    until = time.monotonic() + SECONDS
    while not world.halted() and time.monotonic() < until:
        try:
            sink.turn(0.1)
        except IntegrityViolation:
            assert world.lanes == 1
    with world.engine.begin() as connection:
        assert queries.resume_lane(connection, world.topic, 0)
    again = world.sink()
    again.load()
    world.follow(again, 2)
    assert world.rows() == [alert(0), alert(5), alert(6)]
    assert not world.halted()


def test_two_sinks_do_not_both_write(world: World) -> None:
    """The one that comes second ends; no row is lost or double."""
    world.write(0, encoded(alert(0)))
    first, second = world.sink(), world.sink()
    first.load()
    second.load()
    world.follow(first, 1)
    with pytest.raises(Fenced, match="another sink"):
        world.follow(second, 1)
    assert world.rows() == [alert(0)]


def test_a_topic_made_anew_halts_the_lane(tmp_path: Path) -> None:
    """Its offsets mean other records."""
    log = SqliteLog(tmp_path / "log.db", durable=False)
    url = f"sqlite:///{tmp_path / 'elsewhere.db'}"
    upgrade(url)
    engine = open_database(url)
    sqlite_writer(log)(0, encoded(alert(0)))
    assert project(log, engine, LOG) == 1
    assert project(log, engine, LOG) == 0
    log.run(lambda connection: connection.execute("UPDATE topic SET identity = 'another'"))
    with pytest.raises(IntegrityViolation, match="made anew"):
        project(log, engine, LOG)
    log.close()
    engine.dispose()


def test_without_tables_the_sink_says_how_to_make_them(tmp_path: Path) -> None:
    log = SqliteLog(tmp_path / "log.db", durable=False)
    engine = open_database(f"sqlite:///{tmp_path / 'log.db'}")
    with pytest.raises(ServiceUnavailable, match="stakeout db upgrade"):
        project(log, engine, LOG)
    log.close()
    engine.dispose()


# --- Processes --------------------------------------------------------------------------------------------------------


def sink_process(environment: dict[str, str], failpoint: str = "") -> subprocess.Popen[bytes]:
    known = {name: value for name, value in os.environ.items() if not name.startswith("STAKEOUT_")}
    environ = {**known, **environment, "STAKEOUT_FAILPOINT": failpoint}
    return subprocess.Popen([sys.executable, "-c", PROCESS], cwd=ROOT, env=environ)


@pytest.mark.kafka
@pytest.mark.postgres
def test_every_alert_is_one_row_though_the_sink_is_killed(kafka: str, postgres_url: str, unique: str) -> None:
    """kill -9 after reading, before and after the commit; the last one is stopped by SIGTERM and ends well."""
    create_topics(unique, 1, Kafka(bootstrap=kafka))
    topic = Topics(unique).output(ALERTS)
    upgrade(postgres_url)
    engine = open_database(postgres_url)
    with engine.begin() as connection:
        connection.execute(text("DELETE FROM alerts"))
    write = kafka_writer(kafka, topic)
    environment = {"STAKEOUT_APP": unique, "STAKEOUT_KAFKA": kafka, "STAKEOUT_POSTGRES": postgres_url}
    expected = {"read": 0, "written": 0, "committed": 30}  # rows after the kill, of those written just before
    for number, (failpoint, rows) in enumerate(expected.items()):
        write(0, encoded(*map(alert, range(number * 10, number * 10 + 10))))
        assert sink_process(environment, failpoint).wait(SECONDS) == -signal.SIGKILL
        assert counted(engine) == rows
    write(0, encoded(*map(alert, range(30, 40))))
    last = sink_process(environment)
    await_rows(engine, 40)
    last.terminate()
    assert last.wait(SECONDS) == 0
    with engine.connect() as connection:
        found = [listed.alert.sequence for listed in queries.read_alerts(connection).items]
        (line,) = queries.read_progress(connection, topic).values()
    engine.dispose()
    assert sorted(found) == list(range(40))
    assert line.next_sequence == 40


@pytest.mark.kafka
@pytest.mark.slow
def test_the_sink_waits_for_postgres_and_goes_on(kafka: str, unique: str, tmp_path: Path) -> None:
    """Postgres is killed while alerts come; it starts again, and each is one row."""
    settings = Settings(app=unique, kafka=Kafka(bootstrap=kafka))
    create_topics(unique, 1, settings.kafka)
    write = kafka_writer(kafka, Topics(unique).output(ALERTS))
    with start(["postgres"], tmp_path / "services", environ={}) as own:
        url = own.address("postgres")
        upgrade(url)
        engine, source, stop = open_database(url, connections=1), kafka_alerts(settings), threading.Event()
        sink = AlertSink(source, engine, log=LOG)
        thread = threading.Thread(target=sink.run, args=(stop.is_set,))
        thread.start()
        reader = open_database(url)
        try:
            write(0, encoded(*map(alert, range(5))))
            await_rows(reader, 5)
            own.kill_one("postgres")
            reader.dispose()
            write(0, encoded(*map(alert, range(5, 10))))
            until = time.monotonic() + SECONDS
            while sink.counts.waits == 0 and time.monotonic() < until:
                time.sleep(0.02)
            assert sink.counts.waits > 0
            own.start_one("postgres")
            await_rows(reader, 10)
            own.restart_one("postgres")
            reader.dispose()
            write(0, encoded(*map(alert, range(10, 15))))
            await_rows(reader, 15)
        finally:
            stop.set()
            thread.join(SECONDS)
            source.close()
            reader.dispose()
            engine.dispose()
    assert not thread.is_alive()


def counted(engine: Engine) -> int:
    with engine.connect() as connection:
        return queries.count_alerts(connection)


def await_rows(engine: Engine, count: int) -> None:
    until = time.monotonic() + SECONDS
    while (found := counted(engine)) != count:
        assert time.monotonic() < until, f"{found} rows, expected {count}"
        time.sleep(0.05)
