"""The engine alone: the works from columns, and from JSON bytes through decoder and order."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence

import numpy as np

from bench.data import EPOCH_MS, Columns
from bench.works import plans, stream
from cep.automaton.plan import Plan, layout_of
from cep.matcher.matcher import Matcher
from cep.matcher.records import PARTIALS_PER_KEY_MAX
from events.columns import I64, Batch, Layout, StringTable
from events.decode import Decoder
from events.order import FOREVER_US, NEVER_US, Arrived, Orderer, Source
from events.texts import Texts

ROWS = 65_536
"""Events of one batch from columns."""
RECORDS = 2_048
"""Records of one batch from JSON: what a lane takes."""
PASSES = 15
"""A pass takes a fraction of a second, in which the machine may be slow or fast; Flink's takes half a minute."""


TEXTS = {"card_id": ("card", "card-{:05d}"), "country": ("country", "country-{}")}
"""Fields of text: the column of numbers that each is made of, and how."""


class NoRecords:
    """Columns without records: no alert is written here."""

    def event_id(self, row: int) -> str:
        """Never asked for."""
        raise AssertionError(row)

    def payload(self, row: int) -> bytes:
        """Never asked for."""
        raise AssertionError(row)


def batches(columns: Columns, layout: Layout, strings: StringTable) -> list[Batch]:
    """The events as batches of ROWS, with the columns of the layout: text as codes, as the decoder gives it."""
    at_us = (columns["ts"] + EPOCH_MS).astype(np.int64) * 1000
    values = np.stack([values_of(columns, column.name, strings) for column in layout.columns])
    made = []
    for first in range(0, len(at_us), ROWS):
        part = slice(first, first + ROWS)
        times = at_us[part]
        cut = np.ascontiguousarray(values[:, part])
        nulls = np.zeros(cut.shape, np.uint8)
        made.append(Batch(layout, np.zeros(len(times), np.int16), times, times, cut, nulls, NoRecords()))
    return made


def values_of(columns: Columns, name: str, strings: StringTable) -> I64:
    """One field of all events, int64[n]: codes of text, bits of float64."""
    if name not in TEXTS:
        return columns[name].view(np.int64)
    column, text = TEXTS[name]
    numbers = columns[column]
    return np.array([strings.code(text.format(value)) for value in range(int(numbers.max()) + 1)])[numbers]


def from_columns(work: str, columns: Columns, *, emit: str = "eager", passes: int = PASSES) -> tuple[int, float]:
    """(matches, events per second), the median of the passes; of several, a first one is not counted.

    As with the peers, a pass begins without state, but neither compiles patterns nor has the operating system hand out
    memory again that the pass before has used.
    """
    compiled = plans(work, emit=emit)
    strings = StringTable()
    layout = layout_of((stream(work),), compiled)
    parts = batches(columns, layout, strings)
    matcher = started(compiled, layout, strings)

    def once() -> int:
        matcher.forget()
        return sum(len(matcher.process(part)) for part in parts) + len(matcher.advance(FOREVER_US))

    return timed(once, len(columns["ts"]), passes)


def from_json(work: str, records: Sequence[bytes]) -> tuple[int, float]:
    """(matches, events per second) from records in memory: decode, order, match; the second of two passes."""
    compiled = plans(work)
    source = stream(work)
    layout = layout_of((source,), compiled)
    matcher = started(compiled, layout, StringTable())

    def once() -> int:
        strings = StringTable()
        matcher.use(compiled, layout, strings.code)
        matcher.forget()
        decoder = Decoder(source, layout, strings)
        orderer = Orderer((source,), (Source("transactions", 0),), layout)
        matches = 0
        for first in range(0, len(records), RECORDS):
            raw = Texts.of(records[first : first + RECORDS])
            count = len(raw)
            none = np.full(count, NEVER_US, np.int64)
            offsets = np.arange(first, first + count, dtype=np.int64)
            arrived = Arrived("transactions", np.zeros(count, np.int64), offsets, none, raw, decoder.decode(raw))
            matches += len(matcher.process(orderer.push([arrived], 0).batch))
        return matches + len(matcher.advance(FOREVER_US))

    once()
    return timed(once, len(records), 1)


def started(
    compiled: Sequence[Plan], layout: Layout, strings: StringTable, partials_max: int = PARTIALS_PER_KEY_MAX
) -> Matcher:
    """A matcher that has seen nothing."""
    matcher = Matcher(partials_max=partials_max)
    matcher.use(compiled, layout, strings.code)
    return matcher


def timed(run: Callable[[], int], events: int, passes: int) -> tuple[int, float]:
    """(what `run` answers, events per second in the median pass). With several passes a first one is not counted."""
    if passes > 1:
        run()
    seconds, answer = [], 0
    for _ in range(passes):
        begin = time.perf_counter()
        answer = run()
        seconds.append(time.perf_counter() - begin)
    return answer, events / statistics.median(seconds)
