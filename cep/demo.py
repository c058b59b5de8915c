"""`stakeout demo`: the whole machine in one process, on a simulated card stream with planted fraud.

    simulate ─ in real time ─▶ SQLite log ─▶ the embedded lane ─▶ alerts ─▶ the terminal
       └── the truth about each payment, kept aside ─────────────────────▶ the summary

Nothing is a stand-in: lane, journal and commits are those of `stakeout worker` without Kafka, in a temporary folder.
Where the lane runs is a `House`: alone in this thread, or (`api.demo`) beside a server with the dashboard.
"""

from __future__ import annotations

import gc
import signal
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType
from typing import Protocol

import msgspec

from cep.alert import Alert
from cep.cli.documents import EXAMPLES, load_patterns, load_streams
from cep.control import Activate, Change, PatternVersion, write
from cep.lane import Lane
from cep.language.document import dump_pattern
from cep.language.pattern import Pattern, flatten
from cep.log.protocol import ALERTS
from cep.log.sqlite import SqliteControl, SqliteLog
from cep.settings import Embedded, Server, Settings
from cep.simulate import Planted, Simulated, record, simulate
from cep.worker import Collector, Stop, SystemClock, embedded_lane, production
from events.errors import StakeoutError
from events.expression import fields_of, references

PACE = 0.05
"""A flow that takes minutes takes seconds here."""

FLOW_EVERY_S = 1.0
WAIT_S = 0.02
END_S = 5.0
"""How long the lane may take, at the end, for what is in the log."""

EVENTS_SHOWN = 4
"""Of one step; the others are counted."""

MEASURES = "measures"
"""In front of an alert's measures, in the line behind its steps."""


@dataclass(slots=True)
class Seen:
    """An alert when it could be read: what it says, the planted flow that it caught (None: a false alarm), its delay
    in microseconds after its last event."""

    alert: Alert
    caught: Planted | None
    delay_us: int


@dataclass(slots=True)
class Summary:
    """What a run came to. Flows count once their last payment is in the log; one is caught if an alert binds one of
    its payments. careful: missed flows that were planted so that their pattern can't see them."""

    seconds: float = 0.0
    events: int = 0
    alerts: Counter[str] = field(default_factory=Counter)
    false_alarms: int = 0
    planted: Counter[str] = field(default_factory=Counter)
    caught: Counter[str] = field(default_factory=Counter)
    careful: Counter[str] = field(default_factory=Counter)
    delays_us: list[int] = field(default_factory=list)
    first_alert_s: float | None = None

    def delay_ms(self, share: float) -> float | None:
        """The delay that this share of the alerts had at most."""
        if not self.delays_us:
            return None
        ordered = sorted(self.delays_us)
        return ordered[min(len(ordered) - 1, int(share * len(ordered)))] / 1000

    def as_dict(self) -> dict[str, object]:
        """For a program that reads it."""
        return {
            "seconds": round(self.seconds, 3),
            "events": self.events,
            "alerts": dict(self.alerts),
            "false_alarms": self.false_alarms,
            "planted": dict(self.planted),
            "caught": dict(self.caught),
            "missed": dict(self.planted - self.caught),
            "missed_careful": dict(self.careful - self.caught),
            "first_alert_seconds": self.first_alert_s,
            "delay_ms": {"p50": self.delay_ms(0.5), "p99": self.delay_ms(0.99)},
        }


class House(Protocol):
    """Where the lane runs. log: what it reads and writes; told: what a person should know once it is ready."""

    log: SqliteLog
    told: str

    def turn(self) -> None:
        """Lets the lane work for a moment, or waits for one."""

    def settle(self, seconds: float) -> None:
        """Until what is in the log is decided and committed, but so long at most."""


Housed = Callable[[Settings, list[Pattern]], AbstractContextManager[House]]
"""Opens a house in which these patterns are live."""


class Truth:
    """What was planted, by payment; filled by the feeder, read by the lane's thread."""

    def __init__(self) -> None:
        self.by_payment: dict[str, Planted] = {}
        self.ended: dict[int, Planted] = {}
        self.events = 0

    def note(self, simulated: Simulated) -> None:
        """A payment goes to the log."""
        self.events += 1
        if (planted := simulated.planted) is not None:
            self.by_payment[simulated.payment.transaction_id] = planted
            if planted.ends:
                self.ended[planted.flow] = planted


