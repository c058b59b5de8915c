"""The sink: alerts topic → rows, each once.

    alerts topic ── drain ──▶ take (intake.py, pure) ──▶ one transaction: alerts, sink_rejected, sink_progress
    (read_committed)                                     where reading goes on is in the tables, nowhere else

After any trouble what is in memory is thrown away and the tables say where to go on; so it does not matter whether a
commit whose answer was lost had happened. Kafka or database away: waits, longer each time up to PAUSE_MAX_SECONDS.
A lane whose records contradict each other is halted, alone, and stays so until a person has looked (`resume_lane`).
"""

from __future__ import annotations

import logging
import signal
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from types import FrameType
from typing import Protocol

from sqlalchemy import Connection, Engine
from sqlalchemy.exc import DBAPIError

from cep.health import Health, served
from cep.log.kafka import KafkaSource
from cep.log.kafka_topics import Topics
from cep.log.protocol import ALERTS, Drained, Failpoint, Partition, Positions, no_failpoint
from cep.log.sqlite import SqliteLog
from cep.settings import Settings
from cep.storage import queries
from cep.storage.database import database_url, is_refusal, open_database, reached
from cep.storage.intake import Progress, Record, Rejected, Taken, take
from cep.storage.outputs import SqliteOutputs
from cep.telemetry import log_to_stderr
from cep.tracing import tracer, tracing
from cep.worker import EXIT_LOOK, EXIT_RESTART, failpoint_of
from events.errors import Fenced, IntegrityViolation, InvalidDocument, ServiceUnavailable

BATCH_MAX = 1000
"""Records in one transaction, at most."""

WAIT_SECONDS = 0.2
"""How long one look waits for a first record."""

PAUSE_SECONDS, PAUSE_MAX_SECONDS = 0.1, 5.0
"""Between attempts while a service is away: doubled each time, up to the second."""


class AlertsTopic(Protocol):
    """The part of a Source that the sink needs; KafkaSource and SqliteOutputs are such."""

    def begin(self) -> Positions: ...
    def end(self) -> Positions: ...
    def identities(self) -> Mapping[str, str]: ...
    def seek(self, positions: Positions) -> None: ...
    def drain(self, records_max: int, wait_s: float) -> Drained: ...
    def close(self) -> None: ...


@dataclass
class SinkCounts:
    """Since the process started.

    records: read from the topic; of them rows, rejected (no row can be made of them), halted (their lane stands still)
    commits: transactions; waits: for a service that was away
    """

    records: int = 0
    rows: int = 0
    rejected: int = 0
    halted: int = 0
    commits: int = 0
    waits: int = 0


def render_sink(counts: SinkCounts) -> str:
    """Prometheus text.

    >>> render_sink(SinkCounts(rows=3)).splitlines()[2:4]
    ['# TYPE stakeout_sink_rows_total counter', 'stakeout_sink_rows_total 3']
    """
    names = {f"stakeout_sink_{name}_total": count for name, count in asdict(counts).items()}
    return "".join(f"# TYPE {name} counter\n{name} {count}\n" for name, count in names.items())


