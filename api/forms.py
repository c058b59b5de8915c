"""Forms that several resources share: instants, ids, pages, raw bodies."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

from fastapi import Query, Request
from fastapi.responses import Response
from pydantic import AfterValidator

from api.problems import Detail, Refusal
from cep.storage.queries import PAGE_MAX
from cep.storage.tables import EPOCH, MICROSECOND

ALERT_PREFIX, LABEL_PREFIX = "alert_", "label_"

NameText = Annotated[str, Query(min_length=1, max_length=255)]
Limit = Annotated[int, Query(ge=1, le=PAGE_MAX, description="items on the page")]
Cursor = Annotated[str | None, Query(max_length=300, description="`next_cursor` of the page before")]


def _with_zone(at: datetime) -> datetime:
    if at.tzinfo is None:
        raise ValueError("expected an instant with its zone, as 2026-01-31T12:00:00Z")
    try:
        return at.astimezone(UTC)
    except OverflowError as error:
        raise ValueError("expected an instant in the years 1 to 9999") from error


InstantIn = Annotated[datetime, AfterValidator(_with_zone)]
"""RFC 3339, with a zone."""


def instant(at_us: int) -> datetime:
    """Microseconds as RFC 3339 shows them.

    >>> instant(1_700_000_000_123_456).isoformat()
    '2023-11-14T22:13:20.123456+00:00'
    """
    return EPOCH + timedelta(microseconds=at_us)


def microseconds(at: datetime) -> int:
    """The way back."""
    return (at - EPOCH) // MICROSECOND


def instant_text(at_us: int) -> str:
    """RFC 3339 in UTC.

    >>> instant_text(1_700_000_000_123_456)
    '2023-11-14T22:13:20.123456Z'
    """
    return instant(at_us).isoformat().replace("+00:00", "Z")


def json_answer(body: bytes, status: int = 200, **headers: str) -> Response:
    """An answer that is JSON already: events stand in it as they came, digit by digit."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Response(body, status, named, "application/json")


async def raw_body(request: Request) -> bytes:
    """The body as it came."""
    return await request.body()


def media_type(request: Request, known: tuple[str, ...]) -> str:
    """Which of these the body says that it is. Raises Refusal."""
    given = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if given not in known:
        hint = f"send `Content-Type: {known[0]}`"
        expected = " or ".join(known)
        raise Refusal(415, "unsupported_media_type", f"expected {expected}, found {given or 'nothing'}", hint)
    return given


def raw_content(**schemas: Any) -> dict[str, Any]:
    """`openapi_extra=` of a route that reads the body itself: media type → schema."""
    return {"requestBody": {"required": True, "content": {name: {"schema": each} for name, each in schemas.items()}}}


def bad_cursor(cursor: str) -> Refusal:
    """It isn't one of ours."""
    found = Detail(
        pointer="/cursor", source="query", detail=f"expected the next_cursor of a page, found {cursor[:64]!r}"
    )
    return Refusal(422, "invalid_request", "the request has 1 problem", problems=[found])


def etag(value: object) -> str:
    """As a header.

    >>> etag(7)
    '"7"'
    """
    return f'"{value}"'


def check_match(if_match: str | None, current: object) -> None:
    """Raises Refusal where `If-Match` names another state than the current one."""
    if if_match is None or if_match.strip() == "*":
        return
    wanted = [part.strip().removeprefix("W/") for part in if_match.split(",")]
    if etag(current) not in wanted:
        hint = "read it again, decide again, and send its ETag"
        detail = f"it has changed: If-Match says {if_match[:100]}, it is {etag(current)} now"
        raise Refusal(412, "precondition_failed", detail, hint, headers={"ETag": etag(current)})
