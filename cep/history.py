"""History: a file of events as columns in order of event time. Nothing is read of it but the columns that are needed.

    Parquet, CSV ─polars─▶ columns ─▶ int64 and nulls, strings as codes ─┐
    NDJSON ─▶ lines ─▶ the decoder of a lane ────────────────────────────┴─▶ good rows by event time

Events of one instant stay in the file's order. Columns are converted where that makes sense: a number becomes the text
of a key, a float that is read as a decimal is rounded to the declared places. JSON records say themselves what they
are, so they are decoded as they would be live: what would be a dead letter is one here, with its line and reason.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt
import polars as pl

from events.columns import F64, I64, U8, Batch, Column, Layout, StringTable
from events.errors import InvalidDocument, Problem, ServiceUnavailable
from events.schema import Field, Format, Stream
from events.texts import Texts
from events.types import INSTANT, Kind
from features.definition import View
from features.views import LiveView

if TYPE_CHECKING:
    from events.decode import Decoded

COLUMNS: dict[str, Callable[[Path], pl.LazyFrame]] = {
    ".parquet": pl.scan_parquet,
    ".pq": pl.scan_parquet,
    # As text: `007` stays what it is, and what isn't a number is found row by row.
    ".csv": lambda path: pl.scan_csv(path, infer_schema=False),
}
LINES = (".ndjson", ".jsonl")

LINES_READ = 8192
"""Lines read at a time."""

LINES_LOOKED_AT = 100
"""The first lines of a file say which fields its records have."""

DEAD_LETTERS_MAX = 10
"""Dead letters that are kept, the first ones; the others are counted."""

UNITS_US = {Format.EPOCH_S: 1_000_000, Format.EPOCH_MS: 1_000, Format.EPOCH_US: 1}
TRUE_TEXTS = ("1", "true", "yes", "y", "t", "fraud")
FALSE_TEXTS = ("0", "false", "no", "n", "f", "", "genuine")

Bools = npt.NDArray[np.bool_]


class DeadLetter(NamedTuple):
    """A line, from 1, that is no event of the stream: as `events.decode.Rejected` says it."""

    line: int
    reason: str
    path: str
    detail: str


@dataclass(frozen=True, slots=True)
class History:
    """The file as columns, in order of event time; n good rows, c columns of the layout.

    at_us: int64[n]   values: int64[c, n]   nulls: uint8[c, n]
    rejected: field → rows in which it is missing or doesn't have its type; `$`: lines that are no record at all
    dead_letters: the first of them, of a file of lines
    order: int64[n], the file's row of each, from 0; None where all are good and in its order
    fraud: bool[n], value: float64[n], by: int64[n] into `classes`; None where no column was named
    """

    at_us: I64
    values: I64
    nulls: U8
    rejected: dict[str, int] = field(default_factory=dict)
    dead_letters: tuple[DeadLetter, ...] = ()
    fraud: Bools | None = None
    value: F64 | None = None
    by: I64 | None = None
    classes: tuple[str, ...] = ()
    order: I64 | None = None

    def __len__(self) -> int:
        return len(self.at_us)


def read_history(
    path: Path,
    stream: Stream,
    layout: Layout,
    strings: StringTable,
    columns: Mapping[str, str],
    *,
    views: Sequence[View] = (),
    label: str = "",
    value: str = "",
    by: str = "",
) -> History:
    """The columns that `layout`, the event time and the measures need; nothing else of the file is read.

    views: fill the layout's columns that are theirs, over all events in their order (`with_views` gives the layout)

    Raises InvalidDocument where file and stream don't fit each other, ServiceUnavailable.
    """
    for name in columns:
        if name not in {field.name for field in stream.fields}:
            raise _unfit(path, f"--map {name}", f"the stream {stream.name} has no field `{name}`", name, stream.fields)
    full, layout = layout, _in_file(layout, views)
    derived = {field.name for field in stream.derived} & {column.name for column in layout.columns}
    if derived:
        hint = "leave the pattern out of this run, or write its condition over the file's own fields"
        reason = "is filled in a lane, by a model: a file of history has none"
        raise InvalidDocument(f"data {path}", [Problem(name, reason, hint) for name in sorted(derived)])
    needed = dict.fromkeys([stream.event_time, *(column.name for column in layout.columns)])
    sources = {name: columns.get(name, name) for name in needed}
    measures = list(dict.fromkeys(column for column in (label, value, by) if column))
    suffix = path.suffix.lower()
    if not path.exists():
        raise ServiceUnavailable(f"data {path}: no such file", "name a Parquet, CSV or NDJSON file that can be read")
    if suffix not in (*COLUMNS, *LINES):
        known = ", ".join((*COLUMNS, *LINES))
        raise ServiceUnavailable(f"data {path}: a file of the kind `{path.suffix}`", f"readable are {known}")
    try:
        read = _lines if suffix in LINES else _columns
        table = read(path, stream, layout, strings, sources, measures)
    except (pl.exceptions.PolarsError, OSError) as error:
        raise ServiceUnavailable(f"data {path}: {error}", f"is it really {path.suffix[1:]}?") from error
    order = _order(table.at_us, table.bad)
    classes, codes = _classes(table.measures[by]) if by else ((), None)
    at_us, values, nulls = (_in_order(each, order) for each in (table.at_us, table.values, table.nulls))
    if full.columns != layout.columns:
        values, nulls = _with_features(at_us, values, nulls, full, views, strings)
    return History(
        at_us,
        values,
        nulls,
        table.rejected,
        table.dead_letters,
        _in_order(_truth(table.measures[label], path), order) if label else None,
        _in_order(_numbers(table.measures[value], path), order) if value else None,
        _in_order(codes, order) if codes is not None else None,
        classes,
        order if table.rows is None else _in_order(table.rows, order),
    )


def with_views(layout: Layout, streams: Sequence[Stream], views: Sequence[View]) -> Layout:
    """A layout with the columns that the views of its features read, and theirs last."""
    asked = {(column.stream, column.name) for column in layout.columns}
    used = [LiveView(view) for view in _used(layout, views)]
    read = asked.union(*(live.needed() for live in used))
    theirs = {(column.stream, column.name): column for live in used for column in live.columns()}
    fields = [
        Column(stream.name, found.name, found.type)
        for stream in streams
        for found in (*stream.fields, *stream.derived)
        if (stream.name, found.name) in read and (stream.name, found.name) not in theirs
    ]
    return Layout(layout.streams, (*fields, *theirs.values()))


def _used(layout: Layout, views: Sequence[View]) -> list[View]:
    """The views of which the layout has a column."""
    names = {column.name for column in layout.columns}
    return [view for view in views if not names.isdisjoint(column.name for column in view.columns)]


def _in_file(layout: Layout, views: Sequence[View]) -> Layout:
    """Without the views' columns."""
    theirs = {column.name for view in views for column in view.columns}
    return Layout(layout.streams, tuple(column for column in layout.columns if column.name not in theirs))


