"""Expressions: SQL text → typed tree, its meaning, and back to text. Nothing of sqlglot leaves this file.

    or        a OR b                                       bool
    and       a AND b                                      bool
    not       NOT a                                        bool
    test      = == <> != < <= > >=   IN (constants)   BETWEEN   IS [NOT] NULL | TRUE | FALSE
    sum       + -
    product   * / %
    sign      -a
    leaf      field   step.field   12   1.5   1.5e3   'text'   TRUE   FALSE   NULL   TIMESTAMP '2026-01-01 00:00:00'
              INTERVAL '10' MINUTE (microseconds, int64)   abs(a)   coalesce(a, b, ...)
              count(step)   count|sum|avg|min|max|first|last(step.field)   (`step.field` is last(step.field))

Rules:

- Three-valued logic lives inside an expression: a comparison with NULL is unknown, NOT unknown is unknown; a condition
  holds only where the whole of it is true. A NaN is a NULL.
- What does not fit is NULL: an int64, instant or scaled decimal (operands included, at the result's scale) that leaves
  int64; a division or remainder by zero. A float64 that overflows is infinite.
- int64 and decimals compare and add exactly; with a float64 both sides become float64 (a decimal as scaled / 10^s, one
  float division). A literal with a point is a decimal, with an exponent a float64; beside a float64 any numeric literal
  is the nearest float64. `/` and avg give float64. The remainder has the sign of the dividend.
- Strings are codes where conditions run: = <> IN IS NULL coalesce count first last, but no order, no functions.
- Names are case-sensitive; "quoted" where they are no plain words.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from difflib import get_close_matches
from fractions import Fraction
from functools import reduce
from operator import add, eq, ge, gt, le, lt, mul, ne, sub, truediv
from typing import Any, get_args
from typing import Literal as Choice

from sqlglot import Dialect, ParseError, Token, TokenError, TokenType, exp

from events.errors import InvalidDocument, Problem
from events.types import BOOL, FLOAT64, INSTANT, INT64, STRING, Kind, Type

EXPRESSION_LENGTH_MAX = 10_000
"""Characters of one expression."""
EXPRESSION_NODES_MAX = 1_000
"""Operators, names and constants of one expression."""
EXPRESSION_DEPTH_MAX = 24
"""Levels of nesting of one expression; a chain of ANDs or of ORs is one level."""
DECIMAL_DIGITS_MAX = 18
"""Digits of a decimal: what int64 holds whole."""
INT64_MIN, INT64_MAX = -(2**63), 2**63 - 1

Value = int | float | Decimal | bool | str
Event = Mapping[str, Value | None]
Fields = Mapping[str, Type]
Steps = Mapping[str, Fields]
Aggregate = Choice["count", "sum", "avg", "min", "max", "first", "last"]


@dataclass(frozen=True, slots=True)
class Constant:
    """A literal; `value` is None for NULL, the scaled integer for a decimal, microseconds for an instant.

    Strings are text here, codes only in a program.
    """

    value: int | float | bool | str | None
    type: Type


@dataclass(frozen=True, slots=True)
class Field:
    """A field of the event at hand."""

    name: str
    type: Type


@dataclass(frozen=True, slots=True)
class History:
    """An aggregate over the events that this partial match has taken so far for `step` (the one at hand excluded).

    Over no events `count` is 0 and the others are NULL. `count` has no field (`field` is None) when it counts events.
    `step.field` without an aggregate is `last(step.field)`. count, sum, avg, min and max skip NULLs; first and last are
    the field of the first and last event, be it NULL. `of` is the field's own type (None where there is no field).
    """

    aggregate: Aggregate
    step: str
    field: str | None
    type: Type
    of: Type | None = None


@dataclass(frozen=True, slots=True)
class Unary:
    """not neg abs is_null is_true is_false"""

    op: str
    operand: Expression
    type: Type


@dataclass(frozen=True, slots=True)
class Binary:
    """and or = != < <= > >= + - * / % coalesce"""

    op: str
    left: Expression
    right: Expression
    type: Type


@dataclass(frozen=True, slots=True)
class OneOf:
    """operand IN (constants); NOT IN is `Unary("not", OneOf(...))`."""

    operand: Expression
    options: tuple[Constant, ...]
    type: Type


Expression = Constant | Field | History | Unary | Binary | OneOf

TRUE, FALSE, NULL = Constant(True, BOOL), Constant(False, BOOL), Constant(None, BOOL)
"""NULL has no type of its own: it takes that of what it meets, and is written as a bool until then."""

COMPARISONS = ("=", "!=", "<", "<=", ">", ">=")
_TESTS = {"is_null": None, "is_true": True, "is_false": False}
_KEYWORDS = {None: "NULL", True: "TRUE", False: "FALSE"}


def children(expression: Expression) -> tuple[Expression, ...]:
    """The direct operands, in order."""
    match expression:
        case Unary():
            return (expression.operand,)
        case Binary():
            return (expression.left, expression.right)
        case OneOf():
            return (expression.operand, *expression.options)
    return ()


def walk(expression: Expression) -> Iterator[Expression]:
    """The expression and everything in it, from left to right."""
    yield expression
    for child in children(expression):
        yield from walk(child)


def references(expression: Expression) -> set[History]:
    """The aggregates over earlier events that it reads."""
    return {node for node in walk(expression) if isinstance(node, History)}


def fields_of(expression: Expression) -> set[str]:
    """The fields of the event at hand that it reads."""
    return {node.name for node in walk(expression) if isinstance(node, Field)}


def conjuncts(expression: Expression) -> list[Expression]:
    """The operands of a nest of ANDs in order, or the expression alone."""
    return _operands(expression, "and")


def all_of(conditions: Sequence[Expression]) -> Expression:
    """Their AND, as a balanced tree (TRUE for none); the inverse of `conjuncts`."""
    return _join("and", conditions, empty=TRUE, decisive=FALSE)


def any_of(conditions: Sequence[Expression]) -> Expression:
    """Their OR, as a balanced tree (FALSE for none)."""
    return _join("or", conditions, empty=FALSE, decisive=TRUE)


def _operands(expression: Expression, op: str) -> list[Expression]:
    if isinstance(expression, Binary) and expression.op == op:
        return _operands(expression.left, op) + _operands(expression.right, op)
    return [expression]


def _join(op: str, conditions: Sequence[Expression], empty: Constant, decisive: Constant) -> Expression:
    rest = [operand for condition in conditions for operand in _operands(condition, op) if operand != empty]
    if decisive in rest:
        return decisive
    return _balanced(op, rest) if rest else empty


def _balanced(op: str, operands: Sequence[Expression]) -> Expression:
    if len(operands) == 1:
        return operands[0]
    half = len(operands) // 2
    return Binary(op, _balanced(op, operands[:half]), _balanced(op, operands[half:]), BOOL)


def aggregate_of(aggregate: Aggregate, step: str, field: str | None, of: Type | None) -> History:
    """A History with the type that the aggregate of a field of type `of` has."""
    assert (field is None) == (of is None), "a field has a type"
    if of is None or aggregate in ("count", "avg"):
        return History(aggregate, step, field, FLOAT64 if aggregate == "avg" else INT64, of)
    wide = aggregate == "sum" and of.kind is Kind.DECIMAL
    return History(aggregate, step, field, replace(of, precision=DECIMAL_DIGITS_MAX) if wide else of, of)


def meeting(left: Type, right: Type) -> Type | None:
    """The type in which two values compare, add or stand in for each other; None where there is none."""
    if left == right:
        return left
    if not (left.is_number and right.is_number):
        return None
    if FLOAT64 in (left, right):
        return FLOAT64
    return Type(Kind.DECIMAL, DECIMAL_DIGITS_MAX, max(left.scale, right.scale))


def _arithmetic_type(op: str, left: Type, right: Type) -> Type | None:
    """The result's type; None where the operands have no such operation."""
    if INSTANT in (left, right):
        return _INSTANT_ARITHMETIC.get((op, left, right))
    if not (left.is_number and right.is_number):
        return None
    if op == "/":
        return FLOAT64
    met = meeting(left, right)
    return replace(met, scale=left.scale + right.scale) if op == "*" and met and met.kind is Kind.DECIMAL else met


