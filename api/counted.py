"""Requests counted for Prometheus: how many, and how long they took, by route and status (ASGI).

A route is its template, as `/v1/alerts/{alert_id}`: what a client writes into a path makes no new line.
"""

from __future__ import annotations

from time import perf_counter

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from starlette.types import ASGIApp, Message, Receive, Scope, Send

BOUNDS_S = (0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)
UNKNOWN = "none"
"""The route of a request that no route takes."""


class RequestCounts:
    """Since the process started; any thread may count and ask."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        labels = ("method", "route")
        self._requests = Counter(
            "stakeout_http_requests_total", "requests answered", (*labels, "status"), registry=self._registry
        )
        self._seconds = Histogram(
            "stakeout_http_request_seconds",
            "time until the last byte of the answer; streams of alerts are left out",
            labels,
            buckets=BOUNDS_S,
            registry=self._registry,
        )

    def add(self, method: str, route: str, status: int, seconds: float | None) -> None:
        """One request. seconds: None of a stream."""
        self._requests.labels(method, route, status).inc()
        if seconds is not None:
            self._seconds.labels(method, route).observe(seconds)

    def render(self) -> str:
        """Prometheus text."""
        return generate_latest(self._registry).decode()


class Counted:
    """Around the application."""

    def __init__(self, app: ASGIApp, counts: RequestCounts) -> None:
        self._app, self._counts = app, counts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See ASGI."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started_s, status, streams = perf_counter(), 500, False

        async def told(message: Message) -> None:
            nonlocal status, streams
            if message["type"] == "http.response.start":
                status = message["status"]
                streams = (b"content-type", b"text/event-stream") in [
                    (name, value.partition(b";")[0]) for name, value in message["headers"]
                ]
            await send(message)

        try:
            await self._app(scope, receive, told)
        finally:
            route = getattr(scope.get("route"), "path", UNKNOWN)
            seconds = None if streams else perf_counter() - started_s
            self._counts.add(scope["method"] if route != UNKNOWN else "", route, status, seconds)
