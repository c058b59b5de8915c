"""Decode: compared with json and Decimal, one record at a time; and each way in which a record can be bad."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal, InvalidOperation

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from events.columns import Column, Layout, StringTable
from events.decode import (
    CHUNK,
    DEPTH_MAX,
    EVENT_ID_MAX,
    Decoded,
    Decoder,
    RawRecords,
    Reason,
)
from events.errors import LimitReached
from events.scan import INSTANT_US_MAX, INSTANT_US_MIN
from events.schema import Field, Format, Stream, Validate
from events.types import BOOL, FLOAT64, INSTANT, INT64, STRING, Kind, Type

MONEY = Type(Kind.DECIMAL, 12, 2)
LONG = Type(Kind.DECIMAL, 18, 3)

FIELDS = (
    Field("id", STRING),
    Field("at", INSTANT, format=Format.EPOCH_MS),
    Field("card", INT64),
    Field("amount", MONEY),
    Field("long", LONG, nullable=True),
    Field("risk", FLOAT64, nullable=True),
    Field("ok", BOOL, nullable=True),
    Field("country", STRING, nullable=True),
    Field("seen", INSTANT, nullable=True),
    Field("local", INSTANT, nullable=True, format=Format.DATETIME),
    Field("seconds", INSTANT, nullable=True, format=Format.EPOCH_S),
    Field("micros", INSTANT, nullable=True, format=Format.EPOCH_US),
    Field("nanos", INSTANT, nullable=True, format=Format.EPOCH_NS),
)
ALL = tuple(field.name for field in FIELDS)
TX = Stream("tx", "tx", FIELDS, "at", event_id="id", key=("card",))
GOOD = {"id": "t1", "at": 1_700_000_000_000, "card": 7, "amount": 12.5}


def layout_of(names: Sequence[str] = ALL, stream: Stream = TX) -> Layout:
    return Layout((stream.name,), tuple(Column(stream.name, name, stream.field(name).type) for name in names))


def decode(*raw: bytes | dict[str, object], names: Sequence[str] = ALL, stream: Stream = TX) -> Decoded:
    listed = [item if isinstance(item, bytes) else json.dumps(item).encode() for item in raw]
    return Decoder(stream, layout_of(names, stream), StringTable()).decode(listed)


def why(*raw: bytes | dict[str, object], names: Sequence[str] = ALL, stream: Stream = TX) -> list[tuple[object, ...]]:
    return [(item.row, item.reason, item.path) for item in decode(*raw, names=names, stream=stream).rejected]


def with_(text: str) -> bytes:
    """A good record with these members besides."""
    return json.dumps(GOOD).encode()[:-1] + b"," + text.encode() + b"}"


# --- the slow decoder -------------------------------------------------------------------------------------------------

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Number(str):
    """The text of a JSON number, so that 1 and 1.0 differ."""


def slow(raw: bytes, strings: StringTable) -> dict[str, int | None] | None:
    """Field to stored integer (or None for null) of a record, None for a bad one."""

    def refuse(text: str) -> object:
        raise ValueError(text)

    try:
        document = json.loads(raw.decode(), parse_int=Number, parse_float=Number, parse_constant=refuse)
    except ValueError:
        return None
    if not isinstance(document, dict):
        return None
    found: dict[str, int | None] = {}
    for field in FIELDS:
        value = document.get(field.name)
        if value is None:
            if not field.nullable:
                return None
            found[field.name] = None
            continue
        stored = slow_value(field, value, strings)
        if stored is None:
            return None
        found[field.name] = stored
    return found


def slow_value(field: Field, value: object, strings: StringTable) -> int | None:
    kind = field.type.kind
    if kind is Kind.BOOL:
        return int(value) if isinstance(value, bool) else None
    if kind is Kind.STRING:
        if not isinstance(value, str) or isinstance(value, Number):
            return None
        return strings.code(value) if field.name != "id" or 1 <= len(value) <= EVENT_ID_MAX else None
    if kind is Kind.INSTANT and field.format in (Format.RFC3339, Format.DATETIME):
        return slow_instant(field.format, value)
    if not isinstance(value, Number):
        return None
    if kind is Kind.FLOAT64:
        number = float(value) if value != "-0" else 0.0
        return int(np.float64(number).view(np.int64)) if abs(number) != float("inf") else None
    if kind is Kind.DECIMAL:
        # Up to 15 digits a number is what its double shows.
        text = value if field.type.precision > 15 else repr(float(value))
        return scaled(text, field.type.scale, -(10**field.type.precision) + 1, 10**field.type.precision - 1)
    if field.format is Format.EPOCH_S and kind is Kind.INSTANT:
        return scaled(repr(float(value)), 6, INSTANT_US_MIN, INSTANT_US_MAX)
    if set(value) & set(".eE") or not -(2**63) <= int(value) < 2**63:
        return None
    if kind is Kind.INT64:
        return int(value)
    number_us = {Format.EPOCH_MS: int(value) * 1000, Format.EPOCH_US: int(value), Format.EPOCH_NS: int(value) // 1000}
    us = number_us[field.format]
    return us if INSTANT_US_MIN <= us <= INSTANT_US_MAX else None


def scaled(text: str, scale: int, low: int, high: int) -> int | None:
    try:
        number = Decimal(text)
    except InvalidOperation:
        return None
    if not number.is_finite() or abs(number.adjusted()) > 1000:
        return 0 if not number else None
    sign, digits, exponent = number.as_tuple()
    assert isinstance(exponent, int)
    value = int("".join(map(str, digits)))
    whole, rest = divmod(value * 10 ** (scale + max(exponent, 0)), 10 ** max(-exponent, 0))
    whole = -whole if sign else whole
    return whole if rest == 0 and low <= whole <= high else None


def slow_instant(format: Format, value: object) -> int | None:
    if not isinstance(value, str) or isinstance(value, Number):
        return None
    try:
        instant = datetime.fromisoformat(value)
    except ValueError:
        return None
    if (instant.tzinfo is None) != (format is Format.DATETIME):
        return None
    if instant.tzinfo is None:
        instant = instant.replace(tzinfo=UTC)
    us = (instant - EPOCH) // timedelta(microseconds=1)
    return us if INSTANT_US_MIN <= us <= INSTANT_US_MAX else None


# --- any records, compared --------------------------------------------------------------------------------------------

ODD_NUMBERS = (
    "0", "-0", "-0.0", "1.0", "1e2", "1E+2", "10e-1", "1e-3", "9223372036854775807", "9223372036854775808",
    "999999999999999.999", "0.125", "12.345", "1700000000.123456", "1700000000.1234567", "4e9", "9999999999.99",
    "253402300799.999999", "253402300800", "1e400", "-1e400", "1e-400", "NaN", "Infinity", "01", "1.", ".5",
)  # fmt: skip
numbers = st.one_of(
    st.integers(-(2**66), 2**66).map(str),
    st.integers(-(10**6), 10**6).map(str),
    st.integers(-(10**16), 10**16).map(lambda n: f"{n // 1000}.{abs(n) % 1000:03d}"),
    st.decimals(-(10**12), 10**12, places=2).map(str),
    st.decimals(-(10**16), 10**16, places=3).map(str),
    st.floats(allow_nan=False, allow_infinity=False).map(repr),
    st.sampled_from(ODD_NUMBERS),
)
instants = st.one_of(
    st.datetimes(timezones=st.none() | st.just(UTC)).map(datetime.isoformat),
    st.sampled_from(["2024-02-30T00:00:00Z", "2024-01-02T03:04:05Z", "2024-01-02T03:04:05.5+02:00", "soon", ""]),
    st.sampled_from(["0001-01-01T00:00:00+01:00", "9999-12-31T23:59:59-01:00", "9999-12-31T23:59:59.999999Z"]),
).map(json.dumps)
texts = st.text(max_size=6).map(json.dumps)
anything = st.one_of(
    numbers, instants, texts, st.sampled_from(["null", "true", "false", "[]", '{"a":[1,2]}', "[[", ""])
)

likely = {
    Kind.INT64: st.integers(-(2**63), 2**63 - 1).map(str),
    Kind.FLOAT64: numbers,
    Kind.DECIMAL: st.integers(-(10**14), 10**14).map(lambda n: f"{Decimal(n).scaleb(-2):f}"),
    Kind.BOOL: st.sampled_from(["true", "false"]),
    Kind.STRING: texts,
}
instant_numbers = {
    Format.RFC3339: instants,
    Format.DATETIME: instants,
    Format.EPOCH_S: st.integers(INSTANT_US_MIN // 10**6, 2**33 * 10**6).map(lambda n: f"{Decimal(n).scaleb(-6):f}"),
    Format.EPOCH_MS: st.integers(INSTANT_US_MIN // 1000, INSTANT_US_MAX // 1000).map(str),
    Format.EPOCH_US: st.integers(INSTANT_US_MIN, INSTANT_US_MAX).map(str),
    Format.EPOCH_NS: st.integers(-(2**63), 2**63 - 1).map(str),
}


@st.composite
def record(draw: st.DrawFn) -> bytes:
    """A record that is good in most fields: it is the whole record that is rejected."""
    spoilt = draw(st.sampled_from([None, *ALL]))
    members = ['"other":{"x":[1,"y"]}'] if draw(st.booleans()) else []
    for field in FIELDS:
        if field.name != spoilt and field.nullable and draw(st.booleans()):
            continue
        fits = instant_numbers[field.format] if field.type.kind is Kind.INSTANT else likely[field.type.kind]
        value = draw(anything if field.name == spoilt else fits)
        members.append(f"{json.dumps(field.name)}:{value}")
    raw = "{" + ", ".join(draw(st.permutations(members))) + "}"
    return raw.encode("utf-8", "surrogatepass")


@settings(max_examples=300, deadline=None)
@given(st.lists(record(), max_size=6))
def test_decode_finds_what_json_and_decimal_find(raw: list[bytes]) -> None:
    """Same records accepted, same columns, and the rows of the others."""
    strings = StringTable()
    decoded = Decoder(TX, layout_of(), strings).decode(raw)
    expected = {row: found for row, item in enumerate(raw) if (found := slow(item, strings)) is not None}
    assert decoded.rows.tolist() == list(expected)
    assert [item.row for item in decoded.rejected] == [row for row in range(len(raw)) if row not in expected]
    for place, name in enumerate(ALL):
        columns = [found[name] for found in expected.values()]
        assert decoded.nulls[place].tolist() == [int(value is None) for value in columns]
        assert decoded.values[place].tolist() == [value or 0 for value in columns]
    assert decoded.event_at_us.tolist() == [found["at"] for found in expected.values()]
    assert decoded.ids == [json.loads(raw[row])["id"] for row in expected]
    check_shapes(decoded, len(ALL))


def check_shapes(decoded: Decoded, columns: int) -> None:
    n = len(decoded.rows)
    for array, shape, kind in (
        (decoded.rows, (n,), np.int64),
        (decoded.values, (columns, n), np.int64),
        (decoded.nulls, (columns, n), np.uint8),
        (decoded.event_at_us, (n,), np.int64),
    ):
        assert array.shape == shape
        assert array.dtype == kind
        assert array.flags.c_contiguous


# --- the kernel and msgspec, compared ---------------------------------------------------------------------------------

PIECES = [
    *(sign.encode() for sign in '"\\{}[],:019-+.eE \n\t\0\x1f\x7fénZT'),
    *(b"\xff", b"null", b"true", b"false", b"\\n", b"\\u00e9", b'\\"', b'""', b"{}", b"[]", b"00", b"1e5"),
    *(b'"x":', b'"card":', b'"amount":1,', b',"ok":null', b"  "),
]
CHOICES: dict[str, list[object]] = {
    "id": ["t1", "é", "x" * 50, "", 'a"b', "日本"],
    "at": [0, 1_700_000_000_000, INSTANT_US_MIN // 1000, INSTANT_US_MAX // 1000, INSTANT_US_MAX // 1000 + 1, -5],
    "card": [0, -1, 7, 2**63 - 1, -(2**63), 2**63, 10**18, 10**19],
    "amount": [0, 1.5, -2.25, 12.345, 12.5, 9999999999.99, 1e10, 0.1],
    "long": [1, 1.5, 123456789012345.678, -0.001, 999999999999999],
    "risk": [0.0, -0.0, 1e22, 1e23, 1e-7, 5e-324, 0.1, 12345678901234567890, 3, 2**53 + 1, 0.30000000000000004],
    "ok": [True, False],
    "country": ["DE", "a" * 41, "b" * 40, "c" * 8, "d" * 9, "é", ""],
    "seen": [
        *("2024-02-29T12:00:00Z", "2023-02-29T12:00:00Z", "2024-01-02T03:04:05.123456+05:30", "1900-02-29T00:00:00Z"),
        *("2024-01-02t03:04:05.1234567z", "2000-12-31 23:59:59-23:59", "0001-01-01T00:00:00+00:01", "2024-1-2T0:0:0Z"),
    ],
    "local": ["2024-01-02T03:04:05", "2024-12-31 23:59:59.5", "2024-01-02T03:04:05Z", "1969-12-31T23:59:59.999999"],
    "seconds": [1_700_000_000, 1_700_000_000.5, 1_700_000_000.123456, 1_700_000_000.1234567, -1.5, 4503599627.370496],
    "micros": [5, INSTANT_US_MAX],
    "nanos": [-1, 1_704_164_645_123_456_789],
    "other": [{"a": [1, {"b": []}], "c": {}}, [[[]]], 'text " \\ / \n é 𝄞', 1.5e-3, None, True, {"": ""}, "card"],
}


def any_record(rng: random.Random) -> bytes:
    """A record that may be good, then perhaps damaged in a byte or a few."""
    row = {name: rng.choice(choices) for name, choices in CHOICES.items() if rng.random() < 0.7}
    row |= {name: GOOD[name] for name in GOOD if rng.random() < 0.7}
    items = rng.sample(list(row.items()), len(row))
    signs = rng.choice([(",", ":"), (", ", ": "), (" ,\n", "\t:\r")])
    raw = json.dumps(dict(items), ensure_ascii=rng.random() < 0.5, separators=signs).encode()
    for _ in range(rng.choice([0, 0, 1, 2])):
        at = rng.randrange(len(raw) + 1)
        raw = raw[:at] + rng.choice([b"", rng.choice(PIECES)]) + raw[at + rng.choice([0, 1, 3]) :]
    return raw


@pytest.mark.parametrize("seed", range(10))
def test_what_the_kernel_takes_it_takes_as_msgspec_does(seed: int) -> None:
    """Damaged records: the kernel may leave a good one, but takes no bad one and reads nothing else."""
    rng, strings = random.Random(seed), StringTable()
    decoder = Decoder(TX, layout_of(), strings)
    taken = 0
    for size in (1, 2, 50, 1000):
        raw = [any_record(rng) for _ in range(size)]
        assert decoder._scanner is not None
        scanned, careful = decoder._scanner.scan(raw), decoder._careful.decode(raw)
        place = {row: at for at, row in enumerate(careful.rows.tolist())}
        for row in np.flatnonzero(scanned.good).tolist():
            assert row in place, raw[row]
            at = place[row]
            assert scanned.values[:, row].tolist() == careful.values[:, at].tolist(), raw[row]
            assert scanned.nulls[:, row].tolist() == careful.nulls[:, at].tolist(), raw[row]
            assert scanned.at_us[row] == careful.event_at_us[at], raw[row]
            assert scanned.ids is not None
            assert careful.ids is not None
            assert scanned.ids[row] == careful.ids[at], raw[row]
        taken += int(scanned.good.sum())
        strings.keep([code for code in strings.codes.values() if rng.random() < 0.5])
    assert taken > 30


def test_plain_records_are_taken_by_the_kernel() -> None:
    """The fast way is the usual way; it would be slow, not wrong, if this failed."""
    row = {**GOOD, "long": 1.5, "risk": 0.25, "ok": True, "country": "DÉ", "local": "2024-01-02T03:04:05.5", "nanos": 1}
    row |= {"seen": "2024-01-02T03:04:05.123Z", "seconds": 1_700_000_000.25, "micros": None, "other": {"a": ['"', {}]}}
    raw = [json.dumps(row, ensure_ascii=False, indent=indent).encode() for indent in (None, 2)]
    decoder = Decoder(TX, layout_of(), StringTable())
    assert decoder._scanner is not None
    assert decoder._scanner.scan(raw).good.tolist() == [True, True]


def test_streams_of_very_many_needed_fields_go_the_careful_way() -> None:
    """The kernel keeps 64 bits of fields."""
    names = [f"field_with_a_long_name_{number}" for number in range(100)]
    for count in (63, 100):
        stream = Stream("s", "s", (Field("at", INSTANT), *(Field(name, INT64) for name in names[:count])), "at")
        row: dict[str, object] = {name: number for number, name in enumerate(names)}
        decoded = decode({**row, "at": "2024-01-01T00:00:00Z"}, b"", names=names[:count], stream=stream)
        assert decoded.values[:, 0].tolist() == list(range(count))
        assert [item.row for item in decoded.rejected] == [1]


def test_codes_are_found_again_after_recycling() -> None:
    """The kernel remembers codes only as long as the string table does; thousands of texts, some of them long."""
    strings = StringTable()
    decoder = Decoder(TX, layout_of(("country",)), strings)
    rng = random.Random(1)
    for _ in range(5):
        texts = [f"{rng.randrange(3000)}" * rng.choice([1, 3, 12]) for _ in range(3000)]
        decoded = decoder.decode([json.dumps({**GOOD, "country": text}).encode() for text in texts])
        assert [strings.text(code) for code in decoded.values[0].tolist()] == texts
        strings.keep([code for code in strings.codes.values() if rng.random() < 0.5])


# --- one bad record ---------------------------------------------------------------------------------------------------

DEEP = b"[" * 300 + b"]" * 300


@pytest.mark.parametrize(
    ("raw", "reason", "path"),
    [
        (b"", Reason.NOT_JSON, "$"),
        (b"hello", Reason.NOT_JSON, "$"),
        (b'{"id":"a"', Reason.NOT_JSON, "$"),
        (with_('"x":NaN'), Reason.NOT_JSON, "$"),
        (with_('"risk":NaN'), Reason.NOT_JSON, "$"),
        (with_('"risk":-Infinity'), Reason.NOT_JSON, "$"),
        (with_('"x":01'), Reason.NOT_JSON, "$"),
        (b'{"id":"a","at":1,"card":01,"amount":1}', Reason.NOT_JSON, "$"),
        (b'{"id":"a","at":1,"card":-,"amount":1}', Reason.NOT_JSON, "$"),
        (b'{"id":"a","at":1,"card":1,"amount":-01.5}', Reason.NOT_JSON, "$"),
        (b'{"id":"a","at":1,"card":1,"amount":1.}', Reason.NOT_JSON, "$"),
        (b'{"id":"a","at":1,"card":1,"amount":.5}', Reason.NOT_JSON, "$"),
        (b'{"id":"a","at":1,"card":1,"amount":1,}', Reason.NOT_JSON, "$"),
        (b'{"id":"a" "at":1,"card":1,"amount":1}', Reason.NOT_JSON, "$"),
        (b'{"id":"a","at":1,"card":1,"amount":1,"x":[1,]}', Reason.NOT_JSON, "$"),
        (b'{"id":"a","at":1,"card":1,"amount":1,"x":{"y"}}', Reason.NOT_JSON, "$"),
        (b'{"id":"a","at":1,"card":1,"amount":1,"x":[1}}', Reason.NOT_JSON, "$"),
        (with_('"risk":00.5'), Reason.NOT_JSON, "$"),
        (with_('"x":"\t"'), Reason.NOT_JSON, "$"),
        (with_('"x":"\0"'), Reason.NOT_JSON, "$"),
        (json.dumps(GOOD).encode() + b"\0" + json.dumps(GOOD).encode(), Reason.NOT_JSON, "$"),
        (with_('"x":"\\ud800"'), Reason.NOT_JSON, "$"),
        (json.dumps(GOOD).encode() + b"}", Reason.NOT_JSON, "$"),
        (b"\xef\xbb\xbf" + json.dumps(GOOD).encode(), Reason.NOT_JSON, "$"),
        (json.dumps(GOOD).encode("utf-16"), Reason.NOT_UTF8, "$"),
        (with_('"x":"').removesuffix(b"}") + b'\xff"}', Reason.NOT_UTF8, "$"),
        (with_('"x":"').removesuffix(b"}") + b'\xed\xa0\x80"}', Reason.NOT_UTF8, "$"),
        (with_('"x":' + "[" * 300 + "]" * 300), Reason.TOO_DEEP, "$"),
        (with_('"x":' + '{"a":' * 300 + "1" + "}" * 300), Reason.TOO_DEEP, "$"),
        (b"[" * 50_000, Reason.TOO_DEEP, "$"),
        (with_('"x":"' + "y" * 70_000 + '"'), Reason.TOO_LARGE, "$"),
        (b"[1]", Reason.WRONG_TYPE, "$"),
        (b"null", Reason.NULL, "$"),
        ({**GOOD, "card": None}, Reason.NULL, "$.card"),
        ({key: value for key, value in GOOD.items() if key != "card"}, Reason.MISSING, "$.card"),
        ({**GOOD, "card": "7"}, Reason.WRONG_TYPE, "$.card"),
        ({**GOOD, "card": True}, Reason.WRONG_TYPE, "$.card"),
        ({**GOOD, "card": 1.5}, Reason.WRONG_TYPE, "$.card"),
        ({**GOOD, "card": 1.0}, Reason.WRONG_TYPE, "$.card"),
        (with_('"card":1e3'), Reason.WRONG_TYPE, "$.card"),
        ({**GOOD, "card": 2**63}, Reason.OUT_OF_RANGE, "$.card"),
        ({**GOOD, "card": -(2**63) - 1}, Reason.OUT_OF_RANGE, "$.card"),
        ({**GOOD, "card": 10**400}, Reason.OUT_OF_RANGE, "$.card"),
        ({**GOOD, "amount": 1.005}, Reason.OUT_OF_RANGE, "$.amount"),
        ({**GOOD, "amount": 10**10}, Reason.OUT_OF_RANGE, "$.amount"),
        ({**GOOD, "amount": "12.50"}, Reason.WRONG_TYPE, "$.amount"),
        (with_('"long":1.0001'), Reason.OUT_OF_RANGE, "$.long"),
        (with_('"long":"1"'), Reason.WRONG_TYPE, "$.long"),
        (with_('"long":1e999999999999'), Reason.OUT_OF_RANGE, "$.long"),
        (with_('"long":1e' + "9" * 5000), Reason.OUT_OF_RANGE, "$.long"),
        (with_('"risk":1e999'), Reason.OUT_OF_RANGE, "$.risk"),
        (with_('"ok":1'), Reason.WRONG_TYPE, "$.ok"),
        (with_('"country":1'), Reason.WRONG_TYPE, "$.country"),
        (with_('"seen":"yesterday"'), Reason.WRONG_TYPE, "$.seen"),
        (with_('"seen":"2024-01-02T03:04:05"'), Reason.WRONG_TYPE, "$.seen"),
        (with_('"seen":"0001-01-01T00:00:00+01:00"'), Reason.OUT_OF_RANGE, "$.seen"),
        (with_('"local":"2024-01-02T03:04:05Z"'), Reason.WRONG_TYPE, "$.local"),
        (with_('"seconds":1.0000001'), Reason.OUT_OF_RANGE, "$.seconds"),
        ({**GOOD, "at": INSTANT_US_MAX // 1000 + 1}, Reason.OUT_OF_RANGE, "$.at"),
        ({**GOOD, "id": ""}, Reason.OUT_OF_RANGE, "$.id"),
        ({**GOOD, "id": "x" * (EVENT_ID_MAX + 1)}, Reason.OUT_OF_RANGE, "$.id"),
    ],
)  # fmt: skip
def test_a_bad_record_is_named_and_costs_only_itself(raw: bytes | dict[str, object], reason: Reason, path: str) -> None:
    """First, in the middle and last in the batch, alone and twice."""
    assert why(raw) == [(0, reason, path)]
    assert why(raw, GOOD, raw, raw, GOOD, raw) == [(row, reason, path) for row in (0, 2, 3, 5)]
    decoded = decode(raw, GOOD, raw, raw, GOOD, raw)
    assert decoded.rows.tolist() == [1, 4]
    assert decoded.ids == ["t1", "t1"]
    assert decoded.values[ALL.index("amount")].tolist() == [1250, 1250]


def test_no_rejection_shows_a_value() -> None:
    """A card number must not leave in an error message."""
    secret = "4111111111111111"
    for name in ALL:
        for value in (secret, int(secret) * 10**6, [secret], {secret: secret}):
            for item in decode({**GOOD, name: value}).rejected:
                assert secret not in item.detail + item.path


def test_bad_records_of_all_kinds_leave_the_others_of_a_long_batch() -> None:
    """Longer than a chunk: rows stay the rows of the whole batch."""
    bad = [b"", b"\xff", DEEP, json.dumps({**GOOD, "amount": 0.001}).encode(), b"{}"]
    raw = [bad[row % 5] if row % 7 == 0 else json.dumps({**GOOD, "card": row}).encode() for row in range(3 * CHUNK + 5)]
    decoded = decode(*raw)
    rows = [row for row in range(len(raw)) if row % 7]
    assert decoded.rows.tolist() == decoded.values[ALL.index("card")].tolist() == rows
    assert [item.row for item in decoded.rejected] == [row for row in range(len(raw)) if row % 7 == 0]
    check_shapes(decoded, len(ALL))


def test_depth_is_counted_outside_strings_only() -> None:
    """Brackets in a text are text; exactly DEPTH_MAX is allowed."""
    brackets = '"x":' + json.dumps('\\"' + "[{" * 1000 + '"')
    assert not decode(with_(brackets)).rejected
    inner = DEPTH_MAX - 1
    assert not decode(with_('"x":' + "[" * inner + "]" * inner + ',"y":"' + "z" * 600 + '"')).rejected
    assert decode(with_('"x":' + "[" * (inner + 1) + "]" * (inner + 1) + ',"y":"' + "z" * 600 + '"')).rejected


def test_the_size_limit_is_the_streams_own() -> None:
    """Also one below the size at which depth is looked at."""
    small = replace(TX, record_bytes_max=len(json.dumps(GOOD)))
    assert why(GOOD, {**GOOD, "card": 77}, stream=small) == [(1, Reason.TOO_LARGE, "$")]


# --- which fields are looked at ---------------------------------------------------------------------------------------


def test_only_needed_fields_are_validated_unless_the_stream_wants_all() -> None:
    """Needed: columns of the layout, key, event time, event id."""
    odd = {**GOOD, "amount": "much", "risk": "none"}
    assert why(odd, names=("ok",)) == []
    assert why(odd, names=("ok", "risk")) == [(0, Reason.WRONG_TYPE, "$.risk")]
    assert why({**odd, "card": "x"}, names=("ok",)) == [(0, Reason.WRONG_TYPE, "$.card")]
    thorough = replace(TX, validate=Validate.ALL)
    assert why(odd, names=("ok",), stream=thorough) == [(0, Reason.WRONG_TYPE, "$.amount")]
    assert why({**GOOD, "amount": 0.001}, names=("ok",), stream=thorough) == [(0, Reason.OUT_OF_RANGE, "$.amount")]
    assert why({**GOOD, "seconds": 1e-9}, names=(), stream=thorough) == [(0, Reason.OUT_OF_RANGE, "$.seconds")]


def test_a_nullable_field_may_stand_before_one_that_every_record_has() -> None:
    """The order of a declaration is its author's."""
    turned = replace(TX, fields=FIELDS[::-1])
    assert why(GOOD, stream=turned) == []
    assert why({**GOOD, "risk": "high"}, stream=turned) == [(0, Reason.WRONG_TYPE, "$.risk")]


