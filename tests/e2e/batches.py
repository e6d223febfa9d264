"""Batches for the tests, and what the store holds of them."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from contextlib import closing
from pathlib import Path

import numpy as np

from spacelink.v1.telemetry_pb2 import DeviceStatus, TelemetryBatch

SECOND = 1_000_000_000
HOUR = 3_600 * SECOND
START = 1_735_689_600 * SECOND  # 2025-01-01T00:00:00Z


def make_batch(
    device_id: str, first: int = START, count: int = 3, *, step: int = SECOND, latency: float = 20.0
) -> TelemetryBatch:
    """Make a batch whose values tell which batch and which sample they are of."""
    return TelemetryBatch(
        device_id=device_id,
        time_unix_nano=[first + step * index for index in range(count)],
        latency_ms=[latency + index / 8 for index in range(count)],
        status=[DeviceStatus.DEVICE_STATUS_ACTIVE] * count,
    )


def times_of(batches: Iterable[TelemetryBatch]) -> list[int]:
    return [time for batch in batches for time in batch.time_unix_nano]


def latency_of(batches: Iterable[TelemetryBatch]) -> list[float]:
    return [value for batch in batches for value in batch.latency_ms]


def float32(values: Iterable[float]) -> list[float]:
    """Round as a float column does."""
    return [float(value) for value in np.array(list(values), np.float32)]


def stored_samples(data_dir: Path) -> dict[str, int]:
    """Count the samples on disk by device.

    Queries give equal samples once, so what was stored twice shows only here.
    """
    query = "SELECT device_id, sum(sample_count) FROM telemetry_segments GROUP BY device_id"
    with closing(sqlite3.connect(data_dir / "spacelink.db")) as connection:
        return dict(connection.execute(query).fetchall())
