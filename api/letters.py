"""Dead letters, newest first: records that could not be used, as their topic has them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import NamedTuple

import msgspec

from api.services import Services
from cep.log.kafka import offset_of
from cep.log.kafka_settle import TAIL, Tails
from cep.log.kafka_topics import Topics
from cep.log.ledger import DeadLetter
from cep.log.protocol import DEAD_LETTERS

PLACES = re.compile(r"[0-9]{1,9}:[0-9]{1,18}(,[0-9]{1,9}:[0-9]{1,18}){0,999}")

_decode = msgspec.json.Decoder(DeadLetter).decode


class Placed(NamedTuple):
    """A dead letter and its own offset on the topic."""

    offset: int
    letter: DeadLetter


def newest(services: Services, limit: int, below: Mapping[int, int]) -> tuple[list[Placed], dict[int, int]]:
    """The newest letters, and below which offset of each lane there are more; empty at the end.

    below: what was answered before; lanes that it doesn't name are read from their end. Raises ServiceUnavailable.
    """
    lanes = range(services.settings.lane.count)
    found = [placed for lane in lanes for placed in _of_lane(services, lane, below.get(lane), limit)]
    found.sort(key=lambda placed: (placed.letter.processed_at_us, placed.letter.lane, placed.offset), reverse=True)
    page, rest = found[:limit], found[limit:]
    places = dict(below)
    for placed in page:
        places[placed.letter.lane] = placed.offset
    return page, places if rest else {}


def _of_lane(services: Services, lane: int, below: int | None, limit: int) -> list[Placed]:
    """Up to one more than a page of them, so that it is known whether there are more."""
    if services.log is not None:
        rows = services.log.newest_outputs(DEAD_LETTERS, below, limit + 1)
        return [Placed(offset, _decode(value)) for offset, _, value in rows]
    tails = Tails(services.settings.kafka, services.settings.app, lane, lambda: None)
    topic = Topics(services.settings.app).output(DEAD_LETTERS)
    ends = tails.ends()[topic]
    stop, reach = ends.stable if below is None else min(below, ends.stable), limit + TAIL
    while True:
        start = max(ends.begin, stop - reach)
        found = [Placed(offset_of(each), _decode(each.value() or b"")) for each in tails.read(topic, start, stop)]
        if len(found) > limit or start == ends.begin:
            return found[-limit - 1 :]
        reach *= 16


def places_of(cursor: str) -> dict[int, int] | None:
    """The cursor's lane → offset; None if it isn't one."""
    if not PLACES.fullmatch(cursor):
        return None
    pairs = (part.split(":") for part in cursor.split(","))
    return {int(lane): int(offset) for lane, offset in pairs}


def cursor_of(places: Mapping[int, int]) -> str | None:
    """The way back; None at the end.

    >>> places_of(cursor_of({0: 7, 1: 9}))
    {0: 7, 1: 9}
    """
    return ",".join(f"{lane}:{offset}" for lane, offset in sorted(places.items())) or None