def test_strings_get_codes_only_where_a_column_wants_them() -> None:
    """A text that only travels, or is only checked, doesn't fill the table."""
    for stream in (TX, replace(TX, validate=Validate.ALL)):
        strings = StringTable()
        Decoder(stream, layout_of(("card",)), strings).decode([json.dumps({**GOOD, "country": "DE"}).encode()])
        assert len(strings) == 0


def test_a_record_that_isnt_json_leaves_no_text_in_the_table() -> None:
    """Rubbish must not fill it."""
    strings = StringTable()
    decoder = Decoder(TX, layout_of(("country",)), strings)
    decoder.decode([with_('"country":"one"')[:-1], with_('"country":"two"'), with_('"country":"three"') + b"]"])
    assert list(strings.codes) == ["two"]


def test_columns_of_other_streams_are_null() -> None:
    """A layout holds the columns of all streams of the lane."""
    layout = Layout(("tx", "login"), (Column("login", "card", INT64), Column("tx", "card", INT64)))
    decoded = Decoder(TX, layout, StringTable()).decode([json.dumps(GOOD).encode()])
    assert decoded.values.tolist() == [[0], [7]]
    assert decoded.nulls.tolist() == [[1], [0]]


def test_equal_texts_have_equal_codes_in_all_columns() -> None:
    """One table for all columns and streams."""
    fields = (Field("at", INSTANT), Field("a", STRING), Field("b", STRING, nullable=True))
    stream = Stream("s", "s", fields, "at")
    rows = [{"a": "DE", "b": "FR"}, {"a": "FR", "b": "DE"}, {"a": "DE"}, {"a": "", "b": "日本"}]
    raw = [json.dumps({"at": "2024-01-01T00:00:00Z", **row}, ensure_ascii=False).encode() for row in rows]
    strings = StringTable()
    decoded = Decoder(stream, layout_of(("a", "b"), stream), strings).decode(raw)
    texts = [[strings.text(code) for code in column] for column in decoded.values.tolist()]
    assert texts[0] == ["DE", "FR", "DE", ""]
    assert [text for text, null in zip(texts[1], decoded.nulls[1], strict=True) if not null] == ["FR", "DE", "日本"]
    assert decoded.values[0, 0] == decoded.values[0, 2] == decoded.values[1, 1]


