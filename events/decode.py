"""Raw JSON records to columns, by schema; a record that isn't one of the stream costs only itself.

    raw: Texts ──► Decoder.decode ──► Decoded     good records: columns, event times, ids, their row in `raw`
                                      .rejected   the others: Rejected(row, reason, path, detail)

A decoder is built once per (stream, layout, string table) and looks only at the fields that the layout, the key, the
event time and the event id need (at all fields with `validate: all`). A kernel takes the records that are written
plainly (`events.scan`); msgspec, with a struct made of the declaration, takes the others and has the last word on what
is good. The two agree: which one took a record can't be seen. What is promised:

- A needed field must have its type: no number in quotes, no 1 for true, no 1.0 or 1e3 for an int64, nothing beyond
  int64, no NaN or infinity. A decimal or an epoch_s may be written with or without an exponent; it is rejected if its
  value needs more digits than declared. It is exact, with one exception: up to decimal(15, s), a text with more digits
  than a double has is read as the double nearest to it (0.10000000000000000001 is 0.1, and so fits decimal(15, 2)).
- Absent and null are the same for a nullable field, and rejected for any other.
- Other fields are looked at only as far as the record must be one JSON object in UTF-8, not nested deeper than
  DEPTH_MAX, not larger than the stream allows. Of a name that is there twice the last value counts.
- Instants lie in the years 1 to 9999. RFC 3339 text is rounded to microseconds, epoch_ns cut.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from operator import attrgetter
from typing import Annotated, Any

import msgspec
import numpy as np

from events.columns import I64, U8, Layout, StringTable
from events.scan import FIELDS_MAX, INSTANT_US_MAX, INSTANT_US_MIN, Scanner
from events.schema import Field, Format, Stream, Validate
from events.texts import Texts
from events.types import Kind

CHUNK = 1024
"""Records decoded at a time: their bytes stay in the caches until they are columns."""

DEPTH_MAX = 256
"""How deep a record may be nested. (Below Python's own limit, so that it doesn't depend on the caller.)"""

EVENT_ID_MAX = 256
"""Characters of an event id."""


class Reason(StrEnum):
    """Why a record isn't matched."""

    TOO_LARGE = "too_large"
    TOO_DEEP = "too_deep"
    NOT_UTF8 = "not_utf8"
    NOT_JSON = "not_json"
    MISSING = "missing"
    NULL = "null"
    WRONG_TYPE = "wrong_type"
    OUT_OF_RANGE = "out_of_range"
    TOO_FAR_AHEAD = "too_far_ahead"  # from here on: given by events.order
    LATE = "late"
    DUPLICATE = "duplicate"


@dataclass(frozen=True, slots=True)
class Rejected:
    """A record that isn't an event of the stream: its row in `raw`, why, where inside (`$.amount`), in words.

    `detail` never holds a value of the record: it may be a secret.
    """

    row: int
    reason: Reason
    path: str
    detail: str


@dataclass(frozen=True, slots=True)
class Decoded:
    """What `decode` made of `raw`; n good records, c columns of the layout, all arrays C-contiguous.

    rows:         int64[n], ascending: the place in `raw` of each good record
    values:       int64[c, n] as in `Batch`; 0 where null and in the columns of other streams
    nulls:        uint8[c, n] as in `Batch`; 1 in the columns of other streams
    event_at_us:  int64[n], the stream's event time
    ids:          the n event ids as text, or None where the stream names none
    rejected:     the other records, in order of row
    """

    rows: I64
    values: I64
    nulls: U8
    event_at_us: I64
    ids: list[str] | None
    rejected: list[Rejected]


@dataclass(frozen=True, slots=True)
class RawRecords:
    """`Records` over the raw bytes: row r is record r of the batch.

    ids:     event ids; None (the whole, or one) where the stream names none
    sources: the (topic, partition) pairs that `source` counts in
    """

    raw: Sequence[bytes]
    ids: Sequence[str | None] | None
    sources: Sequence[tuple[str, int]]
    source: I64
    offset: I64

    def event_id(self, row: int) -> str:
        """The producer's unique id where the schema names one, else topic/partition/offset."""
        given = self.ids[row] if self.ids is not None else None
        if given is not None:
            return given
        topic, partition, offset = self.position(row)
        return f"{topic}/{partition}/{offset}"

    def position(self, row: int) -> tuple[str, int, int]:
        """(topic, partition, offset)."""
        topic, partition = self.sources[self.source.item(row)]
        return topic, partition, self.offset.item(row)

    def payload(self, row: int) -> bytes:
        """The record's own JSON text."""
        return self.raw[row]


