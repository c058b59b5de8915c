"""Real Kafka, Redis and Postgres on loopback, for tests, the demo and benchmarks. Plain Python 3.11, no packages.

    python deploy/services.py up [--only kafka,redis,postgres] [--dir FOLDER]    start, print the addresses
    python deploy/services.py status [--dir FOLDER]                              0 when every one answers
    python deploy/services.py down [--dir FOLDER]                                stop, delete the data
    python deploy/services.py run [--only …] [--dir FOLDER] -- COMMAND …         up, COMMAND, always down

Each service comes from the first of these that is there:

1. its address in the environment (STAKEOUT_KAFKA, STAKEOUT_REDIS, STAKEOUT_POSTGRES): checked, never stopped;
2. a Docker engine that answers. **This path has never been run**: no engine was to be had where it was written.
   DOCKER_HOST=unix:///nowhere leaves an engine aside;
3. programs on the PATH or where Debian puts them, with Kafka's jars fetched once by Maven into
   $STAKEOUT_CACHE (~/.cache/stakeout). Linux only: a process is ours when its working folder is its data folder;
4. the same after `apt-get install`, when root.

FOLDER holds NAME.log, services.env (KEY=value) and services.json (what is up). Data lies in a temporary folder, on
ports below the ephemeral range, and is deleted by `down`. What `run` or a test starts also ends when its starter is
killed with -9: a watchdog process waits for the end of a pipe. A COMMAND that `run` ran, and all that it left
running, ends with it. STAKEOUT_KAFKA_JVM holds options for Kafka's JVM: empty for a broker that is measured or stays
up; unset, the JVM compiles little, which serves tests of minutes. Everything here is for throw-away data: no
passwords, one node, no replicas.
"""

from __future__ import annotations

import argparse
import base64
import functools
import json
import os
import pwd
import random
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from types import FrameType
from typing import Literal
from urllib.parse import urlsplit
from xml.etree import ElementTree

NAMES = ("kafka", "redis", "postgres")
START_SECONDS = 120.0  # 5 s on an idle machine of two cores, 23 s with twelve busy programs on it
STOP_SECONDS = 15.0  # from a polite signal to SIGKILL
LOG_LINES = 25  # shown when a start fails
MARK = "STAKEOUT_RUN"  # in the environment of COMMAND: the FOLDER of its `run`
POLICY = Path("/usr/sbin/policy-rc.d")  # asked by Debian before a package starts its server
JVM_VARIABLE = "STAKEOUT_KAFKA_JVM"
JVM_BRIEF = "-XX:TieredStopAtLevel=1"  # its second compiler takes half a core for minutes, and saves more later
POM = Path(__file__).resolve().parent / "kafka" / "pom.xml"


class ServiceError(Exception):
    """A service can't be had, started or stopped: which, why, and the remedy."""


@dataclass
class Service:
    """One service as services.json keeps it. `port` and `pid` are 0 where they aren't ours to know."""

    name: str
    how: Literal["given", "docker", "program"]
    address: str
    port: int = 0
    pid: int = 0

    @property
    def container(self) -> str:
        return f"stakeout-{self.name}-{self.port}"


@dataclass(frozen=True)
class Kind:
    """What differs between the three. `command` lays out the data folder if it is empty, and returns what to run."""

    variable: str
    address: str
    default_port: int
    answers: Callable[[str, int], bool]
    missing: Callable[[], dict[str, str]]  # program → Debian package
    command: Callable[[Path, int, Path], list[str]]  # data folder, port, log
    docker: Callable[[int], list[str]]  # options, image and arguments of `docker run`
    stop_signal: signal.Signals = signal.SIGTERM
    user: str | None = None  # runs a service that refuses root


# --- Does it answer? -----------------------------------------------------------------------------------------------


def _exchange(host: str, port: int, request: bytes) -> bytes:
    """The first packet of the answer; empty if there is none within two seconds."""
    try:
        with socket.create_connection((host, port), timeout=2.0) as connection:
            connection.sendall(request)
            return connection.recv(512)
    except OSError:
        return b""


def _kafka_answers(host: str, port: int) -> bool:
    """A Metadata request, version 1, for no topic, lists at least one broker: the node is registered and unfenced."""
    body = struct.pack(">hhih", 3, 1, 1, -1) + struct.pack(">i", 0)
    reply = _exchange(host, port, struct.pack(">i", len(body)) + body)
    return len(reply) >= 12 and struct.unpack(">i", reply[8:12])[0] >= 1