def test_a_full_string_table_loses_nothing() -> None:
    """LimitReached goes to the caller; after recycling the same records decode."""
    strings = StringTable(limit=2)
    decoder = Decoder(TX, layout_of(("country",)), strings)
    raw = [json.dumps({**GOOD, "country": country}).encode() for country in ("DE", "FR", "NL")]
    with pytest.raises(LimitReached):
        decoder.decode(raw)
    strings.keep([])
    assert len(decoder.decode(raw[1:]).rows) == 2


def test_nothing_decodes_to_nothing() -> None:
    """Empty columns of the right shapes."""
    check_shapes(decode(), len(ALL))
    check_shapes(decode(b"!", names=()), 0)


# --- values -----------------------------------------------------------------------------------------------------------


@settings(max_examples=200, deadline=None)
@given(st.integers(1, 18), st.data())
def test_every_decimal_of_every_precision_is_exact(precision: int, data: st.DataObject) -> None:
    """Written plainly, with trailing zeros, or with an exponent."""
    scale = data.draw(st.integers(0, precision))
    whole = data.draw(st.lists(st.integers(-(10**precision) + 1, 10**precision - 1), min_size=1, max_size=20))
    stream = replace(TX, fields=tuple(replace(f, type=Type(Kind.DECIMAL, precision, scale)) if f.name == "amount" else f
                                      for f in FIELDS))  # fmt: skip
    raw = []
    for number in whole:
        plain = f"{Decimal(number).scaleb(-scale):f}"
        text = data.draw(st.sampled_from([plain, f"{number}e-{scale}", plain + "00" if "." in plain else plain]))
        raw.append(json.dumps({**GOOD, "amount": 0})[:-2].encode() + text.encode() + b"}")
    assert decode(*raw, names=("amount",), stream=stream).values.tolist() == [whole]


