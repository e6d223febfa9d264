"""The tenants, in memory: their keys, what they may store and from where they may call."""

from __future__ import annotations

import asyncio
import time
from ipaddress import ip_network
from typing import TYPE_CHECKING, NamedTuple

from spacelink_server.access.limits import samples_per_day
from spacelink_server.access.periodic import repeat
from spacelink_server.storage import ip_allowlists, tenants
from spacelink_server.storage.tenants import TenantKey

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from spacelink_server.access.keys import KeyRing
    from spacelink_server.access.limits import LimitKey
    from spacelink_server.access.peers import Address, AddressRange
    from spacelink_server.access.writes import Database
    from spacelink_server.storage.tenants import Tenant
    from spacelink_server.storage.transactions import Connection

# A key that was rotated on another server signs and verifies here within this
# and the time of a reading.
_POLL_SECONDS = 0.25


class _Rows(NamedTuple):
    version: int
    tenants: Sequence[Tenant]
    keys: Sequence[TenantKey]
    allowlists: Mapping[str, Sequence[str]]


class TenantDirectory:
    """Keeps the keys of a KeyRing, and the quotas and addresses of tenants, as the store has them."""

    def __init__(self, database: Database, keys: KeyRing) -> None:
        """Make a directory; refresh reads it."""
        self._database = database
        self._keys = keys
        self._version = -1
        self._quotas: dict[str, tuple[LimitKey, ...]] = {}
        self._allowed: dict[str, tuple[AddressRange, ...]] = {}
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
            rows = await self._database.read(_read)
            self._keys.load(rows.keys)
            self._version = rows.version
            self._quotas = {
                row.tenant_id: (samples_per_day(row.tenant_id, row.samples_per_day),)
                for row in rows.tenants
                if row.samples_per_day
            }
            self._allowed = {
                tenant_id: tuple(map(ip_network, cidrs)) for tenant_id, cidrs in rows.allowlists.items()
            }
            self._max_devices = {row.tenant_id: row.max_devices for row in rows.tenants if row.max_devices}

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

    def admits(self, tenant_id: str, address: Address | None) -> bool:
        """Tell whether a tenant's tokens are good from an address; None, one that is not known."""
        allowed = self._allowed.get(tenant_id)
        return allowed is None or (address is not None and any(address in network for network in allowed))


def create_tenant(connection: Connection, keys: KeyRing, tenant: Tenant) -> None:
    """Add a tenant that is not there yet, with its first key; then the directory is to be refreshed."""
    tenants.insert(connection, tenant)
    add_key(connection, keys, tenant.tenant_id, 1)


def add_key(connection: Connection, keys: KeyRing, tenant_id: str, key_version: int) -> None:
    """Add a version of a tenant's key, which signs its new tokens."""
    fingerprint = keys.fingerprint(tenant_id, key_version)
    tenants.insert_key(connection, TenantKey(tenant_id, key_version, fingerprint, time.time_ns(), None))


def _read(connection: Connection) -> _Rows:
    return _Rows(
        tenants.version(connection),
        tenants.all_tenants(connection),
        tenants.keys(connection),
        ip_allowlists.all_of(connection),
    )
