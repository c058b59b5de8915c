"""Real services are what their addresses say they are, start again as they were, and never outlive who started them."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest
import redis
from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic
from sqlalchemy import create_engine, text

from deploy import debian
from deploy.kind import ServiceError
from deploy.servers import NAMES, Services, answers, start
from tests.deployed import SCRIPT, of_folder, own_servers, script, wait_until_empty

SLEEP = "import os, time; print(os.environ['STAKEOUT_RUN'], flush=True); time.sleep(600)"
WITH_CHILD = (
    f"import subprocess, sys; subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)']); {SLEEP}"
)
LIBRARY_USER = """
import sys, time
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from deploy.servers import start
own = start(["redis", "postgres"], Path(sys.argv[2]), environ={})
print(own.data, flush=True)
time.sleep(600)
"""


# --- What a service does -------------------------------------------------------------------------------------------


def make_topic(kafka: str, topic: str) -> None:
    admin = AdminClient({"bootstrap.servers": kafka})
    admin.create_topics([NewTopic(topic, 1, 1)])[topic].result(30)


def write_record(kafka: str, topic: str, value: bytes) -> None:
    producer = Producer({"bootstrap.servers": kafka, "transactional.id": topic})
    producer.init_transactions(60)
    producer.begin_transaction()
    producer.produce(topic, value)
    producer.commit_transaction(60)


def read_record(kafka: str, topic: str) -> bytes | None:
    settings = {"bootstrap.servers": kafka, "group.id": topic, "auto.offset.reset": "earliest"}
    consumer = Consumer({**settings, "isolation.level": "read_committed"})
    consumer.assign([TopicPartition(topic, 0, 0)])
    try:
        message = consumer.poll(60)
        assert message is not None, f"no record of {topic} within 60 s"
        assert message.error() is None, message.error()
        return message.value()
    finally:
        consumer.close()


@pytest.mark.kafka
def test_kafka_gives_back_a_record_of_a_committed_transaction(kafka: str, unique: str) -> None:
    """Transactions, groups and their topics work on the one node."""
    make_topic(kafka, unique)
    write_record(kafka, unique, b"event")
    assert read_record(kafka, unique) == b"event"


@pytest.mark.kafka
def test_kafka_makes_no_topic_that_was_not_asked_for(kafka: str, unique: str) -> None:
    """A misspelt topic is an error, not a new topic."""
    admin = AdminClient({"bootstrap.servers": kafka})
    assert admin.list_topics(unique, timeout=30).topics[unique].error is not None
    assert unique not in admin.list_topics(timeout=30).topics


@pytest.mark.redis
def test_redis_gives_back_what_was_set(redis_url: str, unique: str) -> None:
    """The URL is one for redis-py."""
    with redis.Redis.from_url(redis_url) as client:
        client.set(unique, "value")
        assert client.get(unique) == b"value"


@pytest.mark.postgres
def test_postgres_answers_through_sqlalchemy(postgres_url: str) -> None:
    """The URL is one for SQLAlchemy with psycopg 3, and its database is the tests' own."""
    engine = create_engine(postgres_url)
    with engine.connect() as connection:
        assert connection.execute(text("SELECT 1")).scalar_one() == 1
        assert connection.execute(text("SELECT current_database()")).scalar_one() != "postgres"
    engine.dispose()


@pytest.mark.kafka
@pytest.mark.redis
@pytest.mark.postgres
def test_all_three_are_what_the_fixtures_say(services: Services, kafka: str, redis_url: str) -> None:
    """`services` and the fixtures of one service each speak of the same servers."""
    assert (services.kafka, services.redis) == (kafka, redis_url)
    assert all(answers(name, services.address(name)) for name in NAMES)


# --- Stop, kill, start again ---------------------------------------------------------------------------------------


def write_kafka(address: str) -> None:
    """In no transaction: a broker that goes may lose the end of one (docs/decisions/0008), and this is about data."""
    make_topic(address, "kept")
    producer = Producer({"bootstrap.servers": address, "acks": "all"})
    producer.produce("kept", b"kept")
    assert producer.flush(60) == 0


def write_redis(address: str) -> None:
    with redis.Redis.from_url(address) as client:
        client.set("kept", "kept")


def read_redis(address: str) -> bytes | None:
    with redis.Redis.from_url(address) as client:
        value = client.get("kept")
    assert value is None or isinstance(value, bytes)
    return value


def plain(address: str) -> str:
    return address.replace("+psycopg", "")


def write_postgres(address: str) -> None:
    with psycopg.connect(plain(address)) as connection:
        connection.execute("CREATE TABLE kept AS SELECT 'kept' AS value")


