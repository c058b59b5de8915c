"""Everything on one machine, on loopback: `make up`, and services for tests and benchmarks. Plain Python 3.11.

    python deploy/services.py up [--only kafka,redis,postgres] [--dir FOLDER]    start, print the addresses
    python deploy/services.py status [--dir FOLDER]                              0 when every one answers
    python deploy/services.py down [--dir FOLDER]                                stop, delete the data
    python deploy/services.py run [--only …] [--dir FOLDER] -- COMMAND …         up, COMMAND, always down

`up` starts Kafka, Redis and Postgres, makes topics and tables, then starts worker, sink and api: what
docker-compose.yml has. For those it must be run by a Python that has Stakeout's packages; with `--only`, and for `run`,
which starts the servers alone, a bare Python will do.

Each server comes from the first of these that is there:

1. its address in the environment (STAKEOUT_KAFKA, STAKEOUT_REDIS, STAKEOUT_POSTGRES): checked, never stopped;
2. a Docker engine that answers. **This path has never been run**: no engine was to be had where it was written.
   DOCKER_HOST=unix:///nowhere leaves an engine aside;
3. programs on the PATH or where Debian puts them, with Kafka's jars fetched once by Maven into
   $STAKEOUT_CACHE (~/.cache/stakeout). Linux only: a process is ours when its working folder is its data folder;
4. the same after `apt-get install`, when root.

FOLDER holds NAME.log, services.env (KEY=value) and services.json (what is up). Data lies in a temporary folder, on
ports below the ephemeral range, and is deleted by `down`. What `run` or a test starts also ends when its starter is
killed with -9: a watchdog process waits for the end of a pipe. A COMMAND that `run` ran, and all that it left
running, ends with it. Everything here is for throw-away data: no passwords, one node, no replicas.
"""

from __future__ import annotations

import argparse
import os
import re
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # run as a file, it finds `deploy` all the same

from deploy.kind import ServiceError
from deploy.processes import say
from deploy.run import leave, on_signals, run_command, watch
from deploy.servers import NAMES, TOPOLOGY, Services, opened, start


def _default_folder() -> Path:
    """One per user, for `up`, `status` and `down` without --dir. Others could have made it first: then it's refused."""
    folder = Path(tempfile.gettempdir()) / f"stakeout-services-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    if folder.stat().st_uid != os.getuid():
        raise ServiceError(f"{folder} belongs to another user. Name a folder of your own with --dir.")
    return folder


def _up(names: Sequence[str], folder: Path) -> int:
    """Starts, or says what is up already."""
    if (folder / "services.json").exists():
        services = opened(folder)
        away = [name for name in names if name not in services.all or not services.answers(name)]
        if away:
            raise ServiceError(
                f"services are up in {folder} already, but not all of them: {', '.join(away)} doesn't answer.\n"
                "Its log is there. End them with `down`, then start again; or name another folder with --dir."
            )
        say(f"up in {folder} already")
    else:
        services = start(names, folder, tied=False)
        services.leave_running()
    print(_summary(services) if "api" in services.all else (folder / "services.env").read_text(), end="")
    return 0


def _summary(services: Services) -> str:
    """Addresses, then what to do next."""
    folder, api, programs = services.folder, services.address("api"), Path(sys.executable).parent
    return f"""\
  dashboard, REST   {api}, {api}/docs
  worker's metrics  {services.address("worker")}/metrics
  Kafka             {services.kafka}
  Redis             {_shown(services.redis)}
  Postgres          {_shown(services.postgres)}
  logs, settings    {folder}/NAME.log, {folder}/services.env

Payments, some of them fraud, for a minute (an event of your own: POST {api}/v1/events, docs/api.md):
  set -a; . {folder}/services.env; PATH={programs}:$PATH
  stakeout patterns apply examples/patterns; stakeout simulate --live --count 1200 --flow-every 5 --out log
Then look at {api}. It asks for no key until there is one: `stakeout keys add NAME`. `make down` ends it all.
"""


def _shown(address: str) -> str:
    """Without its password: one that was given may have one."""
    return re.sub(r"(//[^/@:]*):[^@]*@", r"\1:…@", address)


def _down(folder: Path) -> int:
    opened(folder).stop()
    return 0


def _status(folder: Path) -> int:
    services = opened(folder)
    states = [(service, services.answers(service.name)) for service in services.all.values()]
    for service, good in states:
        process = f"process {service.pid}" if service.pid else service.how
        verdict = "answers" if good else "does not answer"
        print(f"{service.name:10}{_shown(service.address) or '-'}  {process}  {verdict}")
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
            every = TOPOLOGY if action == "up" else NAMES
            sub.add_argument("--only", type=_names, default=list(every), metavar="NAME,…", help=", ".join(NAMES))
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
