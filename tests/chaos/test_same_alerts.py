"""The same events through a file, SQLite and Kafka, undisturbed and disturbed: one set of alert ids.

    simulated payments ─┬─▶ file ───▶ lane ────────────────────────────────────────▶ what is due
                        ├─▶ SQLite ─▶ lane
                        └─▶ Kafka ──▶ worker, undisturbed
                                      worker, killed three times ─▶ topic ─▶ sink ─▶ Postgres
                                      worker, stopped past its session, replaced, continued

The shipped patterns under `order: event_time`. The payments come up to four seconds out of order, one in a hundred
twice, none late; all are in the log before the first worker starts. `make chaos` runs this with 200,000 of them.
"""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from zlib import crc32

import msgspec
import pytest
import yaml
from sqlalchemy import Engine, text

from cep.alert import Alert
from cep.cli import main
from cep.lane import Lane
from cep.log.protocol import ALERTS
from cep.log.sqlite import SqliteLog
from cep.settings import Embedded, Settings
from cep.simulate import Payment, record, simulate, take
from cep.storage.database import open_database
from cep.storage.migrate import upgrade
from cep.worker import EXIT_RESTART, embedded_lane, production
from tests.chaos.world import PATIENCE_S, ROOT, Process, World, difference, events_wanted, without_settings

pytestmark = [pytest.mark.slow]

EXAMPLES = ROOT / "examples"
SHIFT_MS = 4000
"""So much later than its turn a payment may come; the stream waits a second longer."""

BATCH = 64
"""Of the chaos tests' workers."""


def payments(count: int) -> list[Payment]:
    """In the order in which they come."""
    chance = random.Random(count)
    twice = count // 100
    made = [one.payment for one in take(simulate(3, cards=2_000, flow_every_s=0.3, pace=0.5), count - twice)]
    return sorted([*made, *chance.sample(made, twice)], key=lambda one: one.at + chance.uniform(0, SHIFT_MS))


def declare(path: Path, topic: str) -> Path:
    """The shipped stream, by event time."""
    document = yaml.safe_load((EXAMPLES / "streams" / "transactions.yaml").read_text())
    document |= {"topic": topic, "order": "event_time", "out_of_order": "5s", "late": "topic", "idle_after": "1s"}
    path.write_text(yaml.safe_dump(document))
    return path


