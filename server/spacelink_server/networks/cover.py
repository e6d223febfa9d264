"""Covering a range of time with rollups.

A range is covered by the rollups of its whole days, then hours, then minutes.
What maintenance has not come to yet is added from its segments. A sample may be
in both, where it was sent twice: a window whose samples lie in one range of time
with segments is left to a finer rollup, and the finest of this kind are read from the
samples.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from spacelink.columns import merge
from spacelink_server.networks.history import days
from spacelink_server.storage import reading, rollup_sums
from spacelink_server.storage.rollups import DAY, HOUR, MINUTE

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from numpy.typing import NDArray

    from spacelink.columns import TelemetryColumns
    from spacelink_server.storage.segments import Segment
    from spacelink_server.storage.transactions import Connection, Transactions

    Counts = NDArray[np.int64]

_SECOND = 1_000_000_000
_FINER = {DAY: HOUR, HOUR: MINUTE}


class Question(NamedTuple):
    """What is asked.

    Attributes:
        tenant_id: the tenant.
        device_ids: its devices.
        start: of the range, nanoseconds since 1970 UTC, at the start of a minute,
            or of a step if there are several.
        end: of the range, exclusive.
        step: the length of the parts that are told apart, whole minutes that
            divide a day, or whole days; None: the range is not parted.
    """

    tenant_id: str
    device_ids: Sequence[str]
    start: int
    end: int
    step: int | None = None

    @property
    def steps(self) -> int:
        """How many parts the range has."""
        return 1 if self.step is None else -(-(self.end - self.start) // self.step)

    def step_of(self, times: Counts) -> Counts:
        """Tell which part each time lies in."""
        return times * 0 if self.step is None else (times - self.start) // self.step

    def divides(self, window: int) -> bool:
        """Tell whether no window of a length lies in two parts."""
        return self.step is None or self.step % (window * _SECOND) == 0


class Windows(NamedTuple):
    """Rollups of w windows; each array has shape (w,).

    Attributes:
        device: which of the question's devices a window is of.
        start_unix: its start in seconds since 1970 UTC.
        first_time: of the first sample, nanoseconds since 1970 UTC.
        last_time: of the last.
        is_usable: whether it has all that is wanted.
    """

    device: Counts
    start_unix: Counts
    first_time: Counts
    last_time: Counts
    is_usable: NDArray[np.bool_]


class Cover(ABC):
    """Reads what a question is about, each sample once.

    Attributes:
        finest: the shortest windows whose rollups have all that is wanted.
        question: what is asked.
        number: the devices' places in the question.
    """

    finest = MINUTE

    def __init__(self, question: Question) -> None:
        self.question = question
        self.number = {device_id: place for place, device_id in enumerate(question.device_ids)}
        self._ranges: list[tuple[int, int, int]] = []

    @abstractmethod
    def read_windows(
        self, connection: Connection, window: int, span: tuple[int, int], device_ids: Sequence[str]
    ) -> Windows:
        """Read the rollups of a length that start in a span of seconds."""

    @abstractmethod
    def add_windows(self, rows: NDArray[np.bool_]) -> None:
        """Add some of the rollups that were read last."""

    @abstractmethod
    def add_samples(self, device: int, columns: TelemetryColumns) -> None:
        """Add samples of a device, in time order, at least one."""

    def add_all(self, store: Transactions) -> None:
        """Add all of the range. Blocks."""
        # All of it in one transaction: between two, samples move from segments to rollups.
        store.read(self._read)
        q = self.question
        for device, start, end in self._ranges:
            for day in days(start, min(end, q.end)):
                for part in reading.read(store, q.tenant_id, q.device_ids[device], *day):
                    self.add_samples(device, reading.columns_of(part))

    def numbers(self, device_ids: Sequence[str]) -> Counts:
        """Give the places of devices in the question."""
        return np.array([self.number[device_id] for device_id in device_ids], np.int64)

    def _read(self, connection: Connection) -> None:
        q = self.question
        segments = rollup_sums.arrived(connection, q.tenant_id, q.device_ids, q.start, q.end)
        self._arrived = np.array(
            [(self.number[each.device_id], each.first_time, each.last_time) for each in segments], np.int64
        ).reshape(-1, 3)
        self._reach = np.repeat([[2**63 - 1], [-1]], len(q.device_ids), axis=1)
        np.minimum.at(self._reach[0], self._arrived[:, 0], self._arrived[:, 1])
        np.maximum.at(self._reach[1], self._arrived[:, 0], self._arrived[:, 2])
        self._cover_span(connection, DAY, (q.start // _SECOND, -(-q.end // _SECOND)))
        self._add_segments(segments)

    def _cover_span(self, connection: Connection, window: int, span: tuple[int, int]) -> None:
        """Cover a span with rollups of a length, and its ends with finer ones."""
        if span[0] >= span[1]:
            return
        if window < self.finest:
            self._leave([(device, span[0]) for device in self.number.values()], span[1] - span[0])
            return
        first, last = -(-span[0] // window) * window, span[1] // window * window
        if window == MINUTE:
            self._cover(connection, window, span, self.question.device_ids)
        elif first < last and self.question.divides(window):
            self._cover(connection, window, (first, last), self.question.device_ids)
            self._cover_span(connection, _FINER[window], (span[0], first))
            self._cover_span(connection, _FINER[window], (last, span[1]))
        else:
            self._cover_span(connection, _FINER[window], span)

    def _cover(
        self, connection: Connection, window: int, span: tuple[int, int], device_ids: Sequence[str]
    ) -> None:
        """Cover a span with rollups of a length, or with what is finer where these cannot be used."""
        q = self.question
        found = self.read_windows(connection, window, span, device_ids)
        usable = found.is_usable & ~self._is_touched(found) & (found.last_time < q.end)
        self.add_windows(usable)
        left = list(zip(found.device[~usable].tolist(), found.start_unix[~usable].tolist(), strict=True))
        if window == MINUTE:
            self._leave(left, window)
            return
        pending = rollup_sums.pending(connection, q.tenant_id, device_ids, window, span)
        left += [(self.number[each], start) for start, some in pending.items() for each in some]
        if _FINER[window] < self.finest:
            self._leave(left, window)
            return
        by_start: dict[int, list[str]] = {}
        for device, start in left:
            by_start.setdefault(start, []).append(q.device_ids[device])
        for start, some in by_start.items():
            self._cover(connection, _FINER[window], (start, start + window), some)

    def _leave(self, windows: Iterable[tuple[int, int]], length: int) -> None:
        """Leave windows, device and start in seconds, to be read from the samples."""
        self._ranges += [(device, start * _SECOND, (start + length) * _SECOND) for device, start in windows]

    def _is_touched(self, found: Windows) -> NDArray[np.bool_]:
        """Tell which windows have their samples in one range of time with segments."""
        touched = np.zeros(len(found.device), np.bool_)
        # As a rule what arrived last is behind all rollups; only of other devices
        # the segments are looked at one by one.
        first, last = self._reach[:, found.device]
        near = (found.first_time <= last) & (found.last_time >= first)
        for device in np.unique(found.device[near]):
            rows = np.flatnonzero(near & (found.device == device))
            spans = self._arrived[self._arrived[:, 0] == device]
            overlaps = (found.first_time[rows, None] <= spans[:, 2]) & (
                spans[:, 1] <= found.last_time[rows, None]
            )
            touched[rows] = overlaps.any(axis=1)
        return touched

    def _add_segments(self, segments: Iterable[Segment]) -> None:
        """Add the samples of segments, each once, but for those in ranges that are read on their own."""
        apart: dict[int, list[tuple[int, int]]] = {}
        for device, *each in sorted(self._ranges):
            apart.setdefault(device, []).append((each[0], each[1]))
        for device, columns in self._by_device(segments):
            times = columns.time_unix_nano
            kept = (times >= self.question.start) & (times < self.question.end)
            if device in apart:
                starts, ends = np.array(apart[device], np.int64).T
                place = np.searchsorted(starts, times, side="right") - 1
                kept &= (place < 0) | (times >= ends[place])
            if kept.any():
                self.add_samples(device, columns.take(kept))

    def _by_device(self, segments: Iterable[Segment]) -> Iterator[tuple[int, TelemetryColumns]]:
        held: dict[str, list[TelemetryColumns]] = {}
        for segment in segments:
            held.setdefault(segment.device_id, []).append(reading.columns_of(segment))
        for device_id, parts in held.items():
            yield self.number[device_id], merge(parts)
