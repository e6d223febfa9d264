"""Live detection: what was committed is judged, and incidents are opened and closed.

Every server watches what is committed through it. An incident is written in one
transaction with its audit event, and the store lets only one be open for each
device and cause, so that it does not matter which server sees it first.
"""

from __future__ import annotations

import asyncio
import logging
import math
import secrets
import time
from typing import TYPE_CHECKING, Any

from spacelink._times import rfc3339_of
from spacelink.v1.network_pb2 import INCIDENT_CAUSE_SILENCE, IncidentCause
from spacelink_server.access.periodic import repeat
from spacelink_server.networks.watch import TenantWatch
from spacelink_server.storage import audit, incidents, outbox, tenants
from spacelink_server.storage.audit import Event
from spacelink_server.storage.incidents import Incident

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from concurrent.futures import Executor

    from spacelink_server.access.writes import Database
    from spacelink_server.networks.watch import Change
    from spacelink_server.storage.segments import Segment
    from spacelink_server.storage.transactions import Connection, Transactions

logger = logging.getLogger(__name__)

# How often what was committed is judged: a fraction of the quarter of a minute
# that samples are judged by.
_STEP_SECONDS = 3.0

# Silence takes a minute, and looking for it goes over all devices.
_SILENCE_STEPS = 5

# What happened longer ago is history, such as a recording that is imported, and
# nobody is to be called for it. Outages of a day delay telemetry by a day.
_LIVE_NS = 86_400 * 1_000_000_000

# What may wait for the next step: over a hundred thousand samples. Ingest never
# waits for detection; past this, imports at full speed go unjudged.
_MAX_WAITING_BYTES = 16 * 1024 * 1024


class IncidentDetection:
    """Judges what is committed through this server.

    Attributes:
        left_out: how many batches were not judged, because it was too much at once.
    """

    def __init__(
        self,
        store: Transactions,
        database: Database,
        readers: Executor,
        clock: Callable[[], int] = time.time_ns,
    ) -> None:
        """Make a detection that has seen nothing yet.

        Args:
            store: the telemetry.
            database: where incidents are written.
            readers: threads for judging.
            clock: gives nanoseconds since 1970 UTC.
        """
        self._store = store
        self._database = database
        self._readers = readers
        self._clock = clock
        self._watches: dict[str, TenantWatch] = {}
        self._waiting: dict[str, dict[str, list[Segment]]] = {}
        self._waiting_bytes = 0
        self.left_out = 0
        self._left_out_before = 0
        self._unwritten: dict[str, list[Change]] = {}
        self._steps = 0

    def observe(self, tenant_id: str, segments: Sequence[Segment]) -> None:
        """Hear of committed segments; the next step judges them."""
        waiting = self._waiting.setdefault(tenant_id, {})
        oldest = self._clock() - _LIVE_NS
        for segment in segments:
            if segment.last_time < oldest:
                continue
            if self._waiting_bytes >= _MAX_WAITING_BYTES:
                self.left_out += 1
                continue
            self._waiting_bytes += len(segment.payload)
            waiting.setdefault(segment.device_id, []).append(segment)

    async def run(self) -> None:
        """Judge for ever."""
        await repeat(_STEP_SECONDS, self.step, "detection")

    async def step(self) -> None:
        """Judge what was committed since the last step, and write down what was found.

        Raises:
            UnavailableError: the store failed; what was found is written in the next step.
        """
        waiting, self._waiting, self._waiting_bytes = self._waiting, {}, 0
        if left_out := self.left_out - self._left_out_before:
            logger.warning("too much at once: %d batches are not searched for incidents", left_out)
            self._left_out_before = self.left_out
        for tenant_id, segments in waiting.items():
            await self._judge(tenant_id, segments)
        if self._steps % _SILENCE_STEPS == 0:
            await self._look_for_silence()
        self._steps += 1
        for tenant_id in list(self._unwritten):
            await self._settle(tenant_id)

    async def _judge(self, tenant_id: str, segments: dict[str, list[Segment]]) -> None:
        watch = self._watch(tenant_id)
        loop = asyncio.get_running_loop()
        changes, taken = await loop.run_in_executor(self._readers, watch.take_in, segments, self._clock())
        self._unwritten.setdefault(tenant_id, []).extend(changes)
        for device_id in segments.keys() - taken:
            self.observe(tenant_id, segments[device_id])

    async def _look_for_silence(self) -> None:
        loop = asyncio.get_running_loop()
        for tenant in await self._database.read(tenants.all_tenants):
            watch = self._watch(tenant.tenant_id)
            changes = await loop.run_in_executor(self._readers, watch.look_for_silence, self._clock())
            self._unwritten.setdefault(tenant.tenant_id, []).extend(changes)

    async def _settle(self, tenant_id: str) -> None:
        """Write down what was found; what is not written stays to be."""
        changes = self._unwritten[tenant_id]
        written = await self._database.write(lambda c: _write(c, tenant_id, changes)) if changes else ()
        del self._unwritten[tenant_id]
        for incident in written:
            _log(tenant_id, incident)

    def _watch(self, tenant_id: str) -> TenantWatch:
        return self._watches.setdefault(tenant_id, TenantWatch(self._store, tenant_id))


def _write(connection: Connection, tenant_id: str, changes: Sequence[Change]) -> list[Incident]:
    """Write changes, each with an audit event, and give those that no other server wrote before."""
    written = []
    for change in changes:
        incident = _apply(connection, tenant_id, change)
        if incident is not None:
            written.append(incident)
            action = "incident.close" if incident.end_time else "incident.open"
            detail = {"device_id": incident.device_id, "cause": _name(incident)}
            event = Event("system", action, f"incident:{incident.incident_id}", detail=detail)
            audit.append(connection, tenant_id, event)
            _announce(connection, tenant_id, incident)
    return written


def _announce(connection: Connection, tenant_id: str, incident: Incident) -> None:
    """Have the tenant's webhooks told that an incident opened or closed."""
    is_over = incident.end_time is not None
    data: dict[str, Any] = {
        "incident_id": incident.incident_id,
        "device_id": incident.device_id,
        "cause": _name(incident),
        "start_time": rfc3339_of(incident.start_time),
        "detect_time": rfc3339_of(incident.detect_time),
        # JSON has no name for what is not a number.
        "measured": incident.measured if math.isfinite(incident.measured) else None,
        "threshold": incident.threshold,
    }
    if incident.end_time is not None:
        data["end_time"] = rfc3339_of(incident.end_time)
    outbox.append(connection, tenant_id, "incident.closed" if is_over else "incident.opened", data)
    if incident.cause == INCIDENT_CAUSE_SILENCE:
        outbox.append(connection, tenant_id, "device.back" if is_over else "device.silent", data)


def _apply(connection: Connection, tenant_id: str, change: Change) -> Incident | None:
    if not change.is_open:
        return incidents.close_incident(connection, tenant_id, change.device_id, change.cause, change.time)
    incident = Incident(
        incident_id=secrets.token_hex(16),
        device_id=change.device_id,
        cause=change.cause,
        start_time=change.start,
        detect_time=change.time,
        end_time=None,
        measured=change.measured,
        threshold=change.threshold,
    )
    return incident if incidents.open_incident(connection, tenant_id, incident) else None


def _log(tenant_id: str, incident: Incident) -> None:
    state = "over" if incident.end_time else "open"
    logger.info("incident of %s in %s: %s is %s", incident.device_id, tenant_id, _name(incident), state)


def _name(incident: Incident) -> str:
    return IncidentCause.Name(incident.cause).removeprefix("INCIDENT_CAUSE_").lower()  # type: ignore[arg-type]
