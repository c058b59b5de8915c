"""The application: routes, errors, limits. `create_app(services)` gives it; `stakeout serve` runs it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib import import_module
from importlib.util import find_spec

import anyio.to_thread
from fastapi import Depends, FastAPI

from api.counted import Counted, RequestCounts
from api.deps import no_others
from api.events_in import checks_of
from api.limits import Limits
from api.openapi import describe
from api.problems import declared, handle_problems
from api.routes import alerts, events, features, health, labels, lanes, patterns
from api.services import Services

ABOUT = "Sequence patterns over transaction streams: fraud alerts as they happen, exactly once."

ROUTERS = (
    health.router,
    patterns.reads,
    patterns.writes,
    events.router,
    alerts.reads,
    alerts.writes,
    labels.reads,
    labels.writes,
    lanes.router,
    features.router,
)


def create_app(services: Services) -> FastAPI:
    """The REST interface, and the dashboard where it is installed, over these services."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        anyio.to_thread.current_default_thread_limiter().total_tokens = services.settings.server.threads
        yield

    app = FastAPI(
        title="stakeout",
        version="0.1.0",
        description=ABOUT,
        docs_url=None,
        redoc_url=None,
        lifespan=lifespan,
        telemetry={"logs": False, "metrics": False, "operation_spans": False},
    )
    app.state.services = services
    app.state.checks = checks_of(services.streams)
    app.state.following = set()
    handle_problems(app)
    app.add_middleware(Limits, services=services)
    app.state.requests = RequestCounts()
    app.add_middleware(Counted, counts=app.state.requests)
    for router in ROUTERS:
        app.include_router(router, dependencies=[Depends(no_others)], responses=declared(422))
    if find_spec("api.dashboard") is not None:
        app.include_router(import_module("api.dashboard").router)
    describe(app)
    return app
