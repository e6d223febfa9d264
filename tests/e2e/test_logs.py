"""What a server logs at its most talkative, of calls that carry every kind of secret, right and wrong."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import grpc.aio
import pytest

from spacelink import AsyncAdminClient, AsyncSpaceLinkClient, Token
from spacelink.errors import SpaceLinkError
from tests.e2e.batches import START
from tests.e2e.callers import calling
from tests.e2e.calls import assert_clean
from tests.e2e.producer import Producer
from tests.leaks import WATCH, Watch
from tests.server.access.mutations import mutants

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from tests.conftest import ServerProcess

PASSWORD = WATCH.text("correct horse battery staple")
WRONG_PASSWORD = WATCH.text("incorrect horse battery staple")


async def refused(awaited: Awaitable[Any]) -> str:
    with pytest.raises(SpaceLinkError) as caught:
        await awaited
    return caught.value.reason


async def use_tokens(server: ServerProcess, admin: AsyncAdminClient) -> None:
    """Mint, narrow, present, inspect, forge and ban tokens."""
    parent = await admin.mint_token(scope="telemetry:*", label="parent")
    leaf = parent.attenuate(label="leaf", quota="10/day", device="dish-1")
    expired = parent.attenuate(expires="2020-01-01T00:00:00Z")
    forged = [text for text in mutants([str(leaf)], 200, seed=5) if text.isascii() and text.isprintable()]
    async with calling(server, parent, leaf, expired, *forged) as callers:  # type: ignore[arg-type]
        for caller in callers:
            await caller.asks()
            await caller.writes("dish-2")
        producer = await Producer.open(callers[1].channel, "stream")
        await admin.inspect_token(leaf)
        await admin.ban_token(token=parent)
        with pytest.raises(grpc.aio.AioRpcError):
            await producer.to_end()
        await callers[1].asks()
    await admin.ban_token(signature=WATCH.text(leaf.macaroon.signature.hex()))
    assert await refused(admin.ban_token(token=forged[0])) == "INVALID_TOKEN"
    assert await refused(admin.ban_token(signature=leaf.macaroon.signature.hex() + "0")) == "INVALID_ARGUMENT"
    await admin.unban_token(token=parent)
    await admin.get_token_graph()


async def use_passwords(server: ServerProcess, admin: AsyncAdminClient) -> None:
    """Create users, log them in, and try with what is wrong."""
    await admin.create_user("ada", PASSWORD, "admin")
    async with AsyncSpaceLinkClient(server.address) as client:
        session = await client.create_session("ada", PASSWORD)
        WATCH.token(str(session.token))
        assert await refused(client.create_session("ada", WRONG_PASSWORD)) == "INVALID_LOGIN"
        # Some type their password where the name belongs.
        assert await refused(client.create_session(PASSWORD, "ada")) == "INVALID_LOGIN"
    async with AsyncSpaceLinkClient(server.address, token=session.token) as client:
        await client.get_session()
    await admin.set_password("ada", WATCH.text("a new password of ada"))
    assert await refused(admin.set_password("ada", WATCH.text("short 1"))) == "INVALID_ARGUMENT"
    assert await refused(admin.create_user("ada", PASSWORD, "admin")) == "USER_ALREADY_EXISTS"


async def use_api_keys(server: ServerProcess) -> None:
    """Make, use, rotate and revoke API keys, and try with one that is wrong."""
    async with AsyncSpaceLinkClient(server.address, token=server.token) as client:
        first = await client.generate_api_key("dashboard", scope="telemetry:*")
        second = await client.rotate_api_key(first.api_key.key_id, overlap=timedelta(0))
        keys = [WATCH.text(first.secret), WATCH.text(second.secret), WATCH.text(f"{second.secret[:-4]}AAAA")]
        for key in keys:
            async with AsyncSpaceLinkClient(server.address, api_key=key) as caller:
                await asyncio.gather(caller.get_session(), return_exceptions=True)
                await asyncio.gather(
                    caller.ingest("dish-1", [START], latency_ms=[1.0]), return_exceptions=True
                )
        await client.revoke_api_key(second.api_key.key_id)


async def test_no_secret_is_logged(server: ServerProcess) -> None:
    async with server.admin() as admin:
        await use_tokens(server, admin)
        await use_passwords(server, admin)
        await use_api_keys(server)
        rotated = await admin.rotate_tenant_key("*")
        assert rotated.key_version == 2
        WATCH.token(str(await admin.mint_token(tenant_id="*")))
    assert server.terminate() == 0
    log = server.log
    assert " DEBUG " in log
    assert "refused: INVALID_TOKEN (token: the signature does not match)" in log
    assert "refused: TOKEN_BANNED" in log
    assert_clean(log)
    assert WATCH.leaks() == []


async def test_the_search_knows_what_this_server_keeps(server: ServerProcess) -> None:
    """That a secret would be found: in a log made of what the data directory holds."""
    watch = Watch()
    watch.data_dir(server.data_dir)
    log = server.data_dir / "made-up.log"
    watch.log(log)
    operator = Token.parse(server.token)
    for secret in (
        server.token,
        operator.macaroon.signature.hex(),
        (server.data_dir / "master.key").read_text(),
    ):
        log.write_text(f"a line\nwith {secret} in it\n")
        assert watch.leaks(), secret
