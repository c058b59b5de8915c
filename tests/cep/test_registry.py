"""The patterns that a control log comes to, and two who change it at once."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from cep.control import Activate, PatternVersion, write
from cep.log.sqlite import SqliteControl, SqliteLog
from cep.registry import Overtaken, Registry


@pytest.fixture
def log(tmp_path: Path) -> Iterator[SqliteLog]:
    found = SqliteLog(tmp_path / "log.db")
    yield found
    found.close()


def test_a_registry_knows_what_another_wrote(log: SqliteLog) -> None:
    mine, other = Registry(SqliteControl(log)), SqliteControl(log)
    assert mine.patterns() == {}
    offset = write(other, [PatternVersion("a", 1, {"is": "x"}), Activate("a", 1)], author="ana", at_us=5)
    known = mine.patterns()["a"]
    assert (known.state, known.live, known.control_offset, known.versions[1].author) == ("live", 1, offset, "ana")


def test_what_is_decided_on_nothing_new_writes_nothing(log: SqliteLog) -> None:
    control = SqliteControl(log)
    offset, _ = Registry(control).change(lambda patterns: [], author="ana", at_us=1)
    assert offset == control.end() == 0


def test_of_two_processes_that_take_the_same_number_the_second_is_told_and_the_first_keeps_it(log: SqliteLog) -> None:
    other = SqliteControl(log)

    class Slow(SqliteControl):
        """Another process gets in before each write."""

        def append(self, value: bytes) -> int:
            write(other, [PatternVersion("a", 1, {"is": "theirs"})], author="bob", at_us=1)
            return super().append(value)

    registry = Registry(Slow(log))
    with pytest.raises(Overtaken, match="changed by someone else"):
        registry.change(lambda patterns: [PatternVersion("a", 1, {"is": "mine"})], author="ana", at_us=2)
    assert registry.patterns()["a"].versions[1].document == {"is": "theirs"}
