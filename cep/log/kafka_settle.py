"""Settle: makes whole what a lane finds on its own partitions, before it reads its journal or writes to them.

    undecided records ──▶ a transaction over those partitions, aborted ──▶ none
    outputs ≠ journal ──▶ what is missing, read from the log, in one transaction ──▶ outputs = journal

A broker that shuts down may leave out the markers of a transaction that it has acknowledged, on all partitions or on
some (docs/decisions/0008-a-lane-settles-first.md). No restart completes it, and the next marker of the same producer
id ends it, whatever that one says. So: what no reader of committed records could see is taken back, and its batches
are decided again, with the same alert ids; what some could see is completed from the log, which keeps aborted records
too.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from time import monotonic, sleep
from typing import NamedTuple

import msgspec
from confluent_kafka import Consumer, IsolationLevel, KafkaError, KafkaException, Message, TopicPartition
from confluent_kafka.admin import AdminClient

from cep.log.kafka import mends, offset_of, offsets_at, reader_settings
from cep.log.kafka_topics import Topics, client_settings, translated
from cep.log.protocol import OUTPUT_TOPICS, JournalRecord, Partition, decode_journal, encode_journal
from cep.settings import Kafka
from events.errors import IntegrityViolation, ServiceUnavailable

TAIL = 64
"""Offsets looked at first for the last record: markers and aborted records may stand behind it."""

ROUNDS = 3
"""A repair may be torn as well; after so many the lane stops."""

MARKER_SECONDS = 0.25
"""Markers of a transaction that has ended are written a moment later: nothing is called undecided before."""

MARKER_LOOK_SECONDS = 0.01
"""Between two looks for them."""

Told = tuple[str, bytes | None, bytes]
"""(topic, key, value) to write."""

Write = Callable[[Sequence[Told], bool], None]
"""Writes records in one transaction to the lane's partitions, and commits or aborts it."""

_log = logging.getLogger("stakeout")


class Ends(NamedTuple):
    """Of one partition: the oldest offset, the end for readers of committed records, the end of all."""

    begin: int
    stable: int
    high: int


class Journal(NamedTuple):
    """The lane's journal, settled: its last committed record and where it can be read."""

    last: bytes | None
    begin: int
    end: int


class Stamp(msgspec.Struct, frozen=True):
    """What every output says of its origin."""

    epoch: int
    sequence: int
    processed_at_us: int


_stamp = msgspec.json.Decoder(Stamp).decode


class Tails:
    """Reads the lane's partitions of the application's topics. `pulse` is called while it takes long."""

    def __init__(self, settings: Kafka, app: str, lane: int, pulse: Callable[[], None]) -> None:
        self.settings, self.app, self.lane, self.pulse = settings, app, lane, pulse
        self._admin = AdminClient(client_settings(settings))

    @property
    def names(self) -> dict[str, str]:
        """The topic of each output."""
        return {name: Topics(self.app).output(name) for name in OUTPUT_TOPICS}

    @property
    def journal(self) -> str:
        """The journal topic."""
        return Topics(self.app).journal

    def ends(self, timeout_s: float | None = None) -> dict[str, Ends]:
        """By topic. Raises ServiceUnavailable."""
        timeout_s = self._timeout_s if timeout_s is None else timeout_s
        places = [Partition(topic, self.lane) for topic in (self.journal, *self.names.values())]
        begin = offsets_at(self._admin, places, "earliest", timeout_s)
        high = offsets_at(self._admin, places, "latest", timeout_s, IsolationLevel.READ_UNCOMMITTED)
        stable = offsets_at(
            self._admin, places, "latest", timeout_s
        )  # asked last: what is behind `high` isn't looked at
        return {place.topic: Ends(begin[place], min(stable[place], high[place]), high[place]) for place in places}

    def last(self, topic: str, begin: int, end: int) -> Message | None:
        """The last committed record. The last offset is a marker's, so it is looked for from behind."""
        reach = TAIL
        while True:
            start = max(begin, end - reach)
            newest = deque(self.read(topic, start, end), maxlen=1)
            if newest or start == begin:
                return newest[0] if newest else None
            reach *= 16

    def read(self, topic: str, start: int, end: int, *, committed: bool = True) -> Iterator[Message]:
        """Records from `start` up to `end`, the stable end or, not only of committed ones, the end of all."""
        if start >= end:
            return
        level = "read_committed" if committed else "read_uncommitted"
        settings = {**reader_settings(self.settings, f"{self.app}-journal"), "isolation.level": level}
        with translated(topic), closing(Consumer(settings)) as reader:
            reader.assign([TopicPartition(topic, self.lane, start)])
            until = monotonic() + self._timeout_s
            while monotonic() < until:
                for message in reader.consume(1000, 0.05):
                    if (error := message.error()) is None:
                        if offset_of(message) >= end:
                            return
                        until = monotonic() + self._timeout_s
                        yield message
                    elif error.code() == KafkaError._PARTITION_EOF and offset_of(message) >= end:
                        return
                    elif not mends(error):
                        raise KafkaException(error)
                self.pulse()
            raise ServiceUnavailable(f"{topic}/{self.lane}: can't be read to its end at {end}")

    @property
    def _timeout_s(self) -> float:
        return self.settings.call_timeout_ms / 1000


