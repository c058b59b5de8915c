"""The embedded log: input, control, journal and outputs in one SQLite file and one SQLite transaction.

    ingestion ──┐                      ┌── SqliteSource    reads input
                ├─▶ one writer thread ─┤
    lane ───────┘    (group commit)    └── other readers, each with a connection of its own (WAL)

Several jobs that wait at once share one transaction and one fsync; each has a savepoint, so that one that fails takes
nothing of the others with it. The lane's epoch is a row that its commit compares in the same transaction: an owner of
before, in this process or in another, can't commit any more. There is one lane.
"""

from __future__ import annotations

import contextlib
import queue
import sqlite3
import threading
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from functools import partial
from pathlib import Path
from time import monotonic
from typing import Any, TypeVar

from cep.log.protocol import (
    Drained,
    Failpoint,
    JournalRecord,
    Outputs,
    Partition,
    Positions,
    Rows,
    Slice,
    decode_journal,
    encode_journal,
    no_failpoint,
)
from events.errors import Fenced, IntegrityViolation, ServiceUnavailable

T = TypeVar("T")

SCHEMA = 1
"""Of the file (`PRAGMA user_version`)."""

BUSY_MS = 5_000
"""How long a statement waits for another process that writes the same file."""

LOOK_SECONDS = 0.005
"""How often a waiting reader looks for what another process has written."""

TABLES = """
CREATE TABLE topic (name TEXT PRIMARY KEY, next_offset INTEGER NOT NULL, identity TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE input (topic TEXT, offset INTEGER, timestamp_us INTEGER NOT NULL, key BLOB, value BLOB,
                    PRIMARY KEY (topic, offset)) WITHOUT ROWID;
CREATE TABLE control (offset INTEGER PRIMARY KEY, value BLOB NOT NULL);
CREATE TABLE journal (number INTEGER PRIMARY KEY, value BLOB NOT NULL);
CREATE TABLE output (topic TEXT, offset INTEGER, key BLOB NOT NULL, value BLOB NOT NULL,
                     PRIMARY KEY (topic, offset)) WITHOUT ROWID;
CREATE TABLE lane (lane INTEGER PRIMARY KEY, epoch INTEGER NOT NULL);
INSERT INTO lane VALUES (0, 0);
"""

INPUT = "SELECT offset, timestamp_us, key, value FROM input WHERE topic = ? AND offset >= ?"

Job = Callable[[sqlite3.Connection], object]
Waiting = tuple[Job, "Future[object]"]


