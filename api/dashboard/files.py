"""The dashboard's own files: one style sheet, small script modules, an icon."""

from __future__ import annotations

from functools import cache

from fastapi import APIRouter, Request, Response

from api.dashboard.pages import STATIC, Screen
from api.problems import Refusal

router = APIRouter(route_class=Screen)

TYPES = {".css": "text/css; charset=utf-8", ".js": "text/javascript; charset=utf-8", ".svg": "image/svg+xml"}
KEPT = "public, max-age=31536000, immutable"


@router.get("/static/{name}")
def static_file(name: str, request: Request) -> Response:
    """A file by its name; kept for ever where the address has its digest."""
    found = contents().get(name)
    if found is None:
        raise Refusal(404, "not_found", f"no file is called {name}")
    kind = TYPES["." + name.rpartition(".")[2]]
    return Response(found, media_type=kind, headers={"Cache-Control": KEPT if request.url.query else "no-cache"})


@cache
def contents() -> dict[str, bytes]:
    """All of them, by name."""
    return {path.name: path.read_bytes() for path in STATIC.iterdir() if path.suffix in TYPES}
