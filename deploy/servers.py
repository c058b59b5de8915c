"""Kafka, Redis, Postgres and the processes on them: started in one folder, taken away and brought back, ended.

    start(names, folder) ──▶ Services ── start_one, stop_one, kill_one ──▶ stop()
                               │
                  services.json, services.env, NAME.log ──▶ opened(folder), in another process

Where each comes from is told in deploy/services.py.
"""

from __future__ import annotations

import json
import os
import pwd
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from deploy import docker
from deploy.debian import obtain
from deploy.kafka import KAFKA
from deploy.kind import Kind, Place, ServiceError
from deploy.postgres import POSTGRES
from deploy.processes import (
    REMEDY,
    bindable,
    environment,
    free_port,
    last_lines,
    members,
    program,
    send,
    wait_until_gone,
)
from deploy.redis import REDIS
from deploy.stakeout import PROCESSES, check_packages

NAMES = ("kafka", "redis", "postgres")
TOPOLOGY = (*NAMES, *PROCESSES)
KINDS = {"kafka": KAFKA, "redis": REDIS, "postgres": POSTGRES, **PROCESSES}
COMMAND = Path(__file__).resolve().with_name("services.py")

START_SECONDS = 120.0  # 5 s on an idle machine of two cores, 23 s with twelve busy programs on it
STOP_SECONDS = 15.0  # from a polite signal to SIGKILL


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


def _endpoints(address: str, default_port: int) -> list[tuple[str, int]]:
    """Host and port of a URL, or of each entry in Kafka's host:port,host:port."""
    parts = [urlsplit(text if "://" in text else f"//{text}") for text in address.split(",")]
    return [(part.hostname or "", part.port or default_port) for part in parts]


def answers(name: str, address: str) -> bool:
    """Does a service of that kind speak its protocol, in plain text, at the address?"""
    kind = KINDS[name]
    try:
        return any(kind.answers(host, port) for host, port in _endpoints(address, kind.default_port))
    except ValueError as error:
        raise ServiceError(f"{name}: {address!r} is not an address: {error}") from error


def _hand_over(data: Path, user: str) -> None:
    """Gives a data folder to a user, who must be able to enter each folder above it."""
    closed = [str(parent) for parent in data.parents if not parent.stat().st_mode & 0o001]
    if closed:
        raise ServiceError(
            f"{user}: its user {user!r} can't reach {data}: {closed[-1]} lets no other user in.\n"
            "Set TMPDIR to a folder that everybody may enter, as /tmp is."
        )
    os.chown(data, pwd.getpwnam(user).pw_uid, pwd.getpwnam(user).pw_gid)


