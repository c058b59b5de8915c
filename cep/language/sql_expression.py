"""Expressions of a MATCH_RECOGNIZE as our own say them.

In DEFINE, the rows of a variable are those it has taken *and* the row at hand; in our conditions an aggregate reads the
taken ones only. So in `DEFINE a AS …`, of the variable's own rows:

    a.x, LAST(a.x)     x                            COUNT(a.*)    (count(a) + 1)
    LAST(a.x, 1)       a.x                          SUM, AVG      by sum and count of those taken, and x
    FIRST, MIN, MAX, COUNT(a.x)                     by cases: the condition once with x, once with what was taken

In MEASURES, and of other variables, `a.x` and the aggregates mean what they mean with us.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field, replace

from cep.language.sql_text import Cursor, Token, outside

CASES_MAX = 3
"""Aggregates of one conjunct that are told by cases; each doubles it."""

AGGREGATES = ("COUNT", "SUM", "AVG", "MIN", "MAX", "FIRST", "LAST")
UNKNOWN_CALLS = {
    "PREV": "LAST(x.field, 1) is the row that x took before this one, and LAST(y.field) the last of another variable",
    "NEXT": "put the condition on the variable that takes the later row",
    "CLASSIFIER": "count(x.*) says whether a variable took rows",
    "MATCH_NUMBER": "every alert has an id and a number of its own",
    "MATCH_ROWTIME": "LAST(x.field), with the event time of the last variable",
    "MATCH_PROCTIME": "nothing in a pattern reads the clock",
}

Report = Callable[[int, str, str], None]
"""Takes an offset, a reason and a hint."""


@dataclass(frozen=True, slots=True)
class Piece:
    """Some text, and where in the statement it comes from."""

    text: str
    at: int
    spaced: bool = False


@dataclass(frozen=True, slots=True)
class Case:
    """A value that is `then` where `test` (never unknown) holds, else `otherwise`. at: where it is said first"""

    test: str
    then: str
    otherwise: str
    at: int = field(default=0, compare=False)


@dataclass(frozen=True, slots=True)
class Translation:
    """An expression of ours. origins: offsets in it and in the statement, ascending."""

    text: str
    origins: tuple[tuple[int, int], ...]

    def origin(self, offset: int) -> int:
        """Where in the statement an offset comes from."""
        return max((found for found in self.origins if found[0] <= offset), default=(0, self.origins[0][1]))[1]


Part = tuple[Piece, Case | None]
"""Some text, or the case that stands in its place."""


@dataclass(slots=True)
class Translator:
    """One expression. own: the variable that is being defined, empty in MEASURES."""

    own: str
    variables: Collection[str]
    report: Report

    def translated(self, tokens: Sequence[Token]) -> Translation:
        """The expression of some tokens, at least one."""
        cursor = Cursor(tokens, tokens[-1].at + len(tokens[-1].text))
        ends = ands(tokens)
        pieces: list[Piece] = []
        conjunct: list[Part] = []
        while cursor.peek().kind != "end":
            begin = cursor.peek()
            value = self.value(cursor)
            if begin.at in ends:
                pieces += [*self.told(conjunct, alone=False), Piece(begin.sql, begin.at, True)]
                conjunct = []
            elif isinstance(value, Case):
                conjunct.append((Piece("", begin.at, begin.spaced), value))
            else:
                conjunct.append((Piece(value, begin.at, begin.spaced), None))
        return written([*pieces, *self.told(conjunct, alone=not pieces)])

    def told(self, conjunct: Sequence[Part], alone: bool) -> list[Piece]:
        """One conjunct with its cases told apart."""
        cases = list(dict.fromkeys(case for _, case in conjunct if case))
        if len(cases) > CASES_MAX:
            at = conjunct[0][0].at
            reason = f"{len(cases)} different FIRST, MIN, MAX or COUNT of the variable's own rows; at most {CASES_MAX}"
            self.report(at, reason, "split the condition by AND, or compare with SUM or AVG")
            return [Piece("NULL", at, True)]
        pieces = by_cases(conjunct, cases)
        if not cases or alone:
            return pieces
        return [Piece("(", pieces[0].at, True), *pieces, Piece(")", pieces[0].at)]

    def value(self, cursor: Cursor) -> str | Case:
        """What stands here, in our words; goes past it."""
        token = cursor.peek()
        call = token.kind == "word" and cursor.peek(1).says("(")
        if token.kind == "word" and token.text.upper() in ("FINAL", "RUNNING") and cursor.peek(2).says("("):
            if self.own and token.says("FINAL"):
                self.report(token.at, "FINAL has no meaning while the match goes on", "leave it away")
            cursor.take()
            return self.value(cursor)
        if call and token.text.upper() in AGGREGATES:
            return self.aggregate(cursor)
        if call and token.text.upper() in UNKNOWN_CALLS:
            name = cursor.take().text.upper()
            cursor.inside()
            return self.refused(token.at, f"{name} is not available", UNKNOWN_CALLS[name])
        cursor.take()
        if token.is_name and token.name == self.own and self.own and cursor.peek().says(".") and cursor.peek(1).is_name:
            cursor.take()
            return cursor.take().sql
        return token.sql

    def aggregate(self, cursor: Cursor) -> str | Case:
        """An aggregate of a variable's rows; what has another form is left to who reads the expression."""
        begin, place = cursor.take(), cursor.place
        called = begin.text.upper()
        inside = cursor.inside()
        rows = inside.take()
        if (called == "COUNT" and rows.says("*")) or (rows.is_name and inside.peek().text in ("", ",")):
            rest = "*" if called == "COUNT" else "field"
            whole = f"{rows.sql}.{rest}" if rows.name in self.variables else f"{self.own or 'x'}.{rows.sql}"
            hint = f"write {called}({whole})"
            return self.refused(begin.at, f"{called}({rows.sql}) does not say of which variable's rows", hint)
        of = inside.peek(1)
        if not (rows.is_name and inside.accept(".") and (of.is_name or (called == "COUNT" and of.says("*")))):
            cursor.place = place
            return begin.sql
        inside.take()
        back = self.offset(called, rows, of, inside) if called in ("FIRST", "LAST") else 0
        if back is None:
            return "NULL"
        if inside.peek().kind != "end":
            cursor.place = place
            return begin.sql
        if rows.name == self.own:
            own = f"{rows.sql}.{of.sql}" if back else own_aggregate(called, rows.sql, of.sql)
            return replace(own, at=begin.at) if isinstance(own, Case) else own
        return f"count({rows.sql})" if of.says("*") else f"{called.lower()}({rows.sql}.{of.sql})"

    def offset(self, called: str, rows: Token, of: Token, inside: Cursor) -> int | None:
        """The second operand of FIRST and LAST: 0, or 1 for the own row before; None for one that is not kept."""
        if not inside.accept(","):
            return 0
        number = inside.take()
        back = int(number.text) if number.kind == "number" and number.text.isdigit() and len(number.text) < 5 else -1
        if back == 0 or (back == 1 and called == "LAST" and rows.name == self.own):
            return back
        kept = f"FIRST({rows.sql}.{of.sql}) and LAST({rows.sql}.{of.sql})"
        also = f", and LAST({self.own}.{of.sql}, 1) of its own rows" if self.own == rows.name else ""
        self.report(number.at, f"of `{rows.name}` only the first and the last row are kept", f"there are {kept}{also}")
        return None

    def refused(self, at: int, reason: str, hint: str) -> str:
        """Reports what has no meaning with us; NULL stands in for it, as it fits everywhere."""
        self.report(at, reason, hint)
        return "NULL"


