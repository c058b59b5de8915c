"""Routes that write: audited, and with an `Idempotency-Key` a request may be sent again and is answered as before.

    key + who + what ── SHA-256 ──▶ a row: unanswered, then the answer      kept for server.idempotency_hours

Only answers of success are kept: what was refused may be sent again. A first request that never ended (the process
died) counts as undone after UNANSWERED_SECONDS, so that what it wrote may be written twice: event ids and versions see
to that.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Coroutine
from typing import Annotated, Any

import msgspec
from fastapi import Depends, Header, Request
from fastapi.routing import APIRoute
from sqlalchemy import delete, func, select, update
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from api.deps import services_of
from api.problems import Refusal
from api.services import Services
from cep.storage.database import writing
from cep.storage.queries import insert_or_leave
from cep.storage.tables import idempotency_keys as table
from events.errors import ServiceUnavailable

HEADER = "Idempotency-Key"
KEPT_HEADERS = ("location", "etag", "content-type")
UNANSWERED_SECONDS = 60

_log = logging.getLogger("stakeout.api")
_audit = logging.getLogger("stakeout.audit")


async def takes_idempotency_key(
    key: Annotated[
        str | None,
        Header(alias=HEADER, min_length=1, max_length=255, pattern=r"^[\x21-\x7e]+$", description="see docs/api.md"),
    ] = None,
) -> None:
    """Declares the header; `WriteRoute` acts on it."""


WRITES = [Depends(takes_idempotency_key)]
"""Dependencies of a router whose routes write."""


class WriteRoute(APIRoute):
    """A route that writes: its JSON body must say that it is JSON, it may be sent again, and it is audited."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """See APIRoute."""
        inner = super().get_route_handler()

        async def handle(request: Request) -> Response:
            response = await inner(request)
            note_write(request, response)
            return response

        takes_json = self.body_field is not None

        async def answer(request: Request) -> Response:
            if takes_json:
                await _check_json(request)
            key = request.headers.get(HEADER, "")
            services = services_of(request)
            if not (0 < len(key) <= 255) or not await run_in_threadpool(_is_known, services, request):
                return await handle(request)
            digest, told = await _digests(request, key)
            kept = await run_in_threadpool(_begin, services, digest, told)
            if kept is not None:
                return kept
            try:
                response = await handle(request)
            except BaseException:
                await run_in_threadpool(_forget, services, digest)
                raise
            await run_in_threadpool(_keep, services, digest, response)
            return response

        return answer


def note_write(request: Request, response: Response) -> None:
    """A line of the audit: every write, and who asked for it. What it changed stands with its author in the control
    log, in the actions of a case, with a label."""
    actor = getattr(request.state, "actor", "")
    told = {"actor": actor, "method": request.method, "path": request.url.path, "status": response.status_code}
    _audit.info("write", extra={"told": told})


async def _check_json(request: Request) -> None:
    given = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if given != "application/json" and (given or await request.body()):
        hint = "send `Content-Type: application/json`"
        raise Refusal(415, "unsupported_media_type", f"expected application/json, found {given or 'nothing'}", hint)


def _is_known(services: Services, request: Request) -> bool:
    """Strangers keep nothing here."""
    scheme, _, key = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer":
        return services.keys.actor(key.strip()) is not None
    return not services.keys.any()


async def _digests(request: Request, key: str) -> tuple[str, str]:
    """(whose key for what, what was asked)."""
    who = request.headers.get("authorization", "")
    scope = "\n".join((who, request.method, request.url.path, key))
    asked = f"{request.url.query}\n{request.headers.get('content-type', '')}\n".encode() + await request.body()
    return hashlib.sha256(scope.encode()).hexdigest(), hashlib.sha256(asked).hexdigest()


def _begin(services: Services, digest: str, told: str) -> Response | None:
    """Takes the key, or answers what was answered. Raises Refusal while the first request is in progress, or if this is
    another request under the same key."""
    now_us, settings = services.clock.wall_us(), services.settings.server
    with writing(services.engine) as connection:
        old = table.c.at < now_us - settings.idempotency_hours * 3_600_000_000
        undone = table.c.status.is_(None) & (table.c.at < now_us - UNANSWERED_SECONDS * 1_000_000)
        connection.execute(delete(table).where(old | ((table.c.digest == digest) & undone)))
        count = connection.execute(select(func.count()).select_from(table)).scalar_one()
        if count >= settings.idempotency_keys_max:
            hint = "send it without the key, or raise server.idempotency_keys_max"
            raise Refusal(429, "too_many_idempotency_keys", f"{count} keys are kept, which is the limit", hint)
        row = {"digest": digest, "request": told, "at": now_us, "status": None, "headers": "{}", "body": None}
        if connection.execute(insert_or_leave(connection, table), [row]).rowcount == 1:
            return None
        found = connection.execute(select(table).where(table.c.digest == digest)).mappings().one()
    if found["request"] != told:
        hint = "a key is for one request: choose a new one"
        raise Refusal(422, "idempotency_key_reused", "this Idempotency-Key came with another request before", hint)
    if found["status"] is None:
        raise Refusal(
            409, "in_progress", "the first request with this key is being answered", headers={"Retry-After": "1"}
        )
    headers = {**msgspec.json.decode(found["headers"], type=dict[str, str]), "Idempotent-Replayed": "true"}
    return Response(found["body"], found["status"], headers)


def _keep(services: Services, digest: str, response: Response) -> None:
    if not 200 <= response.status_code < 300:
        _forget(services, digest)
        return
    headers = {name: value for name, value in response.headers.items() if name in KEPT_HEADERS}
    values = {
        "status": response.status_code,
        "headers": msgspec.json.encode(headers).decode(),
        "body": bytes(response.body),
    }
    try:
        with writing(services.engine) as connection:
            connection.execute(update(table).where(table.c.digest == digest).values(values))
    except ServiceUnavailable as error:  # what was asked is done: that must be answered
        _log.warning("answer not kept", extra={"told": {"error": str(error)}})


def _forget(services: Services, digest: str) -> None:
    with writing(services.engine) as connection:
        connection.execute(delete(table).where(table.c.digest == digest))
