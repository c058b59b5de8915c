"""Durations as people write them: `500ms`, `10m`, `1h30m`. Inside, always int microseconds."""

from __future__ import annotations

import re
from itertools import pairwise

UNITS_US = {
    "w": 604_800_000_000,
    "d": 86_400_000_000,
    "h": 3_600_000_000,
    "m": 60_000_000,
    "s": 1_000_000,
    "ms": 1_000,
    "us": 1,
}
"""Microseconds per unit, from large to small: the order in which a text has them."""

DURATION_US_MAX = 36_525 * UNITS_US["d"]
"""A hundred years: sums with instants stay far inside int64."""

DIGITS_MAX = 18

_PART = re.compile(r"(\d+)(ms|us|[wdhms])", re.ASCII)
_WHOLE = re.compile(r"(?:\d+(?:ms|us|[wdhms]))+", re.ASCII)


def duration_us(text: object) -> int:
    """The microseconds of a duration as text: whole numbers with a unit each, from large to small.

    >>> duration_us("1h30m"), duration_us("500ms"), duration_us("0s")
    (5400000000, 500000, 0)

    Raises ValueError, whose text says what was found and what to write, for anything else: no unit, a fraction, a
    sign, a unit twice or out of order, more than a hundred years.
    """
    if not isinstance(text, str):
        raise ValueError(f"found {text!r}, not a duration: write a number with its unit, as 10m or 500ms")
    compact = text.replace(" ", "")
    if not _WHOLE.fullmatch(compact):
        raise ValueError(f"found {text!r}, not a duration: write whole numbers with w, d, h, m, s, ms or us, as 1h30m")
    parts = _PART.findall(compact)
    ranks = [list(UNITS_US).index(unit) for _, unit in parts]
    if any(later <= earlier for earlier, later in pairwise(ranks)):
        raise ValueError(f"found {text!r}: write each unit once, from large to small, as 1h30m")
    if any(len(number) > DIGITS_MAX for number, _ in parts):
        raise ValueError(f"found a duration of {len(compact)} characters: at most 100 years")
    total = sum(int(number) * UNITS_US[unit] for number, unit in parts)
    if total > DURATION_US_MAX:
        raise ValueError(f"found {text!r}: a duration is at most 100 years")
    return total


def duration_text(us: int) -> str:
    """The shortest text of a duration: `duration_us(duration_text(us)) == us` for 0 <= us <= DURATION_US_MAX.

    >>> duration_text(5_400_000_000), duration_text(0)
    ('1h30m', '0s')
    """
    parts = []
    for unit, size in UNITS_US.items():
        if unit == "w" and us % size:
            continue  # ten days are 10d, not 1w3d
        count, us = divmod(us, size)
        if count:
            parts.append(f"{count}{unit}")
    return "".join(parts) or "0s"
