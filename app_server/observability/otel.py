"""A tracer that sends spans to a collector: OpenTelemetry, OTLP over HTTP. The only importer of `opentelemetry`.

The extra `otel` installs it, and it takes a quarter of a second to load: `commands/observing` does so only where
traces are wanted. Spans are sent in batches by a thread of the library; a collector that is away costs the spans alone.
The library's own variables count (OTEL_SERVICE_NAME, OTEL_TRACES_SAMPLER, OTEL_EXPORTER_OTLP_HEADERS and the rest).
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Any, Final

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import SpanKind, Status, StatusCode, set_span_in_context
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from app_server.observability.tracing import Attribute, Kind, Span
from app_server.version import __version__

SERVICE: Final = "imagegen-app-server"
_KINDS: Final = {"internal": SpanKind.INTERNAL, "server": SpanKind.SERVER, "client": SpanKind.CLIENT}
_W3C: Final = TraceContextTextMapPropagator()


class OtelSpan:
    """One span of the library."""

    __slots__ = ("span",)

    def __init__(self, span: Any) -> None:
        self.span = span

    def set(self, name: str, value: Attribute) -> None:
        self.span.set_attribute(name, value)

    def headers(self) -> Mapping[str, str]:
        carrier: dict[str, str] = {}
        _W3C.inject(carrier, context=set_span_in_context(self.span))
        return carrier

    def end(self, failure: str | None = None) -> None:
        if failure is not None:
            self.span.set_status(Status(StatusCode.ERROR, failure))
        self.span.end()


class OtelTracer:
    """A `Tracer` over a provider of the library."""

    def __init__(self, provider: TracerProvider) -> None:
        self._provider = provider
        self._tracer = provider.get_tracer("app_server", __version__)

    def begin(
        self,
        name: str,
        kind: Kind,
        attributes: Mapping[str, Attribute],
        *,
        parent: Span | None,
        carrier: Mapping[str, str],
    ) -> OtelSpan:
        context = set_span_in_context(parent.span) if isinstance(parent, OtelSpan) else _W3C.extract(carrier)
        span = self._tracer.start_span(name, context=context, kind=_KINDS[kind], attributes=dict(attributes))
        return OtelSpan(span)

    def close(self, timeout_s: float) -> None:
        """The library may wait for a collector as long as it likes, in a thread that no end waits for."""
        last = threading.Thread(target=self._provider.shutdown, name="last-spans", daemon=True)
        last.start()
        last.join(timeout_s)


def open_tracer(endpoint: str | None) -> OtelTracer:
    """A tracer that sends to this collector, else to the one that the library's variables name."""
    provider = TracerProvider(resource=_resource(), shutdown_on_exit=False)
    exporter = OTLPSpanExporter(endpoint=None if endpoint is None else f"{endpoint.rstrip('/')}/v1/traces")
    provider.add_span_processor(BatchSpanProcessor(exporter))
    return OtelTracer(provider)


def _resource() -> Resource:
    """Who sends: as the library's variables say, else this server."""
    found = Resource.create({"service.version": __version__})
    named = not str(found.attributes["service.name"]).startswith("unknown_service")
    return found if named else found.merge(Resource({"service.name": SERVICE}))
