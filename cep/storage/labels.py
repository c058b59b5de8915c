"""Labels: what events turned out to be, as people and other systems say."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

from sqlalchemy import Connection, select

from cep.storage.queries import insert_or_leave
from cep.storage.tables import labels

Kind = Literal["chargeback", "confirmed_fraud", "confirmed_good", "refund"]


class Label(NamedTuple):
    """at_us: since when it is so. actor, told_at_us: who said it, and when."""

    stream: str
    event_id: str
    label: Kind
    at_us: int
    actor: str
    told_at_us: int


def insert_labels(connection: Connection, told: Sequence[Label]) -> int:
    """Writes labels; one that was said before stays as it is. Answers how many are new."""
    rows = [
        {
            "stream": one.stream,
            "event_id": one.event_id,
            "label": one.label,
            "at": one.at_us,
            "actor": one.actor,
            "told_at": one.told_at_us,
        }
        for one in told
    ]
    return sum(connection.execute(insert_or_leave(connection, labels), [row]).rowcount for row in rows)


def read_labels(connection: Connection, stream: str, event_id: str) -> list[Label]:
    """Those of an event, the first told first."""
    query = select(labels).where(labels.c.stream == stream, labels.c.event_id == event_id).order_by(labels.c.told_at)
    return [
        Label(row["stream"], row["event_id"], row["label"], row["at"], row["actor"], row["told_at"])
        for row in connection.execute(query).mappings()
    ]