_INSTANT_ARITHMETIC = {
    **{("-", INSTANT, INSTANT): INT64, ("-", INSTANT, INT64): INSTANT},
    **{("+", INSTANT, INT64): INSTANT, ("+", INT64, INSTANT): INSTANT},
}
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def evaluate(expression: Expression, event: Event, history: Mapping[str, Sequence[Event]]) -> Value | None:
    """What the expression means, slowly: NULL (and unknown) is None.

    event:   the event at hand: field to value; absent is NULL
    history: step to the events that the partial took for it, in log order
    Values are int, float, Decimal (decimals), bool, str; instants are int microseconds.
    """
    match expression:
        case Constant():
            return _value(expression)
        case Field():
            return _known(event.get(expression.name))
        case History():
            return _aggregate(expression, history.get(expression.step, ()))
        case Unary():
            return _unary(expression, evaluate(expression.operand, event, history))
        case OneOf():
            return _one_of(expression, evaluate(expression.operand, event, history))
    return _binary(expression, evaluate(expression.left, event, history), evaluate(expression.right, event, history))


def _known(value: Value | None) -> Value | None:
    """A NaN is a NULL."""
    return None if isinstance(value, float) and math.isnan(value) else value


def _value(constant: Constant) -> Value | None:
    if constant.type.kind is not Kind.DECIMAL or constant.value is None:
        return constant.value
    return _number(Fraction(constant.value) / 10**constant.type.scale, constant.type)


def _number(value: Fraction, kind: Type) -> int | Decimal | None:
    """An exact number as a value of its type; None where its stored integer leaves int64."""
    scaled = int(value * 10**kind.scale)
    if not INT64_MIN <= scaled <= INT64_MAX:
        return None
    return Decimal(scaled).scaleb(-kind.scale) if kind.scale else scaled


def _as(value: Any, source: Type, target: Type) -> Value | None:
    """A value of one type as one of another; None where it does not fit, or is None.

    A decimal is a float64 as its scaled integer / 10^s, one float division, as the kernels do it.
    """
    if value is None:
        return None
    if target == FLOAT64 != source:
        return float(Fraction(value) * 10**source.scale) / 10.0**source.scale
    exact: Value | None = _number(Fraction(value), target) if target.kind is Kind.DECIMAL else value
    return exact


def _unary(node: Unary, value: Any) -> Value | None:
    if node.op in _TESTS:
        return value is _TESTS[node.op]
    if value is None or node.op == "not":
        return None if value is None else not value
    value = -value if node.op == "neg" or value < 0 else value
    return float(value) if node.type == FLOAT64 else _number(Fraction(value), node.type)


def _one_of(node: OneOf, value: Value | None) -> bool | None:
    if value is None:
        return None
    options = [_value(option) for option in node.options]
    if any(option is not None and option == value for option in options):
        return True
    return None if None in options else False


