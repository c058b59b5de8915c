"""The sentence of an alert: a template with placeholders, read once and filled for every alert.

    {count(probe)} probes, then {cashout.amount} at {cashout.merchant_id} with card {card_id}

    {step.field}          the field of the step's last event
    {first(step.field)}   of its first event; `last` too
    {count(step)}         how many events the step took
    {sum(step.field)}     and avg, min, max: over the step's events, nulls left out
    {step.view.feature}   a feature as of that event; {step.score} its score
    {card_id}             a key field
    {loss}                a measure
    {{ and }}             the braces themselves

What is null, or of an optional step that took nothing, shows as `?`.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from functools import lru_cache

from cep.language.limits import VALUE_CHARS_MAX
from cep.language.wording import closest
from events.errors import Problem
from events.types import Type

UNKNOWN = "?"
DIGITS_MAX = 40
"""Digits of a number that is shown: the largest decimal has 38."""
OF_EVENT = ("first", "last")
OF_NUMBERS = ("sum", "avg", "min", "max")
AGGREGATES = ("count", *OF_EVENT, *OF_NUMBERS)

TOKEN = re.compile(r"\{\{|\}\}|\{[^{}]*\}|[{}]")
WORD = r"[A-Za-z_][A-Za-z0-9_]*"
FIELD = rf"{WORD}(?:\.{WORD})?"
CALL = re.compile(rf"\s*({WORD})\s*\(\s*({WORD})\s*(?:\.\s*({FIELD})\s*)?\)\s*")
PATH = re.compile(rf"\s*({WORD})\s*(?:\.\s*({FIELD})\s*)?")


@dataclass(frozen=True, slots=True)
class Placeholder:
    """What stands between braces. A key field or measure has neither aggregate nor step.

    column: of its brace in the template, from 1
    """

    aggregate: str
    step: str
    field: str
    column: int


Piece = str | Placeholder


@lru_cache(maxsize=4096)
def read_message(template: str) -> tuple[tuple[Piece, ...], tuple[Problem, ...]]:
    """The template as text and placeholders, and what can't be read; a problem's `where` is `:column`."""
    pieces: list[Piece] = []
    problems: list[Problem] = []
    end = 0
    for token in TOKEN.finditer(template):
        pieces.append(template[end : token.start()])
        end = token.end()
        text, column = token.group(), token.start() + 1
        if text in ("{{", "}}"):
            pieces.append(text[0])
        elif len(text) == 1:
            reason = "`{` without its `}`" if text == "{" else "`}` without its `{`"
            problems.append(Problem(f":{column}", reason, f"write `{text * 2}` for the sign itself"))
        else:
            placeholder = read_placeholder(text[1:-1], column)
            if isinstance(placeholder, Problem):
                problems.append(placeholder)
            else:
                pieces.append(placeholder)
    pieces.append(template[end:])
    return tuple(piece for piece in pieces if piece), tuple(problems)


@lru_cache(maxsize=4096)
def steps_read(template: str) -> frozenset[str]:
    """The steps whose events the template shows or counts: of the others, none need be parsed.

    >>> sorted(steps_read("{count(probe)} with {card_id}, then {cash.amount}"))
    ['cash', 'probe']
    """
    return frozenset(piece.step for piece in read_message(template)[0] if isinstance(piece, Placeholder) and piece.step)


def said_always(template: str) -> str | None:
    """The sentence, where it is the same for every alert.

    >>> said_always("probed {{twice}}"), said_always("probed {card_id}")
    ('probed {twice}', None)
    """
    pieces = read_message(template)[0]
    return None if any(isinstance(piece, Placeholder) for piece in pieces) else render_message(template, {}, {})


def read_placeholder(text: str, column: int) -> Placeholder | Problem:
    """One placeholder, without its braces."""
    if call := CALL.fullmatch(text):
        return Placeholder(call[1].lower(), call[2], call[3] or "", column)
    if path := PATH.fullmatch(text):
        return Placeholder("last", path[1], path[2], column) if path[2] else Placeholder("", "", path[1], column)
    hint = "write {step.field}, {count(step)}, {sum(step.field)}, the name of a key field or of a measure"
    return Problem(f":{column}", f"`{{{text}}}` is no placeholder", hint)


def check_message(
    template: str,
    steps: Mapping[str, Mapping[str, Type]],
    key: Sequence[str],
    negated: Sequence[str] = (),
    secret: Mapping[str, Collection[str]] | None = None,
    where: str = "",
    measures: Sequence[str] = (),
) -> list[Problem]:
    """What is wrong with a template; `where` is its path, problems stand at `where:column`.

    steps:   the steps that take events, each with the fields of its events
    key:     the fields of the key; one hides a measure of the same name
    negated: the steps that must not occur
    secret:  of each step, the fields that may not be shown
    """
    pieces, unread = read_message(template)
    own = [name for name in measures if name not in key]
    problems = [Problem(where + problem.where, problem.reason, problem.hint) for problem in unread]
    for piece in pieces:
        if isinstance(piece, Placeholder):
            found = wrong_with(piece, steps, [*key, *own], negated)
            if piece.step or piece.field not in own:
                found = found or wrong_to_show(piece, secret or {})
            problems += [Problem(f"{where}:{piece.column}", reason, hint) for reason, hint in found]
    return sorted(problems, key=lambda problem: int(problem.where.rpartition(":")[2]))


def wrong_with(
    piece: Placeholder, steps: Mapping[str, Mapping[str, Type]], bare: Sequence[str], negated: Sequence[str]
) -> list[tuple[str, str]]:
    """What is wrong with one placeholder, as (reason, hint): at most one thing. bare: key fields and measures."""
    if not piece.step:
        if piece.field in bare:
            return []
        hint = f"write {{{piece.field}.field}}" if piece.field in steps else closest(piece.field, bare)
        return [(f"`{piece.field}` is no field of the key and no measure", hint)]
    if piece.aggregate not in AGGREGATES:
        return [(f"there is no `{piece.aggregate}(…)`", closest(piece.aggregate, AGGREGATES))]
    if piece.step in negated:
        return [(f"`{piece.step}` must not occur, so a match has no event of it", "name a step that takes events")]
    if piece.step not in steps:
        return [(f"there is no step `{piece.step}`", closest(piece.step, steps))]
    return wrong_with_field(piece, steps[piece.step])


def wrong_to_show(piece: Placeholder, secret: Mapping[str, Collection[str]]) -> list[tuple[str, str]]:
    """A secret field; how many there were may be told."""
    hidden = secret.get(piece.step, ()) if piece.step else [name for names in secret.values() for name in names]
    if piece.field in hidden and piece.aggregate != "count":
        return [(f"`{piece.field}` is secret: no message may show it", "")]
    return []


def wrong_with_field(piece: Placeholder, fields: Mapping[str, Type]) -> list[tuple[str, str]]:
    """What is wrong with the field of a placeholder whose step is known."""
    if not piece.field:
        if piece.aggregate == "count":
            return []
        return [(f"`{piece.aggregate}` needs a field", f"write {{{piece.aggregate}({piece.step}.field)}}")]
    if piece.field not in fields:
        return [(f"the events of `{piece.step}` have no field `{piece.field}`", closest(piece.field, fields))]
    if piece.aggregate in OF_NUMBERS and not fields[piece.field].is_number:
        reason = f"`{piece.aggregate}` needs a number, and `{piece.field}` is {fields[piece.field]}"
        return [(reason, f"`first` and `last` show any field, as {{first({piece.step}.{piece.field})}}")]
    return []


# -- filling ----------------------------------------------------------------------------------------------------------


def render_message(
    template: str, matched: Mapping[str, Sequence[Mapping[str, object]]], key: Mapping[str, object]
) -> str:
    """The sentence of one alert.

    matched: the match: each step's events in order, as JSON objects
    key:     key field or measure to value
    A template that `check_message` accepted never fails here, whatever the events hold: what can't be shown is `?`.

    >>> render_message("{count(a)} up to {max(a.amount)}, {card}", {"a": [{"amount": 2}, {"amount": 1e7}]}, {"card": 7})
    '2 up to 10000000, 7'
    """
    pieces, _ = read_message(template)
    return "".join([piece if isinstance(piece, str) else filled(piece, matched, key) for piece in pieces])


def filled(piece: Placeholder, matched: Mapping[str, Sequence[Mapping[str, object]]], key: Mapping[str, object]) -> str:
    """The text that a placeholder becomes."""
    if not piece.step:
        return shown(key.get(piece.field))
    events = matched.get(piece.step, ())
    if piece.aggregate == "count":
        return str(sum(event.get(piece.field) is not None for event in events) if piece.field else len(events))
    if piece.aggregate in OF_EVENT:
        return shown(events[0 if piece.aggregate == "first" else -1].get(piece.field)) if events else UNKNOWN
    values = [number(event.get(piece.field)) for event in events]
    return total(piece.aggregate, [value for value in values if value is not None])


def total(aggregate: str, values: list[Decimal]) -> str:
    """Sum, average, least or greatest; an average has two decimals."""
    if not values:
        return UNKNOWN
    if aggregate == "avg":
        return f"{sum(values) / len(values):.2f}"
    if aggregate == "sum":
        return plain(sum(values, Decimal(0)))
    return plain(min(values) if aggregate == "min" else max(values))


def number(value: object) -> Decimal | None:
    """A JSON value as a number, None if it is none. Decimals may come as text."""
    if isinstance(value, bool) or not isinstance(value, int | float | Decimal | str):
        return None
    try:
        exact = Decimal(str(value))
    except InvalidOperation:
        return None
    if not exact.is_finite() or exact.adjusted() > DIGITS_MAX:
        return None
    return exact if exact.adjusted() > -DIGITS_MAX else Decimal(0)


def plain(value: Decimal) -> str:
    """A number without exponent, and without zeros behind a whole float.

    >>> plain(Decimal("1E+7")), plain(Decimal("12.50")), plain(Decimal("3.0")), plain(Decimal("0.0000001"))
    ('10000000', '12.50', '3', '0.0000001')
    """
    text = f"{value:f}"
    whole, point, digits = text.partition(".")
    return whole if point and not digits.strip("0") and len(digits) == 1 else text


def shown(value: object) -> str:
    """One value in a sentence: short, on one line, without signs that steer a terminal."""
    if value is None:
        return UNKNOWN
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float | Decimal):
        exact = number(value)
        return UNKNOWN if exact is None else plain(exact)
    text = "".join(sign if sign.isprintable() else " " for sign in str(value))
    return text if len(text) <= VALUE_CHARS_MAX else text[: VALUE_CHARS_MAX - 1] + "…"
