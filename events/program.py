"""Programs: a condition as a flat list of instructions, and the kernel that runs it on one event.

    ops[k]   int16    instruction
    args[k]  int64    column, register, jump distance, or a constant's bits

    amount > 50 * avg(probe.amount)        FFIELD amount | CONST 50.0 | FREG sum | REG count | FLOAT | FDIV | FMUL | FGT

A stack machine: every cell is an int64 (a float64 as its bits) with a NULL bit, the top one in a machine register. The
instructions F... read and write float64. Programs of one plan can be laid end to end: jumps are relative, and `run`
takes the range [lo, hi). For the outermost ANDs and ORs unknown is as good as false, so they are jumps only.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from fractions import Fraction
from typing import Literal as Choice

import numpy as np

from events.columns import I16, I64, U8
from events.errors import LimitReached
from events.expression import (
    COMPARISONS,
    INT64_MAX,
    INT64_MIN,
    Binary,
    Constant,
    Expression,
    Field,
    History,
    OneOf,
    Unary,
    aggregate_of,
    evaluate,
    meeting,
    walk,
)
from events.kernel import bits_of, compiled, inlined, real_of
from events.types import BOOL, FLOAT64, INT64, STRING, Kind, Type

STACK_MAX = 62
"""Cells of a program's stack: their NULL bits are one int64."""
REGISTERS_MAX = 64
"""Registers of one partial: their NULL bits are one uint64."""

# push a cell
CONST, NULL, FIELD, FFIELD, REG, FREG = range(6)
# change the top cell (FLOAT: divide by args as a float64; HIT: is the cell below it this constant?)
FLOAT, NEG, ABS, FNEG, FABS, NOT, IS_NULL, IS_TRUE, IS_FALSE, HIT, FHIT = range(6, 17)
# jump by args, keeping the top, or go on: with it (_KEEP) or without it (_DROP)
IF_FALSE_KEEP, IF_TRUE_KEEP, UNLESS_TRUE_DROP, IF_TRUE_DROP, UNLESS_NULL_DROP = range(17, 22)
# make one cell of two (SIGN: of left x args - right, or of left - right x -args; IN: args is 1 if NULL is an option)
AND, OR, IN, ADD, SUB, MUL, MOD, SIGN = range(22, 30)
EQ, NE, LT, LE, GT, GE = range(30, 36)
FADD, FSUB, FMUL, FDIV, FMOD = range(36, 41)
FEQ, FNE, FLT, FLE, FGT, FGE = range(41, 47)

_UNARY, _JUMP, _BINARY, _FLOAT_BINARY = FLOAT, IF_FALSE_KEEP, AND, FADD


@dataclass(frozen=True, slots=True)
class Program:
    """One condition. `depth` is how many cells of the stack it needs (at most STACK_MAX)."""

    ops: I16
    args: I64
    depth: int


# --- compiling --------------------------------------------------------------------------------------------------------


def required_registers(expression: Expression) -> list[History]:
    """The primitive aggregates (count, sum, min, max, first, last; never avg) that its program reads, without repeats.

    `History.type` is a register's type. count counts from 0 and is never NULL; the others start as NULL and skip NULLs
    and NaNs, except that first and last skip nothing. An integer sum that leaves int64 is NULL from then on.
    """
    found = (node for node in walk(expression) if isinstance(node, History))
    return list(dict.fromkeys(primitive for node in found for primitive in _primitives(node)))


def _primitives(node: History) -> tuple[History, ...]:
    """avg is sum / count; the others are themselves."""
    if node.aggregate != "avg":
        return (node,)
    return (
        aggregate_of("sum", node.step, node.field, node.of),
        aggregate_of("count", node.step, node.field, node.of),
    )


