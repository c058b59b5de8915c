"""Dead letters: records that could not be used, with the reason and where they were."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query
from pydantic import BaseModel

from api.deps import Operator, Used

router = APIRouter(tags=["dead letters"])


class DeadLetterList(BaseModel):
    """The newest first, as they stand on their topic."""

    items: list[dict[str, Any]]


@router.get("/dead-letters")
def list_dead_letters(services: Used, _: Operator, limit: Annotated[int, Query(ge=1, le=500)] = 50) -> DeadLetterList:
    """The newest of them."""
    return DeadLetterList(items=services.follower.tail.dead_letters(limit))
