"""Telemetry as numpy columns, and its encoding as a TelemetryBatch message."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from google.protobuf.message import DecodeError

from spacelink._names import IDENTIFIER_RULE, METRIC_NAME_RULE, is_identifier, is_metric_name
from spacelink._times import TIME, Moments, nanos_array
from spacelink._wire import BatchView, is_exact
from spacelink.v1 import telemetry_pb2
from spacelink.v1.telemetry_pb2 import DeviceStatus

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    Times: TypeAlias = NDArray[np.int64]
    Values: TypeAlias = NDArray[np.float32]
    Statuses: TypeAlias = NDArray[np.uint8]

# The metrics that have a column of their own, in the order of their fields.
METRICS: tuple[str, ...] = tuple(
    f.name
    for f in telemetry_pb2.TelemetryBatch.DESCRIPTOR.fields
    if f.is_repeated and f.cpp_type == f.CPPTYPE_FLOAT
)

# Other metrics that samples may have, and the names that none of them can have.
MAX_EXTRA = 64
RESERVED = frozenset((*METRICS, "status", "time", "device_id", "sequence", "time_unix_nano", "extra"))

_VALUE = np.dtype("<f4")
_STATUS = np.dtype("u1")


@dataclass(frozen=True, slots=True, eq=False)
class TelemetryColumns:
    """Samples of one device, n of them, as columns.

    Attributes:
        device_id: the device the samples are of.
        time_unix_nano: int64 of shape (n,), nanoseconds since 1970-01-01 UTC.
        metrics: float32 of shape (n,) by metric name; NaN is a missing value. A
            metric without an entry was not measured. Units are in the names.
        status: uint8 of shape (n,) with the values of DeviceStatus, or None
            where no status was reported.
    """

    device_id: str
    time_unix_nano: Times
    metrics: Mapping[str, Values] = field(default_factory=dict)
    status: Statuses | None = None

    def __len__(self) -> int:
        return len(self.time_unix_nano)

    @classmethod
    def from_arrays(
        cls,
        device_id: str,
        time: Moments,
        *,
        status: Any = None,
        **metrics: ArrayLike,
    ) -> TelemetryColumns:
        """Build columns out of anything numpy takes for an array.

        Args:
            device_id: the device the samples are of.
            time: shape (n,); integers are nanoseconds since 1970-01-01 UTC,
                datetime64, datetimes with a time zone and RFC 3339 texts are
                converted.
            status: shape (n,) of DeviceStatus numbers or names such as
                "ACTIVE"; or one of them for all samples.
            metrics: shape (n,) each, by metric name.

        Raises:
            ValueError: names the argument and what would be right.
        """
        if not is_identifier(device_id):
            raise ValueError(f"device_id {device_id!r}: expected {IDENTIFIER_RULE}")
        times = nanos_array(time)
        columns = {name: _as_values(name, values, len(times)) for name, values in metrics.items()}
        return cls(device_id, times, columns, _as_statuses(status, len(times)))

    @classmethod
    def decode(cls, data: bytes) -> TelemetryColumns:
        """Read an encoded TelemetryBatch.

        The arrays are views of the message's bytes and not writable.

        Raises:
            ValueError: data is not a TelemetryBatch, or its columns differ in
                length.
        """
        view = BatchView()
        try:
            view.ParseFromString(data)
            if not is_exact(view, data):
                view = canonical_view(telemetry_pb2.TelemetryBatch.FromString(data))
        except DecodeError:
            raise ValueError("not a TelemetryBatch message") from None
        return cls.from_view(view)

    @classmethod
    def from_view(cls, view: Any) -> TelemetryColumns:
        """Read a batch out of its bytes view; see decode."""
        times = np.frombuffer(_column_bytes(view.time_unix_nano, TIME, "time_unix_nano"), TIME)
        named = [(name, getattr(view, name)) for name in METRICS]
        named += [(column.name.decode("utf-8", "replace"), column.values) for column in view.extra]
        metrics = {
            name: np.frombuffer(_column_bytes(data, _VALUE, name), _VALUE) for name, data in named if data
        }
        status = np.frombuffer(view.status, _STATUS) if view.status else None
        for name, column in [*metrics.items(), ("status", status)]:
            if column is not None and len(column) != len(times):
                raise ValueError(f"{name}: {len(column)} values for {len(times)} times")
        return cls(view.device_id.decode("utf-8", "replace"), times, metrics, status)

    def to_view(self, sequence: int = 0) -> Any:
        """Make the bytes view of a TelemetryBatch message."""
        view = BatchView(
            device_id=self.device_id.encode(),
            sequence=sequence,
            time_unix_nano=np.ascontiguousarray(self.time_unix_nano, TIME).tobytes(),
        )
        for name, values in self.metrics.items():
            data = np.ascontiguousarray(values, _VALUE).tobytes()
            if name in METRICS:
                setattr(view, name, data)
            else:
                view.extra.add(name=name.encode(), values=data)
        if self.status is not None:
            view.status = np.ascontiguousarray(self.status, _STATUS).tobytes()
        return view

    def encode(self, sequence: int = 0) -> bytes:
        """Write a TelemetryBatch message."""
        data: bytes = self.to_view(sequence).SerializeToString()
        return data

    def take(self, rows: slice | NDArray[Any]) -> TelemetryColumns:
        """Select samples by a slice, a mask or an index array."""
        return TelemetryColumns(
            self.device_id,
            self.time_unix_nano[rows],
            {name: values[rows] for name, values in self.metrics.items()},
            None if self.status is None else self.status[rows],
        )

    def select(self, names: Iterable[str]) -> TelemetryColumns:
        """Keep only the named metrics; "status" names the status column."""
        wanted = frozenset(names)
        return TelemetryColumns(
            self.device_id,
            self.time_unix_nano,
            {name: values for name, values in self.metrics.items() if name in wanted},
            self.status if "status" in wanted else None,
        )


def concatenate(parts: Sequence[TelemetryColumns]) -> TelemetryColumns:
    """Join the samples of one device in the order given.

    A metric that a part did not measure is NaN there, a status that it did not
    report is UNSPECIFIED.
    """
    if len(parts) == 1:
        return parts[0]
    names = dict.fromkeys(name for part in parts for name in part.metrics)
    metrics = {
        name: np.concatenate(
            [
                part.metrics[name] if name in part.metrics else np.full(len(part), np.nan, _VALUE)
                for part in parts
            ]
        )
        for name in names
    }
    status = None
    if any(part.status is not None for part in parts):
        status = np.concatenate(
            [part.status if part.status is not None else np.zeros(len(part), _STATUS) for part in parts]
        )
    times = np.concatenate([part.time_unix_nano for part in parts])
    return TelemetryColumns(parts[0].device_id, times, metrics, status)


def merge(parts: Sequence[TelemetryColumns]) -> TelemetryColumns:
    """Join the samples of one device in time order, exact duplicates once.

    Samples of the same time that differ in any column are all kept, in the
    order of the parts.
    """
    joined = concatenate(parts)
    times = joined.time_unix_nano
    if len(times) < 2 or bool(np.all(times[1:] > times[:-1])):
        return joined
    joined = joined.take(np.argsort(times, kind="stable"))
    return joined.take(_first_of_equals(joined))


def _first_of_equals(columns: TelemetryColumns) -> NDArray[np.bool_]:
    """Mark the first of the samples that are equal in every bit."""
    keep = np.ones(len(columns), np.bool_)
    times = columns.time_unix_nano
    repeated = times[1:] == times[:-1]
    if not repeated.any():
        return keep
    # Only runs of one time can hold duplicates; they are short and rare.
    in_run = np.flatnonzero(np.append(repeated, False) | np.append(False, repeated))
    cells: list[NDArray[Any]] = [times[in_run], *(values[in_run] for values in columns.metrics.values())]
    if columns.status is not None:
        cells.append(columns.status[in_run])
    matrix = np.concatenate([cell.view(np.uint8).reshape(len(in_run), -1) for cell in cells], axis=1)
    rows = matrix.view(np.dtype((np.void, matrix.shape[1]))).ravel()
    firsts = np.unique(rows, return_index=True)[1]
    keep[in_run] = False
    keep[in_run[firsts]] = True
    return keep


def canonical_view(message: telemetry_pb2.TelemetryBatch) -> Any:
    """Make the bytes view of a batch that cannot be read as one.

    The public message takes every legal encoding: columns that are not packed,
    or come in several pieces. Statuses out of 0 to 127 are kept as 127, which is
    no status either.
    """
    view = BatchView(
        device_id=message.device_id.encode(),
        sequence=message.sequence,
        time_unix_nano=np.asarray(message.time_unix_nano, TIME).tobytes(),
        status=bytes(value if 0 <= value < 128 else 127 for value in message.status),
    )
    for name in METRICS:
        setattr(view, name, np.asarray(getattr(message, name), _VALUE).tobytes())
    for column in message.extra:
        view.extra.add(name=column.name.encode(), values=np.asarray(column.values, _VALUE).tobytes())
    return view


def _column_bytes(data: bytes, dtype: np.dtype[Any], name: str) -> bytes:
    if len(data) % dtype.itemsize:
        raise ValueError(f"{name}: {len(data)} bytes are no whole number of values")
    return data


def _as_values(name: str, values: Any, count: int) -> Values:
    if name not in METRICS and not is_metric_name(name):
        raise ValueError(f"metric {name!r}: expected {METRIC_NAME_RULE}")
    try:
        with np.errstate(over="raise"):
            array = np.asarray(values, _VALUE)
    except (TypeError, ValueError, FloatingPointError):
        raise ValueError(f"{name}: expected {count} numbers that fit into float32") from None
    if array.shape != (count,):
        raise ValueError(f"{name}: expected {count} values, one for each time, got shape {array.shape}")
    return array


def _as_statuses(status: Any, count: int) -> Statuses | None:
    if status is None:
        return None
    if isinstance(status, str | int):
        return np.full(count, status_number(status), _STATUS)
    array = np.array([status_number(value) for value in status], _STATUS)
    if array.shape != (count,):
        raise ValueError(f"status: expected {count} values, one for each time, got {len(array)}")
    return array


def status_number(status: str | int) -> int:
    """Give the number of a status such as "ACTIVE", "active" or 1.

    Raises:
        ValueError: there is no such status.
    """
    if isinstance(status, str):
        if status.upper() in status_names():
            return int(DeviceStatus.Value(f"DEVICE_STATUS_{status.upper()}"))
    elif status in DeviceStatus.values():
        return int(status)
    raise ValueError(f"status {status!r}: expected one of {', '.join(status_names())}")


def status_name(number: int) -> str:
    """Give the short name of a status number, such as "ACTIVE"."""
    return DeviceStatus.Name(number).removeprefix("DEVICE_STATUS_")  # type: ignore[arg-type]


def status_names() -> list[str]:
    """List the short names of all statuses."""
    return [name.removeprefix("DEVICE_STATUS_") for name in DeviceStatus.keys()]  # noqa: SIM118
