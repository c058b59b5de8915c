"""Declared: what the settings' files say there is, put together: streams with the columns that views and models add.

streams ─┐
views   ─┼─▶ Declared.streams, each with `derived`: view.feature …, score
models  ─┘
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from events.errors import InvalidDocument, Problem
from events.schema import Field, Stream
from events.types import Type
from features.definition import View, read_view
from models.document import Model, read_model, score_field


@dataclass(frozen=True, slots=True)
class Declared:
    """streams: by name"""

    streams: Mapping[str, Stream]
    views: tuple[View, ...] = ()
    models: tuple[Model, ...] = ()

    @property
    def features(self) -> dict[str, dict[str, Type]]:
        """Stream → the features that its events have, `view.feature` → type."""
        found: dict[str, dict[str, Type]] = {}
        for view in self.views:
            found.setdefault(view.stream, {}).update((column.name, column.type) for column in view.columns)
        return found


def declared(
    streams: Iterable[Stream], views: Mapping[str, str] | None = None, models: Mapping[str, str] | None = None
) -> Declared:
    """What documents declare. views, models: file → text

    Raises InvalidDocument, also where two views have one name or two models score one stream.
    """
    plain = {stream.name: stream for stream in streams}
    known = Declared(plain, _views(views or {}, plain))
    read = _models(models or {}, known)
    added: dict[str, list[Field]] = {name: [] for name in plain}
    for view in known.views:
        added[view.stream].extend(view.columns)
    for model in read:
        added[model.stream].append(score_field())
    full = {name: replace(stream, derived=tuple(added[name])) for name, stream in plain.items()}
    return Declared(full, known.views, read)


def _views(documents: Mapping[str, str], streams: Mapping[str, Stream]) -> tuple[View, ...]:
    views: dict[str, View] = {}
    for file, text in documents.items():
        view = read_view(text, streams, file)
        if view.name in views:
            raise InvalidDocument(file, [Problem("view", f"{view.name} is declared twice", "give one another name")])
        views[view.name] = view
    return tuple(views.values())


def _models(documents: Mapping[str, str], known: Declared) -> tuple[Model, ...]:
    scored: dict[str, Model] = {}
    for file, text in documents.items():
        model = read_model(text, known.streams, known.features, file)
        if model.stream in scored:
            reason = f"{model.name} scores {model.stream}, as {scored[model.stream].name} does"
            raise InvalidDocument("settings", [Problem("models", reason, "one model a stream")])
        scored[model.stream] = model
    return tuple(scored.values())


def definitions(views: Sequence[View]) -> dict[str, str]:
    """Name → definition, as a model's card keeps them."""
    return {view.name: view.definition for view in views}
