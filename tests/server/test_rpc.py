from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any

import grpc
import pytest
from google.protobuf.message import DecodeError
from google.rpc.error_details_pb2 import BadRequest, ErrorInfo, RetryInfo
from google.rpc.status_pb2 import Status

from spacelink_server.errors import InvalidRequestError, RequestError, UnavailableError
from spacelink_server.rpc import CallInterceptor
from tests.server.waiting import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

SECRET = "/var/lib/secret.key"
DETAILS = "grpc-status-details-bin"
RAW = "/spacelink.v1.TelemetryService/Ingest"


def decode(data: bytes) -> str:
    """Read a request: every byte but the ones that are no text."""
    if data.startswith(b"\xff"):
        raise DecodeError(f"cannot decode {SECRET}")
    if data.startswith(b"\xfe"):
        raise ValueError(SECRET)
    return data.decode()


def failure(request: str) -> None:
    """Fail in the way a request asks for."""
    match request:
        case "bug":
            raise KeyError(SECRET)
        case "invalid":
            raise InvalidRequestError("name", "expected another")
        case "unavailable":
            raise UnavailableError("STORE_UNAVAILABLE", "not now", 1.5)
        case "gap":
            raise RequestError(grpc.StatusCode.FAILED_PRECONDITION, "GAP", "mind it", metadata={"a": "b"})


