"""What handlers depend on: the services, who asks, the body, and answers that are given again.

Authorization: Bearer stk_…   a key and its role. Without any key in the tables everybody is `local`, and the server
                              listens on a loopback address only
Idempotency-Key: …            on a POST: the same request with the same key is answered as it was first
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Coroutine
from typing import Annotated, Any, NamedTuple

import msgspec
import yaml
from fastapi import Depends, Header, Request, Response
from fastapi.routing import APIRoute
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from starlette.concurrency import run_in_threadpool

from api.problems import Refused
from api.services import Services
from cep.storage import access
from cep.storage.access import ROLES, Role
from events.errors import NO_YAML, InvalidDocument, Problem

HOUR_US = 3_600_000_000
KEY_CHARS_MAX = 255


def services_of(request: Request) -> Services:
    """Those of the application."""
    found: Services = request.app.state.services
    return found


Used = Annotated[Services, Depends(services_of)]

bearer = HTTPBearer(auto_error=False, description="an API key, made by `stakeout keys add`")


class Actor(NamedTuple):
    """Who asks."""

    name: str
    role: Role

    def may(self, role: Role) -> bool:
        """Is theirs this role, or one that may more?"""
        return ROLES.index(self.role) >= ROLES.index(role)


LOCAL = Actor("local", "operator")


def actor_of(
    services: Used, credentials: Annotated[HTTPAuthorizationCredentials | None, Depends(bearer)]
) -> Actor:  # fmt: skip
    """Whoever the key belongs to. Raises Refused (401)."""
    return known_actor(services, credentials.credentials if credentials else None)


def known_actor(services: Services, key: str | None) -> Actor:
    """The owner of a key; LOCAL while there are no keys. Raises Refused (401)."""
    keys = services.keys.known()
    if not keys:
        return LOCAL
    found = keys.get(access.digest_of(key)) if key else None
    if found is None:
        what = "this API key isn't known, or has ended" if key else "this needs an API key"
        hint = "send `Authorization: Bearer stk_…`; `stakeout keys add` makes one"
        raise Refused(401, "unauthorized", what, hint, headers={"WWW-Authenticate": "Bearer"})
    return Actor(*found)


def needs(role: Role) -> Any:
    """The actor, if it may. Raises Refused (401, 403)."""

    def check(actor: Annotated[Actor, Depends(actor_of)]) -> Actor:
        if not actor.may(role):
            hint = f"ask for a key with the role {role}, or one above it"
            raise Refused(403, "forbidden", f"{actor.name} is a {actor.role}; this needs the role {role}", hint)
        return actor

    return Depends(check)


Reader = Annotated[Actor, needs("reader")]
Analyst = Annotated[Actor, needs("analyst")]
Author = Annotated[Actor, needs("author")]
Operator = Annotated[Actor, needs("operator")]


async def body_of(request: Request) -> bytes:
    """The body, as it came."""
    return await request.body()


Body = Annotated[bytes, Depends(body_of)]


def document_of(body: Body, content_type: Annotated[str, Header()] = "application/json") -> dict[str, Any]:
    """A document in JSON or YAML. Raises InvalidDocument."""
    try:
        found = yaml.safe_load(body) if "yaml" in content_type else msgspec.json.decode(body)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        place = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
        reason = f"{place}not YAML: {getattr(error, 'problem', None) or error}"
        raise InvalidDocument("the request", [Problem("", reason, NO_YAML)]) from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        hint = "YAML is taken as `Content-Type: application/yaml`"
        raise InvalidDocument("the request", [Problem("", f"not JSON: {error}", hint)]) from error
    if not isinstance(found, dict) or not all(isinstance(name, str) for name in found):
        raise InvalidDocument("the request", [Problem("", "must be an object: names with values")])
    return found


Document = Annotated[dict[str, Any], Depends(document_of)]

DOCUMENT: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {"schema": {"type": "object"}},
            "application/yaml": {"schema": {"type": "string"}},
        },
    }
}
"""The OpenAPI of a Document's body."""


class Repeatable(APIRoute):
    """A route whose answer to a POST with an Idempotency-Key is kept and given again."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """See APIRoute."""
        handler = super().get_route_handler()

        async def handle(request: Request) -> Response:
            key = request.headers.get("idempotency-key")
            if key is None or request.method != "POST":
                return await handler(request)
            return await _once(request, key, handler)

        return handle


async def _once(request: Request, key: str, handler: Callable[[Request], Coroutine[Any, Any, Response]]) -> Response:
    if not 0 < len(key) <= KEY_CHARS_MAX or not key.isprintable():
        raise Refused(422, "idempotency_key", f"an Idempotency-Key has 1 to {KEY_CHARS_MAX} printable characters")
    services = services_of(request)
    scheme, _, secret = request.headers.get("authorization", "").partition(" ")
    actor = await run_in_threadpool(known_actor, services, secret.strip() if scheme.lower() == "bearer" else None)
    asked = hashlib.sha256(f"{request.method} {request.url.path}?{request.url.query}\n".encode() + await request.body())
    kept = await run_in_threadpool(_begin, services, actor.name, key, asked.hexdigest())
    if kept is not None:
        return _again(kept, asked.hexdigest())
    try:
        response = await handler(request)
    except BaseException:
        await run_in_threadpool(_drop, services, actor.name, key)
        raise
    headers = {name: value for name, value in response.headers.items() if name in ("location", "etag", "content-type")}
    body = bytes(response.body)
    await run_in_threadpool(_end, services, actor.name, key, response.status_code, json.dumps(headers), body)
    return response


def _again(kept: access.Answer, asked: str) -> Response:
    if kept.request != asked:
        hint = "take a new key for a new request"
        raise Refused(422, "idempotency_mismatch", "this Idempotency-Key was sent with another request before", hint)
    if kept.status == 0:
        hint = "ask again in a moment"
        raise Refused(409, "idempotency_running", "the request with this Idempotency-Key is still at work", hint)
    return Response(kept.body, kept.status, {**json.loads(kept.headers), "Idempotent-Replayed": "true"})


def _begin(services: Services, actor: str, key: str, asked: str) -> access.Answer | None:
    now_us = services.wall_us()
    with services.transaction() as connection:
        access.forget_answers(connection, now_us - services.settings.serve.idempotency_hours * HOUR_US)
        return access.begin_answer(connection, actor, key, asked, now_us)


def _end(services: Services, actor: str, key: str, status: int, headers: str, body: bytes) -> None:
    with services.transaction() as connection:
        access.end_answer(connection, actor, key, status, headers, body)


def _drop(services: Services, actor: str, key: str) -> None:
    with services.transaction() as connection:
        access.drop_answer(connection, actor, key)
