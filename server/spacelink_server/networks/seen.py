"""When devices were up and down, from the cheapest source that tells it to the nanosecond.

A rollup tells all where its samples all say the same and none is further than
max_gap behind another: of days first, then of their hours, then of the minutes
of hours that are not closed yet. The samples are read where these do not, and
where some arrived that no rollup has.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from spacelink.v1.telemetry_pb2 import DeviceStatus
from spacelink_server.networks.history import days
from spacelink_server.networks.measures import SEEN, samples_of
from spacelink_server.scoring import runs
from spacelink_server.scoring.runs import Sightings
from spacelink_server.storage import pending, retention, rollup_states, rollup_sums
from spacelink_server.storage.rollups import DAY, HOUR, MINUTE

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from spacelink.columns import TelemetryColumns
    from spacelink_server.networks.history import History
    from spacelink_server.scoring.runs import Runs
    from spacelink_server.storage.rollup_states import States
    from spacelink_server.storage.transactions import Connection

_SECOND = 1_000_000_000
_FINER = {DAY: HOUR, HOUR: MINUTE}
# Seconds since 1970 of all times that int64 nanoseconds can express.
_START_BITS = 34


class Question(NamedTuple):
    """What is asked.

    Attributes:
        tenant_id: the tenant.
        device_ids: its devices.
        start: of the range, nanoseconds since 1970 UTC.
        end: of the range, exclusive; not in the future.
        max_gap: how far apart samples may be without silence between them, nanoseconds.
        now: nanoseconds since 1970 UTC.
    """

    tenant_id: str
    device_ids: Sequence[str]
    start: int
    end: int
    max_gap: int
    now: int

    @property
    def samples(self) -> tuple[int, int]:
        """The range whose samples decide."""
        return runs.samples_needed(self.start, self.end, self.max_gap)


class Seen:
    """What was seen of the devices of a question, numbered as they are there."""

    def __init__(self, question: Question) -> None:
        self._q = question
        self._sightings: list[Sightings] = []
        nothing = np.empty(0, np.int64)
        self._offline: list[list[NDArray[np.int64]]] = [[nothing] for _ in question.device_ids]

    def add_samples(self, device: int, columns: TelemetryColumns) -> None:
        """Take in the samples of a part of the time of a device, all of them."""
        samples = samples_of(device, columns)
        self._sightings.append(runs.sightings(samples, self._q.max_gap))
        is_offline = samples.status == DeviceStatus.DEVICE_STATUS_OFFLINE
        self._add_offline(device, samples.time_unix_nano[is_offline])

    def add_states(self, states: States) -> None:
        """Take in windows all of whose samples say the same, without silence between them."""
        first, last = states.first_time, states.last_time
        # The first and the last two, as of samples: see runs.sightings.
        before = last - states.last_gap
        times = np.stack([first, before, last])
        is_one = np.stack([np.ones(len(last), np.bool_), before > first, last > first])
        is_steady = np.zeros(times.shape, np.bool_)
        is_steady[0] = is_one[1]
        is_down = np.broadcast_to(states.state != rollup_states.UP, times.shape)
        device = np.broadcast_to(states.device, times.shape)
        self._sightings.append(Sightings(device[is_one], times[is_one], is_down[is_one], is_steady[is_one]))
        for row in np.flatnonzero(states.state == rollup_states.OFFLINE).tolist():
            self._add_offline(int(states.device[row]), times[[0, 2], row])

    def runs(self) -> Runs:
        """Tell when the devices were up and down."""
        q = self._q
        return runs.runs(Sightings.concatenate(self._sightings), len(q.device_ids), q.start, q.end, q.max_gap)

    def offline(self, device: int) -> NDArray[np.int64]:
        """Give times, in order, at which a device said that it is offline: of each stretch of down, some."""
        return np.sort(np.concatenate(self._offline[device]))

    def _add_offline(self, device: int, times: NDArray[np.int64]) -> None:
        if len(times):
            self._offline[device].append(times)


def look(history: History, question: Question) -> Seen:
    """Find when devices were up and down. Blocks."""
    found = Seen(question)
    reader = _Reader(question, found)
    # All of it in one transaction: between two, samples move from segments to rollups.
    history.store.read(reader.read)
    for device, start, end in reader.ranges():
        columns = history.columns(question.tenant_id, question.device_ids[device], start, end, SEEN)
        if columns is not None:
            found.add_samples(device, columns)
    return found


class _Reader:
    """Takes in what rollups tell, and notes what has to be read from the samples."""

    def __init__(self, question: Question, found: Seen) -> None:
        self._q = question
        self._found = found
        self._number = {device_id: place for place, device_id in enumerate(question.device_ids)}
        self._ranges: list[tuple[int, int, int]] = []

    def ranges(self) -> Iterator[tuple[int, int, int]]:
        """Give device, start and end of what has to be read from the samples, a day at most."""
        start, end = self._q.samples
        device, upto = -1, 0
        joined: list[list[int]] = []
        for each in sorted(self._ranges):
            first, last = max(each[1], start), min(each[2], end)
            if first >= last:
                continue
            if (each[0], first) == (device, upto):
                joined[-1][2] = last
            else:
                joined.append([each[0], first, last])
            device, upto = each[0], last
        for device, first, last in joined:
            for part in days(first, last):
                yield device, *part

    def read(self, connection: Connection) -> None:
        """Take in all that rollups tell."""
        q = self._q
        start, end = q.samples
        # Rollups may be kept for longer than the samples; outages would be seen
        # in the samples only, so of what is past its time neither counts.
        kept = max(start, retention.cutoffs(connection, q.tenant_id, q.now).samples)
        if kept > start:
            self._ranges += [(device, start, kept) for device in self._number.values()]
        if kept >= end:
            return
        arrived = pending.arrived_spans(connection, q.tenant_id, q.device_ids, kept, end)
        self._arrived = np.array(
            [(self._number[device_id], first, last) for device_id, first, last in arrived], np.int64
        ).reshape(-1, 3)
        self._span = kept // _SECOND, -(-end // _SECOND)
        self._cover(connection, DAY, self._span, q.device_ids)

    def _cover(
        self, connection: Connection, window: int, span: tuple[int, int], device_ids: Sequence[str]
    ) -> None:
        """Cover the windows that reach into a span, by finer ones where rollups do not tell all."""
        whole = span[0] // window * window, -(-span[1] // window) * window
        opened = self._opened(connection, window, whole, device_ids)
        states = rollup_states.read_states(connection, self._q.tenant_id, device_ids, window, whole)
        ours = np.array([self._number[device_id] for device_id in device_ids], np.int64)
        states = states._replace(device=ours[states.device])
        keys = _keys(states.device, states.start_unix)
        tells_all = self._tells_all(states, window) & ~np.isin(keys, opened)
        self._found.add_states(rollup_states.States(*(column[tells_all] for column in states)))
        mixed = np.setdiff1d(keys[~tells_all], opened)
        if window == HOUR:
            # The samples of a closed hour are in one segment: minutes would not spare reading it.
            self._read_samples(mixed, window)
            mixed = opened
        else:
            mixed = np.union1d(mixed, opened)
        if window == MINUTE:
            self._read_samples(mixed, window)
        else:
            self._refine(connection, window, mixed)

    def _opened(
        self, connection: Connection, window: int, span: tuple[int, int], device_ids: Sequence[str]
    ) -> NDArray[np.int64]:
        """Tell in which windows there are samples that no rollup of this length has."""
        waiting = rollup_sums.pending(connection, self._q.tenant_id, device_ids, window, span)
        keys = [
            self._number[device_id] << _START_BITS | start
            for start, some in waiting.items()
            for device_id in some
        ]
        ours = np.isin(self._arrived[:, 0], [self._number[device_id] for device_id in device_ids])
        device, *times = self._arrived[ours].T
        first, last = (time // (window * _SECOND) for time in times)
        first, last = np.maximum(first, span[0] // window), np.minimum(last, span[1] // window - 1)
        counts = np.maximum(last - first + 1, 0)
        place = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
        touched = _keys(np.repeat(device, counts), (np.repeat(first, counts) + place) * window)
        return np.union1d(np.array(keys, np.int64), touched)

    def _tells_all(self, states: States, window: int) -> NDArray[np.bool_]:
        start, end = states.start_unix * _SECOND, (states.start_unix + window) * _SECOND
        # What is said before the range is no cause of an outage within it.
        is_inside = (start >= self._q.start) & (end <= self._q.end)
        is_one_state: NDArray[np.bool_] = (states.state == rollup_states.UP) | (
            states.state != rollup_states.MIXED
        ) & is_inside
        is_one_state &= states.longest_gap <= self._q.max_gap
        return is_one_state

    def _read_samples(self, keys: NDArray[np.int64], window: int) -> None:
        for device, start in _windows(keys):
            self._ranges.append((device, start * _SECOND, (start + window) * _SECOND))

    def _refine(self, connection: Connection, window: int, keys: NDArray[np.int64]) -> None:
        by_start: dict[int, list[str]] = {}
        for device, start in _windows(keys):
            by_start.setdefault(start, []).append(self._q.device_ids[device])
        for start, some in by_start.items():
            inside = max(start, self._span[0]), min(start + window, self._span[1])
            self._cover(connection, _FINER[window], inside, some)


def _keys(device: NDArray[np.int64], start: NDArray[np.int64]) -> NDArray[np.int64]:
    """Name windows of devices by one number each, in the order of device and time."""
    return device << _START_BITS | start


def _windows(keys: NDArray[np.int64]) -> Iterator[tuple[int, int]]:
    """Give device and start of windows."""
    return zip((keys >> _START_BITS).tolist(), (keys & (1 << _START_BITS) - 1).tolist(), strict=True)
