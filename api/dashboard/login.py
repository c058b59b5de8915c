"""Logging in with an API key, and out."""

from __future__ import annotations

import hashlib
from http import HTTPStatus
from pathlib import Path

from fastapi import APIRouter, Request, Response
from fastapi.responses import RedirectResponse

from api.dashboard.pages import Screen, page
from api.dashboard.visitor import AnyVisitor, Sent, check_form, log_in, log_out
from api.deps import ServicesNow
from api.keys import read_keys

router = APIRouter(route_class=Screen)


@router.get("/login")
def ask_for_key(request: Request, visitor: AnyVisitor, next: str = "/") -> Response:
    """The page that asks for a key."""
    if not visitor.by_key:
        return RedirectResponse("/", HTTPStatus.SEE_OTHER)
    return page(request, visitor, "login.html", next=own_path(next), wrong=False)


@router.post("/login")
def take_key(request: Request, services: ServicesNow, visitor: AnyVisitor, form: Sent) -> Response:
    """A session for who has a key."""
    check_form(visitor, form)
    path = Path(services.settings.server.keys)
    digest = hashlib.sha256(form.get("key", "").strip().encode()).hexdigest()
    found = next((key for key in read_keys(path) if key.sha256 == digest), None)
    target = own_path(form.get("next", "/"))
    if found is None:
        return page(request, visitor, "login.html", status=HTTPStatus.UNAUTHORIZED, next=target, wrong=True)
    response = RedirectResponse(target, HTTPStatus.SEE_OTHER)
    log_in(response, found, path.parent, services.clock.wall_us(), secure=request.url.scheme == "https")
    return response


@router.post("/logout")
def leave(visitor: AnyVisitor, form: Sent) -> Response:
    """Ends the session in this browser; the key still opens others."""
    check_form(visitor, form)
    response = RedirectResponse("/login", HTTPStatus.SEE_OTHER)
    log_out(response)
    return response


def own_path(path: str) -> str:
    """A path of this server, else its root: nobody is led elsewhere.

    >>> own_path("/alerts/1?a=b"), own_path("//evil.example"), own_path("https:x"), own_path("/\\\\evil.example")
    ('/alerts/1?a=b', '/', '/', '/')
    """
    fits = path.startswith("/") and not path.startswith("//") and "\\" not in path and path.isprintable()
    return path if fits else "/"
