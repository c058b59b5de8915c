"""The OpenAPI document: what the routes declare, and what every route may answer beside it."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from api.problems import MEDIA_TYPE, ProblemDetails, declared

EVERY = (500, 503)
"""Answers that no route is safe from."""


def describe(app: FastAPI) -> None:
    """Makes `app.openapi()` answer the whole."""

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            app.openapi_schema = _document(app)
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]  # the way that FastAPI documents


def _document(app: FastAPI) -> dict[str, Any]:
    document = get_openapi(title=app.title, version=app.version, description=app.description, routes=app.routes)
    schemas = document["components"]["schemas"]
    for name in ("HTTPValidationError", "ValidationError"):
        schemas.pop(name, None)
    schemas.update(_schemas_of_problems())
    for methods in document["paths"].values():
        for operation in methods.values():
            _complete(operation)
    return document


def _schemas_of_problems() -> dict[str, Any]:
    whole = ProblemDetails.model_json_schema(ref_template="#/components/schemas/{model}", mode="serialization")
    return {**whole.pop("$defs"), "ProblemDetails": whole}


def _complete(operation: dict[str, Any]) -> None:
    responses = operation["responses"]
    own = responses.get("422", {}).get("content", {})
    if "application/json" in own:  # what the framework would answer; ours are problems
        responses["422"] = declared(422)[422]
    needs_key = bool(operation.get("security"))
    also = (*((401, 403) if needs_key else ()), *EVERY)
    for status, answer in declared(*also).items():
        found = responses.setdefault(str(status), answer)
        if MEDIA_TYPE not in found.setdefault("content", {}):
            found["content"].update(answer["content"])
    operation["responses"] = dict(sorted(responses.items()))
