"""Recordings of a terminal: CSV files that the agent's replay reads."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from spacelink.columns import TelemetryColumns
from spacelink_agent.collectors._csv_file import CsvFile, open_csv
from spacelink_agent.collectors.column_map import ColumnMap, Row
from spacelink_server.scoring.samples import Samples


@dataclass(frozen=True, slots=True, eq=False)
class Recording:
    """What a terminal measured.

    Attributes:
        name: of the file.
        samples: in the order of time, of device 0.
    """

    name: str
    samples: Samples


def read(path: Path) -> Recording:
    """Read a file.

    Raises:
        CollectorError: it cannot be read, or has no column for the time.
        ValueError: names the column that is wrong.
    """
    columns = read_columns(path)
    return Recording(
        path.name,
        Samples.of_device(
            0,
            columns.time_unix_nano,
            latency_ms=columns.metrics.get("latency_ms"),
            packet_loss_percent=columns.metrics.get("packet_loss_percent"),
            status=columns.status,
        ).in_order(),
    )


def read_columns(path: Path) -> TelemetryColumns:
    """Read all columns of a file; see read for what it raises."""
    with open_csv(path) as file:
        columns_of = ColumnMap(file.header, ())
        return columns_of.columns(path.name, list(_rows(file, columns_of)))


def _rows(file: CsvFile, columns: ColumnMap) -> Iterator[Row]:
    while (cells := file.next_row()) is not None:
        yield columns.row(cells)