def _redis_answers(host: str, port: int) -> bool:
    return _exchange(host, port, b"PING\r\n").startswith((b"+PONG", b"-NOAUTH"))


def _postgres_answers(host: str, port: int) -> bool:
    """A start-up message is answered by R (authentication) or E (an error), and not by 'cannot connect now'."""
    body = struct.pack(">i", 196608) + b"user\0postgres\0database\0postgres\0\0"
    reply = _exchange(host, port, struct.pack(">i", len(body) + 4) + body)
    return reply[:1] in (b"R", b"E") and b"57P03" not in reply


def _endpoints(address: str, default_port: int) -> list[tuple[str, int]]:
    """Host and port of a URL, or of each entry in Kafka's host:port,host:port."""
    parts = [urlsplit(text if "://" in text else f"//{text}") for text in address.split(",")]
    return [(part.hostname or "", part.port or default_port) for part in parts]


def answers(name: str, address: str) -> bool:
    """Whether a service of that kind speaks its protocol, in plain text, at the address."""
    kind = KINDS[name]
    try:
        return any(kind.answers(host, port) for host, port in _endpoints(address, kind.default_port))
    except ValueError as error:
        raise ServiceError(f"{name}: {address!r} is not an address: {error}") from error


# --- How each is run -----------------------------------------------------------------------------------------------


def _kafka_settings(port: int, controller_port: int, listen: str, logs: str) -> dict[str, str]:
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


def _kafka_version() -> str:
    return ElementTree.parse(POM).findtext("properties/kafka.version", "").strip()


def _kafka_jars() -> Path:
    cache = os.environ.get("STAKEOUT_CACHE") or Path.home() / ".cache" / "stakeout"
    return Path(cache).absolute() / f"kafka-{_kafka_version()}"


def _fetch_kafka_jars(jars: Path) -> None:
    """Copies the jars beside the cache, then renames: a cache folder that is there is complete."""
    _say(f"fetching the jars of Kafka into {jars} (mvn)")
    jars.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f"{jars.name}-", dir=jars.parent) as unfinished:
        folder = Path(unfinished) / "jars"
        goal = ["dependency:copy-dependencies", "-DincludeScope=runtime", f"-DoutputDirectory={folder}"]
        done = _run(["mvn", "--quiet", "--batch-mode", "--file", str(POM), *goal])
        if done.returncode != 0:
            raise ServiceError(
                f"kafka: Maven could not fetch the jars that {POM} names.\n{_last_lines(done.stdout)}\n"
                f"Check Maven's settings and the network, or copy the jars to {jars} from a machine that has them."
            )
        try:
            folder.rename(jars)
        except OSError:
            if not jars.is_dir():  # else another process was first
                raise


def _kafka_missing() -> dict[str, str]:
    fetcher = {} if _kafka_jars().is_dir() else {"mvn": "maven"}
    needed = {"java": "openjdk-17-jre-headless", **fetcher}
    return {program: package for program, package in needed.items() if not shutil.which(program)}


def _kafka_command(data: Path, port: int, log: Path) -> list[str]:
    jars = _kafka_jars()
    if not jars.is_dir():
        _fetch_kafka_jars(jars)
    # With its performance data the JVM changes its working folder for a moment, and we know a process by that folder.
    java = ["java", "-Xms512m", "-Xmx1g", "-XX:-UsePerfData", *os.environ.get(JVM_VARIABLE, JVM_BRIEF).split()]
    java += ["-Dorg.slf4j.simpleLogger.showDateTime=true"]
    java += ["-Dorg.slf4j.simpleLogger.dateTimeFormat=HH:mm:ss.SSS"]
    java += ["-Dorg.slf4j.simpleLogger.log.org.apache.kafka.common.config=warn"]  # 500 lines of settings, each time
    java += ["-cp", f"{jars}/*"]
    properties = data / "server.properties"
    if not (data / "logs" / "meta.properties").exists():
        settings = _kafka_settings(port, _free_port([port]), "127.0.0.1", str(data / "logs"))
        properties.write_text("".join(f"{key}={value}\n" for key, value in settings.items()))
        cluster = (
            "s" + base64.urlsafe_b64encode(os.urandom(16)).decode()[1:22]
        )  # the tool takes a leading - as an option
        tool = ["kafka.tools.StorageTool", "format", "--cluster-id", cluster, "--config", str(properties)]
        _prepare("kafka", [*java, *tool], data, log)
    return [*java, "kafka.Kafka", str(properties)]


