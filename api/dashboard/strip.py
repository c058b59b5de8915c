"""The matched-event strip: the events of a match on a time axis, each in the row of its step. Pure.

              ┌───────────── within 10 min ──────────── ─ ┐
    probe     ●────●──●──(+14)──●                               a long run is shortened, with a count
    no login                    ░░░ did not occur ░░░
    cashout                                         ●
              └ 4 s ┘ …          └──── 2 min 1 s ───┘           gaps between neighbours

Between two neighbours there is a least distance; what remains of the width is shared in proportion to time, so that a
burst stays legible and a pause looks long. Lengths are in the units of the drawing, `WIDTH` wide.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby, pairwise

from api.dashboard.wording import clock, length
from cep.language.pattern import Step

WIDTH = 1040
LEFT, RIGHT = 176, 1016
TOP, ROW, FOOT = 52, 38, 52
NEAR = 34
"""Least distance of neighbours, where the width allows it."""
GAP_SHOWN = 54
"""A gap is written where there is so much room."""
RUN_MAX, RUN_HEAD, RUN_TAIL = 7, 3, 2
ITEMS_MAX = 22
END_MAX = 0.3
"""Share of the width that the unused rest of the window may take; a longer one is cut."""
HUES = 8


@dataclass(frozen=True, slots=True)
class Bound:
    """An event of the match, as the strip needs it."""

    step: str
    event_id: str
    at_us: int


@dataclass(frozen=True, slots=True)
class Row:
    """A step: its line in the strip. state: taken, absent (it must not occur), unused (it was optional)."""

    name: str
    hue: int
    y: int
    count: int
    state: str


@dataclass(frozen=True, slots=True)
class Mark:
    """An event (`count` 0, number from 1) or so many that aren't drawn one by one."""

    x: float
    y: float
    hue: int
    title: str
    number: int = 0
    count: int = 0


@dataclass(frozen=True, slots=True)
class Gap:
    """The time between two neighbours."""

    x1: float
    x2: float
    text: str

    @property
    def middle(self) -> float:
        """Where the text stands."""
        return (self.x1 + self.x2) / 2


@dataclass(frozen=True, slots=True)
class Absence:
    """Where a negated step was waited for in vain."""

    x1: float
    x2: float
    y: int


@dataclass(frozen=True, slots=True)
class Strip:
    """All of the drawing. end_x: of the window or the wait; `cut`: the way there is shortened."""

    height: int
    rows: tuple[Row, ...]
    marks: tuple[Mark, ...]
    gaps: tuple[Gap, ...]
    absences: tuple[Absence, ...]
    path: str
    began: str
    ended: str
    last_x: float
    within: str
    end_x: float
    cut: bool

    @property
    def foot(self) -> int:
        """Where the axis lies."""
        return self.height - FOOT + 6


@dataclass(frozen=True, slots=True)
class _Item:
    step: str
    first: int
    last: int
    at_us: int
    until_us: int


def hues(steps: Sequence[Step], events: Sequence[Bound]) -> dict[str, int]:
    """Step → number of its colour, in order of the pattern; of the events where the pattern isn't known."""
    names = dict.fromkeys([*(step.name for step in steps), *(event.step for event in events)])
    return {name: place % HUES for place, name in enumerate(names)}


def draw_strip(events: Sequence[Bound], steps: Sequence[Step], *, at_us: int, started_us: int, within_us: int) -> Strip:
    """The strip of a match. steps: the pattern's, flat; empty where it isn't known. at_us, started_us: the alert's."""
    colours = hues(steps, events)
    rows = _rows(events, steps, colours)
    lines = {row.name: row for row in rows}
    items = _folded(events)
    end_us = max(at_us, started_us + within_us if within_us else at_us)
    xs, end_x, cut = _placed(items, started_us, end_us)
    marks = tuple(_mark(item, x, lines, rows) for item, x in zip(items, xs, strict=True))
    return Strip(
        height=TOP + ROW * len(rows) + FOOT,
        rows=rows,
        marks=marks,
        gaps=tuple(_gaps(items, xs)),
        absences=tuple(_absences(steps, items, xs, end_x, lines)),
        path=" ".join(f"{x:.1f},{mark.y:.1f}" for x, mark in zip(xs, marks, strict=True)),
        began=clock(events[0].at_us if events else started_us),
        ended=clock(events[-1].at_us if events else at_us),
        last_x=xs[-1] if xs else LEFT,
        within=length(within_us) if within_us else "",
        end_x=end_x,
        cut=cut,
    )


