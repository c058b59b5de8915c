"""Random cases until enough are done: `python -m tests.fuzz [--cases N] [--first SEED] [--jobs N]`, `--case SEED`.

The case of a seed is the same everywhere; without `--first` the seeds begin at a new place. At the first case on which
reference and kernel disagree (with `--disagreements N` the Nth of one process), or that does not end in time, all
stops: the cases are made small and printed, each with the command that repeats it. Exit 1 then.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from random import SystemRandom

from tests.fuzz.search import search, show


def main(arguments: Sequence[str] | None = None) -> int:
    """Run, print, and return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--cases", type=int, default=100_000, help="so many accepted patterns, each with its events")
    parser.add_argument("--first", type=int, metavar="SEED", help="the first seed (default: a new one)")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="processes")
    parser.add_argument(
        "--disagreements", type=int, default=1, metavar="N", help="a process stops at its Nth (default: 1)"
    )
    parser.add_argument("--case", type=int, metavar="SEED", help="this one case only")
    options = parser.parse_args(arguments)
    if options.case is not None:
        return show(options.case)
    first = SystemRandom().randrange(1 << 40) if options.first is None else options.first
    return search(first, options.cases, options.jobs, options.disagreements)


if __name__ == "__main__":
    sys.exit(main())