def _kafka_docker(port: int) -> list[str]:
    options = ["-p", f"127.0.0.1:{port}:{port}"]
    for key, value in _kafka_settings(port, 9093, "0.0.0.0", "/var/lib/kafka/data").items():
        options += ["-e", f"KAFKA_{key.upper().replace('.', '_')}={value}"]
    return [*options, f"apache/kafka:{_kafka_version()}"]


def _redis_missing() -> dict[str, str]:
    return {} if shutil.which("redis-server") else {"redis-server": "redis-server"}


def _redis_command(data: Path, port: int, log: Path) -> list[str]:
    # The append-only file is written before each reply, so that a killed server comes back with what it said it had.
    durable = ["--dir", str(data), "--appendonly", "yes", "--save", ""]
    return ["redis-server", "--bind", "127.0.0.1", "--port", str(port), "--daemonize", "no", *durable]


def _redis_docker(port: int) -> list[str]:
    return ["-p", f"127.0.0.1:{port}:6379", "redis:7", "redis-server", "--appendonly", "yes", "--save", ""]


def _postgres_bin() -> Path | None:
    """The folder that has both initdb and postgres: of the PATH, else Debian's newest."""
    debian = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: (len(path.parent.name), path))
    on_path = [Path(folder) for folder in os.get_exec_path()]
    for folder in [*on_path, *reversed(debian)]:
        if all(shutil.which(program, path=str(folder)) for program in ("initdb", "postgres")):
            return folder
    return None


def _postgres_missing() -> dict[str, str]:
    return {} if _postgres_bin() else {"postgres": "postgresql"}


def _postgres_command(data: Path, port: int, log: Path) -> list[str]:
    programs = _postgres_bin()
    assert programs, "obtained before"
    if not (data / "PG_VERSION").exists():
        shape = ["--username=postgres", "--auth=trust", "--encoding=UTF8", "--locale=C.UTF-8", "--no-sync"]
        _prepare("postgres", [f"{programs}/initdb", "-D", str(data), *shape], data, log)
    settings = [f"port={port}", "listen_addresses=127.0.0.1", "unix_socket_directories="]
    return [f"{programs}/postgres", "-D", str(data), *(word for setting in settings for word in ("-c", setting))]


def _postgres_docker(port: int) -> list[str]:
    return ["-p", f"127.0.0.1:{port}:5432", "-e", "POSTGRES_HOST_AUTH_METHOD=trust", "postgres:15"]


KINDS = {
    "kafka": Kind(
        variable="STAKEOUT_KAFKA",
        address="127.0.0.1:{port}",
        default_port=9092,
        answers=_kafka_answers,
        missing=_kafka_missing,
        command=_kafka_command,
        docker=_kafka_docker,
    ),
    "redis": Kind(
        variable="STAKEOUT_REDIS",
        address="redis://127.0.0.1:{port}/0",
        default_port=6379,
        answers=_redis_answers,
        missing=_redis_missing,
        command=_redis_command,
        docker=_redis_docker,
    ),
    "postgres": Kind(
        variable="STAKEOUT_POSTGRES",
        address="postgresql+psycopg://postgres@127.0.0.1:{port}/postgres",
        default_port=5432,
        answers=_postgres_answers,
        missing=_postgres_missing,
        command=_postgres_command,
        docker=_postgres_docker,
        stop_signal=signal.SIGINT,  # the fast shutdown: SIGTERM waits for every client to leave
        user="postgres",
    ),
}


# --- The machine ---------------------------------------------------------------------------------------------------


def _say(text: str) -> None:
    print(f"services: {text}", file=sys.stderr, flush=True)


def _last_lines(text: str) -> str:
    return "\n".join(f"    {line}" for line in text.splitlines()[-LOG_LINES:]) or "    (nothing was logged)"


def _environment() -> dict[str, str]:
    """Ours without the mark of a `run` around us: servers and watchdogs aren't part of its COMMAND."""
    return {key: value for key, value in os.environ.items() if key != MARK}


