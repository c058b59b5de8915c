"""Expressions: what their text means, what is refused and how, and that the canonical text says the same."""

from __future__ import annotations

import math
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from events.errors import InvalidDocument, Problem
from events.expression import (
    DECIMAL_DIGITS_MAX,
    EXPRESSION_DEPTH_MAX,
    EXPRESSION_LENGTH_MAX,
    EXPRESSION_NODES_MAX,
    FALSE,
    INT64_MAX,
    INT64_MIN,
    NULL,
    TRUE,
    Binary,
    Constant,
    Expression,
    Field,
    History,
    OneOf,
    Unary,
    Value,
    aggregate_of,
    all_of,
    any_of,
    attempt,
    conjuncts,
    evaluate,
    fields_of,
    parse,
    references,
    render,
)
from events.types import BOOL, FLOAT64, INSTANT, INT64, STRING, Kind, Type

PRICE = Type(Kind.DECIMAL, 10, 2)
FEE = Type(Kind.DECIMAL, 6, 3)
FIELDS = {
    "n": INT64,
    "m": INT64,
    "amount": FLOAT64,
    "rate": FLOAT64,
    "price": PRICE,
    "fee": FEE,
    "ok": BOOL,
    "flagged": BOOL,
    "at": INSTANT,
    "due": INSTANT,
    "country": STRING,
    "home": STRING,
}
STEPS = {"probe": FIELDS, "A": FIELDS}
MINUTE_US = 60_000_000


def tree(text: str, wanted: Type | None = BOOL) -> Expression:
    return parse(text, FIELDS, STEPS, "probe", "steps[1].where", wanted)


def value(text: str, history: dict[str, list[dict[str, Any]]] | None = None, **event: Value | None) -> Value | None:
    return evaluate(tree(text, wanted=None), event, history or {})


def problems(text: str) -> list[Problem]:
    found, listed = attempt(text, FIELDS, STEPS, "probe", "where")
    assert (found is None) == bool(listed), "either a tree or a reason"
    return list(listed)


def only(text: str) -> tuple[int, str, str]:
    (problem,) = problems(text)
    return int(problem.where.removeprefix("where:")), problem.reason, problem.hint


# --- random expressions, by type, as text -----------------------------------------------------------------------------

INTS = st.one_of(
    st.integers(-5, 5),
    st.sampled_from([INT64_MIN, INT64_MIN + 1, INT64_MAX, 2**53 + 1]),
    st.integers(INT64_MIN, INT64_MAX),
)
FLOATS = st.one_of(
    st.sampled_from([0.0, -0.0, 0.1, 2.5, -2.5, 1e308, 5e-324, math.inf, -math.inf, math.nan]),
    st.integers(-5, 5).map(float),
)
INSTANTS = st.one_of(st.integers(-5, 5), st.integers(1_700_000_000, 1_800_000_000).map(lambda s: s * 1_000_000), INTS)


def decimals(kind: Type) -> st.SearchStrategy[Decimal]:
    """Within the precision, often near zero."""
    end = 10**kind.precision - 1
    scaled = st.one_of(st.integers(-300, 300), st.sampled_from([-end, end]), st.integers(-end, end))
    return scaled.map(lambda whole: Decimal(whole).scaleb(-kind.scale))


VALUES: dict[Kind, st.SearchStrategy[Any]] = {
    Kind.INT64: INTS,
    Kind.FLOAT64: FLOATS,
    Kind.BOOL: st.booleans(),
    Kind.INSTANT: INSTANTS,
    Kind.STRING: st.sampled_from(["FR", "DE", "it's", ""]),
}
EVENTS = st.fixed_dictionaries(
    {
        name: st.none() | (decimals(kind) if kind.kind is Kind.DECIMAL else VALUES[kind.kind])
        for name, kind in FIELDS.items()
    }
)
HISTORIES = st.fixed_dictionaries({"probe": st.lists(EVENTS, max_size=4), "A": st.lists(EVENTS, max_size=2)})


def _named(*kinds: Type) -> st.SearchStrategy[str]:
    """A field of one of these types, of the event at hand or of an earlier one."""
    names = [name for name, kind in FIELDS.items() if kind in kinds]
    past = [f"{step}.{name}" for step in STEPS for name in names]
    ends = [f"{aggregate}({name})" for name in past for aggregate in ("first", "last")]
    return st.sampled_from(names * 6 + past + ends)


