"""Every example of the pages runs, and every drawing is what the code draws."""

from __future__ import annotations

import runpy
from dataclasses import replace
from pathlib import Path

import pytest

from cep.language.document import read_pattern
from cep.language.pattern import Pattern, Step
from tests.pages import PAGES, Example, drawing, read_page, redrawn

EXAMPLES = [(path, example) for path in PAGES for example in read_page(path.read_text(encoding="utf-8"))]


def shown(language: str) -> list[object]:
    """The examples in one language, named by page and line."""
    return [
        pytest.param(example, id=f"{path.name}:{example.line}")
        for path, example in EXAMPLES
        if example.language == language
    ]


def test_the_page_has_examples_in_all_languages() -> None:
    assert {example.language for _, example in EXAMPLES} == {"yaml", "mermaid", "text", "python", "sql"}


@pytest.mark.parametrize("example", shown("text"))
def test_an_example_finds_what_the_page_says(example: Example) -> None:
    found = example.outcome()
    if found and found[0].startswith("refused: "):
        found = [text[: len(said)] for text, said in zip(found, example.expected, strict=True)]
    assert found == example.expected


@pytest.mark.parametrize("example", shown("mermaid"))
def test_a_drawing_is_the_automaton_that_runs(example: Example) -> None:
    assert example.text == drawing(example), "`python -m tests.pages` draws them anew"


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_every_pattern_of_a_page_is_played_before_the_next(path: Path) -> None:
    """A pattern that no events follow would only be claimed."""
    examples = list(read_page(path.read_text(encoding="utf-8")))
    for example, following in zip(examples, [*examples[1:], None], strict=True):
        if example.language == "text":
            assert example.expected or "→ nothing" in example.text, f"line {example.line} has no result"
        elif example.language == "yaml":
            assert following, f"line {example.line} is never played"
            assert following.language != "yaml", f"line {example.line} is never played"


def test_drawing_anew_changes_nothing_but_drawings() -> None:
    page = PAGES[0].read_text(encoding="utf-8")
    assert redrawn(page) == page
    assert redrawn(page.replace("s0([", "s9([")) == page


def unnamed(pattern: Pattern) -> Pattern:
    """The pattern without its author's words for each condition."""
    measures = tuple(replace(measure, source="") for measure in pattern.measures)
    steps = tuple(replace(item, source="") if isinstance(item, Step) else item for item in pattern.steps)
    return replace(pattern, steps=steps, measures=measures)


@pytest.mark.parametrize("example", shown("python"))
def test_the_builder_says_the_same(example: Example, tmp_path: Path) -> None:
    (tmp_path / "example.py").write_text(example.text)
    builder = runpy.run_path(str(tmp_path / "example.py"))["pattern"]
    read = example.pattern.streams
    built = builder.build({stream.name: stream for stream in example.streams if stream.name in read})
    assert unnamed(built) == unnamed(example.pattern)


@pytest.mark.parametrize("example", shown("sql"))
def test_the_statement_says_the_same(example: Example) -> None:
    read = read_pattern(example.text, {stream.name: stream for stream in example.streams}, "page")
    assert unnamed(read) == unnamed(example.pattern)
