"""deploy/services.py as a program with servers of its own, and what of it still runs."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

from deploy.servers import COMMAND

SCRIPT = str(COMMAND)


def own_servers() -> dict[str, str]:
    """Our environment without the addresses, so that the script starts servers of its own."""
    return {key: value for key, value in os.environ.items() if not key.startswith("STAKEOUT_") or "CACHE" in key}


def script(*words: str, **environ: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, SCRIPT, *words], capture_output=True, text=True, timeout=240, env={**own_servers(), **environ}
    )


def of_folder(folder: str) -> list[str]:
    """The processes that work in the folder, name it on their command line or carry it in their environment."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            words = (process / "cmdline").read_bytes() + (process / "environ").read_bytes()
            if str((process / "cwd").readlink()).startswith(folder) or folder.encode() in words:
                found.append(words.replace(b"\0", b" ").decode(errors="replace")[:200])
        except OSError:
            continue  # it has ended
    return found


def wait_until_empty(folder: str, seconds: float = 60.0) -> list[str]:
    end = time.monotonic() + seconds
    while (left := of_folder(folder)) and time.monotonic() < end:
        time.sleep(0.1)
    return left