def compile_program(
    expression: Expression,
    column_of: Callable[[str], int],
    register_of: Callable[[History], int],
    code_of: Callable[[str], int],
) -> Program:
    """The program of a condition (a tree of type bool).

    column_of:   field of the event to row of `values`
    register_of: primitive aggregate (see `required_registers`) to 0 <= register < REGISTERS_MAX
    code_of:     text to string code

    Raises LimitReached for a register out of range or a stack deeper than STACK_MAX.
    """
    assert expression.type == BOOL, "a condition is bool"
    writer = _Writer(column_of, register_of, code_of)
    writer.truth(expression)
    if writer.depth > STACK_MAX:
        raise LimitReached(f"a condition needs a stack of {writer.depth}, and STACK_MAX is {STACK_MAX}", "nest less")
    return Program(np.array(writer.ops, np.int16), np.array(writer.args, np.int64), writer.depth)


def _bits(value: float) -> int:
    return int(np.float64(value).view(np.int64))


class _Writer:
    """Instructions being written; every method that takes an expression leaves one more cell on the stack."""

    def __init__(
        self,
        column_of: Callable[[str], int],
        register_of: Callable[[History], int],
        code_of: Callable[[str], int],
    ) -> None:
        self.column_of = column_of
        self.register_of = register_of
        self.code_of = code_of
        self.ops: list[int] = []
        self.args: list[int] = []
        self.height = self.depth = 0

    def emit(self, op: int, arg: int = 0) -> None:
        """One instruction; keeps count of the cells."""
        self.ops.append(op)
        self.args.append(arg)
        self.height += 1 if op < _UNARY else -1 if op >= _BINARY else 0
        self.depth = max(self.depth, self.height)

    def jump(self, op: int, drop: bool, rest: Callable[[], None]) -> None:
        """A jump over `rest`, which is reached with or without the top cell."""
        place = len(self.ops)
        self.emit(op)
        self.height -= drop
        rest()
        self.args[place] = len(self.ops) - place - 1

    # conditions

    def truth(self, node: Expression) -> None:
        """A condition of which only "true or not" is asked."""
        if isinstance(node, Binary) and node.op in ("and", "or"):
            right = node.right
            self.truth(node.left)
            self.jump(UNLESS_TRUE_DROP if node.op == "and" else IF_TRUE_DROP, True, lambda: self.truth(right))
        else:
            self.value(node)

    def value(self, node: Expression) -> None:
        """Any expression."""
        match node:
            case Constant():
                self.constant(node, node.type)
            case Field():
                self.emit(FFIELD if node.type == FLOAT64 else FIELD, self.column_of(node.name))
            case History():
                self.history(node)
            case Unary():
                self.unary(node)
            case OneOf():
                self.one_of(node)
            case Binary():
                self.binary(node)

    def binary(self, node: Binary) -> None:
        """Any operator of two operands."""
        if node.op in ("and", "or"):
            self.connection(node)
        elif node.op == "coalesce":
            self.value_as(node.left, node.type)
            self.jump(UNLESS_NULL_DROP, True, lambda: self.value_as(node.right, node.type))
        elif node.op in COMPARISONS:
            self.comparison(node)
        else:
            self.arithmetic(node)

    def connection(self, node: Binary) -> None:
        """AND, OR with all three truth values."""

        def rest() -> None:
            self.value(node.right)
            self.emit(AND if node.op == "and" else OR)

        self.value(node.left)
        self.jump(IF_FALSE_KEEP if node.op == "and" else IF_TRUE_KEEP, False, rest)

    def unary(self, node: Unary) -> None:
        """NOT, tests, signs."""
        self.value(node.operand)
        real = node.operand.type == FLOAT64
        self.emit(
            {
                "not": NOT,
                "is_null": IS_NULL,
                "is_true": IS_TRUE,
                "is_false": IS_FALSE,
                "neg": FNEG if real else NEG,
                "abs": FABS if real else ABS,
            }[node.op]
        )

    def one_of(self, node: OneOf) -> None:
        """IN: a found mark above the operand, set by any option that hits."""
        self.value(node.operand)
        self.emit(CONST, 0)
        real = node.operand.type == FLOAT64
        for option in node.options:
            cell = self.cell(option, node.operand.type)
            if cell is not None:
                self.emit(FHIT if real else HIT, cell)
        self.emit(IN, int(any(option.value is None for option in node.options)))

    def comparison(self, node: Binary) -> None:
        """= != < <= > >= in float64, in integers of one scale, or by the sign of a difference of two scales."""
        left, right = node.left, node.right
        operator = COMPARISONS.index(node.op)
        met = meeting(left.type, right.type)
        assert met is not None, "parse lets only comparable types meet"
        if met == FLOAT64:
            self.both_as(left, right, met)
            self.emit(FEQ + operator)
        elif (common := self.one_scale(left, right)) is not None:
            self.both_as(left, right, common)
            self.emit(EQ + operator)
        else:
            self.value(left)
            self.value(right)
            scale = right.type.scale - left.type.scale
            self.emit(SIGN, 10**scale if scale > 0 else -(10**-scale))
            self.emit(CONST, 0)
            self.emit(EQ + operator)

    def one_scale(self, left: Expression, right: Expression) -> Type | None:
        """The type in which both are exact without scaling what is not constant."""
        if left.type.scale == right.type.scale:
            return left.type
        for one, other in ((left, right), (right, left)):
            if isinstance(one, Constant) and self.cell(one, other.type) is not None:
                return other.type
        return None

    # values

    def both_as(self, left: Expression, right: Expression, kind: Type) -> None:
        """Two cells of one type."""
        self.value_as(left, kind)
        self.value_as(right, kind)

    def value_as(self, node: Expression, kind: Type) -> None:
        """A cell of another type: integers to float64, or to decimals of no smaller scale."""
        if isinstance(node, Constant):
            self.constant(node, kind)
            return
        self.value(node)
        if kind == FLOAT64 and node.type != FLOAT64:
            self.emit(FLOAT, _bits(10.0**node.type.scale))
        elif kind.scale > node.type.scale:
            self.emit(CONST, 10 ** (kind.scale - node.type.scale))
            self.emit(MUL)

    def constant(self, node: Constant, kind: Type) -> None:
        """A constant as a cell of some type; what does not fit is NULL."""
        cell = self.cell(node, kind)
        if cell is None:
            self.emit(NULL)
        else:
            self.emit(CONST, cell)

    def cell(self, node: Constant, kind: Type) -> int | None:
        """A constant as a column of type `kind` stores it; None for NULL and for what the type can't hold."""
        if node.value is None:
            return None
        if isinstance(node.value, str):
            return self.code_of(node.value)
        if kind == FLOAT64:
            value = node.value / 10.0**node.type.scale if node.type.kind is Kind.DECIMAL else float(node.value)
            return _bits(value)
        assert not isinstance(node.value, float), "a float64 meets only float64"
        scaled = Fraction(node.value) * Fraction(10) ** (kind.scale - node.type.scale)
        return int(scaled) if scaled.denominator == 1 and INT64_MIN <= scaled <= INT64_MAX else None

    def history(self, node: History) -> None:
        """A register, or avg as sum / count."""
        registers = _primitives(node)
        for primitive in registers:
            self.register(primitive)
            if len(registers) > 1 and primitive.type != FLOAT64:
                self.emit(FLOAT, _bits(10.0**primitive.type.scale))
        if len(registers) > 1:
            self.emit(FDIV)

    def register(self, node: History) -> None:
        """One primitive aggregate."""
        register = self.register_of(node)
        if not 0 <= register < REGISTERS_MAX:
            raise LimitReached(
                f"{node.aggregate} of step {node.step!r} has register {register}, and REGISTERS_MAX is {REGISTERS_MAX}",
                "refer to fewer fields of earlier steps",
            )
        self.emit(FREG if node.type == FLOAT64 else REG, register)

    def arithmetic(self, node: Binary) -> None:
        """+ - * / %"""
        integers = {"+": ADD, "-": SUB, "*": MUL, "%": MOD}
        floats = {"+": FADD, "-": FSUB, "*": FMUL, "/": FDIV, "%": FMOD}
        if node.type == FLOAT64:
            self.both_as(node.left, node.right, FLOAT64)
            self.emit(floats[node.op])
        elif node.type.kind is Kind.DECIMAL and node.op != "*":
            self.both_as(node.left, node.right, node.type)
            self.emit(integers[node.op])
        else:
            self.value(node.left)
            self.value(node.right)
            self.emit(integers[node.op])


