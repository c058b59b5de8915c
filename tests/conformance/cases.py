"""Reads conformance cases: JSON lines, as they are or gzipped; the format stands in shared/conformance/README.md.

{"id", "pattern", "streams": {key: [event]}, "results": {key: {"matches": [match], "timeouts": [match]}}}
{"id", "pattern", "streams", "rejected": reason}
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import reduce
from pathlib import Path
from typing import Any, NamedTuple

from cep.language.pattern import Contiguity, Emit, Group, Inner, Pattern, Skip, Step, Times
from events.expression import Aggregate, Binary, Constant, Expression, Field, History, Unary
from events.types import BOOL, FLOAT64, INT64, STRING
from tests.reference import Event, Match

Json = dict[str, Any]

DEFAULT_FILE = Path(__file__).with_name("flink_cep.jsonl.gz")
US_PER_MS = 1_000

FIELDS = {"kind": STRING, "v": INT64}
STREAMS = ("events", "others")
CONTIGUITY = {"begin": Contiguity.NEXT, **{contiguity.value: contiguity for contiguity in Contiguity}}
INNER = {None: Inner.RELAXED, "consecutive": Inner.CONSECUTIVE, "allow": Inner.COMBINATIONS}
SKIP = {
    "no_skip": Skip.NO_SKIP,
    "next": Skip.TO_NEXT,
    "past_last": Skip.PAST_LAST_EVENT,
    "first": Skip.TO_FIRST,
    "last": Skip.TO_LAST,
}


class Result(NamedTuple):
    """What one stream gives, in no particular order."""

    matches: Sequence[Match]
    timeouts: Sequence[Match]


@dataclass(frozen=True, slots=True)
class Case:
    """One pattern over its streams. Either `results` by key, or the reason for which the pattern was `rejected`."""

    id: str
    pattern: Pattern
    document: Json
    streams: dict[str, tuple[Event, ...]]
    results: dict[str, Result]
    rejected: str | None


def read_cases(path: Path) -> Iterator[Case]:
    """The cases of a file, in its order."""
    with gzip.open(path, "rt") if path.suffix == ".gz" else path.open() as lines:
        for line in lines:
            yield read_case(json.loads(line))


def read_case(document: Json) -> Case:
    """One case."""
    pattern = read_pattern(document["pattern"], name=f"case_{document['id']}")
    order = step_names(document["pattern"]["stages"])
    return Case(
        id=document["id"],
        pattern=pattern,
        document=document["pattern"],
        streams={key: tuple(map(read_event, events)) for key, events in document["streams"].items()},
        results={key: read_result(result, order) for key, result in document.get("results", {}).items()},
        rejected=document.get("rejected"),
    )


def step_names(stages: list[Json]) -> list[str]:
    """All names in order, groups opened."""
    return [name for stage in stages for name in (step_names(stage["group"]) if "group" in stage else [stage["name"]])]


def read_event(event: Json) -> Event:
    """An event with its two fields."""
    return Event(event["id"], event["ts"] * US_PER_MS, {"kind": event["kind"], "v": event["v"]})


def read_result(result: Json, order: list[str]) -> Result:
    """Matches and timeouts of one stream."""
    return Result(
        tuple(read_match(found, order) for found in result["matches"]),
        tuple(read_match(found, order) for found in result["timeouts"]),
    )


def read_match(found: dict[str, list[int]], order: list[str]) -> Match:
    """A match, its steps in the order of the pattern."""
    return tuple((name, tuple(found[name])) for name in order if found.get(name))


def read_pattern(document: Json, name: str) -> Pattern:
    """A pattern in our syntax. Beyond the format of the file: `emit`, `timeouts: false`, two `streams`, no `where`."""
    skip = document.get("skip", {})
    return Pattern(
        name=name,
        steps=tuple(read_item(stage) for stage in document["stages"]),
        streams=STREAMS[: document.get("streams", 1)],
        key=("key",),
        within_us=document.get("within_ms", 0) * US_PER_MS,
        skip=SKIP[skip.get("to", "no_skip")],
        skip_to=skip.get("stage", ""),
        emit=Emit(document.get("emit", Emit.ORDERED)),
        timeouts=document.get("timeouts", True),
    )


def read_item(stage: Json) -> Step | Group:
    """A step or a group."""
    if "group" in stage:
        return Group(
            steps=tuple(read_item(inside) for inside in stage["group"]),
            contiguity=CONTIGUITY[stage["contiguity"]],
            times=Times(*stage.get("times", (1, 1))),
            inner=INNER[stage.get("combinations")],
            greedy=stage.get("greedy", False),
            optional=stage.get("optional", False),
            until=read_condition(stage["until"]) if "until" in stage else None,
            gap_us=stage.get("gap_ms", 0) * US_PER_MS,
            any_of=stage.get("any_of", 0),
        )
    return Step(
        name=stage["name"],
        contiguity=CONTIGUITY[stage["contiguity"]],
        where=joined("or", [stage["where"], *stage.get("or", [])]) if "where" in stage else None,
        times=Times(*stage.get("times", (1, 1))),
        inner=INNER[stage.get("combinations")],
        greedy=stage.get("greedy", False),
        optional=stage.get("optional", False),
        until=read_condition(stage["until"]) if "until" in stage else None,
        gap_us=stage.get("gap_ms", 0) * US_PER_MS,
        stream=stage.get("stream", STREAMS[0]),
    )


def read_condition(condition: Json) -> Expression:
    """A condition as an expression."""
    match condition:
        case {"kind": kind}:
            return Binary("=", Field("kind", STRING), Constant(kind, STRING), BOOL)
        case {"true": _}:
            return Constant(True, BOOL)
        case {"cmp": [left, op, right]}:
            return Binary({"==": "="}.get(op, op), read_operand(left), read_operand(right), BOOL)
        case {"not": inside}:
            return Unary("not", read_condition(inside), BOOL)
        case {"all": parts}:
            return joined("and", parts)
        case {"any": parts}:
            return joined("or", parts)
    raise ValueError(f"no condition: {condition}")


def joined(op: str, parts: list[Json]) -> Expression:
    """Conditions joined by `and` or `or`."""
    return reduce(lambda left, right: Binary(op, left, right, BOOL), map(read_condition, parts))


def read_operand(operand: Any) -> Expression:
    """A number, a field, an aggregate over what was taken, or a sum."""
    match operand:
        case int():
            return Constant(operand, INT64)
        case float():
            return Constant(operand, FLOAT64)
        case {"agg": aggregate, "stage": stage}:
            return read_history(aggregate, stage, operand.get("field"))
        case {"field": name}:
            return Field(name, FIELDS[name])
        case {"add": [left, right]}:
            a, b = read_operand(left), read_operand(right)
            return Binary("+", a, b, FLOAT64 if FLOAT64 in (a.type, b.type) else INT64)
    raise ValueError(f"no operand: {operand}")


def read_history(aggregate: Aggregate, stage: str, field: str | None) -> History:
    """An aggregate; only the average is not whole."""
    of = FIELDS[field] if field else None
    return History(aggregate, stage, field, FLOAT64 if aggregate == "avg" else INT64, of)