@pytest.mark.parametrize(
    ("member", "us"),
    [
        ('"seen":"2024-01-02T03:04:05Z"', 1_704_164_645_000_000),
        ('"seen":"2024-01-02T05:04:05.25+02:00"', 1_704_164_645_250_000),
        ('"seen":"2024-01-02T03:04:05.123456789Z"', 1_704_164_645_123_457),
        ('"seen":"9999-12-31T23:59:59.999999Z"', INSTANT_US_MAX),
        ('"seen":"0001-01-01T00:00:00Z"', INSTANT_US_MIN),
        ('"local":"2024-01-02 03:04:05.000001"', 1_704_164_645_000_001),
        ('"seconds":1704164645', 1_704_164_645_000_000),
        ('"seconds":1704164645.000001', 1_704_164_645_000_001),
        ('"seconds":-0.5', -500_000),
        ('"seconds":253402300799', 253_402_300_799_000_000),
        ('"micros":-1', -1),
        ('"nanos":1704164645123456789', 1_704_164_645_123_456),
        ('"nanos":-1', -1),
    ],
)
def test_instants_become_microseconds(member: str, us: int) -> None:
    """Each format."""
    name = member.split('"')[1]
    assert decode(with_(member)).values[ALL.index(name)].tolist() == [us]


def test_floats_keep_their_bits() -> None:
    """A float64 column holds IEEE-754 bits."""
    wanted = [0.1, -0.0, 5e-324, 1.7976931348623157e308, 3.0]
    decoded = decode(*[with_(f'"risk":{number!r}') for number in wanted], with_('"risk":3'), names=("risk",))
    assert decoded.values.view(np.float64)[0].tolist() == [*wanted, 3.0]


