"""Answers that carry samples, read without a Python object for each value."""

from __future__ import annotations

from typing import Any

from google.protobuf.message import DecodeError

from spacelink._wire import QueryResponseView, WatchResponseView, is_exact
from spacelink.columns import TelemetryColumns
from spacelink.errors import InternalError
from spacelink.results import TelemetryUpdate
from spacelink.v1 import telemetry_pb2


def query_response(data: bytes) -> TelemetryColumns:
    """Read a QueryTelemetryResponse message."""
    return _samples(data, QueryResponseView, telemetry_pb2.QueryTelemetryResponse)[0]


def watch_response(data: bytes) -> TelemetryUpdate:
    """Read a WatchTelemetryResponse message."""
    return TelemetryUpdate(*_samples(data, WatchResponseView, telemetry_pb2.WatchTelemetryResponse))


def latest_response(
    message: telemetry_pb2.ListLatestTelemetryResponse,
) -> list[TelemetryColumns]:
    """Read one page of a ListLatestTelemetryResponse: one sample a device."""
    return [TelemetryColumns.decode(batch.SerializeToString()) for batch in message.batches]


def _samples(data: bytes, view_type: Any, message_type: Any) -> tuple[TelemetryColumns, int]:
    try:
        view = view_type.FromString(data)
        if is_exact(view, data):
            samples = TelemetryColumns.from_view(view.batch)
        else:
            samples = TelemetryColumns.decode(message_type.FromString(data).batch.SerializeToString())
    except (DecodeError, ValueError) as error:
        raise InternalError(f"the server's answer is not readable: {error}") from None
    return samples, getattr(view, "lost_batches", 0)
