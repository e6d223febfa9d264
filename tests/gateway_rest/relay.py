"""A relay between a bridge and a server that keeps the calls it passes on."""

from __future__ import annotations

from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

import grpc.aio

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

_CREDENTIALS = ("authorization", "x-api-key", "x-spacelink-tenant", "x-forwarded-for")


class Call(NamedTuple):
    """A call that was passed on: its method, its request, and its credential and tenant."""

    method: str
    request: bytes
    metadata: tuple[tuple[str, Any], ...]


@dataclass
class Relay(grpc.GenericRpcHandler):  # type: ignore[type-arg]  # takes none when it runs
    """Passes calls on to one of a server's planes."""

    channel: grpc.aio.Channel
    address: str = ""
    calls: list[Call] = field(default_factory=list)

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> Any:
        """Give what handles a call."""

        async def pass_on(requests: Any, context: Any) -> AsyncIterator[bytes]:
            request = b"".join([request async for request in requests])
            metadata = [item for item in context.invocation_metadata() if item[0] in _CREDENTIALS]
            call = Call(handler_call_details.method, request, tuple(metadata))
            self.calls.append(call)
            answer = self.repeat(call)
            try:
                await answer.initial_metadata()
                await context.send_initial_metadata(())
                async for message in answer:
                    yield message
            except grpc.aio.AioRpcError as error:
                await context.abort(error.code(), error.details(), tuple(error.trailing_metadata()))
            finally:
                answer.cancel()

        return grpc.stream_stream_rpc_method_handler(pass_on)

    def repeat(self, call: Call) -> Any:
        """Make a call as it was made."""
        return self.channel.unary_stream(call.method)(call.request, metadata=call.metadata)


@asynccontextmanager
async def running_relay(target: str) -> AsyncIterator[Relay]:
    """Run a relay in front of a plane."""
    async with grpc.aio.insecure_channel(target) as channel:
        relay = Relay(channel)
        server = grpc.aio.server()
        server.add_generic_rpc_handlers((relay,))
        relay.address = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
        await server.start()
        try:
            yield relay
        finally:
            await server.stop(0)
