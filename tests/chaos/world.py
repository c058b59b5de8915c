"""World: one application on a real Kafka, real worker processes, and the judge of what they wrote.

The judge reads the alerts topic as a consumer of committed records does and demands, per lane: the alert ids of the
oracle, none twice, sequence numbers without a gap, epochs that never go back.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
from confluent_kafka import Consumer, KafkaError, Producer, TopicPartition

from cep.alert import Alert
from cep.log.kafka import KafkaSource, offset_of
from cep.log.kafka_topics import Topics, create_topics
from cep.log.protocol import ALERTS, Partition
from cep.settings import Kafka
from cep.worker import EXIT_RESTART
from tests.chaos.machine import event, expected

ROOT = Path(__file__).resolve().parents[2]
PATIENCE_S = 90.0
"""For anything that must happen: generous, for a machine that does other things too."""

PRODUCED_AHEAD = 50_000
"""Records without their receipt: half of what the client's queue takes."""

_alert = msgspec.json.Decoder(Alert).decode


def events_wanted(default: int = 24_000) -> int:
    """How many events a test uses; STAKEOUT_CHAOS_EVENTS sets it for a long run."""
    return int(os.environ.get("STAKEOUT_CHAOS_EVENTS", default))


@dataclass
class Process:
    """One worker."""

    name: str
    popen: subprocess.Popen[bytes]
    log: Path

    def signal(self, number: signal.Signals) -> None:
        self.popen.send_signal(number)

    def exit_code(self) -> int:
        """Waits for its end."""
        try:
            return self.popen.wait(PATIENCE_S)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"{self.name} did not end:\n{self.tail()}") from None

    def fallen(self) -> bool:
        """Is it killed or stopped?"""
        stat = Path(f"/proc/{self.popen.pid}/stat")
        return stat.read_text().rpartition(") ")[2][0] in "TZ"

    def tail(self) -> str:
        return self.log.read_text()[-3000:]

    def end(self) -> None:
        """Whatever state it is in."""
        if self.popen.poll() is None:
            self.popen.kill()
            self.popen.wait()


