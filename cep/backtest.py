"""Back-test: patterns over a file of history, from columns to columns; no event is ever a Python object.

    Parquet, CSV, NDJSON ─polars─▶ columns by event time ─▶ Matcher, 64k rows at a time ─▶ counts per pattern
                                   strings as codes                                        and, by label, how good

With a label column, an event being fraud where that is true or not zero:

- precision: of the matches, the share whose *last* event is fraud: the event that raises the alert. (Earlier events of
  a match may be the ordinary ones that it compares with.)
- recall: of all fraud events, the share that is *caught*: bound in at least one match. `by` splits it by a column.
- value caught: the values of the caught fraud events, and their share of the values of all fraud events.

A back-test matches in order of event time, as a stream with `order: event_time` does that has no late events; events of
one instant stay in the file's order. Duplicates are not looked for. A float column read as a decimal is rounded to the
declared places. The end of the file is the end of time: windows close, absences become matches.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt
import polars as pl

from cep.automaton.plan import Plan, compile_pattern, layout_of
from cep.language.pattern import Pattern
from cep.matcher.matcher import NEVER_US, Matcher, Matches
from cep.matcher.records import KIND_TIMEOUT
from events.columns import F64, I64, U8, Batch, Layout, StringTable
from events.errors import InvalidDocument, Problem, ServiceUnavailable
from events.schema import Field, Format, Stream
from events.types import INSTANT, Kind

CHUNK_ROWS = 65_536

READERS: dict[str, Callable[[Path], pl.LazyFrame]] = {
    ".parquet": pl.scan_parquet,
    ".pq": pl.scan_parquet,
    # As text: `007` stays what it is, and what isn't a number is found row by row.
    ".csv": lambda path: pl.scan_csv(path, infer_schema=False),
    ".ndjson": pl.scan_ndjson,
    ".jsonl": pl.scan_ndjson,
}

UNITS_US = {Format.EPOCH_S: 1_000_000, Format.EPOCH_MS: 1_000, Format.EPOCH_US: 1}
TRUE_TEXTS = ("1", "true", "yes", "y", "t", "fraud")
FALSE_TEXTS = ("0", "false", "no", "n", "f", "", "genuine")

Bools = npt.NDArray[np.bool_]
Progress = Callable[[int, int], None]
"""(rows done, rows in all)"""


@dataclass(frozen=True, slots=True)
class History:
    """The file as columns, in order of event time; n good rows, c columns of the layout.

    at_us: int64[n]   values: int64[c, n]   nulls: uint8[c, n]
    rejected: field → rows in which it is missing or doesn't have its type
    fraud: bool[n], value: float64[n], by: int64[n] into `classes`; None where no column was named
    """

    at_us: I64
    values: I64
    nulls: U8
    rejected: dict[str, int]
    fraud: Bools | None = None
    value: F64 | None = None
    by: I64 | None = None
    classes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.at_us)


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
    """A back-test. `together`: an event counts once, whichever patterns caught it."""

    rows: int
    rejected: dict[str, int]
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
    label: str = "",
    value: str = "",
    by: str = "",
    progress: Progress = lambda done, rows: None,
) -> Report:
    """Run patterns that read one stream over the history in `data`.

    columns: field → column of the file, for those that are called otherwise
    label, value, by: columns of the file

    Raises InvalidDocument where file, stream and patterns don't fit each other, ServiceUnavailable.
    """
    started = time.perf_counter()
    stream = _one_stream(patterns, streams)
    plans = [compile_pattern(pattern) for pattern in patterns]
    layout, strings = layout_of([stream], plans), StringTable()
    history = read_history(data, stream, layout, strings, columns or {}, label=label, value=value, by=by)
    read = time.perf_counter()
    tallies = run(plans, layout, strings, history, progress)
    results = [_result(plan.pattern.name, [tally], history) for plan, tally in zip(plans, tallies, strict=True)]
    together = _result("all together", tallies, history)
    return Report(len(history), history.rejected, results, together, read - started, time.perf_counter() - read)


def _one_stream(patterns: Sequence[Pattern], streams: Sequence[Stream]) -> Stream:
    names = sorted({name for pattern in patterns for name in pattern.streams})
    if len(names) != 1:
        readers = "; ".join(f"{pattern.name} reads {', '.join(pattern.streams)}" for pattern in patterns)
        hint = "a file holds one stream: back-test the patterns of each stream by themselves"
        raise InvalidDocument("back-test", [Problem("patterns", readers or "there are none", hint)])
    return next(stream for stream in streams if stream.name == names[0])


# -- the file to columns ----------------------------------------------------------------------------------------------


def read_history(
    path: Path,
    stream: Stream,
    layout: Layout,
    strings: StringTable,
    columns: Mapping[str, str],
    *,
    label: str = "",
    value: str = "",
    by: str = "",
) -> History:
    """The columns that `layout`, the event time and the measures need; nothing else of the file is read."""
    fields = {field.name: field for field in (stream.field(name) for name in _needed(stream, layout))}
    for name in columns:
        if name not in {field.name for field in stream.fields}:
            raise _unfit(path, f"--map {name}", f"the stream {stream.name} has no field `{name}`", name, stream.fields)
    sources = {name: columns.get(name, name) for name in fields}
    frame = _frame(path, sources, [column for column in (label, value, by) if column])
    read = {name: column_of(frame[sources[name]], field, strings, path) for name, field in fields.items()}
    bad = {name: column.bad for name, column in read.items() if column.bad.any()}
    at_us = read[stream.event_time].values
    order = _order(at_us, bad)
    values = np.zeros((len(layout.columns), len(order) if order is not None else len(at_us)), np.int64)
    nulls = np.zeros(values.shape, np.uint8)
    for place, column in enumerate(layout.columns):
        values[place] = _in_order(read[column.name].values, order)
        nulls[place] = _in_order(read[column.name].nulls, order)
    classes, codes = _classes(frame[by]) if by else ((), None)
    return History(
        _in_order(at_us, order),
        values,
        nulls,
        {name: int(rows.sum()) for name, rows in bad.items()},
        _in_order(_truth(frame[label], path), order) if label else None,
        _in_order(_numbers(frame[value], path), order) if value else None,
        _in_order(codes, order) if codes is not None else None,
        classes,
    )


def _needed(stream: Stream, layout: Layout) -> list[str]:
    return list(dict.fromkeys([stream.event_time, *(column.name for column in layout.columns)]))


def _frame(path: Path, sources: Mapping[str, str], measures: Sequence[str]) -> pl.DataFrame:
    """The columns asked for. Raises what `backtest` does."""
    scan = READERS.get(path.suffix.lower())
    if not path.exists():
        raise ServiceUnavailable(f"data {path}: no such file", "name a Parquet, CSV or NDJSON file that can be read")
    if scan is None:
        known = ", ".join(READERS)
        raise ServiceUnavailable(f"data {path}: a file of the kind `{path.suffix}`", f"readable are {known}")
    try:
        frame = scan(path)
        there = frame.collect_schema().names()
        missing = [column for column in dict.fromkeys([*sources.values(), *measures]) if column not in there]
        if missing:
            raise InvalidDocument(f"data {path}", [_missing(column, sources, there) for column in missing])
        return frame.select(list(dict.fromkeys([*sources.values(), *measures]))).collect()
    except (pl.exceptions.PolarsError, OSError) as error:
        place = _bad_line(path) if scan is pl.scan_ndjson else ""
        raise ServiceUnavailable(f"data {path}{place}: {error}", f"is it really {path.suffix[1:]}?") from error


def _bad_line(path: Path) -> str:
    """The first line that isn't JSON, as ` line 3`, which the library doesn't tell; empty if there is none."""
    try:
        with path.open("rb") as file:
            for number, line in enumerate(file, 1):
                try:
                    msgspec.json.decode(line)
                except msgspec.MsgspecError:
                    return f" line {number}"
    except OSError:
        pass
    return ""


def _missing(column: str, sources: Mapping[str, str], there: Sequence[str]) -> Problem:
    near = get_close_matches(column, there, n=1)
    hint = f"did you mean {near[0]!r}? " if near else ""
    fields = [name for name, source in sources.items() if source == column]
    if fields:
        hint += f"--map {fields[0]}={near[0] if near else 'COLUMN'} reads the field from another column; "
    return Problem(column, "the file has no such column", f"{hint}it has {', '.join(there)}")


def _unfit(path: Path, where: str, reason: str, found: str, fields: Sequence[Field]) -> InvalidDocument:
    near = get_close_matches(found, [field.name for field in fields], n=1)
    hint = f"did you mean {near[0]!r}?" if near else f"it has {', '.join(field.name for field in fields)}"
    return InvalidDocument(f"data {path}", [Problem(where, reason, hint)])


def _order(at_us: I64, bad: Mapping[str, Bools]) -> I64 | None:
    """The good rows by event time, those of one instant as they are; None where the file has it all like that."""
    if not bad and bool((at_us[1:] >= at_us[:-1]).all()):
        return None
    good = np.flatnonzero(~np.logical_or.reduce(list(bad.values()))) if bad else np.arange(len(at_us))
    return good[np.argsort(at_us[good], kind="stable")]


def _in_order(column: Any, order: I64 | None) -> Any:
    return column if order is None else column[order]


@dataclass(frozen=True, slots=True)
class Read:
    """One column: stored values (0 where null), nulls, and the rows that are no values of the field."""

    values: I64
    nulls: Bools
    bad: Bools


def column_of(series: pl.Series, field: Field, strings: StringTable, path: Path) -> Read:
    """A file's column as the engine stores it (events.types)."""
    stored = _stored(series, field, strings, path)
    nulls = stored.is_null().to_numpy()
    absent = series.is_null().to_numpy()
    if series.dtype == pl.String and field.type.kind is not Kind.STRING:
        absent = absent | (series == "").fill_null(True).to_numpy()  # a CSV has no other way to say that there is none
    bad = nulls & ~absent if field.nullable else nulls
    values = stored.fill_null(0).to_numpy() if nulls.any() else stored.to_numpy()
    if field.type.kind is Kind.FLOAT64:
        values = values.view(np.int64)
    return Read(values, nulls, bad)


