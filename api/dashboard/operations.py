"""How the lanes are: how far they have read, what waits, what could not be used."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from fastapi import APIRouter, Request, Response

from api.dashboard.pages import Screen, page
from api.dashboard.visitor import Known
from api.dashboard.wording import age
from api.deps import ServicesNow
from api.lanes import LaneStatus, lag
from api.letters import newest
from api.routes.lanes import ends_of
from cep.language.document import secrets
from cep.log.kafka_topics import Topics
from cep.log.ledger import DeadLetter
from cep.log.protocol import ALERTS
from cep.storage.database import reading
from cep.storage.intake import Rejected
from cep.storage.queries import read_progress, read_rejected

router = APIRouter(route_class=Screen)

DEAD_SHOWN = 20
HIDDEN = "••• its stream has secret fields: the role operator may read it"
TEXT_CHARS = 160


@dataclass(frozen=True, slots=True)
class LaneLine:
    """A lane, in words. watermark: how far behind now it is."""

    lane: int
    lag: int
    watermark: str
    watermark_us: int | None
    committed: str
    committed_at_us: int
    epoch: int
    record: int
    alerts: int
    halted: str


@dataclass(frozen=True, slots=True)
class DeadLine:
    """A record that could not be used."""

    place: str
    reason: str
    text: str
    at_us: int | None


def lane_lines(
    statuses: list[LaneStatus], behind: Mapping[int, int], halted: Mapping[int, str], now_us: int
) -> list[LaneLine]:
    """The lanes, in words."""
    return [
        LaneLine(
            status.lane,
            behind.get(status.lane, 0),
            "none yet" if status.watermark_us is None else f"{age(now_us - status.watermark_us)} behind",
            status.watermark_us,
            age(now_us - status.committed_at_us) if status.committed_at_us else "never",
            status.committed_at_us,
            status.epoch,
            status.record,
            status.alerts,
            halted.get(status.lane, ""),
        )
        for status in statuses
    ]


def dead_line(dead: DeadLetter, *, readable: bool) -> DeadLine:
    """A dead letter, in words. readable: may its text be shown?"""
    detail = ": ".join(part for part in (dead.path, dead.detail) if part)
    text = dead.text if dead.text is not None else dead.base64 or ""
    if not readable:
        text = HIDDEN
    cut = text if len(text) <= TEXT_CHARS else text[:TEXT_CHARS] + "…"
    place = f"{dead.topic}/{dead.partition} @ {dead.offset}"
    return DeadLine(
        place, f"{dead.reason.replace('_', ' ')}{f': {detail}' if detail else ''}", cut, dead.processed_at_us
    )


def rejected_line(rejected: Rejected) -> DeadLine:
    """An alert that could not be a row, in words."""
    text = (rejected.value or b"").decode(errors="replace")[:TEXT_CHARS]
    return DeadLine(f"{rejected.topic}/{rejected.partition} @ {rejected.offset}", rejected.reason, text, None)


@router.get("/operations")
def show_operations(request: Request, services: ServicesNow, visitor: Known) -> Response:
    """The page."""
    now_us, lanes = services.clock.wall_us(), services.lanes
    statuses = lanes.statuses()
    ends = ends_of(services)
    counts = Counter[str]()
    for place, end in ends.items():
        counts[place.topic] += end
    topic = ALERTS if services.log is not None else Topics(services.settings.app).output(ALERTS)
    with reading(services.engine) as connection:
        progress = read_progress(connection, topic)
        rejected = [rejected_line(each) for each in read_rejected(connection, topic, DEAD_SHOWN)]
    halted = {number: line.halted for number, line in progress.items() if line.halted}
    dead, more = newest(services, DEAD_SHOWN, {})
    closed = {name for name, stream in services.streams.items() if secrets(stream) and not visitor.may("operator")}
    return page(
        request,
        visitor,
        "operations.html",
        lanes=lane_lines(statuses, lag(statuses, ends), halted, now_us),
        lanes_count=lanes.count,
        trouble=lanes.trouble,
        streams=[(stream, counts.get(stream.topic, 0)) for stream in services.streams.values()],
        dead=[dead_line(each.letter, readable=each.letter.stream not in closed) for each in dead],
        more=bool(more),
        rejected=rejected,
    )
