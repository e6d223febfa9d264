from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from spacelink.admin.v1 import tenant_pb2
from spacelink.token import Token
from spacelink_server.access import allowances as allowances_module
from spacelink_server.access.allowances import Allowances
from spacelink_server.access.call import Call
from spacelink_server.access.limits import samples_per_day
from spacelink_server.errors import UnavailableError
from tests.server.installation import bearer
from tests.server.services.access_calls import create_tenant, mint

if TYPE_CHECKING:
    from spacelink_server.access.limits import LimitKey
    from tests.server.installation import Installation


@pytest.fixture
def allowances(installation: Installation) -> Allowances:
    return Allowances(installation.database, installation.directory.quotas)


def call_of(installation: Installation, text: object, tenant_id: str = "default") -> Call:
    return Call(tenant_id, installation.verifier.verify(str(text)), None)


async def in_force(allowances: Allowances, call: Call) -> tuple[LimitKey, ...]:
    return (await allowances.limits(call)).in_force()


def told(limits: tuple[LimitKey, ...]) -> list[tuple[str, str]]:
    return [(limit.tenant_id, limit.caveat) for limit in limits]


async def test_most_calls_have_no_limits(installation: Installation, allowances: Allowances) -> None:
    assert await in_force(allowances, call_of(installation, installation.operator)) == ()


async def test_limits_of_the_tenant_of_the_minter_and_of_the_token(
    installation: Installation, allowances: Allowances
) -> None:
    await create_tenant(installation, "acme", samples_per_day=1000)
    minter = Token.parse(installation.operator).attenuate(quota="500/day").attenuate(rate_limit="9/second")
    first = await mint(installation, str(minter), "quota = 100/day", tenant_id="acme")
    second = await mint(installation, first, tenant_id="acme")
    token = Token.parse(second).attenuate(rate_limit="5/minute").attenuate(rate_limit="5/minute")
    limits = await in_force(allowances, call_of(installation, token, "acme"))
    assert limits[0] == samples_per_day("acme", 1000)
    # What it inherits as caveats is its own, what it draws from besides is its minters'.
    assert sorted(told(limits[1:])) == [
        ("*", "quota = 500/day"),
        ("*", "rate_limit = 9/second"),
        ("acme", "quota = 100/day"),
        ("acme", "quota = 100/day"),
        ("acme", "quota = 500/day"),
        ("acme", "quota = 500/day"),
        ("acme", "rate_limit = 5/minute"),
        ("acme", "rate_limit = 5/minute"),
        ("acme", "rate_limit = 9/second"),
        ("acme", "rate_limit = 9/second"),
    ]
    assert len(set(limits)) == len(limits)
    operators = installation.verifier.verify(str(minter)).limits
    assert set(operators) < set(limits)
    assert await in_force(allowances, call_of(installation, token, "default")) == limits[1:]


async def test_what_is_inherited_is_read_once(installation: Installation, allowances: Allowances) -> None:
    minter = Token.parse(installation.operator).attenuate(quota="500/day")
    text = await mint(installation, str(minter))
    unread = await mint(installation, str(minter))
    before = await in_force(allowances, call_of(installation, text))
    installation.store.transact(
        lambda connection: connection.exec_driver_sql("ALTER TABLE tokens RENAME TO t")
    )
    assert await in_force(allowances, call_of(installation, text)) == before
    child = Token.parse(text).attenuate(label="a")
    assert await in_force(allowances, call_of(installation, child)) == before
    with pytest.raises(UnavailableError):
        await in_force(allowances, call_of(installation, unread))


async def test_memory_is_bounded(
    installation: Installation, allowances: Allowances, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(allowances_module, "_CACHE_SIZE", 2)
    minter = Token.parse(installation.operator).attenuate(quota="500/day")
    for text in [await mint(installation, str(minter)) for _ in range(5)]:
        assert len(await in_force(allowances, call_of(installation, text))) == 2
        assert len(allowances._inherited) <= 2


async def test_a_quota_that_is_changed_holds_for_calls_that_are_open(
    installation: Installation, allowances: Allowances
) -> None:
    await create_tenant(installation, "acme", samples_per_day=1000)
    text = await mint(installation, installation.operator, "quota = 5/day", tenant_id="acme")
    limits = await allowances.limits(call_of(installation, text, "acme"))
    first = limits.in_force()
    assert limits.in_force() is first
    request = tenant_pb2.UpdateTenantRequest(tenant_id="acme", samples_per_day=7)
    await installation.tenant.UpdateTenant(request, **bearer(installation.operator))
    assert limits.in_force() == (samples_per_day("acme", 7), *first[1:])
    request.samples_per_day = 0
    await installation.tenant.UpdateTenant(request, **bearer(installation.operator))
    assert limits.in_force() == first[1:]