class Methods(grpc.GenericRpcHandler):
    """A method of each shape; all answer what they were asked."""

    def __init__(self) -> None:
        self.ended: list[str] = []
        self.written = 0

    async def unary_unary(self, request: str, _context: Any) -> bytes:
        failure(request)
        return request.encode()

    async def unary_stream(self, request: str, _context: Any) -> AsyncIterator[bytes]:
        yield b"first"
        failure(request)
        try:
            while request == "for ever":
                yield bytes(100_000)
                self.written += 1
        finally:
            self.ended.append(request)

    async def unary_written(self, request: str, context: Any) -> None:
        await context.write(b"first")
        failure(request)
        try:
            while request == "for ever":
                await context.write(bytes(100_000))
                self.written += 1
        finally:
            self.ended.append(request)

    async def stream_unary(self, requests: AsyncIterator[str], _context: Any) -> bytes:
        got = []
        async for request in requests:
            failure(request)
            got.append(request)
        return ",".join(got).encode()

    async def stream_stream(self, requests: AsyncIterator[str], _context: Any) -> AsyncIterator[bytes]:
        async for request in requests:
            failure(request)
            yield request.encode()

    async def aborting(self, _request: str, context: Any) -> bytes:
        await context.abort(grpc.StatusCode.NOT_FOUND, "as it said")
        return b""

    async def raw(self, requests: AsyncIterator[bytes], _context: Any) -> AsyncIterator[bytes]:
        async for request in requests:
            assert isinstance(request, bytes)
            yield request

    def service(self, call: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler[Any, Any] | None:
        handlers: dict[str, Callable[..., grpc.RpcMethodHandler[Any, Any]]] = {
            "unary_unary": grpc.unary_unary_rpc_method_handler,
            "unary_stream": grpc.unary_stream_rpc_method_handler,
            "unary_written": grpc.unary_stream_rpc_method_handler,
            "stream_unary": grpc.stream_unary_rpc_method_handler,
            "stream_stream": grpc.stream_stream_rpc_method_handler,
            "aborting": grpc.unary_unary_rpc_method_handler,
        }
        if call.method == RAW:
            return grpc.stream_stream_rpc_method_handler(self.raw, decode, _never)
        name = call.method.removeprefix("/test/")
        return handlers[name](getattr(self, name), decode, bytes) if name in handlers else None


def _never(_message: Any) -> bytes:
    raise AssertionError("a raw answer must not be encoded")


class Peer:
    """A channel to the methods."""

    def __init__(self, channel: grpc.aio.Channel, methods: Methods, interceptor: CallInterceptor) -> None:
        self.methods = methods
        self.ended = interceptor.ended
        # Bytes in and out; the channel's own signatures do not know that without a codec.
        self.unary_unary: Any = channel.unary_unary
        self.unary_stream: Any = channel.unary_stream
        self.stream_unary: Any = channel.stream_unary
        self.stream_stream: Any = channel.stream_stream

    async def call(self, name: str, *requests: bytes) -> list[bytes]:
        """Call a method and give all its answers."""
        path = f"/test/{name}"

        async def send() -> AsyncIterator[bytes]:
            for request in requests:
                yield request

        match name:
            case "unary_stream" | "unary_written":
                return [answer async for answer in self.unary_stream(path)(requests[0])]
            case "stream_unary":
                return [await self.stream_unary(path)(send())]
            case "stream_stream":
                return [answer async for answer in self.stream_stream(path)(send())]
            case _:
                return [await self.unary_unary(path)(requests[0])]

    async def fail(self, name: str, *requests: bytes) -> grpc.aio.AioRpcError:
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await self.call(name, *requests)
        return raised.value


@pytest.fixture
async def peer() -> AsyncIterator[Peer]:
    methods = Methods()
    interceptor = CallInterceptor()
    server = grpc.aio.server(interceptors=(interceptor,))
    server.add_generic_rpc_handlers((methods,))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        yield Peer(channel, methods, interceptor)
    await server.stop(0)


def details(error: grpc.aio.AioRpcError) -> dict[str, Any]:
    """Unpack the details of an error; each type may come once."""
    data = dict(error.trailing_metadata())[DETAILS]
    assert isinstance(data, bytes)
    status = Status.FromString(data)
    assert (status.code, status.message) == (error.code().value[0], error.details())
    unpacked: dict[str, Any] = {}
    for detail in status.details:
        kind = {"ErrorInfo": ErrorInfo, "BadRequest": BadRequest, "RetryInfo": RetryInfo}[
            detail.TypeName().removeprefix("google.rpc.")
        ]
        assert kind.__name__ not in unpacked
        unpacked[kind.__name__] = kind()
        detail.Unpack(unpacked[kind.__name__])
    return unpacked


SHAPES = ("unary_unary", "unary_stream", "unary_written", "stream_unary", "stream_stream")


async def test_answers_pass(peer: Peer) -> None:
    assert await peer.call("unary_unary", b"a") == [b"a"]
    assert await peer.call("unary_stream", b"a") == [b"first"]
    assert await peer.call("unary_written", b"a") == [b"first"]
    assert await peer.call("stream_unary", b"a", b"b") == [b"a,b"]
    assert await peer.call("stream_stream", b"a", b"b") == [b"a", b"b"]


@pytest.mark.parametrize("shape", SHAPES)
async def test_an_error_nobody_thought_of_tells_nothing(
    peer: Peer, shape: str, caplog: pytest.LogCaptureFixture
) -> None:
    error = await peer.fail(shape, b"bug")
    assert error.code() is grpc.StatusCode.INTERNAL
    assert details(error) == {"ErrorInfo": ErrorInfo(reason="INTERNAL", domain="spacelink")}
    told = repr(error) + repr(list(error.trailing_metadata())) + repr(list(error.initial_metadata()))
    assert SECRET not in told
    assert "KeyError" not in told
    # The operator learns all of it.
    (record,) = [record for record in caplog.records if record.name == "spacelink_server.rpc"]
    assert f"/test/{shape}" in record.getMessage()
    assert SECRET in caplog.text


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("data", [b"\xff", b"\xfe", b"\x80"])
async def test_requests_that_cannot_be_decoded(
    peer: Peer, shape: str, data: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    error = await peer.fail(shape, data)
    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
    found = details(error)
    assert found["ErrorInfo"].reason == "MALFORMED_MESSAGE"
    assert found["BadRequest"].field_violations[0].field == "request"
    assert SECRET not in repr(error)
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]


async def test_a_later_request_that_cannot_be_decoded(peer: Peer) -> None:
    answers: list[bytes] = []

    async def send() -> AsyncIterator[bytes]:
        yield b"a"
        await until(lambda: answers)
        yield b"\xff"

    call = peer.stream_stream("/test/stream_stream")(send())
    answers.append(await call.read())
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await call.read()
    assert answers == [b"a"]
    assert details(raised.value)["ErrorInfo"].reason == "MALFORMED_MESSAGE"


@pytest.mark.parametrize("shape", SHAPES)
async def test_request_errors(peer: Peer, shape: str, caplog: pytest.LogCaptureFixture) -> None:
    error = await peer.fail(shape, b"invalid")
    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert error.details() == "name: expected another"
    assert details(error).keys() == {"ErrorInfo", "BadRequest"}
    error = await peer.fail(shape, b"unavailable")
    assert error.code() is grpc.StatusCode.UNAVAILABLE
    found = details(error)
    assert found.keys() == {"ErrorInfo", "RetryInfo"}
    assert found["RetryInfo"].retry_delay.ToMilliseconds() == 1500
    error = await peer.fail(shape, b"gap")
    assert error.code() is grpc.StatusCode.FAILED_PRECONDITION
    assert details(error)["ErrorInfo"].metadata == {"a": "b"}
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]


