"""Traces, by OpenTelemetry: a span for each request, each commit of a lane, each transaction of the sink.

    OTEL_EXPORTER_OTLP_ENDPOINT=http://localhost:4318 stakeout serve …        pip install stakeout[tracing]

Without that variable, and without the extra, spans cost next to nothing and go nowhere. All other OTEL_… variables are
OpenTelemetry's own.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from opentelemetry import trace

from events.errors import ServiceUnavailable

ENDPOINTS = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
"""Either says where spans go."""


def tracer() -> trace.Tracer:
    """Makes this project's spans."""
    return trace.get_tracer("stakeout")


@contextmanager
def tracing(process: str, environ: Mapping[str, str]) -> Iterator[None]:
    """While the block runs, spans are sent, in a thread of their own; what is left, at its end.

    process: as `worker`; the service is then called `stakeout-worker`, unless OTEL_SERVICE_NAME says otherwise

    Raises ServiceUnavailable where an endpoint is named and the extra isn't installed.
    """
    if not any(environ.get(name) for name in ENDPOINTS):
        yield
        return
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ImportError as error:
        named = next(name for name in ENDPOINTS if environ.get(name))
        hint = f"pip install 'stakeout[tracing]', or unset {named}"
        raise ServiceUnavailable(f"{named} is set, and the extra `tracing` isn't installed: {error}", hint) from error
    name = environ.get("OTEL_SERVICE_NAME") or f"stakeout-{process}"
    provider = TracerProvider(resource=Resource.create({"service.name": name}))
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    trace.set_tracer_provider(provider)
    try:
        yield
    finally:
        provider.shutdown()
