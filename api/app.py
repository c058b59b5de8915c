"""The application: routes, errors, limits. `create_app(services)` gives it; `stakeout serve` runs it."""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec

from fastapi import FastAPI

from api.problems import handle_problems
from api.routes import health
from api.services import Services

ABOUT = "Sequence patterns over transaction streams: fraud alerts as they happen, exactly once."


def create_app(services: Services) -> FastAPI:
    """The REST interface, and the dashboard where it is installed, over these services."""
    app = FastAPI(title="stakeout", version="0.1.0", description=ABOUT, redoc_url=None)
    app.state.services = services
    handle_problems(app)
    for module in (health,):
        app.include_router(module.router)
    if find_spec("api.dashboard") is not None:
        app.include_router(import_module("api.dashboard").router)
    return app