@pytest.mark.parametrize("shape", ["unary_stream", "unary_written"])
async def test_what_was_answered_before_an_error_arrives(peer: Peer, shape: str) -> None:
    call = peer.unary_stream(f"/test/{shape}")(b"gap")
    assert await call.read() == b"first"
    assert await call.code() is grpc.StatusCode.FAILED_PRECONDITION


async def test_an_abort_of_the_method_itself_passes(peer: Peer, caplog: pytest.LogCaptureFixture) -> None:
    error = await peer.fail("aborting", b"")
    assert (error.code(), error.details()) == (grpc.StatusCode.NOT_FOUND, "as it said")
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]


async def test_unknown_methods(peer: Peer) -> None:
    error = await peer.fail("none-such", b"")
    assert error.code() is grpc.StatusCode.UNIMPLEMENTED


async def test_the_hot_path_takes_and_gives_bytes(peer: Peer) -> None:
    async def send() -> AsyncIterator[bytes]:
        yield b"\xff\x00"

    assert [answer async for answer in peer.stream_stream(RAW)(send())] == [b"\xff\x00"]


@pytest.mark.parametrize("shape", ["unary_stream", "unary_written"])
async def test_a_caller_that_goes_away_ends_the_method_quietly(
    peer: Peer, shape: str, caplog: pytest.LogCaptureFixture
) -> None:
    call = peer.unary_stream(f"/test/{shape}")(b"for ever")
    await call.read()
    written = -1
    while written < peer.methods.written:
        written = peer.methods.written
        await asyncio.sleep(0.1)
    # Now a message waits for the caller to read.
    call.cancel()
    await until(lambda: peer.methods.ended and peer.ended)
    assert peer.ended == {(f"/test/{shape}", "CANCELLED"): 1}
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR], caplog.text


# Counts


@pytest.mark.parametrize("shape", SHAPES)
async def test_calls_are_counted_by_how_they_end(peer: Peer, shape: str) -> None:
    await peer.call(shape, b"a")
    await peer.call(shape, b"b")
    for request in (b"bug", b"invalid", b"\xff", b"unavailable"):
        await peer.fail(shape, request)
    ended = {"OK": 2, "INTERNAL": 1, "INVALID_ARGUMENT": 2, "UNAVAILABLE": 1}
    await until(lambda: peer.ended.total() == 6)
    assert peer.ended == {(f"/test/{shape}", code): count for code, count in ended.items()}


async def test_an_abort_of_the_method_itself_is_counted(peer: Peer) -> None:
    await peer.fail("aborting", b"")
    await until(lambda: peer.ended)
    assert peer.ended == {("/test/aborting", "NOT_FOUND"): 1}


async def test_made_up_methods_are_counted_as_one(peer: Peer) -> None:
    for number in range(3):
        await peer.fail(f"none-such-{number}", b"")
    assert peer.ended == {("unknown", "UNIMPLEMENTED"): 3}
