"""What handlers ask for in their signatures.

def pause(name: str, services: ServicesNow, actor: Author) -> …      the app's services; who asks, if they may
"""

from __future__ import annotations

from collections.abc import Callable
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


ServicesNow = Annotated[Services, Depends(services_of)]


def actor_of(
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


def holder_of(role: Role) -> Callable[[Actor], Actor]:
    """A dependency: who asks, if they have this role."""

    def check(actor: Annotated[Actor, Depends(actor_of)]) -> Actor:
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
