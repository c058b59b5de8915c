"""A view's document: what is read, what its columns are, and what is refused."""

from __future__ import annotations

from typing import Any

import pytest

from events.duration import duration_us
from events.errors import InvalidDocument
from features.definition import FEATURES_MAX, Aggregate, Shape, Window, read_view
from tests.features.samples import STREAM, STREAMS

TEXT = """
view: card_velocity
entity: [card]
ttl: 30d
features:
  - {name: tx_count_10m, aggregate: count, window: {sliding: 10m}}
  - {name: spend_24h, aggregate: sum(amount), window: {sliding: 24h}}
  - {name: avg_30d, aggregate: avg(amount), window: {sliding: 7d, delay: 7d}}
  - {name: session, aggregate: max(share), window: {session: 15m}}
  - {name: shops_day, aggregate: distinct( shop ), window: {tumbling: 1d}, where: "online"}
owner: fraud-team
"""


def test_what_a_document_declares() -> None:
    view = read_view(TEXT, STREAMS)
    assert (view.name, view.stream, view.owner, view.includes_current) == (
        "card_velocity",
        STREAM.name,
        "fraud-team",
        True,
    )
    assert view.ttl_us == duration_us("30d")
    assert [(column.name, str(column.type)) for column in view.columns] == [
        ("card_velocity.tx_count_10m", "int64"),
        ("card_velocity.spend_24h", "decimal(18, 2)"),
        ("card_velocity.avg_30d", "float64"),
        ("card_velocity.session", "float64"),
        ("card_velocity.shops_day", "int64"),
    ]
    assert view.features[2].window == Window(Shape.SLIDING, duration_us("7d"), duration_us("7d"))
    assert view.features[4].aggregate is Aggregate.DISTINCT


def test_the_definition_says_all_that_numbers_depend_on_and_nothing_else() -> None:
    view = read_view(TEXT, STREAMS)
    assert view.definition.splitlines()[4:6] == [
        "tx_count_10m: count, window: {sliding: 10m}",
        "spend_24h: sum(amount), window: {sliding: 1d}",
    ]
    assert read_view(TEXT.replace("fraud-team", "mara"), STREAMS).definition == view.definition
    for before, after in (("10m", "11m"), ("sum(", "min("), ('"online"', '"not online"'), ("delay: 7d", "delay: 6d")):
        assert read_view(TEXT.replace(before, after), STREAMS).definition != view.definition


def test_without_a_ttl_it_is_the_longest_window() -> None:
    assert read_view(TEXT.replace("ttl: 30d", ""), STREAMS).ttl_us == duration_us("14d")


def feature(**changed: Any) -> dict[str, Any]:
    one = {"name": "n", "aggregate": "count", "window": {"sliding": "10m"}} | changed
    return {"view": "v", "entity": ["card"], "features": [one]}


@pytest.mark.parametrize(
    ("document", "where", "said"),
    [
        (feature(aggregate="summ(amount)"), "features[0].aggregate", "did you mean 'sum'"),
        (feature(aggregate="sum"), "features[0].aggregate", "sum of which field"),
        (feature(aggregate="sum(amout)"), "features[0].aggregate", "did you mean 'amount'"),
        (feature(aggregate="avg(country)"), "features[0].aggregate", "country is string"),
        (feature(aggregate="max(country)"), "features[0].aggregate", "country is string"),
        (feature(aggregate="distinct(share)"), "features[0].aggregate", "float64"),
        (feature(aggregate="min(pin)"), "features[0].aggregate", "pin is secret"),
        (feature(aggregate=7), "features[0].aggregate", "found 7"),
        (feature(window={"sliding": "10"}), "features[0].window.sliding", "not a duration"),
        (feature(window={"sliding": "0s"}), "features[0].window.sliding", "more than nothing"),
        (feature(window={}), "features[0].window", "must have one of"),
        (feature(window={"sliding": "1m", "session": "1m"}), "features[0].window", "must have one of"),
        (feature(window="10m"), "features[0].window", "must be a mapping"),
        (feature(window={"session": "1m", "delay": "1m"}), "features[0].window.delay", "no meaning with a session"),
        (feature(window={"sliding": "1m", "slide": "1s"}), "features[0].window.slide", "unknown key"),
        (feature(where="amount >"), "features[0].where:8", "ends after"),
        (feature(where="amout > 1"), "features[0].where:1", "no field 'amout'"),
        (feature(where=True), "features[0].where", "must be a condition"),
        (feature(name="a b"), "features[0].name", "must be a name"),
        (feature() | {"ttl": "1m"}, "ttl", "less than the longest window, 10m"),
        (feature() | {"stream": "paymints"}, "stream", "no stream 'paymints'"),
        (feature() | {"entity": []}, "entity", "must be a list"),
        (feature() | {"entity": ["card", "card"]}, "entity[1]", "twice"),
        (feature() | {"entity": ["share"]}, "entity[0]", "float64"),
        (feature() | {"entity": ["crad"]}, "entity[0]", "did you mean 'card'"),
        (feature() | {"features": []}, "features", "must be a list"),
        (feature() | {"features": feature()["features"] * 2}, "features[1].name", "twice"),
        (feature() | {"features": feature()["features"] * (FEATURES_MAX + 1)}, "features", "at most 62"),
        (feature() | {"owner": 7}, "owner", "must be text"),
        (feature() | {"includes_current": "no"}, "includes_current", "true or false"),
        ({"view": "v"}, "entity", "is missing"),
        ("[", "line 1", "not YAML"),
        ("7", "document", "must be a mapping"),
    ],
)
def test_what_is_refused(document: Any, where: str, said: str) -> None:
    with pytest.raises(InvalidDocument) as caught:
        read_view(document, STREAMS, "views/v.yaml")
    problems = [one for one in caught.value.problems if one.where.startswith(where)]
    assert any(said in str(one) for one in problems), caught.value


def test_of_several_streams_it_must_name_one() -> None:
    with pytest.raises(InvalidDocument, match="stream: is missing"):
        read_view(feature(), {"a": STREAM, "b": STREAM})
