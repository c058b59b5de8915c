"""Who looks at the dashboard, and that a form comes from one of its pages.

    login: an API key ──▶ cookie `stakeout_session` = name, mark of the key, end, signed   HttpOnly, SameSite=Strict
    any page          ──▶ cookie `stakeout_form` = a random text; each form has its HMAC in `token`

The secret behind both lies beside the file of keys, so that any number of servers know each other's visitors. A session
ends with its key: `mark` is no longer that of a known one. The roles are those of the key.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
from base64 import urlsafe_b64decode, urlsafe_b64encode
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Annotated
from urllib.parse import parse_qsl

import msgspec
from fastapi import Depends, Request, Response

from api.deps import ServicesNow
from api.keys import ANYONE, Actor, Key, read_keys
from api.problems import Refusal
from events.errors import ServiceUnavailable

SESSION, FORM = "stakeout_session", "stakeout_form"
SESSION_SECONDS = 12 * 3600
SECRET_FILE = "sessions.secret"
SECRET_BYTES = 32
FORM_BYTES_MAX = 65_536
FORM_FIELDS_MAX = 32


class Session(msgspec.Struct, frozen=True, array_like=True):
    """What the cookie holds."""

    name: str
    mark: str
    until_us: int


@dataclass(frozen=True, slots=True)
class Visitor:
    """actor: None where a key is needed and none was given.  form: the text behind `token`, a cookie"""

    actor: Actor | None
    form: str
    token: str
    by_key: bool

    @property
    def name(self) -> str:
        """As the audit names them."""
        return self.actor.name if self.actor else ""

    def may(self, role: str) -> bool:
        """May they do what the role does?"""
        return self.actor is not None and (role == "reader" or role in self.actor.roles)


class LoginNeeded(Exception):
    """Nobody is logged in; the page asks them to, and leads back."""


def visitor_of(request: Request, services: ServicesNow) -> Visitor:
    """Who asks; without any configured key, whoever is on this machine."""
    secret = secret_of(Path(services.settings.server.keys).parent)
    form = request.cookies.get(FORM, "")
    if not 16 <= len(form) <= 64:
        form = secrets.token_urlsafe(18)
    token = _signature(secret, "form", form)
    if not services.keys.any():
        return Visitor(ANYONE, form, token, by_key=False)
    keys = read_keys(Path(services.settings.server.keys))
    session = _session(secret, request.cookies.get(SESSION, ""))
    found = None
    if session is not None and session.until_us > services.clock.wall_us():
        found = next((key for key in keys if key.name == session.name and _mark(key) == session.mark), None)
    actor = None if found is None else Actor(found.name, frozenset(found.roles))
    return Visitor(actor, form, token, by_key=True)


AnyVisitor = Annotated[Visitor, Depends(visitor_of)]


def known_visitor(request: Request, visitor: AnyVisitor) -> Visitor:
    """Who asks, if they may read. Raises LoginNeeded."""
    if visitor.actor is None:
        raise LoginNeeded
    request.state.actor = visitor.name  # for the audit
    return visitor


Known = Annotated[Visitor, Depends(known_visitor)]


async def form_of(request: Request) -> dict[str, str]:
    """The fields of a form that was sent. Raises Refusal for one that is no form, or too large."""
    if request.headers.get("content-type", "").partition(";")[0].strip() != "application/x-www-form-urlencoded":
        raise Refusal(415, "unsupported_media_type", "a form was expected", "use the forms of the dashboard")
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > FORM_BYTES_MAX:
            raise Refusal(413, "body_too_large", f"a form may have {FORM_BYTES_MAX} bytes", "shorten the note")
    try:
        return dict(parse_qsl(body.decode(), keep_blank_values=True, max_num_fields=FORM_FIELDS_MAX))
    except ValueError as error:
        raise Refusal(400, "bad_request", f"the form can't be read: {error}") from error


Sent = Annotated[dict[str, str], Depends(form_of)]


def check_form(visitor: Visitor, form: dict[str, str]) -> None:
    """Raises Refusal for a form that isn't of a page which this visitor was shown."""
    if not hmac.compare_digest(form.get("token", "").encode(), visitor.token.encode()):
        hint = "go back, load the page again and repeat it"
        raise Refusal(403, "foreign_form", "this form isn't from a page that you were shown, or it is too old", hint)


def check_role(visitor: Visitor, role: str) -> None:
    """Raises Refusal where the visitor's key doesn't have the role."""
    if not visitor.may(role):
        hint = f"ask for a key with it: `stakeout keys add NAME --role {role}`"
        raise Refusal(403, "forbidden", f"this needs the role {role}; {visitor.name or 'you'} can't do it", hint)


def log_in(response: Response, key: Key, folder: Path, now_us: int, *, secure: bool) -> None:
    """Sets the cookie of a session. secure: it is sent by HTTPS only."""
    session = Session(key.name, _mark(key), now_us + SESSION_SECONDS * 1_000_000)
    text = urlsafe_b64encode(msgspec.json.encode(session)).decode()
    value = f"{text}.{_signature(secret_of(folder), 'session', text)}"
    response.set_cookie(SESSION, value, SESSION_SECONDS, httponly=True, samesite="strict", secure=secure)


def log_out(response: Response) -> None:
    """Takes the cookie away."""
    response.delete_cookie(SESSION, httponly=True, samesite="strict")


def keep_form(response: Response, visitor: Visitor, *, secure: bool) -> None:
    """Sets the cookie that the tokens of this page's forms belong to."""
    response.set_cookie(FORM, visitor.form, httponly=True, samesite="lax", secure=secure)


@cache
def secret_of(folder: Path) -> bytes:
    """The secret of a folder, made at the first call. Raises ServiceUnavailable."""
    path = folder / SECRET_FILE
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if not path.exists():
            beside = folder / f".{SECRET_FILE}.{secrets.token_hex(8)}"
            with os.fdopen(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
                file.write(secrets.token_bytes(SECRET_BYTES))
            try:
                os.link(beside, path)  # whole, and only one of several servers that start at once
            except FileExistsError:
                pass
            finally:
                beside.unlink()
        return path.read_bytes()
    except OSError as error:
        raise ServiceUnavailable(f"{path}: {error}", "make the folder of server.keys writable") from error


def _session(secret: bytes, cookie: str) -> Session | None:
    text, _, signature = cookie.rpartition(".")
    if not hmac.compare_digest(signature.encode(), _signature(secret, "session", text).encode()):
        return None
    try:
        return msgspec.json.decode(urlsafe_b64decode(text), type=Session)
    except (ValueError, msgspec.MsgspecError):  # signed by another release
        return None


def _mark(key: Key) -> str:
    return hashlib.sha256(key.sha256.encode()).hexdigest()[:16]


def _signature(secret: bytes, purpose: str, text: str) -> str:
    return hmac.new(secret, f"{purpose}\0{text}".encode(), hashlib.sha256).hexdigest()
