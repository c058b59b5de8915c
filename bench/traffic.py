"""Made-up traffic for one sequence of steps: how many keys, which share of events each step takes, how fast.

An event has a key and a kind. Step k of the pattern takes events of kind 10 k; an event of kind NOTHING lies between
two such kinds, so that no condition holds for it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from bench.engine import RECORDS, NoRecords, started
from cep.automaton.plan import Plan, compile_pattern, layout_of
from cep.language.document import read_pattern
from events.columns import I64, Batch, StringTable
from events.schema import read_stream

NOTHING = 15
START_US = 1_767_225_600_000_000
"""2026-01-01T00:00:00Z"""
HOUR_US = 3_600_000_000

STREAM = """
stream: transactions
event_time: {field: at, format: epoch_ms}
key: [card_id]
fields: {card_id: string, at: instant, kind: int64}
"""


def sequence(steps: int, within_us: int) -> Plan:
    """A sequence of so many steps, each followed by the next: skip past last event, as the works."""
    found = [{"name": f"s{step}", "where": f"kind = {10 * step}"} for step in range(1, steps + 1)]
    for step in found[1:]:
        step["contiguity"] = "followed_by"
    head = {"name": "sequence", "stream": "transactions", "key": ["card_id"], "within": f"{within_us}us"}
    stream = read_stream(STREAM, "traffic.yaml")
    return compile_pattern(
        read_pattern({**head, "skip": "past_last_event", "steps": found}, {stream.name: stream}, "sequence")
    )


class Traffic:
    """A matcher with one sequence, and events for it at an even pace.

    pace_us: between two events;  partials_max: see `Matcher`
    """

    def __init__(self, plan: Plan, pace_us: int = 1, partials_max: int = 2_000_000) -> None:
        self.pace_us = pace_us
        self.now_us = START_US
        self.layout = layout_of((read_stream(STREAM, "traffic.yaml"),), [plan])
        self.matcher = started([plan], self.layout, StringTable(), partials_max)

    def batches(self, keys: I64, kinds: I64, *, rows: int = RECORDS, moves: bool = True) -> list[Batch]:
        """The events as batches of `rows`, one pace after the other; all at the present instant unless time `moves`."""
        pace_us = self.pace_us if moves else 0
        at_us = self.now_us + pace_us * np.arange(1, len(keys) + 1)
        self.now_us = int(at_us[-1])
        columns = {"card_id": keys, "kind": kinds}
        values = np.stack([columns[column.name] for column in self.layout.columns])
        made = []
        for first in range(0, len(keys), rows):
            part = slice(first, first + rows)
            cut, times = np.ascontiguousarray(values[:, part]), at_us[part]
            nulls = np.zeros(cut.shape, np.uint8)
            made.append(Batch(self.layout, np.zeros(len(times), np.int16), times, times, cut, nulls, NoRecords()))
        return made

    def take(self, batches: Sequence[Batch]) -> int:
        """Match them; answers the number of matches."""
        return sum(len(self.matcher.process(batch)) for batch in batches)


def kinds(rng: np.random.Generator, shares: Mapping[int, float], events: int) -> I64:
    """The kinds of so many events at random. shares: step → its share of them; the rest takes nothing."""
    bounds = np.cumsum(list(shares.values()))
    codes = np.array([*(10 * step for step in shares), NOTHING])
    return codes[np.searchsorted(bounds, rng.random(events), "right")]