AGGREGATES = st.sampled_from(
    ["count(probe)", "count(A)", "count(probe.country)"]
    + [
        f"{how}(probe.{name})"
        for how in ("sum", "avg", "min", "max", "count")
        for name in ("n", "amount", "price", "fee")
    ]
)
LITERALS = st.one_of(
    INTS.map(str),
    st.sampled_from(
        ["0", "1", "2.5", "-0.125", "3.", "1e0", "2.5e-3", "1e300", "9007199254740993", "0.000000000000000001"]
    ),
    st.sampled_from(["(interval '10' minute)", "(INTERVAL '0.5' second)", "null"]),
)


def _numbers(inner: st.SearchStrategy[str], instants: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    return st.one_of(
        st.tuples(inner, st.sampled_from(["+", "-", "*", "/", "%"]), inner).map(lambda x: f"({x[0]}) {x[1]} ({x[2]})"),
        st.tuples(inner, st.sampled_from(["+", "-", "*"]), inner).map(" ".join),
        inner.map(lambda x: f"-({x})"),
        inner.map(lambda x: f"abs({x})"),
        st.lists(inner, min_size=1, max_size=3).map(lambda xs: f"coalesce({', '.join(xs)})"),
        st.tuples(instants, instants).map(lambda x: f"(({x[0]}) - ({x[1]}))"),
    )


INSTANT_LEAVES = st.one_of(
    _named(INSTANT),
    st.sampled_from(["TIMESTAMP '2026-01-01 00:00:00'", "timestamp '1970-01-01T00:00:00.000001+02:00'"]),
)
INSTANT_TEXTS = st.one_of(
    INSTANT_LEAVES,
    st.tuples(INSTANT_LEAVES, st.sampled_from(["+", "-"]), _named(INT64)).map(" ".join),
    st.tuples(INSTANT_LEAVES, INSTANT_LEAVES).map(lambda x: f"coalesce({x[0]}, {x[1]})"),
)
NUMBER_TEXTS = st.recursive(
    st.one_of(_named(INT64, FLOAT64, PRICE, FEE), AGGREGATES, LITERALS),
    lambda inner: _numbers(inner, INSTANT_TEXTS),
    max_leaves=6,
)
STRING_TEXTS = st.one_of(_named(STRING), st.sampled_from(["'FR'", "'it''s'", "coalesce(A.country, 'DE')"]))
COMPARERS = st.sampled_from(["=", "==", "<>", "!=", "<", "<=", ">", ">="])
EQUATORS = st.sampled_from(["=", "<>"])
OPTIONS = {
    "n": ["1", "-2", "2.5", "NULL", "9223372036854775807"],
    "price": ["1", "2.50", "2.505", "NULL"],
    "amount": ["1", "2.5", "1e300", "NULL"],
    "country": ["'FR'", "'it''s'", "NULL"],
    "ok": ["TRUE", "NULL"],
}


def _one_of(name: str) -> st.SearchStrategy[str]:
    options = st.lists(st.sampled_from(OPTIONS[name]), min_size=1, max_size=4)
    return options.map(lambda listed: f"{name} IN ({', '.join(listed)})")


def _conditions(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    return st.one_of(
        st.tuples(inner, st.sampled_from(["AND", "OR"]), inner).map(lambda x: f"({x[0]}) {x[1]} ({x[2]})"),
        st.lists(inner, min_size=2, max_size=5).map(" AND ".join),
        inner.map(lambda x: f"NOT ({x})"),
        st.tuples(inner, st.sampled_from(["NULL", "NOT NULL", "TRUE", "NOT FALSE"])).map(
            lambda x: f"({x[0]}) IS {x[1]}"
        ),
        st.tuples(inner, EQUATORS, inner).map(lambda x: f"({x[0]}) {x[1]} ({x[2]})"),
        st.tuples(inner, inner).map(lambda x: f"coalesce({x[0]}, {x[1]})"),
    )


CONDITION_TEXTS = st.recursive(
    st.one_of(
        st.tuples(NUMBER_TEXTS, COMPARERS, NUMBER_TEXTS).map(lambda x: f"({x[0]}) {x[1]} ({x[2]})"),
        st.tuples(NUMBER_TEXTS, NUMBER_TEXTS, NUMBER_TEXTS).map(lambda x: f"({x[0]}) BETWEEN ({x[1]}) AND ({x[2]})"),
        st.tuples(NUMBER_TEXTS, st.sampled_from(["NULL", "NOT NULL"])).map(lambda x: f"({x[0]}) IS {x[1]}"),
        st.tuples(INSTANT_TEXTS, COMPARERS, INSTANT_TEXTS).map(" ".join),
        st.tuples(STRING_TEXTS, EQUATORS, STRING_TEXTS).map(" ".join),
        st.sampled_from(sorted(OPTIONS)).flatmap(_one_of),
        _named(BOOL),
        st.sampled_from(["TRUE", "FALSE", "NULL"]),
    ),
    _conditions,
    max_leaves=6,
)
TEXTS = st.one_of(CONDITION_TEXTS, CONDITION_TEXTS, NUMBER_TEXTS, INSTANT_TEXTS, STRING_TEXTS)


def typed(text: str, wanted: Type | None = None) -> Expression | None:
    """The tree; None where the text asks for more digits than a decimal has, or nests too deep."""
    found, listed = attempt(text, FIELDS, STEPS, "probe", "where", wanted)
    for problem in listed:
        assert "digits after the point" in problem.reason or "levels" in problem.reason, (text, str(problem))
    return found


# --- text and tree ----------------------------------------------------------------------------------------------------


@settings(max_examples=600, deadline=None)
@given(TEXTS)
def test_the_canonical_text_is_read_as_the_tree_that_wrote_it(text: str) -> None:
    found = typed(text)
    if found is not None:
        assert parse(render(found), FIELDS, STEPS, "probe", wanted=None) == found
        assert render(parse(render(found), FIELDS, STEPS, "probe", wanted=None)) == render(found)


@example(".", "")
@settings(max_examples=200, deadline=None)
@given(st.text(min_size=1).filter(lambda name: name.isprintable()), st.text().filter(lambda text: "\r" not in text))
def test_any_name_and_any_text_can_be_quoted(name: str, text: str) -> None:
    """Field names come from schemas, texts from data: neither is chosen with SQL in mind."""
    wanted = Binary("=", Field(name, STRING), Constant(text, STRING), BOOL)
    assert parse(render(wanted), {name: STRING}, {}) == wanted
    last = aggregate_of("last", name, name, STRING)
    assert parse(render(Unary("is_null", last, BOOL)), {}, {name: {name: STRING}}) == Unary("is_null", last, BOOL)


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("amount>50*AVG(probe.amount)", "amount > 50 * avg(probe.amount)"),
        ("LAST(A.price) == first( A.price )", "A.price = first(A.price)"),
        ("count(probe) >= 3 and ok", "count(probe) >= 3 AND ok"),
        ("n between 1 and 3", "n >= 1 AND n <= 3"),
        ("not (country in ('FR')) or not ok is true", "country NOT IN ('FR') OR ok IS NOT TRUE"),
        ("at - A.at < interval '10' minute", "at - A.at < 600000000"),
        ("at >= timestamp '2026-01-01T02:00+02:00'", "at >= TIMESTAMP '2026-01-01 00:00:00'"),
        ("n = 1 and (m = 2 and (ok and flagged))", "n = 1 AND m = 2 AND ok AND flagged"),
        ("n - (m - 1) > -(-n)", "n - (m - 1) > -(-n)"),
        ("n > 2 * 3 + 1", "n > 7"),
        ("price > 2.50", "price > 2.50"),
        ("n > 1e2", "n > 1e2"),
        ("amount > 1e2", "amount > 100"),
        ("coalesce(null, n, 0) = 1", "coalesce(n, 0) = 1"),
        ("ok and true and (n = 1 or false)", "ok AND n = 1"),
        ('"n" = 1', "n = 1"),
    ],
)
def test_there_is_one_way_to_write_a_condition(text: str, canonical: str) -> None:
    assert render(tree(text)) == canonical


