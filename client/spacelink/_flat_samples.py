"""Samples as JSON objects and CSV rows, one each, with the names of the REST interface; exact to the bit."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from spacelink._rows import csv_lines, number_texts, status_texts
from spacelink._times import rfc3339
from spacelink.columns import METRICS

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from spacelink.columns import TelemetryColumns

_DEVICE, _TIME, _STATUS, _EXTRA = "device_id", "timestamp", "status", "extra"
_TEXTS = (_DEVICE, _TIME, _STATUS)

# Names that are not those of the contract: older callers know them.
_OLDER_NAMES = {"signal_strength_dbm": "signal_strength"}
_CONTRACT_NAMES = {older: name for name, older in _OLDER_NAMES.items()}


def contract_name(metric: str) -> str:
    """Give a metric's name in the contract."""
    return _CONTRACT_NAMES.get(metric, metric)


def older_name(metric: str) -> str:
    """Give a metric's name in a flat sample."""
    return _OLDER_NAMES.get(metric, metric)


def json_objects(samples: TelemetryColumns) -> list[str]:
    """Write each sample as a JSON object; what was not measured is null or has no key."""
    names = [_DEVICE, _TIME, *(older_name(name) for name in METRICS if name in samples.metrics)]
    if samples.status is not None:
        names.append(_STATUS)
    if not samples.metrics.keys() <= set(METRICS):
        names.append(_EXTRA)
    cells = [_json_cells(name, _cells(samples, name, METRICS)) for name in names]
    labels = [f"{json.dumps(name)}: " for name in names]
    return [
        "{" + ", ".join(map("".join, zip(labels, row, strict=True))) + "}" for row in zip(*cells, strict=True)
    ]


def csv_header(metrics: Sequence[str]) -> list[str]:
    """Name the cells of a row: those of the metrics asked for, or of all."""
    return [_DEVICE, _TIME, *(metrics or [*map(older_name, METRICS), _STATUS, _EXTRA])]


def csv_text(samples: TelemetryColumns, header: Sequence[str]) -> str:
    """Write a row for each sample; what was not measured is empty."""
    cells = [_cells(samples, name, list(map(contract_name, header))) for name in header]
    return csv_lines(zip(*cells, strict=True))


def csv_head(header: Sequence[str]) -> str:
    """Write the header as the first row."""
    return csv_lines([header])


def _json_cells(name: str, texts: Iterable[str]) -> list[str]:
    if name in _TEXTS:
        return [json.dumps(text or None) for text in texts]
    return [text or "null" for text in texts]


def _cells(samples: TelemetryColumns, name: str, own_columns: Sequence[str]) -> list[str]:
    """Give the texts of one cell for every sample; empty where there is no value.

    Args:
        samples: of one device.
        name: the cell.
        own_columns: metrics that are not part of the cell extra.
    """
    if name == _DEVICE:
        return [samples.device_id] * len(samples)
    if name == _TIME:
        return rfc3339(samples.time_unix_nano)
    if name == _STATUS:
        status = samples.status
        return [""] * len(samples) if status is None else [text.lower() for text in status_texts(status)]
    if name == _EXTRA:
        return _extra_objects(samples, own_columns)
    values = samples.metrics.get(contract_name(name))
    return [""] * len(samples) if values is None else number_texts(values)


def _extra_objects(samples: TelemetryColumns, own_columns: Sequence[str]) -> list[str]:
    others = {name: values for name, values in samples.metrics.items() if name not in own_columns}
    extra = {name: number_texts(values) for name, values in others.items()}
    if not extra:
        return [""] * len(samples)
    labels = [f"{json.dumps(name)}: " for name in extra]
    return [
        "{" + ", ".join(label + (text or "null") for label, text in zip(labels, row, strict=True)) + "}"
        for row in zip(*extra.values(), strict=True)
    ]