def _with_features(
    at_us: I64, values: I64, nulls: U8, layout: Layout, views: Sequence[View], strings: StringTable
) -> tuple[I64, U8]:
    """Values and nulls with the views' rows, which are last, filled by the kernels that serve."""
    more = len(layout.columns) - len(values)
    values = np.concatenate([values, np.zeros((more, len(at_us)), np.int64)])
    nulls = np.concatenate([nulls, np.ones((more, len(at_us)), np.uint8)])
    batch = Batch(layout, np.zeros(len(at_us), np.int16), at_us, at_us, values, nulls, NoRecords())
    for view in _used(layout, views):
        live = LiveView(view)
        live.use(layout, strings.code)
        live.compute(batch)
    return values, nulls


class NoRecords:
    """History has no records: matches are counted, not shown."""

    def event_id(self, row: int) -> str:
        """Never asked for."""
        raise AssertionError(row)

    def payload(self, row: int) -> bytes:
        """Never asked for."""
        raise AssertionError(row)


@dataclass(frozen=True, slots=True)
class _Table:
    """A file as columns, as `History` but in the file's order.

    bad:  bool[n], rows to leave out
    rows: int64[n], the file's row of each, from 0; None where it has all of them
    """

    at_us: I64
    values: I64
    nulls: U8
    measures: pl.DataFrame
    rejected: dict[str, int]
    bad: Bools | None = None
    dead_letters: tuple[DeadLetter, ...] = ()
    rows: I64 | None = None


