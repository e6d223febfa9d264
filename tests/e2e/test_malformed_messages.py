"""Messages that are no messages, for every method of both listeners."""

from __future__ import annotations

from typing import TYPE_CHECKING

import grpc
import grpc.aio
import pytest
from google.protobuf import wrappers_pb2
from google.protobuf.timestamp_pb2 import Timestamp

from spacelink.v1 import telemetry_pb2 as pb
from tests.e2e.batches import make_batch
from tests.e2e.calls import (
    DEADLINE,
    SERVICE,
    assert_clean,
    call_bidi,
    call_stream,
    call_unary,
    failure,
    query,
    stub,
    submit,
)
from tests.e2e.producer import Producer

if TYPE_CHECKING:
    from collections.abc import Awaitable
    from typing import Any

    from tests.conftest import ServerProcess

_UNARY = [
    f"{SERVICE}SubmitTelemetry",
    f"{SERVICE}ListLatestTelemetry",
    f"{SERVICE}SummarizeTelemetry",
    "/grpc.health.v1.Health/Check",
]
_SERVER_STREAMS = [f"{SERVICE}QueryTelemetry", f"{SERVICE}WatchTelemetry", "/grpc.health.v1.Health/Watch"]
_TELEMETRY = [method for method in (*_UNARY, *_SERVER_STREAMS) if method.startswith(SERVICE)]
_REFLECTION = "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo"

_GARBAGE = {
    "truncated length": b"\x0a\xff",
    "group without an end": b"\x0b\x08\x01",
    "text": b"this is no protobuf message",
    "endless varint": b"\x08" + b"\xff" * 11,
    "field number 0": b"\x00\x01",
    "wire type 7": b"\x0f",
}
_each_garbage = pytest.mark.parametrize("data", _GARBAGE.values(), ids=_GARBAGE)


async def _answer(channel: grpc.aio.Channel, method: str, data: bytes) -> Any:
    """Make a call and give its answer, the first one of a stream."""
    if method in _UNARY:
        return await call_unary(channel, method, data)
    return await call_stream(channel, method, data).read()


async def _bidi_answer(channel: grpc.aio.Channel, method: str, data: bytes) -> Any:
    call = call_bidi(channel, method)
    await call.write(data)
    return await call.read()


async def _assert_malformed(call: Awaitable[Any]) -> None:
    error = await failure(call)
    assert (error.code, error.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "MALFORMED_MESSAGE")
    assert error.field_violations


@_each_garbage
@pytest.mark.parametrize("method", _UNARY + _SERVER_STREAMS)
async def test_garbage(channel: grpc.aio.Channel, method: str, data: bytes) -> None:
    await _assert_malformed(_answer(channel, method, data))


@_each_garbage
@pytest.mark.parametrize("method", [_REFLECTION, f"{SERVICE}Ingest"])
async def test_garbage_on_a_bidi_stream(channel: grpc.aio.Channel, method: str, data: bytes) -> None:
    await _assert_malformed(_bidi_answer(channel, method, data))


@_each_garbage
async def test_garbage_in_the_middle_of_ingest(
    channel: grpc.aio.Channel, device_id: str, data: bytes
) -> None:
    producer = await Producer.open(channel, device_id)
    await producer.send(1, make_batch(device_id))
    await producer.send_bytes(data)
    assert await producer.acked(1) == [], "what came before it is committed and acked"
    await _assert_malformed(producer.to_end())


@_each_garbage
@pytest.mark.parametrize("method", ["/grpc.health.v1.Health/Check", "/grpc.health.v1.Health/Watch"])
async def test_garbage_on_the_admin_plane(server: ServerProcess, method: str, data: bytes) -> None:
    async with server.admin_channel() as channel:
        await _assert_malformed(_answer(channel, method, data))


@pytest.mark.parametrize("method", _TELEMETRY)
async def test_message_of_another_type(channel: grpc.aio.Channel, method: str) -> None:
    """A field's number with another type is an unknown field; text that is no UTF-8 is no message."""
    other = wrappers_pb2.BytesValue(value=b"\xff\xfe").SerializeToString()
    await _assert_malformed(_answer(channel, method, other))


@pytest.mark.parametrize("method", [*_UNARY[:3], *_SERVER_STREAMS[:1]])
async def test_unknown_fields_are_let_pass(channel: grpc.aio.Channel, device_id: str, method: str) -> None:
    unknown = b"\xa2\x3f\x03abc"  # field 1012, length-delimited
    data = pb.QueryTelemetryRequest(device_ids=[device_id]).SerializeToString() + unknown
    if method.endswith("SubmitTelemetry"):
        request = pb.SubmitTelemetryRequest(batch=make_batch(device_id))
        data = request.SerializeToString() + unknown
    await _answer(channel, method, data)


