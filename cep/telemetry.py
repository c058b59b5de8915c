"""What a worker tells about itself: counts per lane as Prometheus text, and a log of JSON lines.

The core returns numbers; a lane adds them up in its `LaneCounts`; only the worker logs.
"""

from __future__ import annotations

import json
import logging
import sys
from bisect import bisect_left
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client import Metric as PromMetric
from prometheus_client.registry import Collector

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

    def samples(self) -> Iterator[tuple[str, dict[str, str], float]]:
        """Suffix, labels and value of each line of a Prometheus histogram."""
        below = 0
        for bound, count in zip((*map(str, BOUNDS_S), "+Inf"), self.buckets.copy(), strict=True):
            below += count
            yield "_bucket", {"le": bound}, below
        yield "_sum", {}, self.total_s
        yield "_count", {}, below


@dataclass(slots=True)
class LaneCounts:
    """Since the process started, for one lane; `tally` has what decoding and ordering count under their own names,
    `alerts_of` the alerts by pattern and severity.

    epoch, watermark_us, control_offset: as they are now
    """

    records: int = 0
    batches: int = 0
    ticks: int = 0
    changes: int = 0
    changes_left_out: int = 0
    alerts: int = 0
    alerts_stripped: int = 0
    late: int = 0
    scores: int = 0
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
    open_partials: int = 0
    limits: Mapping[str, int] = field(default_factory=dict)
    stage_seconds: dict[str, float] = field(default_factory=dict)
    dead_letters: dict[str, int] = field(default_factory=dict)
    tally: dict[str, int] = field(default_factory=dict)
    alerts_of: dict[tuple[str, str], int] = field(default_factory=dict)
    online_entities: Mapping[str, int] = field(default_factory=dict)

    def spent(self, stage: str, seconds: float) -> None:
        """Adds to a stage's time."""
        self.stage_seconds[stage] = self.stage_seconds.get(stage, 0.0) + seconds


class Metric(NamedTuple):
    """One line of METRICS. `labels`: besides `lane`."""

    name: str
    kind: str
    labels: tuple[str, ...]
    meaning: str


METRICS = (
    Metric("stakeout_records_total", "counter", (), "records read from the source"),
    Metric("stakeout_batches_total", "counter", (), "batches they came in"),
    Metric("stakeout_ticks_total", "counter", (), "ticks of the clock that were journaled"),
    Metric("stakeout_changes_total", "counter", (), "control changes read"),
    Metric("stakeout_changes_left_out_total", "counter", (), "of them, those that could not be compiled here"),
    Metric("stakeout_record_fates_total", "counter", ("fate",), "records by what decoding and ordering did with them"),
    Metric("stakeout_dead_letters_total", "counter", ("reason",), "records that could not be used"),
    Metric("stakeout_late_total", "counter", (), "late records put out"),
    Metric("stakeout_stage_seconds_total", "counter", ("stage",), "time that the lane spent in each stage"),
    Metric(
        "stakeout_open_partials",
        "gauge",
        (),
        "partials that are open; those that are over are among them until an event meets them or memory is tidied",
    ),
    Metric("stakeout_limits_total", "counter", ("limit",), "how often a limit was reached (ARCHITECTURE.md, Limits)"),
    Metric("stakeout_partials_started_total", "counter", (), "partials opened"),
    Metric("stakeout_partials_died_total", "counter", (), "partials that ended without a match"),
    Metric("stakeout_events_taken_total", "counter", (), "events that a partial took"),
    Metric("stakeout_matches_total", "counter", (), "matches"),
    Metric("stakeout_alerts_total", "counter", ("pattern", "severity"), "alerts decided"),
    Metric("stakeout_alerts_stripped_total", "counter", (), "alerts that left their payloads in the log"),
    Metric("stakeout_scores_total", "counter", (), "events with a score that was put out"),
    Metric(
        "stakeout_online_entities_total", "counter", ("fate",), "entities by what their way to the online store came to"
    ),
    Metric("stakeout_commits_total", "counter", (), "commits"),
    Metric("stakeout_commit_seconds", "histogram", (), "time of a commit"),
    Metric("stakeout_replayed_entries_total", "counter", (), "journal entries repeated when the lane was restored"),
    Metric("stakeout_epoch", "gauge", (), "the lane's epoch: one more at each restore"),
    Metric("stakeout_watermark_timestamp_seconds", "gauge", (), "the lane's watermark; absent until it has one"),
    Metric("stakeout_control_offset", "gauge", (), "where the lane reads the control log next"),
)
"""Everything that `render` tells, in its order; docs/operations.md has the same table."""


def render(lanes: Mapping[int, LaneCounts]) -> str:
    """Prometheus text of all lanes of this process.

    >>> print(render({0: LaneCounts(records=3)}).splitlines()[2])
    stakeout_records_total{lane="0"} 3.0
    """
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Lanes(lanes))
    return generate_latest(registry).decode()


class _Lanes(Collector):
    """Lanes as prometheus_client asks for them."""

    def __init__(self, lanes: Mapping[int, LaneCounts]) -> None:
        self._lanes = lanes

    def collect(self) -> Iterator[PromMetric]:
        """See Collector."""
        for metric in METRICS:
            family = PromMetric(metric.name.removesuffix("_total"), metric.meaning, metric.kind)
            for number, counts in self._lanes.items():
                for suffix, labels, value in _samples(metric, counts):
                    family.add_sample(metric.name + suffix, {"lane": str(number), **labels}, value)
            yield family


def _samples(metric: Metric, counts: LaneCounts) -> Iterator[tuple[str, dict[str, str], float]]:
    """Suffix of the name, labels, value. The dictionaries are copied: the lane's thread goes on counting."""
    match metric.name:
        case "stakeout_record_fates_total":
            yield from (("", {"fate": fate}, count) for fate, count in sorted(counts.tally.copy().items()))
        case "stakeout_dead_letters_total":
            yield from (("", {"reason": reason}, count) for reason, count in sorted(counts.dead_letters.copy().items()))
        case "stakeout_limits_total":
            yield from (("", {"limit": limit}, count) for limit, count in sorted(counts.limits.items()))
        case "stakeout_stage_seconds_total":
            yield from (("", {"stage": stage}, spent) for stage, spent in sorted(counts.stage_seconds.copy().items()))
        case "stakeout_online_entities_total":
            yield from (("", {"fate": fate}, count) for fate, count in sorted(counts.online_entities.items()))
        case "stakeout_alerts_total":
            for (pattern, severity), count in sorted(counts.alerts_of.copy().items()):
                yield "", {"pattern": pattern, "severity": severity}, count
        case "stakeout_commit_seconds":
            yield from counts.commit_seconds.samples()
        case "stakeout_watermark_timestamp_seconds":
            if 0 < counts.watermark_us < INSTANT_US_MAX:
                yield "", {}, counts.watermark_us / 1e6
        case name:
            yield "", {}, getattr(counts, FIELDS.get(name, name.removeprefix("stakeout_").removesuffix("_total")))


FIELDS = {
    "stakeout_partials_started_total": "started",
    "stakeout_partials_died_total": "died",
    "stakeout_events_taken_total": "taken",
    "stakeout_matches_total": "matched",
}
"""Where a metric's name isn't that of its count."""

INSTANT_US_MAX = 253_402_300_800_000_000
"""The year 10000: a watermark behind it is the end of a finite log."""


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