class SqliteLog:
    """The file, its writer thread, and the condition on which readers in this process wait for new input."""

    def __init__(self, path: Path, *, durable: bool = True) -> None:
        """Opens or makes the file. `durable`: each commit survives a power cut; else only a crash of the process.

        Raises ServiceUnavailable if the file can't be had or is another release's.
        """
        self.path = path
        self._durable = durable
        self._jobs: queue.SimpleQueue[Waiting | None] = queue.SimpleQueue()
        self.arrived = threading.Condition()
        self._closed = False
        with _translated(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            connection = self.connect()
            _lay_out(connection)
        self._thread = threading.Thread(target=self._write, args=(connection,), name="sqlite-writer", daemon=True)
        self._thread.start()

    def connect(self) -> sqlite3.Connection:
        """A connection for one reader; the caller closes it."""
        connection = sqlite3.connect(self.path, isolation_level=None, check_same_thread=False, timeout=BUSY_MS / 1000)
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute(f"PRAGMA synchronous = {'FULL' if self._durable else 'NORMAL'}")
        return connection

    def run(self, job: Callable[[sqlite3.Connection], T]) -> T:
        """Runs the job on the writer thread; returns when its transaction is committed, or raises what it raised."""
        return self.submit(job).result()

    def submit(self, job: Callable[[sqlite3.Connection], T]) -> Future[T]:
        """As `run`, without waiting."""
        if self._closed:
            raise ServiceUnavailable(f"{self.path}: the log is closed")
        future: Future[T] = Future()
        self._jobs.put((job, future))  # type: ignore[arg-type]  # the future of a job takes what the job returns
        return future

    def append(self, topic: str, records: Sequence[tuple[bytes | None, bytes | None]], at_us: int) -> int:
        """Writes (key, value) records to a topic, durably; answers the first one's offset. `at_us`: their timestamp.

        Raises ServiceUnavailable (disk full, another process holds the file).
        """
        first = self.run(lambda connection: _append(connection, topic, records, at_us))
        with self.arrived:
            self.arrived.notify_all()
        return first

    def trim(self, topic: str, before: int) -> None:
        """Deletes a topic's records below an offset."""
        self.run(lambda c: c.execute("DELETE FROM input WHERE topic = ? AND offset < ?", (topic, before)))

    def outputs(self, topic: str, start: int = 0) -> list[tuple[int, bytes, bytes]]:
        """(offset, key, value) of an output topic from `start`, for the sink and for tests."""
        query = "SELECT offset, key, value FROM output WHERE topic = ? AND offset >= ? ORDER BY offset"
        with _translated(self.path), contextlib.closing(self.connect()) as connection:
            return connection.execute(query, (topic, start)).fetchall()

    def newest_outputs(self, topic: str, below: int | None, limit: int) -> list[tuple[int, bytes, bytes]]:
        """(offset, key, value) of an output topic, the newest first, those below an offset."""
        query = "SELECT offset, key, value FROM output WHERE topic = ? AND offset < ? ORDER BY offset DESC LIMIT ?"
        with _translated(self.path), contextlib.closing(self.connect()) as connection:
            return connection.execute(query, (topic, 2**62 if below is None else below, limit)).fetchall()

    def output_end(self, topic: str) -> int:
        """The offset behind the last record of an output topic."""
        return self._one("SELECT coalesce(max(offset) + 1, 0) FROM output WHERE topic = ?", topic)

    def input_end(self, topic: str) -> int:
        """The offset behind the last record of an input topic; 0 if there is none of the name."""
        return self._one("SELECT coalesce(max(next_offset), 0) FROM topic WHERE name = ?", topic)

    def journal(self, start: int = 0) -> list[JournalRecord]:
        """The lane's committed records from number `start`, for readers beside it."""
        query = "SELECT value FROM journal WHERE number >= ? ORDER BY number"
        with _translated(self.path), contextlib.closing(self.connect()) as connection:
            return [decode_journal(data) for (data,) in connection.execute(query, (start,))]

    def journal_from_end(self) -> Iterator[JournalRecord]:
        """The same records, the newest first."""
        with _translated(self.path), contextlib.closing(self.connect()) as connection:
            for (data,) in connection.execute("SELECT value FROM journal ORDER BY number DESC"):
                yield decode_journal(data)

    def _one(self, query: str, *values: object) -> int:
        with _translated(self.path), contextlib.closing(self.connect()) as connection:
            return int(connection.execute(query, values).fetchone()[0])

    def close(self) -> None:
        """Ends the writer thread after the jobs that wait. Idempotent."""
        if not self._closed:
            self._closed = True
            self._jobs.put(None)
            self._thread.join()

    def _write(self, connection: sqlite3.Connection) -> None:
        with contextlib.closing(connection):
            while (jobs := self._take()) is not None:
                _write_together(self.path, connection, jobs)

    def _take(self) -> list[Waiting] | None:
        """All jobs that wait, at least one; None at the end."""
        first = self._jobs.get()
        if first is None:
            return None
        jobs = [first]
        with contextlib.suppress(queue.Empty):
            while (job := self._jobs.get_nowait()) is not None:
                jobs.append(job)
            self._jobs.put(None)  # the end: seen again next time
        return jobs


class SqliteSource:
    """Input topics of the file, each with the one partition 0."""

    finite = False

    def __init__(self, log: SqliteLog, topics: Sequence[str]) -> None:
        self._log = log
        self._topics = tuple(sorted(topics))
        self._connection = log.connect()
        self._positions: Positions = {}
        self._held: frozenset[Partition] = frozenset()

    def partitions(self) -> tuple[Partition, ...]:
        """See Source."""
        return tuple(Partition(topic, 0) for topic in self._topics)

    def begin(self) -> Positions:
        """See Source."""
        return {Partition(topic, 0): self._oldest(topic) for topic in self._topics}

    def end(self) -> Positions:
        """See Source."""
        return {Partition(topic, 0): self._next(topic) for topic in self._topics}

    def identities(self) -> Mapping[str, str]:
        """See Source. A topic has its identity from the moment it is first asked for."""
        return {topic: self._log.run(partial(_identity, topic=topic)) for topic in self._topics}

    def seek(self, positions: Positions) -> None:
        """See Source."""
        self._positions = dict(sorted(positions.items()))
        self._held = frozenset()

    def hold(self, partitions: frozenset[Partition]) -> None:
        """See Source."""
        self._held = partitions

    def drain(self, records_max: int, wait_s: float) -> Drained:
        """See Source."""
        until = monotonic() + wait_s
        while not (slices := self._rows(records_max)) and (left := until - monotonic()) > 0:
            with self._log.arrived:
                self._log.arrived.wait(min(left, LOOK_SECONDS))
        return Drained(slices, sum(map(len, slices)) >= records_max)

    def read_to(self, positions: Positions) -> list[Slice]:
        """See Source."""
        slices = [self._range(partition, stop) for partition, stop in sorted(positions.items())]
        return [rows for rows in slices if len(rows)]

    def at_end(self) -> frozenset[Partition]:
        """See Source."""
        ends = self.end()
        return frozenset(partition for partition, offset in self._positions.items() if offset >= ends[partition])

    def close(self) -> None:
        """See Source."""
        self._connection.close()

    def _all(self, query: str, *values: object) -> list[Any]:
        with _translated(self._log.path):
            return self._connection.execute(query, values).fetchall()

    def _next(self, topic: str) -> int:
        found = self._all("SELECT next_offset FROM topic WHERE name = ?", topic)
        return int(found[0][0]) if found else 0

    def _oldest(self, topic: str) -> int:
        ((found,),) = self._all("SELECT min(offset) FROM input WHERE topic = ?", topic)
        return self._next(topic) if found is None else int(found)

    def _rows(self, records_max: int) -> list[Slice]:
        """An equal share of what has arrived from each partition; a partition that has less leaves it to the others."""
        slices: list[Slice] = []
        left = records_max
        reading = [place for place in self._positions.items() if place[0] not in self._held]
        for place, (partition, offset) in enumerate(reading):
            share = left // (len(reading) - place) or 1
            found = self._all(f"{INPUT} ORDER BY offset LIMIT ?", partition.topic, offset, share)
            if found:
                slices.append(self._slice(partition, found))
                left -= len(found)
        return slices

    def _range(self, partition: Partition, stop: int) -> Rows:
        topic, start = partition.topic, self._positions[partition]
        found = self._all(f"{INPUT} AND offset < ? ORDER BY offset", topic, start, stop)
        if len(found) != stop - start:
            raise IntegrityViolation(
                f"{self._log.path}: of records {start} to {stop - 1} of {topic} only {len(found)} are left",
                "the input was trimmed below the journal: restore the file from its backup",
            )
        return self._slice(partition, found)

    def _slice(self, partition: Partition, found: Sequence[tuple[int, int, bytes | None, bytes | None]]) -> Rows:
        if not found:
            return Rows(partition, self._positions[partition], [], [])
        offsets, stamps, keys, values = zip(*found, strict=True)
        self._positions[partition] = offsets[-1] + 1
        return Rows(partition, offsets[-1] + 1, values, offsets, stamps, keys)


class SqliteCommit:
    """Outputs and journal in the file."""

    def __init__(self, log: SqliteLog, failpoint: Failpoint = no_failpoint) -> None:
        self._log = log
        self._failpoint = failpoint
        self._epoch = 0
        self._last: JournalRecord | None = None

    def claim(self) -> JournalRecord | None:
        """See Commit."""
        self._epoch, data = self._log.run(_claim)
        self._last = None if data is None else decode_journal(data)
        self._failpoint("claimed")
        return self._last

    def epoch(self) -> int:
        """See Commit."""
        return self._epoch

    def journal(self) -> Iterator[JournalRecord]:
        """See Commit."""
        if self._last is None:
            return
        query = "SELECT value FROM journal WHERE number <= ? ORDER BY number"
        with _translated(self._log.path), contextlib.closing(self._log.connect()) as connection:
            for (data,) in connection.execute(query, (self._last.number,)):
                yield decode_journal(data)

    def check(self) -> None:
        """See Commit."""
        self._log.run(self._compare_epoch)

    def look(self) -> None:
        """See Commit. The file keeps what it has."""

    def commit(self, outputs: Outputs, record: JournalRecord) -> None:
        """See Commit."""
        data = encode_journal(record)
        self._log.run(lambda connection: self._commit(connection, outputs, record, data))
        self._failpoint("committed")

    def close(self) -> None:
        """See Commit. The file stays open: it is the caller's."""

    def _commit(self, connection: sqlite3.Connection, outputs: Outputs, record: JournalRecord, data: bytes) -> None:
        self._failpoint("begun")
        self._compare_epoch(connection)
        for topic, records in outputs.records.items():
            _append_outputs(connection, topic, records)
        connection.execute("INSERT INTO journal VALUES (?, ?)", (record.number, data))
        self._failpoint("produced")

    def _compare_epoch(self, connection: sqlite3.Connection) -> None:
        (epoch,) = connection.execute("SELECT epoch FROM lane WHERE lane = 0").fetchone()
        if epoch != self._epoch:
            raise Fenced(f"{self._log.path}: the lane has epoch {epoch} now, mine is {self._epoch}")


class SqliteControl:
    """The control log in the file."""

    def __init__(self, log: SqliteLog) -> None:
        self._log = log
        self._connection = log.connect()

    def append(self, value: bytes) -> int:
        """See ControlLog."""
        return self._log.run(lambda connection: _append_control(connection, value))

    def read(self, start: int, stop: int | None = None) -> list[tuple[int, bytes]]:
        """See ControlLog."""
        query = "SELECT offset, value FROM control WHERE offset >= ? AND offset < ? ORDER BY offset"
        with _translated(self._log.path):
            found = self._connection.execute(query, (start, 2**62 if stop is None else stop)).fetchall()
        if stop is not None and len(found) != stop - start:
            raise IntegrityViolation(
                f"{self._log.path}: of control records {start} to {stop - 1} only {len(found)} are left",
                "restore the file from its backup",
            )
        return found

    def end(self) -> int:
        """See ControlLog."""
        with _translated(self._log.path):
            (found,) = self._connection.execute("SELECT coalesce(max(offset) + 1, 0) FROM control").fetchone()
        return int(found)

    def close(self) -> None:
        """See ControlLog."""
        self._connection.close()


@contextlib.contextmanager
def _translated(path: Path) -> Iterator[None]:
    """SQLite's and the file system's errors as ours."""
    try:
        yield
    except (sqlite3.Error, OSError) as error:
        raise ServiceUnavailable(
            f"{path}: {error}", "check that the disk isn't full and that the file is ours to write"
        ) from error


def _lay_out(connection: sqlite3.Connection) -> None:
    """Makes the tables in a new file; refuses another release's."""
    connection.execute("BEGIN IMMEDIATE")
    (found,) = connection.execute("PRAGMA user_version").fetchone()
    if found == 0:
        for statement in filter(str.strip, TABLES.split(";")):
            connection.execute(statement)
        connection.execute(f"PRAGMA user_version = {SCHEMA}")
    connection.execute("COMMIT")
    if found not in (0, SCHEMA):
        raise ServiceUnavailable(
            f"the log has schema {found}; this release reads {SCHEMA}", "open it with the release that made it"
        )


def _write_together(path: Path, connection: sqlite3.Connection, jobs: Sequence[Waiting]) -> None:
    """One transaction for all. A job that raises is rolled back alone; if the transaction fails, all have failed."""
    done: list[tuple[Future[object], object]] = []
    try:
        with _translated(path):
            connection.execute("BEGIN IMMEDIATE")
            for job, future in jobs:
                _run_job(path, connection, job, future, done)
            connection.execute("COMMIT")
    except ServiceUnavailable as error:
        with contextlib.suppress(sqlite3.Error):
            connection.execute("ROLLBACK")
        for _, future in jobs:
            if not future.done():
                future.set_exception(error)
        return
    for future, result in done:
        future.set_result(result)


def _run_job(
    path: Path,
    connection: sqlite3.Connection,
    job: Job,
    future: Future[object],
    done: list[tuple[Future[object], object]],
) -> None:
    connection.execute("SAVEPOINT job")
    try:
        with _translated(path):
            result = job(connection)
    except BaseException as error:  # it is the caller's: a writer that ended would leave everyone waiting
        connection.execute("ROLLBACK TO job")  # raises if SQLite has rolled back everything: then all have failed
        future.set_exception(error)
    else:
        done.append((future, result))
    connection.execute("RELEASE job")


def _append(
    connection: sqlite3.Connection, topic: str, records: Sequence[tuple[bytes | None, bytes | None]], at_us: int
) -> int:
    _identity(connection, topic)
    (first,) = connection.execute("SELECT next_offset FROM topic WHERE name = ?", (topic,)).fetchone()
    rows = ((topic, first + place, at_us, key, value) for place, (key, value) in enumerate(records))
    connection.executemany("INSERT INTO input VALUES (?, ?, ?, ?, ?)", rows)
    connection.execute("UPDATE topic SET next_offset = ? WHERE name = ?", (first + len(records), topic))
    return int(first)


def _identity(connection: sqlite3.Connection, topic: str) -> str:
    """The topic's identity; the topic is made if there is none of the name."""
    connection.execute("INSERT OR IGNORE INTO topic VALUES (?, 0, ?)", (topic, uuid.uuid4().hex))
    return str(connection.execute("SELECT identity FROM topic WHERE name = ?", (topic,)).fetchone()[0])


def _append_outputs(connection: sqlite3.Connection, topic: str, records: Sequence[tuple[bytes, bytes]]) -> None:
    query = "SELECT coalesce(max(offset) + 1, 0) FROM output WHERE topic = ?"
    (first,) = connection.execute(query, (topic,)).fetchone()
    rows = ((topic, first + place, key, value) for place, (key, value) in enumerate(records))
    connection.executemany("INSERT INTO output VALUES (?, ?, ?, ?)", rows)


def _append_control(connection: sqlite3.Connection, value: bytes) -> int:
    row = connection.execute(
        "INSERT INTO control SELECT coalesce(max(offset) + 1, 0), ? FROM control RETURNING offset", (value,)
    ).fetchone()
    return int(row[0]) + 1


def _claim(connection: sqlite3.Connection) -> tuple[int, bytes | None]:
    """The next epoch, taken, and the last journal record."""
    (epoch,) = connection.execute("UPDATE lane SET epoch = epoch + 1 WHERE lane = 0 RETURNING epoch").fetchone()
    row = connection.execute("SELECT value FROM journal ORDER BY number DESC LIMIT 1").fetchone()
    return int(epoch), None if row is None else row[0]
