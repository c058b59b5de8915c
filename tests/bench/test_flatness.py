"""The page on what is flat: complete, and honest about what isn't."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

import pytest

from bench import flatness
from bench.chart import Panel, drawn
from bench.flatness import Axis, Point, Size, judged

SMALL = Size(opens=(10, 1_000), windows_s=(60, 3_600), steps=(2, 5), events=4_096, passes=2)
SVG = "{http://www.w3.org/2000/svg}"


def axis(*speeds: float) -> Axis:
    return Axis("Keys", "keys", [(str(place), Point(1, 0.0, 0.0, {"idle": one})) for place, one in enumerate(speeds)])


def test_the_page_has_a_row_for_each_point_and_a_sentence_for_each_kind_of_traffic(tmp_path: Path) -> None:
    flatness.write(tmp_path, SMALL)
    page = (tmp_path / "flatness.md").read_text()
    sections = page.split("\n## ")[1:]
    assert [section.splitlines()[0] for section in sections] == ["One key", "Many keys", "Window", "Steps"]
    firsts = [[row.split(" | ")[0][2:] for row in one.splitlines() if row.startswith("| ")][2:] for one in sections]
    assert firsts == [["10", "1k"], ["10", "1k"], ["1 min", "1 h"], ["2", "5"]]
    for section in sections:
        assert [line.split(":")[0] for line in section.splitlines() if line.startswith("- ")] == [
            "- idle", "- unwaited", "- ordinary",
        ]  # fmt: skip
    assert "python -m bench flatness" in page
    assert "(flatness.svg)" in page
    chart = ElementTree.parse(tmp_path / "flatness.svg")
    # 3 kinds of traffic at 8 places; a sequence of two steps has no event that nobody waits for
    assert len(chart.findall(f".//{SVG}circle")) == 3 * 8 - 1


@pytest.mark.parametrize(
    ("speeds", "sentence"),
    [
        ((4e6, 2e6, 3e6), "idle: flat, from 2.00 M (1) to 4.00 M events/s (0), 2.0x."),
        ((4e6, 1e6, 3e6), "idle: **not flat**, from 1.00 M (1) to 4.00 M events/s (0), 4.0x."),
    ],
)
def test_what_is_not_flat_is_said_with_the_number(speeds: tuple[float, ...], sentence: str) -> None:
    assert judged(axis(*speeds), "idle") == sentence


def test_as_much_is_open_as_the_axis_says() -> None:
    """Give or take chance: a tenth of the events start one, and the window is ten times as many events."""
    assert 800 <= flatness.of_one_key(1_000, SMALL).open <= 1_200
    assert 800 <= flatness.of_many_keys(1_000, SMALL).open <= 1_200
    assert 1_200 <= flatness.of_window(3_600, SMALL).open <= 1_500


def test_events_that_move_or_match_are_counted() -> None:
    """On one key the middle step takes every start once; over many keys some sequences of two come to an end."""
    one, two = flatness.of_one_key(1_000, SMALL), flatness.of_steps(2, SMALL)
    assert 0.18 < one.taken < 0.22
    assert (one.matches, one.move_ns > 0) == (0.0, True)
    assert two.matches > 0


def test_a_line_of_the_chart_rises_with_its_value_and_may_have_gaps() -> None:
    """y grows downwards in SVG, by equal distances for each power of ten."""
    svg = drawn([Panel("a", "x", ["1", "2", "3", "4"], {"one": [1e6, None, 1e7, 1e8]})], "events/s")
    ys = [float(spot.get("cy", "")) for spot in ElementTree.fromstring(svg).findall(f".//{SVG}circle")]
    assert len(ys) == 3
    assert ys[0] - ys[1] == pytest.approx(ys[1] - ys[2], abs=0.2)
    assert ys[0] > ys[1]
