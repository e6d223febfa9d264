"""Samples as lines of text, exact to the bit, and back."""

from __future__ import annotations

import csv
import io
import json
from typing import TYPE_CHECKING

import numpy as np

from spacelink._times import rfc3339
from spacelink.columns import METRICS
from spacelink.v1.telemetry_pb2 import DeviceStatus

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from numpy.typing import NDArray

    from spacelink.columns import TelemetryColumns

DEVICE = "device_id"
TIME = "time"
STATUS = "status"
# The cell that holds, as a JSON object, the metrics that have no column: which
# ones there are is not known when the header is written.
EXTRA = "extra"

_STATUS_TEXT = {
    number: name.removeprefix("DEVICE_STATUS_") for name, number in DeviceStatus.items() if number
}


def header(metrics: Sequence[str]) -> list[str]:
    """Name the cells of a row: those of the metrics asked for, or of all."""
    return [DEVICE, TIME, *(metrics or [*METRICS, STATUS, EXTRA])]


def json_lines(samples: TelemetryColumns) -> Iterator[str]:
    """Write each sample as a JSON object; what was not measured has no key."""
    names = [TIME, *samples.metrics, *([STATUS] if samples.status is not None else [])]
    cells = [
        [json.dumps(text) for text in rfc3339(samples.time_unix_nano)],
        *([text or "null" for text in number_texts(values)] for values in samples.metrics.values()),
    ]
    if samples.status is not None:
        cells.append([json.dumps(text or None) for text in status_texts(samples.status)])
    start = f'{{"{DEVICE}": {json.dumps(samples.device_id)}'
    labels = [f", {json.dumps(name)}: " for name in names]
    for row in zip(*cells, strict=True):
        yield start + "".join(map("".join, zip(labels, row, strict=True))) + "}"


def csv_lines(rows: Iterable[Sequence[object]]) -> str:
    """Write rows as CSV, each ended by a newline."""
    out = io.StringIO()
    csv.writer(out, lineterminator="\n").writerows(rows)
    return out.getvalue()


def csv_rows(samples: TelemetryColumns, names: Sequence[str]) -> Iterator[tuple[str, ...]]:
    """Give the cells of each sample, in the order of a header; missing ones are empty."""
    cells = [cell_texts(samples, name, names) for name in names]
    return zip(*cells, strict=True)


def cell_texts(samples: TelemetryColumns, name: str, names: Sequence[str]) -> list[str]:
    """Give the texts of one cell for every sample."""
    if name == DEVICE:
        return [samples.device_id] * len(samples)
    if name == TIME:
        return rfc3339(samples.time_unix_nano)
    if name == STATUS and samples.status is not None:
        return status_texts(samples.status)
    if name == EXTRA:
        return _extra_texts(samples, names)
    if name in samples.metrics:
        return number_texts(samples.metrics[name])
    return [""] * len(samples)


def number_texts(values: NDArray[np.float32]) -> list[str]:
    """Write each value with the fewest digits that give it back; NaN is empty."""
    texts: list[str] = np.where(np.isnan(values), "", values.astype("U")).tolist()
    return texts


def status_texts(status: NDArray[np.uint8]) -> list[str]:
    """Write each status by its short name; one that was not reported is empty."""
    return [_STATUS_TEXT.get(number, str(number) if number else "") for number in status.tolist()]


def _extra_texts(samples: TelemetryColumns, names: Sequence[str]) -> list[str]:
    extra = {name: number_texts(v) for name, v in samples.metrics.items() if name not in names}
    if not extra:
        return [""] * len(samples)
    labels = [f"{json.dumps(name)}: " for name in extra]
    rows = zip(*extra.values(), strict=True)
    return [_object(label + text for label, text in zip(labels, row, strict=True) if text) for row in rows]


def _object(members: Iterable[str]) -> str:
    """Write a JSON object of members that are written already; one without any is empty."""
    text = ", ".join(members)
    return f"{{{text}}}" if text else ""
