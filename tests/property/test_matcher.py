"""The kernel on random patterns and streams: equal to the reference, and indifferent to how its input is cut.

FUZZ_EXAMPLES sets how many patterns; a failure names its seed.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from random import Random

import pytest

from cep.language.check import Dialect, check
from cep.language.pattern import Pattern
from cep.matcher.matcher import NEVER_US
from events.columns import StringTable
from tests.conformance.cases import read_pattern
from tests.conformance.generate import random_document, random_permute, random_stream
from tests.conformance.kernel import batch_of, match, read, start_matcher, step_names
from tests.reference import Event, Match, Ties
from tests.reference import match as reference

EXAMPLES = int(os.environ.get("FUZZ_EXAMPLES", "200"))
CHUNKS = 10
Keyed = list[tuple[int, Event]]


def patterns(chunk: int, dialect: Dialect) -> Iterator[tuple[int, Pattern, Random]]:
    """Patterns that are accepted: seed, pattern, and what is left of the seed. Those with a `permute` are native."""
    for seed in range(chunk, EXAMPLES if dialect == "flink" else EXAMPLES // 2, CHUNKS):
        rng = Random(seed)
        pattern = random_permute(rng) if dialect == "native" else read_pattern(random_document(rng), f"seed_{seed}")
        if not check(pattern, dialect):
            yield seed, pattern, rng


CHUNKED = pytest.mark.parametrize(
    ("chunk", "dialect"), [(chunk, dialect) for dialect in ("flink", "native") for chunk in range(CHUNKS)]
)


@CHUNKED
def test_the_kernel_answers_as_the_reference_does(chunk: int, dialect: Dialect) -> None:
    """Matches and time-outs of every stream are the same multiset; without time-outs the matches stay the same."""
    for seed, pattern, rng in patterns(chunk, dialect):
        streams = {str(place): random_stream(rng) for place in range(6)}
        answers = match(pattern, streams, dialect)
        without = match(pattern, streams, dialect, timeouts=False)
        for key, events in streams.items():
            expected = reference(pattern, events, Ties.EARLIEST)
            for ours, theirs in zip(answers[key], expected, strict=True):
                assert Counter(ours) == Counter(theirs), f"seed {seed}, stream {key}"
            assert Counter(without[key][0]) == Counter(expected[0]), f"seed {seed}, stream {key}, without time-outs"


def interleaved(rng: Random, keys: int = 5) -> Keyed:
    """Several keys' streams merged by time; ids are made unique, so that a match names its key."""
    events = [
        (key, event._replace(id=1000 * key + event.id)) for key in range(keys) for event in random_stream(rng, 20)
    ]
    rng.shuffle(events)
    return sorted(events, key=lambda pair: pair[1].at_us)


def run(pattern: Pattern, events: Keyed, cuts: Sequence[int], copies: bool = False) -> Counter[tuple[int, Match]]:
    """Matches and time-outs of events given in batches; with `copies` the state is copied and loaded in between."""
    strings = StringTable()
    matcher = start_matcher(pattern, strings, jumps=False)
    names = step_names(matcher)
    flat = [event for _, event in events]
    found: Counter[tuple[int, Match]] = Counter()
    for first, last in zip([0, *cuts], [*cuts, len(events)], strict=True):
        matches = matcher.process(batch_of(events[first:last], strings))
        for kind, answers in enumerate(read(matches, names, flat)):
            found.update((kind, answer) for answer in answers)
        if copies:
            matcher.state = matcher.state.copy()
    for kind, answers in enumerate(read(matcher.advance(NEVER_US), names, flat)):
        found.update((kind, answer) for answer in answers)
    return found


@CHUNKED
def test_any_split_into_batches_gives_the_same(chunk: int, dialect: Dialect) -> None:
    """All at once, one by one, and cut at random; with the state copied in between as well."""
    for seed, pattern, rng in patterns(chunk, dialect):
        events = interleaved(rng)
        whole = run(pattern, events, [])
        cuts = sorted(rng.sample(range(1, len(events)), k=min(6, len(events) - 1)))
        assert run(pattern, events, cuts, copies=True) == whole, f"seed {seed}, cuts {cuts}"
        assert run(pattern, events, list(range(1, len(events)))) == whole, f"seed {seed}, one by one"


@CHUNKED
def test_keys_do_not_touch_one_another(chunk: int, dialect: Dialect) -> None:
    """What several keys give together is what they give alone."""
    for seed, pattern, rng in patterns(chunk, dialect):
        events = interleaved(rng)
        together = run(pattern, events, [])
        alone: Counter[tuple[int, Match]] = Counter()
        for key in {key for key, _ in events}:
            alone += run(pattern, [pair for pair in events if pair[0] == key], [])
        assert together == alone, f"seed {seed}"
