"""Kafka as what a lane reads: its source topics and the control topic. What it writes is kafka_commit.py.

    source topics ──▶ KafkaSource      partitions p with p mod L = lane; poll, then drain (kafka_reader.py)
    control topic ◀──▶ KafkaControl    one partition, read by every lane

Offsets of a lane live in its journal, not in a consumer group. Kafka numbers transaction markers too, so offsets have
holes. Who owns which lane is kafka_group.py; names and making of topics are kafka_topics.py.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from time import monotonic, sleep
from typing import Any, Literal

import numpy as np
from confluent_kafka import (
    Consumer,
    IsolationLevel,
    KafkaError,
    KafkaException,
    Message,
    Producer,
    TopicCollection,
    TopicPartition,
)
from confluent_kafka.admin import AdminClient, OffsetSpec, TopicDescription  # type: ignore[attr-defined]  # exported, but not by its types

from cep.log.kafka_reader import News, Reader
from cep.log.kafka_records import KafkaSlice
from cep.log.kafka_topics import Topics, client_settings, translated
from cep.log.protocol import Drained, Partition, Positions, Slice
from cep.settings import Kafka
from events.errors import IntegrityViolation, ServiceUnavailable

CONFIRM_SECONDS = 1.0
"""For so long the brokers' answer to where a partition ends is believed."""

STILL_SECONDS = 0.1
"""An end that the client reached counts when it has stood for so long: while records flow nobody need be asked."""

AHEAD_MAX = 20_000
"""Records of one partition kept in a replay while another's are awaited; then it is paused."""

ELECTING = frozenset(
    {
        KafkaError.NOT_LEADER_FOR_PARTITION,
        KafkaError.LEADER_NOT_AVAILABLE,
        KafkaError.OFFSET_NOT_AVAILABLE,
        KafkaError.FENCED_LEADER_EPOCH,
        KafkaError.UNKNOWN_LEADER_EPOCH,
    }
)
ELECTING_SECONDS = 0.02
"""Between two questions while a partition has no leader."""


