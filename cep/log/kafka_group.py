"""Group: which lanes this worker owns, by a consumer group on the journal topic.

    group <app>-lanes, subscribed to <app>-journal      partition i given ──▶ this worker runs lane i

The group only decides ownership: its partitions are paused and nothing is read. A member keeps its lanes over a restart
under the same name (static membership), so a close says nothing to the group, and only `leave` hands over.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from time import monotonic

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from cep.log.kafka_topics import Topics, client_settings
from cep.settings import Kafka
from events.errors import Fenced, ServiceUnavailable

TOLD_SECONDS = 10.0
"""Between two times that `away` hears of the same outage: the client says it for each attempt."""


class Group:
    """This worker's membership. One thread uses it."""

    def __init__(
        self,
        settings: Kafka,
        app: str,
        member: str,
        revoked: Callable[[set[int]], None],
        away: Callable[[str], None] = lambda reason: None,
    ) -> None:
        """Joins. `revoked` is called with lanes that go to another worker, from within `poll`, while they may still
        commit. A member that lost lanes, because it was silent for a session, is fenced. `away` hears, from within
        `poll` too, that no broker can be reached; the client goes on trying."""
        self.lanes: set[int] = set()
        self.joined = False
        """The group has given us our share at least once; it may be none."""
        self._away, self._told_s = away, -TOLD_SECONDS
        self._settings, self._app, self._revoked = settings, app, revoked
        self._topic = Topics(app).journal
        self._fatal = ""
        self._polling = False
        self._closed = False
        self._consumer = Consumer(
            {
                **client_settings(settings),
                "group.id": f"{app}-lanes",
                "group.instance.id": member,
                "group.protocol": "classic",
                "partition.assignment.strategy": "cooperative-sticky",
                "session.timeout.ms": settings.session_timeout_ms,
                "heartbeat.interval.ms": settings.heartbeat_ms,
                "max.poll.interval.ms": max(settings.poll_max_ms, settings.session_timeout_ms),
                "enable.auto.commit": False,
                "enable.auto.offset.store": False,
                "auto.offset.reset": "latest",
                "error_cb": self._note_error,
            }
        )
        self._consumer.subscribe(
            [self._topic], on_assign=self._on_assign, on_revoke=self._on_revoke, on_lost=self._on_lost
        )

    def poll(self, wait_s: float = 0.0) -> None:
        """Hears what the group decided. Raises Fenced when lanes were lost or another process runs under this name.

        Does nothing when called from within itself: a lane may pulse while it commits because it is revoked.
        """
        if self._polling:
            return
        self._polling = True
        try:
            message = self._consumer.poll(wait_s)
        finally:
            self._polling = False
        if message is not None and (error := message.error()) is not None:
            self._note_error(error)
        if self._fatal:
            raise Fenced(f"worker of {self._app}: {self._fatal}")

    def check(self, lane: int) -> None:
        """Asks the coordinator whether the lane is ours; any error means that it isn't, or may not be. Raises Fenced.

        The local view goes on saying "ours" for up to a heartbeat after another member took over; a commit doesn't.
        """
        try:
            place = TopicPartition(self._topic, lane, 0)
            for answer in self._consumer.commit(offsets=[place], asynchronous=False):
                if answer.error is not None:
                    raise KafkaException(answer.error)
        except (KafkaException, RuntimeError) as error:
            raise Fenced(
                f"lane {lane} of {self._app}: the group's coordinator doesn't know us as its owner: {error}"
            ) from error
        if lane not in self.lanes:
            raise Fenced(f"lane {lane} of {self._app}: was given to another worker")

    def leave(self, wait_s: float) -> None:
        """Hands all lanes over now: unsubscribes and waits until they are revoked, then closes."""
        until = monotonic() + wait_s
        self._consumer.unsubscribe()
        while self.lanes and monotonic() < until:
            self.poll(0.05)
        self.close()

    def close(self) -> None:
        """The name keeps its lanes for a session. Idempotent."""
        if not self._closed:
            self._closed = True
            self._consumer.close()

    def _on_assign(self, consumer: Consumer, partitions: Sequence[TopicPartition]) -> None:
        consumer.incremental_assign(list(partitions))
        consumer.pause(list(partitions))
        self.lanes |= {place.partition for place in partitions}
        self.joined = True

    def _on_revoke(self, consumer: Consumer, partitions: Sequence[TopicPartition]) -> None:
        going = {place.partition for place in partitions} & self.lanes
        self._revoked(going)
        self.lanes -= going

    def _on_lost(self, consumer: Consumer, partitions: Sequence[TopicPartition]) -> None:
        self._fatal = "was silent for a session; its lanes are another's, or will be"

    def _note_error(self, error: KafkaError) -> None:
        if error.code() == KafkaError._ALL_BROKERS_DOWN and monotonic() - self._told_s >= TOLD_SECONDS:
            self._told_s = monotonic()
            self._away(error.str())
        if error.fatal() or error.code() in (KafkaError._FATAL, KafkaError.FENCED_INSTANCE_ID):
            self._fatal = f"{error.str()}; does another worker run under this name?"
        elif error.code() in (KafkaError.TOPIC_AUTHORIZATION_FAILED, KafkaError.GROUP_AUTHORIZATION_FAILED):
            raise ServiceUnavailable(
                f"worker of {self._app}: {error.str()}", "allow it to read the journal and the group"
            )
