"""`stakeout features`: check, read."""

from __future__ import annotations

import argparse
import time
from decimal import Decimal
from pathlib import Path

from cep.cli.configured import declared_of, say, say_json, settings_of, streams_of
from cep.cli.documents import files_in, text_of
from events.errors import InvalidDocument, Problem, ServiceUnavailable
from events.types import Kind
from features.definition import View, read_view
from features.packed import Shape
from features.store import Entity


def check(options: argparse.Namespace) -> int:
    """Reads views and tells what they are, or every problem of the first that has any."""
    paths = [Path(name) for name in options.views]
    streams = streams_of(options, settings_of(options), paths)
    for file in (file for path in paths for file in files_in(path, "view")):
        view = read_view(text_of(file, "view"), streams, str(file))
        if options.json:
            features = [{"name": one.name, "type": str(one.type)} for one in view.features]
            say_json({"file": str(file), "view": view.name, "stream": view.stream, "features": features})
            continue
        entity = ", ".join(field.name for field in view.entity)
        say(f"ok  {file}  {view.name}: {len(view.features)} features of {entity} on {view.stream}")
    return 0


def read(options: argparse.Namespace) -> int:
    """One entity's features as of now, from Redis."""
    settings = settings_of(options)
    known = declared_of(options, settings)
    view = next((one for one in known.views if one.name == options.view), None)
    if view is None:
        names = ", ".join(one.name for one in known.views) or "none: name files with `views` or STAKEOUT_VIEWS"
        raise InvalidDocument("features", [Problem(options.view, "is no declared view", f"declared: {names}")])
    if not settings.address.redis:
        hint = "name it: STAKEOUT_REDIS; without Redis, ask `stakeout serve`: GET /v1/features/VIEW/ENTITY"
        raise ServiceUnavailable("no Redis is configured", hint)
    from features.redis_store import RedisStore

    store = RedisStore(settings.address.redis, settings.app)
    try:
        states = store.read(view.name, [_entity(view, options.entity)])
    finally:
        store.close()
    (row,) = Shape(view).read(states, time.time_ns() // 1000)
    for feature, one in zip(view.features, row, strict=True):
        value = float(one.value) if isinstance(one.value, Decimal) else one.value
        if options.json:
            say_json({"feature": feature.name, "value": value, "status": one.status})
        else:
            say(f"{feature.name:<32} {'' if one.value is None else one.value!s:<20} {one.status}".rstrip())
    return 0


def _entity(view: View, texts: list[str]) -> Entity:
    """The values of the entity's fields, from words of the command line."""
    if len(texts) != len(view.entity):
        names = " ".join(field.name.upper() for field in view.entity)
        raise InvalidDocument("features", [Problem("entity", f"{len(texts)} values", f"write {view.name} {names}")])
    values: list[str | int] = []
    for field, text in zip(view.entity, texts, strict=True):
        try:
            values.append(text if field.type.kind is Kind.STRING else int(text))
        except ValueError as error:
            raise InvalidDocument("features", [Problem(field.name, f"{text!r} is no {field.type}")]) from error
    return tuple(values)