class KafkaSource:
    """The lane's partitions of the source topics."""

    finite = False

    def __init__(self, settings: Kafka, app: str, lane: int, lanes: int, topics: Sequence[str]) -> None:
        self._settings, self._lane, self._lanes = settings, lane, lanes
        self._topics = tuple(sorted(topics))
        self._admin = AdminClient(client_settings(settings))
        self._reader = Reader(reader_settings(settings, f"{app}-lane-{lane}-source"))
        self._next: Positions = {}  # behind the last record that was taken
        self._pending: dict[Partition, list[KafkaSlice]] = {}  # fetched in a replay, beyond what was asked for
        self._paused: set[Partition] = set()
        self._held: frozenset[Partition] = frozenset()
        self._ended: dict[Partition, tuple[int, float]] = {}  # the client has reached this end, when
        self._confirmed: Positions = {}
        self._confirmed_s = 0.0

    def partitions(self) -> tuple[Partition, ...]:
        """See Source."""
        found = [
            Partition(topic, place.id)
            for topic, described in self._described().items()
            for place in described.partitions
        ]
        return tuple(sorted(partition for partition in found if partition.partition % self._lanes == self._lane))

    def begin(self) -> Positions:
        """See Source."""
        return offsets_at(self._admin, self.partitions(), "earliest", self._timeout_s)

    def end(self) -> Positions:
        """See Source."""
        return offsets_at(self._admin, self.partitions(), "latest", self._timeout_s)

    def identities(self) -> Mapping[str, str]:
        """See Source: the topics' ids."""
        return {topic: str(described.topic_id) for topic, described in self._described().items()}

    def seek(self, positions: Positions) -> None:
        """See Source."""
        self._next = dict(sorted(positions.items()))
        self._pending = {partition: [] for partition in self._next}
        self._paused, self._held, self._ended, self._confirmed_s = set(), frozenset(), {}, 0.0
        with translated("source"):
            self._reader.assign(self._next)

    def hold(self, partitions: frozenset[Partition]) -> None:
        """See Source. The client forgets what it had fetched for them; records already here wait."""
        with translated("source"):
            self._reader.pause(partitions - self._held)
            self._reader.resume(self._held - partitions)
        self._held = partitions

    def drain(self, records_max: int, wait_s: float) -> Drained:
        """See Source."""
        self._resume_all()
        taken = self._take_pending(records_max) or self._fetched(records_max, wait_s)
        slices: list[Slice] = [part for _, part in sorted(taken.items())]
        self._next.update((part.partition, part.next_offset) for part in slices)
        return Drained(slices, self._in_backlog(slices, records_max), self._reader.hurried)

    def read_to(self, positions: Positions) -> list[Slice]:
        """See Source."""
        return [self._up_to(partition, stop) for partition, stop in sorted(positions.items())]

    def at_end(self) -> frozenset[Partition]:
        """See Source. What the client says it reached is checked against the brokers now and then: a process that was
        stopped, or cut off, has old news."""
        now_s = monotonic()
        still = {part: offset for part, (offset, since_s) in self._ended.items() if now_s - since_s > STILL_SECONDS}
        if not still:
            return frozenset()
        if now_s - self._confirmed_s > CONFIRM_SECONDS:
            self._confirmed = self._asked_ends()
            self._confirmed_s = monotonic()
        return frozenset(part for part, offset in still.items() if offset >= self._confirmed.get(part, offset + 1))

    def close(self) -> None:
        """See Source."""
        self._reader.close()

    @property
    def _timeout_s(self) -> float:
        return self._settings.call_timeout_ms / 1000

    def _described(self) -> dict[str, TopicDescription]:
        """Asks without making a topic that is missing, as asking for its metadata would."""
        with translated(f"source {', '.join(self._topics)}"):
            asked = self._admin.describe_topics(TopicCollection(list(self._topics)), request_timeout=self._timeout_s)
            return {topic: future.result() for topic, future in asked.items()}

    def _asked_ends(self) -> Positions:
        try:
            return offsets_at(self._admin, tuple(self._ended), "latest", CONFIRM_SECONDS)
        except ServiceUnavailable:
            return {}

    def _fetched(self, records_max: int, wait_s: float) -> dict[Partition, KafkaSlice]:
        """What has arrived, by partition."""
        with translated("source"):
            slices, news = self._reader.fetch(records_max, wait_s)
        for partition in slices:
            self._ended.pop(partition, None)
        for one in news:
            self._note(one)
        return slices

    def _note(self, news: News) -> None:
        """An end that was reached; other news is bad, unless the client mends it by itself."""
        error = news.error
        if error.code() == KafkaError._PARTITION_EOF:
            self._ended[Partition(news.topic, news.partition)] = news.offset, monotonic()
        elif error.code() in (KafkaError._AUTO_OFFSET_RESET, KafkaError.OFFSET_OUT_OF_RANGE):
            raise IntegrityViolation(
                f"source {news.topic}/{news.partition}: {error.str()}",
                "the source was trimmed or recreated: keep it longer, or name another application id to begin anew",
            )
        elif error.fatal() or not mends(error):
            raise ServiceUnavailable(f"source {news.topic}: {error.str()}", "see the brokers' log")

    def _take_pending(self, records_max: int) -> dict[Partition, KafkaSlice]:
        taken: dict[Partition, KafkaSlice] = {}
        for partition, pending in self._pending.items():
            if pending and partition not in self._held and records_max > 0:
                whole = KafkaSlice.joined(pending)
                taken[partition] = whole.part(slice(records_max))
                self._pending[partition] = [whole.part(slice(records_max, None))] if len(whole) > records_max else []
                records_max -= len(taken[partition])
        return taken

    def _in_backlog(self, slices: Sequence[Slice], records_max: int) -> bool:
        """Is more waiting than one drain takes? The client's queue may be short of it for a moment."""
        taken = sum(map(len, slices))
        if taken >= records_max:
            return True
        return taken * 8 >= records_max and any(self._lag(part) > records_max for part in slices)

    def _lag(self, part: Slice) -> int:
        return self._reader.end_of(part.partition) - part.next_offset  # negative where the client doesn't know yet

    def _up_to(self, partition: Partition, stop: int) -> KafkaSlice:
        """The records below an offset that ended a batch: one stands right before it."""
        until = monotonic() + self._timeout_s
        while not (pending := self._pending[partition]) or pending[-1].next_offset < stop:
            if partition in self._ended:
                raise self._lost(partition, stop)
            if self._more_pending(partition):
                until = monotonic() + self._timeout_s
            elif monotonic() > until:
                raise ServiceUnavailable(f"source {partition.topic}/{partition.partition}: no records for a replay")
        whole = KafkaSlice.joined(pending)
        cut = int(np.searchsorted(whole.offsets(), stop))
        if cut == 0 or whole.offsets()[cut - 1] != stop - 1:
            raise self._lost(partition, stop)
        self._pending[partition] = [whole.part(slice(cut, None))] if cut < len(whole) else []
        self._next[partition] = stop
        return whole.part(slice(cut))

    def _lost(self, partition: Partition, stop: int) -> IntegrityViolation:
        return IntegrityViolation(
            f"source {partition.topic}/{partition.partition}: record {stop - 1} of the journal is gone",
            "the source was trimmed or compacted: keep it longer, or name another application id to begin anew",
        )

    def _more_pending(self, wanted: Partition) -> bool:
        """Fetches on. Partitions that ran far ahead of the one that is wanted are paused."""
        slices = self._fetched(4096, 0.1)
        for partition, part in slices.items():
            self._pending[partition].append(part.alone())
        waiting = {part: sum(map(len, pending)) for part, pending in self._pending.items()}
        far = {part for part, count in waiting.items() if count > AHEAD_MAX and part != wanted}
        with translated("source"):
            self._reader.pause(far - self._paused)
            self._reader.resume(self._paused - far)
        self._paused = far
        return bool(slices)

    def _resume_all(self) -> None:
        if self._paused:
            self._reader.resume(self._paused)
            self._paused = set()


