"""Is the cost of an event flat? Speed against open partials, windows and steps, and the page that says so.

Each point has a matcher of its own, which is filled for one window, so that as many partials end as begin. Then three
kinds of traffic are timed, in batches of RECORDS as a lane takes them:

    idle      events for which no condition holds                          at one instant, nothing changes
    unwaited  events of a later step's condition, for which nobody waits   at one instant, nothing changes
    ordinary  START of the events start a partial, MIDDLE are taken by those that wait, windows end, the rest is idle

`ordinary` over many keys has RARE of the last two steps besides, so that matches come. For one key it has none: they
would move, and then end, all its partials at once. What a move of all costs is measured by itself (`all_move`).
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from bench.chart import Panel, drawn, short
from bench.engine import RECORDS, ROWS
from bench.traffic import HOUR_US, Traffic, kinds, sequence
from cep.matcher import records as c
from events.columns import I64, Batch

START = 0.1
MIDDLE = 0.1
RARE = 0.001
MOVED_STEPS = 12
MANY = 1_000
"""With fewer partials a move of all is over before it can be timed."""
SERIES = ("idle", "unwaited", "ordinary")
FLAT = 2.0
"""The fastest point of a series may be so many times the slowest one."""


@dataclass(frozen=True, slots=True)
class Size:
    """How much is measured.

    opens, windows_s, steps: places along the axes;  events: of a pass;  passes: of which the median counts
    """

    opens: Sequence[int] = (10, 100, 1_000, 10_000, 100_000, 1_000_000)
    windows_s: Sequence[int] = (60, 600, 3_600, 21_600, 86_400, 604_800, 2_592_000)
    steps: Sequence[int] = (2, 3, 4, 6, 8, 10, 12)
    events: int = 262_144
    passes: int = 7


@dataclass(frozen=True, slots=True)
class Point:
    """What was measured at one place of an axis.

    open:    partials that were open when the timing began
    taken:   times that a partial took an event, per event of ordinary traffic
    matches: the same of matches
    speeds:  events per second by series; `unwaited` is missing where every later step is waited for
    move_ns: of an event that all partials wait for, per partial; 0 for few partials
    """

    open: int
    taken: float
    matches: float
    speeds: dict[str, float]
    move_ns: float = 0.0


@dataclass(frozen=True, slots=True)
class Axis:
    """One chart: what it is about, what grows along it, each point with its place as text."""

    title: str
    label: str
    points: list[tuple[str, Point]]

    def line(self, series: str) -> list[float | None]:
        """The speeds of one kind of traffic."""
        return [point.speeds.get(series) for _, point in self.points]


# --- Measuring ----------------------------------------------------------------------------------------------------


def axes(size: Size) -> list[Axis]:
    """All four."""
    return [
        Axis("One key", "open partials", [(short(count), of_one_key(count, size)) for count in size.opens]),
        Axis(
            "Many keys", "open partials, and keys", [(short(count), of_many_keys(count, size)) for count in size.opens]
        ),
        Axis("Window", "window, at 4 events/s", [(span(window), of_window(window, size)) for window in size.windows_s]),
        Axis("Steps", "steps of the sequence", [(str(steps), of_steps(steps, size)) for steps in size.steps]),
    ]


def of_one_key(count: int, size: Size) -> Point:
    """So many partials of one key."""
    found = point(steps=4, keys=1, window=round(count / START), pace_us=1, size=size)
    return replace(found, move_ns=all_move(count) if count >= MANY else 0.0)


def of_many_keys(count: int, size: Size) -> Point:
    """A partial of each of so many keys, as chance has it."""
    return point(steps=4, keys=count, window=round(count / START), pace_us=1, size=size)


def of_window(window_s: int, size: Size) -> Point:
    """A window of so many seconds, over 20,000 keys."""
    return point(steps=4, keys=20_000, window=4 * window_s, pace_us=250_000, size=size)


def of_steps(steps: int, size: Size) -> Point:
    """A sequence of so many steps, over 2,000 keys with 200 events each in a window."""
    return point(steps=steps, keys=2_000, window=400_000, pace_us=1, size=size)


def point(*, steps: int, keys: int, window: int, pace_us: int, size: Size) -> Point:
    """Fill for one window (its length in events), then time each kind of traffic."""
    rng = np.random.default_rng(steps * keys + window)
    traffic = Traffic(sequence(steps, window * pace_us), pace_us)
    filling = shares(steps, rare=False)
    fill(traffic, rng, filling, keys, window)
    counters = traffic.matcher.state.counters
    opened = int(counters[c.LIVE_PARTIALS])
    speeds = {}
    for name, kind in (("idle", {}), ("unwaited", {steps: 1.0})):
        if name == "idle" or steps > 2:
            still = traffic.batches(*drawn_events(rng, kind, keys, size.events), moves=False)
            speeds[name] = speed(traffic, [still] * size.passes)
            assert counters[c.LIVE_PARTIALS] == opened, f"{name} traffic changed something"
    mix = shares(steps, rare=keys > 1)
    parts = [traffic.batches(*drawn_events(rng, mix, keys, size.events)) for _ in range(size.passes)]
    before = counters.copy()
    speeds["ordinary"] = speed(traffic, parts)
    taken, matched = ((counters - before)[[c.TAKEN, c.MATCHED]] / (size.passes * size.events)).tolist()
    return Point(opened, taken, matched, speeds)


def shares(steps: int, *, rare: bool) -> dict[int, float]:
    """Step → its share of ordinary traffic."""
    middle = range(2, steps - 1)
    found = {1: START} | {step: MIDDLE / len(middle) for step in middle}
    return found | ({step: RARE for step in (steps - 1, steps) if step > 1} if rare else {})


def drawn_events(rng: np.random.Generator, mix: dict[int, float], keys: int, events: int) -> tuple[I64, I64]:
    """Keys and kinds at random."""
    return rng.integers(0, keys, events), kinds(rng, mix, events)


def fill(traffic: Traffic, rng: np.random.Generator, mix: dict[int, float], keys: int, window: int) -> None:
    """So many events of the mix, in large batches."""
    part = 1 << 20
    for first in range(0, window, part):
        events = min(part, window - first)
        traffic.take(traffic.batches(*drawn_events(rng, mix, keys, events), rows=ROWS))


def speed(traffic: Traffic, parts: Sequence[Sequence[Batch]]) -> float:
    """Events per second of the median part."""
    found = []
    for part in parts:
        begin = time.perf_counter()
        traffic.take(part)
        found.append(sum(map(len, part)) / (time.perf_counter() - begin))
    return statistics.median(found)


def all_move(count: int) -> float:
    """Nanoseconds per partial of an event that all partials of a key wait for: the median step of a long sequence."""
    steps = MOVED_STEPS
    traffic = Traffic(sequence(steps, HOUR_US), pace_us=0)
    key = np.zeros(count, np.int64)
    traffic.take(traffic.batches(key, np.full(count, 10), rows=ROWS))
    found = []
    for step in range(2, steps):
        event = traffic.batches(key[:1], np.full(1, 10 * step))
        begin = time.perf_counter()
        traffic.take(event)
        found.append((time.perf_counter() - begin) * 1e9 / count)
    moved = int(traffic.matcher.state.counters[c.TAKEN])
    assert moved == count * (steps - 1), f"{moved} moves of {count} partials"
    return statistics.median(found)


# --- The page -------------------------------------------------------------------------------------------------------


def write(folder: Path, size: Size | None = None) -> None:
    """Measure, and write flatness.md and flatness.svg into the folder."""
    found = axes(size or Size())
    panels = [
        Panel(axis.title, axis.label, [place for place, _ in axis.points], {name: axis.line(name) for name in SERIES})
        for axis in found
    ]
    (folder / "flatness.svg").write_text(drawn(panels, "events/s"), encoding="utf-8")
    (folder / "flatness.md").write_text(page(found), encoding="utf-8")


def page(found: Sequence[Axis]) -> str:
    """The page."""
    return "\n".join([INTRODUCTION, *(section(axis) for axis in found)])


INTRODUCTION = f"""# Flat, or not

