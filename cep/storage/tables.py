"""The tables, once for Postgres and SQLite. A migration under alembic/ makes each; a test compares.

    alerts  ◀── sink ── alerts topic         projection: rebuilt at will, never updated
    sink_progress, sink_rejected             how far, and what could not be a row
    patterns ◀── control log                 projection of the registry
    case_actions ──▶ case_state, case_snoozes   truth: what people did with alerts; back it up
    labels                                   truth: what became known of events
    idempotency_keys                         answers to requests that may be sent again

Instants are integers of microseconds on this side and real timestamps on the other. JSON is kept verbatim, as evidence:
Postgres's `json`, not `jsonb`, which alters numbers and refuses U+0000.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    ColumnElement,
    DateTime,
    Dialect,
    Float,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    cast,
    false,
)
from sqlalchemy.types import TypeDecorator, UserDefinedType

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)

NAME_CHARS = 255
"""Longest name of a pattern, topic or person in a table."""

KEY_CHARS = 256
"""Longest text key: an index of Postgres refuses entries beyond 2,704 bytes. See rows.key_text."""

Row = dict[str, Any]
"""Values by column."""


class Instant(TypeDecorator[int]):
    """Microseconds since 1970 here; a timestamp (UTC, with microseconds) there."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: int | None, dialect: Dialect) -> datetime | None:
        """See TypeDecorator. Raises OverflowError beyond the years 1 to 9999."""
        if value is None:
            return None
        at = EPOCH + timedelta(microseconds=value)
        return at if dialect.name == "postgresql" else at.replace(tzinfo=None)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> int | None:
        """See TypeDecorator."""
        if value is None:
            return None
        return ((value if value.tzinfo else value.replace(tzinfo=UTC)) - EPOCH) // MICROSECOND


class JsonText(UserDefinedType[str]):
    """A JSON text, as it was written, in and out. The database checks that it is JSON (Postgres)."""

    cache_ok = True

    def get_col_spec(self, **_: object) -> str:
        """See UserDefinedType."""
        return "JSON"

    def column_expression(self, colexpr: ColumnElement[Any]) -> ColumnElement[Any]:
        """See UserDefinedType: without it the driver would parse what is read."""
        return cast(colexpr, Text)


metadata = MetaData(
    naming_convention={"ix": "ix_%(table_name)s_%(column_0_N_name)s", "pk": "pk_%(table_name)s"},
)

serial = BigInteger().with_variant(Integer, "sqlite")  # SQLite counts up only an INTEGER

alerts = Table(
    "alerts",
    metadata,
    Column("alert_id", String(32), primary_key=True),
    Column("pattern", String(NAME_CHARS), nullable=False),
    Column("version", Integer, nullable=False),
    Column("kind", String(16), nullable=False),
    Column("severity", String(32), nullable=False),
    Column("key", JsonText, nullable=False),
    Column("key_text", String(KEY_CHARS), nullable=False),
    Column("message", Text, nullable=False),
    Column("at", Instant, nullable=False),
    Column("started_at", Instant, nullable=False),
    Column("processed_at", Instant, nullable=False),
    Column("events", JsonText, nullable=False),
    Column("measures", JsonText, nullable=False, server_default="{}"),
    Column("suppressed", Boolean, nullable=False),
    Column("degraded", Boolean, nullable=False, server_default=false()),
    Column("lane", Integer, nullable=False),
    Column("epoch", BigInteger, nullable=False),
    Column("sequence", BigInteger, nullable=False),
    Index(None, "at", "alert_id"),
    Index(None, "pattern", "at", "alert_id"),
    Index(None, "key_text", "at", "alert_id"),
    Index(None, "lane", "sequence"),
)

