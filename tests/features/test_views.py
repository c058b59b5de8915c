"""A view's features are what the words of its definition say, however events come, and whenever they are read."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from features.definition import View, read_view
from features.packed import Known, Shape, Status
from tests.features.reference import Row, features_at
from tests.features.samples import SECOND, STREAMS, Fed, events, views

CARD = {
    "view": "v",
    "entity": ["card"],
    "features": [{"name": "n", "aggregate": "count", "window": {"sliding": "10s"}}],
}


def entity_of(view: View, row: Row) -> tuple[Any, ...]:
    return tuple(row[field.name] for field in view.entity)


def expected(view: View, rows: list[Row]) -> list[list[Any]]:
    """Of each event, by the reference."""
    told: list[list[Any]] = []
    for place, row in enumerate(rows):
        entity = entity_of(view, row)
        before = [one for one in rows[: place + view.includes_current] if entity_of(view, one) == entity]
        told.append([None] * len(view.features) if None in entity else features_at(view, before, row["at"]))
    return told


def payment(at: int, **given: Any) -> Row:
    return {
        "card": "a",
        "shop": 1,
        "at": at * SECOND,
        "amount": None,
        "share": None,
        "country": None,
        "online": True,
    } | given


@settings(max_examples=300, deadline=None)
@given(view=views(), rows=events())
def test_each_event_has_the_features_of_its_instant(view: View, rows: list[Row]) -> None:
    assert Fed(view).feed(rows) == expected(view, rows)


@settings(deadline=None)
@given(view=views(), rows=events(), cut=st.integers(0, 40), again=st.integers(0, 40))
def test_a_split_into_batches_changes_nothing(view: View, rows: list[Row], cut: int, again: int) -> None:
    fed = Fed(view)
    first, second = sorted((cut, again))
    told = [*fed.feed(rows[:first]), *fed.feed(rows[first:second]), *fed.feed(rows[second:])]
    assert told == Fed(view).feed(rows)


@settings(max_examples=300, deadline=None)
@given(view=views(), rows=events(), later=st.integers(0, 40 * SECOND))
def test_what_was_packed_is_right_when_it_is_read(view: View, rows: list[Row], later: int) -> None:
    fed = Fed(view)
    fed.feed(rows)
    changed = list(fed.live.changed(fed.strings.text))
    now_us = rows[-1]["at"] + later if rows else 0
    told = Shape(view).read([one.packed for one in changed], now_us)
    for one, known in zip(changed, told, strict=True):
        mine = [row for row in rows if entity_of(view, row) == one.entity]
        assert [each.value for each in known] == features_at(view, mine, now_us), one.entity
    assert list(fed.live.changed(fed.strings.text)) == []


def test_a_read_says_what_it_found() -> None:
    view = read_view(CARD | {"ttl": "20s"}, STREAMS)
    fed = Fed(view)
    fed.feed([payment(100)])
    (one,) = fed.live.changed(fed.strings.text)
    shape, at_us = Shape(view), 100 * SECOND
    assert shape.read([one.packed, None], at_us) == [
        (Known(1, Status.PRESENT, at_us),),
        (Known(None, Status.NOT_FOUND, 0),),
    ]
    assert shape.read([one.packed], at_us + 15 * SECOND) == [(Known(0, Status.PRESENT, at_us),)]
    assert shape.read([one.packed], at_us + 21 * SECOND) == [(Known(0, Status.OUTSIDE_MAX_AGE, at_us),)]
    other = read_view(CARD | {"view": "w"}, STREAMS)
    assert Shape(other).read([one.packed], at_us) == [(Known(None, Status.NOT_FOUND, 0),)]


def test_many_events_of_many_entities() -> None:
    view = read_view(
        {
            "view": "v",
            "entity": ["shop"],
            "features": [
                {"name": "n", "aggregate": "count", "window": {"sliding": "900s"}},
                {"name": "most", "aggregate": "max(amount)", "window": {"sliding": "300s"}},
                {"name": "kinds", "aggregate": "distinct(amount)", "window": {"tumbling": "500s"}},
            ],
        },
        STREAMS,
    )
    rows = [
        payment(number // 7, shop=number * number % 613 if number % 3 else 5, amount=Decimal(number * 7919 % 101))
        for number in range(6000)
    ]
    told = Fed(view).feed(rows)
    by_shop: dict[Any, list[Row]] = {}
    for row, found in zip(rows, told, strict=True):
        mine = by_shop.setdefault(row["shop"], [])
        mine.append(row)
        assert found == features_at(view, mine[-2200:], row["at"])


def test_an_entity_past_its_limit_lets_the_oldest_go_and_counts_it() -> None:
    view = read_view(CARD, STREAMS)
    fed = Fed(view, events_max=8)
    told = fed.feed([payment(1) for _ in range(11)])
    assert [row[0] for row in told] == [1, 2, 3, 4, 5, 6, 7, 8, 8, 8, 8]
    assert fed.live.dropped == 3


def test_beyond_the_last_place_an_entity_has_no_features_until_one_is_past_its_ttl() -> None:
    view = read_view(CARD | {"entity": ["shop"]}, STREAMS)
    fed = Fed(view, entities_max=2)
    assert fed.feed([payment(1, shop=1), payment(2, shop=2), payment(3, shop=3)]) == [[1], [1], [None]]
    assert (fed.live.refused, len(fed.live)) == (1, 2)
    assert fed.feed([payment(4, shop=1)]) == [[2]]
    assert fed.feed([payment(30, shop=3), payment(31, shop=4), payment(31, shop=5)]) == [[1], [1], [None]]
    assert (fed.live.refused, len(fed.live)) == (2, 2)


def test_who_is_past_the_ttl_makes_room() -> None:
    view = read_view(CARD | {"entity": ["shop"]}, STREAMS)
    fed = Fed(view)
    for start in range(40):
        fed.feed([payment(start * 20, shop=start * 1000 + number) for number in range(1000)])
    assert len(fed.live) <= 4096
    assert fed.live.refused == 0


def test_a_sum_that_leaves_int64_is_null_and_comes_back() -> None:
    view = read_view(
        {
            "view": "v",
            "entity": ["card"],
            "features": [{"name": "s", "aggregate": "sum(shop)", "window": {"sliding": "5s"}}],
        },
        STREAMS,
    )
    most = 2**63 - 1
    told = Fed(view).feed([payment(1, shop=most), payment(2, shop=1), payment(3, shop=-5), payment(7, shop=2)])
    assert told == [[most], [None], [most - 4], [-3]]
