"""How many devices a tenant may have."""

from __future__ import annotations

from typing import TYPE_CHECKING

from spacelink_server.access.errors import ExhaustedError
from spacelink_server.storage import devices

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from spacelink_server.access.writes import Database


class DeviceLimits:
    """Keeps tenants to the number of devices that they may have.

    A new device of a tenant with a maximum is written down before its first
    batch is taken, so that the number holds whoever else takes batches. Devices
    that are there stay, also where the maximum is set below their number.
    """

    def __init__(self, database: Database, maxima: Callable[[], Mapping[str, int]]) -> None:
        """Make it.

        Args:
            database: where the devices are.
            maxima: gives the maximum of each tenant that has one; another object
                whenever a tenant has changed.
        """
        self._database = database
        self._maxima = maxima
        self._seen = maxima()
        # Of tenants with a maximum, so no more than that many each.
        self._known: dict[str, set[str]] = {}

    async def admit(self, tenant_id: str, device_id: str) -> None:
        """Make sure that a device is one of the tenant's, or becomes one.

        Raises:
            ExhaustedError: the tenant has as many others as it may have.
            UnavailableError: the store failed.
        """
        maxima = self._maxima()
        if tenant_id not in maxima:
            return
        if maxima is not self._seen:
            # Without a maximum, devices were added that nobody told of here.
            self._seen = maxima
            self._known.clear()
        known = self._known.get(tenant_id)
        if known is None:
            known = await self._database.read(lambda connection: devices.all_ids(connection, tenant_id))
            self._known[tenant_id] = known
        if device_id not in known:
            await self._add(known, tenant_id, device_id, maxima[tenant_id])

    async def _add(self, known: set[str], tenant_id: str, device_id: str, maximum: int) -> None:
        # A tenant that is full is not asked after again for every batch.
        if len(known) < maximum:
            if await self._database.write(lambda connection: devices.admit(connection, tenant_id, device_id)):
                known.add(device_id)
                return
            # Other servers have added devices.
            self._known.pop(tenant_id, None)
        raise ExhaustedError(
            "DEVICE_LIMIT",
            f"tenant:{tenant_id}",
            f"device_id: {device_id!r} would be one device more than the {maximum} of tenant {tenant_id}",
        )
