"""A page from a template, the headers of every page, and errors as pages."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Coroutine
from functools import cache
from http import HTTPStatus
from pathlib import Path
from typing import Any
from urllib.parse import quote

from fastapi import Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, RedirectResponse
from fastapi.routing import APIRoute
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape

from api.dashboard import wording
from api.dashboard.visitor import LoginNeeded, Visitor, keep_form
from api.problems import Refusal, refusal_of
from api.writes import note_write
from events.errors import StakeoutError

HERE = Path(__file__).parent
STATIC = HERE / "static"

POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self'",
        "connect-src 'self'",
        "form-action 'self'",
        "base-uri 'none'",
        "frame-ancestors 'none'",
    )
)

CODE = re.compile("`([^`]+)`")
WORD_MAX = 24

HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cache-Control": "no-store",
}


class Screen(APIRoute):
    """A route whose errors are pages, and whose answers carry HEADERS where they don't say otherwise."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """See APIRoute."""
        handle = super().get_route_handler()

        async def answered(request: Request) -> Response:
            try:
                response = await handle(request)
                if request.method == "POST":
                    note_write(request, response)
            except LoginNeeded:
                there = request.url.path + (f"?{request.url.query}" if request.url.query else "")
                asked = there if request.method == "GET" else "/"
                response = RedirectResponse(f"/login?next={quote(asked, safe='')}", HTTPStatus.SEE_OTHER)
            except RequestValidationError as error:
                response = error_page(Refusal(422, "invalid_request", str(error.errors()[0].get("msg", "invalid"))))
            except Refusal as error:
                response = error_page(error)
            except StakeoutError as error:
                response = error_page(refusal_of(error))
            for name, value in HEADERS.items():
                response.headers.setdefault(name, value)
            return response

        return answered


def page(request: Request, visitor: Visitor, template: str, /, *, status: int = 200, **values: object) -> HTMLResponse:
    """The page of a template."""
    text = environment().get_template(template).render(visitor=visitor, path=request.url.path, **values)
    response = HTMLResponse(text, status)
    keep_form(response, visitor, secure=request.url.scheme == "https")
    return response


def fragment(template: str, /, **values: object) -> str:
    """A part of a page, as text."""
    return environment().get_template(template).render(**values)


def error_page(error: Refusal) -> HTMLResponse:
    """An error for people. It is plain, since anything may be out of order."""
    title = HTTPStatus(error.status).phrase
    return HTMLResponse(fragment("error.html", visitor=None, path="", error=error, title=title), error.status)


@cache
def environment() -> Environment:
    """Templates with everything escaped; a name that isn't there is an error."""
    found = Environment(
        loader=FileSystemLoader(HERE / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    for each in (wording.clock, wording.date, wording.rfc3339):
        found.filters[each.__name__] = each
    found.filters["coded"] = coded
    found.filters["unbroken"] = unbroken
    found.globals["static"] = static_url
    return found


def coded(text: str) -> Markup:
    """Text in which `this` is code.

    >>> coded("3 `a`, <then> `b`")
    Markup('3 <code>a</code>, &lt;then&gt; <code>b</code>')
    """
    return Markup(CODE.sub(r"<code>\1</code>", str(escape(text))))  # all of it was escaped before


def unbroken(text: str) -> Markup:
    """Text whose words don't part at a hyphen, unless they are long.

    >>> unbroken("at m-1 <now>")
    Markup('at <span class="word">m-1</span> &lt;now&gt;')
    """
    word = Markup('<span class="word">{}</span>').format
    parts = [word(part) if "-" in part and len(part) <= WORD_MAX else escape(part) for part in text.split(" ")]
    return Markup(" ").join(parts)


@cache
def static_url(name: str) -> str:
    """Where a static file is, by its content: it may be kept for ever."""
    digest = hashlib.sha256((STATIC / name).read_bytes()).hexdigest()[:12]
    return f"/static/{name}?{digest}"
