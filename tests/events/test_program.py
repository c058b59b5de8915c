"""Programs and atoms: whatever the condition, event and history, they say what `evaluate` says."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from events.columns import I64, U8, StringTable
from events.errors import LimitReached
from events.expression import (
    INT64_MAX,
    INT64_MIN,
    TRUE,
    Binary,
    Event,
    Expression,
    Field,
    History,
    Value,
    all_of,
    evaluate,
    parse,
    references,
)
from events.program import (
    ADD,
    AND,
    CONST,
    IF_FALSE_KEEP,
    REGISTERS_MAX,
    STACK_MAX,
    UNLESS_TRUE_DROP,
    Atom,
    Program,
    atom,
    compile_program,
    merge,
    required_registers,
    run,
    run_column,
    scratch,
)
from events.types import BOOL, FLOAT64, INT64, STRING, Kind, Type
from tests.events.test_expression import CONDITION_TEXTS, EVENTS, FIELDS, HISTORIES, STEPS, typed

NAMES = list(FIELDS)


def stored(value: Value | None, kind: Type, table: StringTable) -> int:
    """A value as its column has it; a NULL leaves rubbish, which nobody may read."""
    if value is None:
        return 1
    if kind == FLOAT64:
        return int(np.float64(value).view(np.int64))
    if kind.kind is Kind.DECIMAL:
        return int(Decimal(value).scaleb(kind.scale))
    return table.code(value) if isinstance(value, str) else int(value)


def columns(events: Sequence[Event], table: StringTable) -> tuple[I64, U8]:
    values = [[stored(event.get(name), FIELDS[name], table) for event in events] for name in NAMES]
    nulls = [[event.get(name) is None for event in events] for name in NAMES]
    return np.array(values, np.int64).reshape(len(NAMES), -1), np.array(nulls, np.uint8).reshape(len(NAMES), -1)


def folded(register: History, events: Sequence[Event], table: StringTable) -> int | None:
    """A register as a matcher keeps it, event by event, in stored values; None for NULL."""
    if register.field is None or register.of is None:
        return len(events)
    state: Any = 0 if register.aggregate == "count" else None
    gone = False
    for event in events:
        value = event.get(register.field)
        null = value is None or (isinstance(value, float) and math.isnan(value))
        new: Any = None if null else value if register.of == FLOAT64 else stored(value, register.of, table)
        match register.aggregate:
            case "first":
                state = new if event is events[0] else state
            case "last":
                state = new
            case "count":
                state += not null
            case "sum" if not null and not gone:
                state = new if state is None else state + new
                gone = register.type != FLOAT64 and not INT64_MIN <= state <= INT64_MAX
            case "min" | "max" if not null:
                pick = min if register.aggregate == "min" else max
                state = new if state is None else pick(state, new)
    if gone or state is None:
        return None
    return stored(state, FLOAT64, table) if register.type == FLOAT64 else int(state)


def ran(expression: Expression, event: Event, history: Mapping[str, Sequence[Event]]) -> bool:
    """The program's word on one event and one partial, with other partials' registers before its own."""
    table = StringTable()
    registers = required_registers(expression)
    program = compile_program(expression, NAMES.index, registers.index, table.code)
    values, nulls = columns([event], table)
    cells = [folded(register, history[register.step], table) for register in registers]
    base = 3
    regs = np.array([-1] * base + [1 if cell is None else cell for cell in cells], np.int64)
    regnull = np.uint64(sum(1 << place for place, cell in enumerate(cells) if cell is None))
    result = run(program.ops, program.args, 0, len(program.ops), values, nulls, 0, regs, base, regnull, scratch())
    assert result in (0, 1)
    return result == 1


@settings(max_examples=800, deadline=None)
@given(CONDITION_TEXTS, st.lists(EVENTS, min_size=1, max_size=3), HISTORIES)
def test_a_program_holds_exactly_where_the_condition_is_true(
    text: str, events: list[Event], history: dict[str, list[Event]]
) -> None:
    """The kernel against the slow obvious meaning: any condition, with NULLs, NaNs, the ends of int64."""
    condition = typed(text, BOOL)
    assume(condition is not None)
    assert condition is not None
    for event in events:
        assert ran(condition, event, history) == (evaluate(condition, event, history) is True)


@settings(max_examples=200, deadline=None)
@given(CONDITION_TEXTS, st.lists(EVENTS, max_size=5))
def test_a_program_runs_over_a_whole_column(text: str, events: list[Event]) -> None:
    condition = typed(text, BOOL)
    assume(condition is not None)
    assert condition is not None
    assume(not references(condition))
    table = StringTable()
    program = compile_program(condition, NAMES.index, lambda _: pytest.fail("no register is read"), table.code)
    values, nulls = columns(events, table)
    out = np.full(len(events), 7, np.uint8)
    run_column(program, values, nulls, out)
    assert out.tolist() == [evaluate(condition, event, {}) is True for event in events]


@pytest.mark.parametrize(
    ("text", "event"),
    [
        ("n * m = 0", {"n": 2**32, "m": 2**32}),
        ("n * m < 0", {"n": 2**32, "m": -(2**31)}),
        ("n * m < 0", {"n": INT64_MIN, "m": -1}),
        ("n * m > 0", {"n": 3037000500, "m": 3037000500}),
        ("n * m > 0", {"n": 3037000499, "m": 3037000499}),
        ("n % m = 0", {"n": INT64_MIN, "m": -1}),
        ("n % m = -1", {"n": -7, "m": 3}),
        ("price > n", {"price": Decimal("0.01"), "n": INT64_MIN}),
        ("price < n", {"price": Decimal("99999999.99"), "n": INT64_MAX}),
        ("fee = price", {"fee": Decimal("-1.500"), "price": Decimal("-1.50")}),
        ("fee < price", {"fee": Decimal("-1.501"), "price": Decimal("-1.50")}),
        ("n > 2.5", {"n": 3}),
        ("amount % rate = 1", {"amount": math.inf, "rate": 3.0}),
        ("amount - rate = 0", {"amount": math.inf, "rate": math.inf}),
        ("NOT (amount < 1)", {"amount": math.nan}),
        ("amount > 0.1", {"amount": 0.1}),
        ("price * rate = 0.21", {"price": Decimal("0.07"), "rate": 3.0}),
        ("rate * amount + rate > 0.3", {"amount": 2.0, "rate": 0.1}),
    ],
)
def test_the_edges_of_arithmetic_are_those_of_the_meaning(text: str, event: dict[str, Any]) -> None:
    condition = parse(text, FIELDS, STEPS)
    assert ran(condition, event, {}) == (evaluate(condition, event, {}) is True)


def compiled_text(text: str) -> Program:
    condition = parse(text, FIELDS, STEPS, "probe")
    registers = required_registers(condition)
    return compile_program(condition, NAMES.index, registers.index, StringTable().code)


def test_avg_is_a_sum_over_a_count() -> None:
    found = required_registers(parse("price > 2 * avg(probe.price) AND sum(probe.price) > 1", FIELDS, STEPS))
    assert found == [
        History("sum", "probe", "price", Type(Kind.DECIMAL, 18, 2), FIELDS["price"]),
        History("count", "probe", "price", INT64, FIELDS["price"]),
    ]


def test_outer_connections_are_jumps_and_inner_ones_keep_three_values() -> None:
    outer = compiled_text("ok AND flagged AND n = 1")
    assert list(outer.ops).count(UNLESS_TRUE_DROP) == 2
    assert AND not in outer.ops
    inner = compiled_text("NOT (ok AND flagged)")
    assert IF_FALSE_KEEP in inner.ops
    assert AND in inner.ops


def test_programs_can_be_laid_end_to_end() -> None:
    """Jumps are relative, so a plan keeps all its programs in two arrays."""
    table = StringTable()
    texts = ["ok OR n = 1", "NOT (ok AND flagged)", "coalesce(n, m) = 2"]
    programs = [compiled_text(text) for text in texts]
    ops, args = np.concatenate([p.ops for p in programs]), np.concatenate([p.args for p in programs])
    ends = np.cumsum([0, *(len(p.ops) for p in programs)])
    events: list[Event] = [{"ok": True, "flagged": False, "m": 2}, {"ok": False, "n": 1}, {"n": 2}]
    values, nulls = columns(events, table)
    for place, text in enumerate(texts):
        for row, event in enumerate(events):
            lo, hi = int(ends[place]), int(ends[place + 1])
            none = np.zeros(1, np.int64)
            result = run(ops, args, lo, hi, values, nulls, row, none, 0, np.uint64(0), scratch())
            assert result == (evaluate(parse(text, FIELDS, STEPS), event, {}) is True)


def test_a_program_says_how_much_stack_it_needs() -> None:
    assert compiled_text("n = 1").depth == 2
    assert compiled_text("n + (n + (n + n)) = 1").depth == 4
    assert compiled_text(" AND ".join(["n = 1"] * 200)).depth == 2
    deep: Expression = Field("n", INT64)
    for _ in range(STACK_MAX):
        deep = Binary("+", Field("n", INT64), deep, INT64)
    with pytest.raises(LimitReached, match="STACK_MAX"):
        compile_program(Binary("=", deep, deep, BOOL), NAMES.index, lambda _: 0, lambda _: 0)


def test_a_register_out_of_the_mask_is_refused() -> None:
    condition = parse("count(probe) > 1", FIELDS, STEPS)
    with pytest.raises(LimitReached, match="REGISTERS_MAX"):
        compile_program(condition, NAMES.index, lambda _: REGISTERS_MAX, lambda _: 0)


def test_the_last_register_has_a_null_bit_too() -> None:
    condition = parse("probe.n IS NULL", FIELDS, STEPS)
    program = compile_program(condition, NAMES.index, lambda _: REGISTERS_MAX - 1, lambda _: 0)
    regs = np.zeros(REGISTERS_MAX, np.int64)
    values, nulls = columns([{}], StringTable())

    def holds(mask: int) -> int:
        return run(program.ops, program.args, 0, 2, values, nulls, 0, regs, 0, np.uint64(mask), scratch())

    assert holds(1 << 63) == 1
    assert holds((1 << 63) - 1) == 0


def test_a_constant_meets_a_decimal_at_the_scale_of_the_column() -> None:
    program = compiled_text("price > 2.5")
    assert program.ops[1] == CONST
    assert program.args[1] == 250
    assert ADD not in program.ops


# --- atoms ------------------------------------------------------------------------------------------------------------

CONSTANTS = {
    "n": ["0", "1", "-1", "2.5", "-2.5", "1e0", "2.5e0", "-9e18", "1e19", "9223372036854775807",
          "-9223372036854775808"],
    "price": ["0", "1", "2.50", "2.505", "-0.005", "1e0", "0.07e0", "100000000"],
    "amount": ["0", "1", "0.1", "-2.5", "1e308", "5e-324", "9007199254740993"],
    "at": ["TIMESTAMP '1970-01-01 00:00:00'", "TIMESTAMP '2026-01-01 00:00:00'"],
    "ok": ["TRUE", "FALSE"],
    "country": ["'FR'", "'DE'", "'it''s'"],
}  # fmt: skip
EXACT = {name: [text for text in texts if "e" not in text] for name, texts in CONSTANTS.items()}
OPTIONS = {**EXACT, "amount": CONSTANTS["amount"], "ok": CONSTANTS["ok"], "country": CONSTANTS["country"]}
ORDERED = ("n", "price", "amount", "at")


def _single(name: str) -> st.SearchStrategy[str]:
    constant = st.sampled_from(CONSTANTS[name])
    options = st.lists(st.sampled_from(OPTIONS[name]), min_size=1, max_size=3).map(", ".join)
    operator = st.sampled_from(["=", "<", "<=", ">", ">="] if name in ORDERED else ["="])
    forms = [
        st.tuples(operator, constant).map(lambda x: f"{name} {x[0]} {x[1]}"),
        st.tuples(operator, constant).map(lambda x: f"{x[1]} {x[0]} {name}"),
        options.map(lambda listed: f"{name} IN ({listed})"),
        st.just(f"{name} IS NOT NULL"),
    ]
    if name in ORDERED:
        order = st.sampled_from(["<", "<=", ">", ">="])
        forms.append(st.tuples(order, constant).map(lambda x: f"NOT {name} {x[0]} {x[1]}"))
        forms.append(st.tuples(constant, constant).map(lambda x: f"{name} BETWEEN {x[0]} AND {x[1]}"))
    if name == "ok":
        forms += [
            st.just("ok"),
            st.just("NOT ok"),
            st.just("ok IS TRUE"),
            st.just("ok IS FALSE"),
            st.just("NOT NOT ok"),
        ]
    return st.one_of(forms)


SINGLES = st.sampled_from(sorted(CONSTANTS)).flatmap(_single)


def matches(found: Atom, value: Value | None, kind: Type) -> bool:
    """What an index makes of an atom: one comparison, or one look-up, of the stored value."""
    if value is None:
        return False
    cell = float(value) if kind == FLOAT64 else stored(value, kind, StringTable())
    if found.kind == "range":
        return found.low <= cell <= found.high
    return value in found.texts if kind == STRING else cell in found.ints


def agrees(condition: Expression, event: Event) -> None:
    found = atom(condition)
    if found is not None:
        value = event.get(found.field)
        assert matches(found, value, FIELDS[found.field]) == (evaluate(condition, event, {}) is True), found


@settings(max_examples=300, deadline=None)
@given(SINGLES, st.lists(EVENTS, min_size=1, max_size=5))
def test_an_atom_is_true_exactly_where_its_condition_is(text: str, events: list[Event]) -> None:
    condition = parse(text, FIELDS, {})
    assert atom(condition) is not None or "amount IN" in text, text
    for event in events:
        agrees(condition, event)


@settings(max_examples=200, deadline=None)
@given(CONDITION_TEXTS, st.lists(EVENTS, min_size=1, max_size=3))
def test_no_condition_is_taken_for_an_atom_that_it_is_not(text: str, events: list[Event]) -> None:
    condition = typed(text, BOOL)
    assume(condition is not None)
    assert condition is not None
    for event in events:
        agrees(condition, event)


@settings(max_examples=200, deadline=None)
@given(st.sampled_from(sorted(CONSTANTS)).flatmap(lambda n: st.lists(_single(n), min_size=2, max_size=3)), EVENTS)
@example(["country IN ('FR')", "country IS NOT NULL"], {"country": "FR"})
def test_atoms_of_one_field_merge_into_one(texts: list[str], event: Event) -> None:
    conditions = [parse(text, FIELDS, {}) for text in texts]
    both = all_of(conditions)
    if all(atom(condition) is not None for condition in conditions) and both != TRUE:
        assert atom(both) is not None
        agrees(both, event)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("amount > 500", Atom("amount", "range", math.nextafter(500.0, math.inf), math.inf)),
        ("500 > amount", Atom("amount", "range", -math.inf, math.nextafter(500.0, -math.inf))),
        ("amount BETWEEN 1 AND 2.5", Atom("amount", "range", 1.0, 2.5)),
        ("n > 2.5", Atom("n", "range", 3, INT64_MAX)),
        ("n <= -2.5", Atom("n", "range", INT64_MIN, -3)),
        ("n = 2.5", Atom("n", "range", INT64_MAX, INT64_MIN)),
        ("n > 1 AND n < 9", Atom("n", "range", 2, 8)),
        ("price >= 2.505", Atom("price", "range", 251, INT64_MAX)),
        ("price > 0.07e0", Atom("price", "range", 8, INT64_MAX)),
        ("price IN (1, 2.50, 2.505)", Atom("price", "codes", ints=(100, 250))),
        ("n IN (3, 1, 2) AND n > 1", Atom("n", "codes", ints=(2, 3))),
        ("ok", Atom("ok", "range", 1, 1)),
        ("NOT ok", Atom("ok", "range", 0, 0)),
        ("ok = FALSE", Atom("ok", "range", 0, 0)),
        ("ok IS TRUE", Atom("ok", "range", 1, 1)),
        ("ok IS NOT TRUE", None),
        ("at >= TIMESTAMP '1970-01-01 00:00:01'", Atom("at", "range", 1_000_000, INT64_MAX)),
        ("country = 'FR'", Atom("country", "codes", texts=("FR",))),
        ("country IN ('FR', 'DE', NULL)", Atom("country", "codes", texts=("DE", "FR"))),
        ("country <> 'FR'", None),
        ("NOT country <> 'FR'", Atom("country", "codes", texts=("FR",))),
        ("n = m", None),
        ("n + 1 = 2", None),
        ("n = 1 OR n = 2", None),
        ("n = 1 AND m = 2", None),
        ("A.n = 1", None),
        ("n IS NULL", None),
        ("NULL", None),
    ],
)
def test_bounds_are_inclusive_and_in_the_units_of_the_column(text: str, expected: Atom | None) -> None:
    assert atom(parse(text, FIELDS, STEPS)) == expected


def around(edge: float, kind: Type) -> list[Value]:
    """The values just below a bound, at it and just above, as far as the type goes."""
    if kind == FLOAT64:
        return [math.nextafter(edge, -math.inf), edge, math.nextafter(edge, math.inf)]
    cells = [cell for cell in (int(edge) - 1, int(edge), int(edge) + 1) if INT64_MIN <= cell <= INT64_MAX]
    return [Decimal(cell).scaleb(-kind.scale) if kind.kind is Kind.DECIMAL else cell for cell in cells]


@pytest.mark.parametrize("name", ORDERED)
@pytest.mark.parametrize("operator", ["=", "<", "<=", ">", ">="])
def test_no_bound_is_off_by_one(name: str, operator: str) -> None:
    """Every constant, also those between two stored values, checked on both sides of both bounds."""
    for constant in CONSTANTS[name]:
        for text in (f"{name} {operator} {constant}", f"{constant} {operator} {name}"):
            condition = parse(text, FIELDS, {})
            found = atom(condition)
            assert found is not None, text
            for edge in (found.low, found.high):
                for value in around(edge, FIELDS[name]):
                    agrees(condition, {name: value})


def test_atoms_of_two_fields_do_not_merge() -> None:
    assert merge(Atom("n", "range", 1, 2), Atom("m", "range", 1, 2)) is None