def test_a_comment_and_a_line_break_are_white_space() -> None:
    assert tree("n = 1 -- the first\n AND /* and */ ok") == tree("n = 1 AND ok")


def test_a_tree_is_made_of_six_kinds_of_node() -> None:
    assert tree("amount > 5") == Binary(">", Field("amount", FLOAT64), Constant(5.0, FLOAT64), BOOL)
    assert tree("price > 2.50") == Binary(">", Field("price", PRICE), Constant(250, Type(Kind.DECIMAL, 3, 2)), BOOL)
    assert tree("country NOT IN ('FR')") == Unary(
        "not", OneOf(Field("country", STRING), (Constant("FR", STRING),), BOOL), BOOL
    )
    assert tree("A.n IS NULL") == Unary("is_null", History("last", "A", "n", INT64, INT64), BOOL)


def test_constants_are_folded_unless_no_literal_can_write_the_result() -> None:
    assert tree("1 = 1") == TRUE
    assert tree("1 = 2 OR NULL") == NULL
    assert tree("ok AND 1 = 2") == FALSE
    assert tree("1.5 + 1.5", None) == Constant(30, Type(Kind.DECIMAL, 2, 1))
    assert isinstance(tree("1e308 * 10", None), Binary), "no literal is infinite"


def test_what_a_condition_reads() -> None:
    read = tree("amount > avg(probe.amount) AND country <> A.country AND count(probe) > n")
    assert fields_of(read) == {"amount", "country", "n"}
    assert references(read) == {
        History("avg", "probe", "amount", FLOAT64, FLOAT64),
        History("last", "A", "country", STRING, STRING),
        History("count", "probe", None, INT64),
    }


