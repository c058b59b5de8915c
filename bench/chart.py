"""A chart of lines as SVG: panels side by side, places along x at even distances, y in powers of ten."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, floor, log10

WIDTH, HEIGHT = 380, 230
"""Of one panel, margins included."""
LEFT, RIGHT, TOP, BOTTOM = 46, 14, 34, 40
LEGEND = 26
COLUMNS = 2
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7")
"""Told apart by colour-blind readers as well."""
STYLE = "text{font:11px sans-serif;fill:#222}.title{font-weight:bold}.grid{stroke:#ddd}.line{fill:none;stroke-width:2}"


@dataclass(frozen=True, slots=True)
class Panel:
    """One panel. lines: name → a positive value for each place of x, None where there is none."""

    title: str
    label: str
    places: Sequence[str]
    lines: dict[str, Sequence[float | None]]


def drawn(panels: Sequence[Panel], unit: str) -> str:
    """The panels, all with the same y, and a legend with the names of the first one's lines."""
    values = [value for panel in panels for line in panel.lines.values() for value in line if value is not None]
    low, high = floor(log10(min(values))), ceil(log10(max(values)))
    high = max(high, low + 1)
    rows = -(-len(panels) // COLUMNS)
    width, height = COLUMNS * WIDTH, LEGEND + rows * HEIGHT
    found = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}">',
        f"<style>{STYLE}</style>",
        f'<rect width="{width}" height="{height}" fill="#fff"/>',
        text(LEFT, 17, unit),
    ]
    for place, name in enumerate(panels[0].lines):
        x = LEFT + 110 * (place + 1)
        found += [f'<rect x="{x}" y="8" width="14" height="10" fill="{COLOURS[place]}"/>', text(x + 20, 17, name)]
    for place, panel in enumerate(panels):
        x, y = place % COLUMNS * WIDTH, LEGEND + place // COLUMNS * HEIGHT
        found += [f'<g transform="translate({x} {y})">', *drawn_panel(panel, low, high), "</g>"]
    return "\n".join([*found, "</svg>", ""])


def drawn_panel(panel: Panel, low: int, high: int) -> list[str]:
    """A panel whose y goes from 10^low to 10^high."""
    inner, bottom = HEIGHT - TOP - BOTTOM, HEIGHT - BOTTOM
    step = (WIDTH - LEFT - RIGHT) / len(panel.places)
    xs = [LEFT + step * (place + 0.5) for place in range(len(panel.places))]

    def y_of(value: float) -> float:
        return bottom - inner * (log10(value) - low) / (high - low)

    found = [text(LEFT, TOP - 12, panel.title, "title"), text(WIDTH / 2, HEIGHT - 6, panel.label, anchor="middle")]
    for power in range(low, high + 1):
        y = y_of(10.0**power)
        found.append(f'<path class="grid" d="M{LEFT} {y:.1f}H{WIDTH - RIGHT}"/>')
        found.append(text(LEFT - 6, y + 4, short(10**power), anchor="end"))
    found += [text(x, bottom + 16, place, anchor="middle") for x, place in zip(xs, panel.places, strict=True)]
    for colour, line in zip(COLOURS, panel.lines.values(), strict=False):
        spots = [(x, y_of(value)) for x, value in zip(xs, line, strict=True) if value is not None]
        path = "L".join(f"{x:.1f} {y:.1f}" for x, y in spots)
        found.append(f'<path class="line" stroke="{colour}" d="M{path}"/>')
        found += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{colour}"/>' for x, y in spots]
    return found


def text(x: float, y: float, words: str, kind: str = "", anchor: str = "start") -> str:
    """A line of text; words has no characters that XML reserves."""
    return f'<text x="{x:g}" y="{y:.1f}" class="{kind}" text-anchor="{anchor}">{words}</text>'


def short(number: float) -> str:
    """A number as people write it on an axis.

    >>> short(10), short(1_000), short(2_500_000), short(42)
    ('10', '1k', '2.5M', '42')
    """
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if number >= size:
            return f"{number / size:g}{letter}"
    return f"{number:g}"