def _stored(series: pl.Series, field: Field, strings: StringTable, path: Path) -> pl.Series:
    """int64 (for a float64: still floats), null where there is no value of the field's type."""
    kind = field.type.kind
    if kind is Kind.STRING:
        return _codes(series.cast(pl.String), strings)
    if kind is Kind.FLOAT64:
        return series.cast(pl.Float64, strict=False)
    if kind is Kind.BOOL:
        return _bools(series).cast(pl.Int64)
    if kind is Kind.DECIMAL:
        return _scaled(series, field.type.scale, field.type.precision)
    if field.type == INSTANT:
        return _instants(series, field, path)
    whole = series.cast(pl.Int64, strict=False)
    if series.dtype.is_float():
        whole = whole.set(whole.cast(pl.Float64) != series, None)
    return whole


def _codes(texts: pl.Series, strings: StringTable) -> pl.Series:
    """The code of each text: Python sees each distinct text once."""
    distinct = texts.drop_nulls().unique(maintain_order=True)
    codes = [strings.code(text) for text in distinct.to_list()]
    return texts.replace_strict(distinct, pl.Series(codes, dtype=pl.Int64), default=None, return_dtype=pl.Int64)


def _bools(series: pl.Series) -> pl.Series:
    if series.dtype == pl.Boolean:
        return series
    if series.dtype == pl.String:
        text = series.str.to_lowercase()
        return text.is_in(TRUE_TEXTS).set(~text.is_in([*TRUE_TEXTS, *FALSE_TEXTS]).fill_null(False), None)
    return series.cast(pl.Boolean, strict=False)


