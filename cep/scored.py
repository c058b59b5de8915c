"""ScoredEvent: an event that a model finds worth telling, on the scores topic."""

from __future__ import annotations

import msgspec

from cep.alert import KeyValue


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
