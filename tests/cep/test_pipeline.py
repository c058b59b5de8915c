"""The line from records to alerts, in one process, without a log."""

from __future__ import annotations

import json
from typing import Any

import numpy as np

from cep.alert import Alert
from cep.control import Activate, Change, PatternVersion, Pause, Resume, Retire
from cep.pipeline import LaneState, advance, process
from events.decode import Decoder
from events.order import Arrived, Orderer, Source
from events.schema import read_stream

STREAM = read_stream(
    """
stream: payments
topic: payments
event_time: {field: at, format: epoch_ms}
event_id: id
key: [card]
order: arrival
fields: {id: string, card: string, at: instant, amount: "decimal(12, 2)", country: string}
""",
    "payments.yaml",
)
SMALL_BIG: dict[str, Any] = {
    "name": "small-big",
    "stream": "payments",
    "key": ["card"],
    "within": "1m",
    "skip": "past_last_event",
    "steps": [
        {"name": "small", "where": "amount < 1"},
        {"name": "big", "contiguity": "followed_by", "where": "amount > 500"},
    ],
    "alert": {"severity": "high", "message": "{small.amount}, then {big.amount} on {card}"},
}
QUIET: dict[str, Any] = {
    **SMALL_BIG,
    "name": "quiet",
    "steps": [{"name": "small", "where": "amount < 1"}, {"name": "big", "contiguity": "not_followed_by"}],
    "alert": {},
}
START_MS = 1_767_225_600_000


class Line:
    """A lane's state, fed with (id, card, second, amount)."""

    def __init__(self, *documents: dict[str, Any]) -> None:
        self.state = LaneState((STREAM,))
        self.offset = 0
        for number, document in enumerate(documents):
            self.change(PatternVersion(document["name"], 1, document), Activate(document["name"], 1))
            assert len(self.state.running) == number + 1

    def change(self, *changes: Change) -> None:
        """Apply control changes; decoder and order begin anew with the layout."""
        self.state.apply(changes)
        self.decoder = Decoder(STREAM, self.state.layout, self.state.strings)
        self.orderer = Orderer((STREAM,), (Source("payments", 0),), self.state.layout)

    def feed(self, *events: tuple[str, str, float, float]) -> list[Alert]:
        """One batch."""
        raw = [
            json.dumps({"id": name, "card": card, "at": START_MS + int(at * 1000), "amount": amount, "country": "DE"})
            for name, card, at, amount in events
        ]
        count = len(raw)
        records = [text.encode() for text in raw]
        offsets = np.arange(self.offset, self.offset + count, dtype=np.int64)
        self.offset += count
        at_us = np.full(count, (START_MS + 3_600_000) * 1000, np.int64)
        arrived = Arrived("payments", np.zeros(count, np.int64), offsets, at_us, records, self.decoder.decode(records))
        return process(self.orderer.push([arrived], 0).batch, self.state).alerts


def test_an_alert_names_its_events_and_says_its_sentence() -> None:
    """Key, steps, ids, instants and the filled message."""
    line = Line(SMALL_BIG)
    assert line.feed(("t1", "c1", 0, 0.5), ("t2", "c2", 1, 900)) == []
    (alert,) = line.feed(("t3", "c1", 2, 700))
    assert alert.message == "0.5, then 700 on c1"
    assert alert.key == {"card": "c1"}
    assert [(event.step, event.event_id) for event in alert.events] == [("small", "t1"), ("big", "t3")]
    assert alert.at_us == (START_MS + 2000) * 1000
    assert alert.severity == "high"


def test_the_window_is_exclusive_at_its_end() -> None:
    """An event exactly one minute later belongs to no match any more."""
    assert Line(SMALL_BIG).feed(("t1", "c1", 0, 0.5), ("t2", "c1", 59.999, 700))
    assert not Line(SMALL_BIG).feed(("t1", "c1", 0, 0.5), ("t2", "c1", 60, 700))


def test_an_absence_is_due_when_the_window_ends() -> None:
    """Time alone completes it, and its instant is the window's end."""
    line = Line(QUIET)
    assert line.feed(("t1", "c1", 0, 0.5)) == []
    assert advance((START_MS + 59_999) * 1000, line.state).alerts == []
    (alert,) = advance((START_MS + 60_000) * 1000, line.state).alerts
    assert alert.at_us == (START_MS + 60_000) * 1000


def test_partials_drain_when_a_pattern_is_retired() -> None:
    """What was begun may end; nothing begins."""
    line = Line(SMALL_BIG)
    line.feed(("t1", "c1", 0, 0.5))
    line.change(Retire("small-big"))
    assert len(line.feed(("t2", "c1", 1, 700))) == 1
    assert line.feed(("t3", "c1", 2, 0.5), ("t4", "c1", 3, 700)) == []


def test_partials_are_dropped_when_the_author_says_so() -> None:
    """`discard` forgets what was begun."""
    line = Line(SMALL_BIG)
    line.feed(("t1", "c1", 0, 0.5))
    line.change(Retire("small-big", "discard"))
    assert line.feed(("t2", "c1", 1, 700)) == []


def test_a_paused_pattern_takes_nothing() -> None:
    """Its partials wait for it to be resumed."""
    line = Line(SMALL_BIG)
    line.feed(("t1", "c1", 0, 0.5))
    line.change(Pause("small-big"))
    assert line.feed(("t2", "c1", 1, 700)) == []
    line.change(Resume("small-big"))
    assert [alert.events[-1].event_id for alert in line.feed(("t3", "c1", 2, 800))] == ["t3"]


def test_a_new_version_goes_on_beside_the_partials_of_the_old() -> None:
    """Version 1 drains while version 2 begins; alerts name their version."""
    line = Line(SMALL_BIG)
    line.feed(("t1", "c1", 0, 0.5))
    second = {**SMALL_BIG, "steps": [SMALL_BIG["steps"][0], {**SMALL_BIG["steps"][1], "where": "amount > 800"}]}
    line.change(PatternVersion("small-big", 2, second), Activate("small-big", 2))
    assert [alert.version for alert in line.feed(("t2", "c1", 1, 700))] == [1]
    assert [alert.version for alert in line.feed(("t3", "c1", 2, 0.5), ("t4", "c1", 3, 900))] == [2]
