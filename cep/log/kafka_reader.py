"""A consumer over librdkafka's C interface, that of the very library which confluent-kafka carries.

confluent-kafka makes an object of each record and frees it again, which was two fifths of a lane's time (decision 9).
Here kernels read the client's messages and give them back; all else is called as confluent-kafka calls it.
"""

from __future__ import annotations

import ctypes
import weakref
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from ctypes import POINTER, byref, c_char_p, c_int, c_int32, c_int64, c_size_t, c_void_p
from functools import cache
from typing import Any, NamedTuple

import numpy as np
from confluent_kafka import KafkaError, KafkaException, cimpl

from cep.log.kafka_records import ERROR, NUMBER, OFFSET, TOPIC, KafkaSlice, freed, slices_of
from cep.log.protocol import DECIDE, Partition, Positions
from events.errors import ServiceUnavailable

CONSUMER = 1
REASON_BYTES = 512

LOOKED_AT_MAX = 256
"""Records of one fetch whose headers are looked at. Of more nobody hurries: a lane that reads so many at once is
behind, and to look at each would cost it speed."""

FUNCTIONS: dict[str, tuple[Any, list[Any]]] = {
    "rd_kafka_conf_new": (c_void_p, []),
    "rd_kafka_conf_destroy": (None, [c_void_p]),
    "rd_kafka_conf_set": (c_int, [c_void_p, c_char_p, c_char_p, c_char_p, c_size_t]),
    "rd_kafka_new": (c_void_p, [c_int, c_void_p, c_char_p, c_size_t]),
    "rd_kafka_poll_set_consumer": (c_int, [c_void_p]),
    "rd_kafka_queue_get_consumer": (c_void_p, [c_void_p]),
    "rd_kafka_queue_destroy": (None, [c_void_p]),
    "rd_kafka_consumer_close": (c_int, [c_void_p]),
    "rd_kafka_destroy": (None, [c_void_p]),
    "rd_kafka_assign": (c_int, [c_void_p, c_void_p]),
    "rd_kafka_pause_partitions": (c_int, [c_void_p, c_void_p]),
    "rd_kafka_resume_partitions": (c_int, [c_void_p, c_void_p]),
    "rd_kafka_topic_partition_list_new": (c_void_p, [c_int]),
    "rd_kafka_topic_partition_list_add": (c_void_p, [c_void_p, c_char_p, c_int32]),
    "rd_kafka_topic_partition_list_set_offset": (c_int, [c_void_p, c_char_p, c_int32, c_int64]),
    "rd_kafka_topic_partition_list_destroy": (None, [c_void_p]),
    "rd_kafka_get_watermark_offsets": (c_int, [c_void_p, c_char_p, c_int32, POINTER(c_int64), POINTER(c_int64)]),
    "rd_kafka_consumer_poll": (c_void_p, [c_void_p, c_int]),
    "rd_kafka_consume_batch_queue": (c_int64, [c_void_p, c_int, c_void_p, c_size_t]),
    "rd_kafka_message_errstr": (c_char_p, [c_void_p]),
    "rd_kafka_message_timestamp": (c_int64, [c_void_p, c_void_p]),
    "rd_kafka_message_destroy": (None, [c_void_p]),
    "rd_kafka_message_headers": (c_int, [c_void_p, POINTER(c_void_p)]),
    "rd_kafka_header_get_last": (c_int, [c_void_p, c_char_p, POINTER(c_void_p), POINTER(c_size_t)]),
    "rd_kafka_topic_name": (c_char_p, [c_void_p]),
}
"""What each answers and takes. All are of librdkafka's public interface, which only grows within a major version."""


class News(NamedTuple):
    """What the client tells among the records: an end that was reached, an error."""

    topic: str
    partition: int
    offset: int
    error: KafkaError


