"""Calls as a client makes them that is not the SDK: plain stubs and raw bytes."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

import grpc
import grpc.aio
from google.rpc import error_details_pb2, status_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc

from spacelink.errors import SpaceLinkError, from_rpc_error
from spacelink.v1 import telemetry_pb2 as pb
from spacelink.v1.telemetry_pb2_grpc import TelemetryServiceStub

if TYPE_CHECKING:
    from spacelink.v1.telemetry_pb2_grpc import TelemetryServiceAsyncStub

SERVICE = "/spacelink.v1.TelemetryService/"
# Ends a call that hangs, and the test with it.
DEADLINE = 60.0

SERVING: int = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING: int = health_pb2.HealthCheckResponse.NOT_SERVING


async def call_unary(channel: grpc.aio.Channel, method: str, data: bytes) -> bytes:
    """Send bytes as they are."""
    call: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(method)
    return await call(data, timeout=DEADLINE)


def call_stream(
    channel: grpc.aio.Channel, method: str, data: bytes
) -> grpc.aio.UnaryStreamCall[bytes, bytes]:
    """Send bytes as they are to a method that streams its answers."""
    call: grpc.aio.UnaryStreamMultiCallable[bytes, bytes] = channel.unary_stream(method)
    return call(data, timeout=DEADLINE)


def call_bidi(channel: grpc.aio.Channel, method: str) -> grpc.aio.StreamStreamCall[bytes, bytes]:
    """Open a stream of bytes both ways."""
    call: grpc.aio.StreamStreamMultiCallable[bytes, bytes] = channel.stream_stream(method)
    return call(timeout=DEADLINE)


def stub(channel: grpc.aio.Channel) -> TelemetryServiceAsyncStub:
    return TelemetryServiceStub(channel)


async def submit(channel: grpc.aio.Channel, batch: pb.TelemetryBatch, request_id: str = "") -> int:
    """Submit a batch and give the answer's sample_count."""
    request = pb.SubmitTelemetryRequest(batch=batch, request_id=request_id)
    return (await stub(channel).SubmitTelemetry(request, timeout=DEADLINE)).sample_count


async def query(channel: grpc.aio.Channel, *device_ids: str, **fields: Any) -> list[pb.TelemetryBatch]:
    """Read samples back, as the batches that the server streams."""
    request = pb.QueryTelemetryRequest(device_ids=device_ids, **fields)
    return [answer.batch async for answer in stub(channel).QueryTelemetry(request, timeout=DEADLINE)]


async def sample_count(channel: grpc.aio.Channel, *device_ids: str) -> int:
    """Count the distinct samples that are stored of devices."""
    request = pb.SummarizeTelemetryRequest(device_ids=device_ids, metrics=["none"])
    answer = await stub(channel).SummarizeTelemetry(request, timeout=DEADLINE)
    return sum(summary.sample_count for summary in answer.summaries)


async def health(channel: grpc.aio.Channel, service: str = "") -> int:
    request = health_pb2.HealthCheckRequest(service=service)
    answer = await health_pb2_grpc.HealthStub(channel).Check(request, timeout=DEADLINE)
    return int(answer.status)


async def failure(call: Awaitable[Any]) -> SpaceLinkError:
    """Wait for a call that must fail and give its error, whose details must be in order."""
    try:
        answer = await call
    except grpc.aio.AioRpcError as error:
        check_details(error)
        return from_rpc_error(error)
    raise AssertionError(f"the call succeeded: {answer!r}")


def check_details(error: grpc.aio.AioRpcError) -> None:
    """See that an error of the server carries what all its errors carry."""
    trailers = error.trailing_metadata()
    packed = trailers.get("grpc-status-details-bin") if trailers else None
    assert isinstance(packed, bytes), f"no details: {error!r}"
    status = status_pb2.Status.FromString(packed)
    types = [detail.type_url for detail in status.details]
    assert len(types) == len(set(types)), "each type of detail at most once"
    info = error_details_pb2.ErrorInfo()
    assert status.details[0].Unpack(info)
    assert info.domain == "spacelink"
    assert info.reason.isupper()
    assert status.code == error.code().value[0]
    assert "Error(" not in status.message
    assert "Traceback" not in status.message


async def eventually(condition: Callable[[], Awaitable[bool]], seconds: float = DEADLINE) -> None:
    """Wait until a condition holds."""
    async with asyncio.timeout(seconds):
        while not await condition():
            await asyncio.sleep(0.02)


def assert_clean(log: str) -> None:
    """See that a server logged no failure of its own."""
    assert "Traceback" not in log
    assert " ERROR " not in log
    assert "never retrieved" not in log
    assert "Task was destroyed" not in log
