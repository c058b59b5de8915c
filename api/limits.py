"""What is refused before a handler sees it: bodies that are too large, strangers at a server without keys."""

from __future__ import annotations

from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.problems import Refusal
from api.services import Services
from events.errors import StakeoutError

LOOPBACK = ("localhost", "127.0.0.1", "::1")


class Limits:
    """Around the application (ASGI).

    Without keys whoever reaches this machine's loopback may do everything; so a page of another origin in a browser on
    it must not: requests need a loopback name as their host, and where they come from a page, one of ours.
    """

    def __init__(self, app: ASGIApp, services: Services) -> None:
        self._app, self._services = app, services
        self._most = services.settings.server.body_bytes_max

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See ASGI."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        taken = 0

        async def counted() -> Message:
            nonlocal taken
            message = await receive()
            taken += len(message.get("body", b""))
            if taken > self._most:
                raise HTTPException(413, self._detail())
            return message

        async def plain(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).setdefault("X-Content-Type-Options", "nosniff")
            await send(message)

        headers = Headers(scope=scope)
        refusal = self._foreign(headers) or self._too_large(headers)
        await (self._app if refusal is None else refusal.answer())(scope, counted, plain)

    def _too_large(self, headers: Headers) -> Refusal | None:
        length = headers.get("content-length", "")
        if length.isdecimal() and int(length[:18]) > self._most:
            return Refusal(413, "body_too_large", self._detail(), "send it in parts")
        return None

    def _detail(self) -> str:
        return f"the body has more than {self._most} bytes"

    def _foreign(self, headers: Headers) -> Refusal | None:
        try:
            if self._services.keys.any():
                return None
        except StakeoutError:
            return None  # nobody gets in: the handlers say why
        host = headers.get("host", "")
        if _name(host) not in LOOPBACK:
            hint = "use localhost; for others make a key: `stakeout keys add`"
            return Refusal(403, "foreign_host", f"a server without keys answers on loopback, not as {host!r}", hint)
        origin = headers.get("origin")
        if origin is not None and urlsplit(origin).netloc != host:
            hint = "make a key (`stakeout keys add`) and send it"
            return Refusal(403, "foreign_origin", f"a server without keys takes nothing from pages of {origin!r}", hint)
        return None


def _name(host: str) -> str:
    try:
        return urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return ""
