"""The first tables: alerts, the sink's progress and rejected records, patterns, cases."""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy.types import UserDefinedType

from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

INSTANT = sa.DateTime(timezone=True)
SERIAL = sa.BigInteger().with_variant(sa.Integer, "sqlite")


class Json(UserDefinedType[str]):
    """`json` in both dialects."""

    cache_ok = True

    def get_col_spec(self, **_: object) -> str:
        return "JSON"


def upgrade() -> None:
    op.create_table(
        "alerts",
        sa.Column("alert_id", sa.String(32), nullable=False),
        sa.Column("pattern", sa.String(255), nullable=False),
        sa.Column("version", sa.Integer, nullable=False),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("severity", sa.String(32), nullable=False),
        sa.Column("key", Json, nullable=False),
        sa.Column("key_text", sa.String(256), nullable=False),
        sa.Column("message", sa.Text, nullable=False),
        sa.Column("at", INSTANT, nullable=False),
        sa.Column("started_at", INSTANT, nullable=False),
        sa.Column("processed_at", INSTANT, nullable=False),
        sa.Column("events", Json, nullable=False),
        sa.Column("suppressed", sa.Boolean, nullable=False),
        sa.Column("lane", sa.Integer, nullable=False),
        sa.Column("epoch", sa.BigInteger, nullable=False),
        sa.Column("sequence", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("alert_id", name="pk_alerts"),
    )
    op.create_index("ix_alerts_at_alert_id", "alerts", ["at", "alert_id"])
    op.create_index("ix_alerts_pattern_at_alert_id", "alerts", ["pattern", "at", "alert_id"])
    op.create_index("ix_alerts_key_text_at_alert_id", "alerts", ["key_text", "at", "alert_id"])
    op.create_index("ix_alerts_lane_sequence", "alerts", ["lane", "sequence"])
    op.create_table(
        "sink_progress",
        sa.Column("topic", sa.String(255), nullable=False),
        sa.Column("partition", sa.Integer, nullable=False),
        sa.Column("identity", sa.String(64), nullable=False),
        sa.Column("next_offset", sa.BigInteger, nullable=False),
        sa.Column("next_sequence", sa.BigInteger),
        sa.Column("epoch", sa.BigInteger, nullable=False),
        sa.Column("halted", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("topic", "partition", name="pk_sink_progress"),
    )
    op.create_table(
        "sink_rejected",
        sa.Column("topic", sa.String(255), nullable=False),
        sa.Column("partition", sa.Integer, nullable=False),
        sa.Column("offset", sa.BigInteger, nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("value", sa.LargeBinary),
        sa.Column("rejected_at", INSTANT, nullable=False),
        sa.PrimaryKeyConstraint("topic", "partition", "offset", name="pk_sink_rejected"),
    )
    op.create_table(
        "patterns",
        sa.Column("name", sa.String(255), nullable=False),
        sa.Column("version", sa.Integer, nullable=False),
        sa.Column("document", Json, nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("share", sa.Float, nullable=False),
        sa.Column("paused", sa.Boolean, nullable=False),
        sa.Column("author", sa.String(255), nullable=False),
        sa.Column("registered_at", INSTANT, nullable=False),
        sa.Column("changed_at", INSTANT, nullable=False),
        sa.Column("control_offset", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("name", "version", name="pk_patterns"),
    )
    op.create_index("ix_patterns_state", "patterns", ["state"])
    op.create_table(
        "case_actions",
        sa.Column("action_id", SERIAL, nullable=False),
        sa.Column("alert_id", sa.String(32), nullable=False),
        sa.Column("action", sa.String(16), nullable=False),
        sa.Column("actor", sa.String(255), nullable=False),
        sa.Column("at", INSTANT, nullable=False),
        sa.Column("note", sa.Text, nullable=False),
        sa.Column("detail", Json, nullable=False),
        sa.PrimaryKeyConstraint("action_id", name="pk_case_actions"),
    )
    op.create_index("ix_case_actions_alert_id_action_id", "case_actions", ["alert_id", "action_id"])
    op.create_table(
        "case_state",
        sa.Column("alert_id", sa.String(32), nullable=False),
        sa.Column("status", sa.String(16), nullable=False),
        sa.Column("assignee", sa.String(255)),
        sa.Column("outcome", sa.String(32)),
        sa.Column("revision", sa.Integer, nullable=False),
        sa.Column("changed_at", INSTANT, nullable=False),
        sa.PrimaryKeyConstraint("alert_id", name="pk_case_state"),
    )
    op.create_index("ix_case_state_status_assignee", "case_state", ["status", "assignee"])
    op.create_table(
        "case_snoozes",
        sa.Column("pattern", sa.String(255), nullable=False),
        sa.Column("key_text", sa.String(256), nullable=False),
        sa.Column("until", INSTANT, nullable=False),
        sa.Column("actor", sa.String(255), nullable=False),
        sa.Column("at", INSTANT, nullable=False),
        sa.PrimaryKeyConstraint("pattern", "key_text", name="pk_case_snoozes"),
    )


def downgrade() -> None:
    for name in (
        "case_snoozes",
        "case_state",
        "case_actions",
        "patterns",
        "sink_rejected",
        "sink_progress",
        "alerts",
    ):
        op.drop_table(name)
