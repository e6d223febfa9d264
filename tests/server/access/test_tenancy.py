from __future__ import annotations

import asyncio
import threading
import time
from typing import TYPE_CHECKING

import pytest

from spacelink_server.access import tenancy
from spacelink_server.access.keys import MasterKeyError
from spacelink_server.access.limits import samples_per_day
from spacelink_server.storage import tenants
from spacelink_server.storage.tenants import Tenant, TenantKey
from tests.server.waiting import until

if TYPE_CHECKING:
    from spacelink_server.storage.transactions import Connection
    from tests.server.installation import Installation


async def insert(installation: Installation, tenant_id: str, quota: int = 0) -> None:
    """Create a tenant as another server does: in the store only."""
    now = time.time_ns()
    key = TenantKey(tenant_id, 1, installation.keys.fingerprint(tenant_id, 1), now, None)

    def work(connection: Connection) -> None:
        tenants.insert(connection, Tenant(tenant_id, "", quota, 0, (), now))
        tenants.insert_key(connection, key)

    await installation.database.write(work)


async def test_a_refresh_takes_over_tenants_and_quotas(installation: Installation) -> None:
    await insert(installation, "acme", quota=5)
    assert "acme" not in installation.keys
    await installation.directory.refresh()
    assert "acme" in installation.keys
    assert installation.directory.quotas("acme") == (samples_per_day("acme", 5),)
    assert installation.directory.quotas("default") == installation.directory.quotas("nobody") == ()


async def test_an_earlier_reading_does_not_replace_a_later_one(
    installation: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    readings = 0
    second_is_done = threading.Event()
    read = tenancy._read

    def slow_at_first(connection: Connection) -> object:
        nonlocal readings
        readings += 1
        rows = read(connection)
        if readings == 1:
            # With both at once, the second overtakes the first here.
            second_is_done.wait(0.3)
        return rows

    monkeypatch.setattr(tenancy, "_read", slow_at_first)
    first = asyncio.create_task(installation.directory.refresh())
    await until(lambda: readings == 1)
    await insert(installation, "acme")
    second = asyncio.create_task(installation.directory.refresh())
    second.add_done_callback(lambda _: second_is_done.set())
    await asyncio.gather(first, second)
    assert "acme" in installation.keys


async def test_keys_of_another_master_key_are_refused(installation: Installation) -> None:
    key = TenantKey("acme", 1, b"\0" * 32, time.time_ns(), None)
    await installation.database.write(lambda connection: tenants.insert_key(connection, key))
    with pytest.raises(MasterKeyError):
        await installation.directory.refresh()
    assert "acme" not in installation.keys
