"""The server's status is told even where grpc.aio puts one of its own over it."""

from __future__ import annotations

import threading
import time
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor

import grpc
import grpc.aio
import pytest

from spacelink._channel import open_channel
from spacelink._stream_call import StreamCall

DETAIL = ("detail-bin", b"in the server's words")


class Server:
    """A server in other threads, which go on while nothing in the test's does.

    Attributes:
        ending: set: the call ends.
        answers: what it sends before that.
        code: what it ends with.
    """

    def __init__(self) -> None:
        self.ending = threading.Event()
        self.answers: list[bytes] = []
        self.code = grpc.StatusCode.OK
        self._server = grpc.server(ThreadPoolExecutor(1))
        handler: grpc.RpcMethodHandler[bytes, bytes] = grpc.stream_stream_rpc_method_handler(self._serve)
        self._server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("s", {"M": handler}),))
        self.address = f"127.0.0.1:{self._server.add_insecure_port('127.0.0.1:0')}"
        self._server.start()

    def stop(self) -> None:
        self.ending.set()
        self._server.stop(None).wait()

    def _serve(self, requests: Iterator[bytes], context: grpc.ServicerContext) -> Iterator[bytes]:
        yield next(requests)
        self.ending.wait()
        yield from self.answers
        context.set_trailing_metadata((DETAIL,))
        if self.code is not grpc.StatusCode.OK:
            context.abort(self.code, "it says")


@pytest.fixture
def server() -> Iterator[Server]:
    server = Server()
    yield server
    server.stop()


@pytest.fixture
async def call(server: Server) -> AsyncIterator[StreamCall]:
    async with open_channel(server.address) as channel:
        method: grpc.aio.StreamStreamMultiCallable[bytes, bytes] = channel.stream_stream("/s/M")
        call = StreamCall(method())
        assert await call.write(b"first")
        assert await call.read() == b"first"
        yield call


async def write_until_it_fails(call: StreamCall) -> None:
    """Write to a call that ends, without looking at what arrives meanwhile."""
    while await call.write(b"more"):
        time.sleep(0.05)


@pytest.mark.parametrize("code", [grpc.StatusCode.ABORTED, grpc.StatusCode.INTERNAL])
@pytest.mark.parametrize("answers", [[], [b"1", b"2", b"3"]], ids=["none unread", "three unread"])
async def test_after_a_failed_write(
    server: Server, call: StreamCall, code: grpc.StatusCode, answers: list[bytes]
) -> None:
    server.answers, server.code = answers, code
    server.ending.set()
    await write_until_it_fails(call)
    assert [await call.read() for _ in answers] == answers
    for _ in range(2):
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await call.read()
        assert (caught.value.code(), caught.value.details()) == (code, "it says")
        assert DETAIL in tuple(caught.value.trailing_metadata())


async def test_after_a_failed_write_to_a_call_that_ended_well(server: Server, call: StreamCall) -> None:
    server.answers = [b"1"]
    server.ending.set()
    await write_until_it_fails(call)
    assert [await call.read() for _ in range(3)] == [b"1", None, None]


async def test_without_a_failed_write(server: Server, call: StreamCall) -> None:
    server.answers, server.code = [b"1"], grpc.StatusCode.ABORTED
    await call.done_writing()
    server.ending.set()
    assert await call.read() == b"1"
    with pytest.raises(grpc.aio.AioRpcError, match="it says"):
        await call.read()
    assert not await call.write(b"more")
