"""Records become rows or are kept aside; what contradicts stops there. No service is asked."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from cep.alert import UNIT, Alert, MatchedEvent
from cep.log.protocol import Partition, Rows
from cep.storage.intake import Progress, take
from cep.storage.rows import Misfit, alert_of, key_text, row_of
from cep.storage.tables import KEY_CHARS

PLACE = Partition("alerts", 0)


def alert(sequence: int = 0, **other: Any) -> Alert:
    known: dict[str, Any] = {
        "alert_id": f"{sequence:032x}",
        "pattern": "p",
        "version": 1,
        "kind": "match",
        "severity": "high",
        "message": "m",
        "key": {"card": "c"},
        "at_us": 5,
        "started_at_us": -7,
        "events": [MatchedEvent("s", "e", 5, msgspec.Raw(b'{"a": 1.10}'))],
        "sequence": sequence,
        "epoch": 1,
    }
    return Alert(**{**known, **other})


def part(*values: bytes | None, offsets: list[int] | None = None, markers: int = 0) -> Rows:
    places = offsets or list(range(len(values)))
    return Rows(PLACE, places[-1] + 1 + markers, values, places)


def encoded(*alerts: Alert) -> list[bytes]:
    return [msgspec.json.encode(each) for each in alerts]


def test_an_alert_comes_back_from_its_row() -> None:
    """Every field, negative instants and nulls included."""
    each = alert(key={"a": None, "b": True, "c": 2**60, "d": "\x00é"}, suppressed=True, lane=3)
    each = msgspec.structs.replace(each, measures={"loss": msgspec.Raw(b"812.50"), "none": msgspec.Raw(b"null")})
    assert alert_of(row_of(each)) == each


def test_progress_goes_behind_the_slice_where_all_of_it_was_taken() -> None:
    """Markers of transactions included: the slice says where reading goes on."""
    taken = take(Progress(*PLACE), part(*encoded(alert(0), alert(1)), offsets=[3, 5], markers=1))
    assert taken.progress == Progress(*PLACE, next_offset=7, next_sequence=2, epoch=1)
    assert [record.offset for record in taken.records] == [3, 5]


def test_taking_stops_before_a_gap() -> None:
    """What comes behind it is left alone."""
    taken = take(Progress(*PLACE), part(*encoded(alert(0), alert(2), alert(3))))
    assert [record.row["sequence"] for record in taken.records] == [0]
    assert taken.progress.next_offset == 1
    assert "sequence 2, expected 1" in taken.progress.halted


def test_any_split_into_slices_comes_to_the_same() -> None:
    """With poison and a gap in it."""
    values: list[bytes | None] = [*encoded(alert(0)), None, b"{}", *encoded(alert(1), alert(3), alert(4))]
    whole = take(Progress(*PLACE), part(*values))
    for cut in range(1, len(values)):
        first = take(Progress(*PLACE), part(*values[:cut]))
        if first.progress.halted:
            assert first == whole
            continue
        second = take(first.progress, part(*values[cut:], offsets=list(range(cut, len(values)))))
        assert first.records + second.records == whole.records
        assert first.rejected + second.rejected == whole.rejected
        assert second.progress == whole.progress


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("at_us", 2**62),
        ("started_at_us", -(2**62)),
        ("processed_at_us", -1),
        ("alert_id", "no"),
        ("pattern", "p" * 256),
        ("version", 2**31),
        ("events", [MatchedEvent("s", "e", 5, msgspec.Raw(b'"\xff"'))]),
    ],
)
def test_what_no_row_can_hold_is_kept_aside_and_counted(field: str, value: object) -> None:
    """It is no gap: its sequence was read."""
    odd = alert(0, **{field: value})
    with pytest.raises(Misfit):
        row_of(odd)
    taken = take(Progress(*PLACE), part(*encoded(odd, alert(1))))
    assert [bad.offset for bad in taken.rejected] == [0]
    assert [record.offset for record in taken.records] == [1]
    assert taken.progress.next_sequence == 2


def test_a_long_key_has_a_text_of_its_own() -> None:
    """Short enough for an index, and another's text is another."""
    texts = {key_text({"a": "x" * length}) for length in (KEY_CHARS, KEY_CHARS + 1, 5000, 5001)}
    assert len(texts) == 4
    assert max(map(len, texts)) == KEY_CHARS
    assert key_text({"a": 1, "b": "\x1f"}) == f"1{UNIT}\\u001f"
