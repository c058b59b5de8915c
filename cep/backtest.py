"""Back-test: patterns over a file of history, from columns to columns.

                                    ┌─▶ Matcher of some keys, 64k rows at a time ─┐
    file ─▶ columns by event time ──┤                                             ├─▶ counts per pattern and,
                                    └─▶ Matcher of the others, in another thread ─┘   by label, how good

With a label column, an event being fraud where that is true or not zero:

- precision: of the matches, the share whose *last* event is fraud: the event that raises the alert. (Earlier events of
  a match may be the ordinary ones that it compares with.)
- recall: of all fraud events, the share that is *caught*: bound in at least one match. `by` splits it by a column.
- value caught: the values of the caught fraud events, and their share of the values of all fraud events.

A back-test matches in order of event time, as a stream with `order: event_time` does that has no late events.
Duplicates are not looked for. The end of the file is the end of time: windows close, absences become matches.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import polars as pl

from cep.automaton.plan import Plan, compile_pattern, layout_of
from cep.history import Bools, DeadLetter, History, NoRecords, read_history, with_views
from cep.language.pattern import Pattern
from cep.matcher.keys import MIX
from cep.matcher.matcher import NEVER_US, Matcher, Matches
from cep.matcher.records import KIND_TIMEOUT
from events.columns import I64, Batch, Layout, StringTable
from events.errors import InvalidDocument, Problem
from events.kernel import load
from events.schema import Stream
from features.definition import View

CHUNK_ROWS = 65_536
"""Rows that a thread matches at a time."""

THREADS_MAX = 16
"""Each of them has arrays of its own."""

Progress = Callable[[int, int], None]
"""(rows done, rows in all)"""


@dataclass(frozen=True, slots=True)
class Share:
    """A part of a whole. `of_all` is None where the whole is nothing."""

    part: float
    whole: float

    @property
    def of_all(self) -> float | None:
        return self.part / self.whole if self.whole else None


@dataclass(frozen=True, slots=True)
class Result:
    """What one pattern, or all of them together, found. The shares are None without a label (value: without values).

    entities: distinct keys with a match; events: distinct events bound in a match
    """

    pattern: str
    matches: int
    timeouts: int
    entities: int
    events: int
    precision: Share | None = None
    recall: Share | None = None
    value: Share | None = None
    recall_by: dict[str, Share] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Report:
    """A back-test. rejected, dead_letters: what was left out (`History`).

    together: an event counts once, whichever patterns caught it
    """

    rows: int
    rejected: dict[str, int]
    dead_letters: tuple[DeadLetter, ...]
    patterns: list[Result]
    together: Result
    read_seconds: float
    match_seconds: float


def backtest(
    patterns: Sequence[Pattern],
    streams: Sequence[Stream],
    data: Path,
    *,
    columns: Mapping[str, str] | None = None,
    views: Sequence[View] = (),
    label: str = "",
    value: str = "",
    by: str = "",
    progress: Progress = lambda done, rows: None,
    threads: int = 1,
) -> Report:
    """Run patterns that read one stream over the history in `data`.

    columns: field → column of the file, for those that are called otherwise
    views: the feature views that the patterns may read
    label, value, by: columns of the file
    threads: share the keys; the report is the same for any number

    Raises InvalidDocument where file, stream and patterns don't fit each other, ServiceUnavailable.
    """
    started = time.perf_counter()
    stream = one_stream(patterns, streams)
    plans = [compile_pattern(pattern) for pattern in patterns]
    layout, strings = with_views(layout_of([stream], plans), [stream], views), StringTable()
    with ThreadPoolExecutor(1) as pool:
        loading = pool.submit(_load_kernels, plans, layout)
        history = read_history(
            data, stream, layout, strings, columns or {}, views=views, label=label, value=value, by=by
        )
        loading.result()
    read = time.perf_counter()
    tallies = run(plans, layout, strings, history, progress, threads)
    results = [_result(plan.pattern.name, [tally], history) for plan, tally in zip(plans, tallies, strict=True)]
    together = _result("all together", tallies, history)
    seconds = (read - started, time.perf_counter() - read)
    return Report(len(history), history.rejected, history.dead_letters, results, together, *seconds)


def one_stream(patterns: Sequence[Pattern], streams: Sequence[Stream]) -> Stream:
    """The stream that all of them read. Raises InvalidDocument where there are several."""
    names = sorted({name for pattern in patterns for name in pattern.streams})
    if len(names) != 1:
        readers = "; ".join(f"{pattern.name} reads {', '.join(pattern.streams)}" for pattern in patterns)
        hint = "a file holds one stream: take the patterns of each stream by themselves"
        raise InvalidDocument("--data", [Problem("patterns", readers or "there are none", hint)])
    return next(stream for stream in streams if stream.name == names[0])


# -- columns to matches -----------------------------------------------------------------------------------------------


@dataclass(slots=True)
class Tally:
    """One pattern's matches so far. caught: bool[n], bound in a match; last, keys: per match, in pieces."""

    caught: Bools
    key_fields: int
    timeouts: int = 0
    last: list[I64] = field(default_factory=list)
    keys: list[I64] = field(default_factory=list)