def _obtain(name: str) -> None:
    """Sees to it that the programs of a service are on this machine."""
    kind = KINDS[name]
    obtain(
        kind.missing, f"{name}: no Docker engine answers and ", f"start Docker, or set {kind.variable} to an address"
    )


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
        """The addresses, and the settings of our processes, as the variables that the project reads."""
        addresses = {KINDS[name].variable: service.address for name, service in self.all.items()}
        settings = [KINDS[name].environment(self.data) for name in self.all]
        return {key: value for part in (addresses, *settings) for key, value in part.items() if key}

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
                    docker.remove(service.name, service.container)
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
        """Sets all of them off, then waits for each: they start side by side.

        For one without a door the wait is that for all others; it must have lived through it.
        """
        for name in names:
            self._launch(name)
        for name in sorted(names, key=lambda name: not KINDS[name].address):
            self._await(name)

    def __enter__(self) -> Services:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def answers(self, name: str) -> bool:
        """Does it speak its protocol now; without a door, does it run?"""
        service = self.all[name]
        return answers(name, service.address) if service.address else bool(members(self.data / name))

    def log(self, name: str) -> Path:
        return self.folder / f"{name}.log"

    def leave_running(self) -> None:
        """This process may end, and what it started goes on: nobody will wait for it."""
        for child in self._children.values():
            child.returncode = 0

    def watch(self) -> None:
        """From now on the end of this process, however it comes, ends the services."""
        with (self.folder / "watch.log").open("ab") as log:
            self._watchdog = subprocess.Popen(
                [sys.executable, "-I", str(COMMAND), "_watch", "--dir", str(self.folder)],
                cwd="/",
                env=environment(),
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
        port = self._port(kind)
        how: Literal["docker", "program"] = "docker" if kind.docker and docker.engine_answers() else "program"
        return Service(name, how, kind.address.format(port=port), port)

    def _port(self, kind: Kind) -> int:
        if not kind.address:
            return 0
        taken = [service.port for service in self.all.values()]
        if kind.settled and kind.default_port not in taken and bindable(kind.default_port):
            return kind.default_port
        return free_port(taken)

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
            options = KINDS[name].docker
            assert options, "so it was placed"
            docker.launch(name, service.container, options(service.port))
        elif service.how == "program" and not members(self.data / name):
            self._launch_program(service)

    def _launch_program(self, service: Service) -> None:
        name, kind = service.name, KINDS[service.name]
        if service.port and not bindable(service.port):
            raise ServiceError(
                f"{name}: port {service.port} of 127.0.0.1 is taken by a process that is not ours. End that process."
            )
        user = kind.user if os.geteuid() == 0 else None
        place = Place(self.data / name, service.port, self.log(name), self.environment, user)
        if not place.data.is_dir():
            place.data.mkdir(mode=0o700)
            if user:
                _hand_over(place.data, user)
        child = program(kind.command(place), place)
        self._children[name] = child
        service.pid = child.pid
        self.save()

    def _await(self, name: str) -> None:
        """Returns once the service answers. An error says what it last logged."""
        service, end = self.all[name], time.monotonic() + START_SECONDS
        child = self._children.get(name)
        while child is None or child.poll() is None:
            if service.how == "given" or self.answers(name):
                return
            if time.monotonic() > end:
                raise self._failure(service, f"did not answer at {service.address} within {START_SECONDS:.0f} s")
            time.sleep(0.05)
        raise self._failure(service, f"ended with {child.returncode} instead of starting")

    def _failure(self, service: Service, what: str) -> ServiceError:
        if service.how == "docker":
            text = docker.log(service.container)
        else:
            text = self.log(service.name).read_text(errors="replace")
        where = service.container if service.how == "docker" else self.log(service.name)
        return ServiceError(f"{service.name}: {what}. The end of its log, {where}:\n{last_lines(text)}\n{REMEDY}")

    def _end(self, name: str, number: signal.Signals) -> None:
        self.address(name)  # an error if it was never started
        service = self.all[name]
        if service.how == "given":
            raise ServiceError(
                f"{name}: {service.address} was given by {KINDS[name].variable} and is not ours to stop.\n"
                "A test that stops a service starts its own: start([...], environ={})."
            )
        if service.how == "docker":
            docker.end(name, service.container, killed=number == signal.SIGKILL)
        else:
            self._end_program(service, number)

    def _end_program(self, service: Service, number: signal.Signals) -> None:
        def find() -> list[int]:
            return members(self.data / service.name)

        # Postgres's children follow their parent by themselves; a half-started service has no recorded process at all.
        if service.pid in find():
            send([service.pid], number)
            wait_until_gone(find, STOP_SECONDS)
        send(find(), signal.SIGKILL)
        if not wait_until_gone(find, STOP_SECONDS):
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

    names:  any of TOPOLOGY, or none (start_one adds later); processes of ours begin when the servers answer
    folder: for logs and addresses; None puts them with the data, deleted at stop
    tied:   they end with this process, however it ends
    """
    unknown = set(names) - set(TOPOLOGY)
    if unknown:
        raise ServiceError(f"no service is called {', '.join(sorted(unknown))}. There are {', '.join(TOPOLOGY)}.")
    if set(names) & set(PROCESSES):
        check_packages()
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
        services.start_all([name for name in names if name in NAMES])
        services.start_all([name for name in names if name in PROCESSES])
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
