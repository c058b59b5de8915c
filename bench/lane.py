"""The lane on real Kafka: how fast a topic is drained, and how long an alert takes, exactly-once commits included.

    drain   fill ──▶ topic ──▶ worker ──▶ journal ──▶ here                (the topic is full before the worker starts)
    delay   `produce` ──▶ topic ──▶ worker ──▶ alerts ──▶ `consume`       (each a process of its own)

A reader of committed records ends a drain when the journal covers the topic, and a delay when it sees the alert. The
worker is the product's, with settings by environment. `python -m bench.lane produce|consume JSON` are the other two
processes of the delay; nobody else calls them.
"""

from __future__ import annotations

import gc
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, redirect_stdout, suppress
from dataclasses import asdict, dataclass, field
from datetime import datetime
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import msgspec
import numpy as np
from confluent_kafka import Consumer, KafkaException, Message, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic  # type: ignore[attr-defined]  # exported, but not by its types

from bench import engine
from bench.data import EPOCH_MS, FIELDS, Columns, ndjson, transactions
from bench.peers.run import Kafka as PeerKafka
from bench.peers.run import PeerError, run_peer
from bench.works import STREAM, WORKS
from cep.alert import Alert
from cep.cli import main
from cep.control import Activate, Change, ModelAlias, ModelVersion, PatternVersion, write
from cep.log.kafka import KafkaControl
from cep.log.kafka_topics import Topics, client_settings, create_topics
from cep.log.protocol import ALERTS, DEAD_LETTERS, OUTPUT_TOPICS, BatchEntry, JournalRecord, decode_journal
from cep.settings import Kafka
from cep.warm import warm
from models.registry import Registry

Row = tuple[str, float, float | None, str, str]
"""name, ours, the peer's or None, unit, note"""

ROOT = Path(__file__).resolve().parent.parent
DRAINS = {"kafka/drain_1": "small_big", "kafka/drain_20": "twenty_patterns"}
PARTITIONS = 4
ARRIVAL = f" (order: arrival over {PARTITIONS} partitions, read one ahead of the other, may count a few others)"
PATIENCE_S = 120.0
"""For a worker to go live, and for whatever comes next to come."""

RATE = 10_000
SECONDS = 20
DELAY_PARTITIONS = 1
"""This client's producer sends a request per partition, Java's one for all of a broker: so the broker gets as many."""
WARM_SECONDS = 75
"""The delay's first alerts are left out: so long a broker's JVM compiles what this load needs, with up to a core."""
RISKY = 300.0
"""A payment above it is fraud, for the model of `scored`."""
ALERT_EVERY = 100
"""One alert per so many events."""

WORKER = (
    "import os, sys\n"
    "from cep.settings import load\n"
    "from cep.worker import run_worker\n"
    "sys.exit(run_worker(load(None, os.environ), os.environ))\n"
)


class LaneError(RuntimeError):
    """The lane can't be measured; the message says why and what to do."""


def rows(events: int, *, peers: bool = False) -> list[Row]:
    """The four rows. `peers`: Flink on the same topics too, which takes minutes. Raises LaneError."""
    found = kafka()
    return [*drains(found, events, peers=peers), *delays(found)]


def kafka() -> Kafka:
    """The brokers, once the kernels are compiled and cached: no worker waits for that."""
    found = Kafka(bootstrap=address())
    warm()
    return found


def address() -> str:
    """Of the brokers. Raises LaneError where nobody named them."""
    if found := os.environ.get("STAKEOUT_KAFKA"):
        return found
    raise LaneError(
        "no Kafka is named: STAKEOUT_KAFKA is empty. `make bench` starts one, and so does\n"
        "    STAKEOUT_KAFKA_JVM= python deploy/services.py run --only kafka -- python -m bench kafka"
    )


# --- Drain ------------------------------------------------------------------------------------------------------------


