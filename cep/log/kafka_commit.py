"""Kafka as what a lane writes: outputs and journal record in one transaction of `transactional.id` = <app>-lane-<i>.

    begin ─▶ produce alerts, late, dead letters, journal ─▶ flush ─▶ commit
      any error ─▶ is the lane ours? ─▶ new producer ─▶ settle ─▶ how does the journal end?
                    no: exit             as before: the same again · with ours: go on · else: exit ◀─┘

The client speaks the older transaction protocol, in which a delayed request may land in a later transaction: after
anything but plain success the commit takes a new producer, whose fresh epoch shuts such a request out. And a broker may
lose the end of a transaction that it has acknowledged: kafka_settle.py makes that whole before the journal is read.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from time import monotonic
from typing import Any

from confluent_kafka import KafkaError, KafkaException, Producer

from cep.log.kafka import error_of
from cep.log.kafka_settle import Journal, Tails, Told, settle, undecided
from cep.log.kafka_topics import Topics, client_settings, translated
from cep.log.protocol import (
    Failpoint,
    JournalRecord,
    Outputs,
    decode_journal,
    encode_journal,
    no_failpoint,
)
from cep.settings import Kafka
from events.errors import Fenced, LimitReached, ServiceUnavailable

ATTEMPTS = 3
"""The commit that fails for the third time in a row stops the lane."""

LOOK_SECONDS = 1.0
"""How long a look, in a quiet moment, waits for the brokers."""

LINGER_MS = 50
"""So long the client may gather; the flush of a commit ends it. At 0 ten thousand alerts leave as thousands of small
batches, and are on their way for twice as long. A single one is not later for it.
"""


class KafkaCommit:
    """Outputs and journal record in one Kafka transaction."""

    def __init__(
        self,
        settings: Kafka,
        app: str,
        lane: int,
        *,
        still_mine: Callable[[], None],
        pulse: Callable[[], None],
        failpoint: Failpoint = no_failpoint,
    ) -> None:
        """`still_mine` asks the group's coordinator and raises Fenced; `pulse` is called while a commit takes long."""
        self._settings, self._app, self._lane = settings, app, lane
        self._topics = Topics(app)
        self._still_mine, self._pulse, self._failpoint = still_mine, pulse, failpoint
        self._tails = Tails(settings, app, lane, pulse)
        self._producer: Producer | None = None
        self._journal = Journal(None, 0, 0)
        self._last: bytes | None = None
        self._epoch = 0
        self._troubled = False  # in this transaction
        self._shaken = False  # since the last look

    def claim(self) -> JournalRecord | None:
        """See Commit."""
        self._renew()
        self._last = self._read_last()
        last = None if self._last is None else decode_journal(self._last)
        self._epoch = 1 if last is None else last.epoch + 1
        self._failpoint("claimed")
        return last

    def epoch(self) -> int:
        """See Commit."""
        return self._epoch

    def journal(self) -> Iterator[JournalRecord]:
        """See Commit."""
        if self._last is None:
            return
        for message in self._tails.read(self._topics.journal, self._journal.begin, self._journal.end):
            yield decode_journal(message.value() or b"")

    def check(self) -> None:
        """See Commit."""
        self._still_mine()

    def look(self) -> None:
        """See Commit. The brokers may have lost the end of the last commit only if there was trouble on the wire."""
        if self._producer is None:
            return
        self._producer.poll(0)
        if not self._shaken:
            return
        try:
            ends = self._tails.ends(LOOK_SECONDS)
        except ServiceUnavailable:
            return
        self._shaken = False
        if undecided(ends):
            self._still_mine()
            self._renew()
            self._expect(self._last)

    def commit(self, outputs: Outputs, record: JournalRecord) -> None:
        """See Commit."""
        data = encode_journal(record)
        self._check_sizes(outputs, data)
        for attempt in range(1, ATTEMPTS + 1):
            try:
                self._transact(outputs, data)
                break
            except KafkaException as error:
                if self._landed(error, data, attempt):
                    break
        self._last = data
        self._failpoint("committed")
        if self._troubled:  # a request may still be under way: the next transaction must not meet it
            self._still_mine()
            self._renew()
            self._expect(data)

    def close(self) -> None:
        """See Commit. A transaction that is open is aborted by the next owner."""
        if self._producer is not None:
            self._producer.purge()
            self._producer = None

    def _check_sizes(self, outputs: Outputs, data: bytes) -> None:
        limit = self._settings.message_bytes_max
        longest = max(
            (len(key) + len(value) for records in outputs.records.values() for key, value in records), default=0
        )
        if max(longest, len(data)) > limit:
            raise LimitReached(
                f"lane {self._lane}: a record of {max(longest, len(data))} bytes, the limit is {limit}",
                "raise kafka.message_bytes_max and max.message.bytes of the topics",
            )

    def _transact(self, outputs: Outputs, data: bytes) -> None:
        """One transaction, begun, filled and committed. Raises KafkaException for whatever the client reports."""
        producer = self._producer
        assert producer is not None, "claim comes first"
        producer.poll(0)  # hears what went wrong while nothing was under way: no reason for a new producer
        self._troubled = False
        producer.begin_transaction()
        self._failpoint("begun")
        for name, records in outputs.records.items():
            topic = self._topics.output(name)
            for key, value in records:
                self._produce(producer, topic, key, value)
        self._produce(producer, self._topics.journal, None, data)
        self._flush(producer)
        self._failpoint("produced")
        self._finish(producer)

    def _produce(self, producer: Producer, topic: str, key: bytes | None, value: bytes) -> None:
        while True:
            try:
                producer.produce(topic, value, key, partition=self._lane)
                return
            except BufferError:
                self._flush(producer)

    def _flush(self, producer: Producer) -> None:
        until = monotonic() + self._patience_s
        while producer.flush(self._slice_s):
            if monotonic() > until:
                raise KafkaException(KafkaError(KafkaError._TIMED_OUT, "outputs are not taken"))
            self._pulse()

    def _finish(self, producer: Producer) -> None:
        """Commits; the client says "timed out, call again" while the brokers don't answer."""
        until = monotonic() + self._patience_s
        while True:
            try:
                producer.commit_transaction(self._slice_s)
                return
            except KafkaException as error:
                if error_of(error).code() != KafkaError._TIMED_OUT or monotonic() > until:
                    raise
                self._troubled = True
                self._pulse()

    def _landed(self, error: KafkaException, data: bytes, attempt: int) -> bool:
        """After an error: did the transaction commit all the same? False: it didn't, send the same again.

        Raises Fenced unless the coordinator says that the lane is ours and the journal ends where we know it.
        """
        reason = error_of(error)
        if _is_fenced(reason):
            raise Fenced(f"lane {self._lane} of {self._app}: {reason.str()}") from error
        self._still_mine()
        if attempt == ATTEMPTS:
            raise ServiceUnavailable(
                f"lane {self._lane} of {self._app}: {ATTEMPTS} commits in a row failed, last: {reason.str()}",
                "see the brokers' log; a restart goes on where the journal ends",
            ) from error
        self._renew()
        found = self._read_last()
        if found == data:
            return True
        if found != self._last:
            raise self._other_end() from error
        return False

    def _expect(self, data: bytes | None) -> None:
        if self._read_last() != data:
            raise self._other_end()

    def _other_end(self) -> Fenced:
        return Fenced(
            f"lane {self._lane} of {self._app}: the journal has a record that is not mine, or lost my last one",
            "a restart goes on where the journal ends",
        )

    def _renew(self) -> None:
        """A producer with a fresh epoch. What the one before had open is settled by the brokers before it begins."""
        self.close()
        self._troubled = False
        with translated(f"lane {self._lane} of {self._app}"):
            producer = Producer(
                _writer_settings(self._settings, self._topics.transactional_id(self._lane), self._note_error)
            )
            self._initialise(producer)
        self._producer = producer

    def _initialise(self, producer: Producer) -> None:
        until = monotonic() + self._patience_s
        while True:
            try:
                producer.init_transactions(self._slice_s)
                return
            except KafkaException as error:
                if _is_fenced(error_of(error)):
                    raise Fenced(f"lane {self._lane} of {self._app}: {error_of(error).str()}") from error
                if not error_of(error).retriable() or monotonic() > until:
                    raise
                self._pulse()

    def _note_error(self, error: KafkaError) -> None:
        """The client met trouble on the wire: the producer is not used for another transaction."""
        self._troubled = self._shaken = True

    def _read_last(self) -> bytes | None:
        """The last committed journal record, once nothing is undecided or torn. Only right after `_renew`."""
        what = f"lane {self._lane} of {self._app}"
        with translated(what):
            try:
                self._journal = settle(self._tails, self._write)
            except KafkaException as error:
                if _is_fenced(error_of(error)):
                    raise Fenced(f"{what}: {error_of(error).str()}") from error
                raise
        return self._journal.last

    def _write(self, told: Sequence[Told], commit: bool) -> None:
        """One transaction that is no batch's: to settle."""
        producer = self._producer
        assert producer is not None
        producer.begin_transaction()
        for topic, key, value in told:
            self._produce(producer, topic, key, value)
        self._flush(producer)
        self._failpoint("settling")
        if commit:
            self._finish(producer)
        else:
            producer.abort_transaction(self._patience_s)

    @property
    def _patience_s(self) -> float:
        return self._settings.transaction_timeout_ms / 1000

    @property
    def _slice_s(self) -> float:
        return min(0.5, self._patience_s)


def _writer_settings(settings: Kafka, transactional_id: str, note: Callable[[KafkaError], None]) -> dict[str, Any]:
    return {
        **client_settings(settings),
        "transactional.id": transactional_id,
        "transaction.timeout.ms": settings.transaction_timeout_ms,
        "acks": "all",
        "linger.ms": LINGER_MS,
        "compression.type": "lz4",
        "message.max.bytes": settings.message_bytes_max + 4096,
        "error_cb": note,
    }


def _is_fenced(error: KafkaError) -> bool:
    return error.code() in (KafkaError._FENCED, KafkaError.PRODUCER_FENCED)