@given(st.lists(st.sampled_from([Field(name, BOOL) for name in "abcd"]), min_size=1, max_size=9))
def test_conjuncts_undo_all_of(conditions: list[Expression]) -> None:
    assert conjuncts(all_of(conditions)) == conditions
    assert conjuncts(any_of(conditions)) == ([any_of(conditions)])


def test_a_long_chain_of_ands_is_no_deep_tree() -> None:
    chain = tree(" AND ".join(f"n <> {i}" for i in range(300)))
    assert len(conjuncts(chain)) == 300
    assert all_of([]) == TRUE
    assert any_of([]) == FALSE


def test_the_own_step_can_be_read_though_nobody_lists_it() -> None:
    assert parse("count(tap) < 3", {"n": INT64}, {}, own_step="tap") == Binary(
        "<", History("count", "tap", None, INT64), Constant(3, INT64), BOOL
    )


@pytest.mark.parametrize(
    ("aggregate", "of", "kind"),
    [
        ("count", STRING, INT64),
        ("avg", INT64, FLOAT64),
        ("avg", PRICE, FLOAT64),
        ("sum", INT64, INT64),
        ("sum", FLOAT64, FLOAT64),
        ("sum", PRICE, Type(Kind.DECIMAL, DECIMAL_DIGITS_MAX, 2)),
        ("min", INSTANT, INSTANT),
        ("last", STRING, STRING),
    ],
)
def test_the_type_of_an_aggregate_follows_from_its_field(aggregate: Any, of: Type, kind: Type) -> None:
    assert aggregate_of(aggregate, "A", "x", of) == History(aggregate, "A", "x", kind, of)


# --- meaning ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("TRUE AND NULL", None),
        ("FALSE AND NULL", False),
        ("TRUE OR NULL", True),
        ("FALSE OR NULL", None),
        ("NOT NULL", None),
        ("NULL = NULL", None),
        ("NULL IS NULL", True),
        ("(NULL) IS TRUE", False),
        ("1 IN (1, NULL)", True),
        ("1 IN (2, NULL)", None),
        ("1 NOT IN (2, NULL)", None),
        ("coalesce(NULL, 2)", 2),
    ],
)
def test_unknown_is_the_third_truth_value(text: str, expected: Value | None) -> None:
    assert value(text) is expected or value(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("9223372036854775807 + 1", None),
        ("-9223372036854775808 - 1", None),
        ("-(-9223372036854775808)", None),
        ("abs(-9223372036854775808)", None),
        ("4294967296 * 4294967296", None),
        ("-4294967296 * 2147483648", INT64_MIN),
        ("7 / 2", 3.5),
        ("1 / 0", None),
        ("1 % 0", None),
        ("-7 % 3", -1),
        ("7 % -3", 1),
        ("-7.5 % 2", Decimal("-1.5")),
        ("-7.5e0 % 2", -1.5),
        ("-9223372036854775808 % -1", 0),
        ("1.10 + 2.2", Decimal("3.30")),
        ("1.10 * 2.2", Decimal("2.420")),
        ("9223372036854775807 + 0.1", None),
        ("1e308 * 10", math.inf),
        ("1e308 * 10 - 1e308 * 10", None),
        ("0.1 + 0.2 = 0.3", True),
        ("1e-1 + 2e-1 = 0.3", False),
        ("9007199254740993 = 9007199254740993.0", True),
        ("TIMESTAMP '2026-01-01 00:10:00' - TIMESTAMP '2026-01-01 00:00:00'", 10 * MINUTE_US),
        ("TIMESTAMP '1970-01-01 00:00:00' + INTERVAL '1' WEEK = TIMESTAMP '1970-01-08 00:00:00'", True),
        ("INTERVAL '1.5' MILLISECOND", 1500),
    ],
)
def test_what_does_not_fit_is_null_and_what_is_exact_stays_exact(text: str, expected: Value | None) -> None:
    assert value(text) == expected
    assert type(value(text)) is type(expected)


