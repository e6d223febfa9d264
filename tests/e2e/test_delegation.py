"""A family of tokens made without a server: what each may do, and the ban that ends a branch."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

import grpc
import grpc.aio
import pytest

from spacelink import AdminClient, AsyncAdminClient, Token
from tests.conftest import start_server
from tests.e2e.batches import SECOND, START, make_batch
from tests.e2e.callers import OK, Caller, calling, reason_of
from tests.e2e.calls import sample_count
from tests.e2e.producer import Producer

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from tests.conftest import ServerProcess, StartServer

SITES = 5
DISHES = 10
FAMILIES = 5  # one for each test


@dataclass(frozen=True)
class Family:
    """A partner's token, those of its sites, and those of each site's dishes."""

    partner: Token
    sites: list[Token]
    dishes: list[list[Token]]

    @property
    def members(self) -> list[Token]:
        return [self.partner, *self.sites, *(dish for site in self.dishes for dish in site)]


def raise_family(partner: Token) -> Family:
    """Attenuate a token, and those made from it."""
    sites = [
        partner.attenuate(device=f"site-{site}/*", label=f"site-{site}", rate_limit="100000/day")
        for site in range(SITES)
    ]
    dishes = [
        [
            site.attenuate(
                scope="telemetry:write",
                device=device(number, dish),
                label=f"dish-{dish}",
                expires=timedelta(1),
            )
            for dish in range(DISHES)
        ]
        for number, site in enumerate(sites)
    ]
    return Family(partner, sites, dishes)


def device(site: int, dish: int) -> str:
    return f"site-{site}/dish-{dish}"


@pytest.fixture(scope="module")
def founded(tmp_path_factory: pytest.TempPathFactory) -> tuple[ServerProcess, Iterator[Family]]:
    """Give a server, and families of tenants of their own that were made while it was stopped."""
    data_dir = tmp_path_factory.mktemp("delegation")
    server = start_server(data_dir)
    with AdminClient(server.admin_address, token=server.token) as admin:
        partners = [partner_of(admin, f"acme-{number}") for number in range(FAMILIES)]
    assert server.terminate() == 0
    families = [raise_family(partner) for partner in partners]
    return start_server(data_dir), iter(families)


def partner_of(admin: AdminClient, tenant_id: str) -> Token:
    admin.create_tenant(tenant_id)
    return admin.mint_token(tenant_id=tenant_id, scope="telemetry:*", label="partner")


@pytest.fixture(scope="module")
def server(founded: tuple[ServerProcess, Iterator[Family]]) -> Iterator[ServerProcess]:
    yield founded[0]
    founded[0].kill()


@pytest.fixture
def family(founded: tuple[ServerProcess, Iterator[Family]]) -> Family:
    """Give a family of which the server has seen nobody."""
    return next(founded[1])


async def answers(server: ServerProcess, tokens: Iterable[Token]) -> set[str]:
    """Give what the server says to all these tokens."""
    async with calling(server, *tokens) as callers:
        return set(await asyncio.gather(*(caller.asks() for caller in callers)))


async def test_all_work_within_their_bounds(server: ServerProcess, family: Family) -> None:
    assert len(set(map(str, family.members))) == 1 + SITES + SITES * DISHES == 56
    async with calling(server, family.partner) as (partner,):
        assert await partner.writes("elsewhere/dish") == OK
        assert await partner.reads("elsewhere/dish") == OK
    async with calling(server, *family.sites) as sites:
        for number, caller in enumerate(sites):
            assert await caller.writes(f"site-{number}/new") == OK
            assert await caller.reads(device(number, 0)) == OK
            assert await caller.writes(device((number + 1) % SITES, 0)) == "DEVICE_DENIED"
    for number, tokens in enumerate(family.dishes):
        async with calling(server, *tokens) as dishes:
            for dish, caller in enumerate(dishes):
                assert await caller.writes(device(number, dish)) == OK
                assert await caller.writes(device(number, (dish + 1) % DISHES)) == "DEVICE_DENIED"
                assert await caller.reads(device(number, dish)) == "SCOPE_DENIED"


async def test_a_ban_ends_a_branch_that_no_server_has_seen(server: ServerProcess, family: Family) -> None:
    banned = [family.sites[2], *family.dishes[2]]
    others = [token for token in family.members if token not in banned]
    async with server.admin() as admin:
        ban = await admin.ban_token(token=family.sites[2], reason="laptop stolen")
        assert ban.tenant_id == family.partner.identifier.tenant
        assert await answers(server, banned) == {"TOKEN_BANNED"}
        assert await answers(server, others) == {OK}
        revived = [
            banned[1].attenuate(label="again"),
            banned[0].attenuate(scope="*:*").attenuate(label="new"),
        ]
        assert await answers(server, revived) == {"TOKEN_BANNED"}
        await admin.unban_token(token=family.sites[2])
    assert await answers(server, [*family.members, *revived]) == {OK}


async def test_a_ban_holds_after_the_server_was_killed(tmp_path: Path, servers: StartServer) -> None:
    server = servers(tmp_path)
    async with server.admin() as admin:
        family = raise_family(await admin.mint_token(scope="telemetry:*"))
        ban = await admin.ban_token(signature=family.sites[0].macaroon.signature.hex())
        assert ban.tenant_id == "*"
    server.kill()
    server = servers(tmp_path)
    assert await answers(server, [family.sites[0], *family.dishes[0]]) == {"TOKEN_BANNED"}
    assert await answers(server, [family.partner, *family.sites[1:], *family.dishes[1]]) == {OK}
    async with server.admin() as admin:
        await admin.unban_token(ban_id=ban.ban_id)
    assert await answers(server, family.members) == {OK}


async def stream(caller: Caller, device_id: str) -> Producer:
    """Open a stream, and have two batches of three samples acked."""
    producer = await Producer.open(caller.channel, device_id.replace("/", "-"))
    for sequence in (1, 2):
        await send(producer, device_id, sequence)
    return producer


async def send(producer: Producer, device_id: str, sequence: int) -> None:
    """Send three samples, and wait until they are acked."""
    await producer.send(sequence, make_batch(device_id, START + sequence * 3 * SECOND))
    assert await producer.acked(sequence) == []


async def ending(producer: Producer) -> tuple[grpc.StatusCode, str]:
    """Read to the end that the server makes."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await producer.to_end()
    return caught.value.code(), reason_of(caught.value)


