"""Lanes: how far they are."""

from __future__ import annotations

from fastapi import APIRouter
from pydantic import BaseModel

from api.deps import Reader, Used
from api.schemas import Instant, instant
from api.services import Services

router = APIRouter(tags=["lanes"])


class PositionOut(BaseModel):
    """A source partition: the next offset to decide upon, and how many records wait."""

    topic: str
    partition: int
    next_offset: int
    lag: int


class LaneOut(BaseModel):
    """What a lane's last commit says. watermark: null while it has seen no event."""

    lane: int
    lanes: int
    epoch: int
    commits: int
    committed_at: Instant
    watermark: Instant | None
    control_offset: int
    lag: int
    positions: list[PositionOut]


class LaneList(BaseModel):
    """All that have committed."""

    items: list[LaneOut]


@router.get("/lanes")
def list_lanes(services: Used, _: Reader) -> LaneList:
    """Lag, watermark and last commit of each lane."""
    return LaneList(items=lanes_of(services))


def lanes_of(services: Services) -> list[LaneOut]:
    """By number."""
    lag = services.follower.lag()
    return [
        LaneOut(
            lane=one.lane,
            lanes=one.lanes,
            epoch=one.epoch,
            commits=one.number + 1,
            committed_at=instant(one.committed_us),
            watermark=None if abs(one.watermark_us) >= 2**61 or one.watermark_us <= 0 else instant(one.watermark_us),
            control_offset=one.control_offset,
            lag=sum(lag.get(place, 0) for place in one.positions),
            positions=[
                PositionOut(topic=place.topic, partition=place.partition, next_offset=offset, lag=lag.get(place, 0))
                for place, offset in sorted(one.positions.items())
            ],
        )
        for _, one in sorted(services.follower.lanes.items())
    ]
