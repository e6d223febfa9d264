"""Tokens that somebody has tampered with, sent to a running server."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import TYPE_CHECKING

import grpc.aio
import pytest

from spacelink import AsyncAdminClient
from spacelink.errors import from_rpc_error
from spacelink.v1.session_pb2 import GetSessionRequest
from spacelink.v1.session_pb2_grpc import SessionServiceStub
from tests.e2e.callers import OK, calling
from tests.e2e.calls import DEADLINE, assert_clean
from tests.server.access.mutations import mutants

if TYPE_CHECKING:
    from tests.conftest import ServerProcess

MUTANTS = 4000
# Calls under way at once on the one connection.
AT_ONCE = 50


async def answer(channel: grpc.aio.Channel, text: str) -> tuple[str, str, str]:
    """Give code, reason and message of the answer to a token's text."""
    metadata = (("authorization", f"Bearer {text}"),)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await SessionServiceStub(channel).GetSession(GetSessionRequest(), metadata=metadata, timeout=DEADLINE)
    error = from_rpc_error(caught.value)
    return caught.value.code().name, error.reason, error.message


def can_be_sent(text: str) -> bool:
    """Tell whether gRPC's clients send it: only what is printable, with no blanks at its ends."""
    return text.isascii() and text.isprintable() and text == text.strip()


async def test_forgeries_are_all_answered_alike(server: ServerProcess) -> None:
    async with AsyncAdminClient(server.admin_address, token=server.token) as admin:
        parent = await admin.mint_token(scope="telemetry:*", device="site-7/*", quota="1000/day")
    child = parent.attenuate(label="a", expires=timedelta(days=1), ip="127.0.0.0/8")
    originals = [server.token, str(parent), str(child)]
    texts = filter(can_be_sent, mutants(originals, MUTANTS, seed=4))
    answers: set[tuple[str, str, str]] = set()

    async def forge(channel: grpc.aio.Channel) -> None:
        for text in texts:
            answers.add(await answer(channel, text))

    async with grpc.aio.insecure_channel(server.address) as channel:
        await asyncio.gather(*(forge(channel) for _ in range(AT_ONCE)))
    assert answers == {("UNAUTHENTICATED", "INVALID_TOKEN", "the credential is not valid")}
    assert next(texts, None) is None
    async with calling(server, parent, child) as callers:
        assert [await caller.asks() for caller in callers] == [OK, OK]
    assert_clean(server.log)