def test_a_nan_is_a_null() -> None:
    assert value("amount = amount", amount=math.nan) is None
    assert value("amount IS NULL", amount=math.nan) is True
    assert value("max(A.amount)", {"A": [{"amount": math.nan}, {"amount": 2.0}]}) == 2.0


def test_a_decimal_becomes_a_float_by_one_division() -> None:
    assert value("price / 1", price=Decimal("0.07")) == 7 / 100.0
    assert value("price * rate", price=Decimal("0.07"), rate=3.0) == 7 / 100.0 * 3.0


def test_an_absent_field_is_null() -> None:
    assert value("n > 1") is None


PROBES: list[dict[str, Any]] = [
    {"n": 1, "amount": 0.1, "price": Decimal("1.10"), "country": "FR"},
    {"n": None, "amount": 0.2, "price": None, "country": None},
    {"n": 4, "amount": 0.3, "price": Decimal("2.20"), "country": None},
]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("count(probe)", 3),
        ("count(probe.n)", 2),
        ("sum(probe.n)", 5),
        ("avg(probe.n)", 2.5),
        ("sum(probe.price)", Decimal("3.30")),
        ("avg(probe.price)", 330 / 100.0 / 2),
        ("sum(probe.amount)", 0.1 + 0.2 + 0.3),
        ("min(probe.n)", 1),
        ("max(probe.n)", 4),
        ("first(probe.country)", "FR"),
        ("probe.country", None),
        ("probe.n", 4),
        ("count(A)", 0),
        ("sum(A.n)", None),
        ("avg(A.n)", None),
        ("A.n", None),
    ],
)
def test_aggregates_read_the_events_taken_so_far(text: str, expected: Value | None) -> None:
    """All but first and last skip NULLs; floats are added in the order of the log."""
    assert value(text, {"probe": PROBES}) == expected


def test_a_sum_that_left_int64_does_not_come_back() -> None:
    assert value("sum(A.n)", {"A": [{"n": INT64_MAX}, {"n": 1}, {"n": -5}]}) is None
    assert value("sum(A.n)", {"A": [{"n": INT64_MAX}, {"n": -5}, {"n": 1}]}) == INT64_MAX - 4


