"""Samples as Parquet files."""

from __future__ import annotations

from typing import TYPE_CHECKING

# Before pyarrow: it says what to install where there is none.
from spacelink.cli._arrow import SampleBatches  # isort: skip
import pyarrow as pa
import pyarrow.parquet as pq

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from spacelink.columns import TelemetryColumns


def write(
    file: Path, metrics: Sequence[str], first: TelemetryColumns, others: Iterable[TelemetryColumns]
) -> None:
    """Write samples of one device.

    Args:
        file: where to.
        metrics: those asked for; none means all.
        first: the samples of the first row group.
        others: those of the other ones.
    """
    batches = SampleBatches(metrics)
    with pq.ParquetWriter(file, batches.schema, compression="zstd") as writer:
        for samples in (first, *others):
            writer.write_table(pa.Table.from_batches([batches.batch(samples)]))


def row_count(file: Path) -> int:
    """Tell how many samples a file holds."""
    count: int = pq.read_metadata(file).num_rows
    return count