def _binary(node: Binary, left: Any, right: Any) -> Value | None:
    if node.op == "and":
        return False if left is False or right is False else None if None in (left, right) else True
    if node.op == "or":
        return True if left is True or right is True else None if None in (left, right) else False
    if node.op == "coalesce":
        first = _as(left, node.left.type, node.type)
        return _as(right, node.right.type, node.type) if first is None else first
    if left is None or right is None:
        return None
    if FLOAT64 in (node.left.type, node.right.type, node.type):
        left, right = _as(left, node.left.type, FLOAT64), _as(right, node.right.type, FLOAT64)
    if node.op in COMPARISONS:
        return bool(_OPERATIONS[node.op](left, right))
    return None if node.op in "/%" and right == 0 else _arithmetic(node, left, right)


def _arithmetic(node: Binary, left: Any, right: Any) -> Value | None:
    if node.type == FLOAT64:
        return _known(_OPERATIONS[node.op](left, right))
    exact = Fraction(left), Fraction(right)
    if node.op != "*" and any(_number(operand, node.type) is None for operand in exact):
        return None
    return _number(_OPERATIONS[node.op](*exact), node.type)


def _remainder(left: Any, right: Any) -> Any:
    """With the sign of the dividend."""
    if isinstance(left, float):
        return math.nan if math.isinf(left) else math.fmod(left, right)
    return left - right * math.trunc(left / right)


_OPERATIONS: dict[str, Callable[[Any, Any], Any]] = {
    **dict(zip(COMPARISONS, (eq, ne, lt, le, gt, ge), strict=True)),
    **dict(zip("+-*/%", (add, sub, mul, truediv, _remainder), strict=True)),
}


def _aggregate(node: History, events: Sequence[Event]) -> Value | None:
    if node.field is None:
        return len(events)
    assert node.of is not None
    values = [_known(event.get(node.field)) for event in events]
    known: list[Any] = [value for value in values if value is not None]
    match node.aggregate:
        case "count":
            return len(known)
        case "first" | "last":
            return values[0 if node.aggregate == "first" else -1] if values else None
        case "sum":
            return _sum(known, node.type)
        case "avg":
            total: Any = _as(_sum(known, aggregate_of("sum", node.step, node.field, node.of).type), node.of, FLOAT64)
            return None if total is None else _known(total / len(known))
        case "min" | "max":
            return (min if node.aggregate == "min" else max)(known) if known else None


def _sum(values: Sequence[Any], kind: Type) -> Value | None:
    """In order; a sum that leaves int64 on its way is NULL from then on."""
    if kind == FLOAT64:
        return _known(reduce(add, values)) if values else None
    total: int | Decimal | None = None
    for value in values:
        total = _number(Fraction(value) + Fraction(total or 0), kind)
        if total is None:
            return None
    return total


def _constant(value: Value | None, kind: Type) -> Constant | None:
    """The constant that some literal could write; None where none could."""
    if value is None:
        return NULL
    if kind.kind is Kind.DECIMAL:
        return _decimal(int(Fraction(value) * 10**kind.scale), kind.scale)
    if isinstance(value, float):
        return Constant(value + 0.0, FLOAT64) if math.isfinite(value) else None
    assert not isinstance(value, Decimal)
    return None if kind == INSTANT and not _INSTANTS[0] <= int(value) <= _INSTANTS[1] else Constant(value, kind)


_INSTANTS = [-62_135_596_800_000_000, 253_402_300_799_999_999]
"""The years 1 to 9999, which TIMESTAMP '...' can write."""


def _decimal(scaled: int, scale: int) -> Constant | None:
    digits = max(len(str(abs(scaled))), scale)
    return Constant(scaled, Type(Kind.DECIMAL, digits, scale)) if digits <= DECIMAL_DIGITS_MAX else None


def _folded(node: Unary | Binary | OneOf) -> Expression:
    """A node over constants becomes one, where a literal can write it."""
    if all(isinstance(operand, Constant) for operand in children(node)):
        return _constant(evaluate(node, {}, {}), node.type) or node
    return node


def _met(left: Expression, right: Expression) -> tuple[Expression, Expression]:
    """Two operands that meet: a numeric constant beside a float64 is the nearest float64."""
    return (_nearest(left), _nearest(right)) if FLOAT64 in (left.type, right.type) else (left, right)


def _nearest(operand: Expression) -> Expression:
    if not isinstance(operand, Constant) or not operand.type.is_number:
        return operand
    value = _value(operand)
    return operand if value is None else Constant(float(value) + 0.0, FLOAT64)


def parse(
    text: str, fields: Fields, steps: Steps, own_step: str = "", where: str = "", wanted: Type | None = BOOL
) -> Expression:
    """The typed tree of an SQL expression (rules in the module docstring); constants are folded.

    fields:   what a bare name can be: the fields of the event at hand
    steps:    what `step.field` and the aggregates can read; `own_step` is always among them (with `fields`)
    where:    path of the text in its document, for the positions of problems (`where:column`)
    wanted:   the type that the whole must have (a condition by default), None for any

    Raises InvalidDocument with every problem of the expression.
    """
    tree, problems = attempt(text, fields, steps, own_step, where, wanted)
    if tree is None:
        raise InvalidDocument(where or "expression", problems)
    return tree


def attempt(
    text: str, fields: Fields, steps: Steps, own_step: str = "", where: str = "", wanted: Type | None = BOOL
) -> tuple[Expression | None, tuple[Problem, ...]]:
    """`parse` for callers that collect: the tree and no problem, or None and every problem."""
    known = {own_step: fields, **steps} if own_step else dict(steps)
    reader = _Reader(text, fields, known, own_step or next(iter(steps), "step"), where or "expression", [])
    tree = reader.whole(wanted)
    return (None if reader.problems else tree), tuple(reader.problems)


