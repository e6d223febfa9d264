"""What maintenance makes of what it has loaded; runs outside of any write transaction."""

from __future__ import annotations

from operator import attrgetter
from typing import TYPE_CHECKING

import numpy as np

from spacelink.columns import TelemetryColumns, concatenate, merge
from spacelink_server.aggregation import aggregate
from spacelink_server.storage import compaction
from spacelink_server.storage.intake import Arrivals, Hour, TakenIn
from spacelink_server.storage.pending import ClosedWindows, OpenWindows
from spacelink_server.storage.reading import columns_of
from spacelink_server.storage.rollups import HOUR, MINUTE
from spacelink_server.storage.segment_pages import StoredSegment
from spacelink_server.storage.segments import MAX_SPAN_NANOS, AnySegment, CompactedSegment, Segment

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from spacelink_server.storage.maintained import DeviceState

_MINUTE_NANOS = MINUTE * 1_000_000_000

# A compacted segment is read whole: so many samples are 4 MB of ten metrics.
_SEGMENT_SAMPLES = 100_000

_by_id = attrgetter("segment_id")


def take_in(arrivals: Arrivals, cutoff: int) -> TakenIn:
    """Cut what arrived into hours, and roll up the minutes it arrived for.

    Args:
        arrivals: what was loaded.
        cutoff: what is older is past its time, nanoseconds since 1970 UTC.
    """
    states = dict(arrivals.states)
    segments: list[StoredSegment] = []
    samples: list[TelemetryColumns] = []
    for device_id, arrived in arrivals.segments.items():
        columns = _merged(arrived)
        columns = columns.take(slice(int(np.searchsorted(columns.time_unix_nano, cutoff)), None))
        if not len(columns):
            continue
        states[device_id] = _with_newest(arrivals.states[device_id], columns)
        segments += _in_hours(arrived, columns)
        neighbours = arrivals.neighbours.get(device_id, [])
        samples.append(_whole_minutes(columns, arrived, neighbours))
    hours = {Hour(segment.device_id, _hour(segment.first_time)) for segment, _ in segments}
    return TakenIn(arrivals, states, segments, aggregate(samples, MINUTE), hours)


def close(opened: OpenWindows) -> ClosedWindows:
    """Compact hours and roll them up, or roll up days."""
    segments: list[StoredSegment] = []
    samples: dict[str, list[TelemetryColumns]] = {}
    for window, stored in sorted(opened.segments.items()):
        if not stored:
            continue
        columns = _merged(stored)
        samples.setdefault(window.device_id, []).append(columns)
        if opened.window_seconds == HOUR:
            segments += _compacted(columns, max(stored, key=_by_id).segment_id)
    by_device = [concatenate(parts) for parts in samples.values()]
    return ClosedWindows(opened, segments, aggregate(by_device, opened.window_seconds))


def _merged(stored: Sequence[StoredSegment]) -> TelemetryColumns:
    """Join samples; those that share a time come in the order in which they were stored."""
    return merge([columns_of(each.segment) for each in sorted(stored, key=_by_id)])


def _with_newest(state: DeviceState, columns: TelemetryColumns) -> DeviceState:
    time = int(columns.time_unix_nano[-1])
    if time < state.newest_time:
        return state
    return state._replace(newest_time=time, newest_sample=columns.take(slice(-1, None)).encode())


def _in_hours(arrived: Sequence[StoredSegment], columns: TelemetryColumns) -> Iterator[StoredSegment]:
    """Cut samples at the ends of hours; a batch within one stays as it is."""
    only = arrived[0].segment
    is_whole = len(arrived) == 1 and len(columns) == only.sample_count
    if is_whole and _hour(only.first_time) == _hour(only.last_time):
        yield arrived[0]
        return
    segment_id = max(arrived, key=_by_id).segment_id
    cuts = np.flatnonzero(np.diff(columns.time_unix_nano // MAX_SPAN_NANOS)) + 1
    for start, end in zip([0, *cuts.tolist()], [*cuts.tolist(), len(columns)], strict=True):
        part = columns.take(slice(start, end))
        yield StoredSegment(_segment(Segment, part, part.encode()), segment_id)


def _compacted(columns: TelemetryColumns, segment_id: int) -> Iterator[StoredSegment]:
    for start in range(0, len(columns), _SEGMENT_SAMPLES):
        part = columns.take(slice(start, start + _SEGMENT_SAMPLES))
        yield StoredSegment(_segment(CompactedSegment, part, compaction.encode(part)), segment_id)


def _segment(kind: type[AnySegment], columns: TelemetryColumns, payload: bytes) -> AnySegment:
    first, last = int(columns.time_unix_nano[0]), int(columns.time_unix_nano[-1])
    return kind(columns.device_id, first, last, len(columns), payload)


def _whole_minutes(
    columns: TelemetryColumns, arrived: Sequence[StoredSegment], neighbours: Sequence[StoredSegment]
) -> TelemetryColumns:
    """Give all samples of the minutes that samples arrived for."""
    first, last = columns.time_unix_nano[0], columns.time_unix_nano[-1]
    start = first - first % _MINUTE_NANOS
    end = last - last % _MINUTE_NANOS + _MINUTE_NANOS
    near = [each for each in neighbours if each.segment.first_time < end and each.segment.last_time >= start]
    if not near:
        return columns
    joined = _merged([*arrived, *near])
    minutes = np.unique(columns.time_unix_nano // _MINUTE_NANOS)
    return joined.take(np.isin(joined.time_unix_nano // _MINUTE_NANOS, minutes))


def _hour(time: int) -> int:
    return time - time % MAX_SPAN_NANOS
