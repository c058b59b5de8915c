"""A pattern as an SQL statement: MATCH_RECOGNIZE, to the document that means the same.

    INSERT INTO "falling-price"                     or CREATE VIEW … [COMMENT 'what for'] AS; the pattern's name
    SELECT auction, bottom                          or *: the measures that an alert carries
    FROM bid MATCH_RECOGNIZE (                      the stream
        PARTITION BY auction, bidder                its key
        ORDER BY date_time                          the stream's event time
        MEASURES LAST(down.price) AS bottom, …
        ONE ROW PER MATCH
        AFTER MATCH SKIP PAST LAST ROW              or TO NEXT ROW, TO [FIRST | LAST] down
        PATTERN (start down+ up) WITHIN INTERVAL '5' MINUTE
        DEFINE down AS down.price < LAST(down.price, 1), …
    )

A statement means what Flink SQL makes of it: variables follow one another directly (`next`), loops are consecutive, a
greedy one takes every row that it can and never gives one back, a reluctant one goes on as soon as it can, and alerts
come in order (`emit: ordered`). What Flink SQL refuses is refused, and so is what the syntax tree can't say.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import TypeVar

from cep.language.limits import DOCUMENT_CHARS_MAX
from cep.language.source import COLUMN, LAST_PART, Source
from cep.language.sql_expression import Translation, Translator
from cep.language.sql_text import Cursor, Stuck, Token, outside, tokens_of
from cep.language.wording import closest
from events.duration import DURATION_US_MAX, duration_text
from events.errors import Problem
from events.schema import Order, Stream

CLAUSES = (
    "PARTITION BY", "ORDER BY", "MEASURES", "ONE ROW PER MATCH", "ALL ROWS PER MATCH", "AFTER MATCH", "PATTERN",
    "WITHIN", "SUBSET", "DEFINE",
)  # fmt: skip
"""In the order in which they stand."""

REFUSED = {
    "ALL ROWS PER MATCH": "an alert carries the events of its match anyway: ONE ROW PER MATCH",
    "SUBSET": "name each variable by itself",
}

UNITS_US = {"SECOND": 10**6, "MINUTE": 60 * 10**6, "HOUR": 3600 * 10**6, "DAY": 86400 * 10**6}
NUMBER_DIGITS_MAX = 9
NUMBERS = {"*": (0, None), "+": (1, None), "?": (0, 1)}
T = TypeVar("T")

STATEMENT = "statement"
"""The path of problems that stand at an offset of the statement itself."""

SKIPS = "SKIP PAST LAST ROW, SKIP TO NEXT ROW, SKIP TO FIRST x or SKIP TO LAST x"
FORMS = {
    "|": ("alternatives are not available", "join them by OR in DEFINE, or write two patterns"),
    "{": ("rows are not excluded here", "`x*?` with no DEFINE for x goes past any rows"),
    "^": ("the beginning and the end of a stream are not known", "leave ^ and $ away"),
    "$": ("the beginning and the end of a stream are not known", "leave ^ and $ away"),
}
"""What SQL:2016 can write in PATTERN and Flink refuses."""


SPOTS = {"PARTITION BY": "key", "PATTERN": "steps", "AFTER MATCH": "skip", "WITHIN": "within", "MEASURES": "measures"}
"""The keys of a document that clauses give."""

NEEDED = {
    "PARTITION BY": ("", "name the fields whose events belong together"),
    "ORDER BY": ("", "ORDER BY the event time of the stream"),
    "AFTER MATCH": ("; SQL takes SKIP PAST LAST ROW then, and Flink SKIP TO NEXT ROW", "say which"),
    "PATTERN": ("", "PATTERN (a b+ c)"),
}


@dataclass(frozen=True, slots=True)
class Statement(Source):
    """What a statement holds: the document, and where each of its values stands in the text.

    spots:   path to offset
    origins: path of an expression to what it was made from
    """

    text: str = ""
    spots: Mapping[str, int] = field(default_factory=dict)
    origins: Mapping[str, Translation] = field(default_factory=dict)

    def offset(self, where: str) -> int:
        """Where in the text a problem is."""
        path = COLUMN.sub("", where)
        column = int(where[len(path) + 1 :] or 1) - 1
        if path == STATEMENT:
            return column
        if path in self.origins and column:
            return self.origins[path].origin(column)
        while path not in self.spots and path:
            path = LAST_PART.sub("", path)
        return self.spots.get(path, 0)

    def line(self, where: str) -> int:
        """Its line, from 1."""
        return self.text.count("\n", 0, self.offset(where)) + 1

    def rank(self, where: str) -> int:
        """In the order of the text."""
        return self.offset(where)

    def position(self, subject: str, where: str) -> str:
        """`x.sql:7:12`, line and column from 1."""
        at = self.offset(where)
        return f"{subject}:{self.line(where)}:{at - self.text.rfind(chr(10), 0, at)}"


def read_statement(text: str, streams: Mapping[str, Stream]) -> Statement:
    """The document of a statement. `value` is None where a part can't be read, and `problems` says why."""
    if len(text) > DOCUMENT_CHARS_MAX:
        reason = f"the text has {len(text)} characters; a statement has at most {DOCUMENT_CHARS_MAX}"
        return Statement(None, {}, (Problem("", reason),), text)
    reader = Reader(streams)
    document: dict[str, object] | None = None
    try:
        document = reader.whole(Cursor(tokens_of(text), len(text.rstrip())))
    except Stuck as stuck:
        reader.stopped(stuck)
    value = None if reader.broken else document
    return Statement(value, {}, tuple(reader.problems), text, reader.spots, reader.origins)