def _run(command: Sequence[str], timeout: float | None = None) -> subprocess.CompletedProcess[str]:
    """Output and errors together. A program that can't be run gives 127, as in a shell; one that hangs gives 124."""
    try:
        return subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=_environment(),
            text=True,
            timeout=timeout,
            check=False,
        )
    except OSError as error:
        return subprocess.CompletedProcess(command, 127, str(error))
    except subprocess.TimeoutExpired:
        return subprocess.CompletedProcess(command, 124, f"no answer within {timeout} s")


def _program(command: Sequence[str], data: Path, log: Path, user: str | None = None) -> subprocess.Popen[bytes]:
    """Sets a program off in its data folder, its output in the log, out of reach of the terminal's signals."""
    with log.open("ab") as output:
        return subprocess.Popen(
            command,
            cwd=data,
            env=_environment(),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
            user=user,
            group=user,
            extra_groups=[] if user else None,
        )


def _prepare(name: str, command: Sequence[str], data: Path, log: Path) -> None:
    """Runs one step of a start to its end."""
    code = _program(command, data, log, _user(name)).wait()
    if code != 0:
        tail = _last_lines(log.read_text(errors="replace"))
        raise ServiceError(f"{name}: {' '.join(command)} ended with {code}. The end of {log}:\n{tail}")


def _bindable(port: int) -> bool:
    with socket.socket() as attempt:
        attempt.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            attempt.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


def _free_port(taken: Collection[int]) -> int:
    """A free loopback port below the range of outgoing ports (from 32768 on).

    A client that retries while its server is down would sooner or later be given the server's port as its own, connect
    to itself and keep the port from the server.
    """
    for _ in range(200):
        port = random.randrange(15000, 32000)
        if port not in taken and _bindable(port):
            return port
    raise ServiceError("no free port of 127.0.0.1 was found between 15000 and 32000 in 200 tries.")


def _user(name: str) -> str | None:
    """The user that a service is run as when we are root and it refuses root; else None: we."""
    return KINDS[name].user if os.geteuid() == 0 else None


def _hand_over(data: Path, user: str) -> None:
    """Gives a data folder to a user, who must be able to enter each folder above it."""
    closed = [str(parent) for parent in data.parents if not parent.stat().st_mode & 0o001]
    if closed:
        raise ServiceError(
            f"{user}: its user {user!r} can't reach {data}: {closed[-1]} lets no other user in.\n"
            "Set TMPDIR to a folder that everybody may enter, as /tmp is."
        )
    os.chown(data, pwd.getpwnam(user).pw_uid, pwd.getpwnam(user).pw_gid)


@functools.cache
def _docker_answers() -> bool:
    return _run(["docker", "version", "--format", "{{.Server.Version}}"], timeout=10).returncode == 0


def _docker(name: str, *arguments: str) -> None:
    done = _run(["docker", *arguments])
    if done.returncode != 0:
        raise ServiceError(
            f"{name}: docker {arguments[0]} ended with {done.returncode}:\n{_last_lines(done.stdout)}\n"
            "Pull the image by hand, or leave this engine aside with DOCKER_HOST=unix:///nowhere."
        )


def _obtain(name: str) -> None:
    """Sees to it that the programs of a service are on this machine."""
    kind = KINDS[name]
    obtain(
        kind.missing, f"{name}: no Docker engine answers and ", f"start Docker, or set {kind.variable} to an address"
    )


def obtain(missing: Callable[[], dict[str, str]], reason: str, otherwise: str) -> None:
    """Installs what is missing, program → Debian packages. ServiceError, with what else there is to do: it can't."""
    found = missing()
    if not found:
        return
    packages = " ".join(found.values())
    why = f"{reason}there is no program {', '.join(found)}"
    remedy = f"Install it (Debian: apt-get install {packages}), {otherwise}."
    if os.geteuid() != 0 or not shutil.which("apt-get"):
        said = "this user is not root" if shutil.which("apt-get") else "this is not Debian"
        raise ServiceError(f"{why}; it can't be installed from here, {said}.\n{remedy}")
    _say(f"installing {packages} (apt-get)")
    output = _apt_install(packages.split())
    if missing():
        raise ServiceError(f"{why}; apt-get could not install {packages}:\n{_last_lines(output)}\n{remedy}")


