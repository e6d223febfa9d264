"""What holds across servers on one database: bans, keys, limits, audit."""

from __future__ import annotations

import asyncio
import contextlib
import json
import shutil
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import grpc
import pytest

from spacelink import audit as chains
from spacelink.admin.v1.audit_pb2 import VerifyAuditRequest
from spacelink.admin.v1.tenant_pb2 import (
    CreateTenantRequest,
    RotateTenantKeyRequest,
    Tenant,
    UpdateTenantRequest,
)
from spacelink.v1.session_pb2 import GetSessionRequest
from spacelink_server.access import first_start
from spacelink_server.access.errors import RefusedError
from spacelink_server.access.keys import MASTER_KEY_FILE, MasterKeyError
from spacelink_server.access.limits import Limiter, LimitExceededError, LimitKey
from spacelink_server.access.writes import Database
from spacelink_server.storage import audit, tenants
from spacelink_server.storage.audit import Event
from spacelink_server.storage.postgres import PostgresStore
from tests.server.installation import bearer, refusal, running
from tests.server.services.access_calls import audited, ban, create_tenant, mint, tenant_admin
from tests.server.stores import Place
from tests.server.waiting import WAIT_SECONDS, until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from tests.server.installation import Installation


@pytest.fixture
async def two(database: str, tmp_path: Path) -> AsyncIterator[tuple[Installation, Installation]]:
    """Give two servers of an installation."""
    places = [Place(tmp_path / name, database) for name in ("one", "two")]
    store = places[0].open()
    first_start.prepare(store, places[0].directory, {})
    store.close()
    shutil.copytree(places[0].directory, places[1].directory)
    async with running(places[0]) as one, running(places[1]) as other:
        yield one, other


async def is_good(installation: Installation, text: str) -> bool:
    """Tell whether a call with a token goes through."""
    code = await installation.session.GetSession(GetSessionRequest(), **bearer(text)).code()
    assert code in (grpc.StatusCode.OK, grpc.StatusCode.PERMISSION_DENIED, grpc.StatusCode.UNAUTHENTICATED)
    return code is grpc.StatusCode.OK


async def eventually_good(installation: Installation, text: str, wanted: bool = True) -> None:
    async with asyncio.timeout(30):
        while await is_good(installation, text) is not wanted:
            await asyncio.sleep(0.01)


async def test_a_ban_ends_calls_on_the_other_server(two: tuple[Installation, Installation]) -> None:
    here, there = two
    admin = await tenant_admin(here, "acme")
    await until(lambda: "acme" in there.keys)
    text = await mint(here, admin, "scope = telemetry:read")
    assert await is_good(there, text)

    async def serve() -> None:
        with there.open_calls.hold(there.verifier.verify(text)):
            await asyncio.Event().wait()

    serving = asyncio.create_task(serve())
    await until(lambda: len(there.open_calls))
    await ban(here, admin, token=text)
    with pytest.raises(RefusedError, match="banned"):
        await asyncio.wait_for(serving, WAIT_SECONDS)
    assert not await is_good(there, text)
    assert not await is_good(here, text)


async def test_keys_that_were_rotated_on_one_verify_on_the_other(
    two: tuple[Installation, Installation],
) -> None:
    here, there = two
    admin = await tenant_admin(here, "acme")
    await eventually_good(there, admin)
    rotated = await here.tenant.RotateTenantKey(
        RotateTenantKeyRequest(tenant_id="acme"), **bearer(here.operator)
    )
    assert rotated.key_version == 2
    text = await mint(here, here.operator, "scope = *:*", tenant_id="acme")
    await eventually_good(there, text)
    assert there.keys.current_version("acme") == 2
    assert await is_good(there, admin)


async def test_quotas_that_were_set_on_one_hold_on_the_other(two: tuple[Installation, Installation]) -> None:
    here, there = two
    await create_tenant(here, "acme")
    await here.tenant.UpdateTenant(
        UpdateTenantRequest(tenant_id="acme", samples_per_day=1000), **bearer(here.operator)
    )
    await until(lambda: [key.amount for key in there.directory.quotas("acme")] == [1000])


async def test_a_tenant_is_created_once(two: tuple[Installation, Installation]) -> None:
    async def create(installation: Installation) -> bool:
        request = CreateTenantRequest(tenant=Tenant(tenant_id="acme"))
        code = await installation.tenant.CreateTenant(request, **bearer(installation.operator)).code()
        assert code in (grpc.StatusCode.OK, grpc.StatusCode.ALREADY_EXISTS)
        return code is grpc.StatusCode.OK

    assert sorted(await asyncio.gather(*map(create, two * 3))) == [False] * 5 + [True]