class Reader:
    """Reads the partitions it is told to. One thread uses it. Every call may raise KafkaException.

    hurried: did a record of the last fetch have the header `DECIDE`?
    """

    def __init__(self, settings: Mapping[str, Any]) -> None:
        """`settings`: as confluent-kafka takes them; no functions. Raises ServiceUnavailable where there is no C
        interface."""
        self._library = library = _loaded()
        self._stamp_of = _address(library.rd_kafka_message_timestamp)
        self._destroy = _address(library.rd_kafka_message_destroy)
        self._client = _new_client(library, settings)
        library.rd_kafka_poll_set_consumer(self._client)
        self._queue = library.rd_kafka_queue_get_consumer(self._client)
        self._messages = np.empty(0, np.int64)
        self.hurried = False
        self._end = weakref.finalize(self, _ended, library, self._client, self._queue)
        self._end.atexit = False  # the process ends anyway

    def assign(self, positions: Positions) -> None:
        """Reads these partitions, and no others, from these offsets on; none of them is paused."""
        with self._listed(positions) as listed:
            for (topic, number), offset in positions.items():
                self._library.rd_kafka_topic_partition_list_set_offset(listed, topic.encode(), number, offset)
            _check(self._library.rd_kafka_assign(self._open_client, listed))

    def pause(self, partitions: Collection[Partition]) -> None:
        """Gives no records of these; forgets what was fetched of them."""
        with self._listed(partitions) as listed:
            _check(self._library.rd_kafka_pause_partitions(self._open_client, listed))

    def resume(self, partitions: Collection[Partition]) -> None:
        """Goes on with these behind the last record that was taken."""
        with self._listed(partitions) as listed:
            _check(self._library.rd_kafka_resume_partitions(self._open_client, listed))

    def end_of(self, partition: Partition) -> int:
        """The end of a partition as the client has last heard of it; below 0 if it hasn't."""
        low, high = c_int64(-1), c_int64(-1)
        topic, number = partition
        ask = self._library.rd_kafka_get_watermark_offsets
        ask(self._open_client, topic.encode(), number, byref(low), byref(high))
        return high.value

    def fetch(self, records_max: int, wait_s: float) -> tuple[dict[Partition, KafkaSlice], list[News]]:
        """What has arrived; waits only for the first. (Asked for many, the client waits until it has as many.)"""
        client = self._open_client
        self.hurried = False
        if len(self._messages) < records_max:
            self._messages = np.zeros(records_max, np.int64)
        place, take = self._messages.ctypes.data, self._library.rd_kafka_consume_batch_queue
        count = max(0, take(self._queue, 0, place, records_max))
        if count == 0 and wait_s > 0:
            if (first := self._library.rd_kafka_consumer_poll(client, round(wait_s * 1000))) is None:
                return {}, []
            self._messages[0] = first
            count = 1 + max(0, take(self._queue, 0, place + 8, records_max - 1) if records_max > 1 else 0)
        messages = self._messages[:count]
        try:
            slices, news = slices_of(messages, self._stamp_of, self._name_of)
            self.hurried = count <= LOOKED_AT_MAX and any(map(self._hurries, messages.tolist()))
            return slices, [self._told(message) for message in news]
        finally:
            freed(messages, self._destroy)

    def close(self) -> None:
        """Idempotent."""
        self._end()

    @property
    def _open_client(self) -> int:
        if not self._end.alive:
            raise ServiceUnavailable("Kafka: the reader is closed")
        return self._client

    def _name_of(self, topic: int) -> str:
        found: bytes = self._library.rd_kafka_topic_name(topic)
        return found.decode()

    def _hurries(self, message: int) -> bool:
        headers, value, size = c_void_p(), c_void_p(), c_size_t()
        if c_int32.from_address(message + ERROR).value != 0:
            return False
        if self._library.rd_kafka_message_headers(message, byref(headers)) != 0:
            return False  # it has none
        found: int = self._library.rd_kafka_header_get_last(headers, DECIDE.encode(), byref(value), byref(size))
        return found == 0

    def _told(self, message: int) -> News:
        topic = c_void_p.from_address(message + TOPIC).value
        reason: bytes = self._library.rd_kafka_message_errstr(message) or b""
        return News(
            self._name_of(topic) if topic else "",
            c_int32.from_address(message + NUMBER).value,
            c_int64.from_address(message + OFFSET).value,
            KafkaError(c_int32.from_address(message + ERROR).value, reason.decode(errors="replace")),
        )

    @contextmanager
    def _listed(self, partitions: Collection[Partition]) -> Iterator[int]:
        listed = self._library.rd_kafka_topic_partition_list_new(len(partitions))
        try:
            for topic, number in partitions:
                self._library.rd_kafka_topic_partition_list_add(listed, topic.encode(), number)
            yield listed
        finally:
            self._library.rd_kafka_topic_partition_list_destroy(listed)


@cache
def _loaded() -> ctypes.CDLL:
    """The library behind confluent-kafka, not another one that the machine may have. Raises ServiceUnavailable."""
    library = ctypes.CDLL(cimpl.__file__)  # its symbols are looked for there and in what it was linked with
    try:
        for name, (answers, takes) in FUNCTIONS.items():
            function = getattr(library, name)
            function.restype, function.argtypes = answers, takes
    except AttributeError as error:
        raise ServiceUnavailable(
            f"Kafka: confluent-kafka was linked so that librdkafka can't be called: {error}",
            "install its wheel for CPython on Linux or macOS",
        ) from error
    return library


def _new_client(library: ctypes.CDLL, settings: Mapping[str, Any]) -> int:
    reason = ctypes.create_string_buffer(REASON_BYTES)
    conf = library.rd_kafka_conf_new()
    for name, value in settings.items():
        text = str(value).lower() if isinstance(value, bool) else str(value)
        if library.rd_kafka_conf_set(conf, name.encode(), text.encode(), reason, REASON_BYTES) != 0:
            library.rd_kafka_conf_destroy(conf)
            raise KafkaException(KafkaError(KafkaError._INVALID_ARG, reason.value.decode()))
    client: int | None = library.rd_kafka_new(CONSUMER, conf, reason, REASON_BYTES)
    if client is None:
        library.rd_kafka_conf_destroy(conf)
        raise KafkaException(KafkaError(KafkaError._FAIL, reason.value.decode()))
    return client


def _ended(library: ctypes.CDLL, client: int, queue: int) -> None:
    library.rd_kafka_consumer_close(client)
    library.rd_kafka_queue_destroy(queue)
    library.rd_kafka_destroy(client)


def _check(code: int) -> None:
    if code != 0:
        raise KafkaException(KafkaError(code))


def _address(function: Any) -> int:
    return ctypes.cast(function, c_void_p).value or 0
