"""Tells a tenant's webhooks of SLAs that are about to be missed, and of those that are.

Looked at is the SLA's calendar period that has begun and is not over. A device
breaches the SLA of its network when its outages take more than the error budget
of the whole period, and puts it at risk when they take nearly all of it; the
network is as bad as its worst device. Each level is announced once in a period,
whichever server sees it first, and never taken back.
"""

from __future__ import annotations

import asyncio
import logging
import time
from functools import partial
from typing import TYPE_CHECKING, Any

from spacelink._times import rfc3339_of
from spacelink_server.access.periodic import repeat
from spacelink_server.errors import RequestError
from spacelink_server.networks import catalog
from spacelink_server.networks.periods import period_around
from spacelink_server.networks.sla import sla
from spacelink_server.storage import audit, networks, outbox, sla_alerts, tenants
from spacelink_server.storage.audit import Event

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from spacelink_server.access.writes import Database
    from spacelink_server.networks.history import History
    from spacelink_server.networks.sla import DeviceSla, SlaReport
    from spacelink_server.storage.transactions import Connection

logger = logging.getLogger(__name__)

# Outages count by the minute unless an SLA says otherwise, so that nothing is
# missed by looking once a minute.
_PASS_SECONDS = 60.0

# After each network nothing is done for so many times as long as it took, so
# that large installations are not kept busy with this: a tenth of a core at most.
_REST = 9

# The part of the error budget at which an SLA is at risk: as quotas are warned
# of. 36 of a month's 45 minutes at 99.9 %.
AT_RISK_SHARE = 0.8

_PAGE = 100
_MINUTE_NS = 60 * 1_000_000_000

# By level, as it is stored.
_EVENT_TYPES = {1: "sla.at_risk", 2: "sla.breached"}


class SlaAlerts:
    """Looks after the SLAs of all networks whose tenants want to hear of them."""

    def __init__(self, database: Database, history: History, clock: Callable[[], int] = time.time_ns) -> None:
        """Make one that has looked at nothing yet.

        Args:
            database: where networks are, and events are written.
            history: the telemetry.
            clock: gives nanoseconds since 1970 UTC.
        """
        self._database = database
        self._history = history
        self._clock = clock

    async def run(self) -> None:
        """Look again and again, for ever."""
        await repeat(_PASS_SECONDS, self.look, "looking after SLAs")

    async def look(self) -> None:
        """Look at every network once.

        Raises:
            UnavailableError: the store failed; the next pass looks again.
        """
        for tenant in await self._database.read(tenants.all_tenants):
            async for network_id in self._networks(tenant.tenant_id):
                start = time.perf_counter()
                await self._look_at(tenant.tenant_id, network_id)
                await asyncio.sleep(_REST * (time.perf_counter() - start))

    async def _networks(self, tenant_id: str) -> AsyncIterator[str]:
        """Give the networks of a tenant who wants to hear of their SLAs."""
        if not await self._database.read(lambda c: _is_wanted(c, tenant_id)):
            return
        after = ""
        while True:
            read = partial(networks.page, tenant_id=tenant_id, network_ids=(), after=after, limit=_PAGE)
            page = await self._database.read(read)
            for network in page:
                yield network.network_id
            if len(page) < _PAGE:
                return
            after = page[-1].network_id

    async def _look_at(self, tenant_id: str, network_id: str) -> None:
        try:
            subject = await self._database.read(lambda c: catalog.subject(c, tenant_id, network_id, ()))
        except RequestError:
            # Gone since its name was read.
            return
        now = self._clock()
        period = period_around(subject.terms.message.period, now)
        report = await sla(self._history, tenant_id, subject, period, now)
        level = max(map(_level, report.devices), default=0)
        if level:
            await self._database.write(lambda c: _announce(c, tenant_id, report, level))


def _is_wanted(connection: Connection, tenant_id: str) -> bool:
    return any(outbox.wanting(connection, tenant_id, event_type) for event_type in _EVENT_TYPES.values())


def _level(device: DeviceSla) -> int:
    """Tell how bad it is with a device: 0 well, 1 at risk, 2 breached."""
    if not device.is_compliant:
        return 2
    return 1 if device.outage_ns and device.outage_ns >= AT_RISK_SHARE * device.budget_ns else 0


def _announce(connection: Connection, tenant_id: str, report: SlaReport, level: int) -> None:
    """Have webhooks told of a level, unless they were told of it, or of a higher one, before."""
    network = report.subject.network
    if not sla_alerts.raise_level(connection, tenant_id, network.network_id, report.start, level):
        return
    event_type = _EVENT_TYPES[level]
    data = _data(report, level)
    detail = {name: data[name] for name in ("period_start_time", "worst_device_id")}
    event = Event("system", event_type, f"network:{network.network_id}", detail=detail)
    audit.append(connection, tenant_id, event)
    outbox.append(connection, tenant_id, event_type, data)
    logger.info("network %s of %s: %s", network.network_id, tenant_id, event_type)


def _data(report: SlaReport, level: int) -> dict[str, Any]:
    worst = max(report.devices, key=lambda device: device.outage_ns - device.budget_ns)
    return {
        "network_id": report.subject.network.network_id,
        "period_start_time": rfc3339_of(report.start),
        "period_end_time": rfc3339_of(report.end),
        "availability_target_percent": report.subject.terms.sla.target_percent,
        "worst_device_id": worst.device_id,
        "availability_percent": worst.percent,
        "error_budget_minutes": worst.budget_ns / _MINUTE_NS,
        "error_budget_used_minutes": worst.outage_ns / _MINUTE_NS,
        "device_count": sum(_level(device) >= level for device in report.devices),
    }
