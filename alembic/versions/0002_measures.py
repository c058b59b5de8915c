"""The measures that an alert carries; those written before carry none."""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy.types import UserDefinedType

from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


class Json(UserDefinedType[str]):
    """`json` in both dialects."""

    cache_ok = True

    def get_col_spec(self, **_: object) -> str:
        return "JSON"


def upgrade() -> None:
    op.add_column("alerts", sa.Column("measures", Json, nullable=False, server_default="{}"))


def downgrade() -> None:
    op.drop_column("alerts", "measures")
