"""The demonstration: real lane, real log, alerts within seconds, and an account of what was caught."""

from __future__ import annotations

import threading
import time

import msgspec
import pytest

from cep.alert import Alert, MatchedEvent
from cep.demo import Seen, Summary, fields_shown, load_shipped, run_demo, text_of_alert
from cep.worker import Stop


@pytest.fixture(scope="module")
def ran() -> tuple[Summary, list[Seen]]:
    seen: list[Seen] = []
    return run_demo(6.0, seen.append, seed=4), seen


def test_it_ends_by_itself_with_alerts_on_planted_fraud_and_no_other(ran: tuple[Summary, list[Seen]]) -> None:
    summary, seen = ran
    assert summary.events > 500
    assert summary.alerts.total() == len(seen) > 0
    assert summary.false_alarms == 0


def test_what_was_planted_is_either_caught_or_missed(ran: tuple[Summary, list[Seen]]) -> None:
    summary, _ = ran
    assert summary.planted.total() > 0
    assert summary.caught <= summary.planted
    assert summary.planted - summary.caught == summary.careful


def test_an_alert_tells_its_sentence_and_its_events_by_step(ran: tuple[Summary, list[Seen]]) -> None:
    shown = {pattern.name: fields_shown(pattern) for pattern in load_shipped()}
    alert = ran[1][0].alert
    lines = text_of_alert(alert, shown[alert.pattern])
    assert alert.message in lines[0]
    steps = list(dict.fromkeys(event.step for event in alert.events))
    assert [line.split()[0] for line in lines[1:]] == [*steps, *(["measures"] if alert.measures else [])]


def test_an_alert_tells_its_measures_behind_its_events() -> None:
    loss = {"loss": msgspec.Raw(b"812.50"), "where": msgspec.Raw(b'"m-9"')}
    event = MatchedEvent("cashout", "t1", 1_767_225_600_000_000, msgspec.Raw(b'{"amount":812.5}'))
    alert = Alert(
        alert_id="0" * 32,
        pattern="p",
        version=1,
        kind="match",
        severity="high",
        message="gone",
        key={"card_id": "c7"},
        at_us=event.at_us,
        started_at_us=event.at_us,
        events=[event],
        measures=loss,
    )
    assert text_of_alert(alert, {"cashout": ["amount"]}) == [
        "high  p  card_id=c7   gone",
        "  cashout   00:00:00.000 amount=812.50",
        '  measures  loss=812.50 where="m-9"',
    ]


def test_whoever_asks_it_to_stop_gets_the_summary_at_once() -> None:
    stop = Stop()
    threading.Timer(1.0, lambda: setattr(stop, "asked", True)).start()
    started = time.perf_counter()
    summary = run_demo(None, lambda seen: None, stop=stop)
    assert summary.events > 0
    assert time.perf_counter() - started < 60
