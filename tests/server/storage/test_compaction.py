from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spacelink.columns import TelemetryColumns
from spacelink.storage.v1 import segment_pb2 as pb
from spacelink_server.storage import compaction
from spacelink_server.storage.compaction import CorruptSegmentError
from tests.properties import UNTIMED

# Any 32 bits, and those that look like nothing special: NaN with a payload, of
# either kind and sign, both zeros, both infinities, the smallest numbers.
ODD_BITS = (0x7FC00001, 0xFFC12345, 0x7F800001, 0x80000000, 0, 0x7F800000, 0xFF800000, 1, 0x80000001)
bits = st.one_of(st.sampled_from(ODD_BITS), st.integers(0, 2**32 - 1))
# Measured values have few decimals, which is what the compression looks for.
decimals = st.integers(-9999, 9999).map(lambda n: int(np.float32(n / 100).view(np.uint32)))


@st.composite
def columns(draw: st.DrawFn) -> TelemetryColumns:
    seed = draw(st.integers(0, 2**32 - 1))
    count = draw(st.sampled_from((1, 2, 60, 1000)))
    random = np.random.default_rng(seed)
    step = draw(st.sampled_from((1, 1000, 10**9)))
    times = 1_700_000_000_000_000_000 + np.cumsum(random.integers(1, 1000, count)) * step
    metrics = {}
    for name in draw(st.sets(st.sampled_from(("latency_ms", "power_w", "azimuth_deg")))):
        some = np.array(draw(st.lists(st.one_of(bits, decimals), min_size=1, max_size=20)), np.uint32)
        metrics[name] = random.choice(some, count).view(np.float32)
    status = random.integers(0, 5, count).astype(np.uint8) if draw(st.booleans()) else None
    return TelemetryColumns("d", times, metrics, status)


@UNTIMED
@given(columns())
def test_every_bit_is_kept(samples: TelemetryColumns) -> None:
    found = compaction.decode("d", compaction.encode(samples))
    assert found.encode() == samples.encode()
    assert found.metrics.keys() == samples.metrics.keys()
    assert {values.dtype for values in found.metrics.values()} <= {np.dtype(np.float32)}
    assert found.time_unix_nano.dtype == np.int64


def test_noise_is_stored_plain() -> None:
    noise = np.random.default_rng(1).integers(0, 2**32, 10, dtype=np.uint32).view(np.float32)
    samples = TelemetryColumns("d", np.arange(10), {"power_w": noise})
    message = pb.CompactedSegment.FromString(compaction.encode(samples))
    codecs = {column.name: column.codec for column in message.columns}
    assert codecs["power_w"] == pb.COLUMN_CODEC_PLAIN


def segment(**changes: Any) -> pb.CompactedSegment:
    """Make a segment of three samples, one column changed."""
    samples = TelemetryColumns("d", np.arange(3), {"power_w": np.ones(3, np.float32)})
    message = pb.CompactedSegment.FromString(compaction.encode(samples))
    for name, value in changes.items():
        setattr(message.columns[1], name, value)
    return message


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"codec": 9, "data": b""}, "power_w: codec 9 belongs to a newer version"),
        ({"codec": pb.COLUMN_CODEC_PLAIN, "data": bytes(8)}, "power_w: 2 values of float32 for 3 samples"),
        ({"codec": pb.COLUMN_CODEC_PLAIN, "data": bytes(11)}, "power_w: 2 values"),
        ({"codec": pb.COLUMN_CODEC_PCODEC, "data": b"nonsense"}, "power_w: "),
        ({"name": "time_unix_nano"}, "time_unix_nano: "),
        ({"name": "status"}, "status: "),
    ],
)
def test_what_cannot_be_read_is_refused(changes: dict[str, Any], reason: str) -> None:
    data = segment(**changes).SerializeToString()
    with pytest.raises(CorruptSegmentError, match=reason):
        compaction.decode("d", data)


def test_a_segment_needs_times() -> None:
    message = segment()
    del message.columns[0]
    with pytest.raises(CorruptSegmentError, match="time_unix_nano"):
        compaction.decode("d", message.SerializeToString())
    with pytest.raises(CorruptSegmentError, match="not a CompactedSegment"):
        compaction.decode("d", b"\xff")
