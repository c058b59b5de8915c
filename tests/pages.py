"""Pages whose examples run: `python -m tests.pages` draws their automata anew.

A page's blocks are read in order:

    yaml     with `fields`: a stream; with `name`: a pattern; else keys that replace those of the pattern before
    mermaid  the automaton of that pattern, as `cep.automaton.drawing` draws it
    text     events as the test kit writes them, and in lines that begin with → what comes out, in order:
             `→ probe 1 2, cashout 5`, `→ timeout probe 1`, `→ nothing`; `→ refused: …`, a part of the reason
    python   `pattern`, a builder of the same pattern;    sql  a statement of the same pattern
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import yaml

from cep.automaton.drawing import draw
from cep.automaton.plan import compile_pattern
from cep.language.document import read_pattern
from cep.language.pattern import Pattern
from cep.testing import match_of, scene
from events.errors import InvalidDocument
from events.schema import Stream, read_stream

PAGES = (Path(__file__).parent.parent / "docs" / "language.md",)

BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
ARROW = "→ "


@dataclass(frozen=True, slots=True)
class Example:
    """A block that shows something of a pattern.

    line:     of the page, where the block's text begins
    span:     of the page, where it is
    language: yaml for the pattern itself, else as in the page
    document: the pattern it is about
    """

    line: int
    span: tuple[int, int]
    language: str
    text: str
    document: Mapping[str, object]
    streams: Sequence[Stream] = field(repr=False)

    @property
    def pattern(self) -> Pattern:
        """The pattern as a tree. Raises InvalidDocument."""
        return read_pattern(self.document, {stream.name: stream for stream in self.streams}, "page")

    @property
    def events(self) -> str:
        """The lines that are no results."""
        return "\n".join(line for line in self.text.splitlines() if not line.startswith(ARROW))

    @property
    def expected(self) -> list[str]:
        """What is to come out."""
        found = [line.removeprefix(ARROW) for line in self.text.splitlines() if line.startswith(ARROW)]
        return [] if found == ["nothing"] else found

    def outcome(self) -> list[str]:
        """What does come out; or why the pattern is refused."""
        try:
            alerts = scene(self.document, self.events, streams=self.streams).alerts
        except InvalidDocument as error:
            return [f"refused: {problem.reason}" for problem in error.problems]
        return [
            ("timeout " if alert.kind == "timeout" else "")
            + ", ".join(f"{step} {' '.join(map(str, numbers))}" for step, numbers in match_of(alert).items())
            for alert in alerts
        ]


def read_page(page: str) -> Iterator[Example]:
    """The examples of a page, in order."""
    streams: list[Stream] = []
    document: dict[str, object] = {}
    for found in BLOCK.finditer(page):
        language, text = found.groups()
        values = yaml.safe_load(text) if language == "yaml" else {}
        if "fields" in values:
            streams = [*streams, read_stream(text)]
            continue
        document = values if "name" in values else {**document, **values}
        line = page.count("\n", 0, found.start(2)) + 1
        yield Example(line, found.span(2), language, text, document, tuple(streams))


def drawing(example: Example) -> str:
    """The block that draws the example's automaton."""
    return draw(compile_pattern(example.pattern)) + "\n"


def redrawn(page: str) -> str:
    """The page with all its drawings as they are now."""
    for example in reversed(list(read_page(page))):
        if example.language == "mermaid":
            first, last = example.span
            page = page[:first] + drawing(example) + page[last:]
    return page


if __name__ == "__main__":
    for path in PAGES:
        path.write_text(redrawn(path.read_text(encoding="utf-8")), encoding="utf-8")
