"""Bytes per partial, link and key are those of a state that holds as many as the events say."""

from __future__ import annotations

import pytest

from bench import memory
from cep.matcher import records as c


def test_bytes_do_not_depend_on_how_many_there_are() -> None:
    """Whatever is shared (tables, chains of states) is nothing beside many."""
    few, many = ({name: each for name, each, _ in memory.rows(count)} for count in (20_000, 80_000))
    assert set(few) == {"partial", "link", "key"}
    assert few["partial"] == pytest.approx(many["partial"], rel=0.01)
    assert few["link"] == many["link"]
    assert few["key"] == pytest.approx(many["key"], rel=0.5)  # hash tables grow by doubling


def test_a_partial_is_its_row() -> None:
    """Nothing that grows with the partials is left out; its window has no entry, since nothing comes of its end."""
    state = memory.one_key(5_000).state
    used = memory.in_use(state)
    assert state.counters[c.LIVE_PARTIALS] == 5_000
    assert used["partials"] == 5_000 * c.PARTIAL.itemsize
    assert used["queue"] == 0
    assert used["links"] == 2 * 5_000 * c.LINK.itemsize
    assert used["events"] == 5_001 * c.EVENT.itemsize
    assert sum(used.values()) < state.bytes


def test_a_missed_target_is_said() -> None:
    assert memory.judged(64, 64) == "target 64 met"
    assert memory.judged(64.1, 64) == "target 64 missed"