def drains(kafka: Kafka, events: int, *, peers: bool = False, works: Mapping[str, str] = DRAINS) -> list[Row]:
    """One topic, drained once per work by a new application."""
    columns, found = transactions(events), []
    with full_topic(kafka, columns) as topic:
        ends = {place: _end(kafka, topic, place) for place in range(PARTITIONS)}
        if sum(ends.values()) != events:
            raise LaneError(
                f"the brokers at {kafka.bootstrap} took {sum(ends.values())} records of {events}: see their log"
            )
        for name, work in works.items():
            drained = drain(kafka, topic, WORKS[work], ends)
            peer, told = _flink(kafka, topic, work) if peers else (None, "Flink not run: --peers")
            counted = engine.from_columns(work, columns)[0]
            note = f"matches {drained.alerts}, from columns {counted}{ARRIVAL}, {told}; {drained.told()}"
            found.append((name, events / drained.seconds, peer, "events/s", note))
        if works is DRAINS:
            found.append(scored(kafka, topic, columns, ends))
    return found


VIEW = """
view: card
stream: transactions
entity: [card_id]
features:
  - {name: count_1h, aggregate: count, window: {sliding: 1h}}
  - {name: spend_1d, aggregate: sum(amount), window: {sliding: 1d}}
  - {name: largest_1d, aggregate: max(amount), window: {sliding: 1d}}
  - {name: countries_1h, aggregate: distinct(country), window: {sliding: 1h}}
"""
MODEL = """
model: risk
stream: transactions
inputs: [amount, card.count_1h, card.spend_1d, card.largest_1d, card.countries_1h]
missing: 0
label: is_fraud
algorithm: random_forest
parameters: {n_estimators: 100, max_depth: 8}
split: {delay: 0s, test: 20s}
"""
SCORED = {
    "name": "scored-twice",
    "stream": "transactions",
    "key": ["card_id"],
    "within": "1h",
    "steps": [
        {"name": "first", "where": "score > 0.9"},
        {"name": "again", "contiguity": "followed_by", "where": "score > 0.9 and card.count_1h > 2"},
    ],
}
SAMPLE_ROWS = 100_000


def scored(kafka: Kafka, topic: str, columns: Columns, ends: Mapping[int, int]) -> Row:
    """The same topic with four features and a model of a hundred trees; trained here, on the first of its events."""
    with tempfile.TemporaryDirectory(prefix="stakeout-bench-") as name:
        folder = Path(name)
        (folder / "view.yaml").write_text(VIEW)
        (folder / "model.yaml").write_text(MODEL)
        (folder / "stream.yaml").write_text(STREAM)
        settings = {"address": {"store": str(folder / "store")}, "views": [str(folder / "view.yaml")]}
        (folder / "settings.yaml").write_text(json.dumps(settings))
        with (folder / "sample.ndjson").open("wb") as file:
            first = {field: column[:SAMPLE_ROWS] for field, column in columns.items()}
            for record, amount in zip(ndjson(first), first["amount"].tolist(), strict=True):
                fraud = b"true" if amount > RISKY else b"false"
                file.write(record.rstrip()[:-1] + b', "is_fraud": ' + fraud + b"}\n")
        files = [str(folder / "model.yaml"), "--data", str(folder / "sample.ndjson")]
        options = ["--streams", str(folder / "stream.yaml"), "--settings", str(folder / "settings.yaml")]
        with redirect_stdout(sys.stderr):
            if main(["models", "train", *files, *options]) != 0:
                raise LaneError("the model of kafka/drain_scored could not be trained")
        card = Registry(str(folder / "store")).card("risk", 1)
        champion: list[Change] = [ModelVersion("risk", 1, card.digest, card.runtime), ModelAlias("risk", "champion", 1)]
        environ = {
            "STAKEOUT_VIEWS": str(folder / "view.yaml"),
            "STAKEOUT_MODELS": str(folder / "model.yaml"),
            "STAKEOUT_ADDRESS_STORE": str(folder / "store"),
        }
        drained = drain(kafka, topic, [SCORED], ends, champion, environ)
    note = f"4 features, 100 trees on 5 inputs, 1 pattern, {drained.alerts} alerts; {drained.told()}"
    return "kafka/drain_scored", sum(ends.values()) / drained.seconds, None, "events/s", note