# --- what is refused --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "column", "reason", "hint"),
    [
        ("ok AND amout > 5", 8, "there is no field 'amout'", "did you mean 'amount'?"),
        ("AMOUNT > 5", 1, "there is no field 'AMOUNT'", "did you mean 'amount'?"),
        ("proe.n > 5", 1, "this condition can read no step 'proe'", "did you mean 'probe'?"),
        ("probe > 5", 1, "there is no field 'probe'", "probe is a step: write probe.field or count(probe)"),
        ("A.cuntry = 'FR'", 1, "step 'A' has no field 'cuntry'", "did you mean 'country'?"),
        ('country = "FR"', 11, "there is no field 'FR'", "text is written in single quotes: 'FR'"),
        ("country = 'FR", 11, "a quote or comment is opened here and never closed", "a quote inside text"),
        ("n = 1 /* one", 7, "a quote or comment is opened here and never closed", ""),
        ("country = 'it''s' AND home = 'x", 30, "a quote or comment is opened here", ""),
        ("ok AND (n > 1", 8, "this ( is never closed", ""),
        ("n > 1) AND ok", 6, "this ) closes nothing", ""),
        ("n >", 3, "the expression ends after '>', where something must follow", ""),
        ("n = 1 m = 2", 7, "'m' can't be understood here", ""),
        ("ok AND\n  amout > 5", 10, "there is no field 'amout'", ""),
        ("n > '5'", 1, "int64 and string can't be compared", "write the number without quotes"),
        ("country = 5", 1, "string and int64 can't be compared", "write it in quotes"),
        ("at > '2026-01-01'", 1, "instant and string can't be compared", "write TIMESTAMP '2026-01-01'"),
        ("at > 5", 1, "instant and int64 can't be compared", "compare a difference of instants"),
        ("1 < n < 3", 1, "bool and int64 can't be compared", "a < b < c is written a < b AND b < c"),
        ("country > 'FR'", 1, "string has no order: > can't be used", "use = or <>"),
        ("n = 9223372036854775808", 5, "9223372036854775808 is beyond int64", "with an exponent"),
        ("n = -9223372036854775809", 6, "-9223372036854775809 is beyond int64", "with an exponent"),
        ("price = 0.1234567890123456789", 9, "0.1234567890123456789 has more than 18 digits", "write an exponent"),
        ("amount > 1e999", 10, "1e999 is beyond float64", ""),
        ("avg(amount) > 3", 5, "avg(amount) does not say over which step's events", "write avg(probe.amount)"),
        ("avg(probe) > 3", 5, "avg needs a field of 'probe'", "write avg(probe.field)"),
        ("count(*) > 3", 1, "count reads the events of a step", "write count(probe)"),
        ("sum(probe.n + 1) > 3", 1, "sum reads the events of a step", "write sum(probe.field)"),
        ("sum(A.country) > 3", 5, "sum needs numbers, and A.country is string", ""),
        ("min(A.country) = 'x'", 5, "min needs numbers or instants, and A.country is string", ""),
        ("last(A.n, 1) > 3", 1, "last takes one operand", "write last(probe.field)"),
        ("avrg(probe.n) > 3", 1, "there is no function 'avrg'", "did you mean 'avg'?"),
        ("round(amount) > 3", 1, "there is no function 'round'", ""),
        ("lower(country) = 'fr'", 1, "lower() is not available", "text is a code in the engine"),
        ("country LIKE 'F%'", 1, "LIKE is not available", "text is a code in the engine"),
        ("CASE WHEN ok THEN ok END", 11, "CASE is not available", "write (a AND b)"),
        ("n IN (SELECT 1)", 1, "IN needs a list of constants", "write x IN (1, 2, 3)"),
        ("n IN (1, m)", 10, "IN takes constants only", "write a = b OR a = c for fields"),
        ("n IN ('x')", 7, "int64 and string can't be compared", ""),
        ("n IN (1e0)", 7, "int64 and float64 can't be compared", "write it without an exponent"),
        ("n IS 5", 1, "IS tests for NULL, TRUE or FALSE only", "use = for other values"),
        ("n AND ok", 1, "AND, OR and NOT need conditions, found int64", "compare it with something"),
        ("amount", 1, "a condition must be bool, found float64", "compare it with something"),
        ("-country = 'x'", 2, "minus needs a number, found string", ""),
        ("at + at = at", 1, "instant + instant has no meaning", "instants: a - b gives microseconds"),
        ("ok + 1 = 2", 1, "bool + int64 has no meaning", "arithmetic needs numbers"),
        ("a.b.c = 3", 1, "can read no step 'a'", "did you mean 'A'?"),
        ("a.b.c.d = 3", 1, "a name is `field`, `step.field`", 'write "a.b"'),
        ("at > TIMESTAMP 'soon'", 16, "'soon' is no instant", "write TIMESTAMP '2026-01-01 00:00:00'"),
        ("n = CAST('1' AS INT)", 10, "types are not converted here", ""),
        ("n = INTERVAL '1' MONTH", 14, "this is no interval", "the units are microsecond"),
        ("n = INTERVAL '0.1' MICROSECOND", 14, "0.1 microseconds is no whole number of microseconds", ""),
        ("at > CURRENT_TIMESTAMP", 1, "a condition never reads the clock", ""),
        ("coalesce(n, country) = 1", 1, "coalesce of int64 and string has no type", ""),
        ("n BETWEEN SYMMETRIC 1 AND 2", 1, "BETWEEN SYMMETRIC is not available", ""),
        ("SELECT 1", 1, "can't be understood here", ""),
        ("n = 1; m = 2", 1, "this is not one expression", "without a semicolon"),
        ("  ", 1, "the expression is empty", "leave the condition out"),
        ("price * price * price * price * price * price * price * price * price * price > 1", 1, "18 digits after", ""),
    ],
)  # fmt: skip
def test_a_refusal_says_where_why_and_what_to_do(text: str, column: int, reason: str, hint: str) -> None:
    found = only(text)
    if text not in ("at > CURRENT_TIMESTAMP", "SELECT 1"):  # forms for which sqlglot gives no place
        assert found[0] == column, found
    assert reason in found[1], found
    assert hint in found[2], found


