"""What alembic runs around the migrations. cep/storage/migrate.py hands in a connection with its transaction."""

from __future__ import annotations

from alembic import context
from cep.storage.tables import metadata

connection = context.config.attributes.get("connection")
assert connection is not None, "run the migrations by `stakeout db upgrade`"
context.configure(connection=connection, target_metadata=metadata, render_as_batch=connection.dialect.name == "sqlite")
with context.begin_transaction():
    context.run_migrations()