class AlertSink:
    """Projects one alerts topic into the tables of one database. One thread uses it."""

    def __init__(
        self,
        source: AlertsTopic,
        engine: Engine,
        *,
        log: logging.Logger,
        failpoint: Failpoint = no_failpoint,
        wall_us: Callable[[], int] = lambda: time.time_ns() // 1000,
        pause: Callable[[float], None] = time.sleep,
    ) -> None:
        self._source, self._engine, self._log, self._failpoint = source, engine, log, failpoint
        self._wall_us, self._pause = wall_us, pause
        self._tracer = tracer()
        self._lanes: dict[Partition, Progress] = {}
        self._pause_s = PAUSE_SECONDS
        self.counts = SinkCounts()
        self.ready = False
        """Both ends can be reached, and it is known where to go on."""

    def run(self, stopped: Callable[[], bool]) -> None:
        """Until `stopped`; waits while a service is away.

        Raises IntegrityViolation when every lane is halted, Fenced when another sink is at work on the same tables.
        """
        while not stopped():
            try:
                self.load()
                while not stopped():
                    self.turn()
                    self._pause_s = PAUSE_SECONDS
            except ServiceUnavailable as error:
                self.ready = False
                self._wait(error, stopped)

    def load(self) -> None:
        """Reads from the tables where to go on, and goes there. Raises as `run` does, and ServiceUnavailable."""
        begin, identities = self._source.begin(), self._source.identities()
        with reached(self._engine), self._engine.begin() as connection:
            queries.add_progress(connection, (_first(place, begin[place], identities) for place in begin))
            kept = {topic: queries.read_progress(connection, topic) for topic, _ in begin}
        self._lanes = {place: kept[place.topic][place.partition] for place in begin}
        for place, line in list(self._lanes.items()):
            self._compare_topic(line, begin[place], identities[place.topic])
        self._seek()
        self.ready = True

    def turn(self, wait_s: float = WAIT_SECONDS) -> int:
        """One look at the topic and one transaction; answers the number of records. Raises as `load` does."""
        try:
            slices = self._source.drain(BATCH_MAX, wait_s).slices
        except IntegrityViolation as error:
            self._halt_lost(error)
            return 0
        if not slices:
            return 0
        self._failpoint("read")
        with self._tracer.start_as_current_span("sink.write", attributes={"records": sum(map(len, slices))}):
            written = self._write([take(self._lanes[part.partition], part) for part in slices])
        self._note(written)
        return sum(map(len, slices))

    # --- Writing ------------------------------------------------------------------------------------------------------

    def _write(self, taken: Sequence[Taken]) -> Sequence[Taken]:
        """One transaction. If the database refuses a value, once more with each row on its own."""
        with reached(self._engine):
            try:
                with self._engine.begin() as connection:
                    queries.insert_alerts(connection, [record.row for each in taken for record in each.records])
                    self._write_rest(connection, taken)
                return taken
            except DBAPIError as error:
                if not is_refusal(error):
                    raise
            with self._engine.begin() as connection:
                taken = [_one_by_one(connection, each) for each in taken]
                self._write_rest(connection, taken)
            return taken

    def _write_rest(self, connection: Connection, taken: Sequence[Taken]) -> None:
        queries.insert_rejected(connection, [bad for each in taken for bad in each.rejected], self._wall_us())
        for each in taken:
            queries.move_progress(connection, self._lanes[_place(each.progress)], each.progress)
        self._failpoint("written")

    def _note(self, taken: Sequence[Taken]) -> None:
        """It is committed: counts and tells."""
        self._failpoint("committed")
        self.counts.commits += 1
        for each in taken:
            self._lanes[_place(each.progress)] = each.progress
            self.counts.rows += len(each.records)
            self.counts.rejected += len(each.rejected)
            self.counts.records += len(each.records) + len(each.rejected)
            for bad in each.rejected:
                where = {"topic": bad.topic, "partition": bad.partition, "offset": bad.offset}
                self._log.error("record rejected", extra={"told": {**where, "reason": bad.reason[:500]}})
        if halted := [each.progress for each in taken if each.progress.halted]:
            for line in halted:
                self._tell_halted(line)
            self._seek()

    # --- Halting ------------------------------------------------------------------------------------------------------

    def _seek(self) -> None:
        """Reads the lanes that aren't halted. Raises IntegrityViolation if that is none of them."""
        going = {place: line.next_offset for place, line in self._lanes.items() if not line.halted}
        if self._lanes and not going:
            reasons = "\n".join(line.halted for line in self._lanes.values())
            raise IntegrityViolation(f"the projection of every lane is halted:\n{reasons}")
        self._source.seek(going)

    def _compare_topic(self, line: Progress, begin: int, identity: str) -> None:
        """Is it still the topic that was read before, with the record that comes next?"""
        if line.halted:
            self._log.error("lane halted", extra={"told": {"partition": line.partition, "reason": line.halted}})
        elif line.identity == "":
            self._move(line, replace(line, identity=identity, next_offset=max(line.next_offset, begin)))  # resumed
        elif line.identity != identity:
            self._halt(line, f"{line.topic}: was made anew; `forget_progress` reads it from its beginning")
        elif line.next_offset < begin:
            self._halt(line, f"{line.topic}/{line.partition}: records {line.next_offset} to {begin - 1} were trimmed")

    def _halt_lost(self, error: IntegrityViolation) -> None:
        """A position that the topic doesn't have. Raises the error if it is none of ours."""
        begin, end = self._source.begin(), self._source.end()
        lanes = [line for line in self._lanes.values() if not line.halted]
        lost = [line for line in lanes if not begin[_place(line)] <= line.next_offset <= end[_place(line)]]
        for line in lost:
            self._halt(line, str(error))
        if not lost:
            raise error
        self._seek()

    def _halt(self, line: Progress, reason: str) -> None:
        halted = replace(line, halted=reason)
        self._move(line, halted)
        self._tell_halted(halted)

    def _move(self, before: Progress, after: Progress) -> None:
        with reached(self._engine), self._engine.begin() as connection:
            queries.move_progress(connection, before, after)
        self._lanes[_place(before)] = after

    def _tell_halted(self, line: Progress) -> None:
        self.counts.halted += 1
        self._log.error(
            "integrity_violation", extra={"told": {"topic": line.topic, "lane": line.partition, "reason": line.halted}}
        )

    # --- Waiting ------------------------------------------------------------------------------------------------------

    def _wait(self, error: ServiceUnavailable, stopped: Callable[[], bool]) -> None:
        """A little longer each time, in small pieces, so that a stop is heard."""
        self.counts.waits += 1
        self._log.warning("waiting", extra={"told": {"seconds": self._pause_s, "error": str(error)}})
        self._engine.dispose()
        left_s = self._pause_s
        while left_s > 0 and not stopped():
            self._pause(min(left_s, PAUSE_SECONDS))
            left_s -= PAUSE_SECONDS
        self._pause_s = min(self._pause_s * 2, PAUSE_MAX_SECONDS)