@dataclass(slots=True)
class _Reader:
    """One expression being read, a method for each form; None is given where a problem was reported."""

    text: str
    fields: Fields
    steps: Steps
    own: str  # the step to name in hints
    where: str
    problems: list[Problem]

    def problem(self, place: int, reason: str, hint: str = "") -> None:
        self.problems.append(Problem(f"{self.where}:{place + 1}", reason, hint))

    def refuse(self, node: exp.Expr, reason: str, hint: str = "") -> Constant | None:
        """Report where a node begins: sqlglot marks names and literals only, so at the first of those in it."""
        starts = (int(part.meta["start"]) for part in node.walk() if "start" in part.meta)
        self.problem(min(starts, default=0), reason, hint)
        return None

    def within(self, name: str, limit: int, found: int, what: str) -> bool:
        if found > limit:
            self.problem(0, f"{found} {what}, and {name} is {limit}", "split the condition, or use IN for many values")
        return found <= limit

    def whole(self, wanted: Type | None) -> Expression | None:
        root = self.syntax()
        tree = self.tree(root) if root is not None else None
        if tree is None or wanted is None or tree.type == wanted:
            return tree
        if tree == NULL:
            return Constant(None, wanted)
        role = "a condition must be bool" if wanted == BOOL else f"this must be {wanted}"
        self.problem(0, f"{role}, found {tree.type}", "compare it with something" if wanted == BOOL else "")
        return None

    def syntax(self) -> exp.Expr | None:
        """sqlglot's tree, within the limits."""
        if not self.text.strip():
            self.problem(0, "the expression is empty", "leave the condition out if every event will do")
            return None
        if not self.within("EXPRESSION_LENGTH_MAX", EXPRESSION_LENGTH_MAX, len(self.text), "characters"):
            return None
        tokens = self.tokens()
        root = self.parsed(tokens) if tokens is not None and self.nested(tokens) else None
        if root is None:
            return None
        nodes, depth = _size(root)
        small = self.within("EXPRESSION_NODES_MAX", EXPRESSION_NODES_MAX, nodes, "operators, names and constants")
        return root if small and self.within(*_DEPTH, depth, "levels of nesting") else None

    def tokens(self) -> list[Token] | None:
        """The words of the text; an open quote is the one thing that can go wrong."""
        try:
            return list(_SQL.tokenize(self.text))
        except TokenError:
            hint = "a quote inside text is written twice: 'it''s'"
            place = _CLOSED.match(self.text)
            self.problem(place.end() if place else 0, "a quote or comment is opened here and never closed", hint)
            return None

    def nested(self, tokens: Sequence[Token]) -> bool:
        """Are parentheses paired, and they and runs of NOT and minus no deeper than sqlglot's recursion can follow?"""
        opened: list[int] = []
        run = deepest = 0
        for token in tokens:
            run = run + 1 if token.token_type in _PREFIX else 0
            if token.token_type in _OPENING:
                opened.append(token.start)
            elif token.token_type in _CLOSING and opened:
                opened.pop()
            elif token.token_type in _CLOSING:
                self.problem(token.start, f"this {token.text} closes nothing")
                return False
            deepest = max(deepest, len(opened), run)
        if opened:
            self.problem(opened[-1], f"this {self.text[opened[-1]]} is never closed")
        return not opened and self.within(*_DEPTH, deepest, "levels of nesting")

    def parsed(self, tokens: list[Token]) -> exp.Expr | None:
        try:
            roots = _SQL.parser().parse_into(exp.Condition, tokens, self.text)
        except RecursionError:
            self.problem(0, "too many levels of nesting", "split the condition")
            return None
        except ParseError as error:
            self.syntax_error(error.errors[0], tokens)
            return None
        if len(roots) != 1 or roots[0] is None:
            self.problem(0, "this is not one expression", "write one condition, without a semicolon")
            return None
        return roots[0]

    def syntax_error(self, error: Mapping[str, Any], tokens: Sequence[Token]) -> None:
        """What sqlglot stumbled over, in our words."""
        word = str(error.get("highlight") or "")
        lines = self.text.split("\n")[: int(error["line"]) - 1]
        place = sum(len(line) + 1 for line in lines) + int(error["col"]) - len(word)
        if word and self.text[place : place + len(word)] != word:
            place = max(0, self.text.find(word))
        last = tokens[-1]
        if last.start == place and last.token_type not in _ENDING:
            self.problem(place, f"the expression ends after {word!r}, where something must follow")
        else:
            self.problem(place, f"{word!r} can't be understood here", "an operator is missing, or is one too many")

    def tree(self, node: exp.Expr) -> Expression | None:
        rule = _RULES.get(type(node))
        return rule(self, node) if rule else self.refuse_form(node)

    def refuse_form(self, node: exp.Expr) -> Expression | None:
        """A form that is SQL but has no meaning here; what is wrong inside it is left alone."""
        if type(node) in _REFUSED:
            return self.refuse(node, *_REFUSED[type(node)])
        if not isinstance(node, exp.Func):
            return self.refuse(node, f"this form of SQL ({node.key}) has no meaning in a condition", _FORMS)
        name = node.name if isinstance(node, exp.Anonymous) else node.sql_name().lower()
        return self.refuse(node, f"there is no function {name!r}", _similar(name.lower(), _FUNCTIONS))

    def literal(self, node: exp.Expr, sign: str = "") -> Expression | None:
        text = str(node.this)
        if node.args["is_string"]:
            return Constant(text, STRING)
        if "e" in text.lower():
            real = float(sign + text)
            return self.refuse(node, f"{text} is beyond float64") if math.isinf(real) else Constant(real + 0.0, FLOAT64)
        whole, _, places = text.partition(".")
        scaled = int(sign + whole + places)
        if places:
            hint = f"write an exponent ({text}e0) for the nearest float64"
            digits = f"{text} has more than {DECIMAL_DIGITS_MAX} digits, the most that are exact"
            return _decimal(scaled, len(places)) or self.refuse(node, digits, hint)
        if not INT64_MIN <= scaled <= INT64_MAX:
            return self.refuse(node, f"{sign}{text} is beyond int64", "write it with an exponent for a float64")
        return Constant(scaled, INT64)

    def column(self, node: exp.Expr) -> Expression | None:
        """A field of the event at hand, or `step.field`."""
        step, name = self.name(node) or ("", "")
        if not name:
            return None
        if step:
            return self.past("last", node, step, name)
        if name in self.fields:
            return Field(name, self.fields[name])
        hint = _similar(name, self.fields)
        if name in self.steps:
            hint = f"{name} is a step: write {name}.field or count({name})"
        elif node.this.args.get("quoted"):
            hint = f"text is written in single quotes: '{name}'"
        return self.refuse(node, f"there is no field {name!r}", hint)

    def name(self, node: exp.Expr) -> tuple[str, str] | None:
        """(step or "", field) of a column; a field of a feature view is `view.feature`."""
        if node.args.get("catalog") or not isinstance(node.this, exp.Identifier) or not node.name:
            hint = 'write "a.b" for a field with a point in its name'
            self.refuse(node, "a name is `field`, `step.field`, `view.feature` or `step.view.feature`", hint)
            return None
        step, first, name = node.text("db"), node.text("table"), node.name
        if step:
            return step, f"{first}.{name}"
        feature = first and first not in self.steps and any(known.startswith(f"{first}.") for known in self.fields)
        return ("", f"{first}.{name}") if feature else (first, name)

    def past(self, aggregate: Aggregate, node: exp.Expr, step: str, name: str) -> Expression | None:
        """An aggregate over the field of a step's events."""
        fields = self.steps.get(step)
        if fields is None:
            return self.refuse(node, f"this condition can read no step {step!r}", _similar(step, self.steps))
        kind = fields.get(name)
        if kind is None:
            return self.refuse(node, f"step {step!r} has no field {name!r}", _similar(name, fields))
        if aggregate in ("sum", "avg") and not kind.is_number:
            return self.refuse(node, f"{aggregate} needs numbers, and {step}.{name} is {kind}")
        if aggregate in ("min", "max") and not (kind.is_number or kind == INSTANT):
            return self.refuse(node, f"{aggregate} needs numbers or instants, and {step}.{name} is {kind}")
        return aggregate_of(aggregate, step, name, kind)

    def aggregate(self, node: exp.Expr) -> Expression | None:
        """count(step), or any aggregate of step.field."""
        aggregate = _AGGREGATES[type(node)]
        operand = node.args.get("this")
        example = f"{aggregate}({self.own}{'' if aggregate == 'count' else '.field'})"
        if node.args.get("expressions") or node.args.get("expression"):
            return self.refuse(node, f"{aggregate} takes one operand", f"write {example}")
        if not isinstance(operand, exp.Column):
            return self.refuse(node, f"{aggregate} reads the events of a step", f"write {example}")
        step, name = self.name(operand) or ("", "")
        if step:
            return self.past(aggregate, operand, step, name)
        return self.bare_aggregate(aggregate, operand, name) if name else None

    def bare_aggregate(self, aggregate: Aggregate, operand: exp.Expr, name: str) -> Expression | None:
        """An aggregate of one name: a step to count, else a mistake."""
        if name in self.steps and aggregate == "count":
            return aggregate_of("count", name, None, None)
        if name in self.steps:
            return self.refuse(operand, f"{aggregate} needs a field of {name!r}", f"write {aggregate}({name}.field)")
        if name in self.fields:
            hint = f"write {aggregate}({self.own}.{name})"
            return self.refuse(operand, f"{aggregate}({name}) does not say over which step's events", hint)
        return self.refuse(
            operand, f"there is no step or field {name!r}", _similar(name, {**self.steps, **self.fields})
        )

    def timestamp(self, node: exp.Expr) -> Expression | None:
        text, kind = node.this, node.args["to"]
        named = kind.this in (exp.DType.TIMESTAMP, exp.DType.TIMESTAMPTZ)
        if not named or not (isinstance(text, exp.Literal) and text.is_string):
            return self.refuse(node, "types are not converted here", "an instant is TIMESTAMP '2026-01-01 00:00:00'")
        try:
            at = datetime.fromisoformat(text.name)
        except ValueError:
            return self.refuse(node, f"{text.name!r} is no instant", "write TIMESTAMP '2026-01-01 00:00:00' (UTC)")
        us = (at if at.tzinfo else at.replace(tzinfo=UTC)) - _EPOCH
        return _constant(us // timedelta(microseconds=1), INSTANT) or self.refuse(
            node, "that is beyond the years 1 to 9999"
        )

    def interval(self, node: exp.Expr) -> Expression | None:
        """INTERVAL '10' MINUTE, in microseconds."""
        amount, unit = node.this, node.args.get("unit")
        name = unit.name.lower().removesuffix("s") if isinstance(unit, exp.Var) else ""
        if name not in _UNITS_US or not isinstance(amount, exp.Literal):
            hint = f"write INTERVAL '10' MINUTE; the units are {', '.join(_UNITS)}"
            return self.refuse(node, "this is no interval", hint)
        try:
            us = Fraction(amount.name) * _UNITS_US[name]
        except (ValueError, ZeroDivisionError):
            return self.refuse(node, f"{amount.name!r} is no number", "write INTERVAL '10' MINUTE")
        if us.denominator != 1 or not INT64_MIN <= us <= INT64_MAX:
            return self.refuse(node, f"{amount.name} {name}s is no whole number of microseconds within int64")
        return Constant(int(us), INT64)

    def connection(self, node: exp.Expr) -> Expression | None:
        operands = [self.condition(operand) for operand in node.flatten()]
        known = [operand for operand in operands if operand is not None]
        if len(known) < len(operands):
            return None
        return all_of(known) if isinstance(node, exp.And) else any_of(known)

    def condition(self, node: exp.Expr) -> Expression | None:
        """An operand that must be true, false or unknown."""
        found = self.tree(node)
        if found is None or found.type == BOOL:
            return found
        return self.refuse(node, f"AND, OR and NOT need conditions, found {found.type}", "compare it with something")

    def negation(self, node: exp.Expr) -> Expression | None:
        operand = self.condition(node.this)
        return operand and _folded(Unary("not", operand, BOOL))

    def number_unary(self, node: exp.Expr) -> Expression | None:
        """-a, abs(a); a literal takes its sign first, so that the least int64 can be written."""
        op = "neg" if isinstance(node, exp.Neg) else "abs"
        inner = node.this.unnest()
        if op == "neg" and isinstance(inner, exp.Literal) and not inner.is_string:
            return self.literal(inner, "-")
        operand = self.tree(node.this)
        if operand is None or operand == NULL:
            return operand
        if not operand.type.is_number:
            return self.refuse(node, f"{'minus' if op == 'neg' else op} needs a number, found {operand.type}")
        return _folded(Unary(op, operand, operand.type))

    def binary(self, node: exp.Expr) -> Expression | None:
        """A comparison or arithmetic; both sides are read even if the first is wrong."""
        left, right = self.tree(node.args["this"]), self.tree(node.args["expression"])
        if left is None or right is None:
            return None
        op = _OPERATORS[type(node)]
        return (self.compared if op in COMPARISONS else self.computed)(node, op, left, right)

    def compared(self, node: exp.Expr, op: str, left: Expression, right: Expression) -> Expression | None:
        """= != < <= > >="""
        if NULL in (left, right):
            return NULL
        met = meeting(left.type, right.type)
        if met is None:
            return self.refuse(node, f"{left.type} and {right.type} can't be compared", _comparison_hint(left, right))
        if op not in ("=", "!=") and met in (BOOL, STRING):
            return self.refuse(node, f"{met} has no order: {op} can't be used", "use = or <>")
        return _folded(Binary(op, *_met(left, right), BOOL))

    def computed(self, node: exp.Expr, op: str, left: Expression, right: Expression) -> Expression | None:
        """+ - * / %"""
        if NULL in (left, right):
            return NULL
        result = _arithmetic_type(op, left.type, right.type)
        if result is None:
            hint = "instants: a - b gives microseconds, a + INTERVAL '10' MINUTE an instant"
            hint = hint if INSTANT in (left.type, right.type) else "arithmetic needs numbers"
            return self.refuse(node, f"{left.type} {op} {right.type} has no meaning", hint)
        if result.scale > DECIMAL_DIGITS_MAX:
            reason = f"{left.type} {op} {right.type} has more than {DECIMAL_DIGITS_MAX} digits after the point"
            return self.refuse(node, reason, "multiply by a literal with an exponent to compute in float64")
        return _folded(Binary(op, *_met(left, right), result))

    def between(self, node: exp.Expr) -> Expression | None:
        if node.args.get("symmetric"):
            return self.refuse(node, "BETWEEN SYMMETRIC is not available", "put the lesser bound first")
        operand, low, high = (self.tree(node.args[part]) for part in ("this", "low", "high"))
        if operand is None or low is None or high is None:
            return None
        above, below = self.compared(node, ">=", operand, low), self.compared(node, "<=", operand, high)
        return above and below and all_of([above, below])

    def test(self, node: exp.Expr) -> Expression | None:
        """IS NULL, IS TRUE, IS FALSE (IS NOT ... comes as NOT)."""
        against = node.args["expression"]
        if not isinstance(against, exp.Null | exp.Boolean):
            return self.refuse(node, "IS tests for NULL, TRUE or FALSE only", "use = for other values")
        null = isinstance(against, exp.Null)
        operand = self.tree(node.this) if null else self.condition(node.this)
        return operand and _folded(
            Unary("is_null" if null else "is_true" if against.this else "is_false", operand, BOOL)
        )

    def one_of(self, node: exp.Expr) -> Expression | None:
        listed = node.expressions
        if not listed or any(node.args.get(other) for other in ("query", "field", "unnest")):
            return self.refuse(node, "IN needs a list of constants", "write x IN (1, 2, 3)")
        operand = self.tree(node.this)
        options = [self.option(item, operand) for item in listed]
        known = tuple(option for option in options if option is not None)
        if operand is None or len(known) < len(options):
            return None
        return NULL if operand == NULL else _folded(OneOf(operand, known, BOOL))

    def option(self, node: exp.Expr, operand: Expression | None) -> Constant | None:
        """One of IN's constants, which must be able to equal the operand."""
        found = self.tree(node)
        if found is None:
            return None
        if not isinstance(found, Constant):
            return self.refuse(node, "IN takes constants only", "write a = b OR a = c for fields")
        if operand is None or NULL in (found, operand):
            return found if operand is None or found != NULL else replace(found, type=operand.type)
        met = meeting(operand.type, found.type)
        if met is None or (met == FLOAT64 and operand.type != FLOAT64):
            hint = _comparison_hint(operand, found) or "write it without an exponent"
            return self.refuse(node, f"{operand.type} and {found.type} can't be compared", hint)
        nearest = _met(operand, found)[1]
        assert isinstance(nearest, Constant)
        return nearest

    def coalesced(self, node: exp.Expr) -> Expression | None:
        """coalesce(a, b, ...): the first that is not NULL."""
        operands = [self.tree(item) for item in (node.this, *node.expressions)]
        known = [operand for operand in operands if operand is not None and operand != NULL]
        if None in operands or not known:
            return None if None in operands else NULL
        result = known[-1]
        for operand in reversed(known[:-1]):
            kind = meeting(operand.type, result.type)
            if kind is None:
                return self.refuse(node, f"coalesce of {operand.type} and {result.type} has no type")
            result = _folded(Binary("coalesce", *_met(operand, result), kind))
        return result


