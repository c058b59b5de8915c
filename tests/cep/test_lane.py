"""The lane against SQLite, with time moved by hand: what it writes, and that a replay repeats it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from cep.alert import Alert
from cep.control import Pause, Resume, write
from cep.lane import Lane
from cep.log.files import FileSource
from cep.log.protocol import ALERTS, DEAD_LETTERS, LATE, BatchEntry, JournalRecord, Partition, TickEntry, decode_journal
from cep.log.sqlite import SqliteCommit, SqliteControl, SqliteLog, SqliteSource
from cep.settings import Lane as LaneSettings
from cep.settings import Settings
from cep.worker import Engine, embedded_lane
from events.errors import Fenced, IntegrityViolation, InvalidDocument
from events.order import FOREVER_US
from tests.chaos.machine import IDLE_US, LATE_US, BigAmounts, event, expected

TOPIC = "tx"


class HandClock:
    """Both clocks, moved by the test."""

    def __init__(self) -> None:
        self.now_us = 1_700_000_000_000_000

    def wall_us(self) -> int:
        return self.now_us

    def steady_us(self) -> int:
        return self.now_us

    def pass_ms(self, ms: float) -> None:
        self.now_us += int(ms * 1000)


class House:
    """One SQLite log, a clock, and lanes that are opened on them one after the other."""

    def __init__(self, path: Path) -> None:
        self.log = SqliteLog(path / "log.db", durable=False)
        self.clock = HandClock()
        self.control = SqliteControl(self.log)
        self.settings = LaneSettings(batch_records_max=8, control_look_ms=1)
        self.lanes: list[Lane] = []

    def lane(self, machine: BigAmounts | None = None) -> Lane:
        """A new owner of the lane, restored."""
        lane = Lane(
            "app",
            0,
            self.settings,
            source=SqliteSource(self.log, [TOPIC]),
            commit=SqliteCommit(self.log),
            control=SqliteControl(self.log),
            machine=machine or BigAmounts(),
            clock=self.clock,
        )
        self.lanes.append(lane)
        for _ in lane.restore():
            pass
        return lane

    def feed(self, *records: bytes) -> None:
        self.log.append(TOPIC, [(b"k", record) for record in records], self.clock.now_us)

    def alerts(self) -> list[Alert]:
        return [msgspec.json.decode(value, type=Alert) for _, _, value in self.log.outputs(ALERTS)]

    def journal(self) -> list[JournalRecord]:
        with contextlib.closing(self.log.connect()) as connection:
            rows = connection.execute("SELECT value FROM journal ORDER BY number").fetchall()
        return [decode_journal(data) for (data,) in rows]

    def close(self) -> None:
        for lane in self.lanes:
            lane.close()
        self.control.close()
        self.log.close()


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    house = House(tmp_path)
    yield house
    house.close()


def test_a_new_lane_first_writes_where_it_begins(house: House) -> None:
    """Else a crash before the first commit could begin elsewhere."""
    house.lane()
    (first,) = house.journal()
    assert (first.number, first.entries, [start.offset for start in first.partitions]) == (0, (), [0])


def test_latest_begins_behind_what_is_there(house: House) -> None:
    """`start: latest` takes nothing of the past, also after a restart."""
    house.feed(event(1, "a", 900))
    house.settings = msgspec.structs.replace(house.settings, start="latest")
    house.lane()
    house.feed(event(2, "a", 901))
    lane = house.lane()
    assert lane.step(0)
    house.clock.pass_ms(5)
    lane.step(0)
    assert [alert.at_us for alert in house.alerts()] == [2]


def test_an_alert_is_committed_after_a_millisecond_and_silence_after_a_hundred(house: House) -> None:
    """The cadence: an alert hurries, an event without one waits for 100 ms."""
    lane = house.lane()
    house.feed(event(1, "a", 1))
    house.clock.pass_ms(50)
    lane.step(0)
    assert len(house.journal()) == 1
    house.clock.pass_ms(50)
    lane.step(0)
    assert len(house.journal()) == 2
    house.feed(event(2, "a", 900))
    lane.step(0)
    assert len(house.journal()) == 2
    house.clock.pass_ms(1)
    lane.step(0)
    assert (len(house.journal()), len(house.alerts())) == (3, 1)


def test_in_backlog_an_alert_waits_for_half_a_second(house: House) -> None:
    """A full drain means that throughput counts, not the delay of one alert."""
    lane = house.lane()
    house.feed(*(event(n, "a", 900) for n in range(40)))
    for _ in range(4):
        house.clock.pass_ms(100)
        lane.step(0)
    assert len(house.journal()) == 1
    house.clock.pass_ms(100)
    lane.step(0)
    assert len(house.alerts()) == 40


def test_nothing_to_say_commits_nothing(house: House) -> None:
    """A silent source costs no journal records."""
    lane = house.lane()
    for _ in range(100):
        house.clock.pass_ms(1000)
        lane.step(0)
    assert len(house.journal()) == 1


def test_outputs_over_the_limit_are_committed_at_once(house: House) -> None:
    """What waits for a commit is limited."""
    house.settings = msgspec.structs.replace(house.settings, commit_outputs_max=4)
    lane = house.lane()
    house.feed(*(event(n, "a", 900) for n in range(5)))
    lane.step(0)
    assert len(house.alerts()) == 5


def test_alerts_carry_lane_epoch_and_a_gapless_sequence_over_restarts(house: House) -> None:
    """A loss would be seen: the sequence goes on where the journal ends, the epoch grows."""
    for start in (0, 10, 20):
        lane = house.lane()
        house.feed(*(event(n, "a", 900) for n in range(start, start + 10)))
        while lane.step(0):
            pass
        lane.flush()
    alerts = house.alerts()
    assert [alert.sequence for alert in alerts] == list(range(30))
    assert [alert.epoch for alert in alerts] == [1] * 10 + [2] * 10 + [3] * 10
    assert [alert.alert_id for alert in alerts] == expected([event(n, "a", 900) for n in range(30)])


def test_what_was_not_committed_is_taken_again(house: House) -> None:
    """A crash between two commits: the next owner comes to the same alerts, once."""
    lane = house.lane()
    records = [event(n, f"c{n % 3}", 400 + 200 * (n % 2)) for n in range(40)]
    house.feed(*records[:20])
    lane.step(0)
    lane.flush()
    lane.step(0)  # read, decided, never committed
    house.feed(*records[20:])
    lane = house.lane()
    while lane.step(0):
        pass
    lane.flush()
    assert [alert.alert_id for alert in house.alerts()] == expected(records)


def test_replay_comes_to_the_same_state(house: House) -> None:
    """Batches, changes, ticks, late and dead records: after the replay the machine is what it was."""
    machine = BigAmounts()
    lane = house.lane(machine)
    write(house.control, [Pause("p")], author="t", at_us=0)
    house.feed(event(1, "a", 900), event(2, "b", 1, wait_us=10), b"not json", event(3, "a", 900, at_us=2 * LATE_US))
    house.clock.pass_ms(5)
    lane.step(0)
    write(house.control, [Resume("p")], author="t", at_us=0)
    house.feed(event(4, "a", 900, at_us=5), event(5, "b", 901, at_us=2 * LATE_US + 1, wait_us=1_000_000))
    house.clock.pass_ms(5)
    lane.step(0)
    house.clock.pass_ms(IDLE_US / 1000)
    lane.step(0)
    house.clock.pass_ms(1000 + IDLE_US / 1000)
    lane.step(0)
    lane.flush()
    again = BigAmounts()
    house.lane(again)
    assert (again.seen, again.waiting, again.watermark_us) == (machine.seen, machine.waiting, machine.watermark_us)
    assert (again.applied, again.paused) == (machine.applied, False)
    assert [alert.pattern for alert in house.alerts()] == ["silent", "big-2", "silent"]
    assert len(house.log.outputs(DEAD_LETTERS)) == 1
    assert len(house.log.outputs(LATE)) == 1


def test_refused_records_leave_with_their_key_and_place(house: House) -> None:
    """A dead letter says what, where and why, under the key of the source record."""
    lane = house.lane()
    house.feed(event(1, "a", 1), b"\xff{")
    lane.step(0)
    lane.flush()
    ((_, key, value),) = house.log.outputs(DEAD_LETTERS)
    letter = msgspec.json.decode(value)
    assert key == b"k"
    assert (letter["topic"], letter["partition"], letter["offset"]) == (TOPIC, 0, 1)
    assert (letter["reason"], letter["size"], letter["base64"]) == ("not_json", 2, "/3s=")


def test_changes_apply_between_batches_and_stand_in_the_journal(house: House) -> None:
    """An entry that takes no records, with the offset behind the change, within 100 ms."""
    lane = house.lane()
    house.feed(event(1, "a", 900))
    lane.step(0)
    offset = write(house.control, [Pause("p")], author="t", at_us=0)
    house.feed(event(2, "a", 900))
    house.clock.pass_ms(100)
    lane.step(0)
    entries = [entry for record in house.journal() for entry in record.entries]
    told = [(bool(entry.moved), entry.control_offset) for entry in entries if isinstance(entry, BatchEntry)]
    assert told == [(True, 0), (False, offset), (True, offset)]
    assert len(house.alerts()) == 1


def test_changes_made_while_nobody_ran_apply_before_the_first_event(house: House) -> None:
    """A lane goes live with the whole control log applied."""
    write(house.control, [Pause("p")], author="t", at_us=0)
    house.feed(event(1, "a", 900))
    lane = house.lane()
    lane.step(0)
    lane.flush()
    assert house.alerts() == []


def test_silence_makes_a_tick_only_when_something_is_due(house: House) -> None:
    """An absence falls due by the clock; before and after it nothing is written."""
    lane = house.lane()
    house.feed(event(1, "a", 1, wait_us=3_000_000))
    lane.step(0)
    lane.flush()
    for _ in range(50):
        house.clock.pass_ms(100)
        lane.step(0)
    entries = [entry for record in house.journal() for entry in record.entries]
    assert [type(entry) for entry in entries] == [BatchEntry, TickEntry]
    assert [alert.pattern for alert in house.alerts()] == ["silent"]


def test_an_owner_of_before_can_not_commit(house: House) -> None:
    """The epoch is compared in the transaction: nothing of the old owner becomes visible."""
    old = house.lane()
    house.feed(event(1, "a", 900))
    old.step(0)
    new = house.lane()
    with pytest.raises(Fenced, match="epoch 2 now, mine is 1"):
        old.flush()
    new.step(0)
    new.flush()
    assert [alert.epoch for alert in house.alerts()] == [2]


def test_a_lane_that_was_stopped_asks_first(house: House) -> None:
    """After a gap longer than a session, even a lane with nothing to commit finds out that it was replaced."""
    old = house.lane()
    house.lane()
    old.step(0)
    house.clock.pass_ms(8_001)
    with pytest.raises(Fenced):
        old.step(0)


def test_a_replay_that_comes_out_otherwise_stops_the_lane(house: House) -> None:
    """Another machine, another answer: the chain differs and the lane says so instead of going on."""
    lane = house.lane()
    house.feed(event(1, "a", 900))
    lane.step(0)
    lane.flush()
    with pytest.raises(IntegrityViolation, match="replay of record 1, epoch 1, came to chain"):
        house.lane(BigAmounts(paused=True))


def test_a_source_trimmed_below_the_journal_is_refused(house: House) -> None:
    """Without the records a replay can't be: the lane refuses to start and says why."""
    lane = house.lane()
    house.feed(*(event(n, "a", 1) for n in range(4)))
    lane.step(0)
    lane.flush()
    house.log.trim(TOPIC, 2)
    with pytest.raises(IntegrityViolation, match="the journal begins at 0, the log holds 2 to 4"):
        house.lane()


