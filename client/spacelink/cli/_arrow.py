"""Samples as an Arrow IPC stream."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import click
import numpy as np

from spacelink import _rows
from spacelink.columns import METRICS

try:
    import pyarrow as pa
except ModuleNotFoundError:
    raise click.ClickException("this needs pyarrow: pip install 'spacelink[arrow]'") from None

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from spacelink.columns import TelemetryColumns

_EXTRA_TYPE = pa.map_(pa.string(), pa.float32())
_TYPES = {
    _rows.DEVICE: pa.string(),
    _rows.TIME: pa.timestamp("ns", "UTC"),
    _rows.STATUS: pa.string(),
    _rows.EXTRA: _EXTRA_TYPE,
}


class SampleBatches:
    """Makes record batches of samples; missing values are null.

    Metrics without a column of their own are entries of the map column extra.

    Attributes:
        schema: of the record batches.
    """

    def __init__(self, metrics: Sequence[str]) -> None:
        """Make batches with the metrics asked for; none means all."""
        names = _rows.header(metrics)
        self.schema = pa.schema([(name, _TYPES.get(name, pa.float32())) for name in names])

    def batch(self, samples: TelemetryColumns) -> Any:
        """Make a record batch of samples of one device."""
        arrays = [self._column(samples, name) for name in self.schema.names]
        return pa.RecordBatch.from_arrays(arrays, schema=self.schema)

    def _column(self, samples: TelemetryColumns, name: str) -> Any:
        if name == _rows.DEVICE:
            return pa.repeat(pa.scalar(samples.device_id), len(samples))
        if name == _rows.TIME:
            return pa.array(samples.time_unix_nano.view("datetime64[ns]"), _TYPES[name])
        if name == _rows.STATUS and samples.status is not None:
            return pa.array([text or None for text in _rows.status_texts(samples.status)], pa.string())
        if name == _rows.EXTRA:
            return _extra(samples)
        if name in samples.metrics:
            return pa.array(samples.metrics[name], pa.float32(), from_pandas=True)
        return pa.nulls(len(samples), self.schema.field(name).type)


class ArrowWriter:
    """Writes each batch as a record batch to standard output."""

    def __init__(self, metrics: Sequence[str]) -> None:
        self._batches = SampleBatches(metrics)
        self._stream = pa.ipc.new_stream(sys.stdout.buffer, self._batches.schema)

    def write(self, samples: TelemetryColumns) -> None:
        """Write samples of one device."""
        self._stream.write_batch(self._batches.batch(samples))
        sys.stdout.flush()

    def close(self) -> None:
        """Write the end of the stream."""
        self._stream.close()
        sys.stdout.flush()


def _extra(samples: TelemetryColumns) -> Any:
    names = [name for name in samples.metrics if name not in METRICS]
    values = np.empty((len(samples), len(names)), np.float32)
    for index, name in enumerate(names):
        values[:, index] = samples.metrics[name]
    return pa.MapArray.from_arrays(
        np.arange(len(samples) + 1, dtype=np.int32) * len(names),
        pa.array(names * len(samples), pa.string()),
        pa.array(values.ravel(), pa.float32(), from_pandas=True),
    )


def write_records(records: Sequence[Mapping[str, object]]) -> None:
    """Write a few records as one record batch."""
    table = pa.Table.from_pylist(list(records))
    with pa.ipc.new_stream(sys.stdout.buffer, table.schema) as stream:
        stream.write_table(table)
