"""View: what is to be known about an entity at each instant, read from a YAML document.

    view: card_velocity
    stream: transactions            # default: the only one that is declared
    entity: [card_id]
    ttl: 30d                        # how long a value may be told that no event refreshed; default: the longest window
    includes_current: true          # does an event count in the features that it is given? (the default)
    features:
      - {name: tx_count_10m, aggregate: count, window: {sliding: 10m}}
      - {name: spend_24h, aggregate: sum(amount), window: {sliding: 24h}}
      - {name: merchants_1h, aggregate: distinct(merchant_id), window: {sliding: 1h}}
      - {name: session_spend, aggregate: sum(amount), window: {session: 15m}}
      - {name: web_day, aggregate: count, window: {tumbling: 1d}, where: "channel = 'web'"}
      - {name: older_week, aggregate: avg(amount), window: {sliding: 7d, delay: 7d}}
    owner: fraud-team
    description: how fast a card spends

Needed are `view`, `entity` and `features`. An event's features are its columns `view.feature`. At the instant t

    sliding: s     holds the events after t - s, up to t         with `delay: d`, everything is as it was at t - d
    tumbling: s    holds those since the last multiple of s (from 1970, UTC), up to t
    session: g     holds those of the run that has no gap above g, while its last is no more than g ago

count and distinct of nothing are 0; sum, avg, min and max of nothing are null. Events whose field is null don't
count, nor do those that don't satisfy `where`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum

from events.duration import duration_text
from events.errors import InvalidDocument
from events.expression import Expression, attempt, render
from events.schema import NAME, Field, Sensitivity, Stream, _did_you_mean, _parse, _Reader, _shown
from events.types import FLOAT64, INT64, Kind, Type

FEATURES_MAX = 62
"""Of one view: an event that is kept has one bit for each."""


class Aggregate(IntEnum):
    """What is made of the events of a window."""

    COUNT = 0
    SUM = 1
    AVG = 2
    MIN = 3
    MAX = 4
    DISTINCT = 5


class Shape(IntEnum):
    """How a window moves."""

    SLIDING = 0
    TUMBLING = 1
    SESSION = 2


@dataclass(frozen=True, slots=True)
class Window:
    """size_us: of a session the largest gap.   delay_us: how old its newest event is at least"""

    shape: Shape
    size_us: int
    delay_us: int = 0

    def __str__(self) -> str:
        delay = f", delay: {duration_text(self.delay_us)}" if self.delay_us else ""
        return f"{{{self.shape.name.lower()}: {duration_text(self.size_us)}{delay}}}"


@dataclass(frozen=True, slots=True)
class Feature:
    """One number. argument: the field it is made of, None for count.   type: of the result"""

    name: str
    aggregate: Aggregate
    argument: Field | None
    window: Window
    where: Expression | None
    type: Type

    def __str__(self) -> str:
        of = f"({self.argument.name})" if self.argument else ""
        where = f", where: {render(self.where)}" if self.where else ""
        return f"{self.name}: {self.aggregate.name.lower()}{of}, window: {self.window}{where}"


@dataclass(frozen=True, slots=True)
class View:
    """A feature view as declared (the keys of the document are explained in the module docstring)."""

    name: str
    stream: str
    entity: tuple[Field, ...]
    features: tuple[Feature, ...]
    ttl_us: int
    includes_current: bool = True
    owner: str = ""
    description: str = ""

    @property
    def columns(self) -> tuple[Field, ...]:
        """What it adds to the events of its stream."""
        return tuple(Field(f"{self.name}.{one.name}", one.type, nullable=True) for one in self.features)

    @property
    def definition(self) -> str:
        """All that its numbers depend on, a line each: equal text, equal numbers."""
        lines = [
            f"view: {self.name}",
            f"stream: {self.stream}",
            f"entity: {', '.join(one.name for one in self.entity)}",
            f"includes_current: {str(self.includes_current).lower()}",
            *map(str, self.features),
        ]
        return "\n".join(lines)


def read_view(document: str | Mapping[str, object], streams: Mapping[str, Stream], where: str = "view") -> View:
    """The view that a document declares, YAML text or what was parsed from it.

    where: what to call the document in messages, as `views/card_velocity.yaml`

    Raises InvalidDocument with every problem, each at its path in the document.
    """
    reader = _Reader()
    parsed = _parse(document, reader) if isinstance(document, str) else document
    view = _view(parsed, streams, reader) if not reader.problems else None
    if view is None or reader.problems:
        raise InvalidDocument(where, reader.problems)
    return view


KEYS = ("view", "stream", "entity", "ttl", "includes_current", "features", "owner", "description")
FEATURE_KEYS = ("name", "aggregate", "window", "where")
AGGREGATE = re.compile(r"\s*([a-z]+)\s*(?:\(\s*([A-Za-z_][A-Za-z0-9_]*)?\s*\))?\s*", re.ASCII)


def _view(document: object, streams: Mapping[str, Stream], reader: _Reader) -> View | None:
    """The view, or None where it has problems (then the reader holds them all)."""
    doc = reader.mapping(document, "", KEYS)
    if not isinstance(document, Mapping):
        return None
    for needed in ("view", "entity", "features"):
        if needed not in doc:
            reader.problem(needed, "is missing")
    name = reader.name(doc["view"], "view", NAME, "a name") if "view" in doc else ""
    stream = _stream(doc, streams, reader)
    if stream is None:
        return None
    fields = {field.name: field for field in stream.fields}
    features = _features(doc["features"], fields, reader) if "features" in doc else ()
    longest = max((one.window.size_us + one.window.delay_us for one in features), default=0)
    ttl_us = reader.duration(doc.get("ttl"), "ttl", longest)
    if ttl_us < longest:
        reader.problem("ttl", f"{duration_text(ttl_us)} is less than the longest window, {duration_text(longest)}")
    texts = {key: doc.get(key, "") for key in ("owner", "description")}
    for key, text in texts.items():
        if not isinstance(text, str):
            reader.problem(key, f"must be text, found {_shown(text)}")
    return View(
        name=name,
        stream=stream.name,
        entity=_entity(doc["entity"], fields, reader) if "entity" in doc else (),
        features=features,
        ttl_us=ttl_us,
        includes_current="includes_current" not in doc or reader.flag(doc["includes_current"], "includes_current"),
        owner=str(texts["owner"]),
        description=str(texts["description"]),
    )


def _stream(doc: Mapping[str, object], streams: Mapping[str, Stream], reader: _Reader) -> Stream | None:
    given = doc.get("stream")
    if given is None and len(streams) == 1:
        return next(iter(streams.values()))
    if isinstance(given, str) and given in streams:
        return streams[given]
    reader.problem(
        "stream", f"no stream {given!r} is declared" if given else "is missing", _did_you_mean(given, [*streams])
    )
    return None


def _entity(value: object, fields: Mapping[str, Field], reader: _Reader) -> tuple[Field, ...]:
    if not isinstance(value, list) or not value:
        reader.problem("entity", f"must be a list of fields, found {_shown(value)}", "write it as `entity: [card_id]`")
        return ()
    entity: list[Field] = []
    for place, given in enumerate(value):
        name = reader.of_field(given, f"entity[{place}]", fields)
        if name and fields[name] in entity:
            reader.problem(f"entity[{place}]", f"{name} is there twice")
        elif name and fields[name].type.kind is Kind.FLOAT64:
            reader.problem(f"entity[{place}]", f"{name} is a float64: equal entities could differ")
        elif name:
            entity.append(fields[name])
    return tuple(entity)


def _features(value: object, fields: Mapping[str, Field], reader: _Reader) -> tuple[Feature, ...]:
    if not isinstance(value, list) or not value:
        reader.problem("features", f"must be a list, found {_shown(value)}")
        return ()
    if len(value) > FEATURES_MAX:
        reader.problem("features", f"{len(value)} features: at most {FEATURES_MAX}", "make two views of them")
        return ()
    found: dict[str, Feature] = {}
    for place, given in enumerate(value):
        feature = _feature(given, f"features[{place}]", fields, reader)
        if feature and feature.name in found:
            reader.problem(f"features[{place}].name", f"{feature.name} is there twice")
        elif feature:
            found[feature.name] = feature
    return tuple(found.values())


def _feature(value: object, where: str, fields: Mapping[str, Field], reader: _Reader) -> Feature | None:
    doc = reader.mapping(value, where, FEATURE_KEYS)
    if not isinstance(value, Mapping):
        return None
    before = len(reader.problems)
    for needed in ("name", "aggregate", "window"):
        if needed not in doc:
            reader.problem(f"{where}.{needed}", "is missing")
    name = reader.name(doc["name"], f"{where}.name", NAME, "a name") if "name" in doc else ""
    aggregate, argument = (
        _aggregate(doc["aggregate"], f"{where}.aggregate", fields, reader)
        if "aggregate" in doc
        else (
            Aggregate.COUNT,
            None,
        )
    )
    window = _window(doc["window"], f"{where}.window", reader) if "window" in doc else Window(Shape.SLIDING, 1)
    condition = _where(doc["where"], f"{where}.where", fields, reader) if "where" in doc else None
    if len(reader.problems) > before:
        return None
    return Feature(name, aggregate, argument, window, condition, _type(aggregate, argument))


def _aggregate(
    value: object, where: str, fields: Mapping[str, Field], reader: _Reader
) -> tuple[Aggregate, Field | None]:
    """What `sum(amount)` says; count and a problem where it says nothing."""
    match = AGGREGATE.fullmatch(value) if isinstance(value, str) else None
    names = [one.name.lower() for one in Aggregate]
    if match is None or match[1] not in names:
        reader.problem(
            where,
            f"must be one of {', '.join(names)}, as `sum(amount)`, found {_shown(value)}",
            _did_you_mean(match[1] if match else None, names),
        )
        return Aggregate.COUNT, None
    aggregate = Aggregate[match[1].upper()]
    if aggregate is Aggregate.COUNT and match[2] is None:
        return aggregate, None
    if match[2] is None:
        reader.problem(where, f"{match[1]} of which field?", f"write it as `{match[1]}(amount)`")
        return aggregate, None
    name = reader.of_field(match[2], where, fields)
    if not name:
        return aggregate, None
    kind = fields[name].type
    if aggregate in (Aggregate.SUM, Aggregate.AVG) and not kind.is_number:
        reader.problem(where, f"{match[1]} needs numbers, and {name} is {kind}")
    if aggregate in (Aggregate.MIN, Aggregate.MAX) and not (kind.is_number or kind.kind is Kind.INSTANT):
        reader.problem(where, f"{match[1]} needs numbers or instants, and {name} is {kind}")
    if fields[name].sensitivity is Sensitivity.SECRET and aggregate not in (Aggregate.COUNT, Aggregate.DISTINCT):
        reader.problem(where, f"{name} is secret: {match[1]} would show it", "count it, or count its distinct values")
    if aggregate is Aggregate.DISTINCT and kind.kind is Kind.FLOAT64:
        reader.problem(where, f"{name} is a float64: equal values could differ")
    return aggregate, fields[name]


def _window(value: object, where: str, reader: _Reader) -> Window:
    shapes = [one.name.lower() for one in Shape]
    doc = reader.mapping(value, where, (*shapes, "delay"))
    given = [one for one in shapes if one in doc]
    if len(given) != 1:
        if isinstance(value, Mapping):
            reader.problem(where, f"must have one of {', '.join(shapes)}", "write it as `window: {sliding: 10m}`")
        return Window(Shape.SLIDING, 1)
    size_us = reader.duration(doc[given[0]], f"{where}.{given[0]}", 1)
    if size_us < 1:
        reader.problem(f"{where}.{given[0]}", "must be more than nothing")
    if given[0] == "session" and "delay" in doc:
        reader.problem(f"{where}.delay", "has no meaning with a session", "remove it")
    return Window(Shape[given[0].upper()], size_us, reader.duration(doc.get("delay"), f"{where}.delay", 0))


def _where(value: object, where: str, fields: Mapping[str, Field], reader: _Reader) -> Expression | None:
    if not isinstance(value, str):
        reader.problem(where, f"must be a condition, found {_shown(value)}", "put it in quotes")
        return None
    condition, problems = attempt(value, {name: one.type for name, one in fields.items()}, {}, where=where)
    reader.problems.extend(problems)
    return condition


def _type(aggregate: Aggregate, argument: Field | None) -> Type:
    if argument is None or aggregate in (Aggregate.COUNT, Aggregate.DISTINCT):
        return INT64
    if aggregate is Aggregate.AVG:
        return FLOAT64
    kind = argument.type
    return Type(Kind.DECIMAL, 18, kind.scale) if aggregate is Aggregate.SUM and kind.kind is Kind.DECIMAL else kind
