"""The simulated card stream: repeatable, honest about what it planted, and findable by the shipped patterns."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

import msgspec
import numpy as np
import pytest

from cep.cli.documents import EXAMPLES, load_patterns, load_streams
from cep.control import Activate, PatternVersion
from cep.language.document import dump_pattern
from cep.pipeline import LaneState, process
from cep.simulate import THIEVES, Simulated, record, simulate, take
from events.columns import Batch
from events.decode import Decoder, RawRecords


def some(count: int, careful: float = 0.0) -> list[Simulated]:
    return list(take(simulate(5, rate=20.0, flow_every_s=10.0, careful=careful), count))


@pytest.fixture(scope="module")
def played() -> list[Simulated]:
    return some(20_000)


def test_the_same_seed_gives_the_same_bytes() -> None:
    assert [record(one.payment) for one in some(500)] == [record(one.payment) for one in some(500)]


def test_payments_come_in_order_of_time_and_each_with_an_id_of_its_own(played: list[Simulated]) -> None:
    instants = [one.payment.at for one in played]
    assert instants == sorted(instants)
    assert len({one.payment.transaction_id for one in played}) == len(played)


def test_a_record_never_tells_that_it_is_fraud(played: list[Simulated]) -> None:
    stream = load_streams([EXAMPLES / "streams"])[0]
    assert {name for one in played for name in msgspec.to_builtins(one.payment)} == {
        each.name for each in stream.fields
    }


def test_every_kind_of_flow_is_planted(played: list[Simulated]) -> None:
    assert {one.planted.pattern for one in played if one.planted} == set(THIEVES)


def test_each_shipped_pattern_has_a_flow_that_it_should_find() -> None:
    assert {file.stem for file in (EXAMPLES / "patterns").glob("*.yaml")} == set(THIEVES)


def test_the_shipped_patterns_find_every_flow_that_does_not_hide(played: list[Simulated]) -> None:
    truth = {one.payment.transaction_id: one.planted for one in played if one.planted}
    caught = {(truth[event].flow, pattern) for pattern, events in alerts(played) for event in events if event in truth}
    ended = {(planted.flow, planted.pattern) for planted in truth.values() if planted.ends}
    assert ended - caught == set()


def test_the_shipped_patterns_miss_every_flow_that_hides() -> None:
    hiding = some(20_000, careful=1.0)
    truth = {one.payment.transaction_id: one.planted for one in hiding if one.planted}
    found = [(truth[events[0]].pattern, pattern) for pattern, events in alerts(hiding) if truth.keys() >= set(events)]
    assert [pattern for planted, pattern in found if planted == pattern] == []


def alerts(payments: list[Simulated]) -> Iterator[tuple[str, list[str]]]:
    """(pattern, event ids) of every alert, through the whole line from JSON on."""
    streams = load_streams([EXAMPLES / "streams"])
    state = LaneState(streams)
    for _, pattern in load_patterns([EXAMPLES / "patterns"], {stream.name: stream for stream in streams}):
        state.apply([PatternVersion(pattern.name, 1, dump_pattern(pattern)), Activate(pattern.name, 1)])
    decoder = Decoder(streams[0], state.layout, state.strings)
    left = iter(payments)
    while part := list(islice(left, 2048)):
        raw = [record(one.payment) for one in part]
        decoded = decoder.decode(raw)
        assert decoded.rejected == []
        at_us = decoded.event_at_us
        none = np.zeros(len(raw), np.int64)
        records = RawRecords(raw, decoded.ids, [("transactions", 0)], none, none)
        batch = Batch(state.layout, none.astype(np.int16), at_us, at_us, decoded.values, decoded.nulls, records)
        for alert in process(batch, state).alerts:
            yield alert.pattern, [event.event_id for event in alert.events]