@pytest.mark.parametrize("name", ["card", "amount", "long", "at", "micros", "nanos", "seconds"])
def test_numbers_that_are_too_long_dont_wrap(name: str) -> None:
    """2^64 + 5 is not 5."""
    sizes = [2**64 + 5, 2**65 + 5, 10**19 + 5, 10**20, 10**38, *(int("9" * digits) for digits in range(20, 40))]
    texts = [f"{sign}{size}" for size in sizes for sign in ("", "-")]
    texts += [f"{2**64 * 10 ** (places - 3) // 10**places}.{'5' * places}" for places in (4, 19, 20)]
    members = [f'"{name}":{text}' for text in texts]
    assert len(decode(*map(with_, members), names=(name,)).rejected) == len(texts)


def test_every_double_is_the_nearest_one() -> None:
    """Any number of digits, any exponent; `float` is the judge."""
    rng = random.Random(5)
    texts = []
    for _ in range(3000):
        digits = str(rng.randrange(1, 10 ** rng.randrange(1, 20)))
        point = rng.randrange(len(digits))
        text = f"{digits[:point] or '0'}.{digits[point:]}" if rng.random() < 0.7 else digits
        text = text if text[0] != "0" or text[1:2] == "." else text.lstrip("0")
        texts.append(rng.choice(["", "-"]) + text + rng.choice(["", f"e{rng.randrange(-40, 40)}", "E+5"]))
    decoded = decode(*[with_(f'"risk":{text}') for text in texts], names=("risk",))
    assert decoded.values.view(np.float64)[0].tolist() == [float(text) for text in texts]


