"""Run a work on another engine: `run_peer("flink", "small_big")`, or `python -m bench.peers.run flink small_big`.

A peer is built on first use, into a cache folder outside the tree (STAKEOUT_CACHE, else ~/.cache/stakeout). Its jars
are fetched by Maven as packages, by Maven's own settings; none is part of this repository. Maven and the compilers are
installed by apt-get where they are missing, when root.

    flink   the five works of bench/data.py, and `decode`; from columns, or from a Kafka topic of JSON; and what it
            answers to conformance cases (`question`)
    esper   the five works, and thousand_patterns
    c       the five works without card_testing
"""

import argparse
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from bench.data import FLINK_MATCHES, dump_thousand, dump_transactions
from deploy.debian import obtain
from deploy.kind import ServiceError

HERE = Path(__file__).parent
JAVA_MAJOR_MIN = 17
FIVE = tuple(FLINK_MATCHES)

_HEAP = ("-XX:+UseParallelGC", "-Xms4g", "-Xmx4g")
_OPENS = tuple(f"--add-opens=java.base/java.{package}=ALL-UNNAMED" for package in ("lang", "util"))


class PeerError(RuntimeError):
    """A peer cannot be built or run; the message says why and what to do."""


class Kafka(NamedTuple):
    """A topic of `bench.data.ndjson` records, read from its start to its present end."""

    bootstrap: str
    topic: str


class Peer(NamedTuple):
    """What a peer can run, the options it takes, how it is built in a folder and how it is started from there."""

    works: tuple[str, ...]
    options: tuple[str, ...]
    build: Callable[[Path], None]
    command: Callable[[Path], list[str]]


def run_peer(
    peer: str,
    work: str,
    *,
    events: int | None = None,
    passes: int | None = None,
    form: str | None = None,
    matches: Path | None = None,
    kafka: Kafka | None = None,
    timeout_s: float = 900.0,
) -> dict[str, Any]:
    """Build the peer if needed, run the work once and return the line it prints.

    The line has at least work, events, matches, seconds (wall), events_per_s and cpu_seconds. `events` is 2,000,000
    unless given (thousand_patterns: 50,000); a topic is read whole. `passes` is for esper and c, `form` for esper,
    `kafka` and `matches` for flink. `matches` is a file to write, one match a line: the comma-separated indexes of its
    events, in twenty_patterns after "PATTERN:". PeerError: an unknown work or option, a missing tool, a build or run
    that failed.
    """
    options = {
        "--passes": passes,
        "--form": form,
        "--matches": matches,
        "--kafka": kafka and kafka.bootstrap,
        "--topic": kafka and kafka.topic,
    }
    given = {name: str(value) for name, value in options.items() if value is not None}
    _check(peer, work, given)
    if kafka and events:
        raise PeerError("a Kafka topic is read to its present end: leave events out")
    if not kafka:
        given |= _columns(work, events)
    command = PEERS[peer].command(built(peer))
    return _last_line([*command, work, *(text for option in given.items() for text in option)], timeout_s)


def built(peer: str) -> Path:
    """The folder with the built peer; its name has a hash of the peer's sources, so that a change builds anew."""
    folder = _cache() / "peers" / f"{peer}-{_fingerprint(HERE / peer)}"
    if not folder.exists():
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent) as scratch:
            work = Path(scratch) / peer
            shutil.copytree(HERE / peer, work)
            PEERS[peer].build(work)
            work.rename(folder)
    return folder


def question() -> list[str]:
    """The command that answers conformance cases as Flink does (Asked.java). Raises PeerError."""
    return _java("Asked", *_OPENS, "-Xmx2g")(built("flink"))


def _check(peer: str, work: str, options: dict[str, str]) -> None:
    if peer not in PEERS:
        raise PeerError(f"unknown peer {peer!r}; there are {', '.join(PEERS)}")
    if work not in PEERS[peer].works:
        raise PeerError(f"{peer} has no work {work!r}; it has {', '.join(PEERS[peer].works)}")
    extra = [name for name in options if name not in PEERS[peer].options]
    if extra:
        raise PeerError(f"{peer} does not take {', '.join(extra)}")


def _columns(work: str, events: int | None) -> dict[str, str]:
    many = work == "thousand_patterns"
    count = events or (50_000 if many else 2_000_000)
    folder = dump_thousand(count) if many else dump_transactions(count)
    return {"--data": str(folder), "--events": str(count)}


def _cache() -> Path:
    return Path(os.environ.get("STAKEOUT_CACHE") or Path.home() / ".cache" / "stakeout")


