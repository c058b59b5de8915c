"""ScoredEvent: an event that a model finds worth telling, on the scores topic.

control log ─▶ Told.apply ─▶ Champion ─▶ the column `score` ─▶ scored_events: those with a score that is high enough
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec
import numpy as np

from cep.alert import KeyValue
from cep.control import ModelAlias, ModelVersion
from events.columns import Batch
from events.schema import Stream
from models.champion import Champion
from models.document import SCORE


class ScoredEvent(msgspec.Struct, frozen=True, kw_only=True):
    """One event whose score reached `scores.above` (JSON). Pattern or not: it is the model's word alone.

    key:      the stream's key fields
    at_us:    the event's own time
    features: what the model read, by name, null where there was nothing
    event:    the record's own JSON
    lane, epoch, sequence: set by the commit; `sequence` is gapless per lane and output topic
    processed_at_us: wall time of the batch in the journal, so that a replay writes the same record
    """

    event_id: str
    key: dict[str, KeyValue]
    at_us: int
    model: str
    version: int
    score: float
    features: dict[str, float | None]
    event: msgspec.Raw
    lane: int = 0
    epoch: int = 0
    sequence: int = 0
    processed_at_us: int = 0


@dataclass(slots=True)
class Told:
    """What scores in a lane, and from which score on an event is told.

    streams: by name, for their keys
    above:   beyond 1: none
    """

    champions: tuple[Champion, ...] = ()
    streams: Mapping[str, Stream] = field(default_factory=dict)
    above: float = 2.0

    def failed_rows(self) -> set[int]:
        """The events of the last batch on which a model failed: what they are part of was decided without it."""
        return {row for champion in self.champions for row in champion.failed_rows()}

    def apply(self, change: ModelVersion | ModelAlias) -> None:
        """A change of one of its models; those of others are not its concern."""
        for champion in self.champions:
            if champion.name != change.name:
                continue
            if isinstance(change, ModelVersion):
                champion.version(change.version, change.digest)
            else:
                champion.alias(change.alias, change.version)


def scored_events(batch: Batch, told: Told) -> list[ScoredEvent]:
    """The events whose score is high enough, in the order of the batch."""
    found: list[tuple[int, ScoredEvent]] = []
    if told.above <= 1:
        for champion in told.champions:
            rows = _high(batch, champion, told.above)
            found += [(row, _scored_event(batch, row, champion, told.streams[champion.stream])) for row in rows]
    return [scored for _, scored in sorted(found, key=lambda each: each[0])]


def _high(batch: Batch, champion: Champion, above: float) -> list[int]:
    place = batch.layout.positions.get((champion.stream, SCORE))
    if place is None or champion.scorer is None:
        return []
    high = (batch.values[place].view(np.float64) >= above) & (batch.nulls[place] == 0)
    return np.flatnonzero(high).tolist()


def _scored_event(batch: Batch, row: int, champion: Champion, stream: Stream) -> ScoredEvent:
    assert champion.scorer is not None, "it scored"
    payload = batch.records.payload(row)
    record: dict[str, Any] = msgspec.json.decode(payload)
    score = batch.values[batch.layout.positions[stream.name, SCORE], row : row + 1].view(np.float64).item()
    return ScoredEvent(
        event_id=batch.records.event_id(row),
        key={name: record[name] for name in stream.key},
        at_us=int(batch.event_at_us[row]),
        model=champion.name,
        version=champion.scorer.card.version,
        score=score,
        features=champion.scorer.read(batch, row),
        event=msgspec.Raw(payload),
    )
