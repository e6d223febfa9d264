from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import grpc
import pytest
from google.rpc.error_details_pb2 import QuotaFailure
from google.rpc.status_pb2 import Status

from spacelink.admin.v1.tenant_pb2 import UpdateTenantRequest
from spacelink_server.access.devices import DeviceLimits
from spacelink_server.access.errors import ExhaustedError
from spacelink_server.storage import devices
from tests.server.installation import bearer
from tests.server.services.access_calls import create_tenant

if TYPE_CHECKING:
    from tests.server.installation import Installation


async def set_maximum(installation: Installation, maximum: int) -> None:
    request = UpdateTenantRequest(tenant_id="acme", max_devices=maximum)
    await installation.tenant.UpdateTenant(request, **bearer(installation.operator))


def stored(installation: Installation) -> set[str]:
    return installation.store.read(lambda connection: devices.all_ids(connection, "acme"))


def server(installation: Installation) -> DeviceLimits:
    """Give the limits as another server has them."""
    return DeviceLimits(installation.database, installation.directory.max_devices)


async def has_room(limits: DeviceLimits, device_id: str) -> bool:
    try:
        await limits.admit("acme", device_id)
    except ExhaustedError:
        return False
    return True


async def admitted(limits: DeviceLimits, *device_ids: str) -> list[str]:
    """Ask for one after the other, and give those that there is room for."""
    return [device_id for device_id in device_ids if await has_room(limits, device_id)]


async def test_a_tenant_has_room_for_so_many(installation: Installation) -> None:
    await create_tenant(installation, "acme", max_devices=3)
    limits = server(installation)
    wanted = [f"dev-{number}" for number in range(8)]
    answers = await asyncio.gather(*(has_room(limits, device_id) for device_id in wanted))
    first = [device_id for device_id, answer in zip(wanted, answers, strict=True) if answer]
    assert len(first) == 3
    assert stored(installation) == set(first)
    # Whoever has been let in stays, on a server that has just started, too.
    for again in (limits, server(installation)):
        assert await admitted(again, *wanted) == first
    await limits.admit("default", "any")


async def test_servers_have_room_together(installation: Installation) -> None:
    await create_tenant(installation, "acme", max_devices=3)
    one, other = server(installation), server(installation)
    assert await admitted(one, "a") == ["a"]
    assert await admitted(other, "b", "c") == ["b", "c"]
    assert await admitted(one, "d") == []
    assert await admitted(one, "c", "e") == ["c"]


async def test_a_tenant_that_is_full_costs_the_store_nothing(
    installation: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    await create_tenant(installation, "acme", max_devices=1)
    limits = server(installation)
    assert await admitted(limits, "a", "b") == ["a"]
    monkeypatch.setattr(installation.store, "transact", None)
    monkeypatch.setattr(installation.store, "read", None)
    assert await admitted(limits, *[f"dev-{number}" for number in range(100)], "a") == ["a"]


async def test_a_maximum_may_be_changed(installation: Installation) -> None:
    await create_tenant(installation, "acme", max_devices=1)
    limits = server(installation)
    assert await admitted(limits, "a", "b") == ["a"]
    await set_maximum(installation, 2)
    assert await admitted(limits, "b", "c") == ["b"]
    await set_maximum(installation, 0)
    # Without a maximum nobody asks: the device comes with its first batch.
    assert await admitted(limits, "c") == ["c"]
    assert stored(installation) == {"a", "b"}
    installation.store.transact(lambda connection: devices.admit(connection, "acme", "c"))
    await set_maximum(installation, 1)
    assert await admitted(limits, "a", "b", "c", "d") == ["a", "b", "c"]


async def test_the_answer_says_how_many_there_may_be(installation: Installation) -> None:
    await create_tenant(installation, "acme", max_devices=1)
    limits = server(installation)
    await limits.admit("acme", "a")
    with pytest.raises(
        ExhaustedError, match="'b' would be one device more than the 1 of tenant acme"
    ) as caught:
        await limits.admit("acme", "b")
    error = caught.value
    assert (error.code, error.reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "DEVICE_LIMIT")
    assert error.retry_seconds is None
    failure = QuotaFailure()
    assert Status.FromString(error.status()).details[1].Unpack(failure)
    assert failure.violations[0].subject == "tenant:acme"