def read_postgres(address: str) -> bytes | None:
    with psycopg.connect(plain(address)) as connection:
        row = connection.execute("SELECT value FROM kept").fetchone()
    return None if row is None else str(row[0]).encode()


WRITE: dict[str, Callable[[str], None]] = {"kafka": write_kafka, "redis": write_redis, "postgres": write_postgres}
READ: dict[str, Callable[[str], bytes | None]] = {
    "kafka": lambda address: read_record(address, "kept"),
    "redis": read_redis,
    "postgres": read_postgres,
}


@pytest.mark.parametrize("name", [pytest.param("kafka", marks=pytest.mark.slow), "redis", "postgres"])
def test_a_stopped_and_a_killed_service_come_back_with_port_and_data(name: str, tmp_path: Path) -> None:
    """A fault test may take a server away and bring it back: to its clients it's the same one."""
    with start([name], tmp_path, environ={}) as own:
        address, first = own.address(name), own.pids[name]
        WRITE[name](address)

        own.kill_one(name)
        assert not answers(name, address)
        assert own.start_one(name) == address
        assert own.pids[name] != first

        own.stop_one(name)
        assert not answers(name, address)
        assert own.pids == {}
        own.start_one(name)
        assert READ[name](address) == b"kept"
    assert not answers(name, address)
    assert not own.data.exists()


def test_starting_a_service_that_is_up_changes_nothing(tmp_path: Path) -> None:
    """start_one is safe to say twice."""
    with start(["redis"], tmp_path, environ={}) as own:
        before = own.pids
        own.start_one("redis")
        assert own.pids == before


# --- When it can't be had ------------------------------------------------------------------------------------------


def test_a_given_address_that_does_not_answer_is_an_error_with_its_remedy() -> None:
    """A wrong variable is named; nothing is started in its place."""
    with pytest.raises(ServiceError, match=r"127\.0\.0\.1:9'.*STAKEOUT_KAFKA") as failure:
        start(["kafka"], environ={"STAKEOUT_KAFKA": "127.0.0.1:9"})
    assert "unset STAKEOUT_KAFKA" in str(failure.value)


def test_a_given_service_is_used_and_never_stopped(tmp_path: Path) -> None:
    """What others started is theirs to stop."""
    with start(["redis"], tmp_path / "theirs", environ={}) as theirs:
        with start(["redis"], tmp_path / "ours", environ={"STAKEOUT_REDIS": theirs.redis}) as ours:
            assert ours.redis == theirs.redis
            assert ours.pids == {}
            with pytest.raises(ServiceError, match="not ours to stop"):
                ours.stop_one("redis")
        assert answers("redis", theirs.redis)


def test_a_taken_port_is_said_so(tmp_path: Path) -> None:
    """Someone else's server on a stopped service's port is not mistaken for it."""
    with start(["redis"], tmp_path, environ={}) as own:
        port = own.all["redis"].port
        own.stop_one("redis")
        with socket.create_server(("127.0.0.1", port)), pytest.raises(ServiceError, match=f"port {port} .*taken"):
            own.start_one("redis")


def test_a_start_that_fails_shows_the_end_of_the_log(tmp_path: Path) -> None:
    """The reason is in the error: nobody has to look for a file, and nothing is left running."""
    with start(["redis"], tmp_path, environ={}) as own:
        own.stop_one("redis")
        log = own.data / "redis" / "appendonlydir"
        shutil.rmtree(log)
        log.write_text("a file where Redis wants a folder")
        with pytest.raises(ServiceError, match=r"(?s)ended with 1 instead of starting.*append-only dir"):
            own.start_one("redis")


