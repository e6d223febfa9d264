"""Telemetry put into a store, and reports asked for over gRPC."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from google.protobuf.timestamp_pb2 import Timestamp

from spacelink_server.storage.store import CommitGroup, Submission
from tests.server.samples import SECOND, T0, segments

if TYPE_CHECKING:
    from collections.abc import Sequence

    from spacelink_server.storage.store import Store


def put(
    store: Store, device_id: str, offsets: Sequence[float], tenant_id: str = "default", **columns: Any
) -> None:
    """Store samples of a device at offsets in seconds from T0."""
    made = segments(device_id, [round(offset * SECOND) for offset in offsets], **columns)
    store.commit(CommitGroup(submissions=[Submission(tenant_id, "", made)]))


def put_steady(store: Store, device_id: str, start: int, end: int, **values: Any) -> None:
    """Store a sample every second of [start, end), each with the same values."""
    count = end - start
    columns = {"latency_ms": 20.0, "packet_loss_percent": 0.0, "status": "ACTIVE", **values}
    made = {
        name: value if isinstance(value, str) else np.full(count, value) for name, value in columns.items()
    }
    put(store, device_id, range(start, end), **made)


def at(offset: float) -> Timestamp:
    """Give the time at an offset in seconds from T0."""
    message = Timestamp()
    message.FromNanoseconds(T0 + round(offset * SECOND))
    return message


def within(start: float, end: float) -> dict[str, Timestamp]:
    """Give the fields of a range in seconds from T0."""
    return {"start_time": at(start), "end_time": at(end)}
