"""The line from records to alerts, in one process, without a log."""

from __future__ import annotations

import json
from typing import Any

import numpy as np

from cep.alert import Alert
from cep.control import Activate, Change, PatternVersion, Pause, Resume, Retire
from cep.language.limits import MEASURE_CHARS_MAX
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


MEASURED: dict[str, Any] = {
    **SMALL_BIG,
    "name": "measured",
    "timeouts": True,
    "steps": [
        {"name": "small", "where": "amount < 1", "times": {"at_least": 2}, "greedy": True},
        {"name": "big", "contiguity": "followed_by", "where": "amount > 500"},
    ],
    "measures": {
        "loss": "sum(small.amount) + big.amount",
        "smalls": "count(small)",
        "times_over": "big.amount / avg(small.amount)",
        "took": "big.at - first(small.at)",
        "in_country": "big.country",
        "alike": "first(small.amount) = last(small.amount)",
        "on": "card",
    },
    "alert": {"message": "{loss} in {in_country}, {times_over} times over"},
}


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

    def feed(self, *events: tuple[str, str, float, float], country: object = "DE") -> list[Alert]:
        """One batch."""
        raw = [
            json.dumps(
                {"id": name, "card": card, "at": START_MS + int(at * 1000), "amount": amount, "country": country}
            )
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


def test_a_version_that_takes_the_place_of_another_does_not_take_its_partials() -> None:
    """The new one runs in the very place that the old one left in the same change."""
    line = Line(SMALL_BIG)
    line.feed(("t1", "c1", 0, 0.5))
    line.change(PatternVersion("small-big", 2, SMALL_BIG), Activate("small-big", 2, partials="discard"))
    assert len(line.state.running) == 1
    assert line.feed(("t2", "c1", 1, 700)) == []
    assert len(line.feed(("t3", "c1", 2, 0.5), ("t4", "c1", 3, 700))) == 1


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


def test_a_change_that_can_not_be_compiled_is_left_out_and_the_version_before_runs_on() -> None:
    """So one bad control record neither stops a lane nor ends what was live."""
    line = Line(SMALL_BIG)
    wrong = {**SMALL_BIG, "steps": [{"name": "small", "where": "no_such_field < 1"}]}
    assert line.state.apply([PatternVersion("small-big", 2, wrong), Activate("small-big", 2)]) == 1
    assert line.state.apply([Activate("never-written", 1), Activate("small-big", 7), Pause("quiet")]) == 2
    assert len(line.feed(("a", "c1", 0, 0.5), ("b", "c1", 1, 900))) == 1


def test_of_a_record_with_a_bad_change_the_good_ones_apply() -> None:
    line = Line()
    wrong = {**SMALL_BIG, "name": "wrong", "within": "never"}
    changes: list[Change] = [
        PatternVersion("wrong", 1, wrong),
        Activate("wrong", 1),
        PatternVersion("small-big", 1, SMALL_BIG),
        Activate("small-big", 1),
    ]
    assert line.state.apply(changes) == 1
    assert [running.plan.pattern.name for running in line.state.running if running] == ["small-big"]


def plain(alert: Alert) -> dict[str, str]:
    """The measures as they stand in the record."""
    return {name: bytes(value).decode() for name, value in alert.measures.items()}


def test_an_alert_carries_its_measures() -> None:
    """Exact decimals with their places, microseconds, the key; they can be said in the sentence too."""
    line = Line(MEASURED)
    (alert,) = line.feed(("t1", "c1", 0, 0.1), ("t2", "c1", 1, 0.2), ("t3", "c1", 2, 700))
    assert plain(alert) == {
        "alike": "false",
        "in_country": '"DE"',
        "loss": "700.30",
        "on": '"c1"',
        "smalls": "2",
        "times_over": "4666.666666666667",
        "took": "2000000",
    }
    assert alert.message == "700.30 in DE, 4666.666666666667 times over"


def test_measures_of_what_did_not_come_are_null() -> None:
    """A time-out has no cash-out."""
    line = Line(MEASURED)
    line.feed(("t1", "c1", 0, 0.1), ("t2", "c1", 1, 0.1))
    alerts = advance((START_MS + 61_000) * 1000, line.state).alerts
    assert [plain(alert) for alert in alerts if len(alert.events) == 2] == [
        {
            "alike": "true", "in_country": "null", "loss": "null", "on": '"c1"', "smalls": "2", "times_over": "null",
            "took": "null",
        }
    ]  # fmt: skip


def test_measures_do_not_depend_on_where_batches_end() -> None:
    """What a replay computes has the same bytes, however its events come."""
    events = [("t1", "c1", 0.0, 0.1), ("t2", "c2", 0.5, 0.3), ("t3", "c1", 1.0, 0.2), ("t4", "c2", 1.5, 0.7),
              ("t5", "c1", 2.0, 700.0), ("t6", "c2", 2.5, 800.0)]  # fmt: skip
    together = Line(MEASURED).feed(*events)
    line = Line(MEASURED)
    assert [alert for event in events for alert in line.feed(event)] == together
    assert [plain(alert)["loss"] for alert in together] == ["700.30", "801.00"]


def test_a_pattern_without_measures_has_none_in_its_alerts() -> None:
    """And nothing is read for them."""
    line = Line(SMALL_BIG)
    (alert,) = line.feed(("t1", "c1", 0, 0.5), ("t2", "c1", 1, 700))
    assert alert.measures == {}
    assert line.state.running[0] is not None
    assert line.state.running[0].measured is None


def test_a_field_that_its_record_has_no_good_value_for_is_null_and_the_others_count() -> None:
    """No condition reads it, so nobody has looked at it before."""
    line = Line({**MEASURED, "measures": {"loss": "big.amount", "in_country": "big.country"}, "alert": {}})
    (alert,) = line.feed(("t1", "c1", 0, 0.1), ("t2", "c1", 1, 0.2), ("t3", "c1", 2, 700), country=7)
    assert plain(alert) == {"in_country": "null", "loss": "700.00"}


def test_a_measure_that_is_a_long_text_is_cut() -> None:
    """Else an alert could outgrow its record."""
    line = Line({**MEASURED, "measures": {"in_country": "big.country"}, "alert": {}})
    (alert,) = line.feed(("t1", "c1", 0, 0.1), ("t2", "c1", 1, 0.2), ("t3", "c1", 2, 700), country="x" * 5000)
    assert plain(alert) == {"in_country": '"' + "x" * (MEASURE_CHARS_MAX - 1) + '…"'}
