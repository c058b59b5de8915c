"""Labels: what became known of an event afterwards. Truth, not a projection: they are in no log."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Literal, NamedTuple

from sqlalchemy import Connection, select

from cep.storage.tables import labels

Known = Literal["fraud", "legitimate", "chargeback", "refund", "unclear"]


@dataclass(frozen=True, slots=True)
class Label:
    """at_us: when it became known, for whoever must not know it sooner; received_at_us: when it came here."""

    stream: str
    event_id: str
    label: Known
    at_us: int
    received_at_us: int
    actor: str
    note: str = ""


class Kept(NamedTuple):
    """A label in the table."""

    label_id: int
    label: Label


class Page(NamedTuple):
    """Labels, newest first; `next_cursor` None: there are no more."""

    items: list[Kept]
    next_cursor: int | None


def insert_labels(connection: Connection, found: Sequence[Label]) -> list[int]:
    """Adds labels; answers their ids in order."""
    rows = []
    for label in found:
        row = asdict(label)
        rows.append({"at": row.pop("at_us"), "received_at": row.pop("received_at_us"), **row})
    added = labels.insert().returning(labels.c.label_id)
    return [int(connection.execute(added.values(row)).scalar_one()) for row in rows]


def read_labels(
    connection: Connection,
    *,
    stream: str | None = None,
    event_id: str | None = None,
    limit: int = 100,
    before: int | None = None,
) -> Page:
    """A page, newest first; `before` is the `next_cursor` of the page before."""
    query = select(labels).order_by(labels.c.label_id.desc()).limit(limit + 1)
    for column, value in ((labels.c.stream, stream), (labels.c.event_id, event_id)):
        if value is not None:
            query = query.where(column == value.replace("\x00", "\ufffd"))
    if before is not None:
        query = query.where(labels.c.label_id < before)
    found = [
        Kept(
            row["label_id"],
            Label(
                row["stream"],
                row["event_id"],
                row["label"],
                row["at"],
                row["received_at"],
                row["actor"],
                row["note"],
            ),
        )
        for row in connection.execute(query).mappings()
    ]
    return Page(found[:limit], found[limit - 1].label_id if len(found) > limit else None)