def _scaled(series: pl.Series, scale: int, precision: int) -> pl.Series:
    if series.dtype.is_integer():
        number = series.cast(pl.Int64, strict=False) * 10**scale
    elif isinstance(series.dtype, pl.Decimal) or (series.dtype == pl.String and precision > 15):
        number = (series.cast(pl.Decimal(38, scale), strict=False) * 10**scale).cast(pl.Int64, strict=False)
    else:
        number = (series.cast(pl.Float64, strict=False) * 10**scale).round().cast(pl.Int64, strict=False)
    fitting: pl.Series = number.set((number.abs() >= 10**precision).fill_null(False), None)
    return fitting


def _instants(series: pl.Series, field: Field, path: Path) -> pl.Series:
    if series.dtype.is_temporal():
        return series.cast(pl.Datetime("us")).dt.epoch("us")
    if field.format in (Format.RFC3339, Format.DATETIME):
        if series.dtype != pl.String:
            hint = "declare the field with `format: epoch_ms` (or epoch_s, epoch_us, epoch_ns)"
            raise InvalidDocument(
                f"data {path}",
                [Problem(series.name, f"the field {field.name} is {field.format} text, found {series.dtype}", hint)],
            )
        zone = "UTC" if field.format is Format.RFC3339 else None
        return series.str.to_datetime(time_unit="us", time_zone=zone, strict=False).dt.epoch("us")
    if field.format is Format.EPOCH_NS:
        return series.cast(pl.Int64, strict=False) // 1000
    if series.dtype.is_integer():
        return series.cast(pl.Int64) * UNITS_US[field.format]
    return (series.cast(pl.Float64, strict=False) * UNITS_US[field.format]).round().cast(pl.Int64, strict=False)