@dataclass
class World:
    """`partitions` of the source, `lanes` of the application; a card's events are in one partition."""

    address: str
    app: str
    folder: Path
    lanes: int = 1
    partitions: int = 2
    seed: int = 1
    records: list[list[bytes]] = field(default_factory=list)
    alerts: list[list[Alert]] = field(default_factory=list)
    offsets: list[list[int]] = field(default_factory=list)
    processes: list[Process] = field(default_factory=list)
    supervised: dict[str, Process] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.random = random.Random(self.seed)
        self.topic = f"{self.app}-tx"
        self.settings = Kafka(bootstrap=self.address)
        self.records = [[] for _ in range(self.partitions)]
        create_topics(self.app, self.lanes, self.settings, {self.topic: self.partitions})
        self.alerts = [[] for _ in range(self.lanes)]
        self.offsets = [[] for _ in range(self.lanes)]
        self._reader = self._open(self.app)

    # --- What goes in -----------------------------------------------------------------------------------------------

    def feed(self, count: int) -> None:
        """Events of 50 cards; one in ten is an alert."""
        fed = sum(map(len, self.records))
        self.put(self._event(number) for number in range(fed, fed + count))

    def put(self, placed: Iterable[tuple[int, bytes]]) -> None:
        """Records, each into its partition."""
        producer = Producer({"bootstrap.servers": self.address, "linger.ms": 5, "enable.idempotence": True})
        for place, raw in placed:
            self.records[place].append(raw)
            while len(producer) >= PRODUCED_AHEAD:
                producer.poll(0.1)
            producer.produce(self.topic, raw, b"k", place)
        assert producer.flush(PATIENCE_S) == 0

    def _event(self, number: int) -> tuple[int, bytes]:
        place = self.random.randrange(self.partitions)
        amount = 900.0 if self.random.random() < 0.1 else 20.0
        return place, event(number, f"c{place}-{self.random.randrange(25)}", amount)

    # --- Who works --------------------------------------------------------------------------------------------------

    def command(self) -> list[str]:
        """What a worker is: arguments of Python."""
        return ["-m", "tests.chaos.worker_main", self.topic]

    def start(self, name: str = "w0", failpoint: str = "", app: str = "", **variables: str) -> Process:
        """A worker process; small batches and frequent commits make many boundaries to die at."""
        settings = {
            "STAKEOUT_APP": app or self.app,
            "STAKEOUT_KAFKA": self.address,
            "STAKEOUT_WORKER_NAME": name,
            "STAKEOUT_LANE_COUNT": str(self.lanes),
            "STAKEOUT_LANE_BATCH_RECORDS_MAX": "64",
            "STAKEOUT_LANE_COMMIT_MS": "20",
            "STAKEOUT_LANE_COMMIT_BACKLOG_MS": "20",
            "STAKEOUT_KAFKA_SESSION_TIMEOUT_MS": "6000",
            "STAKEOUT_FAILPOINT": failpoint,
            **variables,
        }
        return self.run(name, self.command(), settings)

    def run(self, name: str, command: Sequence[str], settings: Mapping[str, str]) -> Process:
        """A process of the project, ended with the world."""
        log = self.folder / f"{name}-{len(self.processes)}.log"
        environment = {**without_settings(os.environ), **settings}
        with log.open("wb") as output:
            popen = subprocess.Popen(
                [sys.executable, *command], cwd=ROOT, env=environment, stdout=output, stderr=output
            )
        process = Process(name, popen, log)
        self.processes.append(process)
        return process

    def supervise(self, name: str = "w0") -> Process:
        """A worker that is started again whenever it asks for it by its exit code."""
        self.supervised[name] = self.start(name)
        return self.supervised[name]

    def close(self) -> None:
        for process in self.processes:
            process.end()
        self._reader.close()

    # --- What came out ----------------------------------------------------------------------------------------------

    def await_alerts(self, count: int) -> None:
        """Reads until so many alerts are visible."""
        self.await_that(lambda: self.seen >= count, f"{count} alerts")

    def await_log(self, process: Process, text: str) -> None:
        """Waits until a worker has said something."""
        self.await_that(lambda: text in process.log.read_text(), f"{process.name} saying {text!r}")

    def feed_to_failpoint(self, process: Process) -> None:
        """Feeds until the worker is killed or stopped by its failpoint: that it is reached doesn't hang on speed."""

        def fallen() -> bool:
            self.feed(20)
            return process.fallen()

        self.await_that(fallen, f"{process.name} to come to its failpoint")

    def await_fall(self, process: Process) -> None:
        """Waits until a worker is killed or stopped by its failpoint."""
        self.await_that(process.fallen, f"{process.name} to come to its failpoint")

    def due_in(self, place: int) -> list[str]:
        """The alert ids that a partition's records call for: the oracle."""
        return expected(self.records[place])

    @property
    def seen(self) -> int:
        return sum(map(len, self.alerts))

    @property
    def due(self) -> int:
        return sum(len(self.due_in(place)) for place in range(self.partitions))

    def judge(self) -> None:
        """Everything that is due came, once, in order, and nothing else. First: is the source what was fed?"""
        for place, records in enumerate(self.records):
            held = self._held(place)
            assert held == records, f"the source itself differs in partition {place}: {difference(held, records)}"
        self.await_alerts(self.due)
        self._read(2.0)  # an alert too many would stand right behind
        for lane, alerts in enumerate(self.alerts):
            due = [each for place in range(lane, self.partitions, self.lanes) for each in self.due_in(place)]
            ids = [alert.alert_id for alert in alerts]
            told = [
                (offset, alert.epoch, alert.sequence) for offset, alert in zip(self.offsets[lane], alerts, strict=True)
            ]
            assert sorted(ids) == sorted(due), f"lane {lane}: {difference(ids, due)}\n(offset, epoch, sequence): {told}"
            assert [alert.sequence for alert in alerts] == list(range(len(alerts)))
            epochs = [alert.epoch for alert in alerts]
            assert epochs == sorted(epochs)
            assert {alert.lane for alert in alerts} <= {lane}

    def _held(self, place: int) -> list[bytes]:
        """What a partition of the source holds."""
        source = KafkaSource(self.settings, f"{self.app}-judge", place, self.partitions, [self.topic])
        partition = Partition(self.topic, place)
        source.seek(source.begin())
        values: list[bytes] = []
        until = time.monotonic() + PATIENCE_S
        while partition not in source.at_end():
            assert time.monotonic() < until, f"{partition} isn't read to its end"
            values += [value or b"" for part in source.drain(10_000, 0.1).slices for value in part.values]
        source.close()
        return values

    def ids_of_an_undisturbed_run(self) -> list[list[str]]:
        """What another application, which nobody disturbs, makes of the same topic."""
        app = f"{self.app}-calm"
        create_topics(app, self.lanes, self.settings)
        calm = World.__new__(World)
        calm.__dict__.update(self.__dict__, app=app, _reader=self._open(app))
        calm.alerts, calm.offsets = [[] for _ in range(self.lanes)], [[] for _ in range(self.lanes)]
        process = self.start("calm", app=app)
        calm.await_alerts(self.due)
        process.signal(signal.SIGTERM)
        assert process.exit_code() == 0, process.tail()
        calm._read(1.0)
        calm._reader.close()
        return [sorted(alert.alert_id for alert in alerts) for alerts in calm.alerts]

    def ids(self) -> list[list[str]]:
        return [sorted(alert.alert_id for alert in alerts) for alerts in self.alerts]

    def _open(self, app: str) -> Consumer:
        reader = Consumer(
            {
                "bootstrap.servers": self.address,
                "group.id": "judge",
                "isolation.level": "read_committed",
                "auto.offset.reset": "earliest",
                "enable.auto.commit": False,
            }
        )
        topic = Topics(app).output(ALERTS)
        reader.assign([TopicPartition(topic, lane, 0) for lane in range(self.lanes)])
        return reader

    def _read(self, wait_s: float) -> None:
        for message in self._reader.consume(10_000, wait_s):
            error = message.error()
            assert error is None or error.code() in (KafkaError._TRANSPORT, KafkaError._ALL_BROKERS_DOWN), error
            if error is None:
                self.alerts[message.partition() or 0].append(_alert(message.value() or b""))
                self.offsets[message.partition() or 0].append(offset_of(message))

    def await_that(self, happened: Callable[[], bool], what: str) -> None:
        until = time.monotonic() + PATIENCE_S
        while not happened():
            tails = "\n".join(f"--- {process.name}\n{process.tail()}" for process in self.processes[-2:])
            assert time.monotonic() < until, f"waited for {what}, saw {self.seen} alerts of {self.due}\n{tails}"
            self._read(0.02)
            self._restart_those_who_ask()

    def _restart_those_who_ask(self) -> None:
        for name, process in list(self.supervised.items()):
            code = process.popen.poll()
            assert code in (None, EXIT_RESTART), f"{name} ended with {code}:\n{process.tail()}"
            if code == EXIT_RESTART:
                self.supervise(name)


def without_settings(environ: Mapping[str, str]) -> dict[str, str]:
    return {key: value for key, value in environ.items() if not key.startswith("STAKEOUT_")}


def difference(found: Sequence[object], due: Sequence[object]) -> str:
    """How two lists differ: what is missing, what is too many, or that only the order is another."""
    missing, extra = Counter(due) - Counter(found), Counter(found) - Counter(due)
    first = next((n for n, (a, b) in enumerate(zip(found, due, strict=False)) if a != b), min(len(found), len(due)))
    return (
        f"{len(found)} found, {len(due)} due, {missing.total()} missing {list(missing)[:3]}, "
        f"{extra.total()} too many {list(extra)[:3]}, first at place {first}"
    )


def chunks(total: int, count: int) -> Sequence[int]:
    """`total` in `count` parts."""
    return [total // count + (1 if place < total % count else 0) for place in range(count)]
