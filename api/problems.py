"""What goes wrong, as problem+json (RFC 9457): one form for every answer that is an error.

    {"type": "urn:stakeout:problem:invalid_document", "title": "Invalid document", "status": 422,
     "code": "invalid_document", "detail": "…", "hint": "…",
     "problems": [{"pointer": "/steps/0/where", "detail": "…", "hint": "…"}]}

`code` is stable: programs compare it. `pointer` is a JSON pointer (RFC 6901) into what was sent.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException

from events.errors import (
    IntegrityViolation,
    InvalidDocument,
    LimitReached,
    Problem,
    ServiceUnavailable,
    StakeoutError,
)

MEDIA_TYPE = "application/problem+json"

RETRY_SECONDS = 2
"""After which a client may try again where a service is away."""

CODES = {
    400: "bad_request",
    401: "unauthenticated",
    403: "forbidden",
    404: "not_found",
    405: "method_not_allowed",
    409: "conflict",
    412: "precondition_failed",
    413: "body_too_large",
    415: "unsupported_media_type",
    422: "invalid_request",
    429: "too_many_requests",
    500: "internal_error",
    503: "service_unavailable",
}
"""The code of a status, where nothing more exact is known."""

PART = re.compile(r"[^.\[\]]+")

_log = logging.getLogger("stakeout.api")


class Detail(BaseModel):
    """One thing that is wrong."""

    pointer: str = Field(description="JSON pointer into what `source` names", examples=["/steps/0/where"])
    detail: str
    hint: str = ""
    source: str = Field(default="body", description="body, query, path or header")
    line: int | None = Field(default=None, description="line of the text that was sent, from 1")


class ProblemDetails(BaseModel):
    """An error (RFC 9457)."""

    type: str = Field(description="urn:stakeout:problem: and the code")
    title: str
    status: int
    code: str = Field(description="stable; compare this one")
    detail: str
    hint: str = ""
    problems: list[Detail] = []


class Refusal(Exception):
    """An answer that is an error, raised where it is noticed."""

    def __init__(
        self,
        status: int,
        code: str,
        detail: str,
        hint: str = "",
        *,
        problems: Sequence[Detail] = (),
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(detail)
        self.status, self.code, self.detail, self.hint = status, code, detail, hint
        self.problems, self.headers = tuple(problems), dict(headers or {})

    def answer(self) -> Response:
        """As a response."""
        title = self.code.replace("_", " ").capitalize()
        body = ProblemDetails(
            type=f"urn:stakeout:problem:{self.code}",
            title=title,
            status=self.status,
            code=self.code,
            detail=self.detail,
            hint=self.hint,
            problems=list(self.problems),
        )
        content = body.model_dump(mode="json")
        return JSONResponse(content, self.status, self.headers, MEDIA_TYPE)


def not_found(what: str, name: str, hint: str = "") -> Refusal:
    """There is no such thing."""
    return Refusal(404, f"unknown_{what}", f"there is no {what.replace('_', ' ')} {name[:200]!r}", hint)


def pointer_of(where: str) -> str:
    """The JSON pointer of a problem's place.

    >>> pointer_of("steps[1].where:9"), pointer_of("body:3 alert.severity"), pointer_of("document")
    ('/steps/1/where', '/alert/severity', '')
    """
    path = re.sub(r":\d+$", "", where.rpartition(" ")[2])
    if path == "document" or re.fullmatch(r"body(:\d+)?", path):
        return ""
    return "".join("/" + part.replace("~", "~0").replace("/", "~1") for part in PART.findall(path))


def details_of(problems: Sequence[Problem]) -> list[Detail]:
    """Problems of a document, each with its pointer and, where the document was text, its line."""
    found = []
    for problem in problems:
        line = re.match(r"body:(\d+)", problem.where)
        column = re.search(r" \S*:(\d+)$|^\S+\w:(\d+)$", problem.where) if not line or " " in problem.where else None
        at = next((group for group in column.groups() if group), "") if column else ""
        reason = f"column {at}: {problem.reason}" if at else problem.reason
        pointer = pointer_of(problem.where)
        found.append(Detail(pointer=pointer, detail=reason, hint=problem.hint, line=int(line[1]) if line else None))
    return found


def declared(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """`responses=` of a route that may answer so, beside what every route may."""
    schema = {"$ref": "#/components/schemas/ProblemDetails"}
    return {
        status: {"description": HTTPStatus(status).phrase, "content": {MEDIA_TYPE: {"schema": schema}}}
        for status in statuses
    }


def refusal_of(error: StakeoutError) -> Refusal:
    """Our own errors as answers."""
    if isinstance(error, InvalidDocument):
        first = error.message.partition("\n")[0]
        return Refusal(422, "invalid_document", first, error.hint, problems=details_of(error.problems))
    if isinstance(error, LimitReached):
        return Refusal(422, "limit_reached", error.message, error.hint)
    if isinstance(error, IntegrityViolation):
        return Refusal(500, "integrity_violation", error.message, error.hint)
    retry = {"Retry-After": str(RETRY_SECONDS)} if isinstance(error, ServiceUnavailable) else {}
    return Refusal(503, "service_unavailable", error.message, error.hint, headers=retry)


def handle_problems(app: FastAPI) -> None:
    """Every error of this app is answered as problem+json."""
    app.add_exception_handler(Refusal, _refused)
    app.add_exception_handler(StakeoutError, _ours)
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(Exception, _unforeseen)


def _refused(_: Request, error: Exception) -> Response:
    assert isinstance(error, Refusal)
    return error.answer()


def _ours(request: Request, error: Exception) -> Response:
    assert isinstance(error, StakeoutError)
    found = refusal_of(error)
    if found.status >= 500:
        _log.warning("request failed", extra={"told": {"path": request.url.path, "error": str(error)}})
    return found.answer()


def _http(_: Request, error: Exception) -> Response:
    """What the framework refuses: an unknown path, another method."""
    assert isinstance(error, HTTPException)
    status, code = error.status_code, CODES.get(error.status_code, "refused")
    if status == 400:  # the framework's own: it couldn't decode a JSON body
        code = "malformed_json"
    return Refusal(status, code, str(error.detail), headers=error.headers).answer()


def _invalid(_: Request, error: Exception) -> Response:
    """A body or parameters that aren't what the route declares: all that is wrong with them."""
    assert isinstance(error, RequestValidationError)
    found = [_detail(dict(each)) for each in error.errors()]
    if any(each["type"] == "json_invalid" for each in error.errors()):
        return Refusal(400, "malformed_json", "the body isn't JSON", problems=found).answer()
    count = f"{len(found)} problem{'s' if len(found) != 1 else ''}"
    return Refusal(422, "invalid_request", f"the request has {count}", problems=found).answer()


def _detail(error: dict[str, Any]) -> Detail:
    where, *path = [text for part in error["loc"] if not (text := str(part)).startswith("(")] or ["body"]
    pointer = "".join("/" + part.replace("~", "~0").replace("/", "~1") for part in path)
    shown = repr(error.get("input"))[:80]
    detail = error["msg"] if error["type"] in ("missing", "json_invalid") else f"{error['msg']}, found {shown}"
    return Detail(pointer=pointer, detail=detail, source=where)


def _unforeseen(request: Request, error: Exception) -> Response:
    """A defect of ours: logged whole, answered without particulars."""
    _log.error("request failed", exc_info=error, extra={"told": {"path": request.url.path}})
    return Refusal(500, "internal_error", "something went wrong here; the server's log has it").answer()
