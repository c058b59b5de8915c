"""A process's door for its operator: /metrics for Prometheus, /healthz and /readyz for whoever restarts it.

    loop ── counts ──▶ Health ◀── a thread per request of a small server, on loopback unless told otherwise

The server only reads: numbers that lanes and sink add up anyway. It has no passwords, so it belongs on no open network.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

from prometheus_client import CONTENT_TYPE_LATEST

from events.errors import ServiceUnavailable

REQUEST_SECONDS = 5.0
"""A client that takes longer to send its request is left."""


@dataclass
class Health:
    """What the server asks.

    metrics: Prometheus text
    ready:   a worker has joined, and all its lanes are live; a sink has read where to go on
    """

    metrics: Callable[[], str] = str
    ready: Callable[[], bool] = lambda: False

    def answer(self, path: str) -> tuple[int, str, str]:
        """Status, content type and body."""
        if path == "/metrics":
            return 200, CONTENT_TYPE_LATEST, self.metrics()
        if path == "/healthz":
            return 200, "text/plain", "ok\n"
        if path == "/readyz":
            ready = self.ready()
            return (200 if ready else 503), "text/plain", "ready\n" if ready else "not ready yet\n"
        return 404, "text/plain", "there are /metrics, /healthz and /readyz\n"


@contextmanager
def served(health: Health, host: str, port: int) -> Iterator[int]:
    """Serves while the block runs; yields the port (0 takes a free one). Raises ServiceUnavailable if it is taken."""

    class Handler(BaseHTTPRequestHandler):
        timeout = REQUEST_SECONDS

        def do_GET(self) -> None:
            status, kind, text = health.answer(self.path.partition("?")[0])
            body = text.encode()
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            """Requests aren't logged."""

    try:
        server = ThreadingHTTPServer((host, port), Handler)
    except OSError as error:
        raise ServiceUnavailable(f"metrics on {host}:{port}: {error}", "name a free port: --metrics-port") from error
    thread = Thread(target=server.serve_forever, name="health", daemon=True)
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