@dataclass(slots=True)
class Drained:
    """What the journal says of one drain. Seconds from going live, just before the first poll, until each."""

    live_s: float = 0.0
    start_up_s: float = 0.0
    first_s: float = 0.0
    seconds: float = 0.0
    cpu_s: float = 0.0
    first_records: int = 0
    records: int = 0
    batches: int = 0
    commits: int = 0
    sequences: dict[str, int] = field(default_factory=dict)

    @property
    def alerts(self) -> int:
        """Which were committed."""
        return self.sequences.get(ALERTS, 0)

    def told(self) -> str:
        """For a note."""
        after = (self.records - self.first_records) / max(self.seconds - self.first_s, 1e-9)
        refused = "".join(f", {self.sequences[name]} {name}" for name in OUTPUT_TOPICS[1:] if self.sequences.get(name))
        return (
            f"{self.commits} commits, {self.records / max(self.batches, 1):.0f} records a batch{refused}; "
            f"first commit after {self.first_s:.2f} s, then {after:,.0f}/s; {self.cpu_s:.1f} s of CPU in the worker; "
            f"start-up {self.start_up_s:.1f} s left out; load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores"
        )


def drain(
    kafka: Kafka,
    topic: str,
    documents: Sequence[dict[str, Any]],
    ends: Mapping[int, int],
    changes: Sequence[Change] = (),
    environ: Mapping[str, str] = MappingProxyType({}),
) -> Drained:
    """A new application reads the topic from its start until its journal covers `ends`. changes: besides patterns"""
    with application(kafka, topic, documents, changes=changes) as app, worker(kafka, app, topic, environ) as process:
        started_s = time.time()
        live_s = process.await_live()
        drained, cpu_s = Drained(live_s, live_s - started_s), process.cpu_s()
        place, positions = TopicPartition(Topics(app).journal, 0, 0), dict.fromkeys(ends, 0)
        with closing(Consumer(reader_settings(kafka))) as reader:
            reader.assign([place])
            until = time.monotonic() + PATIENCE_S
            while any(positions[number] < end for number, end in ends.items()):
                message = reader.poll(0.2)
                if value := _value(message):
                    until = time.monotonic() + PATIENCE_S
                    _follow(decode_journal(value), positions, drained)
                elif time.monotonic() > until or process.ended():
                    raise LaneError(f"the worker did not drain {topic}: it came to {positions}\n{process.tail()}")
        drained.cpu_s = process.cpu_s() - cpu_s
    if drained.sequences.get(DEAD_LETTERS):
        raise LaneError(f"{drained.sequences[DEAD_LETTERS]} records of {topic} became dead letters: see bench/data.py")
    return drained


def _follow(record: JournalRecord, positions: dict[int, int], drained: Drained) -> None:
    """A committed journal record, seen now."""
    numbers = [start.number for start in record.partitions]
    batches = [entry for entry in record.entries if isinstance(entry, BatchEntry) and entry.moved]
    before = sum(positions.values())
    for place, offset in (move for entry in batches for move in entry.moved):
        positions[numbers[place]] = offset
    taken = sum(positions.values()) - before
    drained.seconds = time.time() - drained.live_s
    if taken and not drained.records:
        drained.first_s, drained.first_records = drained.seconds, taken
    drained.records += taken
    drained.batches += len(batches)
    drained.commits += 1
    drained.sequences = record.sequences


def _flink(kafka: Kafka, topic: str, work: str) -> tuple[float | None, str]:
    """(events per second, a note): matching only, in heap, with no sink and no checkpoint."""
    try:
        line = run_peer("flink", work, kafka=PeerKafka(kafka.bootstrap, topic))
    except PeerError as error:
        return None, f"Flink: {str(error).splitlines()[0]}"
    return float(line["events_per_s"]), (
        f"Flink {line['matches']} on this topic and broker, committing nothing, start-up included ({line['seconds']} s)"
    )


@contextmanager
def full_topic(kafka: Kafka, columns: Columns) -> Iterator[str]:
    """A topic with the payments as JSON, lz4, keyed by card; each record's timestamp is its event time."""
    topic = f"bench-{uuid.uuid4().hex[:8]}"
    config = {"message.timestamp.type": "CreateTime", "retention.ms": "-1"}
    admin = AdminClient(client_settings(kafka))
    made = admin.create_topics([NewTopic(topic, num_partitions=PARTITIONS, replication_factor=1, config=config)])
    try:
        made[topic].result(PATIENCE_S)
        _fill(kafka, topic, columns)
        yield topic
    finally:
        _delete(kafka, [topic])


