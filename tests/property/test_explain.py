"""The interpreter that explains runs: on random patterns and streams it finds what the kernel finds.

FUZZ_EXAMPLES sets how many patterns; a failure names its seed.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from random import Random

import pytest

from cep.automaton.plan import compile_pattern
from cep.explain import Run, Seen, Why, explain_run
from cep.language.check import check
from cep.language.pattern import Emit, Pattern, Skip, flatten
from cep.matcher.matcher import NEVER_US, Matcher
from events.columns import StringTable
from tests.conformance.cases import STREAMS
from tests.conformance.generate import random_pattern, random_stream
from tests.conformance.kernel import KEY, LAYOUT, batch_of, read
from tests.reference import Event, Match

EXAMPLES = int(os.environ.get("FUZZ_EXAMPLES", "200"))
CHUNKS = 5
SAMPLES = 6


def explained(pattern: Pattern, events: Sequence[Event]) -> Run:
    seen = [Seen(event.id, event.at_us, event.fields, STREAMS[0]) for event in events]
    return explain_run(compile_pattern(pattern), seen)


def in_order(run: Run) -> tuple[list[Match], list[Match]]:
    """Matches and time-outs as the kernel's are read."""
    names = [step.name for step in flatten(run.plan.pattern.steps)]
    answer: tuple[list[Match], list[Match]] = ([], [])
    for found in run.found:
        taken = {name: tuple(number for step, number in found.taken if step == name) for name in names}
        answer[found.kind == "timeout"].append(tuple((name, ids) for name, ids in taken.items() if ids))
    return answer


def by_kernel(pattern: Pattern, events: Sequence[Event]) -> tuple[tuple[list[Match], list[Match]], Matcher]:
    strings, matcher = StringTable(), Matcher()
    matcher.use([compile_pattern(pattern)], LAYOUT, strings.code)
    names = [step.name for step in flatten(pattern.steps)]
    found: tuple[list[Match], list[Match]] = ([], [])
    for matches in (matcher.process(batch_of([(0, event) for event in events], strings)), matcher.advance(NEVER_US)):
        for kind, answers in enumerate(read(matches, names, events)):
            found[kind].extend(answers)
    return found, matcher


@pytest.mark.parametrize("chunk", range(CHUNKS))
def test_what_is_explained_is_what_the_kernel_does(chunk: int) -> None:
    """Matches and time-outs, in their order where a strategy gives them one; and every partial has one end."""
    ends: Counter[Why] = Counter()
    for seed in range(chunk, EXAMPLES, CHUNKS):
        rng = Random(seed)
        pattern = random_pattern(rng, wide=seed % 2 == 1)
        emit = rng.choice(list(Emit))
        pattern = replace(pattern, streams=(STREAMS[0],), key=(KEY,), timeouts=True, emit=emit)
        if check(pattern, "flink"):
            continue
        for nth in range(SAMPLES):
            events = random_stream(rng)
            run = explained(pattern, events)
            ours, (theirs, matcher) = in_order(run), by_kernel(pattern, events)
            where = f"seed {seed}, stream {nth}"
            for mine, kernels in zip(ours, theirs, strict=True):
                assert Counter(mine) == Counter(kernels), where
            if pattern.skip is not Skip.NO_SKIP:
                assert ours[0] == theirs[0], where
            numbers = [end.partial for end in run.ends]
            assert sorted(numbers) == list(range(1, len(numbers) + 1)), where
            assert {turn.partial for turn in run.turns} - {0} <= set(numbers), where
            still = sum(end.why is Why.OPEN for end in run.ends)
            assert still == int(matcher.state.cells["count"][: matcher.state.counters[0]].sum()), where
            ends.update(end.why for end in run.ends)
    assert len(ends) == len(Why) or EXAMPLES < 200, ends