# identity: of the topic, so that one made anew is noticed; empty before the first look.
# next_sequence: null takes whichever comes. halted: why the lane's projection stands still; empty while it doesn't.
sink_progress = Table(
    "sink_progress",
    metadata,
    Column("topic", String(NAME_CHARS), primary_key=True),
    Column("partition", Integer, primary_key=True, autoincrement=False),
    Column("identity", String(64), nullable=False),
    Column("next_offset", BigInteger, nullable=False),
    Column("next_sequence", BigInteger),
    Column("epoch", BigInteger, nullable=False),
    Column("halted", Text, nullable=False),
)

sink_rejected = Table(
    "sink_rejected",
    metadata,
    Column("topic", String(NAME_CHARS), primary_key=True),
    Column("partition", Integer, primary_key=True, autoincrement=False),
    Column("offset", BigInteger, primary_key=True, autoincrement=False),
    Column("reason", Text, nullable=False),
    Column("value", LargeBinary),
    Column("rejected_at", Instant, nullable=False),
)

# state: registered, live, shadow, canary, retired. control_offset: behind the last control record that touched the row.
patterns = Table(
    "patterns",
    metadata,
    Column("name", String(NAME_CHARS), primary_key=True),
    Column("version", Integer, primary_key=True, autoincrement=False),
    Column("document", JsonText, nullable=False),
    Column("state", String(16), nullable=False),
    Column("share", Float, nullable=False),
    Column("paused", Boolean, nullable=False),
    Column("author", String(NAME_CHARS), nullable=False),
    Column("registered_at", Instant, nullable=False),
    Column("changed_at", Instant, nullable=False),
    Column("control_offset", BigInteger, nullable=False),
    Index(None, "state"),
)

# What was done, in order; only added to. action: claim, release, resolve, escalate, snooze, note.
case_actions = Table(
    "case_actions",
    metadata,
    Column("action_id", serial, primary_key=True),
    Column("alert_id", String(32), nullable=False),
    Column("action", String(16), nullable=False),
    Column("actor", String(NAME_CHARS), nullable=False),
    Column("at", Instant, nullable=False),
    Column("note", Text, nullable=False),
    Column("detail", JsonText, nullable=False),
    Index(None, "alert_id", "action_id"),
)

# Where a case stands after its last action. An alert without a row is open and nobody's. revision: for If-Match.
case_state = Table(
    "case_state",
    metadata,
    Column("alert_id", String(32), primary_key=True),
    Column("status", String(16), nullable=False),
    Column("assignee", String(NAME_CHARS)),
    Column("outcome", String(32)),
    Column("revision", Integer, nullable=False),
    Column("changed_at", Instant, nullable=False),
    Index(None, "status", "assignee"),
)

# Alerts of this pattern and key are read as snoozed until then.
case_snoozes = Table(
    "case_snoozes",
    metadata,
    Column("pattern", String(NAME_CHARS), primary_key=True),
    Column("key_text", String(KEY_CHARS), primary_key=True),
    Column("until", Instant, nullable=False),
    Column("actor", String(NAME_CHARS), nullable=False),
    Column("at", Instant, nullable=False),
)

# What is known of an event afterwards; only added to, the newest of an event counts. at: when it became known.
labels = Table(
    "labels",
    metadata,
    Column("label_id", serial, primary_key=True),
    Column("stream", String(NAME_CHARS), nullable=False),
    Column("event_id", String(NAME_CHARS), nullable=False),
    Column("label", String(32), nullable=False),
    Column("at", Instant, nullable=False),
    Column("received_at", Instant, nullable=False),
    Column("actor", String(NAME_CHARS), nullable=False),
    Column("note", Text, nullable=False),
    Index(None, "stream", "event_id"),
)

# Answers, kept for a while, for requests that are sent again. status: null while the first is being answered.
idempotency_keys = Table(
    "idempotency_keys",
    metadata,
    Column("digest", String(64), primary_key=True),
    Column("request", String(64), nullable=False),
    Column("at", Instant, nullable=False),
    Column("status", Integer),
    Column("headers", Text, nullable=False),
    Column("body", LargeBinary),
    Index(None, "at"),
)
