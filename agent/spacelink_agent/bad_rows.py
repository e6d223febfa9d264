"""Rows that are no samples a server would take: told apart before they reach the spool."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from spacelink import _rows
from spacelink._sample_rules import wrong_values

if TYPE_CHECKING:
    from collections.abc import Mapping

    from spacelink.columns import TelemetryColumns


class BadRow(NamedTuple):
    """A row that cannot be stored.

    Attributes:
        device_id: what it is of.
        place: where it was read, such as "day.csv:67"; empty where it was measured.
        cells: its texts by their columns' names, as they were read, or as
            `spacelink telemetry query` would write them.
        problem: names the column and the value, and says what would be right.
    """

    device_id: str
    place: str
    cells: Mapping[str, str]
    problem: str

    def __str__(self) -> str:
        return f"{self.place or self.device_id}: {self.problem}"


def without_bad_rows(samples: TelemetryColumns) -> tuple[TelemetryColumns, list[BadRow]]:
    """Give the samples that a server takes, and the others as rows."""
    wrong = wrong_values(samples)
    if not wrong:
        return samples, []
    rows = np.array([each.row for each in wrong])
    header = _rows.header(())
    cells = _rows.csv_rows(samples.take(rows), header)
    bad = [
        BadRow(samples.device_id, "", dict(zip(header, map(str, row), strict=True)), str(each))
        for row, each in zip(cells, wrong, strict=True)
    ]
    return samples.take(np.delete(np.arange(len(samples)), rows)), bad
