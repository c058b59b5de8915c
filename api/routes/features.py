"""Features: read as of now from the online store, in Feast's form or for a person.

POST /get-online-features            {"features": ["card_velocity:spend_24h"], "entities": {"card_id": ["c-1"]}}
GET  /v1/features/{view}/{entity}    one entity; several fields with commas between them
GET  /v1/feature-views               what there is
"""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import Annotated, Any

import msgspec
from fastapi import APIRouter, Response
from pydantic import BaseModel, Field

from api.deps import Reader, ServicesNow
from api.forms import instant, instant_text, json_answer
from api.problems import Refusal, declared
from api.services import Services
from events.duration import duration_text
from events.errors import ServiceUnavailable
from events.schema import Field as StreamField
from events.types import Kind
from features.definition import View
from features.packed import Known, Status
from features.store import Entity

ENTITIES_MAX = 1000
"""In one request."""

FEATURES_MAX = 512
"""Asked for in one request."""

INT64 = range(-(2**63), 2**63)

router = APIRouter(tags=["features"])

Text = Annotated[str, Field(min_length=1, max_length=255)]
EntityValue = Annotated[str, Field(max_length=1024)] | int


class Asked(BaseModel):
    """Which features of which entities, as Feast's clients ask."""

    features: list[Text] = Field(min_length=1, max_length=FEATURES_MAX, description="each `view:feature`")
    entities: dict[Text, Annotated[list[EntityValue], Field(max_length=ENTITIES_MAX)]] = Field(
        min_length=1, description="of each field of the entity, its value for each row"
    )
    full_feature_names: bool = Field(default=False, description="answer with view__feature instead of feature")

    model_config = {"extra": "forbid"}


class Metadata(BaseModel):
    """What the results are of, in their order."""

    feature_names: list[str]


class Column(BaseModel):
    """One name's values, a row for each entity."""

    values: list[Any]
    statuses: list[Status]
    event_timestamps: list[datetime]


class Online(BaseModel):
    """Features, column by column."""

    metadata: Metadata
    results: list[Column]


class FeatureNow(BaseModel):
    """One feature as of now."""

    value: Any
    status: Status


class EntityNow(BaseModel):
    """All features of a view, as of now."""

    view: str
    entity: dict[str, Any]
    at: datetime = Field(description="as of when it was read")
    seen_at: datetime | None = Field(description="when the entity had its last event; null where it has none")
    features: dict[str, FeatureNow]


class FeatureLine(BaseModel):
    """A feature of a view."""

    name: str
    aggregate: str
    window: str
    type: str


class ViewLine(BaseModel):
    """A declared view."""

    view: str
    stream: str
    entity: list[str]
    ttl: str
    owner: str
    description: str
    features: list[FeatureLine]


class ViewPage(BaseModel):
    """The declared views."""

    items: list[ViewLine]


@router.get("/v1/feature-views")
def list_feature_views(services: ServicesNow, actor: Reader) -> ViewPage:
    """The feature views that the lanes fill."""
    return ViewPage(items=[_line(view) for view in services.declared.views])


@router.get("/v1/features/{view}/{entity}", responses=declared(404, 422, 503))
def read_entity(view: Text, entity: Text, services: ServicesNow, actor: Reader) -> EntityNow:
    """One entity's features, right as of now: a count over ten minutes falls although no event comes."""
    found = _view(services, view)
    given = entity.split(",") if len(found.entity) > 1 else [entity]
    if len(given) != len(found.entity):
        names = ",".join(one.name for one in found.entity)
        raise Refusal(422, "invalid_request", f"entity: found {len(given)} values, and {view} is of {names}", "")
    values = tuple(_value(field, one) for field, one in zip(found.entity, given, strict=True))
    now_us = services.clock.wall_us()
    (known,) = _read(services, found, [values], now_us)
    seen_us = max(one.at_us for one in known)
    return EntityNow(
        view=view,
        entity=dict(zip((one.name for one in found.entity), values, strict=True)),
        at=instant(now_us),
        seen_at=instant(seen_us) if seen_us else None,
        features={
            feature.name: FeatureNow(value=_plain(one), status=one.status)
            for feature, one in zip(found.features, known, strict=True)
        },
    )