def _fingerprint(folder: Path) -> str:
    digest = hashlib.sha256()
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        digest.update(str(path.relative_to(folder)).encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()[:12]


def _build_java(folder: Path) -> None:
    mvn = _tool("mvn", "maven")
    _tool("javac", "openjdk-17-jdk-headless")
    _check_java()
    done = subprocess.run([mvn, "-q", "-B", "package"], cwd=folder, capture_output=True, text=True)
    if done.returncode:
        raise PeerError(
            f"Maven could not build {folder.name}:\n{_tail(done.stdout + done.stderr)}\n"
            "If a package was not found, check that Maven's settings name a repository that this machine reaches."
        )


def _check_java() -> None:
    java = _tool("java", "openjdk-17-jre-headless")
    told = subprocess.run([java, "-version"], capture_output=True, text=True).stderr
    major = re.search(r'version "(\d+)', told)
    if not major or int(major[1]) < JAVA_MAJOR_MIN:
        raise PeerError(
            f"{java} is not Java {JAVA_MAJOR_MIN} or newer, but {_tail(told, 1)}; put a newer one on the PATH"
        )


def _build_c(folder: Path) -> None:
    gcc = _tool("gcc", "gcc libc6-dev")
    flags = ["-O3", "-march=native", "-ffp-contract=off", "-Wall", "-Wextra"]
    done = subprocess.run([gcc, *flags, "-o", "loop", "loop.c"], cwd=folder, capture_output=True, text=True)
    if done.returncode:
        raise PeerError(f"gcc could not build loop.c:\n{_tail(done.stderr)}")


def _tool(program: str, packages: str) -> str:
    """Its path; installed by Debian's packages if need be, as the services are."""
    try:
        obtain(lambda: {} if shutil.which(program) else {program: packages}, "bench: ", "or put it on the PATH")
    except ServiceError as error:
        raise PeerError(str(error)) from None
    path = shutil.which(program)
    assert path, "obtained"
    return path


def _java(main: str, *flags: str) -> Callable[[Path], list[str]]:
    def command(folder: Path) -> list[str]:
        java = _tool("java", "openjdk-17-jre-headless")
        jars = f"{folder}/target/peer.jar{os.pathsep}{folder}/target/lib/*"
        return [java, *flags, "-cp", jars, f"stakeout.bench.{main}"]

    return command


def _loop(folder: Path) -> list[str]:
    return [str(folder / "loop")]


def _last_line(command: Sequence[str], timeout_s: float) -> dict[str, Any]:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=timeout_s)
    except subprocess.TimeoutExpired:
        raise PeerError(f"no result within {timeout_s:.0f} s: {' '.join(command)}") from None
    if done.returncode:
        raise PeerError(f"{' '.join(command)}\nended with {done.returncode}:\n{_cause(done.stderr)}")
    line: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return line


def _cause(stderr: str) -> str:
    """What a Java trace names as its causes, or else the last lines."""
    lines = [line for line in stderr.splitlines() if line.startswith(("Exception", "Caused by"))]
    return "\n".join(lines) or _tail(stderr)


def _tail(text: str, lines: int = 20) -> str:
    return "\n".join(text.strip().splitlines()[-lines:])


PEERS = {
    "flink": Peer(
        works=(*FIVE, "decode"),
        options=("--matches", "--kafka", "--topic"),
        build=_build_java,
        command=_java("FlinkPeer", *_OPENS, *_HEAP),
    ),
    "esper": Peer(
        works=(*FIVE, "thousand_patterns"),
        options=("--passes", "--form"),
        build=_build_java,
        command=_java("EsperPeer", *_HEAP),
    ),
    "c": Peer(
        works=tuple(work for work in FIVE if work != "card_testing"),
        options=("--passes",),
        build=_build_c,
        command=_loop,
    ),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Print the peer's line; 1 when it could not be had."""
    parser = argparse.ArgumentParser(prog="python -m bench.peers.run", description=__doc__.splitlines()[0])
    parser.add_argument("peer", choices=PEERS)
    parser.add_argument("work")
    parser.add_argument("--events", type=int)
    parser.add_argument("--passes", type=int, help="esper, c: passes in one process")
    parser.add_argument("--form", choices=("mr", "mrf", "mrf2"), help="esper: the statement's form; default the best")
    parser.add_argument("--matches", type=Path, help="flink: write every match's event indexes to this file")
    parser.add_argument("--kafka", metavar="BOOTSTRAP", help="flink: read JSON from this broker instead of columns")
    parser.add_argument("--topic", default="transactions")
    parser.add_argument("--timeout", type=float, default=900.0, metavar="SECONDS")
    chosen = parser.parse_args(argv)
    try:
        line = run_peer(
            chosen.peer,
            chosen.work,
            events=chosen.events,
            passes=chosen.passes,
            form=chosen.form,
            matches=chosen.matches,
            kafka=Kafka(chosen.kafka, chosen.topic) if chosen.kafka else None,
            timeout_s=chosen.timeout,
        )
    except PeerError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(json.dumps(line))
    return 0


if __name__ == "__main__":
    sys.exit(main())
