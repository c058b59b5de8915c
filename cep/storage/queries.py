"""Every query on the tables, by name; the same text for Postgres and SQLite.

Each takes a connection whose transaction is the caller's.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

from sqlalchemy import Connection, RowMapping, Select, Table, delete, false, func, literal, or_, select, tuple_, update
from sqlalchemy.dialects import postgresql, sqlite

from cep.alert import Alert, KeyValue
from cep.storage.intake import Progress, Rejected
from cep.storage.rows import AT_US_MAX, AT_US_MIN, alert_of, key_text
from cep.storage.tables import Row, alerts, case_snoozes, case_state, sink_progress, sink_rejected
from events.errors import Fenced, InvalidDocument, Problem

PAGE_MAX = 1000
"""Alerts on one page."""

CURSOR = re.compile(r"-?[0-9]{1,18}\.[0-9a-f]{32}")

# --- Alerts -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Filters:
    """What is asked for; None asks for nothing. `status` "open" includes alerts that nobody has touched.

    since_us, until_us: instants of the alert, the first included, the second not
    awake_us:           leaves out what is snoozed at this instant
    """

    pattern: str | None = None
    severities: Sequence[str] | None = None
    kind: str | None = None
    key: Mapping[str, KeyValue] | None = None
    lane: int | None = None
    suppressed: bool | None = None
    since_us: int | None = None
    until_us: int | None = None
    status: str | None = None
    assignee: str | None = None
    awake_us: int | None = None


class Listed(NamedTuple):
    """An alert and what people made of it. `revision` 0: nobody has touched it."""

    alert: Alert
    status: str = "open"
    assignee: str | None = None
    outcome: str | None = None
    revision: int = 0
    snoozed_until_us: int | None = None


class Page(NamedTuple):
    """Alerts, newest first; `next_cursor` None: there are no more."""

    items: list[Listed]
    next_cursor: str | None


def insert_alerts(connection: Connection, rows: Sequence[Row]) -> None:
    """Writes rows (`rows.row_of`); those whose id is there already are left as they are."""
    if rows:
        connection.execute(insert_or_leave(connection, alerts), list(rows))


def read_alerts(
    connection: Connection, filters: Filters | None = None, *, limit: int = 100, cursor: str | None = None
) -> Page:
    """A page, newest first; `cursor` is the `next_cursor` of the page before.

    Raises InvalidDocument for a cursor that isn't one.
    """
    limit = max(1, min(limit, PAGE_MAX))
    query = _filtered(_listing(), filters or Filters()).order_by(alerts.c.at.desc(), alerts.c.alert_id.desc())
    if cursor is not None:
        at_us, alert_id = _place(cursor)
        place = tuple_(literal(at_us, alerts.c.at.type), literal(alert_id))
        query = query.where(tuple_(alerts.c.at, alerts.c.alert_id) < place)
    found = [_listed(row) for row in connection.execute(query.limit(limit + 1)).mappings()]
    if len(found) <= limit:
        return Page(found, None)
    last = found[limit - 1].alert
    return Page(found[:limit], f"{last.at_us}.{last.alert_id}")


def read_alerts_after(connection: Connection, places: Mapping[int, int], *, limit: int = 100) -> list[Alert]:
    """Alerts behind these places (lane → sequence), in order of lane and sequence: for whoever follows them. A lane
    that isn't named is read from its beginning."""
    columns = alerts.c
    behind = [(columns.lane == lane) & (columns.sequence > sequence) for lane, sequence in places.items()]
    query = select(*columns).where(or_(*behind, columns.lane.not_in(list(places))))
    query = query.order_by(columns.lane, columns.sequence).limit(limit)
    return [alert_of(dict(row)) for row in connection.execute(query).mappings()]


def newest_sequences(connection: Connection) -> dict[int, int]:
    """The sequence of each lane's last alert."""
    query = select(alerts.c.lane, func.max(alerts.c.sequence)).group_by(alerts.c.lane)
    return {row[0]: row[1] for row in connection.execute(query)}


def read_alert(connection: Connection, alert_id: str) -> Listed | None:
    """One alert by its id."""
    row = connection.execute(_listing().where(alerts.c.alert_id == _plain(alert_id))).mappings().first()
    return None if row is None else _listed(row)


def count_alerts(connection: Connection, filters: Filters | None = None) -> int:
    """How many there are."""
    inner = _filtered(_listing(), filters or Filters()).with_only_columns(alerts.c.alert_id).subquery()
    return int(connection.execute(select(func.count()).select_from(inner)).scalar_one())


def read_arrived(
    connection: Connection, places: Mapping[int, int], filters: Filters | None = None, *, limit: int = 100
) -> list[Listed]:
    """Of the alerts behind these places (lane → sequence), up to `limit` that pass the filters, in order of lane and
    sequence."""
    behind = [(alerts.c.lane == lane) & (alerts.c.sequence > sequence) for lane, sequence in places.items()]
    query = _filtered(_listing(), filters or Filters()).where(or_(false(), *behind))
    query = query.order_by(alerts.c.lane, alerts.c.sequence).limit(limit)
    return [_listed(row) for row in connection.execute(query).mappings()]


def count_by_day(connection: Connection, since_us: int, pattern: str | None = None) -> dict[str, dict[str, int]]:
    """Pattern → day (UTC, YYYY-MM-DD) → alerts of it, from an instant on."""
    at: Any = alerts.c.at if connection.dialect.name == "sqlite" else func.timezone("UTC", alerts.c.at)
    day = func.date(at)
    query = select(alerts.c.pattern, day, func.count()).where(alerts.c.at >= _within(since_us))
    if pattern is not None:
        query = query.where(alerts.c.pattern == _plain(pattern))
    found: dict[str, dict[str, int]] = {}
    for name, on, count in connection.execute(query.group_by(alerts.c.pattern, day)):
        found.setdefault(name, {})[str(on)] = count
    return found


