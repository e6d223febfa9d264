"""Limits, quotas and maxima hold to the unit, whoever draws from them at once and whatever is killed."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from typing import TYPE_CHECKING

import grpc.aio
import pytest

from tests.e2e.batches import SECOND, START, make_batch, stored_samples
from tests.e2e.callers import OK, Caller, calling, reason_of
from tests.e2e.producer import Producer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from pathlib import Path

    from spacelink import AsyncAdminClient, Token
    from tests.conftest import ServerProcess, StartServer

STREAMS = 8
BATCH = 10
QUOTA = 2000

# Longer than any test here takes.
_BEFORE_MIDNIGHT = 60.0


@pytest.fixture(autouse=True)
async def one_day() -> None:
    """Wait, where a day's window would end during the test."""
    left = 86_400 - time.time() % 86_400
    if left < _BEFORE_MIDNIGHT:
        await asyncio.sleep(left)


@pytest.fixture
async def admin(server: ServerProcess) -> AsyncIterator[AsyncAdminClient]:
    async with server.admin() as admin:
        yield admin


async def ask(server: ServerProcess, *tokens: Token, times: int) -> Counter[str]:
    """Ask so many times with each token, all at once, and count the answers."""
    async with calling(server, *tokens) as callers:
        return Counter(await asyncio.gather(*(caller.asks() for caller in callers for _ in range(times))))


async def test_children_share_their_parents_limit(server: ServerProcess, admin: AsyncAdminClient) -> None:
    parent = (await admin.mint_token(scope="telemetry:*")).attenuate(rate_limit="100/day")
    children = [parent.attenuate(label=name) for name in ("a", "b")]
    assert await ask(server, *children, times=60) == {OK: 100, "RATE_LIMITED": 20}
    # Neither narrowing once more nor setting a limit again gives new units.
    again = [parent, children[0].attenuate(label="c"), children[1].attenuate(rate_limit="100/day")]
    assert await ask(server, *again, times=3) == {"RATE_LIMITED": 9}


async def test_a_childs_own_limit_is_its_own(server: ServerProcess, admin: AsyncAdminClient) -> None:
    parent = await admin.mint_token(rate_limit="100/day")
    first, second = (parent.attenuate(label=name, rate_limit="30/day") for name in ("a", "b"))
    assert await ask(server, first, times=40) == {OK: 30, "RATE_LIMITED": 10}
    assert await ask(server, second, times=40) == {OK: 30, "RATE_LIMITED": 10}
    # What a child was refused has not been taken from its parent.
    assert await ask(server, parent, times=50) == {OK: 40, "RATE_LIMITED": 10}
    assert await ask(server, parent.attenuate(label="c", rate_limit="30/day"), times=1) == {"RATE_LIMITED": 1}


async def pour(caller: Caller, number: int, batches: int) -> str:
    """Send batches of a device on a stream until it ends, and tell why it does."""
    device_id = f"dev-{number}"
    producer = await Producer.open(caller.channel, f"stream-{number}-{time.time_ns()}")
    reading = asyncio.create_task(end_of(producer))
    for sequence in range(1, batches + 1):
        first = START + (number * 10_000 + sequence) * BATCH * SECOND
        await producer.send(sequence, make_batch(device_id, first, BATCH))
    return await reading


async def end_of(producer: Producer) -> str:
    try:
        await producer.to_end()
    except grpc.aio.AioRpcError as error:
        # A server that was killed gives no reason.
        return reason_of(error) if error.code() is not grpc.StatusCode.UNAVAILABLE else "UNAVAILABLE"
    return OK


async def pour_all(server: ServerProcess, token: Token, *, first: int = 0) -> set[str]:
    """Ask on eight streams for twice as much as the quota has, each with a token of its own."""
    tokens = [token.attenuate(label=f"stream-{number}") for number in range(STREAMS)]
    batches = 2 * QUOTA // BATCH // STREAMS
    async with calling(server, *tokens) as callers:
        pouring = (pour(caller, first + number, batches) for number, caller in enumerate(callers))
        return set(await asyncio.gather(*pouring))


def total(server: ServerProcess) -> int:
    """Count what is on disk: no batch is sent twice."""
    return sum(stored_samples(server.data_dir).values())


async def until(condition: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(60):
        while not await condition():
            await asyncio.sleep(0.005)


async def test_a_quota_is_exact_under_eight_streams(tmp_path: Path, servers: StartServer) -> None:
    server = servers(tmp_path)
    async with server.admin() as admin:
        token = await admin.mint_token(quota=f"{QUOTA}/day")
    assert await pour_all(server, token) == {"QUOTA_EXCEEDED"}
    assert total(server) == QUOTA


async def test_a_quota_is_never_exceeded_after_a_kill(tmp_path: Path, servers: StartServer) -> None:
    server = servers(tmp_path)
    async with server.admin() as admin:
        token = await admin.mint_token(quota=f"{QUOTA}/day")
    pouring = asyncio.create_task(pour_all(server, token))

    async def half_is_stored() -> bool:
        return await asyncio.to_thread(total, server) >= QUOTA / 4

    await until(half_is_stored)
    server.kill()
    await pouring
    before = total(server)
    assert 0 < before <= QUOTA
    server = servers(tmp_path)
    assert await pour_all(server, token, first=STREAMS) == {"QUOTA_EXCEEDED"}
    # What the server had leased when it was killed stays counted.
    assert before <= total(server) <= QUOTA
    assert await ask(server, token, times=1) == {OK: 1}, "a quota counts samples"


async def offer(caller: Caller, number: int) -> list[str]:
    """Offer five devices on a stream, twice each; give those that were rejected both times."""
    producer = await Producer.open(caller.channel, f"stream-{number}")
    ids = [f"dev-{number}-{device}" for device in range(5)] * 2
    for sequence, device_id in enumerate(ids, 1):
        await producer.send(sequence, make_batch(device_id, START + sequence * 10 * SECOND))
    rejected = await producer.acked(len(ids))
    await producer.close()
    assert {each.reason for each in rejected} <= {"DEVICE_LIMIT"}
    refused = Counter(ids[each.sequence - 1] for each in rejected)
    assert set(refused.values()) <= {2}, "whoever is in stays in, whoever is out stays out"
    return list(refused)


async def test_a_tenant_has_no_more_devices_than_it_may(tmp_path: Path, servers: StartServer) -> None:
    server = servers(tmp_path)
    async with server.admin() as admin:
        await admin.create_tenant("acme", max_devices=7)
        token = await admin.mint_token(tenant_id="acme", scope="telemetry:*")
    tokens = [token.attenuate(label=f"stream-{number}") for number in range(STREAMS)]
    async with calling(server, *tokens) as callers:
        rejected = await asyncio.gather(*(offer(caller, number) for number, caller in enumerate(callers)))
    stored = set(stored_samples(tmp_path))
    assert len(stored) == 7
    assert stored.isdisjoint(device_id for refused in rejected for device_id in refused)
    assert len(stored) + sum(map(len, rejected)) == 5 * STREAMS
    server.kill()
    server = servers(tmp_path)
    async with calling(server, token) as (caller,):
        assert await caller.writes("one-more") == "DEVICE_LIMIT"
        assert {await caller.writes(device_id) for device_id in stored} == {OK}
    async with server.admin() as admin:
        await admin.update_tenant("acme", max_devices=8)
    async with calling(server, token) as (caller,):
        assert [await caller.writes(device_id) for device_id in ("one-more", "another")] == [
            OK,
            "DEVICE_LIMIT",
        ]
    assert set(stored_samples(tmp_path)) == {*stored, "one-more"}
