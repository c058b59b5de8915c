"""A database by its URL: the engine, its settings, and its errors as ours."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event, make_url
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from cep.settings import Settings
from events.errors import ServiceUnavailable

CONNECT_SECONDS = 5
BUSY_SECONDS = 5
"""How long SQLite waits for another writer of the same file."""

REFUSALS = ("22", "23", "54")
"""Classes of SQLSTATE that say that a value, not the service, is the trouble: data, constraint, program limit."""

MISSING = ("42P01", "42703")
"""SQLSTATE: there is no such table, column."""


def database_url(settings: Settings) -> str:
    """Where the tables are: Postgres if it is named, else the embedded log's own file.

    >>> database_url(Settings())
    'sqlite:///.stakeout/log.db'
    """
    return settings.address.postgres or f"sqlite:///{settings.embedded.path}"


def open_database(url: str, *, connections: int = 5) -> Engine:
    """An engine; nothing is connected yet. Dispose of it. Raises ServiceUnavailable for a URL that can't be read."""
    try:
        parsed = make_url(url)
    except SQLAlchemyError as error:
        raise ServiceUnavailable(f"database: {error}", "postgresql://user@host:port/name, or sqlite:///path") from error
    if parsed.drivername in ("postgres", "postgresql"):
        parsed = parsed.set(drivername="postgresql+psycopg")
    if parsed.get_backend_name() == "sqlite":
        return _sqlite_engine(str(parsed), parsed.database)
    known = {"connect_timeout": CONNECT_SECONDS, "application_name": "stakeout"}
    return create_engine(parsed, pool_size=connections, connect_args=known)


def _sqlite_engine(url: str, path: str | None) -> Engine:
    if path and path != ":memory:":
        Path(path).parent.mkdir(parents=True, exist_ok=True)
    engine = create_engine(url, connect_args={"timeout": BUSY_SECONDS})

    @event.listens_for(engine, "connect")
    def prepare(connection: Any, _: object) -> None:
        connection.isolation_level = None  # the driver would leave DDL and savepoints outside of transactions
        connection.execute("PRAGMA journal_mode = WAL")

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        writes = connection.get_execution_options().get("writes", False)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")

    return engine


@contextmanager
def writing(engine: Engine) -> Iterator[Connection]:
    """A transaction that reads before it writes, committed at the end.

    SQLite gives it the file at once: one that had only read until then would be refused where another wrote meanwhile.
    Raises ServiceUnavailable.
    """
    with reached(engine), engine.execution_options(writes=True).begin() as connection:
        yield connection


@contextmanager
def reading(engine: Engine) -> Iterator[Connection]:
    """A transaction that only reads. Raises ServiceUnavailable."""
    with reached(engine), engine.begin() as connection:
        yield connection


def is_refusal(error: DBAPIError) -> bool:
    """Does the database refuse a value, so that trying again won't help?"""
    state = getattr(error.orig, "sqlstate", None)
    if state is not None:
        return str(state).startswith(REFUSALS)
    return getattr(error.orig, "sqlite_errorname", "").startswith(("SQLITE_CONSTRAINT", "SQLITE_TOOBIG"))


@contextmanager
def reached(engine: Engine) -> Iterator[None]:
    """The driver's errors as ServiceUnavailable."""
    try:
        yield
    except SQLAlchemyError as error:
        where = engine.url.render_as_string(hide_password=True)
        orig = getattr(error, "orig", None) or error
        hint = "see that it runs and that its address is right: STAKEOUT_POSTGRES, or STAKEOUT_EMBEDDED_PATH without"
        if getattr(orig, "sqlstate", None) in MISSING or "no such table" in str(orig):
            hint = "`stakeout db upgrade` makes the tables"
        raise ServiceUnavailable(f"{where}: {str(orig).strip()}", hint) from error