def test_of_a_name_that_is_there_twice_the_last_counts() -> None:
    """As most readers of JSON have it."""
    assert decode(with_('"card":8')).values[ALL.index("card")].tolist() == [8]
    strings = StringTable()
    decoder = Decoder(TX, layout_of(("country",)), strings)
    for first, last in (("a", "b"), ("c", "a"), ("a", "d")):
        (code,) = decoder.decode([with_(f'"country":"{first}","country":"{last}"')]).values[0].tolist()
        assert strings.text(code) == last


def test_field_names_may_be_anything() -> None:
    """Attribute names of our own structs can't collide with them."""
    names = ("__class__", "f1", "f0", "self")
    stream = Stream("s", "s", (Field("at", INSTANT), *(Field(name, INT64) for name in names)), "at")
    row: dict[str, object] = {"at": "2024-01-01T00:00:00Z"} | {name: place for place, name in enumerate(names)}
    assert decode(row, names=names, stream=stream).values.tolist() == [[0], [1], [2], [3]]


def test_number_ids_become_text() -> None:
    """An event id is a string or an int64."""
    assert decode(GOOD, {**GOOD, "card": -5}, stream=replace(TX, event_id="card")).ids == ["7", "-5"]
    assert decode(GOOD, stream=replace(TX, event_id=None)).ids is None


def test_records_have_an_id_in_any_case() -> None:
    """The producer's, or topic/partition/offset."""
    records = RawRecords([b"{}", b"[]"], ["a", None], [("t", 3), ("u", 0)], np.array([0, 1]), np.array([7, 8]))
    assert [records.event_id(0), records.event_id(1)] == ["a", "u/0/8"]
    assert records.payload(1) == b"[]"
    assert records.position(0) == ("t", 3, 7)
    assert RawRecords([b"{}"], None, [("t", 3)], np.array([0]), np.array([7])).event_id(0) == "t/3/7"
