"""The interface on one page: plain HTML from the OpenAPI document, without a script."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from html import escape
from typing import Any

METHODS = ("get", "post", "put", "patch", "delete")


def docs_page(document: Mapping[str, Any]) -> str:
    """The page.

    >>> "<code>GET /x</code>" in docs_page({"info": {"title": "t", "description": ""}, "paths": {"/x": {"get": {}}}})
    True
    """
    info = document["info"]
    title = escape(info["title"])
    return "\n".join(
        [
            "<!doctype html>",
            f'<html lang="en"><head><meta charset="utf-8"><title>{title}: REST</title>',
            '<meta name="viewport" content="width=device-width"></head><body>',
            f"<h1>{title}</h1><p>{escape(info['description'])}</p>",
            '<p>Machine-readable: <a href="/openapi.json">/openapi.json</a></p>',
            *_operations(document["paths"]),
            "</body></html>",
        ]
    )


def _operations(paths: Mapping[str, Any]) -> Iterator[str]:
    for path, methods in paths.items():
        for method in METHODS:
            if method in methods:
                yield from _operation(f"{method.upper()} {path}", methods[method])


def _operation(name: str, operation: Mapping[str, Any]) -> Iterator[str]:
    yield f"<h2><code>{escape(name)}</code></h2><p>{escape(operation.get('description', ''))}</p><ul>"
    for parameter in operation.get("parameters", ()):
        where, more = parameter["in"], parameter.get("description", "")
        needed = ", needed" if parameter.get("required") else ""
        yield f"<li><code>{escape(parameter['name'])}</code> ({where}{needed}) {escape(more)}</li>"
    for kind in operation.get("requestBody", {}).get("content", {}):
        yield f"<li>takes <code>{escape(kind)}</code></li>"
    for status, answer in operation.get("responses", {}).items():
        yield f"<li>{escape(str(status))}: {escape(answer.get('description', ''))}</li>"
    yield "</ul>"