_SQL = Dialect.get_or_raise(None)
_Rule = Callable[[_Reader, Any], Expression | None]
_OPERATORS: dict[type[exp.Expr], str] = {
    **dict(zip((exp.EQ, exp.NEQ, exp.LT, exp.LTE, exp.GT, exp.GTE), COMPARISONS, strict=True)),
    **dict(zip((exp.Add, exp.Sub, exp.Mul, exp.Div, exp.Mod), "+-*/%", strict=True)),
}
_AGGREGATES: dict[type[exp.Expr], Aggregate] = dict(
    zip((exp.Count, exp.Sum, exp.Avg, exp.Min, exp.Max, exp.First, exp.Last), get_args(Aggregate), strict=True)
)
_RULES: dict[type[exp.Expr], _Rule] = {
    exp.Literal: _Reader.literal,
    exp.Boolean: lambda _, node: TRUE if node.this else FALSE,
    exp.Null: lambda _, node: NULL,
    exp.Paren: lambda reader, node: reader.tree(node.this),
    exp.Column: _Reader.column,
    exp.Cast: _Reader.timestamp,
    exp.Interval: _Reader.interval,
    exp.And: _Reader.connection,
    exp.Or: _Reader.connection,
    exp.Not: _Reader.negation,
    exp.Neg: _Reader.number_unary,
    exp.Abs: _Reader.number_unary,
    exp.Is: _Reader.test,
    exp.In: _Reader.one_of,
    exp.Between: _Reader.between,
    exp.Coalesce: _Reader.coalesced,
    **dict.fromkeys(_OPERATORS, _Reader.binary),
    **dict.fromkeys(_AGGREGATES, _Reader.aggregate),
}

