"""The works mean the same on every engine: the same events give the same number of matches."""

from __future__ import annotations

import numpy as np
import pytest

from bench import engine
from bench.data import FLINK_MATCHES, Columns, StepPattern, thousand_ndjson, thousand_patterns, transactions
from bench.peers.run import PEERS, PeerError, run_peer
from bench.works import THOUSAND

EVENTS = 20_000
HOLDS = {"<": np.less, ">": np.greater, "=": np.equal}


def events_of(work: str) -> Columns:
    return thousand_patterns(EVENTS)[0] if work == THOUSAND else transactions(EVENTS)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("peer", "work"), [(peer, work) for peer in ("esper", "c") for work in FLINK_MATCHES if work in PEERS[peer].works]
)
def test_a_peer_counts_as_many_matches_as_we_do(peer: str, work: str) -> None:
    """The first call builds the peer, with its jars from Maven; one that can't be had is a failure."""
    ours = engine.from_columns(work, events_of(work), passes=1)[0]
    try:
        line = run_peer(peer, work, events=EVENTS, passes=1)
    except PeerError as error:
        pytest.fail(str(error), pytrace=False)
    assert (line["work"], line["events"]) == (work, EVENTS)
    assert line["matches"] == ours > 0


def test_a_thousand_patterns_count_as_by_hand() -> None:
    """Partials of one card and pattern, as one would explain them."""
    columns, patterns = thousand_patterns(EVENTS)
    by_hand = sum(counted(pattern, columns) for pattern in patterns)
    assert engine.from_columns(THOUSAND, columns, passes=1)[0] == by_hand > 0


def counted(pattern: StepPattern, columns: Columns) -> int:
    """Matches of one pattern: a match takes all partials of its card with it."""
    holds = np.stack([HOLDS[step.op](columns[step.field], step.constant) for step in pattern.steps])
    partials: dict[int, list[tuple[int, int]]] = {}  # card → (instant of the start, step that it waits for)
    matches = 0
    for event in np.flatnonzero(holds.any(axis=0)).tolist():
        card, now = int(columns["card"][event]), int(columns["ts"][event])
        live = [(start, step) for start, step in partials.get(card, []) if now - start < pattern.within_ms]
        live = [(start, step + int(holds[step, event])) for start, step in live]
        if any(step == len(pattern.steps) for _, step in live):
            matches += 1
            live = []
        elif holds[0, event]:
            live.append((now, 1))
        partials[card] = live
    return matches


def test_a_thousand_patterns_count_the_same_from_json_and_from_columns() -> None:
    """Every number of a record reads back as it was drawn."""
    columns = events_of(THOUSAND)
    from_columns = engine.from_columns(THOUSAND, columns, passes=1)[0]
    assert engine.from_json(THOUSAND, thousand_ndjson(columns))[0] == from_columns > 0


def test_each_condition_of_the_thousand_holds_for_a_thousandth_to_a_hundredth_of_the_events() -> None:
    """So the work says; a quarter is left to chance, in 20,000 events."""
    columns, patterns = thousand_patterns(EVENTS)
    steps = [step for pattern in patterns for step in pattern.steps]
    shares = np.array([HOLDS[step.op](columns[step.field], step.constant).mean() for step in steps])
    assert len(patterns) == 1_000
    assert {len(pattern.steps) for pattern in patterns} == {2, 3, 4}
    assert {step.field for step in steps} == {f"f{i}" for i in range(10)}
    assert shares.min() > 0.0005
    assert shares.max() < 0.0125
