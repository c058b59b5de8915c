"""Asks Flink CEP itself about new random patterns, and then us: `python -m tests.conformance.ask [--cases N]`.

Needs Java 17 and Maven, as the peers of `make bench` do. Patterns on which Flink fails or gives no answer in time are
said and left out; ours is asked about all others as `python -m tests.conformance FILE` does. The case of a seed is the
same everywhere.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures import TimeoutError as OutOfTime
from pathlib import Path
from random import SystemRandom
from types import TracebackType

from bench.peers.run import PeerError, question
from tests.conformance.__main__ import main as judge
from tests.conformance.cases import Json
from tests.conformance.generate import random_case

TOGETHER = 25
"""Cases of one job: starting one takes longer than a case."""
SECONDS = 10.0
"""For such a job, the start of Java included; one that takes longer never ends."""


class Flink:
    """A process that answers lines of cases, begun anew where it gave no answer in time."""

    def __init__(self, command: Callable[[], list[str]], seconds: float = SECONDS) -> None:
        self._command, self._seconds = command, seconds
        self._process: subprocess.Popen[str] | None = None
        self._reader = ThreadPoolExecutor(1)

    def __enter__(self) -> Flink:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._end()
        self._reader.shutdown()

    def answers(self, cases: Sequence[Json]) -> list[Json]:
        """The cases with Flink's answers, without those on which it fails or never ends, which are told on stderr."""
        answered = self._ask(cases)
        if isinstance(answered, list):
            return [{**case, **answer} for case, answer in zip(cases, answered, strict=True)]
        if len(cases) > 1:
            half = len(cases) // 2
            return self.answers(cases[:half]) + self.answers(cases[half:])
        print(f"case {cases[0]['id']} is left out: Flink {answered}", file=sys.stderr, flush=True)
        return []

    def _ask(self, cases: Sequence[Json]) -> list[Json] | str:
        """An answer for each, or what is wrong with one of them; then the process is none to go on with."""
        if self._process is None:
            pipe = subprocess.PIPE
            self._process = subprocess.Popen(self._command(), stdin=pipe, stdout=pipe, text=True)
        process = self._process
        assert process.stdin is not None, "a pipe"
        assert process.stdout is not None, "a pipe"
        try:
            process.stdin.write(json.dumps(cases) + "\n")
            process.stdin.flush()
            line = self._reader.submit(process.stdout.readline).result(self._seconds)
        except OutOfTime:
            self._end()
            return f"gives no answer within {self._seconds:.0f} s"
        except BrokenPipeError:
            line = ""
        answered: list[Json] | Json | None = json.loads(line) if line else None
        if isinstance(answered, list):
            return answered
        self._end()
        return f"fails: {answered['failed']}" if answered else f"ends with {process.returncode}"

    def _end(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
            self._process = None


def main(arguments: Sequence[str] | None = None) -> int:
    """Ask, judge, and return the exit code: 1 too where Flink can't be asked, or has answered nothing."""
    parser = argparse.ArgumentParser(prog="python -m tests.conformance.ask", description="Do we answer as Flink does?")
    parser.add_argument("--cases", type=int, default=1000, help="so many patterns, each over twelve streams")
    parser.add_argument("--first", type=int, metavar="SEED", help="the first seed (default: a new one)")
    parser.add_argument("--wide", action="store_true", help="with groups in groups, and groups with until")
    options = parser.parse_args(arguments)
    first = SystemRandom().randrange(1 << 40) if options.first is None else options.first
    print(f"asking Flink about {options.cases} patterns from seed {first}", file=sys.stderr, flush=True)
    with tempfile.TemporaryDirectory(prefix="stakeout-ask-") as folder:
        file = Path(folder) / "asked.jsonl"
        try:
            answered = ask(range(first, first + options.cases), options.wide, file)
        except PeerError as error:
            print(f"error: {error}", file=sys.stderr)
            return 1
        return max(judge([str(file)]), int(not answered))


def ask(seeds: range, wide: bool, file: Path) -> int:
    """Writes the cases that Flink answers, and says how many. Raises PeerError where there is no Flink to ask."""
    answered = 0
    with file.open("w") as lines, Flink(question) as flink:
        for begin in range(0, len(seeds), TOGETHER):
            for case in flink.answers([random_case(seed, wide) for seed in seeds[begin : begin + TOGETHER]]):
                lines.write(json.dumps(case) + "\n")
                answered += 1
    return answered


if __name__ == "__main__":
    sys.exit(main())