# --- running ----------------------------------------------------------------------------------------------------------


def scratch() -> I64:
    """A stack for `run`."""
    return np.empty(STACK_MAX, np.int64)


@compiled
def run(
    ops: I16,
    args: I64,
    lo: int | np.int64,
    hi: int | np.int64,
    values: I64,
    nulls: U8,
    row: int | np.int64,
    regs: I64,
    base: int | np.int64,
    regnull: np.uint64,
    stack: I64,
) -> int:
    """1 where program [lo, hi) is true for event `row` and this partial, 0 where it is false or unknown.

    values[c, row]    int64   columns; float64 columns hold their bits
    nulls[c, row]     uint8   1 where NULL
    regs[base + r]    int64   registers of the partial, stored like columns
    regnull           uint64  bit r set: register r is NULL
    stack             int64[STACK_MAX], scratch of the caller (one per thread)

        stack[1 .. sp-1]   the cells below the top          null   bit 0: the top is NULL, bit 1: the cell below it ...
        top                the top cell                            (so a push shifts it left, a pop shifts it right)

    Allocates nothing; costs one step an instruction, each at most once. Callers give int64 and uint64 scalars, never
    literals: every combination of types is compiled anew.
    """
    sp = 0
    top = np.int64(0)
    null = np.int64(0)
    registers_null = np.int64(regnull)
    pc = lo
    while pc < hi:
        op = ops[pc]
        arg = args[pc]
        pc += 1
        if op < _UNARY:
            stack[sp] = top
            sp += 1
            null <<= 1
            if op == CONST:
                top = arg
            elif op == FFIELD:
                top = values[arg, row]
                real = real_of(top)
                null |= np.int64(nulls[arg, row] != 0) | np.int64(real != real)
            elif op == FIELD:
                top = values[arg, row]
                null |= np.int64(nulls[arg, row] != 0)
            elif op == FREG:
                top = regs[base + arg]
                real = real_of(top)
                null |= ((registers_null >> arg) & 1) | np.int64(real != real)
            elif op == REG:
                top = regs[base + arg]
                null |= (registers_null >> arg) & 1
            else:
                null |= 1
        elif op >= _FLOAT_BINARY:
            sp -= 1
            x = real_of(stack[sp])
            y = real_of(top)
            null = (null >> 1) | (null & 1)
            if op == FGT:
                top = np.int64(x > y)
            elif op == FLT:
                top = np.int64(x < y)
            elif op == FGE:
                top = np.int64(x >= y)
            elif op == FLE:
                top = np.int64(x <= y)
            elif op == FEQ:
                top = np.int64(x == y)
            elif op == FNE:
                top = np.int64(x != y)
            else:
                if op == FADD:
                    z = x + y
                elif op == FSUB:
                    z = x - y
                elif op == FMUL:
                    z = x * y
                elif op == FDIV:
                    z = x / y
                    null |= np.int64(y == 0.0)
                else:
                    z = np.fmod(x, y)
                null |= np.int64(z != z)
                top = bits_of(z)
        elif op >= _BINARY:
            sp -= 1
            left = stack[sp]
            both = null
            null = (null >> 1) | (null & 1)
            if op == EQ:
                top = np.int64(left == top)
            elif op == NE:
                top = np.int64(left != top)
            elif op == GT:
                top = np.int64(left > top)
            elif op == LT:
                top = np.int64(left < top)
            elif op == GE:
                top = np.int64(left >= top)
            elif op == LE:
                top = np.int64(left <= top)
            elif op in (AND, OR):
                decisive = np.int64(op == OR)
                if (left == decisive and both & 2 == 0) or (top == decisive and both & 1 == 0):
                    top = decisive
                    null &= -2
                else:
                    top = 1 - decisive
            elif op == IN:
                null |= arg & (1 - top)
            elif op == ADD:
                total = left + top
                null |= np.int64(((left ^ total) & (top ^ total)) < 0)
                top = total
            elif op == SUB:
                total = left - top
                null |= np.int64(((left ^ top) & (left ^ total)) < 0)
                top = total
            elif op == MUL:
                product = left * top
                null |= np.int64(_leaves_int64(left, top, product))
                top = product
            elif op == MOD:
                null |= np.int64(top == 0)
                top = _remainder(left, top)
            else:
                top = _sign(left, top, arg)
        elif op < _JUMP:
            if op == FLOAT:
                top = bits_of(np.float64(top) / real_of(arg))
            elif op == NOT:
                top = 1 - top
            elif op == HIT:
                top |= np.int64(stack[sp - 1] == arg)
            elif op == FHIT:
                top |= np.int64(real_of(stack[sp - 1]) == real_of(arg))
            elif op == IS_NULL:
                top = null & 1
                null &= -2
            elif op == IS_TRUE:
                top &= ~null & 1
                null &= -2
            elif op == IS_FALSE:
                top = (1 - top) & ~null & 1
                null &= -2
            elif op == NEG:
                null |= np.int64(top == INT64_MIN)
                top = -top
            elif op == ABS:
                null |= np.int64(top == INT64_MIN)
                top = abs(top)
            elif op == FNEG:
                top = bits_of(-real_of(top))
            else:
                top = bits_of(abs(real_of(top)))
        else:
            known = null & 1 == 0
            if op == UNLESS_TRUE_DROP:
                keep = not (known and top == 1)
            elif op in (IF_TRUE_DROP, IF_TRUE_KEEP):
                keep = known and top == 1
            elif op == UNLESS_NULL_DROP:
                keep = known
            else:
                keep = known and top == 0
            if keep:
                pc += arg
            elif op >= UNLESS_TRUE_DROP:
                sp -= 1
                top = stack[sp]
                null >>= 1
    return int(top & ~null & 1)