def run_demo(
    seconds: float | None,
    show: Callable[[Seen], None],
    *,
    ready: Callable[[float, str], None] = lambda seconds, told: None,
    housed: Housed | None = None,
    examples: Path = EXAMPLES,
    seed: int = 1,
    rate: float = 200.0,
    stop: Stop | None = None,
) -> Summary:
    """Run for so many seconds, or until `stop` is asked or Ctrl-C; `show` gets every alert as soon as it is committed.

    ready: called with the seconds that starting took, and what the house tells, just before the first payment
    housed: alone unless it is said
    """
    started = time.perf_counter()
    stop = stop or Stop()
    with tempfile.TemporaryDirectory(prefix="stakeout-demo-") as folder, _ctrl_c(stop), _collector_given_back():
        settings = Settings(
            streams=(str(examples / "streams" / "transactions.yaml"),),
            views=(str(examples / "views" / "card_velocity.yaml"),),
            embedded=Embedded(path=str(Path(folder) / "log.db")),
            server=Server(keys=str(Path(folder) / "keys.json")),
        )
        (stream,) = load_streams([examples / "streams" / "transactions.yaml"])
        with (housed or alone)(settings, load_shipped(examples)) as house:
            _load_kernels()
            ready(time.perf_counter() - started, house.told)
            return _run(house, stream.topic, seconds, show, seed, rate, stop)


def load_shipped(examples: Path = EXAMPLES) -> list[Pattern]:
    """The patterns that the demo runs."""
    streams = {stream.name: stream for stream in load_streams([examples / "streams"])}
    return [pattern for _, pattern in load_patterns([examples / "patterns"], streams)]


def fields_shown(pattern: Pattern) -> dict[str, list[str]]:
    """Step → the fields by which its events are told: those that any condition reads, as far as it reads this step."""
    shown: dict[str, list[str]] = {}
    for step in flatten(pattern.steps):
        if step.where is not None:
            shown.setdefault(step.name, []).extend(sorted(fields_of(step.where)))
            for past in references(step.where):
                if past.field:
                    shown.setdefault(past.step, []).append(past.field)
    return {step: list(dict.fromkeys(fields)) for step, fields in shown.items()}


def text_of_alert(alert: Alert, shown: Mapping[str, list[str]]) -> list[str]:
    """The alert in lines: what it says, each step with its events, and its measures."""
    key = " ".join(f"{name}={value}" for name, value in alert.key.items())
    lines = [f"{alert.severity}  {alert.pattern}  {key}   {alert.message}"]
    by_step: dict[str, list[str]] = {}
    for event in alert.events:
        body = msgspec.json.decode(event.event)
        at = datetime.fromtimestamp(event.at_us / 1e6, UTC)
        told = " ".join(f"{name}={_short(body.get(name))}" for name in shown.get(event.step, ()))
        by_step.setdefault(event.step, []).append(f"{at:%H:%M:%S}.{at.microsecond // 1000:03d} {told}".rstrip())
    width = max(map(len, [*by_step, *([MEASURES] if alert.measures else [])]))
    for step, told_events in by_step.items():
        more = len(told_events) - EVENTS_SHOWN
        rest = [f"… {more} more"] if more > 0 else []
        lines.append(f"  {step:<{width}}  " + "   ".join([*told_events[:EVENTS_SHOWN], *rest]))
    if alert.measures:
        told = " ".join(f"{name}={bytes(value).decode()}" for name, value in alert.measures.items())
        lines.append(f"  {MEASURES:<{width}}  {told}")
    return lines


def _short(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:.2f}" if isinstance(value, float) else str(value)


# -- the run ----------------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class _Alone:
    """The lane in this thread."""

    log: SqliteLog
    lane: Lane
    collector: Collector
    told: str = ""

    def turn(self) -> None:
        """See House."""
        self.collector.turn(self.lane.step(WAIT_S))

    def settle(self, seconds: float) -> None:
        """See House."""
        give_up = time.perf_counter() + seconds
        while self.lane.step(WAIT_S) and time.perf_counter() < give_up:
            pass
        self.lane.flush()


@contextmanager
def alone(settings: Settings, patterns: list[Pattern]) -> Iterator[House]:
    """The lane and nothing else."""
    log = SqliteLog(Path(settings.embedded.path))
    try:
        activate(log, patterns)
        lane = embedded_lane(settings, production(settings), log)
        try:
            for _ in lane.restore():
                pass
            collector = Collector(10_000_000, SystemClock())
            collector.take_over()
            yield _Alone(log, lane, collector)
        finally:
            lane.close()
    finally:
        log.close()