def _listing() -> Select[Any]:
    snoozed = (case_snoozes.c.pattern == alerts.c.pattern) & (case_snoozes.c.key_text == alerts.c.key_text)
    joined = alerts.outerjoin(case_state, case_state.c.alert_id == alerts.c.alert_id).outerjoin(case_snoozes, snoozed)
    state = (case_state.c.status, case_state.c.assignee, case_state.c.outcome, case_state.c.revision)
    return select(*alerts.c, *state, case_snoozes.c.until.label("snoozed_until")).select_from(joined)


def _filtered(query: Select[Any], filters: Filters) -> Select[Any]:
    columns = alerts.c
    equal = {
        columns.pattern: filters.pattern,
        columns.kind: filters.kind,
        columns.key_text: None if filters.key is None else key_text(filters.key),
        columns.lane: filters.lane,
        columns.suppressed: filters.suppressed,
        func.coalesce(case_state.c.status, "open"): filters.status,
        case_state.c.assignee: filters.assignee,
    }
    query = query.where(*(column == _plain(value) for column, value in equal.items() if value is not None))
    if filters.severities is not None:
        query = query.where(columns.severity.in_(map(_plain, filters.severities)))
    if filters.since_us is not None:
        query = query.where(columns.at >= _within(filters.since_us))
    if filters.until_us is not None:
        query = query.where(columns.at < _within(filters.until_us))
    if filters.awake_us is not None:
        query = query.where(or_(case_snoozes.c.until.is_(None), case_snoozes.c.until <= _within(filters.awake_us)))
    return query


def _plain(value: Any) -> Any:
    """What may be compared: no column holds U+0000, and Postgres refuses to be asked for it."""
    return value.replace("\x00", "\ufffd") if isinstance(value, str) else value


def _within(at_us: int) -> int:
    return max(AT_US_MIN, min(at_us, AT_US_MAX))


def _place(cursor: str) -> tuple[int, str]:
    at_us, _, alert_id = cursor.partition(".")
    if not CURSOR.fullmatch(cursor) or not AT_US_MIN <= int(at_us) <= AT_US_MAX:
        problem = Problem("cursor", f"expected the next_cursor of a page, found {cursor[:64]!r}")
        raise InvalidDocument("alerts", [problem])
    return int(at_us), alert_id


def _listed(row: RowMapping) -> Listed:
    return Listed(
        alert_of(dict(row)),
        row["status"] or "open",
        row["assignee"],
        row["outcome"],
        row["revision"] or 0,
        row["snoozed_until"],
    )


# --- The sink's own ---------------------------------------------------------------------------------------------------


def add_progress(connection: Connection, lines: Iterable[Progress]) -> None:
    """Lines of topics and partitions that have none yet; the others stay."""
    if rows := [asdict(line) for line in lines]:
        connection.execute(insert_or_leave(connection, sink_progress), rows)


def read_progress(connection: Connection, topic: str) -> dict[int, Progress]:
    """By partition."""
    query = select(sink_progress).where(sink_progress.c.topic == topic).order_by(sink_progress.c.partition)
    return {row["partition"]: Progress(**row) for row in connection.execute(query).mappings()}


def move_progress(connection: Connection, before: Progress, after: Progress) -> None:
    """Writes the line if it still stands where it was read. Raises Fenced if another sink has moved it."""
    columns = sink_progress.c
    still = (columns.next_offset == before.next_offset) & (columns.halted == before.halted)
    here = (columns.topic == before.topic) & (columns.partition == before.partition)
    if connection.execute(update(sink_progress).where(here & still).values(**asdict(after))).rowcount != 1:
        raise Fenced(f"{before.topic}/{before.partition}: another sink is at work")


def resume_lane(connection: Connection, topic: str, partition: int) -> bool:
    """A person has looked: the halted lane goes on with whatever comes next. False if there is no such halted lane."""
    here = (sink_progress.c.topic == topic) & (sink_progress.c.partition == partition)
    query = update(sink_progress).where(here, sink_progress.c.halted != "")
    return connection.execute(query.values(halted="", next_sequence=None, epoch=0, identity="")).rowcount == 1


def forget_progress(connection: Connection, topic: str) -> None:
    """The sink reads the topic from its beginning when it starts again; rows that are there stay."""
    connection.execute(delete(sink_progress).where(sink_progress.c.topic == topic))


def insert_rejected(connection: Connection, rejected: Sequence[Rejected], at_us: int) -> None:
    """Keeps what could not be a row, with its coordinates."""
    if rejected:
        rows = [
            {**each._asdict(), "reason": each.reason.replace("\x00", "\ufffd"), "rejected_at": at_us}
            for each in rejected
        ]
        connection.execute(insert_or_leave(connection, sink_rejected), rows)


def read_rejected(connection: Connection, topic: str, limit: int = 100) -> list[Rejected]:
    """The newest of them."""
    query = select(sink_rejected).where(sink_rejected.c.topic == topic)
    query = query.order_by(sink_rejected.c.rejected_at.desc(), sink_rejected.c.offset.desc()).limit(limit)
    return [
        Rejected(row["topic"], row["partition"], row["offset"], row["reason"], row["value"])
        for row in connection.execute(query).mappings()
    ]


def insert_or_leave(connection: Connection, table: Table) -> Any:
    """INSERT … ON CONFLICT DO NOTHING, in the connection's dialect."""
    if connection.dialect.name == "postgresql":
        return postgresql.insert(table).on_conflict_do_nothing()
    return sqlite.insert(table).on_conflict_do_nothing()
