"""PATTERN: variables with their quantifiers, and the steps that they become."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby

from cep.language.sql_expression import Report
from cep.language.sql_text import Cursor, Stuck, Token

QUANTIFIERS = {"*": (0, None), "+": (1, None), "?": (0, 1)}
NUMBER_DIGITS_MAX = 9

FORMS = {
    "|": ("alternatives are not available", "join them by OR in DEFINE, or write two patterns"),
    "{": ("rows are not excluded here", "`x*?` with no DEFINE for x goes past any rows"),
    "^": ("the beginning and the end of a stream are not known", "leave ^ and $ away"),
    "$": ("the beginning and the end of a stream are not known", "leave ^ and $ away"),
}
"""What SQL:2016 can write in PATTERN and Flink refuses."""


@dataclass(frozen=True, slots=True)
class Variable:
    """A variable of PATTERN with its quantifier (which stands at `at`).

    permute: where the PERMUTE begins in which it stands, None for none
    """

    token: Token
    least: int = 1
    most: int | None = 1
    reluctant: bool = False
    at: int = 0
    permute: int | None = None

    @property
    def name(self) -> str:
        """Its name, without quotes."""
        return self.token.name

    @property
    def fixed(self) -> bool:
        """Does it take the same number of rows in every match?"""
        return self.least == self.most

    @property
    def greedy(self) -> bool:
        """Flink: what is only optional, or of a fixed number, is not."""
        return not (self.reluctant or self.fixed or (self.least, self.most) == (0, 1))


def read_variables(clause: Cursor) -> list[Variable]:
    """The variables of PATTERN. Parentheses only hold them together. Raises Stuck."""
    found: list[Variable] = []
    names: set[str] = set()
    opened: list[Token] = []
    begin = clause.peek()
    while True:
        token = clause.take()
        if token.says("("):
            opened.append(token)
        elif token.says(")") and opened:
            opened.pop()
            not_repeated(clause, "group")
            if not opened:
                break
        elif token.text in FORMS:
            raise Stuck(token.at, *FORMS[token.text])
        elif token.is_name and opened:
            permute = token.says("PERMUTE") and clause.peek().says("(")
            for variable in permuted(token, clause) if permute else [quantified(token, clause)]:
                if variable.name in names:
                    hint = "give it another name, and the same condition"
                    raise Stuck(variable.token.at, f"`{variable.name}` stands twice", hint)
                found.append(variable)
                names.add(variable.name)
        else:
            clause.place -= 1
            raise clause.stuck("a variable" if opened else "( … )", "PATTERN (a b+ c)")
    if not found:
        raise Stuck(begin.at, "a pattern needs at least one variable", "PATTERN (a b+ c)")
    return found


def not_repeated(clause: Cursor, what: str) -> None:
    """Raises Stuck at a quantifier."""
    if clause.peek().text in ("*", "+", "?", "{") and not clause.peek(1).says("-"):
        hint = f"repeat single variables, or write the pattern as a document with a `{what}`"
        raise Stuck(clause.peek().at, f"a {what} can't be repeated", hint)


def permuted(word: Token, clause: Cursor) -> list[Variable]:
    """PERMUTE (a, b): its variables, each of a fixed number of rows, so that every order has as many."""
    found = []
    for part in clause.inside().parts():
        name = part.name("a variable")
        variable = replace(quantified(name, part), permute=word.at)
        part.done("PERMUTE (a, b); a document's `permute` takes groups as well")
        if not variable.fixed:
            reason = f"`{name.name}` stands in PERMUTE and takes no fixed number of rows"
            raise Stuck(variable.at, reason, "give it one, as {2}, or write the pattern as a document with a `permute`")
        found.append(variable)
    not_repeated(clause, "permute")
    return found


def paths(variables: Sequence[Variable]) -> list[str]:
    """Where the step of each variable stands in the document."""
    return [
        f"steps[{place}]" if permute is None else f"steps[{place}].permute[{inside}]"
        for place, (permute, together) in enumerate(items(variables))
        for inside in range(len(together))
    ]


def items(variables: Sequence[Variable]) -> list[tuple[int | None, list[Variable]]]:
    """The variables one by one, and those of one PERMUTE together."""
    numbered = groupby(enumerate(variables), lambda pair: (pair[1].permute, pair[1].permute is None and pair[0]))
    return [(permute, [variable for _, variable in together]) for (permute, _), together in numbered]


def quantified(name: Token, clause: Cursor) -> Variable:
    """A variable and how often it stands."""
    at = clause.peek().at
    if clause.peek().text in QUANTIFIERS:
        least, most = QUANTIFIERS[clause.take().text]
    elif clause.peek().says("{") and not clause.peek(1).says("-"):
        least, most = bounds(clause)
    else:
        return Variable(name, at=name.at)
    variable = Variable(name, least, most, clause.accept("?"), at)
    if clause.peek().text in (*QUANTIFIERS, "{") and not clause.peek(1).says("-"):
        raise Stuck(clause.peek().at, "a variable has one quantifier, and here is a second", "keep one")
    return variable


def bounds(clause: Cursor) -> tuple[int, int | None]:
    """{n} {n,} {,m} {n,m}."""
    opening = clause.take()
    least = number(clause, opening)
    if clause.accept("}"):
        if least is None:
            raise Stuck(opening.at, "the bounds are missing", "{2}, {2,} or {2,4}")
        return least, least
    clause.expect(",")
    most = number(clause, opening)
    clause.expect("}")
    if least is None and most is None:
        raise Stuck(opening.at, "the bounds are missing", "* stands for any number")
    return least or 0, most


def number(clause: Cursor, opening: Token) -> int | None:
    """A bound, None if there is none."""
    if clause.peek().kind != "number":
        return None
    text = clause.take().text
    if not text.isdecimal() or len(text) > NUMBER_DIGITS_MAX:
        raise Stuck(opening.at, f"`{text}` is no number of rows", "{2}, {2,} or {2,4}")
    return int(text)


def judge(variables: Sequence[Variable], report: Report) -> None:
    """What Flink SQL refuses, or the syntax tree can't say, of quantifiers."""
    for place, variable in enumerate(variables):
        name, rest = variable.name, variables[place + 1 :]
        if variable.most == 0:
            report(variable.at, f"`{name}` takes no row at all", "leave it away")
        elif variable.reluctant and (variable.least, variable.most) == (0, 1):
            reason = f"`{name}??`: what is optional can't be reluctant"
            report(variable.at, reason, f"write two patterns, one with `{name}` and one without")
        elif variable.reluctant and not variable.fixed and not all(each.fixed for each in rest):
            later = next(each.name for each in rest if not each.fixed)
            report(
                variable.at,
                f"the same rows may be shared out between `{name}` and `{later}` in several ways, and which of them"
                " is found is not what SQL asks for",
                f"make `{name}` greedy, with a DEFINE that excludes what comes behind it",
            )
    if variables and not any(variable.least for variable in variables):
        report(variables[0].token.at, "the pattern can match no row at all", "one variable must be a must")
    elif variables and variables[-1].greedy:
        reason = f"`{variables[-1].name}` ends the pattern and is greedy: there may always be one more row"
        report(variables[-1].at, reason, "add ? to make it reluctant, or end with a single variable")


def steps_of(variables: Sequence[Variable], defined: Mapping[str, str]) -> list[dict[str, object]]:
    """The variables as the steps of a document; those of a PERMUTE as a `permute`."""
    steps: list[dict[str, object]] = []
    for permute, together in items(variables):
        if permute is None:
            steps.append(step_of(together[0], defined.get(together[0].name), first=not steps))
            continue
        members = [step_of(variable, defined.get(variable.name), first=True) for variable in together]
        steps.append({"permute": members, "consecutive": True} | ({"contiguity": "next"} if steps else {}))
    return steps


def step_of(variable: Variable, where: str | None, first: bool) -> dict[str, object]:
    """A variable as the step of a document."""
    step: dict[str, object] = {"name": variable.name}
    if where is not None:
        step["where"] = where
    if not first:
        step["contiguity"] = "next"
    if variable.least == 0:
        step["optional"] = True
    least, most = max(variable.least, 1), variable.most
    if (least, most) != (1, 1) and most != 0:
        step["times"] = {"at_least": least} if most is None else {"at_least": least, "at_most": most}
        step["consecutive"] = True
    if variable.greedy:
        step["greedy"] = True
    return step