def _run(
    house: House,
    topic: str,
    seconds: float | None,
    show: Callable[[Seen], None],
    seed: int,
    rate: float,
    stop: Stop,
) -> Summary:
    truth, summary, ended, failed = Truth(), Summary(), threading.Event(), list[StakeoutError]()
    log = house.log
    started = time.perf_counter()
    start_us = time.time_ns() // 1000
    payments = simulate(seed, rate=rate, flow_every_s=FLOW_EVERY_S, pace=PACE, start_us=start_us)
    feeder = threading.Thread(target=_feed, args=(payments, log, topic, truth, ended, failed), name="feeder")
    feeder.start()
    read, caught = 0, dict[int, Planted]()
    try:
        until = None if seconds is None else started + seconds
        while not stop.asked and not failed and (until is None or time.perf_counter() < until):
            house.turn()
            read = _look(log, read, truth, summary, caught, show, started)
        ended.set()
        feeder.join()
        house.settle(END_S)
        _look(log, read, truth, summary, caught, show, started)
    finally:
        ended.set()
        feeder.join()
    if failed:
        raise failed[0]
    return _summed(summary, truth, caught, time.perf_counter() - started)


def _feed(
    payments: Iterator[Simulated],
    log: SqliteLog,
    topic: str,
    truth: Truth,
    ended: threading.Event,
    failed: list[StakeoutError],
) -> None:
    """Writes each payment to the log when its time has come; late ones together."""
    waiting: list[Simulated] = []
    try:
        for simulated in payments:
            left_s = simulated.payment.at / 1000 - time.time()
            if left_s > 0 or len(waiting) >= 500:
                _append(log, topic, waiting, truth)
                waiting = []
            if ended.wait(max(left_s, 0.0)):
                return
            waiting.append(simulated)
    except StakeoutError as error:
        failed.append(error)


def _append(log: SqliteLog, topic: str, simulated: list[Simulated], truth: Truth) -> None:
    if not simulated:
        return
    for one in simulated:
        truth.note(one)
    records: list[tuple[bytes | None, bytes | None]] = [
        (one.payment.card_id.encode(), record(one.payment)) for one in simulated
    ]
    log.append(topic, records, time.time_ns() // 1000)


def _look(
    log: SqliteLog,
    start: int,
    truth: Truth,
    summary: Summary,
    caught: dict[int, Planted],
    show: Callable[[Seen], None],
    started: float,
) -> int:
    """Shows the alerts that were committed since; answers where to read on."""
    for offset, _, value in log.outputs(ALERTS, start):
        alert = msgspec.json.decode(value, type=Alert)
        delay_us = time.time_ns() // 1000 - alert.at_us
        planted = [truth.by_payment[event.event_id] for event in alert.events if event.event_id in truth.by_payment]
        summary.alerts[alert.pattern] += 1
        summary.false_alarms += not planted
        summary.delays_us.append(delay_us)
        if summary.first_alert_s is None:
            summary.first_alert_s = round(time.perf_counter() - started, 3)
        caught.update({one.flow: one for one in planted})
        show(Seen(alert, planted[0] if planted else None, delay_us))
        start = offset + 1
    return start


def _summed(summary: Summary, truth: Truth, caught: Mapping[int, Planted], seconds: float) -> Summary:
    summary.seconds, summary.events = seconds, truth.events
    summary.planted.update(planted.pattern for planted in truth.ended.values())
    summary.caught.update(planted.pattern for flow, planted in caught.items() if flow in truth.ended)
    summary.careful.update(
        planted.pattern for flow, planted in truth.ended.items() if planted.careful and flow not in caught
    )
    return summary


def activate(log: SqliteLog, patterns: list[Pattern]) -> None:
    """Makes the patterns live."""
    changes: list[Change] = []
    for pattern in patterns:
        changes += [PatternVersion(pattern.name, 1, dump_pattern(pattern)), Activate(pattern.name, 1)]
    control = SqliteControl(log)
    try:
        write(control, changes, author="demo", at_us=time.time_ns() // 1000)
    finally:
        control.close()


def _load_kernels() -> None:
    """Machine code comes from the cache at a kernel's first call, half a second for all: before the first payment."""
    from cep.testing import matches

    document = {
        "name": "load",
        "stream": "s",
        "key": ["k"],
        "within": "1s",
        "steps": [{"name": "a", "where": "v > 1"}, {"name": "b", "where": "v > a.v"}],
    }
    matches(document, "k=1 v=2\nk=1 v=3\nk=1 v=4")


@contextmanager
def _ctrl_c(stop: Stop) -> Iterator[None]:
    """SIGINT and SIGTERM ask to stop instead of raising, where signals can be had: in the main thread."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def ask(number: int, frame: FrameType | None) -> None:
        stop.asked = True

    before = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def _collector_given_back() -> Iterator[None]:
    """The lane runs Python's garbage collector on purpose; afterwards it runs by itself again."""
    try:
        yield
    finally:
        gc.unfreeze()
        gc.enable()
