"""Traces of a real server, as a collector gets them."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

import grpc
import grpc.aio
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

from spacelink.v1.telemetry_pb2 import SubmitTelemetryRequest
from tests.conftest import ServerProcess, StartServer, start_server
from tests.e2e.batches import START, make_batch
from tests.e2e.calls import DEADLINE, query, stub, submit
from tests.e2e.producer import Producer

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SERVICE = "spacelink.v1.TelemetryService/"
TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
DEVICE, STREAM = "a-dish-with-a-name", "a-stream-with-a-name"


class Collector:
    """Takes traces in by OTLP over HTTP."""

    def __init__(self) -> None:
        self.requests: list[ExportTraceServiceRequest] = []
        self.paths: set[str] = set()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        collector = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                collector.paths.add(self.path)
                collector.requests.append(ExportTraceServiceRequest.FromString(body))
                self.send_response(200)
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                """Say nothing."""

        return Handler

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def spans(self) -> list[Span]:
        return [
            span
            for request in self.requests
            for resource in request.resource_spans
            for scope in resource.scope_spans
            for span in scope.spans
        ]

    def named(self, name: str) -> list[Span]:
        return [span for span in self.spans() if span.name == name]


@contextmanager
def collecting() -> Iterator[Collector]:
    collector = Collector()
    try:
        yield collector
    finally:
        collector.close()


def attributes(span: Span) -> dict[str, str | int]:
    return {pair.key: pair.value.string_value or pair.value.int_value for pair in span.attributes}


async def call_all(server: ServerProcess) -> None:
    """Make one call of each kind, one of them in a trace of the caller's, and one that is refused."""
    async with server.channel() as channel:
        request = SubmitTelemetryRequest(batch=make_batch(DEVICE))
        metadata = (
            ("authorization", f"Bearer {server.token}"),
            ("traceparent", f"00-{TRACE}-{PARENT}-01"),
            ("tracestate", "secret=state"),
        )
        await stub(channel).SubmitTelemetry(request, timeout=DEADLINE, metadata=metadata)
        producer = await Producer.open(channel, STREAM)
        for sequence in range(1, 6):
            await producer.send(sequence, make_batch(DEVICE, START + sequence * 10**12))
            await producer.acked(sequence)
        await producer.close()
        await query(channel, DEVICE)
    async with grpc.aio.insecure_channel(server.address) as stranger:
        with pytest.raises(grpc.aio.AioRpcError):
            await query(stranger)


@pytest.fixture(scope="module")
def traced(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Give what a collector has of a server that was called and stopped, and the server."""
    with collecting() as collector:
        server = start_server(tmp_path_factory.mktemp("server"), "--otlp-endpoint", collector.url)
        try:
            asyncio.run(call_all(server))
            # What is left is sent before it ends.
            assert server.terminate() == 0
        finally:
            server.kill()
        yield collector, server


def test_each_call_is_a_span(traced: tuple[Collector, ServerProcess]) -> None:
    collector, _ = traced
    (stream,) = collector.named(SERVICE + "Ingest")
    assert stream.kind == Span.SPAN_KIND_SERVER
    assert attributes(stream) == {
        "rpc.system": "grpc",
        "rpc.service": "spacelink.v1.TelemetryService",
        "rpc.method": "Ingest",
        "rpc.grpc.status_code": 0,
    }
    codes = [attributes(span)["rpc.grpc.status_code"] for span in collector.named(SERVICE + "QueryTelemetry")]
    assert sorted(codes) == [0, grpc.StatusCode.UNAUTHENTICATED.value[0]]
    for span in collector.spans():
        assert span.start_time_unix_nano <= span.end_time_unix_nano
        # Refusing a caller is no fault.
        assert span.status.code == Status.STATUS_CODE_UNSET


def test_a_call_is_a_part_of_its_callers_trace(traced: tuple[Collector, ServerProcess]) -> None:
    collector, _ = traced
    (span,) = collector.named(SERVICE + "SubmitTelemetry")
    assert (span.trace_id.hex(), span.parent_span_id.hex()) == (TRACE, PARENT)
    assert {other.parent_span_id for other in collector.spans() if other is not span} == {b""}


def test_each_group_commit_is_a_span_and_no_batch_is(traced: tuple[Collector, ServerProcess]) -> None:
    collector, _ = traced
    commits = [attributes(span) for span in collector.named("commit")]
    assert sum(int(commit["spacelink.batches"]) for commit in commits) == 6
    # The stream's opening is a commit without a batch; each batch was acked before the next was sent.
    assert len(commits) == 7
    assert sum(int(commit["spacelink.payload_bytes"]) for commit in commits) > 0
    assert len(collector.spans()) == len(commits) + 4


def test_spans_tell_nothing_of_the_caller(traced: tuple[Collector, ServerProcess]) -> None:
    collector, server = traced
    sent = b"".join(request.SerializeToString() for request in collector.requests)
    for private in (server.token, DEVICE, STREAM, "127.0.0.1", "secret=state", "authorization"):
        assert private.encode() not in sent
    assert collector.paths == {"/v1/traces"}
    (name,) = {
        pair.value.string_value
        for request in collector.requests
        for resource in request.resource_spans
        for pair in resource.resource.attributes
        if pair.key == "service.name"
    }
    assert name == "spacelink"


async def test_a_collector_that_is_away_keeps_nobody_waiting(servers: StartServer, tmp_path: Path) -> None:
    with collecting() as collector:
        url = collector.url
    server = servers(tmp_path, "--otlp-endpoint", url)
    async with server.channel() as channel:
        await submit(channel, make_batch("dish"))
    assert server.terminate() == 0
    assert "Traceback" not in server.log


# Without it


def python(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=DEADLINE, check=False
    )


def test_nothing_of_it_is_imported_where_it_is_not_asked_for(tmp_path: Path) -> None:
    code = (
        "import asyncio, os, signal, sys\n"
        "from pathlib import Path\n"
        "from spacelink._listeners import Address\n"
        "from spacelink_server.app import serve\n"
        "from spacelink_server.config import ServerConfig\n"
        "address = Address('127.0.0.1', 0)\n"
        f"config = ServerConfig(Path({str(tmp_path)!r}), address, address)\n"
        "asyncio.run(serve(config, lambda *_: os.kill(os.getpid(), signal.SIGTERM)))\n"
        "print([name for name in sys.modules if name.startswith('opentelemetry')])\n"
    )
    done = python(code)
    assert done.stdout == "[]\n", done.stderr


def test_what_is_missing_is_named(tmp_path: Path) -> None:
    code = (
        "import sys\n"
        "sys.modules['opentelemetry.sdk.trace'] = None\n"
        "from spacelink_server.command import server\n"
        f"server(['--listen', '127.0.0.1:0', '--admin-listen', '127.0.0.1:0', "
        f"'--data-dir', {str(tmp_path)!r}, '--otlp-endpoint', 'http://127.0.0.1:4318'])\n"
    )
    done = python(code)
    assert done.returncode == 1
    assert done.stderr == (
        "Error: otlp_endpoint: traces need opentelemetry.sdk.trace, which is not installed: "
        "pip install 'spacelink[otel]'\n"
    )