def _fill(kafka: Kafka, topic: str, columns: Columns) -> None:
    records = ndjson(columns)
    keys = [f"card-{card:05d}".encode() for card in range(int(columns["card"].max()) + 1)]
    stamps = (columns["ts"] + EPOCH_MS).tolist()
    # What the brokers don't take in time leaves the queue: the loop ends, and who counts finds it missing.
    patience = {"message.timeout.ms": int(PATIENCE_S / 2 * 1000)}
    producer = Producer({**producer_settings(kafka), **patience, "linger.ms": 50, "batch.size": 262_144})
    for card, stamp, record in zip(columns["card"].tolist(), stamps, records, strict=True):
        while True:
            try:
                producer.produce(topic, record, keys[card], timestamp=stamp)
                break
            except BufferError:
                producer.poll(0.05)
    producer.flush(PATIENCE_S)


def _end(kafka: Kafka, topic: str, place: int) -> int:
    with closing(Consumer(reader_settings(kafka))) as reader:
        return int(reader.get_watermark_offsets(TopicPartition(topic, place), timeout=10)[1])


# --- Delay ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Load:
    """What the processes of the delay are told."""

    bootstrap: str
    topic: str
    alerts: str
    rate: int = RATE
    seconds: int = SECONDS + WARM_SECONDS

    @property
    def due(self) -> int:
        """Alerts."""
        return self.rate * self.seconds // ALERT_EVERY


class Sent(NamedTuple):
    """What the producer reached: events a second, and how late it was at worst."""

    rate: float
    worst_ms: float


@dataclass(frozen=True, slots=True)
class Delayed:
    """delays_ms: of each alert once the worker is warm. due: alerts; cores: that the worker kept busy."""

    sent: Sent
    delays_ms: list[float]
    due: int
    cores: float


def delays(kafka: Kafka, rate: int = RATE) -> list[Row]:
    """Median and 99th percentile of produce() → alert visible."""
    found = delay(kafka, rate)
    p50, p99, p999 = (float(np.percentile(found.delays_ms, share)) for share in (50, 99, 99.9))
    note = (
        f"p99.9 {p999:.1f}, most {max(found.delays_ms):.1f}; {len(found.delays_ms)} alerts of {found.due} due; "
        f"{found.sent.rate:,.0f} events/s on {DELAY_PARTITIONS} partition and {found.sent.rate / ALERT_EVERY:.0f} "
        f"alerts/s reached, the producer late by {found.sent.worst_ms:.0f} ms at worst; {found.cores:.2f} cores in the "
        f"worker; first {WARM_SECONDS} s left out; load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores"
    )
    return [("kafka/delay_p50", p50, None, "ms", note), ("kafka/delay_p99", p99, None, "ms", note)]


def delay(kafka: Kafka, rate: int = RATE) -> Delayed:
    """One run. Raises LaneError if not one alert came."""
    topic = f"bench-{uuid.uuid4().hex[:8]}"
    made = application(kafka, topic, WORKS["small_big"], makes={topic: DELAY_PARTITIONS})
    with made as app, worker(kafka, app, topic) as process:
        process.await_live()
        load = Load(kafka.bootstrap, topic, Topics(app).output(ALERTS), rate)
        cpu_s, consumer, producer = process.cpu_s(), _role("consume", load), _role("produce", load)
        sent = Sent(*json.loads(_answer("producer", producer, load, process)))
        cores = (process.cpu_s() - cpu_s) / load.seconds
        seen: list[list[int]] = json.loads(_answer("consumer", consumer, load, process))
    first = rate * WARM_SECONDS
    delays_ms = [ns / 1e6 for number, ns in seen if number >= first]
    if not delays_ms:
        raise LaneError(f"no alert of {load.due} came; is the worker too slow for {rate} events/s?")
    return Delayed(sent, delays_ms, load.due - first // ALERT_EVERY, cores)


def _role(name: str, load: Load) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "bench.lane", name, json.dumps(asdict(load))]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)


def _answer(what: str, role: subprocess.Popen[str], load: Load, process: Process) -> str:
    try:
        answer, _ = role.communicate(timeout=load.seconds + PATIENCE_S)
    except subprocess.TimeoutExpired:
        answer = ""
    finally:
        role.kill()
    if not answer:
        raise LaneError(f"{what}: no answer; the worker says:\n{process.tail()}")
    return answer