_FUNCTIONS = ("abs", "coalesce", *_AGGREGATES.values())
_FORMS = "there are arithmetic, comparisons, AND, OR, NOT, IN, BETWEEN, IS, abs, coalesce and aggregates"
_CODES = "text is a code in the engine: compare it whole with =, <> or IN, or derive a field when the event is decoded"
_CLOCK = "a condition never reads the clock", "compare instants of events: a.at - b.at"
_REFUSED: dict[type[exp.Expr], tuple[str, str]] = {
    **{kind: (f"{kind.key}() is not available", _CODES) for kind in (exp.Lower, exp.Upper, exp.Length)},
    exp.Like: ("LIKE is not available", _CODES),
    exp.DPipe: ("|| is not available", _CODES),
    exp.Case: ("CASE is not available", "write (a AND b) OR (NOT a AND c)"),
    exp.Subquery: ("a condition has no subqueries", "read earlier events of the match as avg(step.field)"),
    exp.Filter: ("aggregates have no FILTER", "put the condition into the step itself"),
    exp.Window: ("aggregates have no OVER", "avg(step.field) reads the events that the match took for the step"),
    exp.BitwiseXor: ("^ is not available", "write x * x for a square"),
    exp.NullSafeNEQ: ("IS DISTINCT FROM is not available", "write a <> b OR (a IS NULL) <> (b IS NULL)"),
    **dict.fromkeys((exp.CurrentTimestamp, exp.CurrentDate), _CLOCK),
}
_UNITS = ("microsecond", "millisecond", "second", "minute", "hour", "day", "week")
_UNITS_US = dict(zip(_UNITS, (1, 10**3, 10**6, 60 * 10**6, 3600 * 10**6, 86400 * 10**6, 604800 * 10**6), strict=True))