@pytest.mark.parametrize("way", ["token", "signature", "digest"])
async def test_a_ban_ends_the_streams_of_a_branch_and_loses_nothing(
    server: ServerProcess, family: Family, way: str
) -> None:
    site = family.sites[1]
    named = {"token": str(site), "signature": site.macaroon.signature.hex(), "digest": site.inspect().digest}
    async with calling(server, *family.dishes[1]) as dishes, calling(server, *family.dishes[3]) as spared:
        ended = [await stream(caller, device(1, dish)) for dish, caller in enumerate(dishes)]
        going_on = [await stream(caller, device(3, dish)) for dish, caller in enumerate(spared)]
        async with server.admin() as admin:
            await admin.ban_token(**{way: named[way]})
        banned = (grpc.StatusCode.PERMISSION_DENIED, "TOKEN_BANNED")
        assert await asyncio.gather(*map(ending, ended)) == [banned] * DISHES
        for dish, producer in enumerate(going_on):
            await send(producer, device(3, dish), 3)
            await producer.close()
    async with calling(server, family.partner) as (partner,):
        for number, count in ((1, 6), (3, 9)):
            stored = [await sample_count(partner.channel, device(number, dish)) for dish in range(DISHES)]
            assert stored == [count] * DISHES


async def test_an_operator_hands_over_to_a_successor(tmp_path: Path, servers: StartServer) -> None:
    """What docs/tokens.md says to do about a leaked operator's token, but for the waiting."""
    server = servers(tmp_path)
    async with server.admin() as leaked:
        await leaked.rotate_tenant_key("*", overlap=timedelta(minutes=10))
        successor = await leaked.mint_token(tenant_id="*", label="second")
    assert successor.identifier.key_version == 2
    async with AsyncAdminClient(server.admin_address, token=successor) as admin:
        await admin.create_tenant("acme")
        acme = await admin.mint_token(tenant_id="acme", scope="telemetry:*")
    assert await answers(server, [successor, acme, Token.parse(server.token)]) == {OK}
