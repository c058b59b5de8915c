"""The dashboard: what people see of alerts, patterns and lanes, rendered on the server.

    request ─▶ visitor (who asks) ─▶ queries ─▶ view values, by pure functions ─▶ template ─▶ page
                                                strip · automaton · queue · case

Scripts are small modules of our own and add keys and live rows to pages that work without them. Nothing is inline: the
Content-Security-Policy allows this server's files only.
"""

from __future__ import annotations

from fastapi import APIRouter

from api.dashboard import case, files, live, login, operations, patterns, queue

router = APIRouter(include_in_schema=False)
for part in (queue, case, patterns, operations, live, login, files):
    router.include_router(part.router)