def test_a_missing_program_is_said_with_package_and_variable(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Where nothing can be installed, the message says what is missing and the three ways out."""
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ServiceError, match=r"no program redis-server.*not Debian") as failure:
        start(["redis"], environ={})
    assert "apt-get install redis-server), start Docker, or set STAKEOUT_REDIS" in str(failure.value)


def test_debian_packages_start_no_server(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """While apt-get runs, Debian's own switch says no; afterwards it's gone."""
    policy, apt_get = tmp_path / "policy-rc.d", tmp_path / "apt-get"
    apt_get.write_text(f'#!/bin/sh\n{policy} redis start\necho "$* policy=$?"\n')
    apt_get.chmod(0o755)
    monkeypatch.setattr(debian, "POLICY", policy)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    said = debian.apt_install(["redis-server"]).splitlines()
    assert [line.rpartition(" ")[2] for line in said] == ["policy=101", "policy=101"]
    assert said[1].split()[-2] == "redis-server"
    assert not policy.exists()


# --- The command line ----------------------------------------------------------------------------------------------


def test_up_survives_its_script_until_down(tmp_path: Path) -> None:
    """up, status and down are three programs that share a folder."""
    folder = ("--dir", str(tmp_path))
    try:
        up = script("up", "--only", "redis,postgres", *folder)
        assert up.returncode == 0, up.stderr
        assert up.stdout == (tmp_path / "services.env").read_text()
        variables = dict(line.split("=", 1) for line in up.stdout.splitlines())
        assert list(variables) == ["STAKEOUT_REDIS", "STAKEOUT_POSTGRES"]
        assert answers("redis", variables["STAKEOUT_REDIS"])

        status = script("status", *folder)
        assert (status.returncode, status.stdout.count(" answers")) == (0, 2)
        assert "up in" in script("up", "--only", "redis", *folder).stderr
    finally:
        down = script("down", *folder)
    assert down.returncode == 0, down.stderr
    assert not answers("redis", variables["STAKEOUT_REDIS"])
    assert not answers("postgres", variables["STAKEOUT_POSTGRES"])
    assert "no services are up" in script("status", *folder).stderr


def test_run_hands_on_the_addresses_and_the_exit_code() -> None:
    """COMMAND sees the variables; its exit code is ours."""
    done = script("run", "--only", "redis", "--", "sh", "-c", "echo $STAKEOUT_REDIS $STAKEOUT_RUN; exit 7")
    assert done.returncode == 7, done.stderr
    address, folder = done.stdout.split()
    assert not answers("redis", address)
    assert not Path(folder).exists()


def test_run_without_its_command_says_how() -> None:
    """A forgotten -- is explained."""
    done = script("run", "--only", "redis")
    assert done.returncode == 1
    assert "-- COMMAND" in done.stderr


def hears_signals() -> None:
    """Who runs the tests may ignore signals (nohup, a background job); the process under test must not inherit it."""
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)


@pytest.fixture
def runner() -> Iterator[Callable[[str, str], tuple[subprocess.Popen[str], str]]]:
    """Starts a `run` of the given services whose command prints its folder; returns both once it has."""
    begun: list[subprocess.Popen[str]] = []

    def begin(names: str, program: str) -> tuple[subprocess.Popen[str], str]:
        words = [sys.executable, SCRIPT, "run", "--only", names, "--", sys.executable, "-c", program]
        begun.append(
            subprocess.Popen(words, stdout=subprocess.PIPE, text=True, env=own_servers(), preexec_fn=hears_signals)
        )
        assert begun[-1].stdout is not None
        return begun[-1], begun[-1].stdout.readline().strip()

    yield begin
    for process in begun:
        with process:
            process.kill()


@pytest.mark.slow
def test_run_killed_leaves_no_process_and_no_data(
    runner: Callable[[str, str], tuple[subprocess.Popen[str], str]],
) -> None:
    """SIGKILL gives the runner no say: servers, command and its children end all the same."""
    process, folder = runner(",".join(NAMES), WITH_CHILD)
    assert len(of_folder(folder)) >= 6, "three servers, the watchdog, the command and its child"
    process.kill()
    assert wait_until_empty(folder) == []
    assert not Path(folder).exists()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_run_ended_by_a_signal_leaves_no_process(
    number: signal.Signals, runner: Callable[[str, str], tuple[subprocess.Popen[str], str]]
) -> None:
    """The signal goes on to the command, and then everything goes down."""
    process, folder = runner("redis", SLEEP)
    process.send_signal(number)
    assert process.wait(60) == 128 + number
    assert of_folder(folder) == []
    assert not Path(folder).exists()


def test_run_ended_while_starting_leaves_no_process(tmp_path: Path) -> None:
    """A start that is broken off cleans up too."""
    words = [sys.executable, SCRIPT, "run", "--only", "postgres", "--dir", str(tmp_path), "--", "true"]
    with subprocess.Popen(words, env=own_servers()) as process:
        end = time.monotonic() + 60
        while not (tmp_path / "postgres.log").exists() and time.monotonic() < end:
            time.sleep(0.01)
        process.terminate()
        assert process.wait(60) == 128 + signal.SIGTERM
    assert of_folder(str(tmp_path)) == []
    assert not (tmp_path / "services.json").exists()


def test_servers_of_a_library_user_end_with_it_even_killed(tmp_path: Path) -> None:
    """A test session that is killed leaves nothing behind."""
    words = [sys.executable, "-c", LIBRARY_USER, str(Path(SCRIPT).parents[1]), str(tmp_path)]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        data = process.stdout.readline().strip()
        process.kill()
    assert wait_until_empty(data) == []
    assert wait_until_empty(str(tmp_path)) == []
    assert not Path(data).exists()