@inlined
def _leaves_int64(left: np.int64, right: np.int64, product: np.int64) -> bool:
    """Did left x right overflow? Near 2^63 (9.22e18) a product that left int64 came back with the other sign."""
    near = np.float64(left) * np.float64(right)
    return bool((abs(near) > 9.3e18) | ((abs(near) > 9.2e18) & ((product < 0) != (near < 0))))


@inlined
def _remainder(left: np.int64, right: np.int64) -> np.int64:
    """With the sign of the dividend; 0 for the divisor 0, whose result is NULL anyway."""
    if right == 0:
        return np.int64(0)
    rest = left % right
    return rest - right if rest != 0 and (left < 0) != (right < 0) else rest


@inlined
def _sign(left: np.int64, right: np.int64, scale: np.int64) -> np.int64:
    """-1, 0 or 1: left x scale against right, or left against right x -scale for a negative scale; exact."""
    if scale > 0:
        quotient = right // scale
        exact = quotient * scale == right
        return np.int64(1 if left > quotient else 0 if left == quotient and exact else -1)
    quotient = left // -scale
    exact = quotient * -scale == left
    return np.int64(-1 if right > quotient else 0 if right == quotient and exact else 1)


def run_column(program: Program, values: I64, nulls: U8, out: U8) -> None:
    """out[i] = 1 where a program that reads no registers is true for event i, else 0.

    values[c, n] int64, nulls[c, n] uint8, out[n] uint8.
    """
    _run_column(program.ops, program.args, values, nulls, np.zeros(1, np.int64), scratch(), out)


