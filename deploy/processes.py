"""Processes of this machine: set off in a folder, found by it, ended by their id; and ports for them. Linux only.

A process is ours when its working folder is its data folder: a process id alone may be another's by now.
"""

from __future__ import annotations

import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Collection, Sequence
from pathlib import Path

from deploy.kind import Place, ServiceError

LOG_LINES = 25  # shown when a start fails
REMEDY = "Mend what it says there, then start again."
MARK = "STAKEOUT_RUN"  # in the environment of a command that `run` started: its FOLDER


def say(text: str) -> None:
    """A line for the person who waits."""
    print(f"services: {text}", file=sys.stderr, flush=True)


def last_lines(text: str) -> str:
    """The end of what a program said, indented."""
    return "\n".join(f"    {line}" for line in text.splitlines()[-LOG_LINES:]) or "    (nothing was logged)"


def environment() -> dict[str, str]:
    """Ours without the mark of a `run` around us: servers and watchdogs aren't part of its COMMAND."""
    return {key: value for key, value in os.environ.items() if key != MARK}


def run(command: Sequence[str], timeout: float | None = None) -> subprocess.CompletedProcess[str]:
    """Output and errors together. A program that can't be run gives 127, as in a shell; one that hangs gives 124."""
    try:
        return subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=environment(),
            text=True,
            timeout=timeout,
            check=False,
        )
    except OSError as error:
        return subprocess.CompletedProcess(command, 127, str(error))
    except subprocess.TimeoutExpired:
        return subprocess.CompletedProcess(command, 124, f"no answer within {timeout} s")


def program(command: Sequence[str], place: Place) -> subprocess.Popen[bytes]:
    """Sets a program off in its data folder, its output in the log, out of reach of the terminal's signals."""
    with place.log.open("ab") as output:
        return subprocess.Popen(
            command,
            cwd=place.data,
            env={**environment(), **place.environment},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
            user=place.user,
            group=place.user,
            extra_groups=[] if place.user else None,
        )


def prepare(name: str, command: Sequence[str], place: Place) -> None:
    """Runs one step of a start to its end. ServiceError with what it said: it failed."""
    code = program(command, place).wait()
    if code != 0:
        tail = last_lines(place.log.read_text(errors="replace"))
        raise ServiceError(f"{name}: {' '.join(command)} ended with {code}. The end of {place.log}:\n{tail}\n{REMEDY}")


def bindable(port: int) -> bool:
    """Could a server listen on this loopback port?"""
    with socket.socket() as attempt:
        attempt.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            attempt.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


def free_port(taken: Collection[int]) -> int:
    """A free loopback port below the range of outgoing ports (from 32768 on).

    A client that retries while its server is down would sooner or later be given the server's port as its own, connect
    to itself and keep the port from the server.
    """
    for _ in range(200):
        port = random.randrange(15000, 32000)
        if port not in taken and bindable(port):
            return port
    raise ServiceError("no free port of 127.0.0.1 was found between 15000 and 32000 in 200 tries.")


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


def members(data: Path) -> list[int]:
    """Those whose working folder is the data folder, Postgres's children too."""
    folder = str(data)
    pids = [entry.name for entry in os.scandir("/proc") if entry.name.isdigit()] if Path("/proc").is_dir() else []
    return [int(pid) for pid in pids if _working_folder(pid) == folder]


def marked(folder: Path) -> list[int]:
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


def send(pids: Sequence[int], number: signal.Signals) -> None:
    """The signal, to those that there still are."""
    for pid in pids:
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            continue


def wait_until_gone(find: Callable[[], list[int]], seconds: float) -> bool:
    """Until `find` finds no process. False: it still does after these seconds."""
    end = time.monotonic() + seconds
    while find():
        if time.monotonic() > end:
            return False
        time.sleep(0.02)
    return True