def _rows(events: Sequence[Bound], steps: Sequence[Step], colours: dict[str, int]) -> tuple[Row, ...]:
    negated = {step.name for step in steps if step.contiguity.negated}
    counts = {name: sum(event.step == name for event in events) for name in colours}
    states = {name: "taken" if counts[name] else "absent" if name in negated else "unused" for name in colours}
    return tuple(
        Row(name, hue, TOP + ROW * place + ROW // 2, counts[name], states[name])
        for place, (name, hue) in enumerate(colours.items())
    )


def _folded(events: Sequence[Bound]) -> list[_Item]:
    """Events, long runs of one step shortened, and then a long whole."""
    items: list[_Item] = []
    for step, group in groupby(enumerate(events), key=lambda pair: pair[1].step):
        run = [_Item(step, place, place, event.at_us, event.at_us) for place, event in group]
        items += _shortened(run, RUN_HEAD, RUN_TAIL) if len(run) > RUN_MAX else run
    return _shortened(items, ITEMS_MAX // 2, ITEMS_MAX // 2) if len(items) > ITEMS_MAX else items


def _shortened(items: list[_Item], head: int, tail: int) -> list[_Item]:
    inner = items[head : len(items) - tail]
    step = inner[0].step if len({item.step for item in inner}) == 1 else ""
    fold = _Item(step, inner[0].first, inner[-1].last, inner[0].at_us, inner[-1].until_us)
    return [*items[:head], fold, *items[len(items) - tail :]]


def _placed(items: Sequence[_Item], started_us: int, end_us: int) -> tuple[list[float], float, bool]:
    """The place of each item and of the end, and whether the way to the end is shortened.

    >>> item = lambda at_us: _Item("s", 0, 0, at_us, at_us)
    >>> xs, end, cut = _placed([item(0), item(10), item(100)], 0, 100)
    >>> [round(x) for x in xs], end == xs[-1], cut
    ([176, 287, 1016], True, False)
    """
    if not items:
        return [], RIGHT, False
    spans = [max(0, after.at_us - before.until_us) for before, after in pairwise(items)]
    rest_us = max(0, end_us - items[-1].until_us)
    took_us = sum(spans)
    share = rest_us / (rest_us + took_us) if rest_us else 0.0
    cut = share > END_MAX
    room = (RIGHT - LEFT) * (1 - min(share, END_MAX))
    near = min(NEAR, room / max(1, len(spans)))
    free = room - near * len(spans)
    xs = [float(LEFT)]
    for span in spans:
        xs.append(xs[-1] + near + (free * span / took_us if took_us else free / len(spans)))
    return xs, float(RIGHT) if rest_us else xs[-1], cut


def _mark(item: _Item, x: float, lines: dict[str, Row], rows: Sequence[Row]) -> Mark:
    count = item.last - item.first + 1
    row = lines.get(item.step)
    y = row.y if row else (rows[0].y + rows[-1].y) / 2
    when = clock(item.at_us) if count == 1 else f"{clock(item.at_us)} to {clock(item.until_us)}"
    title = f"{item.step or 'several steps'}, {when}"
    if count == 1:
        return Mark(x, y, row.hue if row else 0, title, number=item.first + 1)
    return Mark(x, y, row.hue if row else 0, f"{count} more: {title}", count=count)


def _gaps(items: Sequence[_Item], xs: Sequence[float]) -> list[Gap]:
    return [
        Gap(x1, x2, length(after.at_us - before.until_us) if x2 - x1 >= GAP_SHOWN else "")
        for (before, after), (x1, x2) in zip(pairwise(items), pairwise(xs), strict=True)
    ]


def _absences(
    steps: Sequence[Step], items: Sequence[_Item], xs: Sequence[float], end_x: float, lines: dict[str, Row]
) -> list[Absence]:
    """From the last event of a step before it to the first of one behind it, or to the end."""
    order = {step.name: place for place, step in enumerate(steps)}
    found = []
    for place, step in enumerate(steps):
        if lines[step.name].state != "absent":
            continue
        before = [x for item, x in zip(items, xs, strict=True) if order.get(item.step, place) < place]
        start = max(before, default=LEFT)
        behind = [x for item, x in zip(items, xs, strict=True) if order.get(item.step, -1) > place and x > start]
        found.append(Absence(start, max(min(behind, default=end_x), start + 8), lines[step.name].y))
    return found
