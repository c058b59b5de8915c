"""A pattern as an SQL statement: MATCH_RECOGNIZE, to the document that means the same.

    INSERT INTO "falling-price"                     or CREATE VIEW … [COMMENT 'what for'] AS; the pattern's name
    SELECT auction, bottom                          or *: the measures that an alert carries
    FROM bid MATCH_RECOGNIZE (                      the stream
        PARTITION BY auction, bidder                its key
        ORDER BY date_time                          the stream's event time
        MEASURES LAST(down.price) AS bottom, …
        ONE ROW PER MATCH
        AFTER MATCH SKIP PAST LAST ROW              or TO NEXT ROW, TO [FIRST | LAST] down
        PATTERN (start down+ up) WITHIN INTERVAL '5' MINUTE      with PERMUTE (a, b) for any order
        DEFINE down AS down.price < LAST(down.price, 1), …
    )

A statement means what Flink SQL makes of it: variables follow one another directly (`next`), loops are consecutive, a
greedy one takes every row that it can and never gives one back, a reluctant one goes on as soon as it can, and alerts
come in order (`emit: ordered`). What Flink SQL refuses is refused, and so is what the syntax tree can't say; but for
PERMUTE, which Flink doesn't have: a `permute` of variables that take a fixed number of rows each.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import TypeVar

from cep.language.limits import DOCUMENT_CHARS_MAX
from cep.language.source import COLUMN, LAST_PART, Source
from cep.language.sql_expression import Translation, Translator
from cep.language.sql_pattern import NUMBER_DIGITS_MAX, Variable, judge, paths, read_variables, steps_of
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
T = TypeVar("T")

STATEMENT = "statement"
"""The path of problems that stand at an offset of the statement itself."""

SKIPS = "SKIP PAST LAST ROW, SKIP TO NEXT ROW, SKIP TO FIRST x or SKIP TO LAST x"

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
        listed = Cursor(cursor.tokens[begin : cursor.place], cursor.take().at)
        stream = cursor.name("the name of a stream")
        self.spots |= {"stream": stream.at, "": cursor.peek().at}
        cursor.expect("MATCH_RECOGNIZE", hint="a pattern reads one stream: FROM stream MATCH_RECOGNIZE ( … )")
        clauses = self.clauses(cursor.inside())
        alias = cursor.name("a name").name if cursor.accept("AS") or cursor.peek().is_name else ""
        cursor.accept(";")
        behind = "a pattern is the MATCH_RECOGNIZE alone: put conditions into DEFINE"
        self.attempt(lambda rest: rest.done(behind), cursor)
        key = self.attempt(self.names, clauses.get("PARTITION BY")) or []
        self.attempt(lambda clause: self.order(clause, stream.name), clauses.get("ORDER BY"))
        variables = self.variables(clauses)
        names = [variable.name for variable in variables]
        measures = self.attempt(lambda clause: self.measures(clause, names), clauses.get("MEASURES")) or {}
        chosen = self.attempt(lambda columns: self.selected(columns, alias, measures, key), listed) or {}
        steps_at = dict(zip(names, paths(variables), strict=True))
        defined = self.attempt(lambda clause: self.define(clause, steps_at), clauses.get("DEFINE")) or {}
        steps = steps_of(variables, defined)
        said = {"stream": stream.name, "key": key, "emit": "ordered", "measures": chosen, "steps": steps}
        skip = self.attempt(lambda clause: self.skip(clause, variables), clauses.get("AFTER MATCH")) or {}
        return document | said | skip | (self.attempt(self.within, clauses.get("WITHIN")) or {})

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

    def variables(self, clauses: Mapping[str, Cursor]) -> list[Variable]:
        """PATTERN; where each variable stands is remembered."""
        found = self.attempt(read_variables, clauses.get("PATTERN")) or []
        judge(found, self.problem)
        for path, variable in zip(paths(found), found, strict=True):
            self.spots |= {f"{path}.{key}": variable.at for key in ("times", "greedy", "optional", "consecutive")}
            self.spots[path] = variable.token.at
        return found

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

    def within(self, clause: Cursor) -> dict[str, object]:
        """WITHIN INTERVAL."""
        hint = "WITHIN INTERVAL '5' SECOND, or MINUTE, HOUR, DAY"
        clause.expect("INTERVAL", hint=hint)
        amount, unit = clause.take(), clause.take()
        digits, unit_us = amount.text[1:-1], UNITS_US.get(unit.text.upper(), 0)
        plain = amount.kind == "string" and digits.replace(".", "", 1).isdecimal() and digits.isascii()
        if not plain or not unit_us or len(digits) > NUMBER_DIGITS_MAX or clause.peek().kind != "end":
            raise Stuck(amount.at, "this is no length of time", hint)
        length_us = Fraction(digits) * unit_us
        if length_us.denominator != 1 or length_us > DURATION_US_MAX:
            raise Stuck(amount.at, "a length of time is whole microseconds, and at most 100 years", hint)
        return {"within": duration_text(int(length_us))}

    def define(self, clause: Cursor, variables: Mapping[str, str]) -> dict[str, str]:
        """DEFINE: variable to condition. variables: where the step of each stands in the document"""
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
            path = f"{variables[name.name]}.where" if name.name in variables else f"DEFINE {name.name}"
            found[name.name] = self.expression(path, rest, name.name, list(variables))
        clause.place = len(clause.tokens)
        return found

    def expression(self, path: str, tokens: Sequence[Token], own: str, variables: Sequence[str]) -> str:
        """An expression of ours; where it comes from is remembered."""
        translation = Translator(own, variables, self.problem).translated(tokens)
        self.origins[path] = translation
        self.spots[path] = tokens[0].at
        return translation.text
