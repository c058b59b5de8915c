"""The string table: text to code and back, limited, recycled."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from events.columns import Column, Layout, StringTable
from events.errors import LimitReached
from events.types import INT64


def test_codes_are_dense_and_lead_back() -> None:
    """Equal text, equal code; the first gets 0."""
    table = StringTable()
    assert [table.code(text) for text in ("DE", "", "DE", "日本")] == [0, 1, 0, 2]
    assert [table.text(code) for code in range(3)] == ["DE", "", "日本"]
    assert len(table) == 3


def test_a_full_table_says_so_and_stays_as_it_was() -> None:
    """A text that has a code is still found."""
    table = StringTable(limit=1)
    table.code("a")
    with pytest.raises(LimitReached, match="all 1 strings"):
        table.code("b")
    assert (table.code("a"), len(table)) == (0, 1)


def test_codes_that_nobody_uses_are_given_again() -> None:
    """`keep` takes a list or an array, in any order, with repetitions."""
    for live in ([3, 1, 1], np.array([1, 3])):
        table = StringTable()
        for text in "abcd":
            table.code(text)
        assert table.keep(live) == 2
        assert [table.text(code) for code in (1, 3)] == ["b", "d"]
        assert {table.code("x"), table.code("y")} == {0, 2}
        assert table.code("z") == 4


@given(st.lists(st.tuples(st.text(max_size=2), st.booleans())))
def test_a_table_is_a_pair_of_dictionaries(steps: list[tuple[str, bool]]) -> None:
    """Codes stay what they are until `keep` leaves them out."""
    table, codes = StringTable(), dict[str, int]()
    for text, forget in steps:
        if forget:
            codes.pop(text, None)
            table.keep(list(codes.values()))
        else:
            codes[text] = table.code(text)
        assert table.codes == codes
        assert len(set(codes.values())) == len(codes)
        assert all(table.text(code) == text for text, code in codes.items())


def test_a_layout_knows_where_each_column_is() -> None:
    """(stream, field) to position."""
    layout = Layout(("a", "b"), (Column("a", "x", INT64), Column("b", "x", INT64)))
    assert layout.positions == {("a", "x"): 0, ("b", "x"): 1}
