"""What can be wrong, as a tree.

    StakeoutError              everything this project raises on purpose
    ├── InvalidDocument        a pattern, stream or mapping has problems: all of them, each with a position
    ├── ServiceUnavailable     Kafka, Postgres, Redis, a port, a file that can't be had
    ├── LimitReached           a named limit was hit where going on is impossible
    ├── IntegrityViolation     journal, sequence or snapshot contradict each other
    └── Fenced                 another owner holds the lane: exit at once

Bad *data* is a value (`Rejected` in `events.decode`), not an exception.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

NO_YAML = "indent with spaces; quote text that holds `: ` or ` #`, or begins with one of {[*&!|>%@`; close what is open"
"""What to do about a text that is no YAML."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong in a document.

    where:  a path into the document, as `steps[1].where`, with `:column` (from 1) behind it inside an expression
    reason: what is wrong and what was found
    hint:   what to do, or empty
    """

    where: str
    reason: str
    hint: str = ""

    def __str__(self) -> str:
        return f"{self.where}: {self.reason}" + (f"\n    hint: {self.hint}" if self.hint else "")


class StakeoutError(Exception):
    """What was wrong, where, what was found, and what to do."""

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return self.message + (f"\n  hint: {self.hint}" if self.hint else "")


class InvalidDocument(StakeoutError):
    """A document with all its problems."""

    def __init__(self, subject: str, problems: Sequence[Problem]) -> None:
        self.problems = tuple(problems)
        lines = "\n".join(f"  {problem}" for problem in self.problems)
        count = len(self.problems)
        super().__init__(f"{subject}: {count} problem{'s' if count != 1 else ''}\n{lines}")


class ServiceUnavailable(StakeoutError):
    """Something outside this process can't be had."""


class LimitReached(StakeoutError):
    """A named limit was hit."""


class IntegrityViolation(StakeoutError):
    """Two records that must agree do not."""


class Fenced(StakeoutError):
    """Another process owns this lane now."""
