"""How messages and texts of the language name things: lengths of time, the closest known name, a column."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable

from events.duration import UNITS_US

WORDS = {"d": "day", "h": "hour", "m": "minute", "s": "second", "ms": "millisecond", "us": "microsecond"}


def plural(number: int, word: str) -> str:
    """
    >>> plural(1, "day"), plural(3, "day")
    ('1 day', '3 days')
    """
    return f"{number} {word}" if number == 1 else f"{number} {word}s"


def span(length_us: int) -> str:
    """A length of time in the words of a sentence, in the largest unit that leaves no remainder.

    >>> span(600_000_000), span(5_400_000_000), span(0)
    ('10 minutes', '90 minutes', '0 seconds')
    """
    unit = next((unit for unit in WORDS if length_us and length_us % UNITS_US[unit] == 0), "s")
    return plural(length_us // UNITS_US[unit], WORDS[unit])


def closest(name: str, known: Iterable[str]) -> str:
    """A hint towards the known name that was probably meant, else towards all of them; empty if there are none.

    >>> closest("follwed_by", ["next", "followed_by"]), closest("x", ["next", "until"])
    ('did you mean `followed_by`?', 'known: next, until')
    """
    names = list(known)
    lowered = {known_name.lower(): known_name for known_name in names}
    near = difflib.get_close_matches(name.lower(), lowered, n=1)
    if near:
        return f"did you mean `{lowered[near[0]]}`?"
    return f"known: {', '.join(names)}" if names else ""


def column_of(text: str, word: str) -> str:
    """`:column` (from 1) of a word in a text, empty if it isn't there.

    >>> column_of("amount > probe.amount", "probe")
    ':10'
    """
    found = re.search(rf"\b{re.escape(word)}\b", text, re.IGNORECASE)
    return f":{found.start() + 1}" if found else ""
