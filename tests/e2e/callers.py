"""Callers with tokens of their own, and what the server says to them."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import grpc.aio

from spacelink.errors import SpaceLinkError, from_rpc_error
from spacelink.v1.session_pb2 import GetSessionRequest
from spacelink.v1.session_pb2_grpc import SessionServiceStub
from tests.credentials import AuthorizedChannel
from tests.e2e.batches import START, make_batch
from tests.e2e.calls import DEADLINE, query, submit

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from spacelink import Token
    from tests.conftest import ServerProcess

OK = "OK"


class Caller:
    """Calls with a token; each method gives OK, or the reason of the refusal."""

    def __init__(self, channel: grpc.aio.Channel, token: Token | str) -> None:
        self.channel: Any = AuthorizedChannel(channel, str(token))

    async def asks(self) -> str:
        """Ask who it is, which any good token may."""
        request = GetSessionRequest()
        return await outcome(SessionServiceStub(self.channel).GetSession(request, timeout=DEADLINE))

    async def writes(self, device_id: str, count: int = 1, first: int = START) -> str:
        return await outcome(submit(self.channel, make_batch(device_id, first, count)))

    async def reads(self, device_id: str) -> str:
        return await outcome(query(self.channel, device_id))


async def outcome(awaited: Any) -> str:
    try:
        await awaited
    except grpc.aio.AioRpcError as error:
        return reason_of(error)
    return OK


def reason_of(error: grpc.aio.AioRpcError) -> str:
    """Give the reason of an error that the server gave."""
    found: SpaceLinkError = from_rpc_error(error)
    assert found.reason, found
    return found.reason


@asynccontextmanager
async def calling(server: ServerProcess, *tokens: Token) -> AsyncIterator[list[Caller]]:
    """Give a caller for each token, all on one connection."""
    async with grpc.aio.insecure_channel(server.address) as channel:
        yield [Caller(channel, token) for token in tokens]