def settle(tails: Tails, write: Write) -> Journal:
    """Leaves nothing undecided, and the outputs ending where the journal says; answers the journal.

    Only for a producer that has just been initialised: whoever held the lane before is fenced, and the brokers have
    ended what it left open, as far as they know of it. Raises IntegrityViolation where that can't be done.
    """
    for _ in range(ROUNDS):
        ends = _decided(tails, write)
        journal = ends[tails.journal]
        message = tails.last(tails.journal, journal.begin, journal.stable)
        last = None if message is None else message.value() or b""
        torn = _torn(tails, ends, None if last is None else decode_journal(last))
        if torn is None:
            return Journal(last, journal.begin, journal.stable)
        behind = journal.begin if message is None else offset_of(message) + 1
        told = _mended(tails, ends, torn, behind)
        _say("a torn transaction is completed", tails, records=len(told), found=torn.found, due=torn.due)
        write(told, True)
    raise IntegrityViolation(
        f"lane {tails.lane} of {tails.app}: its outputs don't end where its journal says, after {ROUNDS} repairs",
        "see the brokers' log",
    )


# --- Undecided --------------------------------------------------------------------------------------------------------


def undecided(ends: Mapping[str, Ends]) -> list[str]:
    """The topics with records that are neither committed nor aborted."""
    return [topic for topic, end in ends.items() if end.stable < end.high]


def _decided(tails: Tails, write: Write) -> dict[str, Ends]:
    """Aborts what is undecided: the marker of any transaction of a producer id ends all that the id left there."""
    ends = _awaited(tails, MARKER_SECONDS)
    if open_topics := undecided(ends):
        _say("undecided records are taken back", tails, topics=open_topics)
        write([(topic, None, b"") for topic in open_topics], False)
        ends = _awaited(tails, tails.settings.call_timeout_ms / 1000)
    if left := undecided(ends):
        topic, lane, offset = left[0], tails.lane, ends[left[0]].stable
        brokers = tails.settings.bootstrap
        raise IntegrityViolation(
            f"{topic}/{lane}: records from offset {offset} on are neither committed nor aborted, and aren't the "
            f"lane's to decide: another producer id wrote them (undecided: {', '.join(left)})",
            f"see whose they are, end it, or abort them: `kafka-transactions.sh --bootstrap-server {brokers} "
            f"describe-producers --topic {topic} --partition {lane}`, `… abort --topic {topic} --partition {lane} "
            f"--start-offset {offset}`",
        )
    return ends


def _awaited(tails: Tails, wait_s: float) -> dict[str, Ends]:
    """The ends, as soon as nothing is undecided, or after `wait_s`."""
    until = monotonic() + wait_s
    while undecided(ends := tails.ends()) and monotonic() < until:
        tails.pulse()
        sleep(MARKER_LOOK_SECONDS)
    return ends


# --- Torn -------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Torn:
    """Outputs that don't end where the journal's last committed record says.

    due:    the next number of each output by that record;  found: by its partition
    stamps: of the last committed record of each output that has one;  after: the offset behind it
    """

    record: JournalRecord | None
    due: dict[str, int]
    found: dict[str, int]
    stamps: dict[str, Stamp]
    after: dict[str, int]


def _torn(tails: Tails, ends: Mapping[str, Ends], record: JournalRecord | None) -> Torn | None:
    due = {name: 0 if record is None else record.sequences.get(name, 0) for name in tails.names}
    torn = Torn(record, due, dict(due), {}, {})
    for name, topic in tails.names.items():
        end = ends[topic]
        if end.begin == end.high:
            continue  # trimmed by age, or new: there is nothing to compare
        message = tails.last(topic, end.begin, end.stable)
        torn.after[name] = end.begin if message is None else offset_of(message) + 1
        if message is not None:
            torn.stamps[name] = _stamped(topic, message)
            torn.found[name] = torn.stamps[name].sequence + 1
        elif end.begin == 0:
            torn.found[name] = 0
        elif copies := _copies(tails, ends, name, end.begin):  # all that was committed is trimmed
            torn.found[name] = min(due[name], *(stamp.sequence for stamp, _ in copies))
    return None if torn.found == due else torn


def _stamped(topic: str, message: Message) -> Stamp:
    try:
        return _stamp(message.value() or b"")
    except msgspec.MsgspecError as error:
        raise IntegrityViolation(
            f"{topic}/{message.partition()}: the record at {offset_of(message)} is not one of a lane: {error}",
            "only the lane of that number may write to this partition",
        ) from error