def apply_patterns(stream: Path, **settings: str) -> None:
    """The shipped ones, live in an application."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "environ", {**without_settings(os.environ), **settings})
        assert main(["patterns", "apply", str(EXAMPLES / "patterns"), "--streams", str(stream)]) == 0


def tell(run: str, alerts: int, began: float) -> None:
    """The figures of a run; `pytest -s` shows them."""
    print(f"\n{run}: {alerts} alerts, {time.monotonic() - began:.1f} s")  # noqa: T201 - for who runs it by hand


@dataclass
class Given:
    """The events, and the alerts of a run through a file."""

    payments: list[Payment]
    alerts: list[Alert]


def embedded_alerts(folder: Path, payments: list[Payment], *, of_file: bool) -> list[Alert]:
    """What a lane on the embedded log makes of the events."""
    stream, path = declare(folder / "stream.yaml", "transactions"), folder / "log.db"
    history = folder / "history.ndjson"
    apply_patterns(stream, STAKEOUT_EMBEDDED_PATH=str(path))
    settings = Settings(streams=(str(stream),), embedded=Embedded(path=str(path)))
    records = [record(payment) for payment in payments]
    with closing(SqliteLog(path)) as log:
        if of_file:
            history.write_bytes(b"".join(raw + b"\n" for raw in records))
            settings = msgspec.structs.replace(settings, files={"transactions": str(history)})
        else:
            log.append("transactions", [(None, raw) for raw in records], time.time_ns() // 1000)
        with closing(embedded_lane(settings, production(settings), log)) as lane:
            began = time.monotonic()
            run_through(lane, len(records))
            assert (lane.counts.late, lane.counts.dead_letters) == (0, {})
        alerts = [msgspec.json.decode(value, type=Alert) for _, _, value in log.outputs(ALERTS)]
    tell("file" if of_file else "SQLite", len(alerts), began)
    assert [alert.sequence for alert in alerts] == list(range(len(alerts)))
    return alerts


def run_through(lane: Lane, records: int) -> None:
    """To the end of a file, or until the log is silent and nothing is held any more."""
    for _ in lane.restore():
        pass
    until = time.monotonic() + PATIENCE_S
    while not lane.done and (lane.counts.records < records or not lane.counts.ticks):
        assert time.monotonic() < until, lane.counts
        lane.step(0.02)
    lane.flush()
    assert lane.counts.records == records


@pytest.fixture(scope="module")
def given(tmp_path_factory: pytest.TempPathFactory) -> Given:
    made = payments(events_wanted(12_000))
    alerts = embedded_alerts(tmp_path_factory.mktemp("file"), made, of_file=True)
    assert len(alerts) > len(made) / 200, "too few for a comparison to mean something"
    return Given(made, alerts)


@dataclass
class Shipped(World):
    """Workers with the shipped patterns; what is due is what the file gave."""

    lanes: int = 2
    partitions: int = 4
    stream: Path = Path()
    given: Given = field(default_factory=lambda: Given([], []))

    def __post_init__(self) -> None:
        super().__post_init__()
        self.stream = declare(self.folder / "stream.yaml", self.topic)
        apply_patterns(self.stream, STAKEOUT_APP=self.app, STAKEOUT_KAFKA=self.address)
        self.put((self._place(payment.card_id), record(payment)) for payment in self.given.payments)

    def command(self) -> list[str]:
        return ["-m", "cep.cli", "worker", "--streams", str(self.stream)]

    def due_in(self, place: int) -> list[str]:
        return [alert.alert_id for alert in self.given.alerts if self._place(str(alert.key["card_id"])) == place]

    def sink(self, postgres: str) -> Process:
        settings = {"STAKEOUT_APP": self.app, "STAKEOUT_KAFKA": self.address, "STAKEOUT_POSTGRES": postgres}
        return self.run("sink", ["-m", "cep.cli", "sink"], settings)

    def _place(self, card: str) -> int:
        return crc32(card.encode()) % self.partitions


@pytest.fixture
def world(kafka: str, unique: str, tmp_path: Path, given: Given) -> Iterator[Shipped]:
    world = Shipped(kafka, unique, tmp_path, given=given)
    yield world
    world.close()


@pytest.fixture
def rows(postgres_url: str) -> Iterator[Engine]:
    """An empty table of alerts."""
    upgrade(postgres_url)
    engine = open_database(postgres_url)
    with engine.begin() as connection:
        connection.execute(text("DELETE FROM alerts"))
    yield engine
    engine.dispose()


def test_a_file_and_sqlite_give_the_same_alerts(given: Given, tmp_path: Path) -> None:
    """In the same order, even."""
    found = embedded_alerts(tmp_path, given.payments, of_file=False)
    ids, due = [alert.alert_id for alert in found], [alert.alert_id for alert in given.alerts]
    assert ids == due, difference(ids, due)
    assert len(set(ids)) == len(ids)


@pytest.mark.kafka
def test_kafka_gives_the_same_alerts_as_a_file(world: Shipped) -> None:
    """Four partitions in two lanes; that the file had none of these must not matter."""
    began = time.monotonic()
    world.start()
    world.judge()
    tell("Kafka", world.seen, began)


@pytest.mark.kafka
@pytest.mark.postgres
def test_three_kills_change_no_alert_and_no_row(world: Shipped, postgres_url: str, rows: Engine) -> None:
    """In each third of the events another death: between batches, in a transaction, before its end."""
    began = time.monotonic()
    sink = world.sink(postgres_url)
    batches = len(world.given.payments) // BATCH
    often = {"STAKEOUT_LANE_COMMIT_OUTPUTS_MAX": "5"}  # so many commits there are that each point is come to
    commits = world.due // 60
    for point, most in (("processed", batches // 4), ("begun", commits), ("produced", commits)):
        process = world.start(failpoint=f"{point}:{world.random.randint(1 + most // 2, 1 + most)}", **often)
        world.await_fall(process)
        assert process.exit_code() == -signal.SIGKILL, process.tail()
        assert world.seen < world.due, "all was over before the kill"
    world.start(**often)
    world.judge()
    world.await_that(lambda: len(ids_in(rows)) >= world.due, "the rows of all alerts")
    ids, due = ids_in(rows), sorted(alert.alert_id for alert in world.given.alerts)
    assert ids == due, difference(ids, due)
    assert sink.popen.poll() is None, sink.tail()
    tell("Kafka, killed three times", world.seen, began)


@pytest.mark.kafka
def test_a_worker_stopped_replaced_and_continued_changes_no_alert(world: Shipped) -> None:
    """SIGSTOP in the middle of a transaction, for longer than its session."""
    began = time.monotonic()
    zombie = world.start("zombie", failpoint="produced:3:stop")
    world.await_fall(zombie)
    heir = world.start("heir")
    world.await_log(heir, "lane live")
    world.await_alerts(world.due)
    zombie.signal(signal.SIGCONT)
    assert zombie.exit_code() == EXIT_RESTART, zombie.tail()
    world.judge()
    assert heir.popen.poll() is None, heir.tail()
    tell("Kafka, stopped and replaced", world.seen, began)


def ids_in(engine: Engine) -> list[str]:
    """Of all rows."""
    with engine.connect() as connection:
        return sorted(connection.execute(text("SELECT alert_id FROM alerts")).scalars())