How the speed of the matcher depends on how much is open, on how long windows are, and on how many steps a sequence has.
The command below measured it, drew the chart and wrote this page, with its sentences on what is flat and what isn't.

```sh
.venv/bin/python -m bench flatness   # minutes; after `make install`
```

![Events per second against open partials of one key and of many keys, windows, and steps](flatness.svg)

One pattern, a sequence of four steps joined by `followed_by`, or of as many as the chart says; matches skip past the
last event. The matcher is filled for one window, so that as many partials end as begin. From columns, in batches of
{RECORDS:,} events as a lane takes them. Measured are:

- **idle**: events for which no condition holds, of keys that have partials.
- **unwaited**: events for which the condition of the last step holds, while every partial waits for an earlier one. (A
  sequence of two steps has no such event.)
- **ordinary**: {START:.0%} of the events start a partial, {MIDDLE:.0%} are of the steps in the middle and are taken by
  all that wait for them, windows end, the rest is idle. Over many keys {RARE:.1%} are of each of the last two steps, so
  that a few match. On one key there are none of these: such an event moves every partial of the key, and a match ends
  them all. What a move of all costs has a column of its own.

A kind of traffic is called flat when its fastest point is at most {FLAT:g} times its slowest. An event is counted as
taken once for each partial that takes it. One pattern may have at most {c.PARTIALS_PER_KEY_MAX:,} partials open for one
key unless `limits.partials_per_key_max` says more; here it says more.
"""


def section(axis: Axis) -> str:
    """A table of one axis, and what is to be said of it."""
    moves = any(point.move_ns for _, point in axis.points)
    head = [axis.label, "open", *(f"{name}, M events/s" for name in SERIES), "taken per event", "matches per million"]
    head += ["all move, ns each"] * moves
    lines = [head, ["---:"] * len(head)]
    for place, one in axis.points:
        speeds = [f"{one.speeds[name] / 1e6:.2f}" if name in one.speeds else "–" for name in SERIES]
        told = [place, f"{one.open:,}", *speeds, f"{one.taken:.2f}", f"{1e6 * one.matches:.0f}"]
        lines.append(told + [f"{one.move_ns:.0f}" if one.move_ns else "–"] * moves)
    table = [f"| {' | '.join(line)} |" for line in lines]
    return "\n".join([f"## {axis.title}", "", *(f"- {judged(axis, name)}" for name in SERIES), "", *table, ""])


def judged(axis: Axis, series: str) -> str:
    """Is a series flat? In one sentence, with the numbers that say so."""
    speeds = [(one.speeds[series], place) for place, one in axis.points if series in one.speeds]
    (most, fast), (least, slow) = max(speeds), min(speeds)
    word = "flat" if most <= FLAT * least else "**not flat**"
    slowest, fastest = f"{least / 1e6:.2f} M ({slow})", f"{most / 1e6:.2f} M events/s ({fast})"
    return f"{series}: {word}, from {slowest} to {fastest}, {most / least:.1f}x."


def span(seconds: int) -> str:
    """A window as people write it.

    >>> span(60), span(3600), span(2_592_000)
    ('1 min', '1 h', '30 d')
    """
    for length, unit in ((86_400, "d"), (3_600, "h"), (60, "min")):
        if seconds % length == 0:
            return f"{seconds // length} {unit}"
    return f"{seconds} s"