async def test_the_audit_chain_holds_across_servers(two: tuple[Installation, Installation]) -> None:
    admin = await tenant_admin(two[0], "acme")
    await eventually_good(two[1], admin)
    before = len(await audited(two[0], "acme", "token.mint"))
    await asyncio.gather(*(mint(two[n % 2], admin, "scope = telemetry:read") for n in range(40)))
    assert len(await audited(two[1], "acme", "token.mint")) == before + 40
    verified = await two[1].audit.VerifyAudit(VerifyAuditRequest(tenant_id="acme"), **bearer(admin))
    assert verified.intact
    assert verified.event_count >= before + 40


async def test_a_request_is_done_once_on_whichever_server(two: tuple[Installation, Installation]) -> None:
    admin = await tenant_admin(two[0], "acme")
    await eventually_good(two[1], admin)
    found = await asyncio.gather(*(mint(two[n % 2], admin, "scope = *:*", request_id="r") for n in range(8)))
    assert len(set(found)) == 1


async def test_servers_found_an_installation_once(database: str, tmp_path: Path) -> None:
    """At the same time and without a common master key, only one of them starts."""

    def start(name: str) -> bool:
        place = Place(tmp_path / name, database)
        place.directory.mkdir()
        with contextlib.closing(place.open()) as store:
            try:
                first_start.prepare(store, place.directory, {})
            except MasterKeyError:
                return False
        return True

    with ThreadPoolExecutor(4) as threads:
        started = list(threads.map(start, "abcd"))
    assert started.count(True) == 1
    place = Place(tmp_path / "abcd"[started.index(True)], database)
    with contextlib.closing(place.open()) as store:
        assert len(store.read(tenants.all_tenants)) == 1
    assert [path.parent for path in tmp_path.rglob(first_start.OPERATOR_TOKEN_FILE)] == [place.directory]
    assert (place.directory / MASTER_KEY_FILE).exists()


# Limits: with stores, threads and connections of each server's own


async def take_all(database: str, keys: tuple[LimitKey, ...], now: float) -> int:
    """Take units in a server of its own until there are none."""
    store = PostgresStore(database)
    taken = 0
    with ThreadPoolExecutor(2) as threads:
        limiter = Limiter(Database(store, threads, threads), lambda: now)
        try:
            while True:
                await limiter.take(keys, 1, 3)
                taken += 1
        except LimitExceededError:
            pass
        await limiter.close()
    store.close()
    return taken


@pytest.mark.parametrize("amount", [1, 30, 1000])
async def test_a_limit_is_never_exceeded(database: str, amount: int) -> None:
    now = time.time()
    rate = LimitKey("acme", b"r" * 32, amount, 3600, "rate", f"rate_limit = {amount}/hour")
    quota = LimitKey("acme", b"q" * 32, 3 * amount, 86_400, "quota", f"quota = {3 * amount}/day")
    takers = (take_all(database, keys, now) for keys in ((rate, quota), (quota, rate), (rate, quota)))
    taken = sum(await asyncio.gather(*takers))
    # All of it, but for what one of them held when another found none left.
    assert amount * 3 // 4 <= taken <= amount
    assert await take_all(database, (rate, quota), now) == amount - taken


async def test_a_refusal_names_the_limit(two: tuple[Installation, Installation]) -> None:
    text = await mint(two[0], two[0].operator, "scope = *:*", "rate_limit = 2/day", tenant_id="default")
    calls = [refusal_or_none(two[n % 2], text) for n in range(6)]
    reasons = [reason for reason in await asyncio.gather(*calls) if reason]
    assert len(reasons) >= 4
    assert set(reasons) == {"RATE_LIMITED"}


async def refusal_or_none(installation: Installation, text: str) -> str:
    call = installation.session.GetSession(GetSessionRequest(), **bearer(text))
    if await call.code() is grpc.StatusCode.OK:
        return ""
    reason: str = (await refusal(call))["reason"]
    return reason


def test_events_of_many_servers_are_one_chain(database: str) -> None:
    def append(server: int) -> None:
        with contextlib.closing(PostgresStore(database)) as store:
            for number in range(50):
                event = Event("system", "test", f"{server}/{number}")
                store.transact(lambda connection, event=event: audit.append(connection, "acme", event))

    with ThreadPoolExecutor(4) as threads:
        list(threads.map(append, range(4)))
    with contextlib.closing(PostgresStore(database)) as store:
        rows = store.read(lambda connection: audit.chain(connection, "acme", after=0, limit=1000))
    assert chains.verify([row.line for row in rows]).event_count == 200
    assert len({json.loads(row.event)["resource"] for row in rows}) == 200
