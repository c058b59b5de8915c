"""Is it alive, can it work, and what it counts. No key is asked for."""

from __future__ import annotations

from typing import Literal

from fastapi import APIRouter
from fastapi.responses import JSONResponse, PlainTextResponse
from pydantic import BaseModel

from api.deps import Used
from events.errors import StakeoutError

router = APIRouter(tags=["health"])


class Health(BaseModel):
    """It answers."""

    status: Literal["ok"]


class Ready(BaseModel):
    """checks: `ok`, or what is wrong, by part."""

    status: Literal["ready", "not_ready"]
    checks: dict[str, str]


@router.get("/healthz", responses={})
def healthz() -> Health:
    """The process answers."""
    return Health(status="ok")


@router.get("/readyz", responses={503: {"model": Ready, "description": "Something is missing."}})
def readyz(services: Used) -> JSONResponse:
    """Tables, control log and lanes can be had."""
    checks = {"tables": "ok", "control": "ok", "lanes": "ok"}
    try:
        services.keys.known()
    except StakeoutError as error:
        checks["tables"] = error.message
    try:
        services.registry.patterns()
    except StakeoutError as error:
        checks["control"] = error.message
    if not services.follower.lanes:
        checks["lanes"] = "no lane has committed yet: is a worker running?"
    ready = all(found == "ok" for found in checks.values())
    body = Ready(status="ready" if ready else "not_ready", checks=checks)
    return JSONResponse(body.model_dump(), 200 if ready else 503)


@router.get("/metrics", response_class=PlainTextResponse, responses={})
def metrics(services: Used) -> PlainTextResponse:
    """Prometheus text."""
    return PlainTextResponse(services.metrics(), media_type="text/plain; version=0.0.4")