def run_sink(settings: Settings, environ: Mapping[str, str], metrics: tuple[str, int] | None = None) -> int:
    """The process `stakeout sink`: until SIGTERM or SIGINT. metrics: as of `run_worker`.

    0; 75, restart me (another sink was at work); 70, a person must look (every lane is halted).
    """
    log = log_to_stderr(settings.worker.log_level)
    stopped = _stop_on_signals()
    try:
        health = Health()
        with tracing("sink", environ), served(health, *metrics) if metrics else nullcontext():
            _run(settings, failpoint_of(environ), stopped, log, health)
    except (Fenced, ServiceUnavailable) as error:
        log.error("stopped", extra={"told": {"kind": type(error).__name__, "error": str(error)}})
        return EXIT_RESTART
    except (IntegrityViolation, InvalidDocument) as error:
        log.error("stopped", extra={"told": {"kind": type(error).__name__, "error": str(error)}})
        return EXIT_LOOK
    log.info("ended")
    return 0


def kafka_alerts(settings: Settings) -> KafkaSource:
    """All partitions of the application's alerts topic."""
    return KafkaSource(settings.kafka, f"{settings.app}-sink", 0, 1, [Topics(settings.app).output(ALERTS)])


def project(log: SqliteLog, engine: Engine, logger: logging.Logger) -> int:
    """The embedded log's alerts as rows, up to its end; answers how many records were taken. Idempotent.

    Raises ServiceUnavailable; IntegrityViolation if the lane is halted.
    """
    source = SqliteOutputs(log)
    try:
        sink = AlertSink(source, engine, log=logger)
        sink.load()
        while sink.turn(0):
            pass
        return sink.counts.records
    finally:
        source.close()


def _run(
    settings: Settings, failpoint: Failpoint, stopped: Callable[[], bool], log: logging.Logger, health: Health
) -> None:
    engine = open_database(database_url(settings), connections=1)
    sqlite = None if settings.kafka.bootstrap else SqliteLog(Path(settings.embedded.path))
    source: AlertsTopic = kafka_alerts(settings) if sqlite is None else SqliteOutputs(sqlite)
    try:
        sink = AlertSink(source, engine, log=log, failpoint=failpoint)
        health.metrics, health.ready = lambda: render_sink(sink.counts), lambda: sink.ready
        sink.run(stopped)
    finally:
        source.close()
        engine.dispose()
        if sqlite is not None:
            sqlite.close()


def _stop_on_signals() -> Callable[[], bool]:
    asked: list[int] = []

    def ask(number: int, frame: FrameType | None) -> None:
        asked.append(number)

    signal.signal(signal.SIGTERM, ask)
    signal.signal(signal.SIGINT, ask)
    return lambda: bool(asked)


def _place(line: Progress) -> Partition:
    return Partition(line.topic, line.partition)


def _first(place: Partition, begin: int, identities: Mapping[str, str]) -> Progress:
    """Where a projection begins: with sequence 0, unless the topic was trimmed before anyone looked."""
    return Progress(*place, identities[place.topic], begin, 0 if begin == 0 else None)


def _one_by_one(connection: Connection, taken: Taken) -> Taken:
    """Each row in a savepoint; those that the database refuses become rejected records."""
    records: list[Record] = []
    rejected = list(taken.rejected)
    for record in taken.records:
        try:
            with connection.begin_nested():
                queries.insert_alerts(connection, [record.row])
            records.append(record)
        except DBAPIError as error:
            if not is_refusal(error):
                raise
            reason = f"the database refuses it: {str(error.orig).strip()}"
            rejected.append(Rejected(*_place(taken.progress), record.offset, reason, record.value))
    return Taken(records, rejected, taken.progress)
