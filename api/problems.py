"""What a refused request gets: problem documents (RFC 9457), with every problem at once and a stable `code`.

{"type": "about:blank", "title": "Unprocessable Content", "status": 422, "code": "invalid_document",
 "detail": "pattern card-testing: 2 problems",
 "problems": [{"pointer": "/steps/1/where", "column": 9, "reason": "…", "hint": "…"}]}
"""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel
from starlette.exceptions import HTTPException

from cep.registry import Conflict
from events.errors import InvalidDocument, LimitReached, Problem, ServiceUnavailable, StakeoutError

MEDIA_TYPE = "application/problem+json"

PLACE = re.compile(r"^(?P<path>[^:]*?)(?::(?P<column>\d+))?$")


class ProblemOut(BaseModel):
    """One thing that is wrong. pointer: RFC 6901, into the request's document; column: from 1, inside of a text."""

    pointer: str
    column: int | None = None
    reason: str
    hint: str = ""


class ProblemDetail(BaseModel):
    """Why a request was refused (RFC 9457)."""

    type: str = "about:blank"
    title: str
    status: int
    code: str
    detail: str
    hint: str = ""
    problems: list[ProblemOut] = []


class Refused(StakeoutError):
    """A request that is answered with a problem document."""

    def __init__(
        self,
        status: int,
        code: str,
        detail: str,
        hint: str = "",
        problems: Sequence[Problem] = (),
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(detail, hint)
        self.status, self.code, self.problems, self.headers = status, code, problems, headers


def refusals(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The answers with these statuses, for the OpenAPI document."""
    schema = {"$ref": "#/components/schemas/ProblemDetail"}
    return {
        status: {"description": HTTPStatus(status).phrase, "content": {MEDIA_TYPE: {"schema": schema}}}
        for status in statuses
    }


def pointer_of(where: str) -> tuple[str, int | None]:
    """A problem's place as a JSON pointer and a column.

    >>> pointer_of("steps[1].where:9")
    ('/steps/1/where', 9)
    """
    found = PLACE.match(where)
    path, column = (found["path"], found["column"]) if found else (where, None)
    parts = [part for part in re.split(r"[.\[\]]+", path) if part]
    escaped = [part.replace("~", "~0").replace("/", "~1") for part in parts]
    return "".join(f"/{part}" for part in escaped), int(column) if column else None


def problem_out(problem: Problem) -> ProblemOut:
    """A problem for the wire."""
    pointer, column = pointer_of(problem.where)
    return ProblemOut(pointer=pointer, column=column, reason=problem.reason, hint=problem.hint)


def answer(
    status: int,
    code: str,
    detail: str,
    hint: str = "",
    problems: Sequence[ProblemOut] = (),
    headers: Mapping[str, str] | None = None,
) -> JSONResponse:
    """A problem document."""
    title = HTTPStatus(status).phrase
    body = ProblemDetail(title=title, status=status, code=code, detail=detail, hint=hint, problems=list(problems))
    return JSONResponse(
        body.model_dump(exclude_none=True), status, media_type=MEDIA_TYPE, headers=dict(headers) if headers else None
    )


def handle_problems(app: FastAPI, log: logging.Logger) -> None:
    """Every error of a handler becomes a problem document; what nobody foresaw is logged and says nothing."""

    @app.exception_handler(RequestValidationError)
    def invalid(_: Request, error: RequestValidationError) -> JSONResponse:
        problems = [
            ProblemOut(pointer="".join(f"/{part}" for part in one["loc"]), reason=one["msg"]) for one in error.errors()
        ]
        return answer(422, "invalid_request", "the request doesn't have the form that is documented", "", problems)

    @app.exception_handler(HTTPException)
    def plain(request: Request, error: HTTPException) -> JSONResponse:
        code = HTTPStatus(error.status_code).phrase.lower().replace(" ", "_")
        detail = f"{request.method} {request.url.path}: {error.detail}"
        return answer(error.status_code, code, detail, "/docs lists what there is", headers=error.headers)

    @app.exception_handler(StakeoutError)
    def ours(request: Request, error: StakeoutError) -> JSONResponse:
        if isinstance(error, Refused):
            problems = [problem_out(one) for one in error.problems]
            return answer(error.status, error.code, error.message, error.hint, problems, error.headers)
        if isinstance(error, InvalidDocument):
            problems = [problem_out(one) for one in error.problems]
            return answer(422, "invalid_document", error.message.partition("\n")[0], "", problems)
        if isinstance(error, Conflict):
            return answer(409, "conflict", error.message, error.hint)
        if isinstance(error, LimitReached):
            return answer(413, "limit_reached", error.message, error.hint)
        if isinstance(error, ServiceUnavailable):
            log.warning("unavailable", extra={"told": {"path": request.url.path, "error": str(error)}})
            return answer(503, "unavailable", error.message, error.hint, headers={"Retry-After": "1"})
        return unforeseen(request, error)

    @app.exception_handler(Exception)
    def unforeseen(request: Request, error: Exception) -> JSONResponse:
        log.error("failed", extra={"told": {"path": request.url.path}}, exc_info=error)
        return answer(500, "internal", "something went wrong here; the log of the server says what")