class _Part:
    """Who matches the events of some keys. rows: int64[n], their places in the history, ascending."""

    def __init__(self, plans: Sequence[Plan], layout: Layout, strings: StringTable, rows: I64) -> None:
        self.layout = layout
        self.rows = rows
        self.matcher = Matcher()
        self.matcher.use(plans, layout, strings.code)

    def process(self, history: History, until: int) -> Matches:
        """Match the events before row `until` of the history that weren't matched yet."""
        rows = self.rows[self.matcher.sequence : np.searchsorted(self.rows, until)]
        at_us = history.at_us[rows]
        values, nulls = history.values.take(rows, axis=1), history.nulls.take(rows, axis=1)
        batch = Batch(self.layout, np.zeros(len(rows), np.int16), at_us, at_us, values, nulls, NoRecords())
        return self._placed(self.matcher.process(batch))

    def finish(self) -> Matches:
        """The end of time."""
        return self._placed(self.matcher.advance(NEVER_US))

    def _placed(self, matches: Matches) -> Matches:
        """With rows of the history as sequences."""
        return replace(matches, sequences=self.rows[matches.sequences])


def _load_kernels(plans: Sequence[Plan], layout: Layout) -> None:
    """Match an event of nobody's: Numba's part of a start is Python, and a file is read without its lock meanwhile."""
    load()
    columns = len(layout.columns)
    event = History(np.zeros(1, np.int64), np.zeros((columns, 1), np.int64), np.ones((columns, 1), np.uint8))
    part = _Part(plans, layout, StringTable(), np.arange(1))
    part.process(event, 1)
    part.finish()


def run(
    plans: Sequence[Plan],
    layout: Layout,
    strings: StringTable,
    history: History,
    progress: Progress = lambda done, rows: None,
    threads: int = 1,
) -> list[Tally]:
    """Match the history with all plans at once, the keys dealt to threads: what one key's events give, no other's can
    change.
    """
    rows = len(history)
    tallies = [Tally(np.zeros(rows, np.bool_), len(plan.pattern.key)) for plan in plans]
    parts = [_Part(plans, layout, strings, dealt) for dealt in deal(plans, layout, history, threads)]
    with ThreadPoolExecutor(len(parts)) as pool:
        chunk = CHUNK_ROWS * len(parts)
        for done in range(chunk, rows + chunk, chunk):
            for matches in pool.map(lambda part, done=done: part.process(history, done), parts):
                _add(matches, tallies)
            progress(min(done, rows), rows)
        for matches in pool.map(_Part.finish, parts):
            _add(matches, tallies)
    return tallies


def deal(plans: Sequence[Plan], layout: Layout, history: History, parts: int) -> list[I64]:
    """The rows of each part: all events of a key, whichever plan's, are in one. Ascending, int64.

    By the hash of what all keys have in common, so it is one part where they have nothing.
    """
    parts = min(parts, THREADS_MAX, 1 + len(history) // CHUNK_ROWS)
    shared = set.intersection(*(set(plan.pattern.key) for plan in plans))
    places = [place for place, column in enumerate(layout.columns) if column.name in shared]
    if parts < 2 or not places:
        return [np.arange(len(history))]
    hashed = np.zeros(len(history), np.uint64)
    for place in places:
        hashed = (hashed ^ history.values[place].view(np.uint64)) * MIX
    part = (hashed >> np.uint64(32)) % np.uint64(parts)
    return [np.flatnonzero(part == number) for number in range(parts)]


def _add(matches: Matches, tallies: Sequence[Tally]) -> None:
    if not len(matches):
        return
    complete = matches.kind != KIND_TIMEOUT
    lengths = np.diff(matches.offsets)
    bound_by = np.repeat(np.where(complete, matches.plan, -1), lengths)
    last = matches.sequences[matches.offsets[1:] - 1]
    for plan, tally in enumerate(tallies):
        mine = (matches.plan == plan) & complete
        tally.timeouts += int(((matches.plan == plan) & ~complete).sum())
        tally.caught[matches.sequences[bound_by == plan]] = True
        tally.last.append(last[mine])
        tally.keys.append(matches.keys[mine, : tally.key_fields])


# -- matches to figures -----------------------------------------------------------------------------------------------


def _result(name: str, tallies: Sequence[Tally], history: History) -> Result:
    last = np.concatenate([np.zeros(0, np.int64), *(piece for tally in tallies for piece in tally.last)])
    caught = np.logical_or.reduce([tally.caught for tally in tallies])
    plain = Result(
        pattern=name,
        matches=len(last),
        timeouts=sum(tally.timeouts for tally in tallies),
        entities=_entities(tallies),
        events=int(caught.sum()),
    )
    fraud = history.fraud
    if fraud is None:
        return plain
    hit = caught & fraud
    value = history.value
    return Result(
        name,
        plain.matches,
        plain.timeouts,
        plain.entities,
        plain.events,
        precision=Share(int(fraud[last].sum()), len(last)),
        recall=Share(int(hit.sum()), int(fraud.sum())),
        value=Share(float(value[hit].sum()), float(value[fraud].sum())) if value is not None else None,
        recall_by=_by_class(hit, fraud, history),
    )


def _by_class(hit: Bools, fraud: Bools, history: History) -> dict[str, Share]:
    """Recall for each value of the `by` column that has fraud."""
    if history.by is None:
        return {}
    size = len(history.classes)
    wholes = np.bincount(history.by[fraud], minlength=size).tolist()
    parts = np.bincount(history.by[hit], minlength=size).tolist()
    return {name: Share(part, whole) for name, part, whole in zip(history.classes, parts, wholes, strict=True) if whole}


def _entities(tallies: Sequence[Tally]) -> int:
    """Distinct keys. Keys of different length are different entities."""
    count = 0
    for width in {tally.key_fields for tally in tallies}:
        pieces = [piece for tally in tallies if tally.key_fields == width for piece in tally.keys]
        keys = np.concatenate(pieces) if pieces else np.zeros((0, width), np.int64)
        count += pl.DataFrame(np.ascontiguousarray(keys)).n_unique() if len(keys) else 0
    return count
