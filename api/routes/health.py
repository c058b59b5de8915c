"""Is it alive, is it ready, what has it counted."""

from __future__ import annotations

from fastapi import APIRouter
from pydantic import BaseModel

router = APIRouter(tags=["health"])


class Alive(BaseModel):
    """The process answers."""

    status: str = "ok"


@router.get("/healthz")
def healthz() -> Alive:
    """The process runs and answers. Asks nothing else."""
    return Alive()
