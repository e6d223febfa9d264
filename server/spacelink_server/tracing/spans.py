"""Spans of calls and of group commits, sent by OTLP over HTTP.

Attributes are the names of methods, status codes and counts: nothing of who
called, from where, with what, or about which device.
"""

from __future__ import annotations

import os
import time
import uuid
from typing import TYPE_CHECKING

import grpc
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import SpanKind, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

# A collector that does not answer must not keep the server from stopping in time.
_EXPORT_SECONDS = 2.0

_PATH = "/v1/traces"
# Health checks and reflection would outnumber the others.
_OURS = "/spacelink."
_TRACEPARENT = "traceparent"
_SECOND = 1_000_000_000

# Codes that are faults of a server, as OpenTelemetry's conventions for RPC have it.
_FAULTS = frozenset(("UNKNOWN", "DEADLINE_EXCEEDED", "UNIMPLEMENTED", "INTERNAL", "UNAVAILABLE", "DATA_LOSS"))


class Tracing:
    """Makes spans and sends them from a thread of its own; what does not get through is dropped."""

    def __init__(self, endpoint: str) -> None:
        """Send to a collector; see traced. The SDK's own variables, OTEL_*, are minded."""
        resource = Resource.create(
            {
                "service.name": os.environ.get("OTEL_SERVICE_NAME") or "spacelink",
                # Tells servers and workers apart.
                "service.instance.id": str(uuid.uuid4()),
            }
        )
        # Ended by close, not at exit.
        self._provider = TracerProvider(resource=resource, shutdown_on_exit=False)
        exporter = OTLPSpanExporter(endpoint.rstrip("/") + _PATH, timeout=_EXPORT_SECONDS)
        self._provider.add_span_processor(BatchSpanProcessor(exporter))
        self._tracer = self._provider.get_tracer("spacelink")
        self._propagator = TraceContextTextMapPropagator()

    def begin_call(self, method: str, metadata: Iterable[tuple[str, str | bytes]]) -> Callable[[str], None]:
        """Begin the span of a call, as a part of its caller's trace.

        Args:
            method: "/package.Service/Method".
            metadata: what the caller sent.

        Returns:
            What ends it, given the name of the status code.
        """
        if not method.startswith(_OURS):
            return _ignore
        parents = {key: value for key, value in metadata if key == _TRACEPARENT and isinstance(value, str)}
        service, _, name = method.removeprefix("/").partition("/")
        span = self._tracer.start_span(
            method.removeprefix("/"),
            self._propagator.extract(parents),
            SpanKind.SERVER,
            {"rpc.system": "grpc", "rpc.service": service, "rpc.method": name},
        )

        def end(code: str) -> None:
            number: int = grpc.StatusCode[code].value[0]
            span.set_attribute("rpc.grpc.status_code", number)
            if code in _FAULTS:
                span.set_status(StatusCode.ERROR)
            span.end()

        return end

    def commit(self, seconds: float, batches: int, payload_bytes: int, works: bool) -> None:
        """Note a group commit that has just ended.

        Args:
            seconds: how long it took.
            batches: how many were in it.
            payload_bytes: what they take.
            works: whether they are on disk; else nothing of them is.
        """
        end = time.time_ns()
        span = self._tracer.start_span(
            "commit",
            attributes={"spacelink.batches": batches, "spacelink.payload_bytes": payload_bytes},
            start_time=end - int(seconds * _SECOND),
        )
        if not works:
            span.set_status(StatusCode.ERROR)
        span.end(end)

    def close(self) -> None:
        """Send what is left, as long as that does not take long."""
        self._provider.shutdown()


def _ignore(_code: str) -> None:
    """End what was not begun."""
