"""A document as text: its plain values, and the line on which each stands.

YAML without what makes it surprising: no anchors and aliases, no tags, no key twice. JSON is read as JSON; its problems
have paths only, no lines.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field

import yaml

from cep.language.limits import DOCUMENT_CHARS_MAX, DOCUMENT_DEPTH_MAX
from events.errors import NO_YAML, Problem

LAST_PART = re.compile(r"(?:\.[^.\[\]]*|\[\d+\]|^[^.\[\]]+)$")
COLUMN = re.compile(r":\d+$")
PLAIN_TAGS = {f"tag:yaml.org,2002:{name}" for name in ("str", "int", "float", "bool", "null", "timestamp")}
INT_MAX = 2**63
TIMESTAMP = "tag:yaml.org,2002:timestamp"


@dataclass(frozen=True, slots=True)
class Source:
    """What a text holds.

    value:    mappings, lists, text, numbers, booleans and None
    lines:    path to line, from 1; empty when there are none to tell
    problems: why it could not be read; `where` is a path
    """

    value: object = None
    lines: Mapping[str, int] = field(default_factory=dict)
    problems: tuple[Problem, ...] = ()

    def line(self, where: str) -> int:
        """The line of a problem's place, or of what it would stand in; 0 without lines."""
        path = COLUMN.sub("", where)
        while path not in self.lines and path:
            shorter = LAST_PART.sub("", path)
            path = shorter if shorter != path else ""  # a key may be any text
        return self.lines.get(path, 0)

    def rank(self, where: str) -> int:
        """By which problems are put in order."""
        return self.line(where)

    def position(self, subject: str, where: str) -> str:
        """A problem's place as people look it up: `x.yaml:7 steps[1].where:9`, or the path alone without lines."""
        line = self.line(where)
        return f"{subject}:{line} {where}".rstrip() if line else where or "document"


def read_text(text: str) -> Source:
    """The document in a YAML or JSON text."""
    if len(text) > DOCUMENT_CHARS_MAX:
        return failed(f"the text has {len(text)} characters; a document has at most {DOCUMENT_CHARS_MAX}")
    if text.lstrip().startswith("{"):
        try:
            return Source(json.loads(text, object_pairs_hook=without_twins))
        except (ValueError, RecursionError):
            pass  # then it is YAML in braces, or nothing: either way YAML says where it goes wrong
    return read_yaml(text)


def without_twins(pairs: list[tuple[str, object]]) -> dict[str, object]:
    """A JSON object, refused if it has a key twice."""
    if len(dict(pairs)) < len(pairs):
        raise ValueError("a key is there twice")
    return dict(pairs)


def failed(reason: str, line: int = 0, hint: str = "") -> Source:
    """A text of which nothing can be used."""
    return Source(None, {"": line} if line else {}, (Problem("", reason, hint),))


def read_yaml(text: str) -> Source:
    """The document in a YAML text."""
    try:
        unsafe = too_deep_or_aliased(text)
        if unsafe is not None:
            return unsafe
        node = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:
        reason = " ".join(part for part in (error.context, error.problem) if part)
        return failed(f"this is no YAML: {reason}", error.problem_mark.line + 1 if error.problem_mark else 1, NO_YAML)
    except yaml.YAMLError as error:
        return failed(f"this is no YAML: {error}".splitlines()[0], 1, NO_YAML)
    lines: dict[str, int] = {"": 1}
    problems: list[Problem] = []
    value = None if node is None else plain(node, "", lines, problems)
    return Source(value, lines, tuple(problems))


def too_deep_or_aliased(text: str) -> Source | None:
    """What would make composing the text expensive: deep nesting, or aliases (which can grow a text a billionfold)."""
    depth = 0
    for event in yaml.parse(text, Loader=yaml.SafeLoader):
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        line = event.start_mark.line + 1 if event.start_mark else 1
        if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None):
            return failed("anchors and aliases (`&`, `*`) are not read", line, "write the value out, or quote it")
        if depth > DOCUMENT_DEPTH_MAX:
            return failed(f"lists and mappings stand more than {DOCUMENT_DEPTH_MAX} deep", line)
    return None


def plain(node: yaml.Node, path: str, lines: dict[str, int], problems: list[Problem]) -> object:
    """A node as a plain value. Notes the line of everything under `path`."""
    lines.setdefault(path, node.start_mark.line + 1)
    if isinstance(node, yaml.SequenceNode):
        return [plain(child, f"{path}[{index}]", lines, problems) for index, child in enumerate(node.value)]
    if isinstance(node, yaml.MappingNode):
        return mapping(node, path, lines, problems)
    return scalar(node, path, problems)


def mapping(node: yaml.MappingNode, path: str, lines: dict[str, int], problems: list[Problem]) -> dict[object, object]:
    """A mapping; an entry's line is that of its key."""
    found: dict[object, object] = {}
    for key_node, value_node in node.value:
        if not isinstance(key_node, yaml.ScalarNode):
            problems.append(Problem(path, "a key must be a word, found a list or mapping"))
            continue
        key = key_node.value if key_node.tag != "tag:yaml.org,2002:null" else "null"
        inside = f"{path}.{key}" if path else key
        lines[inside] = key_node.start_mark.line + 1
        if key in found:
            problems.append(Problem(inside, f"`{key}` is there twice", "keep one"))
            continue
        found[key] = plain(value_node, inside, lines, problems)
    return found


def scalar(node: yaml.Node, path: str, problems: list[Problem]) -> object:
    """A single value; a date stays text."""
    if node.tag not in PLAIN_TAGS:
        problems.append(Problem(path, f"tags are not read, found `{node.tag}`", "write the plain value"))
        return str(node.value)
    if node.tag == TIMESTAMP:
        return str(node.value)
    try:
        value: object = yaml.constructor.SafeConstructor().construct_object(node)
    except (ValueError, KeyError, yaml.YAMLError):  # as `!!int x`
        problems.append(Problem(path, f"`{node.value[:40]}` is not what its tag says", "write the plain value"))
        return str(node.value)
    if isinstance(value, int) and abs(value) >= INT_MAX:
        problems.append(Problem(path, f"the number has {len(node.value)} characters, too many for any number here"))
        return 0
    return value
