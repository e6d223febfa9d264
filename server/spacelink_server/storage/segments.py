"""Segments: batches as they are stored."""

from __future__ import annotations

from typing import NamedTuple

# No segment spans more time, so that a range query finds every segment that
# reaches into its range by looking back this far from the range's start. An
# hour is also the unit that closed segments are merged by.
MAX_SPAN_NANOS = 3_600 * 1_000_000_000

# What a payload is: a TelemetryBatch message, or a CompactedSegment message of
# spacelink.storage.v1. Stored; a new format gets a new number.
BATCH_FORMAT = 1
COMPACTED_FORMAT = 2


class Segment(NamedTuple):
    """Samples of one device as stored.

    Attributes:
        device_id: the device.
        first_time: time of the first sample, nanoseconds since 1970 UTC.
        last_time: time of the last sample, likewise.
        sample_count: how many samples.
        payload: the samples in time order, encoded.
        format: BATCH_FORMAT or COMPACTED_FORMAT.
    """

    device_id: str
    first_time: int
    last_time: int
    sample_count: int
    payload: bytes
    format: int = BATCH_FORMAT
