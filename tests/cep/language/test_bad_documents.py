"""What a pattern's author is told: see bad_documents.txt."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from cep.language.document import attempt_pattern
from tests.cep.language.streams import STREAMS

CASES = Path(__file__).with_name("bad_documents.txt")
DEFAULTS = {"name": "p", "stream": "transactions", "key": "card_id", "within": "10m", "steps": "[{name: a}]"}


def cases() -> list[tuple[str, str, str]]:
    """The sentence, the document and the messages of each case."""
    found = []
    for block in re.split(r"^(?==={1,}!? )", CASES.read_text(encoding="utf-8"), flags=re.MULTILINE)[1:]:
        head, _, rest = block.partition("\n")
        document, _, messages = rest.partition("--\n")
        mark, sentence = head.split(" ", 1)
        if mark == "==":
            missing = [key for key in DEFAULTS if not re.search(rf"^{key}:", document, re.MULTILINE)]
            document += "".join(f"{key}: {DEFAULTS[key]}\n" for key in missing)
        found.append((sentence, document, messages.strip("\n")))
    return found


def told(document: str) -> str:
    """All messages of a document, as the table writes them."""
    _, problems = attempt_pattern(document, STREAMS, "p.yaml")
    return "\n".join(str(problem).replace("p.yaml:", "") for problem in problems)


@pytest.mark.parametrize(("document", "messages"), [case[1:] for case in cases()], ids=[case[0] for case in cases()])
def test_every_problem_is_told_with_its_line_and_what_to_do(document: str, messages: str) -> None:
    assert messages, "a case without messages tests nothing"
    assert told(document) == messages