def produce(load: Load) -> list[float]:
    """Sends `rate` events a second, a few each millisecond; answers the rate that was reached, the worst lag in ms."""
    gc.disable()
    names = (*FIELDS, "number", "produced_ns")
    shapes = [*FIELDS.values(), "%d", "%d"]
    record = ("{" + ",".join(f'"{name}":{shape}' for name, shape in zip(names, shapes, strict=True)) + "}").__mod__
    producer = Producer({"bootstrap.servers": load.bootstrap, **_AS_JAVA, **_COMPRESSED})
    chance = np.random.default_rng(7)
    count = load.rate * load.seconds
    cards, amounts = chance.integers(0, 20_000, count).tolist(), chance.uniform(1.0, 500.0, count).tolist()
    each_ms, worst_ns, begin_ns = load.rate // 1000, 0, time.monotonic_ns()
    for number in range(count):
        if number % each_ms == 0:
            lag_ns = time.monotonic_ns() - begin_ns - number // each_ms * 1_000_000
            worst_ns = max(worst_ns, lag_ns)
            producer.poll(0)
            if lag_ns < 0:
                time.sleep(-lag_ns / 1e9)
        card, amount = planted(number) or (cards[number], amounts[number])
        at_ms, rest = time.time_ns() // 1_000_000, ("DE", "EUR", 7, "grocery", "pos", "chip", 7, "true")
        raw = record((number, card, at_ms, amount, *rest, number, time.monotonic_ns()))
        producer.produce(load.topic, raw, b"card-%05d" % card)
    reached = count / (time.monotonic_ns() - begin_ns) * 1e9
    left = producer.flush(PATIENCE_S)
    return [] if left else [reached, worst_ns / 1e6]