@pytest.mark.parametrize("method", _TELEMETRY)
async def test_message_above_the_limit(channel: grpc.aio.Channel, method: str) -> None:
    """gRPC itself refuses it; there is no detail of ours."""
    too_large = b"\x0a\xff\xff\xff\x04" + bytes(8 * 1024 * 1024)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await _answer(channel, method, too_large)
    assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED


async def test_message_above_the_limit_in_the_middle_of_ingest(
    channel: grpc.aio.Channel, device_id: str
) -> None:
    producer = await Producer.open(channel, device_id)
    await producer.send(1, make_batch(device_id))
    await producer.acked(1)
    await producer.send_bytes(bytes(8 * 1024 * 1024 + 1))
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await producer.to_end()
    assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert (await Producer.open(channel, device_id)).committed == 1


@pytest.mark.parametrize(
    ("method", "code"),
    [
        (f"{SERVICE}Nothing", grpc.StatusCode.UNIMPLEMENTED),
        ("/spacelink.v1.NoService/Query", grpc.StatusCode.UNIMPLEMENTED),
        ("/", grpc.StatusCode.UNIMPLEMENTED),
    ],
)
async def test_unknown_method(channel: grpc.aio.Channel, method: str, code: grpc.StatusCode) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call_unary(channel, method, b"")
    assert caught.value.code() is code


async def test_telemetry_is_not_on_the_admin_plane(server: ServerProcess, device_id: str) -> None:
    async with server.admin_channel() as channel:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await submit(channel, make_batch(device_id))
    assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED


class TestReadingRequests:
    """Fields of the reading methods that are wrong."""

    @pytest.mark.parametrize("device_id", ["", "a b", "x" * 129, "ä", "*"])
    @pytest.mark.parametrize("method", ["ListLatestTelemetry", "SummarizeTelemetry"])
    async def test_device_ids(self, channel: grpc.aio.Channel, method: str, device_id: str) -> None:
        request = getattr(pb, f"{method}Request")(device_ids=["good", device_id])
        error = await failure(getattr(stub(channel), method)(request, timeout=DEADLINE))
        assert (error.code, error.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_DEVICE_ID")
        assert error.field_violations[0].field == "device_ids[1]"

    @pytest.mark.parametrize("method", ["QueryTelemetry", "WatchTelemetry"])
    async def test_device_ids_of_streams(self, channel: grpc.aio.Channel, method: str) -> None:
        request = getattr(pb, f"{method}Request")(device_ids=["a b"])
        error = await failure(getattr(stub(channel), method)(request, timeout=DEADLINE).read())
        assert error.reason == "INVALID_DEVICE_ID"
        assert error.field_violations[0].field == "device_ids[0]"

    async def test_too_many_device_ids(self, channel: grpc.aio.Channel) -> None:
        assert await query(channel, *[f"none-{index}" for index in range(1000)]) == []
        error = await failure(query(channel, *[f"none-{index}" for index in range(1001)]))
        assert error.code is grpc.StatusCode.INVALID_ARGUMENT
        assert error.field_violations[0].field == "device_ids"

    async def test_end_before_start(self, channel: grpc.aio.Channel) -> None:
        error = await failure(query(channel, start_time=Timestamp(seconds=2), end_time=Timestamp(seconds=1)))
        assert error.field_violations[0].field == "end_time"

    @pytest.mark.parametrize(
        "time",
        [
            Timestamp(seconds=2**63 - 1),
            Timestamp(seconds=-(2**63)),
            Timestamp(seconds=1, nanos=1_000_000_000),
            Timestamp(seconds=1, nanos=-1),
        ],
    )
    @pytest.mark.parametrize("field", ["start_time", "end_time"])
    async def test_times_that_are_none(self, channel: grpc.aio.Channel, field: str, time: Timestamp) -> None:
        error = await failure(query(channel, **{field: time}))
        assert error.code is grpc.StatusCode.INVALID_ARGUMENT
        assert error.field_violations[0].field == field

    async def test_page_size_and_token(self, channel: grpc.aio.Channel) -> None:
        for field, value in (
            ("page_size", -1),
            ("page_token", "???"),
            ("page_token", "AAAA"),
            ("page_token", "é"),
        ):
            request = pb.ListLatestTelemetryRequest()
            setattr(request, field, value)
            error = await failure(stub(channel).ListLatestTelemetry(request, timeout=DEADLINE))
            assert error.code is grpc.StatusCode.INVALID_ARGUMENT
            assert error.field_violations[0].field == field


async def test_log_is_clean_after_all_that(
    channel: grpc.aio.Channel, server: ServerProcess, device_id: str
) -> None:
    await _assert_malformed(_answer(channel, f"{SERVICE}SubmitTelemetry", b"\x0a\xff"))
    await submit(channel, make_batch(device_id))
    assert_clean(server.log)