def _order(at_us: I64, bad: Bools | None) -> I64 | None:
    """The good rows by event time, those of one instant as they are; None where the file has it all like that."""
    if bad is None and bool((at_us[1:] >= at_us[:-1]).all()):
        return None
    good = np.flatnonzero(~bad) if bad is not None else np.arange(len(at_us))
    return good[np.argsort(at_us[good], kind="stable")]


def _in_order(array: Any, order: I64 | None) -> Any:
    return array if order is None else array.take(order, axis=-1)


def _have(path: Path, there: Sequence[str], sources: Mapping[str, str], measures: Sequence[str]) -> None:
    """Raise InvalidDocument with every column that isn't there."""
    missing = [column for column in dict.fromkeys([*sources.values(), *measures]) if column not in there]
    if missing:
        raise InvalidDocument(f"data {path}", [_missing(column, sources, there) for column in missing])


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


# -- lines: records as a lane has them --------------------------------------------------------------------------------


def _lines(
    path: Path,
    stream: Stream,
    layout: Layout,
    strings: StringTable,
    sources: Mapping[str, str],
    measures: Sequence[str],
) -> _Table:
    """NDJSON, read and decoded as a lane does it: good records become rows, the others dead letters."""
    from cep.log.files import FileSource  # here, because a file of columns needs none of it
    from events.decode import Decoder

    needed = {name: column for name, column in sources.items() if name != column or not stream.field(name).nullable}
    decoder = Decoder(*_as_in_file(path, stream, layout, sources), strings)
    measured = _Measures(path, measures)
    fields = {f"$.{column}": name for name, column in sources.items()}
    parts: list[Decoded] = []
    rows: list[I64] = []
    rejected: Counter[str] = Counter()
    letters: list[DeadLetter] = []
    source, line = FileSource({stream.topic: path}), 1
    source.seek(source.begin())
    try:
        while slices := source.drain(LINES_READ, 0).slices:
            texts = slices[0].texts
            if line == 1:
                _have(path, _names(path, texts), needed, measures)
            part = decoder.decode(texts)
            measured.add(texts.take(part.rows), part.rows + line)
            parts.append(part)
            rows.append(part.rows + (line - 1))
            rejected.update(fields.get(one.path, one.path.removeprefix("$.")) for one in part.rejected)
            for one in part.rejected[: DEAD_LETTERS_MAX - len(letters)]:
                letters.append(DeadLetter(line + one.row, one.reason, one.path, one.detail))
            line += len(texts)
    finally:
        source.close()
    if not parts:
        raise ServiceUnavailable(f"data {path}: there is nothing in it", "name a file with a JSON record on each line")
    return _Table(
        np.concatenate([part.event_at_us for part in parts]),
        np.concatenate([part.values for part in parts], axis=1),
        np.concatenate([part.nulls for part in parts], axis=1),
        measured.frame(),
        dict(rejected),
        dead_letters=tuple(letters),
        rows=np.concatenate(rows) if letters else None,
    )


def _as_in_file(path: Path, stream: Stream, layout: Layout, sources: Mapping[str, str]) -> tuple[Stream, Layout]:
    """Stream and layout with the names that the fields have in the file; of ids and topics' keys a file needs none."""
    columns = set(sources.values())
    if len(columns) < len(sources):
        twice = [name for name, column in sources.items() if list(sources.values()).count(column) > 1]
        hint = "a record's field can be read as one field of the stream: write it twice into the file"
        raise InvalidDocument(f"data {path}", [Problem(f"--map {twice[0]}", f"{twice[-1]} reads the same", hint)])
    fields = tuple(
        replace(field, name=sources.get(field.name, field.name))
        for field in stream.fields
        if field.name in sources or field.name not in columns
    )
    named = replace(stream, fields=fields, event_time=sources[stream.event_time], event_id=None, key=())
    return named, Layout(layout.streams, tuple(replace(one, name=sources[one.name]) for one in layout.columns))


