"""The topics of an application on Kafka: their names, making them, checking them.

<app>-journal        L partitions, kept for ever      lane i writes partition i only
<app>-control        1 partition, kept for ever
<app>-alerts, <app>-dead-letters, <app>-late          L partitions
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from time import monotonic, sleep
from typing import Any

from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import (  # type: ignore[attr-defined]  # exported, but not by its types
    AdminClient,
    ConfigResource,
    NewTopic,
    ResourceType,
)

from cep.log.protocol import OUTPUT_TOPICS
from cep.settings import Kafka
from events.errors import InvalidDocument, Problem, ServiceUnavailable


@dataclass(frozen=True, slots=True)
class Topics:
    """Names of an application's topics."""

    app: str

    @property
    def journal(self) -> str:
        """Of the journal."""
        return f"{self.app}-journal"

    @property
    def control(self) -> str:
        """Of the control log."""
        return f"{self.app}-control"

    def output(self, name: str) -> str:
        """Of an output.

        >>> Topics("shop").output("dead_letters")
        'shop-dead-letters'
        """
        return f"{self.app}-{name.replace('_', '-')}"

    def transactional_id(self, lane: int) -> str:
        """Of a lane's producer."""
        return f"{self.app}-lane-{lane}"


def client_settings(settings: Kafka) -> dict[str, Any]:
    """What every client needs."""
    return {
        "bootstrap.servers": settings.bootstrap,
        "socket.timeout.ms": settings.call_timeout_ms,
        "reconnect.backoff.ms": 20,
        "reconnect.backoff.max.ms": 500,
        "log_level": 2,  # what goes wrong is told once, by us: the client says it for each connection, again and again
        **settings.client,
    }


@contextmanager
def translated(what: str) -> Iterator[None]:
    """The client's errors as ours."""
    try:
        yield
    except KafkaException as error:
        found = error.args[0]
        reason = found.str() if isinstance(found, KafkaError) else str(error)
        unknown = isinstance(found, KafkaError) and found.code() in (
            KafkaError.UNKNOWN_TOPIC_OR_PART,
            KafkaError._UNKNOWN_TOPIC,
            KafkaError._UNKNOWN_PARTITION,
            KafkaError._NOENT,  # "no leaders found", about offsets of a topic that isn't there
        )
        hint = (
            "`stakeout topics create` makes the application's topics"
            if unknown
            else "see that the brokers that STAKEOUT_KAFKA names run and can be reached from here, then their log"
        )
        raise ServiceUnavailable(f"Kafka: {what}: {reason}", hint) from error


def create_topics(app: str, lanes: int, settings: Kafka, sources: Mapping[str, int] | None = None) -> list[str]:
    """Makes the application's topics that aren't there; answers the names of those made. Idempotent.

    `sources`: topic → partitions of source topics to make too, with append time. Those that are there are then checked
    as by `check_topics`, which says what is raised.
    """
    admin = AdminClient(client_settings(settings))
    wanted = [*_own_topics(app, lanes, settings), *_source_topics(sources or {}, settings)]
    made = []
    for name, future in admin.create_topics(wanted, request_timeout=settings.call_timeout_ms / 1000).items():
        try:
            future.result()
            made.append(name)
        except KafkaException as error:
            if error.args[0].code() != KafkaError.TOPIC_ALREADY_EXISTS:
                with translated(f"topic {name}"):
                    raise
    _await_leaders(admin, made, settings)
    check_topics(app, lanes, settings)
    return sorted(made)


def _await_leaders(admin: AdminClient, names: list[str], settings: Kafka) -> None:
    """A topic is there a moment before its partitions can be used."""
    until = monotonic() + settings.call_timeout_ms / 1000
    with translated(", ".join(names)):
        while not all(_has_leaders(admin, name, settings) for name in names):
            if monotonic() > until:
                raise ServiceUnavailable(
                    f"Kafka: {', '.join(names)}: some partitions have no leader", "see the brokers' log"
                )
            sleep(0.02)


def _has_leaders(admin: AdminClient, name: str, settings: Kafka) -> bool:
    found = admin.list_topics(name, timeout=settings.call_timeout_ms / 1000).topics[name]
    return bool(found.partitions) and all(part.leader >= 0 for part in found.partitions.values())


def check_topics(app: str, lanes: int, settings: Kafka) -> None:
    """Raises InvalidDocument with everything that is wrong with the application's topics, ServiceUnavailable."""
    admin = AdminClient(client_settings(settings))
    timeout_s = settings.call_timeout_ms / 1000
    with translated(f"topics of {app}"):
        found = admin.list_topics(timeout=timeout_s).topics
    wanted = {topic.topic: topic for topic in _own_topics(app, lanes, settings)}
    missing = sorted(wanted.keys() - found.keys())
    problems = [Problem(name, "is missing", "`stakeout topics create`") for name in missing]
    for name in sorted(wanted.keys() & found.keys()):
        count = len(found[name].partitions)
        if count != wanted[name].num_partitions:
            hint = "the number of lanes is fixed once they have run: `stakeout lanes resize`"
            problems.append(Problem(name, f"has {count} partitions, expected {wanted[name].num_partitions}", hint))
    kept = [name for name in (Topics(app).journal, Topics(app).control) if name in found]
    problems += _trimmed(admin, kept, timeout_s)
    if problems:
        raise InvalidDocument(f"topics of {app}", problems)


def _own_topics(app: str, lanes: int, settings: Kafka) -> list[NewTopic]:
    topics, kept = Topics(app), {"retention.ms": "-1", "retention.bytes": "-1", "cleanup.policy": "delete"}
    size = {"max.message.bytes": str(settings.message_bytes_max + 4096)}
    outputs = {"retention.ms": str(settings.topic_retention_ms), **size}
    return [
        _new(topics.journal, lanes, settings, {**kept, **size}),
        _new(topics.control, 1, settings, {**kept, **size}),
        *(_new(topics.output(name), lanes, settings, outputs) for name in OUTPUT_TOPICS),
    ]


def _source_topics(sources: Mapping[str, int], settings: Kafka) -> list[NewTopic]:
    append_time = {"message.timestamp.type": "LogAppendTime"}
    return [_new(name, count, settings, append_time) for name, count in sources.items()]


def _new(name: str, partitions: int, settings: Kafka, config: dict[str, str]) -> NewTopic:
    return NewTopic(name, num_partitions=partitions, replication_factor=settings.replication, config=config)


def _trimmed(admin: AdminClient, names: list[str], timeout_s: float) -> list[Problem]:
    """The journal and the control log must never lose a record by age, size or compaction."""
    if not names:
        return []
    problems = []
    resources = [ConfigResource(ResourceType.TOPIC, name) for name in names]
    with translated(", ".join(names)):
        for resource, future in admin.describe_configs(resources, request_timeout=timeout_s).items():
            config = future.result()
            for key, value in (("retention.ms", "-1"), ("retention.bytes", "-1"), ("cleanup.policy", "delete")):
                if config[key].value != value:
                    hint = f"set it to {value}: this topic is never trimmed"
                    problems.append(Problem(resource.name, f"has {key}={config[key].value}", hint))
    return problems