_DEPTH = ("EXPRESSION_DEPTH_MAX", EXPRESSION_DEPTH_MAX)
_CLOSED = re.compile(r"""(?s:'(?:[^']|'')*'(?!')|"(?:[^"]|"")*"(?!")|--[^\n]*|/\*.*?\*/|[^'"/]|/(?!\*))*+""")
"""Everything up to the quote or comment that is never closed."""
_OPENING = (TokenType.L_PAREN, TokenType.L_BRACKET, TokenType.L_BRACE)
_CLOSING = (TokenType.R_PAREN, TokenType.R_BRACKET, TokenType.R_BRACE)
_ENDING = (TokenType.VAR, TokenType.IDENTIFIER, TokenType.NUMBER, TokenType.STRING, TokenType.R_PAREN)
_PREFIX = (TokenType.NOT, TokenType.DASH, TokenType.PLUS, TokenType.TILDE)


def _size(root: exp.Expr) -> tuple[int, int]:
    """How many nodes and how many levels, without parentheses; a chain of one connector is one level."""
    nodes = deepest = 0
    waiting = [(root, 1)]
    while waiting:
        node, depth = waiting.pop()
        node = node.unnest()
        nodes, deepest = nodes + 1, max(deepest, depth)
        if isinstance(node, exp.And | exp.Or):
            waiting += [(part, depth + 1) for part in node.flatten()]
        elif not isinstance(node, exp.Column | exp.Literal):
            waiting += [(part, depth + 1) for part in node.iter_expressions()]
    return nodes, deepest


