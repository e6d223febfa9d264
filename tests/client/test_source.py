"""Columns as a source of batches."""

from __future__ import annotations

import numpy as np
import pytest

from spacelink._source import ColumnsSource
from spacelink.columns import TelemetryColumns
from spacelink.errors import InternalError
from spacelink.v1.telemetry_pb2 import IngestReady, RejectedBatch


def columns(count: int, device_id: str = "dish-01", metrics: int = 1) -> TelemetryColumns:
    values = {f"m{number}": np.arange(count) for number in range(metrics)}
    return TelemetryColumns.from_arrays(device_id, np.arange(count), **values)


def ready(committed: int = 0, samples: int = 100_000, size: int = 4 * 1024 * 1024) -> IngestReady:
    return IngestReady(
        committed_sequence=committed, max_unacked_batches=64, max_batch_samples=samples, max_batch_bytes=size
    )


def drain(source: ColumnsSource, after: int) -> list[TelemetryColumns]:
    batches = []
    while (batch := source.next_after(after)) is not None:
        after += 1
        assert batch.sequence == after
        batches.append(TelemetryColumns.decode(batch.data))
    return batches


async def test_batches_are_cut_to_the_samples_the_server_takes() -> None:
    source = ColumnsSource("s", [columns(25), columns(0), columns(5, "dish-02")])
    await source.resume(ready(samples=10))
    batches = drain(source, 0)
    assert [(b.device_id, len(b)) for b in batches] == [
        ("dish-01", 10),
        ("dish-01", 10),
        ("dish-01", 5),
        ("dish-02", 5),
    ]
    assert np.array_equal(np.concatenate([b.time_unix_nano for b in batches[:3]]), np.arange(25))
    assert not await source.wait_after(4)


async def test_batches_are_cut_to_the_bytes_the_server_takes() -> None:
    source = ColumnsSource("s", [columns(5_000, metrics=72)])
    await source.resume(ready(size=100_000))
    sizes: list[int] = []
    while (batch := source.next_after(len(sizes))) is not None:
        sizes.append(len(batch.data))
    assert max(sizes) < 100_000
    assert len(sizes) > 10


async def test_numbering_goes_on_after_the_stream_s_last_batch() -> None:
    source = ColumnsSource("s", [columns(3)])
    await source.resume(ready(committed=41))
    assert len(drain(source, 41)) == 1
    source.acked(42, ())
    assert source.committed_samples == 3


async def test_a_broken_stream_goes_on_after_the_cursor() -> None:
    source = ColumnsSource("s", [columns(30)])
    await source.resume(ready(samples=10))
    assert len(drain(source, 0)) == 3
    source.acked(1, ())
    await source.resume(ready(committed=2, samples=10))
    assert source.committed_samples == 20
    resent = drain(source, 2)
    assert [b.time_unix_nano[0] for b in resent] == [20]
    source.acked(3, ())
    assert source.committed_samples == 30


async def test_rejected_batches_are_kept_with_their_reason() -> None:
    source = ColumnsSource("s", [columns(10), columns(5, "dish-02")])
    await source.resume(ready())
    drain(source, 0)
    source.acked(2, [RejectedBatch(sequence=2, reason="INVALID", message="m0: wrong")])
    assert source.committed_samples == 10
    (rejected,) = source.rejected
    assert (rejected.samples.device_id, rejected.reason, rejected.message) == (
        "dish-02",
        "INVALID",
        "m0: wrong",
    )
    assert len(rejected.samples) == 5


@pytest.mark.parametrize("committed", [0, 3])
async def test_a_cursor_that_cannot_be_is_an_error(committed: int) -> None:
    source = ColumnsSource("s", [columns(20)])
    await source.resume(ready(samples=10))
    drain(source, 0)
    source.acked(1, ())
    with pytest.raises(InternalError, match=f"cursor moved to {committed}"):
        await source.resume(ready(committed=committed))