class Decoder:
    """Decodes records of `stream` into the columns of `layout`; strings become codes of `strings`."""

    def __init__(self, stream: Stream, layout: Layout, strings: StringTable) -> None:
        self.stream = stream
        self.layout = layout
        derived = {field.name for field in stream.derived}  # no record has them: null, as the columns of other streams
        places = {
            column.name: place
            for place, column in enumerate(layout.columns)
            if column.stream == stream.name and column.name not in derived
        }
        for name, place in places.items():
            assert stream.field(name).type == layout.columns[place].type, (
                f"column {name} has another type than its field"
            )
        fields = _needed(stream, places)
        rows = [places.get(field.name, -1) for field in fields]
        self._careful = _Careful(stream, fields, rows, len(layout.columns), strings)
        self._scanner = None
        if len(fields) <= FIELDS_MAX:
            row_of: dict[str, int | None] = {field.name: row for field, row in zip(fields, rows, strict=True)}
            known = stream.fields if len(stream.fields) <= FIELDS_MAX else fields
            rows_known = [row_of.get(field.name) for field in known]
            self._scanner = Scanner(known, rows_known, len(layout.columns), stream.event_time, stream.event_id, strings)

    def decode(self, raw: Sequence[bytes]) -> Decoded:
        """The columns of the good records of `raw` and the reasons for the others.

        Raises LimitReached when the string table is full. Nothing is lost then: the decoder keeps nothing of `raw`, so
        recycle the table (`StringTable.keep`) and call this again with the same records.
        """
        texts = Texts.of(raw)
        if len(texts) <= CHUNK:
            return self._chunk(texts, 0)
        return _joined([self._chunk(texts[first : first + CHUNK], first) for first in range(0, len(texts), CHUNK)])

    def _chunk(self, raw: Texts, first: int) -> Decoded:
        """`decode` for few records, `first` being the row of the first."""
        if self._scanner is None:
            return _moved(self._careful.decode(raw.listed()), first)
        scanned = self._scanner.scan(raw)
        good, ids = scanned.good, scanned.ids
        if scanned.largest > self.stream.record_bytes_max:
            good &= raw.sizes() <= self.stream.record_bytes_max
        rows = np.arange(first, first + len(raw))
        if good.all():
            return Decoded(rows, scanned.values, scanned.nulls, scanned.at_us, ids, [])
        left = np.flatnonzero(~good)
        rest = self._careful.decode(raw.take(left).listed())
        back = left[rest.rows]
        scanned.values[:, back], scanned.nulls[:, back], scanned.at_us[back] = rest.values, rest.nulls, rest.event_at_us
        if ids is not None:
            for row, text in zip(back.tolist(), rest.ids or (), strict=True):
                ids[row] = text
        good[back] = True
        whole = Decoded(rows, scanned.values, scanned.nulls, scanned.at_us, ids, [])
        rejected = [replace(item, row=int(left[item.row]) + first) for item in rest.rejected]
        return replace(_taken(whole, np.flatnonzero(good)), rejected=rejected)


# --- one record after the other, and the reason for each that is bad --------------------------------------------------