class KafkaControl:
    """The control topic."""

    def __init__(self, settings: Kafka, app: str) -> None:
        self._settings = settings
        self._place = Partition(Topics(app).control, 0)
        self._admin = AdminClient(client_settings(settings))
        self._consumer = Consumer(reader_settings(settings, f"{app}-control"))
        self._position = -1
        self._producer: Producer | None = None

    def prepare(self) -> None:
        """Connects what `append` needs, in the background: the first change would wait for it for half a second."""
        self._writer()

    def append(self, value: bytes) -> int:
        """See ControlLog."""
        delivered: list[tuple[KafkaError | None, Message]] = []
        producer = self._writer()
        producer.produce(
            self._place.topic, value, partition=0, on_delivery=lambda error, message: delivered.append((error, message))
        )
        producer.flush(self._settings.call_timeout_ms / 1000)
        if not delivered or delivered[0][0] is not None:
            reason = delivered[0][0].str() if delivered and delivered[0][0] else "no answer"
            producer.purge()
            self._producer = None
            raise ServiceUnavailable(f"{self._place.topic}: {reason}", "read the log before writing the change again")
        return offset_of(delivered[0][1]) + 1

    def read(self, start: int, stop: int | None = None) -> list[tuple[int, bytes]]:
        """See ControlLog."""
        if start != self._position:
            self._consumer.assign([TopicPartition(*self._place, start)])
            self._position = start
        found: list[tuple[int, bytes]] = []
        until = monotonic() + self._settings.call_timeout_ms / 1000
        while stop is not None and self._position < stop:
            if monotonic() > until:
                raise ServiceUnavailable(f"{self._place.topic}: can't be read up to {stop}")
            found += self._taken(1, 0.1)
        return found if stop is not None else self._taken(100, 0)

    def end(self) -> int:
        """See ControlLog."""
        timeout_s = self._settings.call_timeout_ms / 1000
        return offsets_at(self._admin, [self._place], "latest", timeout_s)[self._place]

    def close(self) -> None:
        """See ControlLog."""
        self._consumer.close()

    def _writer(self) -> Producer:
        if self._producer is None:
            self._producer = Producer({**client_settings(self._settings), "enable.idempotence": True, "linger.ms": 0})
        return self._producer

    def _taken(self, records_max: int, wait_s: float) -> list[tuple[int, bytes]]:
        found = []
        for message in self._consumer.consume(records_max, wait_s):
            error = message.error()
            if error is None:
                found.append((offset_of(message), message.value() or b""))
                self._position = offset_of(message) + 1
            elif error.code() in (KafkaError._AUTO_OFFSET_RESET, KafkaError.OFFSET_OUT_OF_RANGE):
                raise IntegrityViolation(
                    f"{self._place.topic}: record {self._position} is gone",
                    "the control topic is never trimmed: restore it",
                )
            elif error.code() != KafkaError._PARTITION_EOF and not mends(error):
                raise ServiceUnavailable(f"{self._place.topic}: {error.str()}")
        return found