def own_aggregate(called: str, rows: str, field: str) -> str | Case:
    """An aggregate over the rows that the variable has taken and the row at hand."""
    taken = f"{called.lower()}({rows}.{field})"
    match called:
        case "COUNT" if field == "*":
            return f"(count({rows}) + 1)"
        case "COUNT":
            return Case(f"{field} IS NULL", taken, f"({taken} + 1)")
        case "SUM":
            return f"coalesce(coalesce({taken}, 0) + {field}, {taken})"
        case "AVG":
            total = f"coalesce(sum({rows}.{field}), 0) + {field}"
            return f"coalesce(({total}) / (count({rows}.{field}) + 1), {taken})"
        case "FIRST":
            return Case(f"count({rows}) = 0", field, taken)
        case "LAST":
            return field
    sign = "<=" if called == "MIN" else ">="
    return Case(f"({field} {sign} {taken}) IS TRUE OR {taken} IS NULL", field, taken)


def ands(tokens: Sequence[Token]) -> set[int]:
    """Where the ANDs stand that join the whole of a condition. What reads the event alone stays apart that way."""
    top = [token for _, token in outside(tokens)]
    if any(token.says("OR") or token.says("BETWEEN") for token in top):
        return set()
    return {token.at for token in top if token.says("AND")}


def by_cases(parts: Sequence[Part], cases: Sequence[Case]) -> list[Piece]:
    """The condition with every case told apart: (test AND one way) OR (NOT test AND the other)."""
    if not cases:
        return [piece for piece, _ in parts]
    first, at = cases[0], cases[0].at
    then, otherwise = (
        [(Piece(text, piece.at, piece.spaced), None) if case == first else (piece, case) for piece, case in parts]
        for text in (first.then, first.otherwise)
    )
    return [
        Piece(f"(({first.test}) AND (", at),
        *by_cases(then, cases[1:]),
        Piece(f")) OR (NOT ({first.test}) AND (", at),
        *by_cases(otherwise, cases[1:]),
        Piece("))", at),
    ]


def written(pieces: Sequence[Piece]) -> Translation:
    """The pieces one after the other."""
    text, origins = "", []
    for piece in pieces:
        text += " " if piece.spaced and text and text[-1] != "(" else ""
        origins.append((len(text), piece.at))
        text += piece.text
    return Translation(text, tuple(origins))
