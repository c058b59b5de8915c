"""The patterns: what each looks for, its automaton, its versions and state, and how often it speaks."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus

from fastapi import APIRouter, Request, Response
from fastapi.responses import RedirectResponse

from api.dashboard.automaton import Drawing, draw_automaton
from api.dashboard.pages import Screen, page
from api.dashboard.versions import known_pattern, read_version, source_text
from api.dashboard.visitor import Known, Sent, check_form, check_role
from api.dashboard.wording import moment
from api.deps import ServicesNow
from api.problems import Refusal
from cep.automaton.plan import compile_pattern
from cep.control import Change, Pause, Resume
from cep.language.pattern import Pattern
from cep.language.render import render
from cep.registry import Known as KnownPattern
from cep.storage.database import reading
from cep.storage.queries import count_by_day
from events.errors import LimitReached

router = APIRouter(route_class=Screen)

DAYS = 14
DAY_US = 86_400_000_000
BAR, BARS_HEIGHT = 10, 36

TOLD = {"pause": "Paused: it starts nothing and its partials take nothing.", "resume": "Resumed."}
CHANGES: dict[str, tuple[str, type[Pause] | type[Resume]]] = {"pause": ("live", Pause), "resume": ("paused", Resume)}


@dataclass(frozen=True, slots=True)
class Bar:
    """A day's alerts, in a drawing BARS_HEIGHT high."""

    x: int
    y: float
    height: float
    count: int
    day: str


@dataclass(frozen=True, slots=True)
class Summary:
    """A pattern in the list."""

    name: str
    state: str
    version: int
    versions: int
    description: str
    severity: str
    sentence: str
    changed_at_us: int
    bars: tuple[Bar, ...]
    total: int


def bars_of(counts: Mapping[str, int], now_us: int) -> tuple[Bar, ...]:
    """The last DAYS days, today the last; the highest is as high as the drawing.

    >>> bars = bars_of({"1970-01-15": 4, "1970-01-14": 1}, 14 * DAY_US)
    >>> [(bar.day, bar.height) for bar in bars[-2:]], len(bars)
    ([('1970-01-14', 9.0), ('1970-01-15', 36.0)], 14)
    """
    days = [moment(now_us - DAY_US * back).strftime("%Y-%m-%d") for back in reversed(range(DAYS))]
    most = max([1, *(counts.get(day, 0) for day in days)])
    heights = [BARS_HEIGHT * counts.get(day, 0) / most for day in days]
    return tuple(
        Bar(place * BAR, round(BARS_HEIGHT - height, 2), round(height, 2), counts.get(day, 0), day)
        for place, (day, height) in enumerate(zip(days, heights, strict=True))
    )


def shown_version(known: KnownPattern) -> int:
    """The one in use, else the newest."""
    return known.live or known.latest


def diff_lines(before: str, after: str) -> list[tuple[str, str]]:
    """(kind, line) of what changed between two sources; kind: added, removed, same.

    >>> diff_lines("a\\nb\\n", "a\\nc\\n")
    [('same', 'a'), ('removed', 'b'), ('added', 'c')]
    """
    kinds = {"+": "added", "-": "removed", " ": "same"}
    lines = list(difflib.unified_diff(before.splitlines(), after.splitlines(), n=2, lineterm=""))[2:]
    return [(kinds[line[0]], line[1:]) for line in lines if line[0] in kinds]


@router.get("/patterns")
def list_patterns(request: Request, services: ServicesNow, visitor: Known) -> Response:
    """All of them, with their state and the alerts of the last days."""
    now_us = services.clock.wall_us()
    with reading(services.engine) as connection:
        counts = count_by_day(connection, _since(now_us))
    found = []
    for name, known in sorted(services.registry.patterns().items()):
        if known.versions:
            pattern = read_version(services, name, shown_version(known))
            bars = bars_of(counts.get(name, {}), now_us)
            found.append(_summary(name, known, pattern, bars))
    return page(request, visitor, "patterns.html", patterns=found, days=DAYS, bar=BAR, height=BARS_HEIGHT)


@router.get("/patterns/{name}")
def show_pattern(
    request: Request, services: ServicesNow, visitor: Known, name: str, version: int = 0, told: str = ""
) -> Response:
    """One pattern, as one of its versions has it."""
    known = known_pattern(services, name)
    number = version or shown_version(known)
    if number not in known.versions:
        raise Refusal(404, "not_found", f"{name} has no version {number}", f"it has 1 to {known.latest}")
    pattern, now_us = read_version(services, name, number), services.clock.wall_us()
    drawing, why = _drawn(pattern)
    with reading(services.engine) as connection:
        counts = count_by_day(connection, _since(now_us), name)
    source = source_text(known.versions[number].document)
    before = known.versions.get(number - 1)
    return page(
        request,
        visitor,
        "pattern.html",
        summary=_summary(name, known, pattern, bars_of(counts.get(name, {}), now_us)),
        known=known,
        number=number,
        source=source,
        diff=diff_lines(source_text(before.document), source) if before else [],
        drawing=drawing,
        why=why,
        days=DAYS,
        bar=BAR,
        height=BARS_HEIGHT,
        everywhere=services.lanes.passed(known.control_offset),
        told=TOLD.get(told, ""),
        may_change=visitor.may("author"),
    )


@router.post("/patterns/{name}/{change}")
def change_pattern(services: ServicesNow, visitor: Known, name: str, change: str, form: Sent) -> Response:
    """Pauses or resumes a pattern, by the control log."""
    check_form(visitor, form)
    check_role(visitor, "author")
    if change not in CHANGES:
        raise Refusal(404, "not_found", f"there is no change {change!r}", f"one of {', '.join(CHANGES)}")
    needed, kind = CHANGES[change]

    def decide(patterns: Mapping[str, KnownPattern]) -> list[Change]:
        known = patterns.get(name)
        if known is None or known.state != needed:
            found = "unknown" if known is None else known.state
            raise Refusal(
                409, "conflict", f"{name} is {found}: only a {needed} one can {change}", "load the page again"
            )
        return [kind(name)]

    services.registry.change(decide, author=visitor.name, at_us=services.clock.wall_us())
    return RedirectResponse(f"/patterns/{name}?told={change}", HTTPStatus.SEE_OTHER)


def _summary(name: str, known: KnownPattern, pattern: Pattern | None, bars: tuple[Bar, ...]) -> Summary:
    return Summary(
        name=name,
        state=known.state,
        version=shown_version(known),
        versions=len(known.versions),
        description=pattern.description if pattern else "",
        severity=pattern.alert.severity if pattern else "",
        sentence=render(pattern) if pattern else "",
        changed_at_us=known.changed_at_us,
        bars=bars,
        total=sum(bar.count for bar in bars),
    )


def _drawn(pattern: Pattern | None) -> tuple[Drawing | None, str]:
    """The drawing, or why there is none."""
    if pattern is None:
        return None, "This version doesn't fit the streams that are declared now."
    try:
        plan = compile_pattern(pattern)
    except LimitReached as error:
        return None, str(error)
    drawing = draw_automaton(plan)
    return drawing, "" if drawing else f"It has {len(plan.states)} states: too many for a drawing that tells anything."


def _since(now_us: int) -> int:
    """The beginning of the first day shown."""
    return (now_us // DAY_US - DAYS + 1) * DAY_US