class _Careful:
    """Decodes by msgspec: twice the time of the kernel, and the last word."""

    def __init__(
        self, stream: Stream, fields: Sequence[Field], rows: Sequence[int], columns: int, strings: StringTable
    ) -> None:
        self._bytes_max = stream.record_bytes_max
        self._columns = columns
        self._parse = msgspec.json.Decoder(_struct(stream, fields)).decode
        self._readers = [
            reader
            for number, (field, row) in enumerate(zip(fields, rows, strict=True))
            if (reader := _Reader(field, f"f{number}", row, field.name == stream.event_time, strings)).is_read
        ]
        self._id = _id_getter(stream, fields)

    def decode(self, raw: Sequence[bytes]) -> Decoded:
        """As `Decoder.decode`."""
        rejected = _unfit(raw, self._bytes_max)
        records = self._records(raw, rejected)
        rows = np.arange(len(raw))
        if rejected:
            rows = np.delete(rows, list(rejected))
        c, n = self._columns, len(records)
        values, nulls, at_us = np.zeros((c, n), np.int64), np.ones((c, n), np.uint8), np.empty(n, np.int64)
        bad: set[int] = set()
        for reader in self._readers:
            column = reader.read(records)
            if reader.row >= 0:
                values[reader.row], nulls[reader.row] = column.values, column.nulls
            if reader.is_event_time:
                at_us = column.values
            for index, reason, detail in column.bad:
                bad.add(index)
                row = int(rows[index])
                rejected.setdefault(row, Rejected(row, reason, f"$.{reader.field.name}", detail))
        ids = self._id(records) if self._id else None
        decoded = Decoded(rows, values, nulls, at_us, ids, [rejected[row] for row in sorted(rejected)])
        return _taken(decoded, np.delete(np.arange(n), sorted(bad))) if bad else decoded

    def _records(self, raw: Sequence[bytes], rejected: dict[int, Rejected]) -> list[Any]:
        """The structs of the records that have not been rejected; rejects those that have none."""
        records: list[Any] = []
        fit = [row for row in range(len(raw)) if row not in rejected] if rejected else range(len(raw))
        left = iter([raw[row] for row in fit] if rejected else raw)
        failed = 0
        while True:
            try:
                # `extend` keeps what it has when the iterator fails, and `left` stands behind the record that failed.
                records.extend(map(self._parse, left))
                return records
            except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
                row = fit[len(records) + failed]
                failed += 1
                rejected[row] = _rejected(row, error)


# --- from declarations to structs -------------------------------------------------------------------------------------


def _needed(stream: Stream, places: Collection[str]) -> list[Field]:
    """The fields that are checked, as the stream declares them: msgspec is fastest where records have that order."""
    names = {*places, *stream.key, stream.event_time, stream.event_id}
    return [field for field in stream.fields if field.name in names or stream.validate is Validate.ALL]


def _struct(stream: Stream, fields: Sequence[Field]) -> type[msgspec.Struct]:
    """A struct with attributes f0, f1, … (a field may have any name, as `__class__`) that reads the fields' names."""
    declared: list[tuple[str, Any] | tuple[str, Any, Any]] = []
    for number, field in enumerate(fields):
        read_as = _read_as(field, is_event_id=field.name == stream.event_id)
        if not field.nullable:
            declared.append((f"f{number}", read_as))
        elif read_as is msgspec.Raw:
            declared.append((f"f{number}", read_as, msgspec.Raw(b"null")))
        else:
            declared.append((f"f{number}", read_as | None, None))
    rename = {f"f{number}": field.name for number, field in enumerate(fields)}
    # By keyword, for a nullable field may stand before one that every record has.
    return msgspec.defstruct("Record", declared, rename=rename, gc=False, kw_only=True)