@compiled
def _run_column(ops: I16, args: I64, values: I64, nulls: U8, regs: I64, stack: I64, out: U8) -> None:
    """`run` for every event; shapes as in `run` and `run_column`."""
    start = np.int64(0)  # not the literal 0, for which `run` would be compiled once more
    for row in range(len(out)):
        out[row] = run(ops, args, start, len(ops), values, nulls, row, regs, start, np.uint64(0), stack)


# --- atoms ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Atom:
    """A condition that is one search in one column: true where the field is not NULL (nor NaN) and

    kind "range": low <= stored <= high, with `stored` as the column has it: scaled integers for decimals, 0 and 1 for
                  bools, exact doubles (maybe infinite) for float64, integers for the others (open ends are the ends of
                  int64). low > high: never true.
    kind "codes": stored is one of `ints` (sorted), or, for strings, the code of one of `texts` (sorted). Never true if
                  both are empty.
    """

    field: str
    kind: Choice["range", "codes"]
    low: int | float = 0
    high: int | float = 0
    texts: tuple[str, ...] = ()
    ints: tuple[int, ...] = ()


def atom(expression: Expression) -> Atom | None:
    """The expression as one search in one column, or None.

    Recognised: field against constant in either order (not !=), IN, BETWEEN, IS NOT NULL, IS TRUE, IS FALSE, a bool
    field alone, NOT of one that has an opposite, and AND of such over one field.

    >>> from events.expression import parse
    >>> atom(parse("n > 2.5 AND 7 >= n", {"n": INT64}, {}))
    Atom(field='n', kind='range', low=3, high=7, texts=(), ints=())
    >>> atom(parse("country IN ('FR', 'DE')", {"country": STRING}, {}))
    Atom(field='country', kind='codes', low=0, high=0, texts=('DE', 'FR'), ints=())
    """
    match expression:
        case Field(name, kind) if kind == BOOL:
            return Atom(name, "range", 1, 1)
        case Unary(op, operand):
            return _unary_atom(op, operand)
        case OneOf(Field() as field, options):
            return _codes(field, options)
        case Binary("and", left, right):
            one, other = atom(left), atom(right)
            return merge(one, other) if one and other else None
        case Binary(op, Field() as field, Constant() as constant) if op in _FLIPPED:
            return _comparison_atom(field, op, constant)
        case Binary(op, Constant() as constant, Field() as field) if op in _FLIPPED:
            return _comparison_atom(field, _FLIPPED[op], constant)
    return None