def browser() -> tuple[str, str]:
    """Chromium and its driver, for tests that look at pages: their paths. ServiceError: they can't be had."""
    programs = {"chromium": "chromium", "chromedriver": "chromium-driver"}

    def missing() -> dict[str, str]:
        return {program: package for program, package in programs.items() if not shutil.which(program)}

    obtain(missing, "browser: ", "or run the tests that need none: pytest --ignore tests/browser")
    chromium, driver = (shutil.which(program) for program in programs)
    assert chromium, "obtained above"
    assert driver, "obtained above"
    return chromium, driver


def _apt_install(packages: list[str]) -> str:
    """Installs, and keeps the packages from starting servers of their own, by Debian's switch for that.

    The switch is a script; one of the machine's own is left as it is. Ours says no only as long as this process lives.
    """
    ours = not POLICY.exists()
    if ours:
        POLICY.write_text(
            f"#!/bin/sh\n# Made by {Path(__file__).name}\n[ -d /proc/{os.getpid()} ] && exit 101\nexit 0\n"
        )
        POLICY.chmod(0o755)
    try:
        patient = ["-o", "DPkg::Lock::Timeout=300"]
        updated = _run(["apt-get", *patient, "update"])
        shape = ["install", "--yes", "--no-install-recommends"]
        installed = _run(["env", "DEBIAN_FRONTEND=noninteractive", "apt-get", *patient, *shape, *packages])
        return updated.stdout + installed.stdout
    finally:
        if ours:
            POLICY.unlink(missing_ok=True)


def _working_folder(pid: str) -> str:
    """Empty for a process that has ended, is a zombie, or is another user's.

    The first thread of a JVM may have ended while others still hold its files: any thread's folder will do.
    """
    process = Path("/proc", pid)
    threads = process.glob("task/*/cwd")
    for link in (process / "cwd", *threads):
        try:
            return str(link.readlink())
        except FileNotFoundError:
            continue
        except OSError:
            break
    return ""


def _members(data: Path) -> list[int]:
    """The processes of a service, Postgres's children too: those whose working folder is its data folder."""
    folder = str(data)
    pids = [entry.name for entry in os.scandir("/proc") if entry.name.isdigit()] if Path("/proc").is_dir() else []
    return [int(pid) for pid in pids if _working_folder(pid) == folder]


def _marked(folder: Path) -> list[int]:
    """The processes that a `run` in that folder started, by their environment."""
    mark = f"{MARK}={folder}".encode()
    found = []
    for entry in Path("/proc").glob("[0-9]*/environ"):
        try:
            if mark in entry.read_bytes().split(b"\0"):
                found.append(int(entry.parent.name))
        except OSError:
            continue
    return found


def _send(pids: Sequence[int], number: signal.Signals) -> None:
    for pid in pids:
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            continue


def _wait_until_gone(find: Callable[[], list[int]], seconds: float) -> bool:
    end = time.monotonic() + seconds
    while find():
        if time.monotonic() > end:
            return False
        time.sleep(0.02)
    return True


# --- Services ------------------------------------------------------------------------------------------------------


