"""One tenant's devices under watch: their samples as they come, and what is wrong with them.

What a detector remembers is not stored: it is what the store's samples make of
it. A device that is seen for the first time, after a restart or because it came
from another server, has its last hours read and its open incidents taken over.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from spacelink.columns import TelemetryColumns
from spacelink.v1 import network_pb2 as pb
from spacelink_server.networks.measures import live_samples, samples_of
from spacelink_server.scoring.degradation import SLOT_NS, Detector
from spacelink_server.scoring.detector_state import BASELINE_SLOTS, DetectorState
from spacelink_server.scoring.incidents import Cause
from spacelink_server.scoring.samples import Samples
from spacelink_server.storage import devices, incidents, reading
from spacelink_server.storage.latest import newest_samples

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from spacelink_server.scoring.incidents import Events
    from spacelink_server.storage.segments import Segment
    from spacelink_server.storage.transactions import Transactions

_SECOND = 1_000_000_000
_DAY = 86_400 * _SECOND

# A device that was silent for longer was taken out of service, or was long known
# to be silent.
_IN_SERVICE_NS = _DAY
# What another server takes in is heard from more often than this.
_QUIET_NS = 30 * _SECOND

# A step prepares no more devices than this: reading a device's last hours takes
# some milliseconds, and what comes meanwhile waits.
_PREPARED_AT_ONCE = 100

# What a detector remembers.
_MEMORY_NS = BASELINE_SLOTS * SLOT_NS

# What was found this long before a device's first new sample may have been lost
# with a server that stopped; what is older was written down when it was found.
_LOOKBACK_NS = 600 * _SECOND

_CAUSES = {
    Cause.LATENCY: pb.INCIDENT_CAUSE_LATENCY,
    Cause.LOSS: pb.INCIDENT_CAUSE_PACKET_LOSS,
    Cause.SILENCE: pb.INCIDENT_CAUSE_SILENCE,
}
_CAUSES_BY_NUMBER: dict[int, Cause] = {number: cause for cause, number in _CAUSES.items()}


class Change(NamedTuple):
    """An incident that opened or closed.

    Attributes:
        device_id: the device.
        cause: a spacelink.v1.IncidentCause.
        is_open: whether it opened.
        time: when that was found.
        start: when the incident began.
        measured: what decided.
        threshold: what it was held against.
    """

    device_id: str
    cause: int
    is_open: bool
    time: int
    start: int
    measured: float
    threshold: float


class TenantWatch:
    """Watches the devices of a tenant. Its methods block, and are called one at a time."""

    def __init__(self, store: Transactions, tenant_id: str) -> None:
        self._store = store
        self._tenant_id = tenant_id
        self._detector = Detector(DetectorState.empty(0))
        self._ids: list[str] = []
        self._rows: dict[str, int] = {}
        # Of each device the newest sample's time; those that were prepared.
        self._newest: dict[str, int] = {}
        self._prepared: set[str] = set()

    def take_in(self, segments: Mapping[str, Sequence[Segment]], now: int) -> tuple[list[Change], set[str]]:
        """Take in what was committed.

        Args:
            segments: by device.
            now: nanoseconds since 1970 UTC.

        Returns:
            What opened and closed, and the devices whose segments were taken in;
            those of the others are to be brought again.
        """
        strangers = [device_id for device_id in segments if device_id not in self._prepared]
        changes = self._prepare(
            {
                device_id: min(segment.first_time for segment in segments[device_id])
                for device_id in strangers[:_PREPARED_AT_ONCE]
            },
            now,
        )
        taken = self._prepared & segments.keys()
        heard = [segment for device_id in sorted(taken) for segment in segments[device_id]]
        for segment in heard:
            self._newest[segment.device_id] = max(self._newest.get(segment.device_id, 0), segment.last_time)
        if heard:
            samples = live_samples([self._rows[segment.device_id] for segment in heard], heard)
            changes += self._changes(self._detector.feed(samples, now))
        return changes, taken

    def look_for_silence(self, now: int) -> list[Change]:
        """Find devices that fell silent, and those whose silence nobody watches."""
        self._adopt(now)
        found = self._changes(self._detector.advance(now))
        elsewhere = self._sending_elsewhere([change.device_id for change in found])
        self._forget(elsewhere)
        return [self._dated(change) for change in found if change.device_id not in elsewhere]

    def _prepare(self, first_times: Mapping[str, int], now: int) -> list[Change]:
        """Give devices the state that their last hours make."""
        if not first_times:
            return []
        self._place(first_times)
        parts = [
            samples_of(self._rows[device_id], columns)
            for device_id, first in first_times.items()
            for columns in self._columns(device_id, first - _MEMORY_NS, first)
        ]
        changes = []
        if parts:
            changes = self._changes(self._detector.feed(Samples.concatenate(parts), now))
        self._take_over(first_times)
        self._prepared.update(first_times)
        return [each for each in changes if each.time >= first_times[each.device_id] - _LOOKBACK_NS]

    def _adopt(self, now: int) -> None:
        """Watch over the silence of devices in service that no server hears from."""
        quiet = self._store.read(
            lambda c: devices.last_heard(c, self._tenant_id, now - _IN_SERVICE_NS, now - _QUIET_NS)
        )
        strangers = [device_id for device_id in quiet if device_id not in self._rows][:_PREPARED_AT_ONCE]
        found = self._newest_samples(strangers)
        if not found:
            return
        self._place(found)
        parts = [samples_of(self._rows[device_id], sample) for device_id, sample in found.items()]
        for device_id, sample in found.items():
            self._newest[device_id] = int(sample.time_unix_nano[-1])
        self._detector.feed(Samples.concatenate(parts), now)
        self._take_over(found)

    def _place(self, device_ids: Iterable[str]) -> None:
        """Give devices rows with nothing in them."""
        kept = np.arange(len(self._ids))
        for device_id in device_ids:
            if device_id in self._rows:
                kept[self._rows[device_id]] = -1
            else:
                self._rows[device_id] = len(self._ids)
                self._ids.append(device_id)
        new = np.full(len(self._ids) - len(kept), -1)
        self._restate(np.concatenate([kept, new]))

    def _forget(self, device_ids: set[str]) -> None:
        if not device_ids:
            return
        kept = [row for row, device_id in enumerate(self._ids) if device_id not in device_ids]
        self._ids = [self._ids[row] for row in kept]
        self._rows = {device_id: row for row, device_id in enumerate(self._ids)}
        self._prepared -= device_ids
        for device_id in device_ids:
            self._newest.pop(device_id, None)
        self._restate(np.array(kept, np.int64))

    def _restate(self, rows: np.typing.NDArray[np.int64]) -> None:
        self._detector = Detector(self._detector.state.take(rows))

    def _take_over(self, device_ids: Iterable[str]) -> None:
        """Go on with incidents that are open already."""
        wanted = list(device_ids)
        for incident in self._store.read(lambda c: incidents.open_of(c, self._tenant_id, wanted)):
            cause = _CAUSES_BY_NUMBER[incident.cause]
            self._detector.mark_open(self._rows[incident.device_id], cause, incident.start_time)

    def _columns(self, device_id: str, start: int, end: int) -> Iterator[TelemetryColumns]:
        for part in reading.read(self._store, self._tenant_id, device_id, start, end):
            yield reading.columns_of(part)

    def _newest_samples(self, device_ids: Sequence[str]) -> dict[str, TelemetryColumns]:
        if not device_ids:
            return {}
        return self._store.read(lambda c: newest_samples(c, self._tenant_id, device_ids))

    def _sending_elsewhere(self, device_ids: Sequence[str]) -> set[str]:
        """Give the devices that are silent here, and heard by another server."""
        return {
            device_id
            for device_id, sample in self._newest_samples(device_ids).items()
            if int(sample.time_unix_nano[-1]) > self._newest[device_id]
        }

    def _dated(self, change: Change) -> Change:
        """Let the silence of an adopted device begin with its last sample, not with its adoption."""
        if change.device_id in self._prepared or not change.is_open:
            return change
        return change._replace(start=self._newest[change.device_id])

    def _changes(self, events: Events) -> list[Change]:
        columns = (events.device, events.cause, events.is_open, events.time_ns, events.since_ns)
        numbers = zip(
            *(column.tolist() for column in (*columns, events.value, events.threshold)), strict=True
        )
        return [
            Change(self._ids[device], _CAUSES[Cause(cause)], is_open, time, since, value, threshold)
            for device, cause, is_open, time, since, value, threshold in numbers
        ]
