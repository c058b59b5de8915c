"""Alerts are found by what is asked for, and case work is recorded, the same on both databases."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from sqlalchemy import Connection

from cep.alert import Alert, KeyValue
from cep.storage.cases import Action, Case, act, after, read_actions
from cep.storage.database import open_database
from cep.storage.migrate import downgrade, upgrade
from cep.storage.queries import Filters, count_alerts, insert_alerts, read_alert, read_alerts
from cep.storage.rows import row_of
from events.errors import InvalidDocument

LONG: dict[str, KeyValue] = {"card": "".join(chr(0x4E00 + number * 37 % 20_000) for number in range(3000))}
AT_US = 1_700_000_000_000_000


def alert(number: int, **other: Any) -> Alert:
    known: dict[str, Any] = {
        "alert_id": f"{number:032x}",
        "pattern": f"p{number % 2}",
        "version": 1,
        "kind": "match" if number % 3 else "timeout",
        "severity": ("low", "high")[number % 2],
        "message": "m\x00" if number == 0 else "m",
        "key": {"card": f"c{number % 4}"},
        "at_us": AT_US + number // 2,  # pairs share an instant
        "started_at_us": -1,
        "events": [],
        "lane": number % 3,
        "suppressed": number == 5,
        "sequence": number,
    }
    return Alert(**{**known, **other})


ALERTS = [alert(number) for number in range(12)]


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def connection(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Connection]:
    name = "postgres_url" if request.param == "postgres" else ""
    url = str(request.getfixturevalue(name)) if name else f"sqlite:///{tmp_path / 'tables.db'}"
    downgrade(url, "base")  # the session's other tests may have left theirs
    upgrade(url)
    engine = open_database(url)
    with engine.begin() as found:
        insert_alerts(found, [row_of(each) for each in ALERTS])
        yield found
    engine.dispose()
    downgrade(url, "base")


def ids(connection: Connection, filters: Filters) -> list[int]:
    found = [listed.alert.sequence for listed in read_alerts(connection, filters).items]
    assert count_alerts(connection, filters) == len(found)
    return found


def test_pages_hold_each_alert_once_newest_first(connection: Connection) -> None:
    """Also where a page ends between two alerts of one instant."""
    found: list[int] = []
    cursor = None
    while True:
        page = read_alerts(connection, limit=5, cursor=cursor)
        found += [listed.alert.sequence for listed in page.items]
        if (cursor := page.next_cursor) is None:
            break
    assert found == list(range(11, -1, -1))
    for odd in ("tomorrow", "1.x", f"{10**18 - 1}.{0:032x}"):
        with pytest.raises(InvalidDocument, match="cursor"):
            read_alerts(connection, cursor=odd)


@pytest.mark.parametrize(
    ("filters", "test"),
    [
        (Filters(pattern="p1"), lambda each: each.pattern == "p1"),
        (Filters(severities=["low"]), lambda each: each.severity == "low"),
        (Filters(kind="timeout"), lambda each: each.kind == "timeout"),
        (Filters(key={"card": "c2"}), lambda each: each.key["card"] == "c2"),
        (Filters(lane=1, suppressed=False), lambda each: each.lane == 1 and not each.suppressed),
        (Filters(since_us=AT_US + 2, until_us=AT_US + 4), lambda each: AT_US + 2 <= each.at_us < AT_US + 4),
        (Filters(severities=[]), lambda each: False),
        (Filters(pattern="p1\x00", severities=["\x00"]), lambda each: False),
        (Filters(since_us=-(2**70), until_us=2**70), lambda each: True),
    ],
)
def test_a_filter_finds_what_a_loop_finds(connection: Connection, filters: Filters, test: Any) -> None:
    assert ids(connection, filters) == [each.sequence for each in reversed(ALERTS) if test(each)]


def test_a_row_that_is_there_stays_as_it_is(connection: Connection) -> None:
    insert_alerts(connection, [row_of(alert(1, message="another")), row_of(alert(99, key=LONG))])
    first, new = read_alert(connection, f"{1:032x}"), read_alert(connection, f"{99:032x}")
    assert first is not None
    assert new is not None
    assert first.alert == ALERTS[1]
    assert new.alert.key == LONG
    assert ids(connection, Filters(key=LONG)) == [99]
    assert read_alert(connection, "none") is None


def test_the_null_character_is_replaced(connection: Connection) -> None:
    """Postgres has no place for it in a text."""
    found = read_alert(connection, f"{0:032x}")
    assert found is not None
    assert found.alert == msgspec.structs.replace(ALERTS[0], message="m\ufffd")


def test_a_case_is_what_was_done_with_it(connection: Connection) -> None:
    """The alert stays as it is; the audit has every action in order."""
    name = ALERTS[3].alert_id
    claimed = act(connection, Action(name, "claim", "ana", AT_US, note="mine"))
    assert claimed == Case("claimed", "ana", None, 1)
    assert act(connection, Action(name, "resolve", "ana", AT_US, outcome="fraud"), revision=0) is None
    resolved = act(connection, Action(name, "resolve", "ana", AT_US + 1, outcome="fraud"), revision=1)
    assert resolved == Case("resolved", "ana", "fraud", 2)
    found = read_alert(connection, name)
    assert found is not None
    assert found.alert == ALERTS[3]
    assert found[1:] == ("resolved", "ana", "fraud", 2, None)
    assert [(done.action, done.note, done.detail) for done in read_actions(connection, name)] == [
        ("claim", "mine", {}),
        ("resolve", "", {"outcome": "fraud"}),
    ]
    assert ids(connection, Filters(assignee="ana")) == [3]
    assert 3 not in ids(connection, Filters(status="open"))
    assert act(connection, Action("none", "claim", "ana", AT_US)) is None


def test_a_snooze_covers_the_pattern_and_key_until_its_end(connection: Connection) -> None:
    """Other keys and other patterns are awake; the alerts are still there."""
    act(connection, Action(ALERTS[2].alert_id, "snooze", "ana", AT_US, until_us=AT_US + 60))
    act(connection, Action(ALERTS[6].alert_id, "snooze", "ana", AT_US, until_us=AT_US + 90))
    snoozed = {2, 6, 10}
    assert set(ids(connection, Filters(awake_us=AT_US + 89))) == set(range(12)) - snoozed
    assert len(ids(connection, Filters(awake_us=AT_US + 90))) == 12
    assert {found.alert.sequence for found in read_alerts(connection).items if found.snoozed_until_us} == snoozed


@pytest.mark.parametrize(
    "action",
    [
        Action("a", "resolve", "ana", 0),
        Action("a", "claim", "ana", 0, outcome="fraud"),
        Action("a", "snooze", "ana", 0),
        Action("a", "claim", "", 0),
    ],
)
def test_an_action_that_lacks_something_is_refused(action: Action) -> None:
    with pytest.raises(InvalidDocument):
        after(Case(), action)
