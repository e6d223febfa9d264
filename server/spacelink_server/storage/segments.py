"""Segments: batches as they are stored."""

from __future__ import annotations

from typing import NamedTuple, TypeAlias

# No segment spans more time, so that a range query finds every segment that
# reaches into its range by looking back this far from the range's start. An
# hour is also the unit that closed segments are merged by.
MAX_SPAN_NANOS = 3_600 * 1_000_000_000


class Segment(NamedTuple):
    """Samples of one device as stored.

    Attributes:
        device_id: the device.
        first_time: time of the first sample, nanoseconds since 1970 UTC.
        last_time: time of the last sample, likewise.
        sample_count: how many samples.
        payload: an encoded TelemetryBatch with its samples in time order.
    """

    device_id: str
    first_time: int
    last_time: int
    sample_count: int
    payload: bytes


class CompactedSegment(NamedTuple):
    """Samples of one device in the compacted format; see compaction.py and Segment."""

    device_id: str
    first_time: int
    last_time: int
    sample_count: int
    payload: bytes


AnySegment: TypeAlias = Segment | CompactedSegment

# How stored segments say what they are; a new format gets a new number.
FORMATS: dict[int, type[AnySegment]] = {1: Segment, 2: CompactedSegment}


def format_of(segment: AnySegment) -> int:
    """Give the number of a segment's format."""
    return next(number for number, kind in FORMATS.items() if isinstance(segment, kind))
