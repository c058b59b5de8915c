"""SQL text as tokens, each with its place, and a cursor over them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

TOKEN = re.compile(
    r"""(?P<space>(?:\s|--[^\n]*|/\*.*?\*/)+)
      | (?P<word>[^\W\d]\w*)
      | (?P<quoted>"(?:[^"]|"")*"|`(?:[^`]|``)*`)
      | (?P<string>'(?:[^']|'')*')
      | (?P<number>\d+(?:\.\d*)?(?:[eE][+-]?\d+)?|\.\d+(?:[eE][+-]?\d+)?)
      | (?P<open>['"`]|/\*)
      | (?P<sign><>|!=|<=|>=|==|\|\||.)""",
    re.VERBOSE | re.DOTALL,
)

BEGINS = re.compile(r"(?:\s|--[^\n]*\n|/\*.*?\*/)*(?:select|insert|create)\s", re.IGNORECASE | re.DOTALL)

OPENING, CLOSING = "([{", ")]}"


@dataclass(frozen=True, slots=True)
class Token:
    """A word, "quoted" name, 'string', number or sign; kind `end` behind the last.

    at:     its offset in the statement
    spaced: does space or a comment stand before it?
    """

    kind: str
    text: str
    at: int
    spaced: bool = False

    @property
    def is_name(self) -> bool:
        """Can it name something?"""
        return self.kind in ("word", "quoted")

    @property
    def name(self) -> str:
        """The name, without its quotes."""
        quote = self.text[0]
        return self.text[1:-1].replace(quote * 2, quote) if self.kind == "quoted" else self.text

    @property
    def sql(self) -> str:
        """The token as standard SQL writes it."""
        return '"' + self.name.replace('"', '""') + '"' if self.kind == "quoted" else self.text

    def says(self, word: str) -> bool:
        """Is it this keyword or sign?"""
        return self.kind in ("word", "sign") and self.text.upper() == word


class Stuck(Exception):
    """What is at `at` can't be read, nor what comes behind it in its clause."""

    def __init__(self, at: int, reason: str, hint: str = "") -> None:
        super().__init__(reason)
        self.at, self.reason, self.hint = at, reason, hint


def is_sql(text: str) -> bool:
    """Is it a statement, and no YAML or JSON?"""
    return BEGINS.match(text) is not None


def tokens_of(text: str) -> list[Token]:
    """The tokens of a statement. Raises Stuck where a quote or comment is never closed."""
    found: list[Token] = []
    spaced = False
    for match in TOKEN.finditer(text):
        kind = match.lastgroup or ""
        if kind == "open":
            raise Stuck(match.start(), "a quote or comment is opened here and never closed")
        if kind != "space":
            found.append(Token(kind, match.group(), match.start(), spaced))
        spaced = kind == "space"
    return found


@dataclass(slots=True)
class Cursor:
    """A place in a run of tokens; `end` is the offset behind the last."""

    tokens: Sequence[Token]
    end: int
    place: int = 0

    def peek(self, ahead: int = 0) -> Token:
        """The token here, or some places ahead."""
        place = self.place + ahead
        return self.tokens[place] if place < len(self.tokens) else Token("end", "", self.end)

    def take(self) -> Token:
        """The token here; goes past it."""
        token = self.peek()
        self.place += 1
        return token

    def accept(self, *words: str) -> bool:
        """Goes past these words if they stand here."""
        here = all(self.peek(ahead).says(word) for ahead, word in enumerate(words))
        self.place += len(words) if here else 0
        return here

    def expect(self, *words: str, hint: str = "") -> None:
        """Goes past these words. Raises Stuck if they don't stand here."""
        if not self.accept(*words):
            raise self.stuck(" ".join(words), hint)

    def name(self, what: str) -> Token:
        """A name; goes past it. Raises Stuck if there is none."""
        if not self.peek().is_name:
            raise self.stuck(what)
        return self.take()

    def done(self, hint: str = "") -> None:
        """Raises Stuck if something is left."""
        if self.peek().kind != "end":
            raise Stuck(self.peek().at, f"`{self.peek().text}` can't stand here", hint)

    def stuck(self, wanted: str, hint: str = "") -> Stuck:
        """Something else was wanted here."""
        token = self.peek()
        found = f"`{token.text}`" if token.text else "the end"
        return Stuck(token.at, f"expected {wanted}, found {found}", hint)

    def inside(self) -> Cursor:
        """What stands between the parenthesis here and the one that closes it; goes past both. Raises Stuck."""
        opening = self.peek()
        self.expect("(")
        begin, depth = self.place, 1
        while depth:
            token = self.take()
            if token.kind == "end":
                raise Stuck(opening.at, "this ( is never closed")
            depth += token.says("(") - token.says(")")
        return Cursor(self.tokens[begin : self.place - 1], self.tokens[self.place - 1].at)

    def parts(self) -> Iterator[Cursor]:
        """What is left, split at the commas that stand in no parentheses."""
        begin = self.place
        for place, token in outside(self.tokens[begin:]):
            if token.says(","):
                yield Cursor(self.tokens[begin : self.place + place], token.at)
                begin = self.place + place + 1
        yield Cursor(self.tokens[begin:], self.end)


def outside(tokens: Sequence[Token]) -> Iterator[tuple[int, Token]]:
    """The tokens that stand in no parentheses, each with its place."""
    depth = 0
    for place, token in enumerate(tokens):
        sign = token.text if token.kind == "sign" else ""
        depth -= bool(sign) and sign in CLOSING
        if depth <= 0:
            yield place, token
        depth += bool(sign) and sign in OPENING
