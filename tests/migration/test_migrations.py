"""The migrations make the tables that the code names, and go both ways, on both databases."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from msgspec import Raw
from msgspec.structs import replace
from sqlalchemy import bindparam, insert, inspect, select, text
from sqlalchemy.exc import DBAPIError

from cep.alert import Alert
from cep.storage.database import open_database
from cep.storage.migrate import current, downgrade, head, upgrade
from cep.storage.rows import alert_of, row_of
from cep.storage.tables import JsonText, alerts, metadata
from events.errors import InvalidDocument, ServiceUnavailable

ALERT = Alert(
    alert_id="0" * 32,
    pattern="p",
    version=1,
    kind="match",
    severity="high",
    message="m",
    key={"card": "c"},
    at_us=1_700_000_000_000_000,
    started_at_us=1_700_000_000_000_000,
    events=[],
)
MEASURED = replace(
    ALERT, alert_id="1" * 32, at_us=ALERT.at_us + 1, measures={"loss": Raw(b"812.50"), "note": Raw(b'"\\u0000"')}
)

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    found = f"sqlite:///{tmp_path / 'tables.db'}" if request.param == "sqlite" else _value(request, "postgres_url")
    downgrade(found, "base")  # the session's other tests may have left theirs
    yield found
    downgrade(found, "base")


def _value(request: pytest.FixtureRequest, name: str) -> str:
    return str(request.getfixturevalue(name))


def names(url: str) -> set[str]:
    engine = open_database(url)
    try:
        return set(inspect(engine).get_table_names()) - {"alembic_version"}
    finally:
        engine.dispose()


def differences(url: str) -> list[Any]:
    """What autogenerate would change; our JSON is the dialect's own."""

    def compare_type(_context: Any, _inspected: Any, _column: Any, _found: Any, wanted: Any) -> bool | None:
        return str(_found) != "JSON" if isinstance(wanted, JsonText) else None

    engine = open_database(url)
    try:
        with engine.connect() as connection:
            context = MigrationContext.configure(connection, opts={"compare_type": compare_type})
            return list(compare_metadata(context, metadata))
    finally:
        engine.dispose()


def test_the_migrations_go_up_down_and_up_again(url: str) -> None:
    """Nothing is left behind on the way down, so the way up is free."""
    assert current(url) is None
    upgrade(url)
    assert current(url) == head()
    assert names(url) == set(metadata.tables)
    downgrade(url, "base")
    assert current(url) is None
    assert names(url) == set()
    upgrade(url)
    upgrade(url)
    assert names(url) == set(metadata.tables)


def test_the_migrated_tables_are_those_of_the_code(url: str) -> None:
    """Columns, types, nullability, keys and indexes."""
    upgrade(url)
    assert differences(url) == []


def test_alerts_from_before_measures_and_degraded_carry_neither(url: str) -> None:
    """They are kept on the way up, and on the way down again."""
    upgrade(url, "0001")
    engine = open_database(url)
    before = row_of(ALERT)
    del before["measures"], before["degraded"]
    columns = ", ".join(f'"{name}"' for name in before)
    insertion = text(f"INSERT INTO alerts ({columns}) VALUES ({', '.join(f':{name}' for name in before)})")
    typed = [bindparam(name, type_=alerts.c[name].type) for name in before]
    with engine.begin() as connection:
        connection.execute(insertion.bindparams(*typed), before)  # the values that are new the database has to know
    with pytest.raises(DBAPIError), engine.connect() as connection:
        connection.execute(select(alerts.c.measures))
    upgrade(url)
    with engine.begin() as connection:
        connection.execute(insert(alerts), row_of(MEASURED))
        assert [alert_of(dict(row)) for row in connection.execute(select(alerts).order_by(alerts.c.at)).mappings()] == [
            ALERT,
            MEASURED,
        ]
    downgrade(url, "0001")
    with engine.connect() as connection:
        assert connection.execute(select(alerts.c.alert_id).order_by(alerts.c.at)).scalars().all() == [
            ALERT.alert_id,
            MEASURED.alert_id,
        ]
    engine.dispose()


def test_the_comparison_sees_a_difference(url: str) -> None:
    """Else the test above could not fail."""
    upgrade(url)
    engine = open_database(url)
    with engine.begin() as connection:
        connection.execute(text("DROP INDEX ix_alerts_lane_sequence"))
        connection.execute(text("ALTER TABLE case_state ADD COLUMN colour TEXT"))
    engine.dispose()
    assert {found[0] for found in differences(url)} == {"add_index", "remove_column"}


def test_a_migration_that_fails_leaves_nothing(url: str) -> None:
    """All of it is one transaction."""
    engine = open_database(url)
    with engine.begin() as connection:
        connection.execute(text("CREATE TABLE case_snoozes (colour TEXT)"))
    with pytest.raises(ServiceUnavailable, match="case_snoozes"):
        upgrade(url)
    assert names(url) == {"case_snoozes"}
    with engine.begin() as connection:
        connection.execute(text("DROP TABLE case_snoozes"))
    engine.dispose()


def test_an_unknown_revision_is_refused(url: str) -> None:
    """With the one that there is."""
    with pytest.raises(InvalidDocument, match="the newest is 0004"):
        upgrade(url, "4711")


def test_the_folder_alembic_does_not_hide_the_library() -> None:
    """From the root of the tree, by `-c` and by `-m`."""
    for words in (["-c", "import alembic; print(alembic.__file__)"], ["-m", "alembic", "--version"]):
        run = subprocess.run([sys.executable, *words], cwd=ROOT, capture_output=True, text=True)
        assert run.returncode == 0, run.stderr
        assert str(ROOT / "alembic") not in run.stdout
