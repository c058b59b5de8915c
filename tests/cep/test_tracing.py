"""Traces arrive at a collector: requests, commits of the lane, transactions of the sink."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from cep.tracing import tracer, tracing
from tests.api.test_serve import answers, served
from tests.api.world import World, eventually


class Collector:
    """Takes spans as OTLP's protobuf over HTTP. spans: (service, name)"""

    def __init__(self) -> None:
        self.spans: set[tuple[str, str]] = set()
        collector = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                collector.take(ExportTraceServiceRequest.FromString(body))
                self.send_response(200)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, format: str, *args: object) -> None:
                """Nothing."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.thread = threading.Thread(target=self.server.serve_forever)
        self.thread.start()

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server.server_address[1]}"

    def take(self, request: ExportTraceServiceRequest) -> None:
        for resource in request.resource_spans:
            named = {one.key: one.value.string_value for one in resource.resource.attributes}
            for scope in resource.scope_spans:
                self.spans |= {(named["service.name"], span.name) for span in scope.spans}

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()


@pytest.fixture
def collector() -> Iterator[Collector]:
    found = Collector()
    yield found
    found.close()


def test_requests_and_commits_are_told(collector: Collector, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.address)
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_COMPRESSION", "none")
    with served(tmp_path) as (process, client):
        eventually(lambda: answers(client, "/readyz"))
        event = World(client, None).event("c1", 0.5)  # type: ignore[arg-type]  # only its event is of use here
        assert client.post("/v1/decisions", json=event).json()["decision"] == "approve"
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0
    assert {("stakeout-serve", "POST /v1/decisions"), ("stakeout-serve", "lane.commit")} <= collector.spans


def test_without_an_endpoint_spans_go_nowhere() -> None:
    with tracing("worker", {}), tracer().start_as_current_span("x") as span:
        assert not span.is_recording()
