"""A pattern's versions as the control log has them, read again as patterns."""

from __future__ import annotations

from typing import Any

import yaml

from api.problems import Refusal
from api.services import Services
from cep.language.document import attempt_pattern
from cep.language.pattern import Pattern
from cep.registry import Known


def known_pattern(services: Services, name: str) -> Known:
    """The pattern of a name. Raises Refusal if there is none."""
    known = services.registry.patterns().get(name)
    if known is None or not known.versions:
        raise Refusal(404, "not_found", f"there is no pattern {name!r}", "see the list of patterns")
    return known


def read_version(services: Services, name: str, version: int) -> Pattern | None:
    """A version as a pattern; None if it isn't known, or no longer fits the declared streams."""
    known = services.registry.patterns().get(name)
    found = None if known is None else known.versions.get(version)
    if found is None:
        return None
    pattern, problems = attempt_pattern(found.document, services.streams, name)
    return None if problems else pattern


class _Flow(dict[str, Any]):
    """A mapping that is written on one line."""


class _Dumper(yaml.SafeDumper):
    """Steps on a line each, as people write them."""


_Dumper.add_representer(
    _Flow, lambda dumper, value: dumper.represent_mapping("tag:yaml.org,2002:map", value, flow_style=True)
)


def source_text(document: dict[str, Any]) -> str:
    """A document as YAML, laid out as its authors do.

    >>> print(source_text({"name": "p", "key": ["k"], "steps": [{"name": "a", "where": "v > 1"}]}), end="")
    name: p
    key: [k]
    steps:
    - {name: a, where: v > 1}
    """
    told = {
        name: [_Flow(item) if isinstance(item, dict) and not _nested(item) else item for item in value]
        if name == "steps" and isinstance(value, list)
        else value
        for name, value in document.items()
    }
    return yaml.dump(told, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=1000, default_flow_style=None)


def _nested(item: dict[str, Any]) -> bool:
    return any(isinstance(value, list) for value in item.values())
