"""Kafka on one node (KRaft), from its published jars, which Maven fetches once into $STAKEOUT_CACHE.

STAKEOUT_KAFKA_JVM holds options for its JVM: empty for a broker that is measured or stays up; unset, the JVM compiles
little, which serves tests of minutes.
"""

from __future__ import annotations

import base64
import os
import shutil
import struct
import tempfile
from pathlib import Path
from xml.etree import ElementTree

from deploy.kind import Kind, Place, ServiceError, exchange
from deploy.processes import free_port, last_lines, prepare, run, say

JVM_VARIABLE = "STAKEOUT_KAFKA_JVM"
JVM_BRIEF = "-XX:TieredStopAtLevel=1"  # its second compiler takes half a core for minutes, and saves more later
POM = Path(__file__).resolve().with_name("kafka.pom.xml")


def answers(host: str, port: int) -> bool:
    """A Metadata request, version 1, for no topic, lists at least one broker: the node is registered and unfenced."""
    body = struct.pack(">hhih", 3, 1, 1, -1) + struct.pack(">i", 0)
    reply = exchange(host, port, struct.pack(">i", len(body)) + body)
    return len(reply) >= 12 and struct.unpack(">i", reply[8:12])[0] >= 1


def settings(port: int, controller_port: int, listen: str, logs: str) -> dict[str, str]:
    """The broker's properties. docker-compose.yml has the same where they aren't of a place."""
    return {
        "process.roles": "broker,controller",
        "node.id": "1",
        "controller.quorum.voters": f"1@127.0.0.1:{controller_port}",
        "controller.listener.names": "CONTROLLER",
        "listeners": f"PLAINTEXT://{listen}:{port},CONTROLLER://127.0.0.1:{controller_port}",
        "advertised.listeners": f"PLAINTEXT://127.0.0.1:{port}",
        "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
        "log.dirs": logs,
        "auto.create.topics.enable": "false",
        "log.retention.ms": "-1",  # replayed history has old timestamps: age must not delete it
        # A killed broker may not register again before its session has ended: by default 9 s after its new start.
        "broker.session.timeout.ms": "3000",
        "broker.heartbeat.interval.ms": "500",
        "group.initial.rebalance.delay.ms": "0",
        "offsets.topic.num.partitions": "5",
        "offsets.topic.replication.factor": "1",
        "transaction.state.log.num.partitions": "5",
        "transaction.state.log.replication.factor": "1",
        "transaction.state.log.min.isr": "1",
        "share.coordinator.state.topic.num.partitions": "5",
        "share.coordinator.state.topic.replication.factor": "1",
        "share.coordinator.state.topic.min.isr": "1",
    }


def version() -> str:
    """Of the broker, as the POM has it."""
    return ElementTree.parse(POM).findtext("properties/kafka.version", "").strip()


def _jars() -> Path:
    cache = os.environ.get("STAKEOUT_CACHE") or Path.home() / ".cache" / "stakeout"
    return Path(cache).absolute() / f"kafka-{version()}"


def _fetch_jars(jars: Path) -> None:
    """Copies the jars beside the cache, then renames: a cache folder that is there is complete."""
    say(f"fetching the jars of Kafka into {jars} (mvn)")
    jars.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f"{jars.name}-", dir=jars.parent) as unfinished:
        folder = Path(unfinished) / "jars"
        goal = ["dependency:copy-dependencies", "-DincludeScope=runtime", f"-DoutputDirectory={folder}"]
        done = run(["mvn", "--quiet", "--batch-mode", "--file", str(POM), *goal])
        if done.returncode != 0:
            raise ServiceError(
                f"kafka: Maven could not fetch the jars that {POM} names.\n{last_lines(done.stdout)}\n"
                f"Check Maven's settings and the network, or copy the jars to {jars} from a machine that has them."
            )
        try:
            folder.rename(jars)
        except OSError:
            if not jars.is_dir():  # else another process was first
                raise


def _missing() -> dict[str, str]:
    fetcher = {} if _jars().is_dir() else {"mvn": "maven"}
    needed = {"java": "openjdk-17-jre-headless", **fetcher}
    return {program: package for program, package in needed.items() if not shutil.which(program)}


def _java() -> list[str]:
    # With its performance data the JVM changes its working folder for a moment, and we know a process by that folder.
    java = ["java", "-Xms512m", "-Xmx1g", "-XX:-UsePerfData", *os.environ.get(JVM_VARIABLE, JVM_BRIEF).split()]
    java += ["-Dorg.slf4j.simpleLogger.showDateTime=true"]
    java += ["-Dorg.slf4j.simpleLogger.dateTimeFormat=HH:mm:ss.SSS"]
    java += ["-Dorg.slf4j.simpleLogger.log.org.apache.kafka.common.config=warn"]  # 500 lines of settings, each time
    return [*java, "-cp", f"{_jars()}/*"]


def _command(place: Place) -> list[str]:
    if not _jars().is_dir():
        _fetch_jars(_jars())
    properties, logs = place.data / "server.properties", place.data / "logs"
    if not (logs / "meta.properties").exists():
        chosen = settings(place.port, free_port([place.port]), "127.0.0.1", str(logs))
        properties.write_text("".join(f"{key}={value}\n" for key, value in chosen.items()))
        cluster = "s" + base64.urlsafe_b64encode(os.urandom(16)).decode()[1:22]  # a leading - would be an option
        tool = ["kafka.tools.StorageTool", "format", "--cluster-id", cluster, "--config", str(properties)]
        prepare("kafka", [*_java(), *tool], place)
    return [*_java(), "kafka.Kafka", str(properties)]


def _docker(port: int) -> list[str]:
    options = ["-p", f"127.0.0.1:{port}:{port}"]
    for key, value in settings(port, 9093, "0.0.0.0", "/var/lib/kafka/data").items():
        options += ["-e", f"KAFKA_{key.upper().replace('.', '_')}={value}"]
    return [*options, f"apache/kafka:{version()}"]


KAFKA = Kind(
    variable="STAKEOUT_KAFKA",
    address="127.0.0.1:{port}",
    default_port=9092,
    answers=answers,
    missing=_missing,
    command=_command,
    docker=_docker,
)