_INT64 = Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]
_EPOCH_MS = Annotated[int, msgspec.Meta(ge=INSTANT_US_MIN // 1_000, le=INSTANT_US_MAX // 1_000)]
_EPOCH_US = Annotated[int, msgspec.Meta(ge=INSTANT_US_MIN, le=INSTANT_US_MAX)]
_EVENT_ID = Annotated[str, msgspec.Meta(min_length=1, max_length=EVENT_ID_MAX)]
_INSTANTS: dict[Format, Any] = {
    Format.RFC3339: Annotated[datetime, msgspec.Meta(tz=True)],
    Format.DATETIME: Annotated[datetime, msgspec.Meta(tz=False)],
    Format.EPOCH_S: float,
    Format.EPOCH_MS: _EPOCH_MS,
    Format.EPOCH_US: _EPOCH_US,
    Format.EPOCH_NS: _INT64,
}
_DOUBLE_DIGITS = 15


def _read_as(field: Field, is_event_id: bool) -> Any:
    """The Python type that msgspec checks and makes."""
    kind = field.type.kind
    if kind is Kind.INSTANT:
        return _INSTANTS[field.format]
    if kind is Kind.DECIMAL:
        return float if field.type.precision <= _DOUBLE_DIGITS else msgspec.Raw
    if kind is Kind.STRING:
        return _EVENT_ID if is_event_id else str
    return {Kind.INT64: _INT64, Kind.FLOAT64: float, Kind.BOOL: bool}[kind]


def _id_getter(stream: Stream, fields: Sequence[Field]) -> Callable[[list[Any]], list[str]] | None:
    if stream.event_id is None:
        return None
    place = [field.name for field in fields].index(stream.event_id)
    get = attrgetter(f"f{place}")
    if fields[place].type.kind is Kind.STRING:
        return lambda records: list(map(get, records))
    return lambda records: list(map(str, map(get, records)))


# --- from structs to columns ------------------------------------------------------------------------------------------

Bad = tuple[int, Reason, str]
"""(place among the values, why, in words)"""

Convert = Callable[[Sequence[Any]], tuple[I64, list[Bad]]]
"""Values without None to a column, and which of them don't fit; their place in the column is 0."""


@dataclass(frozen=True, slots=True)
class _Column:
    """One field of all records: nulls is 0 where no record has a null."""

    values: I64
    nulls: U8 | int
    bad: list[Bad]


class _Reader:
    """Turns one field of the structs into a column."""

    def __init__(self, field: Field, attribute: str, row: int, is_event_time: bool, table: StringTable) -> None:
        self.field = field
        self.row = row
        self.is_event_time = is_event_time
        self._get: Callable[[Any], Any] = attrgetter(attribute)
        self._is_text = _read_as(field, is_event_id=False) is msgspec.Raw
        self._convert = _converter(field, table)

    @property
    def is_read(self) -> bool:
        """Is there anything to do that the struct has not done?"""
        checks = self.field.type.kind is Kind.DECIMAL or self.field.format is Format.EPOCH_S
        return self.row >= 0 or self.is_event_time or checks

    def read(self, records: list[Any]) -> _Column:
        """The column of this field."""
        values = list(map(self._get, records))
        if self._is_text:
            values = list(map(_number_text, values))
        if not self.field.nullable:
            column, bad = self._convert(values)
            return _Column(column, 0, bad)
        absent = np.fromiter((value is None for value in values), np.bool_, len(values))
        if not absent.any():
            column, bad = self._convert(values)
            return _Column(column, 0, bad)
        present = np.flatnonzero(~absent)
        some, bad = self._convert([value for value in values if value is not None])
        column = np.zeros(len(values), np.int64)
        column[present] = some
        return _Column(column, absent.view(np.uint8), [(int(present[at]), why, detail) for at, why, detail in bad])


def _converter(field: Field, table: StringTable) -> Convert:
    kind, scale = field.type.kind, field.type.scale
    if kind is Kind.STRING:
        return lambda texts: (_codes(texts, table), [])
    if kind is Kind.FLOAT64:
        return lambda values: (np.fromiter(values, np.float64, len(values)).view(np.int64), [])
    if kind is Kind.DECIMAL:
        most, detail = 10**field.type.precision - 1, f"more digits than {field.type} has"
        if field.type.precision <= _DOUBLE_DIGITS:
            return lambda values: _scaled(values, scale, -most, most, detail)
        return lambda texts: _scaled_texts(texts, scale, most, detail)
    if kind is Kind.INSTANT:
        return _instants(field.format)
    return lambda values: (np.fromiter(values, np.int64, len(values)), [])


def _codes(texts: Sequence[str], table: StringTable) -> I64:
    """The code of each text. New texts get theirs in order of row: a replay gives the same codes."""
    codes = table.codes
    try:
        return np.fromiter(map(codes.__getitem__, texts), np.int64, len(texts))
    except KeyError:
        return np.fromiter([codes[text] if text in codes else table.code(text) for text in texts], np.int64, len(texts))


_NO_INSTANT = "not an instant of the years 1 to 9999"


def _instants(format: Format) -> Convert:
    if format is Format.EPOCH_S:
        return lambda values: _scaled(values, 6, INSTANT_US_MIN, INSTANT_US_MAX, f"{_NO_INSTANT} in whole microseconds")
    if format is Format.RFC3339:
        return _from_zoned
    if format is Format.DATETIME:
        return lambda values: (_microseconds(values, datetime(1970, 1, 1)), [])  # noqa: DTZ001 - the text has no zone
    if format is Format.EPOCH_NS:
        return lambda values: (np.fromiter(values, np.int64, len(values)) // 1_000, [])
    factor = 1_000 if format is Format.EPOCH_MS else 1
    return lambda values: (np.fromiter(values, np.int64, len(values)) * factor, [])


def _from_zoned(values: Sequence[datetime]) -> tuple[I64, list[Bad]]:
    """Microseconds since 1970 of instants with a zone; at the ends of the calendar a zone can leave it."""
    seconds = np.fromiter(map(datetime.timestamp, values), np.float64, len(values))
    rounded = np.rint(seconds * 1e6)
    if (np.abs(rounded) < _EXACT).all():
        return rounded.astype(np.int64), []
    column = _microseconds(values, datetime(1970, 1, 1, tzinfo=UTC))
    outside = (column < INSTANT_US_MIN) | (column > INSTANT_US_MAX)
    column[outside] = 0
    return column, [(int(at), Reason.OUT_OF_RANGE, _NO_INSTANT) for at in np.flatnonzero(outside)]


def _microseconds(values: Sequence[datetime], epoch: datetime) -> I64:
    us = timedelta(microseconds=1)
    return np.fromiter(((value - epoch) // us for value in values), np.int64, len(values))


_EXACT = 2.0**52


def _scaled(values: Sequence[float], scale: int, low: int, high: int, detail: str) -> tuple[I64, list[Bad]]:
    """value x 10^scale of doubles, where that is a whole number from `low` to `high`.

    The double x was read from a text of at most `scale` decimals if nearest(m / 10^scale) == x for a whole m. Below
    2^52 doubles lie closer together than such texts, so there is at most one such m, and division rounds correctly, so
    the comparison finds it: exact, without a loop. The others are looked at one by one, by their shortest text.
    """
    x = np.fromiter(values, np.float64, len(values))
    with np.errstate(over="ignore"):
        m = np.rint(x * 10.0**scale)
        sure = (m / 10.0**scale == x) & (np.abs(m) < _EXACT)
    column = np.where(sure, m, 0.0).astype(np.int64)
    unsure = np.flatnonzero(~sure | (column < low) | (column > high))
    if not len(unsure):
        return column, []
    bad: list[Bad] = []
    for at in unsure.tolist():
        exact = _scaled_text(repr(values[at]), scale)
        fits = exact is not None and low <= exact <= high
        column[at] = exact if exact is not None and fits else 0
        if not fits:
            bad.append((at, Reason.OUT_OF_RANGE, detail))
    return column, bad


def _scaled_texts(texts: Sequence[str | None], scale: int, most: int, detail: str) -> tuple[I64, list[Bad]]:
    """value x 10^scale of JSON texts; None is a null where none may be."""
    column, bad = np.zeros(len(texts), np.int64), []
    for at, text in enumerate(texts):
        exact = _scaled_text(text, scale) if text and text[0] in "-0123456789" else None
        if text is None:
            bad.append((at, Reason.NULL, "null, but the field is not nullable"))
        elif text[0] not in "-0123456789":
            bad.append((at, Reason.WRONG_TYPE, "not a number"))
        elif exact is None or abs(exact) > most:
            bad.append((at, Reason.OUT_OF_RANGE, detail))
        else:
            column[at] = exact
    return column, bad


def _scaled_text(text: str, scale: int) -> int | None:
    """The number of a JSON text x 10^scale, None where that is not whole or has more than 19 digits.

    >>> _scaled_text("-12.50", 2), _scaled_text("1e3", 0), _scaled_text("0.001", 2), _scaled_text("1e999999999", 2)
    (-1250, 1000, None, None)
    """
    mantissa, _, exponent = text.lower().partition("e")
    whole, _, fraction = mantissa.removeprefix("-").partition(".")
    digits = (whole + fraction).lstrip("0")
    significant = digits.rstrip("0")
    if not significant:
        return 0
    if len(exponent) > 9:
        return None
    power = int(exponent or 0) - len(fraction) + len(digits) - len(significant) + scale
    if power < 0 or len(significant) + power > 19:
        return None
    number: int = int(significant) * 10**power
    return -number if mantissa.startswith("-") else number


def _number_text(raw: msgspec.Raw) -> str | None:
    """The JSON text of a value, None for null."""
    text = bytes(raw).decode("latin-1")
    return None if text == "null" else text


# --- what is wrong with a record --------------------------------------------------------------------------------------


def _unfit(raw: Sequence[bytes], bytes_max: int) -> dict[int, Rejected]:
    """The records that are not even tried: too large, nested too deeply, not UTF-8."""
    rejected: dict[int, Rejected] = {}
    largest = max(map(len, raw), default=0)
    if largest > min(bytes_max, 2 * DEPTH_MAX):  # what is shorter can't be nested deeper
        for row, record in enumerate(raw):
            if len(record) > bytes_max:
                detail = f"{len(record)} bytes, but the stream allows {bytes_max} (record_bytes)"
                rejected[row] = Rejected(row, Reason.TOO_LARGE, "$", detail)
            elif _is_deep(record):
                rejected[row] = Rejected(row, Reason.TOO_DEEP, "$", f"nested deeper than {DEPTH_MAX}")
    if not all(map(bytes.isascii, raw)):
        for row, record in enumerate(raw):
            if row not in rejected and not _is_utf8(record):
                rejected[row] = Rejected(row, Reason.NOT_UTF8, "$", "not UTF-8")
    return rejected


_STRINGS = re.compile(rb'"(?:[^"\\]|\\.)*"?', re.DOTALL)
_BRACKETS = re.compile(rb"[\[\]{}]")


def _is_deep(record: bytes) -> bool:
    """Is it nested deeper than DEPTH_MAX?"""
    if len(record) <= 2 * DEPTH_MAX or record.count(b"{") + record.count(b"[") <= DEPTH_MAX:
        return False
    depth = 0
    for bracket in _BRACKETS.findall(_STRINGS.sub(b"", record)):
        depth += 1 if bracket in b"[{" else -1
        if depth > DEPTH_MAX:
            return True
    return False


def _is_utf8(record: bytes) -> bool:
    try:
        record.decode()
    except UnicodeDecodeError:
        return False
    return True


_REASONS = (
    ("Object missing required field", Reason.MISSING),
    ("got `null`", Reason.NULL),
    ("out of range", Reason.OUT_OF_RANGE),
    ("` <= ", Reason.OUT_OF_RANGE),
    ("` >= ", Reason.OUT_OF_RANGE),
    ("of length", Reason.OUT_OF_RANGE),
)


def _rejected(row: int, error: Exception) -> Rejected:
    """What msgspec says, by its message: "Expected `int`, got `float` - at `$.amount`". It never has a value in it."""
    message = str(error)
    if isinstance(error, RecursionError):
        return Rejected(row, Reason.TOO_DEEP, "$", f"nested deeper than {DEPTH_MAX}")
    if not isinstance(error, msgspec.ValidationError):
        return Rejected(row, Reason.NOT_JSON, "$", message)
    detail, _, path = message.partition(" - at `")
    reason = next((reason for part, reason in _REASONS if part in detail), Reason.WRONG_TYPE)
    path = path.removesuffix("`") or "$"
    if reason is Reason.MISSING:
        path = f"{path}.{detail.split('`')[1]}"
    return Rejected(row, reason, path, detail)


# --- pieces of a batch ------------------------------------------------------------------------------------------------


def _taken(decoded: Decoded, places: I64) -> Decoded:
    """The records at these places."""
    ids = decoded.ids
    return Decoded(
        decoded.rows[places],
        decoded.values.take(places, axis=1),
        decoded.nulls.take(places, axis=1),
        decoded.event_at_us[places],
        [ids[place] for place in places.tolist()] if ids is not None else None,
        decoded.rejected,
    )


def _moved(decoded: Decoded, first: int) -> Decoded:
    """With rows that count from `first`."""
    rejected = [replace(item, row=item.row + first) for item in decoded.rejected]
    return replace(decoded, rows=decoded.rows + first, rejected=rejected)


def _joined(parts: Sequence[Decoded]) -> Decoded:
    """One after the other."""
    return Decoded(
        np.concatenate([part.rows for part in parts]),
        np.concatenate([part.values for part in parts], axis=1),
        np.concatenate([part.nulls for part in parts], axis=1),
        np.concatenate([part.event_at_us for part in parts]),
        None if parts[0].ids is None else [text for part in parts for text in part.ids or ()],
        [rejected for part in parts for rejected in part.rejected],
    )