@router.post("/get-online-features", response_model=Online, responses=declared(400, 404, 413, 415, 422, 503))
def get_online_features(asked: Asked, services: ServicesNow, actor: Reader) -> Response:
    """Features of many entities at once, in Feast's form: a column for each name, a status for each value."""
    rows = {len(values) for values in asked.entities.values()}
    if len(rows) > 1:
        raise Refusal(422, "invalid_request", f"entities: lists of {sorted(rows)} values", "one value a row in each")
    now_us, count = services.clock.wall_us(), rows.pop()
    wanted: dict[str, list[tuple[int, str]]] = {}
    for place, asked_for in enumerate(asked.features):
        of, _, feature = asked_for.partition(":")
        wanted.setdefault(of, []).append((place, feature))
    columns: list[Any] = [None] * len(asked.features)
    for name, features in wanted.items():
        view = _view(services, name)
        places = {feature.name: place for place, feature in enumerate(view.features)}
        known = _read(services, view, _entities(view, asked, count), now_us)
        for place, feature in features:
            if feature not in places:
                raise Refusal(
                    404, "not_found", f"the view {name} has no feature {feature!r}", f"it has {', '.join(places)}"
                )
            columns[place] = _column([row[places[feature]] for row in known])
    never = [instant_text(0)] * count
    keys = [
        {"values": values, "statuses": [Status.PRESENT] * count, "event_timestamps": never}
        for values in asked.entities.values()
    ]
    shown = [one.replace(":", "__") if asked.full_feature_names else one.partition(":")[2] for one in asked.features]
    told = {"metadata": {"feature_names": [*asked.entities, *shown]}, "results": [*keys, *columns]}
    return json_answer(msgspec.json.encode(told))


def _column(rows: list[Known]) -> dict[str, Any]:
    return {
        "values": [_plain(one) for one in rows],
        "statuses": [one.status for one in rows],
        "event_timestamps": [instant_text(one.at_us) for one in rows],
    }


def _view(services: Services, name: str) -> View:
    for view in services.declared.views:
        if view.name == name:
            return view
    names = ", ".join(view.name for view in services.declared.views)
    raise Refusal(
        404, "not_found", f"there is no feature view {name!r}", f"there are: {names}" if names else "none is declared"
    )


def _entities(view: View, asked: Asked, count: int) -> list[Entity]:
    missing = [field.name for field in view.entity if field.name not in asked.entities]
    if missing:
        hint = f"the view {view.name} is of {', '.join(field.name for field in view.entity)}"
        raise Refusal(422, "invalid_request", f"entities: {', '.join(missing)} is missing", hint)
    columns = [[_value(field, one) for one in asked.entities[field.name]] for field in view.entity]
    return [tuple(column[row] for column in columns) for row in range(count)]


def _value(field: StreamField, given: str | int) -> str | int:
    """An entity's value as the store has it."""
    if field.type.kind is Kind.STRING:
        return str(given)
    try:
        whole = int(given)
    except ValueError:
        whole = INT64.stop
    if field.type.kind is not Kind.INT64 or whole not in INT64:
        raise Refusal(422, "invalid_request", f"{field.name}: {str(given)[:60]!r} is no {field.type}", "")
    return whole


def _read(services: Services, view: View, entities: list[Entity], now_us: int) -> list[tuple[Known, ...]]:
    if services.store is None:
        hint = "name Redis: address.redis, or STAKEOUT_REDIS, for the workers and here"
        raise ServiceUnavailable("no online store is configured", hint)
    return services.shapes[view.name].read(services.store.read(view.name, entities), now_us)


def _plain(one: Known) -> Any:
    return float(one.value) if isinstance(one.value, Decimal) else one.value


def _line(view: View) -> ViewLine:
    return ViewLine(
        view=view.name,
        stream=view.stream,
        entity=[one.name for one in view.entity],
        ttl=duration_text(view.ttl_us),
        owner=view.owner,
        description=view.description,
        features=[
            FeatureLine(
                name=one.name,
                aggregate=one.aggregate.name.lower() + (f"({one.argument.name})" if one.argument else ""),
                window=str(one.window),
                type=str(one.type),
            )
            for one in view.features
        ],
    )
