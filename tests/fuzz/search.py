"""Processes that go through random cases, and what they print of one on which the answers differ."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterable, MutableSequence, Sequence
from dataclasses import dataclass
from multiprocessing import get_context

from tests.fuzz.case import Case, random_case, text_of
from tests.fuzz.compare import ask
from tests.fuzz.shrink import smallest

SECONDS_MAX = 60
"""One case. It takes a hundredth of a second."""

SAY_EVERY_S = 15
SEED, CASES, REFUSED, SHORTENED, FOUND, WITH_SOME, DISAGREED, SEEDS = range(8)
"""What a process says of itself: the seed at hand, counts, and from SEEDS on the seeds on which answers differ."""


def show(seed: int) -> int:
    """One case: agreed, or made small and printed."""
    case = random_case(seed)
    if not disagreed(case):
        print(text_of(case))
        print(f"case {seed}: no disagreement")
        return 0
    print_disagreement(seed, case)
    return 1


def disagreed(case: Case) -> bool:
    """Do reference and kernel answer differently?"""
    return ask(case).disagreement is not None


def print_disagreement(seed: int, case: Case) -> None:
    """The smallest case, both answers, the command."""
    small = smallest(case, disagreed)
    print(f"case {seed}, made small:\n")
    print(text_of(small))
    print(f"\nanswers differ: {ask(small).disagreement}")
    print(f"\nagain: python -m tests.fuzz --case {seed}")


@dataclass(frozen=True, slots=True)
class Share:
    """What one process does: every `step`th seed from `first`, until so many cases are done or disagreements found."""

    first: int
    step: int
    cases: int
    disagreements: int


def work(share: Share, counts: MutableSequence[int]) -> None:
    """One process. A case that does not end ends the process: SIGALRM stops compiled code too."""
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    counts[SEED] = share.first
    while counts[CASES] < share.cases and counts[DISAGREED] < share.disagreements:
        signal.alarm(SECONDS_MAX)
        outcome = ask(random_case(counts[SEED]))
        if outcome.disagreement:
            counts[SEEDS + counts[DISAGREED]] = counts[SEED]
            counts[DISAGREED] += 1
        counts[CASES] += not outcome.refused
        counts[REFUSED] += outcome.refused
        counts[SHORTENED] += outcome.shortened
        counts[FOUND] += outcome.found
        counts[WITH_SOME] += outcome.found > 0
        counts[SEED] += share.step


def search(first: int, cases: int, jobs: int, disagreements: int = 1) -> int:
    """All processes; prints how far they are."""
    print(f"seeds from {first}, {jobs} processes", flush=True)
    started, said = time.monotonic(), 0.0
    context = get_context("spawn")
    shares = [
        Share(first + number, jobs, cases // jobs + (number < cases % jobs), disagreements) for number in range(jobs)
    ]
    says = [context.RawArray("q", SEEDS + disagreements) for _ in shares]
    processes = [context.Process(target=work, args=pair) for pair in zip(shares, says, strict=True)]
    for process in processes:
        process.start()
    while any(process.is_alive() for process in processes):
        if any(one[DISAGREED] == disagreements for one in says) or any(process.exitcode for process in processes):
            break
        time.sleep(0.1)
        if time.monotonic() - started - said > SAY_EVERY_S:
            said = time.monotonic() - started
            print(progress(says, said), flush=True)
    for process in processes:
        process.terminate()
        process.join()
    print(progress(says, time.monotonic() - started), flush=True)
    return verdict(says, [process.exitcode or 0 for process in processes])


def progress(says: Iterable[Sequence[int]], seconds: float) -> str:
    """One line."""
    total = [sum(counts) for counts in zip(*(one[:SEEDS] for one in says), strict=True)]
    return (
        f"{total[CASES]:,} cases in {seconds:.0f} s ({total[CASES] / seconds:.0f}/s), {total[WITH_SOME]:,} of them with"
        f" {total[FOUND]:,} matches and time-outs; {total[SHORTENED]:,} shortened; {total[REFUSED]:,} patterns refused"
    )


def verdict(says: Sequence[Sequence[int]], codes: Sequence[int]) -> int:
    """Print the cases on which answers differ, and those that ended their process."""
    wrong = sorted(seed for counts in says for seed in counts[SEEDS : SEEDS + counts[DISAGREED]])
    for seed in wrong:
        print()
        print_disagreement(seed, random_case(seed))
    dead = [(counts[SEED], code) for counts, code in zip(says, codes, strict=True) if code not in (0, -signal.SIGTERM)]
    for seed, code in dead:
        why = f"did not end within {SECONDS_MAX} s" if code == -signal.SIGALRM else f"ended its process with {code}"
        print(f"{text_of(random_case(seed))}\n\ncase {seed} {why}\nagain: python -m tests.fuzz --case {seed}")
    print(f"{len(wrong)} disagreements" if wrong else "no disagreement")
    return 1 if wrong or dead else 0
