"""What the author of a statement is told: see bad_statements.txt."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from cep.language.document import attempt_pattern
from tests.cep.language.test_sql import STREAMS

CASES = Path(__file__).with_name("bad_statements.txt")
BEFORE = {"PARTITION BY": "PARTITION BY k", "ORDER BY": "ORDER BY at"}
BEHIND = {"AFTER MATCH": "AFTER MATCH SKIP PAST LAST ROW", "PATTERN": "PATTERN (A B)"}


def cases() -> list[tuple[str, str, str]]:
    """The sentence, the statement and the messages of each case."""
    found = []
    for block in re.split(r"^(?===!? )", CASES.read_text(encoding="utf-8"), flags=re.MULTILINE)[1:]:
        head, _, rest = block.partition("\n")
        text, _, messages = rest.partition("--\n")
        mark, sentence = head.split(" ", 1)
        found.append((sentence, around(text) if mark == "==" else text, messages.strip("\n")))
    return found


def around(clauses: str) -> str:
    """The clauses in a whole statement; those of line 1 stand on its line 1."""
    before = " ".join(text for clause, text in BEFORE.items() if clause not in clauses)
    behind = {clause: text for clause, text in BEHIND.items() if clause not in clauses}
    first, _, rest = clauses.partition("PATTERN")
    if "AFTER MATCH" in behind and rest:
        first += behind.pop("AFTER MATCH") + " "
    whole = first + ("PATTERN" + rest if rest else "") + " ".join(behind.values())
    return f"INSERT INTO p SELECT * FROM rows MATCH_RECOGNIZE ({before} {whole})"


def told(text: str) -> str:
    """All messages of a statement, as the table writes them."""
    _, problems = attempt_pattern(text, STREAMS, "p.sql")
    return "\n".join(str(problem).replace("p.sql:", "") for problem in problems)


@pytest.mark.parametrize(("text", "messages"), [case[1:] for case in cases()], ids=[case[0] for case in cases()])
def test_every_problem_of_a_statement_is_told_with_its_place_and_what_to_do(text: str, messages: str) -> None:
    assert messages, "a case without messages tests nothing"
    assert told(text) == messages
