"""InfluxDB's line protocol: a line for each sample with all metrics as its fields, times in seconds."""

from __future__ import annotations

from functools import cache

from bench.walk import ALL_METRICS, DEVICES, Batch, cut

MEASUREMENT = "telemetry"


def encode(batch: Batch) -> bytes:
    """Encode one request body."""
    head = f"{MEASUREMENT},device={DEVICES[batch.device]} "
    rows = _field_sets(batch.size)[batch.slot]
    lines = [f"{head}{fields} {second}" for second, fields in enumerate(rows, batch.first_second)]
    return "\n".join(lines).encode()


@cache
def _field_sets(size: int) -> list[list[str]]:
    template = ",".join(f"{metric}=%.2f" for metric in ALL_METRICS)
    return [[template % tuple(row) for row in (values / 100).tolist()] for values in cut(size)]
