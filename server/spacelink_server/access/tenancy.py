"""The tenants, in memory: their keys and what they may store."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from spacelink_server.access.limits import samples_per_day
from spacelink_server.access.periodic import repeat
from spacelink_server.storage import tenants

if TYPE_CHECKING:
    from collections.abc import Mapping

    from spacelink_server.access.keys import KeyRing
    from spacelink_server.access.limits import LimitKey
    from spacelink_server.access.writes import Database
    from spacelink_server.storage.tenants import Tenant, TenantKey
    from spacelink_server.storage.transactions import Connection

# A key that was rotated on another server signs and verifies here within this
# and the time of a reading.
_POLL_SECONDS = 0.25


class TenantDirectory:
    """Keeps the keys of a KeyRing and the quotas of tenants as the store has them."""

    def __init__(self, database: Database, keys: KeyRing) -> None:
        """Make a directory; refresh reads it."""
        self._database = database
        self._keys = keys
        self._version = -1
        self._quotas: dict[str, tuple[LimitKey, ...]] = {}
        self._max_devices: dict[str, int] = {}
        self._reading = asyncio.Lock()

    async def refresh(self) -> None:
        """Take over what is in the store; on return it is in force here.

        Raises:
            MasterKeyError: the master key is not the one that the store was made with.
            UnavailableError: the store failed.
        """
        # One at a time: an earlier reading must not replace a later one.
        async with self._reading:
            version, rows, keys = await self._database.read(_read)
            self._keys.load(keys)
            self._version = version
            self._quotas = {
                row.tenant_id: (samples_per_day(row.tenant_id, row.samples_per_day),)
                for row in rows
                if row.samples_per_day
            }
            self._max_devices = {row.tenant_id: row.max_devices for row in rows if row.max_devices}

    async def run(self) -> None:
        """Take over what other servers change; runs for ever."""
        await repeat(_POLL_SECONDS, self._poll, "reading the tenants")

    async def _poll(self) -> None:
        if await self._database.read(tenants.version) != self._version:
            await self.refresh()

    def quotas(self, tenant_id: str) -> tuple[LimitKey, ...]:
        """Give what all samples of a tenant draw from, whichever token they come with."""
        return self._quotas.get(tenant_id, ())

    def max_devices(self) -> Mapping[str, int]:
        """Give how many devices each tenant may have that may not have any number; anew with every change."""
        return self._max_devices


def _read(connection: Connection) -> tuple[int, list[Tenant], list[TenantKey]]:
    return tenants.version(connection), tenants.all_tenants(connection), tenants.keys(connection)
