"""What a worker tells about itself: counts per lane as Prometheus text, and a log of JSON lines.

The core returns numbers; a lane adds them up in its `LaneCounts`; only the worker logs.
"""

from __future__ import annotations

import json
import logging
import sys
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, fields

BOUNDS_S = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0)
"""Upper bounds of the buckets of a time."""


@dataclass(slots=True)
class Times:
    """A histogram of seconds."""

    buckets: list[int] = field(default_factory=lambda: [0] * (len(BOUNDS_S) + 1))
    total_s: float = 0.0

    def add(self, seconds: float) -> None:
        """Counts one."""
        self.buckets[bisect_left(BOUNDS_S, seconds)] += 1
        self.total_s += seconds


@dataclass(slots=True)
class LaneCounts:
    """Since the process started, for one lane; `tally` has what decoding and ordering count under their own names.

    epoch, watermark_us, control_offset: as they are now
    """

    records: int = 0
    batches: int = 0
    ticks: int = 0
    changes: int = 0
    changes_left_out: int = 0
    alerts: int = 0
    alerts_stripped: int = 0
    dead_letters: int = 0
    late: int = 0
    started: int = 0
    taken: int = 0
    died: int = 0
    matched: int = 0
    commits: int = 0
    replayed_entries: int = 0
    epoch: int = 0
    watermark_us: int = 0
    control_offset: int = 0
    commit_seconds: Times = field(default_factory=Times)
    tally: dict[str, int] = field(default_factory=dict)


GAUGES = frozenset({"epoch", "watermark_us", "control_offset"})


def render(lanes: Mapping[int, LaneCounts]) -> str:
    """Prometheus text of all lanes of this process.

    >>> print(render({0: LaneCounts(alerts=3)}).splitlines()[9])
    stakeout_alerts_total{lane="0"} 3
    """
    return "".join(f"{line}\n" for line in _lines(lanes))


def _lines(lanes: Mapping[int, LaneCounts]) -> Iterator[str]:
    for name in (item.name for item in fields(LaneCounts) if item.type == "int"):
        kind, full = ("gauge", f"stakeout_{name}") if name in GAUGES else ("counter", f"stakeout_{name}_total")
        yield f"# TYPE {full} {kind}"
        yield from (f'{full}{{lane="{lane}"}} {getattr(counts, name)}' for lane, counts in lanes.items())
    yield from _tallies(lanes)
    yield "# TYPE stakeout_commit_seconds histogram"
    for lane, counts in lanes.items():
        yield from _histogram("stakeout_commit_seconds", lane, counts.commit_seconds)


def _tallies(lanes: Mapping[int, LaneCounts]) -> Iterator[str]:
    yield "# TYPE stakeout_records_total_by_fate counter"
    for lane, counts in lanes.items():
        for name, count in sorted(counts.tally.items()):
            yield f'stakeout_records_total_by_fate{{lane="{lane}",fate="{name}"}} {count}'


def _histogram(name: str, lane: int, times: Times) -> Iterable[str]:
    below = 0
    for bound, count in zip((*map(str, BOUNDS_S), "+Inf"), times.buckets, strict=True):
        below += count
        yield f'{name}_bucket{{lane="{lane}",le="{bound}"}} {below}'
    yield f'{name}_sum{{lane="{lane}"}} {times.total_s}'
    yield f'{name}_count{{lane="{lane}"}} {below}'


class JsonLines(logging.Formatter):
    """One JSON object per line; what is passed as `extra={"told": {...}}` becomes members of it."""

    def format(self, record: logging.LogRecord) -> str:
        """See logging.Formatter."""
        line = {"at": self.formatTime(record), "level": record.levelname.lower(), "event": record.getMessage()}
        line.update(getattr(record, "told", {}))
        if record.exc_info:
            line["error"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str)


def log_to_stderr(level: str) -> logging.Logger:
    """The worker's log."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines())
    logger = logging.getLogger("stakeout")
    logger.handlers[:] = [handler]
    logger.setLevel(level.upper())
    logger.propagate = False
    return logger