class Services:
    """What was started in one folder. Made by `start` or `opened`; stop(), or leaving the `with`, ends all of it.

    A fault test stops, kills and starts one by name: it keeps its port and its data. `environ` is where given
    addresses are looked up; a test that must have servers of its own passes an empty one.
    """

    def __init__(self, folder: Path, data: Path, environ: Mapping[str, str]) -> None:
        self.folder = folder
        self.data = data
        self.all: dict[str, Service] = {}
        self._environ = environ
        self._children: dict[str, subprocess.Popen[bytes]] = {}
        self._watchdog: subprocess.Popen[bytes] | None = None

    @property
    def kafka(self) -> str:
        """host:port for `bootstrap.servers`."""
        return self.address("kafka")

    @property
    def redis(self) -> str:
        """redis://host:port/0."""
        return self.address("redis")

    @property
    def postgres(self) -> str:
        """A URL for SQLAlchemy with psycopg 3."""
        return self.address("postgres")

    @property
    def pids(self) -> dict[str, int]:
        """The main process of each service that runs here as a program."""
        return {name: service.pid for name, service in self.all.items() if service.pid}

    @property
    def environment(self) -> dict[str, str]:
        """The addresses as the variables that the project reads."""
        return {KINDS[name].variable: service.address for name, service in self.all.items()}

    def address(self, name: str) -> str:
        if name not in self.all:
            raise ServiceError(f"{name}: was not started in {self.folder}. There: {', '.join(self.all) or 'none'}.")
        return self.all[name].address

    def start_one(self, name: str) -> str:
        """Starts a service, or starts it again after stop_one or kill_one. Returns its address once it answers."""
        self.start_all([name])
        return self.address(name)

    def stop_one(self, name: str) -> None:
        """Stops it politely, then with SIGKILL after STOP_SECONDS. Port and data stay."""
        self._end(name, KINDS[name].stop_signal)

    def kill_one(self, name: str) -> None:
        """Kills it with SIGKILL, as a crash would. Port and data stay."""
        self._end(name, signal.SIGKILL)

    def restart_one(self, name: str) -> None:
        self.stop_one(name)
        self.start_one(name)

    def stop(self) -> None:
        """Ends every service that is ours and deletes the data; the logs stay unless they lie with the data."""
        problems = []
        for service in reversed(self.all.values()):
            try:
                if service.how == "docker":
                    _docker(service.name, "rm", "--force", "--volumes", service.container)
                elif service.how == "program":
                    self.stop_one(service.name)
            except ServiceError as error:
                problems.append(str(error))
        if problems:
            raise ServiceError("\n".join(problems))
        self.all.clear()
        shutil.rmtree(self.data, ignore_errors=True)
        for left in ("services.json", "services.env"):
            (self.folder / left).unlink(missing_ok=True)
        if self._watchdog:
            self._watchdog.communicate()
            self._watchdog = None

    def start_all(self, names: Sequence[str]) -> None:
        """Sets all of them off, then waits for each: they start side by side."""
        for name in names:
            self._launch(name)
        for name in names:
            self._await(name)

    def __enter__(self) -> Services:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def log(self, name: str) -> Path:
        return self.folder / f"{name}.log"

    def watch(self) -> None:
        """From now on the end of this process, however it comes, ends the services."""
        with (self.folder / "watch.log").open("ab") as log:
            self._watchdog = subprocess.Popen(
                [sys.executable, "-I", __file__, "_watch", "--dir", str(self.folder)],
                cwd="/",
                env=_environment(),
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def save(self) -> None:
        """Writes services.json and services.env, each whole or not at all: the watchdog may read at any moment."""
        state = {"data": str(self.data), "services": [asdict(service) for service in self.all.values()]}
        lines = [f"{key}={value}\n" for key, value in self.environment.items()]
        for name, text in (("services.json", json.dumps(state, indent=1)), ("services.env", "".join(lines))):
            unfinished = self.folder / f"{name}.new"
            unfinished.write_text(text)
            unfinished.replace(self.folder / name)

    def _place(self, name: str) -> Service:
        """Decides where a service comes from, and its port."""
        kind = KINDS[name]
        if given := self._environ.get(kind.variable):
            if not answers(name, given):
                raise ServiceError(
                    f"{name}: nothing answers in its protocol at {given!r}, the value of {kind.variable}.\n"
                    f"Start it there, or unset {kind.variable}."
                )
            return Service(name, "given", given)
        port = _free_port([service.port for service in self.all.values()])
        how: Literal["docker", "program"] = "docker" if _docker_answers() else "program"
        return Service(name, how, kind.address.format(port=port), port)

    def _launch(self, name: str) -> None:
        """Sets a service off without waiting for it; does nothing if it is there already."""
        if name not in self.all:
            service = self._place(name)
            if service.how == "program":
                _obtain(name)
            self.all[name] = service
            self.save()
        service = self.all[name]
        if service.how == "docker":
            self._launch_container(service)
        elif service.how == "program" and not _members(self.data / name):
            self._launch_program(service)

    def _launch_container(self, service: Service) -> None:
        if _run(["docker", "container", "inspect", service.container]).returncode == 0:
            _docker(service.name, "start", service.container)
        else:
            options = KINDS[service.name].docker(service.port)
            _docker(service.name, "run", "--detach", "--name", service.container, *options)

    def _launch_program(self, service: Service) -> None:
        name, kind, data = service.name, KINDS[service.name], self.data / service.name
        if not _bindable(service.port):
            raise ServiceError(
                f"{name}: port {service.port} of 127.0.0.1 is taken by a process that is not ours. End that process."
            )
        if not data.is_dir():
            data.mkdir(mode=0o700)
            if user := _user(name):
                _hand_over(data, user)
        child = _program(kind.command(data, service.port, self.log(name)), data, self.log(name), _user(name))
        self._children[name] = child
        service.pid = child.pid
        self.save()

    def _await(self, name: str) -> None:
        """Returns once the service answers. An error says what it last logged."""
        service, end = self.all[name], time.monotonic() + START_SECONDS
        child = self._children.get(name)
        while child is None or child.poll() is None:
            if service.how == "given" or answers(name, service.address):
                return
            if time.monotonic() > end:
                raise self._failure(service, f"did not answer at {service.address} within {START_SECONDS:.0f} s")
            time.sleep(0.05)
        raise self._failure(service, f"ended with {child.returncode} instead of starting")

    def _failure(self, service: Service, what: str) -> ServiceError:
        if service.how == "docker":
            text = _run(["docker", "logs", "--tail", str(LOG_LINES), service.container]).stdout
        else:
            text = self.log(service.name).read_text(errors="replace")
        return ServiceError(f"{service.name}: {what}. The end of its log:\n{_last_lines(text)}")

    def _end(self, name: str, number: signal.Signals) -> None:
        self.address(name)  # an error if it was never started
        service = self.all[name]
        if service.how == "given":
            raise ServiceError(
                f"{name}: {service.address} was given by {KINDS[name].variable} and is not ours to stop.\n"
                "A test that stops a service starts its own: start([...], environ={})."
            )
        if service.how == "docker":
            _docker(name, "kill" if number == signal.SIGKILL else "stop", service.container)
        else:
            self._end_program(service, number)

    def _end_program(self, service: Service, number: signal.Signals) -> None:
        def find() -> list[int]:
            return _members(self.data / service.name)

        # Postgres's children follow their parent by themselves; a half-started service has no recorded process at all.
        if service.pid in find():
            _send([service.pid], number)
            _wait_until_gone(find, STOP_SECONDS)
        _send(find(), signal.SIGKILL)
        if not _wait_until_gone(find, STOP_SECONDS):
            raise ServiceError(f"{service.name}: processes {find()} did not end even by SIGKILL. Look at their state.")
        if child := self._children.pop(service.name, None):
            child.wait()
        service.pid = 0
        self.save()


def start(
    names: Sequence[str] = NAMES,
    folder: Path | None = None,
    *,
    environ: Mapping[str, str] = os.environ,
    tied: bool = True,
) -> Services:
    """Starts services and returns once each answers; if one can't be had, none is left and ServiceError says why.

    `names`: any of NAMES, or none (start_one adds later). `folder`: for logs and addresses; None puts them with the
    data, deleted at stop. `tied`: they end with this process, however it ends.
    """
    unknown = set(names) - set(NAMES)
    if unknown:
        raise ServiceError(f"no service is called {', '.join(sorted(unknown))}. There are {', '.join(NAMES)}.")
    if folder is not None and (folder / "services.json").exists():
        raise ServiceError(f"services are up in {folder} already. End them with `down`, or name another folder.")
    data = Path(tempfile.mkdtemp(prefix="stakeout-")).resolve()
    data.chmod(0o711)  # Postgres runs as another user
    services = Services((folder or data).resolve(), data, environ)
    try:
        services.folder.mkdir(parents=True, exist_ok=True)
        services.save()
        if tied:
            services.watch()
        services.start_all(names)
    except BaseException:
        services.stop()
        raise
    return services


def opened(folder: Path) -> Services:
    """The services that another process started in that folder."""
    try:
        state = json.loads((folder / "services.json").read_text())
    except FileNotFoundError:
        raise ServiceError(f"no services are up in {folder}. Start them with `up`, or name their folder.") from None
    services = Services(folder.resolve(), Path(state["data"]), {})
    services.all = {record["name"]: Service(**record) for record in state["services"]}
    return services


# --- The command line ----------------------------------------------------------------------------------------------


def _default_folder() -> Path:
    """One per user, for `up`, `status` and `down` without --dir. Others could have made it first: then it's refused."""
    folder = Path(tempfile.gettempdir()) / f"stakeout-services-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    if folder.stat().st_uid != os.getuid():
        raise ServiceError(f"{folder} belongs to another user. Name a folder of your own with --dir.")
    return folder


def _up(names: Sequence[str], folder: Path) -> int:
    services = start(names, folder, tied=False)
    print((folder / "services.env").read_text(), end="")
    for child in services._children.values():
        child.returncode = 0  # left running on purpose: nobody will wait for it
    return 0


def _down(folder: Path) -> int:
    opened(folder).stop()
    return 0


def _status(folder: Path) -> int:
    states = [(service, answers(service.name, service.address)) for service in opened(folder).all.values()]
    for service, good in states:
        process = f"process {service.pid}" if service.pid else service.how
        print(f"{service.name:10}{service.address}  {process}  {'answers' if good else 'does not answer'}")
    return 0 if all(good for _, good in states) else 1


def _run_command(names: Sequence[str], folder: Path | None, command: Sequence[str]) -> int:
    """Up, the command, always down. Returns the command's exit code, or 128 + n if signal n ended it.

    Signals that would end us are passed on to the command; one that SIGTERM doesn't end is killed after STOP_SECONDS.
    """
    child: subprocess.Popen[bytes] | None = None

    def handle(number: int, frame: FrameType | None) -> None:
        if child is None:
            raise SystemExit(128 + number)
        if number == signal.SIGALRM:
            child.kill()
            return
        if number != signal.SIGINT or not _terminal_is_ours():
            child.send_signal(number)
        if number != signal.SIGINT:
            signal.alarm(round(STOP_SECONDS))

    handled = _on_signals(handle)
    signal.signal(signal.SIGALRM, handle)
    with start(names, folder) as services:
        environment = {**os.environ, **services.environment, MARK: str(services.folder)}
        try:
            child = subprocess.Popen(command, env=environment)
            code = child.wait()
        except OSError as error:
            raise ServiceError(f"can't run {command[0]!r}: {error}.") from error
        finally:
            signal.alarm(0)
            for number in handled:
                signal.signal(number, signal.SIG_IGN)  # nothing interrupts the way down
    return code if code >= 0 else 128 - code


def _on_signals(handle: Callable[[int, FrameType | None], None]) -> list[signal.Signals]:
    """Handles the signals that would end us, but for those that our starter has us ignore (nohup)."""
    ending = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    handled = [number for number in ending if signal.getsignal(number) != signal.SIG_IGN]
    for number in handled:
        signal.signal(number, handle)
    return handled


def _leave(number: int, frame: FrameType | None) -> None:
    raise SystemExit(128 + number)


def _terminal_is_ours() -> bool:
    """Then the terminal has sent its SIGINT to the command too."""
    try:
        return os.tcgetpgrp(0) == os.getpgrp()
    except OSError:
        return False


def _watch(folder: Path) -> int:
    """Waits until our starter has closed the pipe or has died, then ends what is left of its command and services."""
    sys.stdin.buffer.read()
    while left := _marked(folder):
        _send(left, signal.SIGKILL)
        time.sleep(0.02)
    if (folder / "services.json").exists():
        opened(folder).stop()
    return 0


def _names(text: str) -> list[str]:
    names = [name.strip() for name in text.split(",") if name.strip()]
    if not names or not set(names) <= set(NAMES):
        raise argparse.ArgumentTypeError(f"{text!r} is not a list of {', '.join(NAMES)}")
    return names


def _arguments(words: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="services.py", description=(__doc__ or "").splitlines()[0])
    actions = parser.add_subparsers(dest="action", required=True, metavar="up | status | down | run")
    for action in ("up", "status", "down", "run", "_watch"):
        sub = actions.add_parser(action, usage=f"services.py {action} [options]{' -- COMMAND …' * (action == 'run')}")
        sub.add_argument("--dir", type=Path, metavar="FOLDER", help="where logs and services.env are")
        if action in ("up", "run"):
            sub.add_argument("--only", type=_names, default=list(NAMES), metavar="NAME,…", help=", ".join(NAMES))
    return parser.parse_args(words)


def main(words: Sequence[str]) -> int:
    """What the module docstring says of the command line; `words` are its arguments. Returns the exit code."""
    cut = words.index("--") if "--" in words else len(words)
    chosen, command = _arguments(words[:cut]), words[cut + 1 :]
    _on_signals(_leave)
    try:
        if bool(command) != (chosen.action == "run"):
            raise ServiceError("`run`, and only it, takes a command after --: services.py run -- COMMAND …")
        if chosen.action == "run":
            return _run_command(chosen.only, chosen.dir, command)
        folder = chosen.dir or _default_folder()
        if chosen.action == "up":
            return _up(chosen.only, folder)
        return {"status": _status, "down": _down, "_watch": _watch}[chosen.action](folder)
    except ServiceError as error:
        print(f"services: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