def _names(path: Path, texts: Texts) -> list[str]:
    """The fields of the first records."""
    names: dict[str, None] = {}
    for text in texts[:LINES_LOOKED_AT].listed():
        try:
            names.update(dict.fromkeys(msgspec.json.decode(text, type=dict[str, msgspec.Raw])))
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            continue  # a dead letter
    if not names:
        what = f"none of the first {min(len(texts), LINES_LOOKED_AT)} lines is a JSON record"
        raise ServiceUnavailable(f"data {path}: {what}", f"is it really {path.suffix[1:]}?")
    return list(names)


class _Measures:
    """Label, value and classes of good records: fields that the stream needn't have."""

    def __init__(self, path: Path, names: Sequence[str]) -> None:
        self._path = path
        self._values: dict[str, list[str | int | float | bool | None]] = {name: [] for name in names}
        attributes = [(f"m{place}", str | int | float | bool | None, None) for place in range(len(names))]
        rename = {f"m{place}": name for place, name in enumerate(names)}
        self._parse = msgspec.json.Decoder(msgspec.defstruct("Measured", attributes, rename=rename, gc=False)).decode

    def add(self, texts: Texts, lines: I64) -> None:
        """Of these records, which are JSON. Raises InvalidDocument for a list or an object."""
        if not self._values:
            return
        for text, line in zip(texts.listed(), lines.tolist(), strict=True):
            try:
                found = self._parse(text)
            except msgspec.ValidationError as error:
                what = f"{error}; a label, a value or a class is text, a number, true or false"
                raise InvalidDocument(f"data {self._path}", [Problem(f"line {line}", what)]) from error
            for values, value in zip(self._values.values(), msgspec.structs.astuple(found), strict=True):
                values.append(value)

    def frame(self) -> pl.DataFrame:
        """A column each."""
        return pl.DataFrame([pl.Series(name, values, strict=False) for name, values in self._values.items()])


# -- columns ----------------------------------------------------------------------------------------------------------


def _columns(
    path: Path,
    stream: Stream,
    layout: Layout,
    strings: StringTable,
    sources: Mapping[str, str],
    measures: Sequence[str],
) -> _Table:
    """Parquet and CSV."""
    scan = COLUMNS[path.suffix.lower()](path)
    _have(path, scan.collect_schema().names(), sources, measures)
    frame = scan.select(list(dict.fromkeys([*sources.values(), *measures]))).collect()
    read = {name: column_of(frame[column], stream.field(name), strings, path) for name, column in sources.items()}
    bad = {name: column.bad for name, column in read.items() if column.bad.any()}
    values = np.zeros((len(layout.columns), len(frame)), np.int64)
    nulls = np.zeros(values.shape, np.uint8)
    for place, column in enumerate(layout.columns):
        values[place], nulls[place] = read[column.name].values, read[column.name].nulls
    return _Table(
        read[stream.event_time].values,
        values,
        nulls,
        frame,
        {name: int(rows.sum()) for name, rows in bad.items()},
        np.logical_or.reduce(list(bad.values())) if bad else None,
    )


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
    """The texts of the distinct values, sorted, and each row's place among them; null is `none`."""
    distinct = series.unique()
    texts = distinct.cast(pl.String).fill_null("none")
    names = texts.unique().sort()
    places = texts.replace_strict(names, pl.Series(range(len(names)), dtype=pl.Int64), return_dtype=pl.Int64)
    return tuple(names.to_list()), series.replace_strict(distinct, places, return_dtype=pl.Int64).to_numpy()
