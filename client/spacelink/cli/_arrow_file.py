"""Rows of Parquet files and of Arrow IPC files and streams."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, BinaryIO

from spacelink import _rows

# Before pyarrow: it says what to install where there is none.
from spacelink.cli import _arrow  # noqa: F401  # isort: skip
import pyarrow as pa
import pyarrow.parquet as pq

from spacelink.cli._sample_cells import BadColumnsError, Nanos, check_columns

if TYPE_CHECKING:
    from collections.abc import Iterator

_ROWS_AT_ONCE = 10_000


def arrow_rows(raw: BinaryIO, kind: str, device_id: str) -> Iterator[tuple[int, dict[str, Any]]]:
    """Give the rows of a file, numbered from 1, without the cells that are null.

    Args:
        raw: the file.
        kind: "Parquet", "Arrow file" or "Arrow stream".
        device_id: the device of rows that do not name theirs; may be empty.

    Raises:
        BadColumnsError: it has not the columns of samples, or is damaged.
    """
    try:
        columns, batches = _opened(raw, kind)
        check_columns(columns, device_id)
        number = 0
        for batch in batches:
            cells = [_cells(name, batch.column(place)) for place, name in enumerate(columns)]
            for values in zip(*cells, strict=True):
                number += 1
                yield number, _row(columns, values)
    except pa.ArrowException as error:
        raise BadColumnsError(f"not readable as {kind}: {str(error).splitlines()[0]}") from None


def _opened(raw: BinaryIO, kind: str) -> tuple[list[str], Iterator[Any]]:
    if kind == "Parquet":
        file = pq.ParquetFile(raw)
        return file.schema_arrow.names, file.iter_batches(_ROWS_AT_ONCE)
    if kind == "Arrow file":
        reader = pa.ipc.open_file(raw)
        return reader.schema.names, map(reader.get_batch, range(reader.num_record_batches))
    stream = pa.ipc.open_stream(raw)
    return stream.schema.names, iter(stream)


def _cells(name: str, column: Any) -> list[Any]:
    kind = column.type
    if name == _rows.TIME and pa.types.is_timestamp(kind):
        # As Python's own times, nanoseconds would be lost.
        times = column.cast(pa.timestamp("ns", kind.tz)).cast(pa.int64()).to_pylist()
        return [None if time is None else Nanos(time) for time in times]
    cells: list[Any] = column.to_pylist()
    return [dict(cell or ()) for cell in cells] if pa.types.is_map(kind) else cells


def _row(columns: list[str], values: tuple[Any, ...]) -> dict[str, Any]:
    row = {name: value for name, value in zip(columns, values, strict=True) if value is not None}
    extra = row.pop(_rows.EXTRA, None)
    return {**row, **extra} if isinstance(extra, dict) else row