@dataclass(frozen=True, slots=True)
class Variable:
    """A variable of PATTERN with its quantifier (which stands at `at`)."""

    token: Token
    least: int = 1
    most: int | None = 1
    reluctant: bool = False
    at: int = 0

    @property
    def name(self) -> str:
        return self.token.name

    @property
    def fixed(self) -> bool:
        """Does it take the same number of rows in every match?"""
        return self.least == self.most

    @property
    def greedy(self) -> bool:
        """Flink: what is only optional, or of a fixed number, is not."""
        return not (self.reluctant or self.fixed or (self.least, self.most) == (0, 1))


@dataclass(slots=True)
class Reader:
    """One statement being read. broken: is there a part that can't be read, so that the rest can't be judged?"""

    streams: Mapping[str, Stream]
    problems: list[Problem] = field(default_factory=list)
    spots: dict[str, int] = field(default_factory=dict)
    origins: dict[str, Translation] = field(default_factory=dict)
    broken: bool = False

    def problem(self, at: int, reason: str, hint: str = "") -> None:
        """One more problem."""
        self.problems.append(Problem(f"{STATEMENT}:{at + 1}", reason, hint))

    def stopped(self, stuck: Stuck) -> None:
        """A part that can't be read."""
        self.problem(stuck.at, stuck.reason, stuck.hint)
        self.broken = True

    def attempt(self, read: Callable[[Cursor], T], clause: Cursor | None) -> T | None:
        """What a clause says; None if it isn't there or can't be read, which is noted."""
        if clause is None:
            return None
        try:
            value = read(clause)
            clause.done()
        except Stuck as stuck:
            self.stopped(stuck)
            return None
        return value

    # -- around the clauses -------------------------------------------------------------------------------------------

    def whole(self, cursor: Cursor) -> dict[str, object]:
        """The document."""
        document = self.head(cursor)
        cursor.expect("SELECT")
        begin = cursor.place
        while not cursor.peek().says("FROM"):
            if cursor.take().kind == "end":
                raise cursor.stuck("FROM")
        listed = Cursor(cursor.tokens[begin : cursor.place], cursor.peek().at)
        cursor.take()
        stream = cursor.name("the name of a stream")
        cursor.expect("MATCH_RECOGNIZE", hint="a pattern reads one stream: FROM stream MATCH_RECOGNIZE ( … )")
        self.spots |= {"stream": stream.at, "": cursor.peek(-1).at}
        clauses = self.clauses(cursor.inside())
        alias = cursor.take().name if cursor.accept("AS") or cursor.peek().kind == "quoted" else ""
        if cursor.peek().kind == "word" and not alias:
            alias = cursor.take().name
        cursor.accept(";")
        behind = "a pattern is the MATCH_RECOGNIZE alone: put conditions into DEFINE"
        self.attempt(lambda rest: rest.done(behind), cursor)
        key = self.attempt(self.names, clauses.get("PARTITION BY")) or []
        variables = self.attempt(self.pattern, clauses.get("PATTERN")) or []
        names = [variable.name for variable in variables]
        defined = self.attempt(lambda clause: self.define(clause, names), clauses.get("DEFINE")) or {}
        measures = self.attempt(lambda clause: self.measures(clause, names), clauses.get("MEASURES")) or {}
        self.attempt(lambda clause: self.order(clause, stream.name), clauses.get("ORDER BY"))
        self.judged(variables)
        return document | {
            "stream": stream.name,
            "key": key,
            "emit": "ordered",
            "measures": self.attempt(lambda columns: self.selected(columns, alias, measures, key), listed) or {},
            "steps": [self.step(number, variable, defined) for number, variable in enumerate(variables)],
            **(self.attempt(lambda clause: self.skip(clause, variables), clauses.get("AFTER MATCH")) or {}),
            **(self.attempt(self.within, clauses.get("WITHIN")) or {}),
        }

    def head(self, cursor: Cursor) -> dict[str, object]:
        """Name and description."""
        view = cursor.accept("CREATE", "VIEW") or cursor.accept("CREATE", "TEMPORARY", "VIEW")
        if not view and not cursor.accept("INSERT", "INTO"):
            hint = 'begin with INSERT INTO "falling-price", or with CREATE VIEW "falling-price" AS'
            self.problem(cursor.peek().at, "nothing gives the pattern its name", hint)
            return {"name": "pattern"}
        name = cursor.name("the name of the pattern")
        self.spots["name"] = name.at
        described = {}
        if view and cursor.accept("COMMENT"):
            if cursor.peek().kind != "string":
                raise cursor.stuck("a text in single quotes")
            self.spots["description"] = cursor.peek().at
            described["description"] = cursor.take().text[1:-1].replace("''", "'")
        if view:
            cursor.expect("AS")
        return {"name": name.name, **described}

    def selected(self, listed: Cursor, alias: str, measures: Mapping[str, str], key: Sequence[str]) -> dict[str, str]:
        """The measures that SELECT lists."""
        chosen: dict[str, str] = {}
        for part in listed.parts():
            if part.peek().is_name and part.peek(1).says("."):
                if part.peek().name != alias:
                    self.problem(part.peek().at, f"there is no `{part.peek().text}` here", closest("", [alias or "*"]))
                part.place += 2
            if part.accept("*"):
                chosen |= measures
                part.done("SELECT * or list the columns")
                continue
            column = part.name("a measure or a field of PARTITION BY")
            part.done("MEASURES gives a measure its name: SELECT can only choose")
            if column.name in measures:
                chosen[column.name] = measures[column.name]
            elif column.name not in key and not self.broken:
                reason = f"`{column.name}` is no measure, and not in PARTITION BY"
                self.problem(column.at, reason, closest(column.name, [*measures, *key]))
        listed.place = len(listed.tokens)
        return chosen

    def clauses(self, body: Cursor) -> dict[str, Cursor]:
        """What each clause says, without its name; order and presence are judged."""
        heads: list[tuple[str, int]] = []
        for place, token in outside(body.tokens):
            known = [clause for clause in CLAUSES if Cursor(body.tokens, body.end, place).accept(*clause.split())]
            after_point = place > 0 and body.tokens[place - 1].says(".")
            if known and not after_point and token.kind == "word":
                heads.append((known[0], place))
        if not heads or heads[0][1]:
            raise body.stuck("PARTITION BY", f"the clauses are {', '.join(CLAUSES)}")
        found: dict[str, Cursor] = {}
        ends = [place for _, place in heads[1:]] + [len(body.tokens)]
        for (clause, place), end in zip(heads, ends, strict=True):
            head = body.tokens[place]
            last = max(found, key=CLAUSES.index, default="")
            if clause in found:
                self.stopped(Stuck(head.at, f"{clause} is there twice", "keep one"))
            elif last and CLAUSES.index(clause) < CLAUSES.index(last):
                hint = f"the order is {', '.join(CLAUSES)}"
                self.stopped(Stuck(head.at, f"{clause} must stand before {last}", hint))
            if clause in REFUSED:
                self.problem(head.at, f"{clause} is not available", REFUSED[clause])
            behind = body.tokens[end].at if end < len(body.tokens) else body.end
            found[clause] = Cursor(body.tokens[place + len(clause.split()) : end], behind)
            self.spots[SPOTS.get(clause, clause)] = head.at
        self.complete(found)
        return found

    def complete(self, found: Mapping[str, Cursor]) -> None:
        """Is every clause there that must be? Where SQL and Flink differ on what is left away, it must be said."""
        for clause, (reason, hint) in NEEDED.items():
            if clause not in found:
                self.stopped(Stuck(self.spots[""], f"{clause} is missing{reason}", hint))

    # -- the clauses --------------------------------------------------------------------------------------------------

    def names(self, clause: Cursor) -> list[str]:
        """PARTITION BY."""
        found = [clause.name("a field").name]
        while clause.accept(","):
            found.append(clause.name("a field").name)
        return found

    def order(self, clause: Cursor, name: str) -> None:
        """ORDER BY: the stream's event time, and nothing else."""
        column, stream = clause.name("the event time of the stream"), self.streams.get(name)
        if clause.peek().says("DESC") or clause.peek().says(","):
            reason = "rows come in the order of the event time, those of one instant as they arrived"
            raise Stuck(clause.peek().at, reason, f"ORDER BY {column.sql}")
        clause.accept("ASC")
        if stream is None:
            return
        if column.name != stream.event_time:
            hint = f"ORDER BY {stream.event_time}"
            self.problem(column.at, f"the event time of `{name}` is `{stream.event_time}`", hint)
        elif stream.order is Order.ARRIVAL:
            reason = f"the stream `{name}` is matched in the order of arrival, not by `{column.name}`"
            self.problem(column.at, reason, "declare the stream with `order: event_time`")

    def measures(self, clause: Cursor, variables: Sequence[str]) -> dict[str, str]:
        """MEASURES: name to expression."""
        found: dict[str, str] = {}
        for part in clause.parts():
            tokens = part.tokens
            if len(tokens) < 3 or not tokens[-2].says("AS") or not tokens[-1].is_name:
                raise Stuck(part.peek().at, "a measure is `expression AS name`")
            name = tokens[-1].name
            if name in found:
                self.problem(tokens[-1].at, f"there is a measure `{name}` already", "give it another name")
            found[name] = self.expression(f"measures.{name}", tokens[:-2], "", variables)
            self.spots[f"measures.{name}"] = tokens[-1].at
        clause.place = len(clause.tokens)
        return found

    def skip(self, clause: Cursor, variables: Sequence[Variable]) -> dict[str, object]:
        """AFTER MATCH."""
        clause.expect("SKIP", hint=SKIPS)
        if clause.accept("PAST", "LAST", "ROW"):
            return {"skip": "past_last_event"}
        clause.expect("TO", hint=SKIPS)
        if clause.accept("NEXT", "ROW"):
            return {"skip": "to_next"}
        first = clause.accept("FIRST")
        if not first:
            clause.accept("LAST")
        target = clause.name("a variable")
        word = "to_first" if first else "to_last"
        self.spots[f"skip.{word}"] = target.at
        for place, variable in enumerate(variables):
            if variable.name != target.name:
                continue
            if not variable.least:
                reason = f"a match need not have a row of `{target.name}`, and then there is none to skip to"
                self.problem(target.at, reason, "skip to a variable that every match has, or PAST LAST ROW")
            elif (first or variable.most == 1) and not any(each.least for each in variables[:place]):
                reason = f"`{target.name}` may be the first row of the match, which would then be found again for ever"
                self.problem(target.at, reason, "SKIP TO NEXT ROW begins at the row behind it")
        return {"skip": {word: target.name}}

    def within(self, clause: Cursor) -> dict[str, str]:
        """WITHIN INTERVAL."""
        hint = "WITHIN INTERVAL '5' SECOND, or MINUTE, HOUR, DAY"
        clause.expect("INTERVAL", hint=hint)
        amount, unit = clause.take(), clause.take()
        digits = amount.text[1:-1]
        plain = amount.kind == "string" and digits.replace(".", "", 1).isdecimal() and digits.isascii()
        if (
            not plain
            or len(digits) > NUMBER_DIGITS_MAX
            or unit.text.upper() not in UNITS_US
            or clause.peek().kind != "end"
        ):
            raise Stuck(amount.at, "this is no length of time", hint)
        length_us = Fraction(digits) * UNITS_US[unit.text.upper()]
        if length_us.denominator != 1 or length_us > DURATION_US_MAX:
            raise Stuck(amount.at, "a length of time is whole microseconds, and at most 100 years", hint)
        return {"within": duration_text(int(length_us))}

    def define(self, clause: Cursor, variables: Sequence[str]) -> dict[str, str]:
        """DEFINE: variable to condition."""
        found: dict[str, str] = {}
        for part in clause.parts():
            name = part.name("a variable")
            part.expect("AS")
            rest = part.tokens[part.place :]
            if not rest:
                raise part.stuck("a condition")
            if name.name in found:
                self.problem(name.at, f"`{name.name}` is defined twice", "join the conditions by AND")
            elif name.name not in variables and not self.broken:
                reason = f"`{name.name}` does not stand in PATTERN"
                self.problem(name.at, reason, closest(name.name, variables))
            path = f"steps[{variables.index(name.name)}].where" if name.name in variables else f"DEFINE {name.name}"
            found[name.name] = self.expression(path, rest, name.name, variables)
        clause.place = len(clause.tokens)
        return found

    def expression(self, path: str, tokens: Sequence[Token], own: str, variables: Sequence[str]) -> str:
        """An expression of ours; where it comes from is remembered."""
        translation = Translator(own, variables, self.problem).translated(tokens)
        self.origins[path] = translation
        self.spots[path] = tokens[0].at
        return translation.text

    # -- PATTERN ------------------------------------------------------------------------------------------------------

    def pattern(self, clause: Cursor) -> list[Variable]:
        """PATTERN: variables one after the other, each with its quantifier. Parentheses only hold them together."""
        found: list[Variable] = []
        opened: list[Token] = []
        clause_begin = clause.peek()
        while True:
            token = clause.take()
            if token.says("("):
                opened.append(token)
            elif token.says(")") and opened:
                opened.pop()
                if clause.peek().text in ("*", "+", "?", "{") and not clause.peek(1).says("-"):
                    hint = "repeat single variables, or write the pattern as a document with a `group`"
                    raise Stuck(clause.peek().at, "a group can't be repeated", hint)
                if not opened:
                    break
            elif token.text in FORMS:
                raise Stuck(token.at, *FORMS[token.text])
            elif token.says("PERMUTE") and clause.peek().says("("):
                raise Stuck(token.at, "PERMUTE is not available", "write a pattern for each order")
            elif token.is_name and opened and token.name in [variable.name for variable in found]:
                raise Stuck(token.at, f"`{token.name}` stands twice", "give it another name, and the same condition")
            elif token.is_name and opened:
                found.append(self.quantified(token, clause))
            else:
                clause.place -= 1
                raise clause.stuck("a variable" if opened else "( … )", "PATTERN (a b+ c)")
        if not found:
            raise Stuck(clause_begin.at, "a pattern needs at least one variable", "PATTERN (a b+ c)")
        return found

    def quantified(self, name: Token, clause: Cursor) -> Variable:
        """A variable and how often it stands."""
        at = clause.peek().at
        if clause.peek().text in NUMBERS:
            least, most = NUMBERS[clause.take().text]
        elif clause.peek().says("{") and not clause.peek(1).says("-"):
            least, most = self.bounds(clause)
        else:
            return Variable(name, at=name.at)
        variable = Variable(name, least, most, clause.accept("?"), at)
        if clause.peek().text in (*NUMBERS, "{") and not clause.peek(1).says("-"):
            raise Stuck(clause.peek().at, "a variable has one quantifier, and here is a second", "keep one")
        return variable

    def bounds(self, clause: Cursor) -> tuple[int, int | None]:
        """{n} {n,} {,m} {n,m}."""
        opening = clause.take()
        least = self.number(clause, opening)
        if clause.accept("}"):
            if least is None:
                raise Stuck(opening.at, "the bounds are missing", "{2}, {2,} or {2,4}")
            return least, least
        clause.expect(",")
        most = self.number(clause, opening)
        clause.expect("}")
        if least is None and most is None:
            raise Stuck(opening.at, "the bounds are missing", "* stands for any number")
        return least or 0, most

    def number(self, clause: Cursor, opening: Token) -> int | None:
        """A bound, None if there is none."""
        if clause.peek().kind != "number":
            return None
        text = clause.take().text
        if not text.isdecimal() or len(text) > NUMBER_DIGITS_MAX:
            raise Stuck(opening.at, f"`{text}` is no number of rows", "{2}, {2,} or {2,4}")
        return int(text)

    def judged(self, variables: Sequence[Variable]) -> None:
        """What Flink SQL refuses, or the syntax tree can't say, of quantifiers."""
        for place, variable in enumerate(variables):
            name, rest = variable.name, variables[place + 1 :]
            if variable.most == 0:
                self.problem(variable.at, f"`{name}` takes no row at all", "leave it away")
            elif variable.reluctant and (variable.least, variable.most) == (0, 1):
                reason = f"`{name}??`: what is optional can't be reluctant"
                self.problem(variable.at, reason, f"write two patterns, one with `{name}` and one without")
            elif variable.reluctant and not variable.fixed and not all(each.fixed for each in rest):
                later = next(each.name for each in rest if not each.fixed)
                self.problem(
                    variable.at,
                    f"the same rows may be shared out between `{name}` and `{later}` in several ways, and which of them"
                    " is found is not what SQL asks for",
                    f"make `{name}` greedy, with a DEFINE that excludes what comes behind it",
                )
        if variables and not any(variable.least for variable in variables):
            self.problem(self.spots["steps"], "the pattern can match no row at all", "one variable must be a must")
        elif variables and variables[-1].greedy:
            reason = f"`{variables[-1].name}` ends the pattern and is greedy: there may always be one more row"
            self.problem(variables[-1].at, reason, "add ? to make it reluctant, or end with a single variable")

    def step(self, number: int, variable: Variable, defined: Mapping[str, str]) -> dict[str, object]:
        """A variable as the step of a document."""
        path = f"steps[{number}]"
        self.spots[path] = variable.token.at
        self.spots |= {f"{path}.{key}": variable.at for key in ("times", "greedy", "optional", "consecutive")}
        step: dict[str, object] = {"name": variable.name}
        if variable.name in defined:
            step["where"] = defined[variable.name]
        if number:
            step["contiguity"] = "next"
        if variable.least == 0:
            step["optional"] = True
        least, most = max(variable.least, 1), variable.most or (1 if variable.most == 0 else None)
        if (least, most) != (1, 1):
            step["times"] = {"at_least": least} if most is None else {"at_least": least, "at_most": most}
            step["consecutive"] = True
        if variable.greedy:
            step["greedy"] = True
        return step
