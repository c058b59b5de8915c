"""Thousands of events at once: what only large batches use (memory asked for ahead, loops for one plan, sweeps) changes
no match.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from cep.automaton.plan import Plan, compile_pattern, layout_of
from cep.language.document import read_pattern
from cep.matcher import records as c
from cep.matcher.matcher import Matcher, Matches
from cep.matcher.tables import Mode
from events.columns import I64, Batch, StringTable
from events.schema import read_stream
from tests.conformance.kernel import NoRecords

EVENTS, KEYS = 4_000, 60
SECOND_US = 1_000_000

STREAM = read_stream(
    """
stream: transactions
event_time: {field: at, format: epoch_ms}
key: [card]
fields: {card: string, number: int64, at: instant, kind: int64, amount: float64}
""",
    "transactions.yaml",
)

STEPS: dict[str, list[dict[str, Any]]] = {
    "sparse": [{"where": "kind = 1"}, {"contiguity": "followed_by", "where": "kind = 2"}],
    "dense": [
        {"where": "amount > 2"},
        {"contiguity": "next", "where": "amount > s0.amount"},
        {"contiguity": "next", "where": "amount > s1.amount"},
    ],
    "rare": [{"where": "amount > 7"}, {"contiguity": "next", "where": "amount > s0.amount - 3"}],
    "strict": [
        {"where": "amount > 1"},
        {"contiguity": "next", "where": "amount + s0.amount > 6", "times": 2, "consecutive": True},
        {"contiguity": "next", "where": "kind <> s0.kind or amount > 1.5 * avg(s0.amount)"},
        {"contiguity": "next", "where": "number * count(s2.amount) >= 0 and kind < s2.kind + s0.kind"},
    ],
    "rising": [
        {"where": "count(s0.amount) = 0 or amount > last(s0.amount)", "times": {"at_least": 2, "at_most": 3}},
        {"contiguity": "followed_by", "where": "kind < 2"},
    ],
    "probes": [
        {"where": "amount < 4", "times": {"at_least": 2}, "greedy": True},
        {"contiguity": "followed_by", "where": "amount > 2 * avg(s0.amount)"},
    ],
    "branching": [
        {"where": "kind in (1, 3)"},
        {"contiguity": "followed_by_any", "where": "kind = 2", "optional": True},
        {"contiguity": "followed_by", "where": "kind = 0 and amount > 5"},
    ],
}


def plan(name: str, key: str, timeouts: bool = False, skip: Any = "past_last_event") -> Plan:
    """One of the patterns above, of cards or of numbers."""
    steps = [{"name": f"s{place}", **step} for place, step in enumerate(STEPS[name])]
    document = {"name": f"{name}-{key}", "stream": "transactions", "key": [key], "within": "40s", "timeouts": timeouts}
    document |= {"skip": skip if name != "branching" else "no_skip", "steps": steps}
    return compile_pattern(read_pattern(document, {STREAM.name: STREAM}, name))


def batch(seed: int, plans: Sequence[Plan], strings: StringTable, keys: int = KEYS) -> Batch:
    """So many events, a few in a second, some keys far more frequent than others, some of them NULL."""
    rng = np.random.default_rng(seed)
    key = (keys * rng.random(EVENTS) ** 2).astype(np.int64)
    codes = np.array([strings.code(f"card-{number}") for number in range(keys)])
    columns: dict[str, I64] = {
        "card": codes[key],
        "number": key * 1_000_003,
        "kind": rng.integers(0, 8, EVENTS),
        "amount": np.round(rng.random(EVENTS) * 10, 1).view(np.int64),
    }
    layout = layout_of((STREAM,), plans)
    values = np.stack([columns[column.name] for column in layout.columns])
    nulls = np.zeros(values.shape, np.uint8)
    missing = rng.random(EVENTS) < 0.01
    for row, column in enumerate(layout.columns):
        if column.name in ("card", "number"):
            nulls[row] = missing
            values[row, missing] = 0
    at_us = np.cumsum(rng.integers(0, SECOND_US // 2, EVENTS))
    return Batch(layout, np.zeros(EVENTS, np.int16), at_us, at_us, values, nulls, NoRecords())


def on_trails(plans: Sequence[Plan], strings: StringTable) -> bool:
    """Is the first plan a strict sequence to the kernels?"""
    matcher = Matcher()
    matcher.use(plans, layout_of((STREAM,), plans), strings.code)
    return bool(matcher.tables.plans["strict"][0])


def part(whole: Batch, first: int, last: int) -> Batch:
    """The rows [first, last)."""
    cut = slice(first, last)
    values, nulls = np.ascontiguousarray(whole.values[:, cut]), np.ascontiguousarray(whole.nulls[:, cut])
    return Batch(
        whole.layout, whole.stream[cut], whole.at_us[cut], whole.event_at_us[cut], values, nulls, whole.records
    )


Match = tuple[int, tuple[tuple[int, int], ...]]


def told(matches: Matches) -> list[Match]:
    """Each match of a plan with its (step, event)s; time-outs left out."""
    rows = []
    for row in range(len(matches)):
        cut = slice(matches.offsets[row], matches.offsets[row + 1])
        taken = zip(matches.steps[cut].tolist(), matches.sequences[cut].tolist(), strict=True)
        if matches.kind[row] == c.KIND_MATCH:
            rows.append((int(matches.plan[row]), tuple(taken)))
    return rows


def found(plans: Sequence[Plan], whole: Batch, strings: StringTable, rows: int, tidy: bool = False) -> list[Match]:
    """The matches in batches of `rows`; tidy: everything that frees memory runs between two of them."""
    matcher = Matcher()
    matcher.use(plans, whole.layout, strings.code)
    matches = []
    for first in range(0, EVENTS, rows):
        matches += told(matcher.process(part(whole, first, first + rows)))
        if tidy:
            state = matcher.state
            state.collect(0, matcher.tables, matcher.now_us)
            state.counters[c.LOOK_AGAIN] = 0
            state.compact_keys(matcher.tables, matcher.now_us)
    return matches


@pytest.mark.parametrize("key", ["card", "number"])
@pytest.mark.parametrize("names", [*([name] for name in STEPS), ["sparse", "branching"], list(STEPS)])
def test_a_large_batch_is_as_many_small_ones(names: list[str], key: str) -> None:
    """In the same order too, whatever was freed meanwhile."""
    plans, strings = [plan(name, key) for name in names], StringTable()
    whole = batch(len(names), plans, strings)
    expected = found(plans, whole, strings, 7)
    assert len(expected) > 20 * len(names)
    assert found(plans, whole, strings, EVENTS) == expected
    assert found(plans, whole, strings, 50, tidy=True) == expected


def test_a_busy_loop_forgets_what_others_have_changed() -> None:
    """A strict sequence that is busy now and then, its trails freed in between: the loops for either take turns."""
    plans, strings = [plan("rare", "card")], StringTable()
    whole = batch(12, plans, strings)
    matcher, matches, known = Matcher(), [], set()
    matcher.use(plans, whole.layout, strings.code)
    for first in range(0, EVENTS, 3):
        matches += told(matcher.process(part(whole, first, first + 3)))
        known.add(int(matcher.state.counters[c.TRAILS_KNOWN]))
        if first % 300 == 0:
            matcher.busy()
    assert matches == found(plans, whole, strings, EVENTS)
    assert known == {0, 1}


def test_patterns_do_not_see_each_other() -> None:
    """All in one matcher, of two kinds of keys, find what each finds alone."""
    plans = [plan(name, key) for name in STEPS for key in ("card", "number")]
    strings = StringTable()
    whole = batch(3, plans, strings)
    together = found(plans, whole, strings, EVENTS)
    for number, one in enumerate(plans):
        alone = [taken for _, taken in found([one], whole, strings, EVENTS)]
        assert [taken for place, taken in together if place == number] == alone


def test_many_patterns_over_many_keys() -> None:
    """The table of cells has a place for every key and pattern, once that takes no more than to hash them."""
    plans, strings = [plan("probes", "card") for _ in range(24)], StringTable()
    whole = batch(9, plans, strings, keys=2_500)
    matcher = Matcher()
    matcher.use(plans, whole.layout, strings.code)
    together: list[Match] = []
    for first in range(0, EVENTS, 500):
        together += told(matcher.process(part(whole, first, first + 500)))
    assert matcher.state.counters[c.INDEX_WIDTH] == len(plans)
    alone = [taken for _, taken in found([plans[0]], whole, strings, EVENTS)]
    assert alone
    for number in range(len(plans)):
        assert [taken for place, taken in together if place == number] == alone


def test_keys_that_come_in_the_same_batch_have_room() -> None:
    """Of many new keys each first begins and then completes: as many matches, all of them told."""
    one, keys, strings = plan("dense", "card"), 12_000, StringTable()
    whole = batch(10, [one], strings)
    rows = np.arange(3 * keys)
    codes = np.array([strings.code(f"new-{number}") for number in range(keys)])
    columns = {"card": codes[rows % keys], "amount": (3.0 + rows // keys).view(np.int64)}
    values = np.stack([columns[column.name] for column in whole.layout.columns])
    at_us = np.sort(rows % 1_000)
    large = Batch(
        whole.layout, np.zeros(len(rows), np.int16), at_us, at_us, values, np.zeros(values.shape, np.uint8), NoRecords()
    )
    matcher = Matcher()
    matcher.use([one], large.layout, strings.code)
    assert len(told(matcher.process(large))) == keys


@pytest.mark.parametrize(("fast", "slow"), [("amount > avg(s0.kind)", "amount + 0 > avg(s0.kind)")])
def test_a_short_way_to_compare_compares_the_same(fast: str, slow: str) -> None:
    """What is compared without a program: a float64 with an average of whole numbers is none of it."""
    strings, answers = StringTable(), []
    for where in (fast, slow):
        steps = [{"name": "s0", "where": "kind > 3"}, {"name": "s1", "contiguity": "followed_by", "where": where}]
        document = {"name": "short", "stream": STREAM.name, "key": ["card"], "within": "10s", "steps": steps}
        plans = [compile_pattern(read_pattern(document, {STREAM.name: STREAM}, "short"))]
        answers.append(found(plans, batch(11, plans, strings), strings, EVENTS))
    assert answers[0] == answers[1] != []


@pytest.mark.parametrize("skip", ["no_skip", "to_next", "past_last_event", {"to_first": "s1"}, {"to_last": "s1"}])
@pytest.mark.parametrize("name", STEPS)
def test_a_partial_that_ends_unseen_is_gone_all_the_same(name: str, skip: Any) -> None:
    """Where time-outs are an output a window ends at its instant, else when it is met; a strict sequence has
    a trail instead of partials. The matches are the same.
    """
    plans, strings = [[plan(name, "card", timeouts, skip)] for timeouts in (False, True)], StringTable()
    assert [on_trails(one, strings) for one in plans] == [name in ("dense", "rare", "strict"), False]
    quiet, loud = (found(one, batch(4, one, strings), strings, EVENTS) for one in plans)
    assert Counter(quiet) == Counter(loud)
    assert quiet


@pytest.mark.parametrize("name", STEPS)
def test_other_patterns_come_and_go(name: str) -> None:
    """Whichever loop the events before went through, a pattern finds what it finds alone."""
    first, other, strings = plan(name, "card"), plan("dense", "number"), StringTable()
    whole = batch(7, [first, other], strings)
    matcher = Matcher()
    matches: list[Match] = []
    for turn, rows in enumerate(range(0, EVENTS, 250)):
        matcher.use([first, other if turn % 2 else None], whole.layout, strings.code)
        matches += [match for match in told(matcher.process(part(whole, rows, rows + 250))) if match[0] == 0]
    assert matches == found([first], whole, strings, EVENTS)


@pytest.mark.parametrize("beside", [False, True])
@pytest.mark.parametrize("name", STEPS)
def test_a_pause_is_as_if_nothing_had_come(name: str, beside: bool) -> None:
    """A pattern that is paused takes nothing, ends nothing, and goes on as it was. Windows are long enough."""
    steps = [{"name": f"s{place}", **step} for place, step in enumerate(STEPS[name])]
    head = {"name": "long", "stream": STREAM.name, "key": ["card"], "within": "1d", "skip": "no_skip"}
    first = compile_pattern(read_pattern({**head, "steps": steps}, {STREAM.name: STREAM}, name))
    plans, strings = [first, *([plan("dense", "card")] if beside else [])], StringTable()
    whole = batch(8, plans, strings)
    turns = [(rows, rows + 100) for rows in range(0, 1_000, 100)]
    paused, whole_time = Matcher(), Matcher()
    whole_time.use([first], whole.layout, strings.code)
    matches, expected = [], []
    for turn, (start, end) in enumerate(turns):
        modes = [Mode.PAUSED if turn % 2 else Mode.LIVE, *([Mode.LIVE] if beside else [])]
        paused.use(plans, whole.layout, strings.code, modes)
        matches += [match for match in told(paused.process(part(whole, start, end))) if match[0] == 0]
        if not turn % 2:
            whole_time.sequence = start
            expected += told(whole_time.process(part(whole, start, end)))
    assert matches == expected
    assert matches


def test_a_matcher_that_forgets_begins_anew() -> None:
    plans, strings = [plan(name, "card") for name in STEPS], StringTable()
    whole = batch(5, plans, strings)
    matcher = Matcher()
    matcher.use(plans, whole.layout, strings.code)
    first = told(matcher.process(whole))
    matcher.forget()
    assert told(matcher.process(whole)) == first
    assert matcher.busy()
    matcher.advance(int(whole.at_us[-1]) + 60 * SECOND_US)
    assert matcher.busy() == set()


@pytest.mark.parametrize("asked", [True, False])
def test_a_place_that_is_used_again_begins_empty(asked: bool) -> None:
    """One plan after the other in one place, of another kind of key, wider and narrower: discarded or replaced."""
    strings = StringTable()
    turns = [("sparse", "card"), ("dense", "card"), ("probes", "number"), ("dense", "number"), ("sparse", "card")]
    plans = [plan(name, key) for name, key in turns]
    whole = batch(6, plans, strings)
    matcher = Matcher()
    for number, one in enumerate(plans):
        matcher.use([one], whole.layout, strings.code)
        span = range(number * EVENTS // len(plans), (number + 1) * EVENTS // len(plans))
        found_here = [taken for _, taken in told(matcher.process(part(whole, span.start, span.stop)))]
        fresh = Matcher()
        fresh.use([one], whole.layout, strings.code)
        fresh.sequence = span.start
        assert found_here == [taken for _, taken in told(fresh.process(part(whole, span.start, span.stop)))]
        assert found_here
        if asked:
            matcher.discard(0)
            assert matcher.busy() == set()