def _copies(tails: Tails, ends: Mapping[str, Ends], name: str, start: int) -> list[tuple[Stamp, Message]]:
    """All outputs from `start` on, whatever became of their transactions."""
    topic = tails.names[name]
    found = []
    for message in tails.read(topic, start, ends[topic].high, committed=False):
        try:
            found.append((_stamp(message.value() or b""), message))
        except msgspec.MsgspecError:
            continue  # what an earlier repair aborted
    return found


def _mended(tails: Tails, ends: Mapping[str, Ends], torn: Torn, behind: int) -> list[Told]:
    """What must be written again: outputs that the journal counts, and journal records that an output proves.

    `behind`: the offset behind the journal's last committed record
    """
    proven: list[JournalRecord] = []
    if any(torn.found[name] > due for name, due in torn.due.items()):
        proven = followed(torn, _journal_copies(tails, behind, ends[tails.journal].high))
    line = [*_counted(tails, ends, torn), *proven]
    told: list[Told] = []
    for name, topic in tails.names.items():
        start, stop = torn.found[name], proven[-1].sequences.get(name, 0) if proven else torn.due[name]
        if start < stop:
            copies = _copies(tails, ends, name, torn.after[name])
            told += [(topic, *_copy(tails, name, number, line, copies)) for number in range(start, stop)]
    return [*told, *((tails.journal, None, encode_journal(record)) for record in proven)]


def _journal_copies(tails: Tails, start: int, end: int) -> list[JournalRecord]:
    values = [message.value() for message in tails.read(tails.journal, start, end, committed=False)]
    return [decode_journal(value) for value in values if value]


def followed(torn: Torn, copies: Sequence[JournalRecord]) -> list[JournalRecord]:
    """The shortest run of uncommitted journal records behind the last committed one that counts every visible output.

    Of several with one number the last counts: nobody wrote to a torn journal. Raises IntegrityViolation.
    """
    number, chain = (0, 0) if torn.record is None else (torn.record.number + 1, torn.record.chain)
    run: list[JournalRecord] = []
    while not run or any(run[-1].sequences.get(name, 0) < found for name, found in torn.found.items()):
        following = [each for each in copies if (each.number, each.chain_before) == (number, chain)]
        if not following:
            raise _beyond_repair(torn, f"no record {number} follows in the journal")
        run.append(following[-1])
        number, chain = number + 1, following[-1].chain
    for name, stamp in torn.stamps.items():
        if torn.found[name] > torn.due[name] and not _counts(run, name, stamp):
            raise _beyond_repair(torn, f"number {stamp.sequence} of {name} is of no batch of that record")
    return run


def _counted(tails: Tails, ends: Mapping[str, Ends], torn: Torn) -> list[JournalRecord]:
    """The committed journal records that count outputs which aren't visible."""
    if all(torn.found[name] >= due for name, due in torn.due.items()):
        return []
    end = ends[tails.journal]
    records = (decode_journal(message.value() or b"") for message in tails.read(tails.journal, end.begin, end.stable))
    return [each for each in records if any(each.sequences.get(name, 0) > at for name, at in torn.found.items())]


def _copy(
    tails: Tails, name: str, number: int, line: Sequence[JournalRecord], copies: Sequence[tuple[Stamp, Message]]
) -> tuple[bytes | None, bytes]:
    """Key and value of the output of that number, as the journal's record counts it."""
    for stamp, message in reversed(copies):
        if stamp.sequence == number and _counts(line, name, stamp):
            return message.key(), message.value() or b""
    raise IntegrityViolation(
        f"{tails.names[name]}/{tails.lane}: number {number} is in the journal, and not in this topic",
        "a transaction was torn and its records were trimmed: restore the topic, or name another application id",
    )


def _counts(line: Sequence[JournalRecord], name: str, stamp: Stamp) -> bool:
    """Is the output one of the batches of the journal record that counts its number?"""
    counting = next((each for each in line if each.sequences.get(name, 0) > stamp.sequence), None)
    return (
        counting is not None
        and counting.epoch == stamp.epoch
        and any(entry.wall_us == stamp.processed_at_us for entry in counting.entries)
    )


def _beyond_repair(torn: Torn, why: str) -> IntegrityViolation:
    name = next(name for name, found in torn.found.items() if found > torn.due[name])
    last = "nothing" if torn.record is None else f"record {torn.record.number}"
    return IntegrityViolation(
        f"{name} end with number {torn.found[name] - 1}; the journal, with {last} as its last, counts "
        f"{torn.due[name]} of them: {why}",
        "a transaction was torn and can't be completed, or another writes to the lane's topics: name another "
        "application id to begin anew",
    )


def _say(event: str, tails: Tails, **told: object) -> None:
    _log.warning(event, extra={"told": {"app": tails.app, "lane": tails.lane, **told}})
