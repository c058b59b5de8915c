"""What handlers ask for in their signatures. All are coroutines: plain functions would cost a request a thread each.

def pause(name: str, services: ServicesNow, actor: Author) -> …      the app's services; who asks, if they may
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from difflib import get_close_matches
from typing import Annotated

from fastapi import Depends, Request, Security
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from api.keys import ANYONE, Actor, Role
from api.problems import Refusal
from api.services import Services

bearer = HTTPBearer(auto_error=False, scheme_name="key", description="An API key: `stakeout keys add`")


def services_of(request: Request) -> Services:
    """The app's services."""
    services = request.app.state.services
    assert isinstance(services, Services)
    return services


async def services_now(request: Request) -> Services:
    """The same as a dependency."""
    return services_of(request)


ServicesNow = Annotated[Services, Depends(services_now)]


async def no_others(request: Request) -> None:
    """A query parameter that an operation doesn't have is refused: `?patern=x` would else be every pattern's."""
    operations = request.app.openapi()["paths"].get(request.scope["route"].path, {})
    parameters = operations.get(request.method.lower(), {}).get("parameters", ())
    known = {one["name"] for one in parameters if one["in"] == "query"}
    wrong = [name for name in request.query_params if name not in known]
    if wrong:
        near = get_close_matches(wrong[0], known, n=1)
        hint = f"did you mean {near[0]}?" if near else f"it takes {', '.join(sorted(known)) or 'none'}"
        raise Refusal(422, "unknown_parameter", f"there is no parameter {wrong[0]!r}", hint)


async def actor_of(
    request: Request,
    services: ServicesNow,
    given: Annotated[HTTPAuthorizationCredentials | None, Security(bearer)] = None,
) -> Actor:
    """Who asks. Without any configured key: everyone on this machine."""
    actor = None if given is None else services.keys.actor(given.credentials)
    if given is None and not services.keys.any():
        actor = ANYONE
    if actor is not None:
        request.state.actor = actor.name  # for the audit
        return actor
    what = "the key is not known" if given else "a key is needed"
    hint = "send `Authorization: Bearer sk_…`; `stakeout keys add` makes a key"
    raise Refusal(401, "unauthenticated", what, hint, headers={"WWW-Authenticate": "Bearer"})


def holder_of(role: Role) -> Callable[[Actor], Awaitable[Actor]]:
    """A dependency: who asks, if they have this role."""

    async def check(actor: Annotated[Actor, Depends(actor_of)]) -> Actor:
        if not actor.may(role):
            roles = ", ".join(sorted(actor.roles))
            hint = f"ask for a key with it: `stakeout keys add NAME --role {role}`"
            raise Refusal(403, "forbidden", f"this needs the role {role}; {actor.name} has {roles}", hint)
        return actor

    return check


Reader = Annotated[Actor, Depends(holder_of("reader"))]
Analyst = Annotated[Actor, Depends(holder_of("analyst"))]
Author = Annotated[Actor, Depends(holder_of("author"))]
Operator = Annotated[Actor, Depends(holder_of("operator"))]
