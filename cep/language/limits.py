"""Every limit of the pattern language, by name."""

from __future__ import annotations

import re

DAY_US = 86_400_000_000

STEPS_MAX = 32
"""Steps of one pattern, those inside groups included."""

DEPTH_MAX = 4
"""Groups inside groups."""

PERMUTE_MAX = 7
"""Members of a `permute`: the automaton has a state for every set of them, 128 for seven."""

LOOP_MAX = 256
"""Largest `at_least` and `at_most` of a loop."""

STATES_MAX = 1_024
"""Elements that a pattern counts one by one: the sum of its steps, each times the bounds of the loops around it, and
in a `permute` times the sets of other members after which it may come."""

CONDITIONS_MAX = 64
"""Distinct conditions of one pattern, `where` and `until` together."""

WITHIN_MAX_US = 90 * DAY_US
"""Longest window, and longest gap."""

KEY_FIELDS_MAX = 8
"""Fields of one key."""

STREAMS_MAX = 8
"""Streams that one pattern reads."""

DOCUMENT_CHARS_MAX = 65_536
"""Length of a document as text."""

DOCUMENT_DEPTH_MAX = 32
"""Lists and mappings inside one another in a document."""

DESCRIPTION_CHARS_MAX = 2_000
"""Length of a description."""

MESSAGE_CHARS_MAX = 500
"""Length of an alert's template."""

MEASURES_MAX = 32
"""Measures of one pattern."""

MEASURE_CHARS_MAX = 1_000
"""Length of a measure that is text; what is longer is cut in the alert."""

VALUE_CHARS_MAX = 80
"""Length of one value inside an alert's sentence; what is longer is cut."""

NAME_CHARS_MAX = 64
"""Length of a pattern's, step's or measure's name."""

PATTERN_NAME = re.compile(r"[a-z][a-z0-9]*(?:[-_][a-z0-9]+)*")
"""`card-testing`: what an address, a topic and a file can carry without quoting."""

STEP_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]*")
"""`probe`: what a condition can name as `probe.amount`."""

KEYWORDS = frozenset(
    {"all", "and", "any", "as", "between", "case", "create", "current_date", "distinct", "else", "false", "from"}
    | {"join", "like", "not", "null", "on", "or", "select", "then", "true", "union", "values", "when", "where", "with"}
)
"""Words that a condition can't read as the name of a step."""
