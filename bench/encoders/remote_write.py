"""Prometheus remote write: a snappy-compressed WriteRequest with one series for each metric."""

from __future__ import annotations

from functools import cache

import cramjam
import numpy as np

from bench.encoders.protobuf import field
from bench.walk import ALL_METRICS, DEVICES, Batch, cut

# One Sample as a field of its series. Today's milliseconds take six bytes as a varint, so that every sample
# has the same length and a column of them is one array.
_TIME_BYTES = 6
_SAMPLE = np.dtype(
    [
        ("field", "u1"),
        ("length", "u1"),
        ("value_field", "u1"),
        ("value", "<f8"),
        ("time_field", "u1"),
        ("time", "u1", _TIME_BYTES),
    ]
)


def encode(batch: Batch) -> bytes:
    """Encode one request body."""
    samples = np.empty(batch.size, _SAMPLE)
    samples["field"] = 2 << 3 | 2
    samples["length"] = _SAMPLE.itemsize - 2
    samples["value_field"] = 1 << 3 | 1
    samples["time_field"] = 2 << 3
    samples["time"] = _varints((batch.first_second + np.arange(batch.size)) * 1000)
    series = []
    for labels, values in zip(_labels(batch.device), _values(batch.size)[batch.slot], strict=True):
        samples["value"] = values
        series.append(field(1, labels + samples.tobytes()))
    return bytes(cramjam.snappy.compress_raw(b"".join(series)))


def _varints(numbers: np.ndarray) -> np.ndarray:
    groups = numbers[:, None] >> (7 * np.arange(_TIME_BYTES)) & 0x7F
    groups[:, :-1] |= 0x80
    return groups


@cache
def _labels(device: int) -> list[bytes]:
    owner = _label("device", DEVICES[device])
    return [_label("__name__", metric) + owner for metric in ALL_METRICS]


def _label(name: str, value: str) -> bytes:
    return field(1, field(1, name.encode()) + field(2, value.encode()))


@cache
def _values(size: int) -> list[np.ndarray]:
    return [np.ascontiguousarray(values.T / 100) for values in cut(size)]
