"""The migrations, as `stakeout db upgrade | downgrade | current` runs them. Their steps are in alembic/versions/.

Everything is one transaction, on SQLite too; on Postgres a second upgrade at the same time waits for the first.
"""

from __future__ import annotations

from collections.abc import Callable

from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from sqlalchemy import text

from alembic import command
from cep.shipped import shipped
from cep.storage.database import open_database, reached
from events.errors import InvalidDocument, Problem, ServiceUnavailable

FOLDER = shipped("alembic")

LOCK = 0x57414B45
"""Of Postgres's advisory locks: whoever migrates."""


def upgrade(url: str, revision: str = "head") -> None:
    """Brings the tables to a revision. Raises ServiceUnavailable, InvalidDocument if there is no such revision."""
    _migrate(url, revision, command.upgrade)


def downgrade(url: str, revision: str) -> None:
    """Takes them back to a revision; "base": to none, with all that is in them. Raises as `upgrade`."""
    _migrate(url, revision, command.downgrade)


def current(url: str) -> str | None:
    """The revision that the tables have; None if there are none. Raises ServiceUnavailable."""
    engine = open_database(url)
    try:
        with reached(engine), engine.connect() as connection:
            return MigrationContext.configure(connection).get_current_revision()
    finally:
        engine.dispose()


def head() -> str | None:
    """The newest revision that this release has."""
    return ScriptDirectory.from_config(_config()).get_current_head()


def _migrate(url: str, revision: str, run: Callable[[Config, str], None]) -> None:
    config = _config()
    engine = open_database(url)
    try:
        with reached(engine), engine.begin() as connection:
            if connection.dialect.name == "postgresql":
                connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": LOCK})
            config.attributes["connection"] = connection
            run(config, revision)
    except CommandError as error:
        raise InvalidDocument("migration", [Problem(revision, str(error), f"the newest is {head()}")]) from error
    finally:
        engine.dispose()


def _config() -> Config:
    if not FOLDER.is_dir():
        raise ServiceUnavailable(
            f"the migrations aren't at {FOLDER}", "install the wheel anew, or run from the source tree"
        )
    config = Config()
    config.set_main_option("script_location", str(FOLDER).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    return config
