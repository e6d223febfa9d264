"""Retries, against a server that fails as it is told to."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from typing import Any, TypeAlias

import grpc
import grpc.aio
import pytest
from google.rpc import error_details_pb2, status_pb2

from spacelink import _calls, errors

SILENCE = None
Act: TypeAlias = "list[bytes | grpc.StatusCode | None]"
PATIENT = _calls.Patience(timeout=30.0, retry_for=30.0)


class FailingServer:
    """Plays a script: each call takes the next act, a list of what to answer."""

    def __init__(self) -> None:
        self.acts: list[Act] = []
        self.retry_after: float | None = None
        self.calls = 0

    async def answer(
        self, request: bytes, context: grpc.aio.ServicerContext[bytes, bytes]
    ) -> AsyncGenerator[bytes]:
        self.calls += 1
        for item in self.acts.pop(0):
            if isinstance(item, grpc.StatusCode):
                await context.abort(item, "as told", self._details())
            elif item is SILENCE:
                await asyncio.Event().wait()
            else:
                yield item

    async def answer_once(self, request: bytes, context: grpc.aio.ServicerContext[bytes, bytes]) -> bytes:
        return await anext(self.answer(request, context))

    def _details(self) -> tuple[tuple[str, bytes], ...]:
        if self.retry_after is None:
            return ()
        retry = error_details_pb2.RetryInfo()
        retry.retry_delay.FromMilliseconds(int(self.retry_after * 1000))
        status = status_pb2.Status(message="later")
        status.details.add().Pack(retry)
        return (("grpc-status-details-bin", status.SerializeToString()),)


@pytest.fixture
def failing() -> FailingServer:
    return FailingServer()


@pytest.fixture
async def channel(failing: FailingServer) -> AsyncIterator[grpc.aio.Channel]:
    server = grpc.aio.server()
    handlers: dict[str, Any] = {
        "Unary": grpc.unary_unary_rpc_method_handler(failing.answer_once),
        "Stream": grpc.unary_stream_rpc_method_handler(failing.answer),
    }
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("test", handlers),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        yield channel
    await server.stop(None)


async def unary(channel: grpc.aio.Channel, patience: _calls.Patience = PATIENT) -> bytes:
    call: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary("/test/Unary")
    return await _calls.unary(call, b"", patience)


async def stream(channel: grpc.aio.Channel, patience: _calls.Patience = PATIENT) -> list[bytes]:
    call: grpc.aio.UnaryStreamMultiCallable[bytes, bytes] = channel.unary_stream("/test/Stream")
    return [message async for message in _calls.stream(call, b"", patience)]


async def test_an_unavailable_server_is_asked_again(
    failing: FailingServer, channel: grpc.aio.Channel
) -> None:
    failing.acts = [[grpc.StatusCode.UNAVAILABLE], [b"answer"]]
    assert await unary(channel) == b"answer"
    assert failing.calls == 2


@pytest.mark.parametrize(
    "code",
    [grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.INTERNAL, grpc.StatusCode.RESOURCE_EXHAUSTED],
    ids=lambda code: code.name,
)
async def test_other_failures_are_final(
    failing: FailingServer, channel: grpc.aio.Channel, code: grpc.StatusCode
) -> None:
    failing.acts = [[code], [b"answer"]]
    with pytest.raises(errors.SpaceLinkError, match="as told"):
        await unary(channel)
    assert failing.calls == 1


async def test_a_delay_from_the_server_makes_any_failure_passing(
    failing: FailingServer, channel: grpc.aio.Channel
) -> None:
    failing.acts = [[grpc.StatusCode.RESOURCE_EXHAUSTED], [b"answer"]]
    failing.retry_after = 0.01
    assert await unary(channel) == b"answer"


async def test_a_delay_from_the_server_beyond_patience_is_not_waited_for(
    failing: FailingServer, channel: grpc.aio.Channel
) -> None:
    failing.acts = [[grpc.StatusCode.UNAVAILABLE], [b"answer"]]
    failing.retry_after = 3600
    with pytest.raises(errors.UnavailableError) as caught:
        await unary(channel)
    assert caught.value.retry_delay == 3600
    assert failing.calls == 1


async def test_without_patience_the_first_failure_is_final(
    failing: FailingServer, channel: grpc.aio.Channel
) -> None:
    failing.acts = [[grpc.StatusCode.UNAVAILABLE], [b"answer"]]
    with pytest.raises(errors.UnavailableError):
        await unary(channel, _calls.Patience(timeout=30.0, retry_for=0.0))
    assert failing.calls == 1


async def test_a_stream_is_opened_again_before_its_first_message(
    failing: FailingServer, channel: grpc.aio.Channel
) -> None:
    failing.acts = [[grpc.StatusCode.UNAVAILABLE], [b"1", b"2"]]
    assert await stream(channel) == [b"1", b"2"]
    assert failing.calls == 2


async def test_a_stream_is_not_opened_again_after_its_first_message(
    failing: FailingServer, channel: grpc.aio.Channel
) -> None:
    failing.acts = [[b"1", grpc.StatusCode.UNAVAILABLE], [b"1", b"2"]]
    call: grpc.aio.UnaryStreamMultiCallable[bytes, bytes] = channel.unary_stream("/test/Stream")
    messages = _calls.stream(call, b"", PATIENT)
    assert await anext(messages) == b"1"
    with pytest.raises(errors.UnavailableError):
        await anext(messages)
    assert failing.calls == 1


async def test_an_empty_stream_is_an_answer(failing: FailingServer, channel: grpc.aio.Channel) -> None:
    failing.acts = [[]]
    assert await stream(channel) == []
    assert failing.calls == 1


async def test_a_stream_without_a_message_runs_out_of_time(
    failing: FailingServer, channel: grpc.aio.Channel
) -> None:
    failing.acts = [[SILENCE]]
    with pytest.raises(errors.DeadlineExceededError, match="no answer within"):
        await stream(channel, _calls.Patience(timeout=0.2, retry_for=0.2))


async def test_a_call_without_an_answer_runs_out_of_time(
    failing: FailingServer, channel: grpc.aio.Channel
) -> None:
    failing.acts = [[SILENCE]]
    with pytest.raises(errors.DeadlineExceededError):
        await unary(channel, _calls.Patience(timeout=0.2, retry_for=0.2))
