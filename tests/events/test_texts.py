"""Texts: the same records whatever array they lie in, with the NULs that kernels need."""

from __future__ import annotations

from itertools import chain, pairwise

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from events.texts import NO_TEXTS, PADDING, Texts

RECORDS = st.lists(st.binary(max_size=12), max_size=6)


def is_whole(texts: Texts) -> bool:
    """A NUL behind each record, and room behind the last one."""
    after = len(texts.array) - texts.ends
    return not texts.array[texts.ends].any() and bool((after > PADDING).all())


@given(RECORDS, st.data())
def test_records_come_out_as_they_went_in(records: list[bytes], data: st.DataObject) -> None:
    texts = Texts.of(records)
    assert (list(texts), [texts[row] for row in range(len(texts))]) == (records, records)
    assert (texts.sizes().tolist(), is_whole(texts)) == ([len(record) for record in records], True)
    first, last = (data.draw(st.integers(0, len(records))) for _ in range(2))
    assert list(texts[first:last]) == records[first:last]
    places = data.draw(st.permutations(range(len(records))))
    assert list(texts.take(np.array(places, np.int64))) == [records[place] for place in places]


@given(st.lists(RECORDS, max_size=4), st.booleans())
def test_joined_one_after_the_other(parts: list[list[bytes]], same_array: bool) -> None:
    texts, records = [Texts.of(part) for part in parts], list(chain.from_iterable(parts))
    if same_array:
        whole, cuts = Texts.of(records), np.cumsum([0, *map(len, parts)]).tolist()
        texts = [whole[first:last] for first, last in pairwise(cuts)]
    joined = Texts.joined(texts)
    assert list(joined) == records
    assert is_whole(joined)
    assert all(joined.array is part.array for part in texts if same_array)


def test_alone_holds_nothing_of_the_others() -> None:
    part = Texts.of([b"a" * 1000, b"b", b"", b"c" * 1000])[1:3]
    assert (list(part.alone()), len(part.alone().array) < 30, is_whole(part.alone())) == ([b"b", b""], True, True)
    assert (list(NO_TEXTS.alone()), Texts.of(part)) == ([], part)
