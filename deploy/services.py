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
import os
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # run as a file, it finds `deploy` all the same

from deploy.kind import ServiceError
from deploy.run import leave, on_signals, run_command, watch
from deploy.servers import NAMES, answers, opened, start


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
    on_signals(leave)
    try:
        if bool(command) != (chosen.action == "run"):
            raise ServiceError("`run`, and only it, takes a command after --: services.py run -- COMMAND …")
        if chosen.action == "run":
            return run_command(chosen.only, chosen.dir, command)
        folder = chosen.dir or _default_folder()
        if chosen.action == "up":
            return _up(chosen.only, folder)
        return {"status": _status, "down": _down, "_watch": watch}[chosen.action](folder)
    except ServiceError as error:
        print(f"services: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