def reader_settings(settings: Kafka, group: str) -> dict[str, Any]:
    """A consumer that is told where to read. The group's name is needed by the client; nothing is stored in it."""
    return {
        **client_settings(settings),
        "group.id": group,
        "enable.auto.commit": False,
        "enable.auto.offset.store": False,
        "enable.partition.eof": True,
        "auto.offset.reset": "error",
        "isolation.level": "read_committed",
        "fetch.wait.max.ms": settings.fetch_wait_ms,
        "fetch.min.bytes": 1,
        "fetch.queue.backoff.ms": settings.fetch_backoff_ms,
        "queued.min.messages": settings.queued_messages_min,
        "queued.max.messages.kbytes": settings.queued_kbytes_max,
    }


def offsets_at(
    admin: AdminClient,
    partitions: Sequence[Partition],
    where: Literal["earliest", "latest"],
    timeout_s: float,
    isolation: IsolationLevel = IsolationLevel.READ_COMMITTED,
) -> Positions:
    """Asks the brokers; again while leaders are being elected. `isolation` says whose end "latest" is: that of readers
    of committed records, or of all."""
    if not partitions:
        return {}
    until = monotonic() + timeout_s
    with translated(", ".join(sorted({partition.topic for partition in partitions}))):
        while True:
            try:
                return _listed(admin, partitions, where, timeout_s, isolation)
            except KafkaException as error:
                if error_of(error).code() not in ELECTING or monotonic() > until:
                    raise
                sleep(ELECTING_SECONDS)
                admin.list_topics(timeout=timeout_s)  # else the client asks with the leader's old epoch, for minutes


def _listed(
    admin: AdminClient,
    partitions: Sequence[Partition],
    where: Literal["earliest", "latest"],
    timeout_s: float,
    isolation: IsolationLevel,
) -> Positions:
    spec: Any = OffsetSpec  # its methods have no types
    at = spec.latest() if where == "latest" else spec.earliest()
    asked = admin.list_offsets(
        {TopicPartition(*partition): at for partition in partitions},
        isolation_level=isolation,
        request_timeout=timeout_s,
    )
    return {Partition(place.topic, place.partition): future.result().offset for place, future in asked.items()}


def offset_of(message: Message) -> int:
    """Of a message that was read."""
    found = message.offset()
    assert found is not None
    return found


def error_of(error: KafkaException) -> KafkaError:
    """What the client reported."""
    found = error.args[0]
    assert isinstance(found, KafkaError)
    return found


def mends(error: KafkaError) -> bool:
    """The client goes on trying by itself."""
    return error.retriable() or error.code() in (
        KafkaError._TRANSPORT,
        KafkaError._ALL_BROKERS_DOWN,
        KafkaError._TIMED_OUT,
        KafkaError._RESOLVE,
        KafkaError._MAX_POLL_EXCEEDED,
    )