def planted(number: int) -> tuple[int, float] | None:
    """Of each ALERT_EVERY events two are a small and a big payment by a card that pays nothing else for a while."""
    place = number % ALERT_EVERY
    card = 50_000 + number // ALERT_EVERY % 10_000
    return {0: (card, 0.5), ALERT_EVERY // 2: (card, 900.0)}.get(place)


def consume(load: Load) -> list[tuple[int, int]]:
    """(number, delay in ns) of each alert, as a reader of committed records sees them."""
    gc.disable()
    seen: list[tuple[int, bytes]] = []
    with closing(Consumer(reader_settings(Kafka(bootstrap=load.bootstrap)))) as reader:
        reader.assign([TopicPartition(load.alerts, 0, 0)])
        until = time.monotonic() + load.seconds + PATIENCE_S / 2
        while len(seen) < load.due and time.monotonic() < until:
            if value := _value(reader.poll(0.1)):
                seen.append((time.monotonic_ns(), value))
    decoder = msgspec.json.Decoder(Alert)
    return [_told(at_ns, decoder.decode(value)) for at_ns, value in seen]


def _told(at_ns: int, alert: Alert) -> tuple[int, int]:
    event = msgspec.json.decode(alert.events[-1].event)
    return event["number"], at_ns - event["produced_ns"]


# --- The application and its worker -----------------------------------------------------------------------------------


@contextmanager
def application(
    kafka: Kafka,
    topic: str,
    documents: Sequence[dict[str, Any]],
    makes: Mapping[str, int] | None = None,
    changes: Sequence[Change] = (),
) -> Iterator[str]:
    """A new application that watches for these patterns; `makes`: a source topic that is made with it. All its topics
    are deleted in the end."""
    app = f"{topic}-{uuid.uuid4().hex[:4]}"
    made = create_topics(app, 1, kafka, makes)
    try:
        versions = [PatternVersion(one["name"], 1, one) for one in documents]
        live = [Activate(one["name"], 1) for one in documents]
        with closing(KafkaControl(kafka, app)) as control:
            write(control, [*changes, *versions, *live], author="bench", at_us=time.time_ns() // 1000)
        yield app
    finally:
        _delete(kafka, made)


@dataclass(frozen=True, slots=True)
class Process:
    """The worker."""

    popen: subprocess.Popen[bytes]
    log: Path

    def await_live(self) -> float:
        """Waits until its lane is live; answers the wall time at which it was: its first poll comes next."""
        until = time.monotonic() + PATIENCE_S
        while time.monotonic() < until and not self.ended():
            for line in self.log.read_text().splitlines():
                if '"lane live"' in line:
                    at = datetime.strptime(json.loads(line)["at"], "%Y-%m-%d %H:%M:%S,%f").astimezone()
                    return at.timestamp()
            time.sleep(0.02)
        raise LaneError(f"the worker did not go live:\n{self.tail()}")

    def ended(self) -> bool:
        """Has it, by itself?"""
        return self.popen.poll() is not None

    def cpu_s(self) -> float:
        """Seconds of CPU so far, the client's threads included; a busy machine doesn't change them. 0: not Linux."""
        with suppress(OSError):
            words = Path(f"/proc/{self.popen.pid}/stat").read_text().rpartition(") ")[2].split()
            return (int(words[11]) + int(words[12])) / os.sysconf("SC_CLK_TCK")
        return 0.0

    def tail(self) -> str:
        """The end of its log."""
        return self.log.read_text()[-2000:]


@contextmanager
def worker(kafka: Kafka, app: str, topic: str, environ: Mapping[str, str] = MappingProxyType({})) -> Iterator[Process]:
    """A worker process of that application on that topic, all settings by environment and else as they are."""
    with tempfile.TemporaryDirectory(prefix="stakeout-bench-") as folder:
        declared, log = Path(folder) / "transactions.yaml", Path(folder) / "worker.log"
        declared.write_text(STREAM.replace("topic: transactions", f"topic: {topic}"))
        settings = {"STAKEOUT_APP": app, "STAKEOUT_KAFKA": kafka.bootstrap, "STAKEOUT_STREAMS": str(declared)}
        others = {name: value for name, value in os.environ.items() if not name.startswith("STAKEOUT_")}
        cache = {name: os.environ[name] for name in ("STAKEOUT_CACHE",) if name in os.environ}
        with log.open("wb") as output:
            popen = subprocess.Popen(
                [sys.executable, "-c", WORKER], cwd=ROOT, env={**others, **cache, **settings, **environ}, stderr=output
            )
        try:
            yield Process(popen, log)
        finally:
            end_process(popen)


def end_process(popen: subprocess.Popen[bytes]) -> None:
    """Asks a process to end, and ends it if it doesn't."""
    popen.send_signal(signal.SIGTERM)
    try:
        popen.wait(15)
    except subprocess.TimeoutExpired:
        popen.kill()
        popen.wait()


def _delete(kafka: Kafka, topics: list[str]) -> None:
    """Leaves the brokers as they were, as far as they let us."""
    admin = AdminClient(client_settings(kafka))  # named: one that is collected forgets what it was asked
    for future in admin.delete_topics(topics).values():
        with suppress(KafkaException):
            future.result()


_COMPRESSED = {"compression.type": "lz4", "partitioner": "murmur2_random"}

_AS_JAVA = {"linger.ms": 5, "acks": "all", "max.in.flight": 5}
"""The defaults of Java's producer but for idempotence, which changes nothing where no request is repeated. With it this
client's thread runs in circles, up to a whole core, while five requests of a partition are under way: taken from the
broker, that core makes the queue longer. Without a bound on requests a pause of the broker fills its socket with small
ones: a queue that only goes when the load does."""


def producer_settings(kafka: Kafka) -> dict[str, Any]:
    """Of whoever fills a topic: the partitioner of Java's clients."""
    return {**client_settings(kafka), **_COMPRESSED}


def reader_settings(kafka: Kafka) -> dict[str, Any]:
    """Of a reader of committed records that keeps no offsets."""
    return {
        **client_settings(kafka),
        "group.id": "bench",
        "enable.auto.commit": False,
        "auto.offset.reset": "earliest",
        "isolation.level": "read_committed",
        "fetch.wait.max.ms": 50,
        "fetch.min.bytes": 1,
    }


def _value(message: Message | None) -> bytes | None:
    return None if message is None or message.error() is not None else message.value()


ROLES: dict[str, Callable[[Load], Any]] = {"produce": produce, "consume": consume}

if __name__ == "__main__":
    print(json.dumps(ROLES[sys.argv[1]](Load(**json.loads(sys.argv[2])))))
