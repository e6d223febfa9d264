"""Samples for the tests: each is its row's number, so that a missing or repeated one shows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from spacelink.columns import TelemetryColumns

if TYPE_CHECKING:
    from collections.abc import Iterable

    from spacelink_agent.spool import Spool

START = 1_760_000_000_000_000_000


def rows(first: int, count: int = 1, device_id: str = "dish") -> TelemetryColumns:
    """Make samples whose latency and second are their numbers."""
    numbers = np.arange(first, first + count)
    return TelemetryColumns.from_arrays(
        device_id, START + numbers * 1_000_000_000, latency_ms=numbers.astype(np.float32), status="ACTIVE"
    )


def numbers(batches: Iterable[bytes]) -> list[int]:
    """Read the numbers out of encoded batches."""
    return [int(value) for data in batches for value in TelemetryColumns.decode(data).metrics["latency_ms"]]


async def append_rows(spool: Spool, first: int, count: int, device_id: str = "dish") -> None:
    """Append samples one by one, each with its number as the collector's position."""
    for number in range(first, first + count):
        await spool.append(rows(number, device_id=device_id), f"rows:{device_id}", number)


def next_row(spool: Spool, device_id: str = "dish") -> Any:
    """Tell which row a collector would go on with."""
    position = spool.position(f"rows:{device_id}")
    return 0 if position is None else position + 1