def test_all_problems_of_an_expression_come_at_once() -> None:
    found = problems("amout > 5 AND proe.n = 1 AND n = 'x' AND country IN (1, 99999999999999999999) OR avg(n) > 2")
    assert [problem.where for problem in found] == [
        "where:1",
        "where:15",
        "where:30",
        "where:54",
        "where:57",
        "where:86",
    ]


def test_parse_raises_them_with_the_path_of_the_document() -> None:
    with pytest.raises(InvalidDocument) as raised:
        tree("amout > 5 OR flaged")
    assert [str(problem) for problem in raised.value.problems] == [
        "steps[1].where:1: there is no field 'amout'\n    hint: did you mean 'amount'?",
        "steps[1].where:14: there is no field 'flaged'\n    hint: did you mean 'flagged'?",
    ]


@pytest.mark.parametrize(
    ("text", "limit"),
    [
        ("n = 1" + " " * EXPRESSION_LENGTH_MAX, "EXPRESSION_LENGTH_MAX"),
        ("(" * 500 + "ok" + ")" * 500, "EXPRESSION_DEPTH_MAX"),
        ("NOT " * 2000 + "ok", "EXPRESSION_DEPTH_MAX"),
        ("- " * 2000 + "n = 1", "EXPRESSION_DEPTH_MAX"),
        ("n" + " + n" * (EXPRESSION_DEPTH_MAX + 1) + " = 1", "EXPRESSION_DEPTH_MAX"),
        (" OR ".join(["n=1"] * (EXPRESSION_NODES_MAX // 3 + 1)), "EXPRESSION_NODES_MAX"),
    ],
)
def test_every_limit_has_a_name_and_no_text_overflows_the_stack(text: str, limit: str) -> None:
    (problem,) = problems(text)
    assert limit in problem.reason


def test_nesting_up_to_the_limit_is_read() -> None:
    depth = EXPRESSION_DEPTH_MAX
    assert problems("(" * depth + "ok" + ")" * depth) == []
    assert problems("abs(" * (depth - 2) + "n" + ")" * (depth - 2) + " = 1") == []


WORDS = [
    "n",
    "ok",
    "1",
    "'x'",
    "(",
    ")",
    ",",
    ".",
    "*",
    "-",
    "+",
    "=",
    "<",
    "AND",
    "OR",
    "NOT",
    "IN",
    "IS",
    "NULL",
    "avg",
    "count",
    "probe",
    ";",
    "case",
    "[",
    "]",
    "{",
    ":",
]


@settings(max_examples=300, deadline=None)
@given(st.lists(st.sampled_from(WORDS)))
def test_no_heap_of_words_is_more_than_refused(words: list[str]) -> None:
    """Whatever is written, there is a tree or a problem with a place in the text; never another exception."""
    text = " ".join(words)
    for problem in problems(text):
        assert 1 <= int(problem.where.removeprefix("where:")) <= max(1, len(text))


def test_a_value_of_another_type_can_be_asked_for() -> None:
    assert tree("amount * 2", FLOAT64).type == FLOAT64
    assert tree("NULL", FLOAT64) == Constant(None, FLOAT64)
    assert "this must be int64" in str(attempt("amount", FIELDS, {}, wanted=INT64)[1][0])