def test_another_number_of_lanes_is_refused(house: House) -> None:
    """The number is fixed for an application id."""
    house.lane()
    house.settings = msgspec.structs.replace(house.settings, count=2)
    with pytest.raises(IntegrityViolation, match="lane 0 of 1; this is app, lane 0 of 2"):
        house.lane()


def test_partitions_that_ran_ahead_are_left_alone(house: House) -> None:
    """What the machine names isn't read until it names it no more."""
    machine = BigAmounts()
    lane = house.lane(machine)
    house.feed(event(1, "a", 1))
    machine.behind = frozenset({Partition(TOPIC, 0)})
    assert lane.step(0)
    house.feed(event(2, "a", 1))
    assert not lane.step(0)


@pytest.mark.parametrize("batch", [1, 7, 4096])
def test_a_file_runs_to_its_end_and_a_last_tick(tmp_path: Path, house: House, batch: int) -> None:
    """A finite log ends with a tick at the end of time; a second run finds it done. Any batch gives the same alerts."""
    records = [event(n, f"c{n % 5}", 400 + 20 * (n % 10), wait_us=50) for n in range(100)]
    (tmp_path / "tx.ndjson").write_bytes(b"\n".join(records))
    for _ in range(2):
        lane = Lane(
            "run",
            0,
            msgspec.structs.replace(house.settings, batch_records_max=batch),
            source=FileSource({TOPIC: tmp_path / "tx.ndjson"}),
            commit=SqliteCommit(house.log),
            control=SqliteControl(house.log),
            machine=BigAmounts(),
            clock=house.clock,
        )
        house.lanes.append(lane)
        for _ in lane.restore():
            pass
        while not lane.done:
            lane.step(0)
    big = [alert.alert_id for alert in house.alerts() if alert.pattern != "silent"]
    assert big == expected(records)
    assert len([alert for alert in house.alerts() if alert.pattern == "silent"]) == 5
    last = house.journal()[-1].entries[-1]
    assert isinstance(last, TickEntry)
    assert last.end
    assert last.watermark_us == FOREVER_US


def test_a_file_of_a_topic_that_no_stream_has_is_refused(house: House) -> None:
    """With the topics that there are."""
    settings = Settings(files={"tz": "tx.ndjson"})
    with pytest.raises(InvalidDocument, match=r"files\.tz: no stream has this topic\n.*tx"):
        embedded_lane(settings, Engine((TOPIC,), BigAmounts), house.log)


def test_an_alert_that_is_too_large_leaves_its_payloads_in_the_log(house: House) -> None:
    """A limit never loses an alert: ids and offsets stay, the events are where they were."""
    house.settings = msgspec.structs.replace(house.settings, output_bytes_max=10_000)
    lane = house.lane()
    house.feed(event(1, "a", 900)[:-1] + b',"note":"' + b"x" * 20_000 + b'"}')
    lane.step(0)
    lane.flush()
    (alert,) = house.alerts()
    assert [(matched.event_id, bytes(matched.event)) for matched in alert.events] == [("e1", b"null")]
    assert lane.counts.alerts_stripped == 1