def _truth(series: pl.Series, path: Path) -> Bools:
    """A label; null is false."""
    found = _bools(series)
    if bool((found.is_null() & series.is_not_null()).any()):
        texts = ", ".join(map(str, series.filter(found.is_null()).unique().head(5).to_list()))
        raise InvalidDocument(
            f"data {path}", [Problem(series.name, f"a label is true or false, 1 or 0, yes or no; found {texts}")]
        )
    return found.fill_null(False).to_numpy()


def _numbers(series: pl.Series, path: Path) -> F64:
    found = series.cast(pl.Float64, strict=False)
    if bool((found.is_null() & series.is_not_null()).any()):
        raise InvalidDocument(f"data {path}", [Problem(series.name, f"values are numbers, found {series.dtype}")])
    return found.fill_null(0.0).to_numpy()


def _classes(series: pl.Series) -> tuple[tuple[str, ...], I64]:
    texts = series.cast(pl.String).fill_null("none")
    names = texts.unique().sort()
    codes = texts.replace_strict(names, pl.Series(range(len(names)), dtype=pl.Int64), return_dtype=pl.Int64)
    return tuple(names.to_list()), codes.to_numpy()


# -- columns to matches -----------------------------------------------------------------------------------------------


class _NoRecords:
    """History has no records: matches are counted, not shown."""

    def event_id(self, row: int) -> str:
        """Never asked for."""
        raise AssertionError(row)

    def payload(self, row: int) -> bytes:
        """Never asked for."""
        raise AssertionError(row)


@dataclass(slots=True)
class Tally:
    """One pattern's matches so far. caught: bool[n], bound in a match; last, keys: per match, in pieces."""

    caught: Bools
    key_fields: int
    timeouts: int = 0
    last: list[I64] = field(default_factory=list)
    keys: list[I64] = field(default_factory=list)


def run(
    plans: Sequence[Plan],
    layout: Layout,
    strings: StringTable,
    history: History,
    progress: Progress = lambda done, rows: None,
) -> list[Tally]:
    """Match the history with all plans at once."""
    rows = len(history)
    tallies = [Tally(np.zeros(rows, np.bool_), len(plan.pattern.key)) for plan in plans]
    matcher = Matcher()
    matcher.use(plans, layout, strings.code)
    for first in range(0, rows, CHUNK_ROWS):
        part = slice(first, min(first + CHUNK_ROWS, rows))
        at_us = history.at_us[part].copy()  # what polars gives may not be written to: another type to the kernels
        values, nulls = history.values[:, part].copy(), history.nulls[:, part].copy()
        batch = Batch(layout, np.zeros(len(at_us), np.int16), at_us, at_us, values, nulls, _NoRecords())
        _add(matcher.process(batch), tallies)
        progress(part.stop, rows)
    _add(matcher.advance(NEVER_US), tallies)
    return tallies


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