_FLIPPED = {"=": "=", "<": ">", "<=": ">=", ">": "<", ">=": "<="}
_OPPOSITE = {"!=": "=", "<": ">=", "<=": ">", ">": "<=", ">=": "<"}


def _unary_atom(op: str, operand: Expression) -> Atom | None:
    """IS TRUE, IS FALSE, and NOT of what has an opposite."""
    match op, operand:
        case "is_true", Field(name):
            return Atom(name, "range", 1, 1)
        case (("is_false" | "not"), Field(name)):
            return Atom(name, "range", 0, 0)
        case "not", Unary("is_null", Field(name, kind)):
            return _range(name, kind, *_ends(kind))
        case "not", Unary("not", inner):
            return atom(inner)
        case "not", Binary(comparison, left, right, kind) if comparison in _OPPOSITE:
            return atom(Binary(_OPPOSITE[comparison], left, right, kind))
    return None


def _ends(kind: Type) -> tuple[int | float, int | float]:
    """The least and the greatest stored value."""
    return (-math.inf, math.inf) if kind == FLOAT64 else (INT64_MIN, INT64_MAX)


def _range(name: str, kind: Type, low: int | float, high: int | float) -> Atom:
    """A range; every empty one is the same."""
    least, greatest = _ends(kind)
    return Atom(name, "range", low, high) if low <= high else Atom(name, "range", greatest, least)


