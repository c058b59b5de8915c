"""A command with services around it, and the end of all of them, whatever ends first."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import FrameType

from deploy.kind import ServiceError
from deploy.processes import MARK, marked, send
from deploy.servers import STOP_SECONDS, opened, start


def run_command(names: Sequence[str], folder: Path | None, command: Sequence[str]) -> int:
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

    handled = on_signals(handle)
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


def on_signals(handle: Callable[[int, FrameType | None], None]) -> list[signal.Signals]:
    """Handles the signals that would end us, but for those that our starter has us ignore (nohup)."""
    ending = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    handled = [number for number in ending if signal.getsignal(number) != signal.SIG_IGN]
    for number in handled:
        signal.signal(number, handle)
    return handled


def leave(number: int, frame: FrameType | None) -> None:
    """Ends this process by way of its `finally`s."""
    raise SystemExit(128 + number)


def _terminal_is_ours() -> bool:
    """Then the terminal has sent its SIGINT to the command too."""
    try:
        return os.tcgetpgrp(0) == os.getpgrp()
    except OSError:
        return False


def watch(folder: Path) -> int:
    """Waits until our starter has closed the pipe or has died, then ends what is left of its command and services."""
    sys.stdin.buffer.read()
    while left := marked(folder):
        send(left, signal.SIGKILL)
        time.sleep(0.02)
    if (folder / "services.json").exists():
        opened(folder).stop()
    return 0
