"""The application: routes, problems, limits and the OpenAPI document. A composition root; `api.serve` runs it."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from fastapi.responses import HTMLResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.docs_page import docs_page
from api.problems import ProblemDetail, ProblemOut, answer, handle_problems, refusals
from api.routes import alerts, dead_letters, decisions, events, health, labels, lanes, patterns, streams
from api.services import Services

VERSION = "v1"
SUMMARY = "Sequence patterns over transaction streams: register patterns, send events, work alerts."


def create_app(services: Services) -> FastAPI:
    """The application around what it is handed."""
    app = FastAPI(
        title="Stakeout",
        version=VERSION,
        description=SUMMARY,
        docs_url=None,  # the framework's page asks another host for its scripts
        redoc_url=None,
        responses=refusals(401, 403, 404, 413, 422, 503),
    )
    app.state.services = services
    app.add_middleware(BodyLimit, bytes_max=services.settings.serve.body_bytes_max)
    handle_problems(app, services.log)
    app.include_router(health.router)
    app.add_api_route("/docs", lambda: HTMLResponse(docs_page(document_of(app))), include_in_schema=False)
    for room in (patterns, events, decisions, alerts, labels, streams, lanes, dead_letters):
        app.include_router(room.router, prefix=f"/{VERSION}")
    app.openapi = lambda: document_of(app)  # type: ignore[method-assign]  # FastAPI's own way to change the document
    return app


def document_of(app: FastAPI) -> dict[str, Any]:
    """The OpenAPI document, with the schema of problem documents."""
    if app.openapi_schema is None:
        document = get_openapi(
            title=app.title, version=app.version, description=app.description, routes=app.routes
        )  # fmt: skip
        schemas = document.setdefault("components", {}).setdefault("schemas", {})
        schema = ProblemDetail.model_json_schema(ref_template="#/components/schemas/{model}")
        schema.pop("$defs", None)
        schemas["ProblemDetail"] = schema
        schemas["ProblemOut"] = ProblemOut.model_json_schema()
        for unused in ("HTTPValidationError", "ValidationError"):
            schemas.pop(unused, None)
        app.openapi_schema = document
    return app.openapi_schema


class BodyLimit:
    """Refuses a body that is too large (413) before it is read whole, with a problem document, which the limit of the
    framework does not give.
    """

    def __init__(self, app: ASGIApp, bytes_max: int) -> None:
        self.app, self.bytes_max = app, bytes_max

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See ASGI."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        length = dict(scope["headers"]).get(b"content-length", b"0")
        if length.isdigit() and int(length) > self.bytes_max:
            await self._refuse(scope, receive, send)
            return
        taken = 0
        refused = False

        async def limited() -> Message:
            nonlocal taken, refused
            message = await receive()
            taken += len(message.get("body", b""))
            if taken > self.bytes_max:
                refused = True
                return {"type": "http.disconnect"}
            return message

        async def checked(message: Message) -> None:
            if not refused:
                await send(message)

        try:
            await self.app(scope, limited, checked)
        except Exception:
            if not refused:
                raise
        if refused:
            await self._refuse(scope, receive, send)

    async def _refuse(self, scope: Scope, receive: Receive, send: Send) -> None:
        detail = f"the request's body is larger than {self.bytes_max:,} bytes"
        response = answer(413, "body_too_large", detail, "send less at a time: setting serve.body_bytes_max")
        await response(scope, receive, send)