def _similar(name: str, candidates: Sequence[str] | Mapping[str, Any]) -> str:
    """Did you mean ...? Else what there is."""
    folded = {candidate.lower(): candidate for candidate in candidates}
    close = get_close_matches(name.lower(), folded, 1)
    if close:
        return f"did you mean {folded[close[0]]!r}?"
    some = sorted(candidates)[:8]
    return f"there are: {', '.join(some)}{', ...' if len(candidates) > 8 else ''}" if some else ""


def _comparison_hint(left: Expression, right: Expression) -> str:
    """What the author of an impossible comparison most likely meant."""
    for one, other in ((left, right), (right, left)):
        if isinstance(one, Constant) and one.type == STRING and other.type.is_number:
            return "write the number without quotes"
        if isinstance(one, Constant) and one.type == STRING and other.type == INSTANT:
            return f"write TIMESTAMP '{one.value}'"
        if isinstance(one, Constant) and one.type.is_number and other.type == STRING:
            return "write it in quotes, or declare the field as a number"
        if one.type == INT64 and other.type == INSTANT:
            return "compare a difference of instants with a number: a - b < INTERVAL '10' MINUTE"
        if one.type == BOOL and other.type != BOOL:
            return "a < b < c is written a < b AND b < c"
    return ""


_LEVELS = {"or": 1, "and": 2, **dict.fromkeys(COMPARISONS, 4), "+": 5, "-": 5, "*": 6, "/": 6, "%": 6}
_NOT, _TEST, _SUM, _SIGN, _LEAF = 3, 4, 5, 7, 8


def render(expression: Expression) -> str:
    """The canonical text: `parse(render(e)) == e` for every tree that `parse` gave."""
    return _text(expression, 0)


def _text(expression: Expression, level: int, beside: Expression | None = None) -> str:
    """The text, in parentheses if its operator binds less than `level`; `beside` is what it meets."""
    text, own = _text_and_level(expression, beside)
    return text if own >= level else f"({text})"


def _text_and_level(expression: Expression, beside: Expression | None) -> tuple[str, int]:
    match expression:
        case Constant():
            text = _constant_text(expression, beside)
            return text, _SIGN if text.startswith("-") else _LEAF
        case Field(name):
            return _name(name), _LEAF
        case History(aggregate, step, field):
            text = _name(step) if field is None else f"{_name(step)}.{_name(field)}"
            return text if aggregate == "last" else f"{aggregate}({text})", _LEAF
        case OneOf():
            return _one_of_text(expression, "IN"), _TEST
        case Unary("not", OneOf() as inner):
            return _one_of_text(inner, "NOT IN"), _TEST
        case Unary("not", Unary(op, inner)) if op in _TESTS:
            return f"{_text(inner, _SUM)} IS NOT {_KEYWORDS[_TESTS[op]]}", _TEST
        case Unary("not", inner):
            return f"NOT {_text(inner, _LEAF)}", _NOT
        case Unary("neg", inner):
            return f"-{_text(inner, _LEAF)}", _SIGN
        case Unary("abs", inner):
            return f"abs({_text(inner, 0)})", _LEAF
        case Unary(op, inner):
            return f"{_text(inner, _SUM)} IS {_KEYWORDS[_TESTS[op]]}", _TEST
        case Binary("coalesce"):
            return f"coalesce({', '.join(_coalesce_texts(expression))})", _LEAF
        case Binary("and" | "or" as op):
            operands = [_text(operand, _LEVELS[op] + 1) for operand in _operands(expression, op)]
            return f" {op.upper()} ".join(operands), _LEVELS[op]
        case Binary(op, left, right):
            level = _LEVELS[op]
            text = _text(left, _SUM if op in COMPARISONS else level, right)
            return f"{text} {'<>' if op == '!=' else op} {_text(right, level + 1, left)}", level


def _one_of_text(node: OneOf, word: str) -> str:
    options = ", ".join(_constant_text(option, node.operand) for option in node.options)
    return f"{_text(node.operand, _SUM)} {word} ({options})"


def _coalesce_texts(node: Binary) -> list[str]:
    """The operands, opened to the right only: that is how they are read."""
    right = node.right
    nested = isinstance(right, Binary) and right.op == "coalesce"
    rest = _coalesce_texts(right) if isinstance(right, Binary) and nested else [_text(right, 0, node.left)]
    return [_text(node.left, 0, right), *rest]


def _name(name: str) -> str:
    plain = name.isascii() and name.isidentifier() and name.upper() not in _RESERVED
    return name if plain else '"' + name.replace('"', '""') + '"'


_RESERVED = frozenset(_SQL.tokenizer_class.KEYWORDS) | {"IF", "ANY", "CONNECT_BY_ROOT", "LOCALTIME", "LOCALTIMESTAMP"}


def _constant_text(node: Constant, beside: Expression | None) -> str:
    match node.value:
        case None | bool():
            return _KEYWORDS[node.value]
        case str(text):
            return "'" + text.replace("'", "''") + "'"
        case float(real):
            return _float_text(real, beside)
    if node.type == INSTANT:
        return f"TIMESTAMP '{(_EPOCH + timedelta(microseconds=node.value)).replace(tzinfo=None).isoformat(sep=' ')}'"
    return f"{_value(node):f}" if node.type.kind is Kind.DECIMAL else str(node.value)


def _float_text(value: float, beside: Expression | None) -> str:
    """With an exponent, unless a plain literal becomes this very float64 beside what it meets."""
    shortest = repr(value).removesuffix(".0")
    plain = "e" not in shortest and sum(map(str.isdigit, shortest)) <= DECIMAL_DIGITS_MAX
    if plain and beside is not None and beside.type == FLOAT64 and not isinstance(beside, Constant):
        return shortest
    return format(Decimal(repr(value)).normalize(), "e").replace("e+", "e")