def _codes(field: Field, options: Sequence[Constant]) -> Atom | None:
    """IN; a NULL among the options can make it unknown, never true."""
    known = [option for option in options if option.value is not None]
    if field.type == STRING:
        return Atom(field.name, "codes", texts=tuple(sorted({str(option.value) for option in known})))
    if field.type == FLOAT64:
        return _comparison_atom(field, "=", known[0]) if len(known) == 1 else None
    exact = [_stored(option, field.type) for option in known]
    ints = {int(value) for value in exact if value.denominator == 1 and INT64_MIN <= value <= INT64_MAX}
    return Atom(field.name, "codes", ints=tuple(sorted(ints)))


def _stored(constant: Constant, kind: Type) -> Fraction:
    """A constant in the units of a column of integers; maybe between two of them."""
    assert isinstance(constant.value, int), "only integers are stored as integers"
    return Fraction(constant.value) * Fraction(10) ** (kind.scale - constant.type.scale)


def _comparison_atom(field: Field, op: str, constant: Constant) -> Atom | None:
    """field op constant."""
    if isinstance(constant.value, str):
        return Atom(field.name, "codes", texts=(constant.value,))
    low, high = _ends(field.type)
    if field.type == FLOAT64:
        assert isinstance(constant.value, float), "a constant beside a float64 is one"
        bounds = _float_bounds(op, constant.value)
    elif constant.type == FLOAT64:
        bounds = _searched_bounds(field, op, constant)
    else:
        bounds = _int_bounds(op, _stored(constant, field.type))
    return _range(field.name, field.type, max(low, bounds[0]), min(high, bounds[1]))


def _float_bounds(op: str, value: float) -> tuple[float, float]:
    """The doubles for which `x op value`."""
    return {
        "=": (value, value),
        "<": (-math.inf, math.nextafter(value, -math.inf)),
        "<=": (-math.inf, value),
        ">": (math.nextafter(value, math.inf), math.inf),
        ">=": (value, math.inf),
    }[op]


def _int_bounds(op: str, value: Fraction) -> tuple[int, int]:
    """The integers for which `n op value`."""
    floor, ceiling = math.floor(value), math.ceil(value)
    return {
        "=": (ceiling, floor),
        "<": (INT64_MIN, ceiling - 1),
        "<=": (INT64_MIN, floor),
        ">": (floor + 1, INT64_MAX),
        ">=": (ceiling, INT64_MAX),
    }[op]


def _searched_bounds(field: Field, op: str, constant: Constant) -> tuple[int, int]:
    """The stored integers whose float64 compares so: found by bisection, for rounding makes no simple rule."""

    def first(comparison: str) -> int:
        """The least stored integer for which it holds; one past the end if there is none."""
        node = Binary(comparison, field, constant, BOOL)
        low, high = INT64_MIN, INT64_MAX + 1
        while low < high:
            middle = (low + high) // 2
            value = Decimal(middle).scaleb(-field.type.scale) if field.type.kind is Kind.DECIMAL else middle
            low, high = (low, middle) if evaluate(node, {field.name: value}, {}) else (middle + 1, high)
        return low

    at_least = first(">=") if op in ("<", ">=", "=") else INT64_MIN
    above = first(">") if op in ("<=", ">", "=") else INT64_MAX + 1
    return {
        "=": (at_least, above - 1),
        "<": (INT64_MIN, at_least - 1),
        "<=": (INT64_MIN, above - 1),
        ">": (above, INT64_MAX),
        ">=": (at_least, INT64_MAX),
    }[op]


def merge(left: Atom, right: Atom) -> Atom | None:
    """Both at once, where that is one search again: None for atoms of different fields."""
    if left.field != right.field:
        return None
    if left.kind == "range" and right.kind == "range":
        low, high = max(left.low, right.low), min(left.high, right.high)
        kind = FLOAT64 if isinstance(low, float) else INT64
        return _range(left.field, kind, low, high)
    if left.kind == "range":
        return merge(right, left)
    if right.kind == "range":
        return replace(left, ints=tuple(value for value in left.ints if right.low <= value <= right.high))
    return replace(
        left,
        texts=tuple(text for text in left.texts if text in right.texts),
        ints=tuple(value for value in left.ints if value in right.ints),
    )
