"""VictoriaMetrics' native import format: one block of integers for each metric.

https://docs.victoriametrics.com/victoriametrics/#how-to-import-data-in-native-format: a time range, then for
each block the metric's name and the block, each behind its length. A block is its header, the times and the
values, as the store itself marshals them. This is the block of version 1.79, the one that Debian 12 packages;
later versions put more into its header.
"""

from __future__ import annotations

from functools import cache

import numpy as np

from bench.encoders.protobuf import varint, zigzag
from bench.walk import ALL_METRICS, DEVICES, Batch, cut

# The range of times to keep, as two zigzag integers: from 0 to the end of time.
_TIME_RANGE = (0).to_bytes(8, "big") + (2**64 - 2).to_bytes(8, "big")
_SEPARATOR = b"\x01"
_STEP_MS = 1000
_DECIMAL_EXPONENT = zigzag(-2)
# How the numbers of a block are marshalled: one and the same, a constant step, or differences.
_CONST, _DELTA_CONST, _NEAREST_DELTA = b"\x03", b"\x02", b"\x06"


def encode(batch: Batch) -> bytes:
    """Encode one request body."""
    first = batch.first_second * 1000
    times_type, times = (_CONST, b"") if batch.size == 1 else (_DELTA_CONST, zigzag(_STEP_MS))
    parts = [_TIME_RANGE]
    for name, (first_value, values_type, values) in zip(
        _names(batch.device), _values(batch.size)[batch.slot], strict=True
    ):
        header = zigzag(first) + first_value + varint(batch.size) + _DECIMAL_EXPONENT
        block = header + times_type + values_type + varint(len(times)) + times + values
        parts += (name, len(block).to_bytes(4, "big"), block)
    return b"".join(parts)


@cache
def _names(device: int) -> list[bytes]:
    names = [
        _SEPARATOR.join((metric.encode(), b"device", DEVICES[device].encode(), b"")) for metric in ALL_METRICS
    ]
    return [len(name).to_bytes(4, "big") + name for name in names]


@cache
def _values(size: int) -> list[list[tuple[bytes, bytes, bytes]]]:
    return [[_marshal(column) for column in values.T] for values in cut(size)]


def _marshal(column: np.ndarray) -> tuple[bytes, bytes, bytes]:
    first = zigzag(int(column[0]))
    if np.all(column == column[0]):
        return first, _CONST, varint(0)
    data = b"".join(zigzag(int(step)) for step in np.diff(column))
    return first, _NEAREST_DELTA, varint(len(data)) + data
