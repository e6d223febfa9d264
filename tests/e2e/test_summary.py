"""Summaries against numpy on the same values."""

from __future__ import annotations

import itertools
import math
from typing import TYPE_CHECKING, Any

import grpc
import grpc.aio
import numpy as np
import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from spacelink.v1 import telemetry_pb2 as pb
from tests.e2e.batches import HOUR, SECOND, START, make_batch
from tests.e2e.calls import DEADLINE, stub, submit
from tests.e2e.producer import Producer

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray


async def _summaries(
    channel: grpc.aio.Channel, *device_ids: str, **fields: Any
) -> Sequence[pb.TelemetrySummary]:
    request = pb.SummarizeTelemetryRequest(device_ids=device_ids, **fields)
    return (await stub(channel).SummarizeTelemetry(request, timeout=DEADLINE)).summaries


def _assert_matches(summary: pb.MetricSummary, values: NDArray[np.float32]) -> None:
    """See that statistics are numpy's, computed in double precision."""
    present = values[~np.isnan(values)].astype(np.float64)
    assert summary.count == len(present)
    assert (summary.min, summary.max) == (present.min(), present.max())
    assert summary.mean == pytest.approx(present.mean(), rel=1e-12)
    quantiles = np.quantile(present, [0.5, 0.95, 0.99])
    assert [summary.p50, summary.p95, summary.p99] == pytest.approx(list(quantiles), rel=1e-12)
    assert summary.percentile_relative_error == 0


async def _store(channel: grpc.aio.Channel, device_id: str, columns: dict[str, NDArray[np.float32]]) -> None:
    """Store columns at 1 Hz, in batches of different lengths that do not come in order."""
    count = len(next(iter(columns.values())))
    bounds = [0, 1, 60, 61, 500, 1500, count]
    producer = await Producer.open(channel, device_id)
    parts = list(itertools.pairwise(bounds))
    for sequence, (start, end) in enumerate(reversed(parts), 1):
        times = range(START + start * SECOND, START + end * SECOND, SECOND)
        batch = pb.TelemetryBatch(device_id=device_id, time_unix_nano=times)
        for name, values in columns.items():
            if hasattr(batch, name):
                getattr(batch, name).extend(values[start:end].tolist())
            else:
                batch.extra.add(name=name, values=values[start:end].tolist())
        await producer.send(sequence, batch)
    assert await producer.close() == len(parts)


def _columns(seed: int, count: int = 2000) -> dict[str, NDArray[np.float32]]:
    rng = np.random.default_rng(seed)
    latency = rng.lognormal(3.4, 0.4, count).astype(np.float32)
    latency[rng.random(count) < 0.1] = np.nan
    return {
        "latency_ms": latency,
        "signal_strength_dbm": rng.normal(-60, 15, count).astype(np.float32),
        "packet_loss_percent": np.where(rng.random(count) < 0.95, 0, 12.5).astype(np.float32),
        "snr_db": rng.normal(0, 1e-3, count).astype(np.float32),
    }


async def test_matches_numpy(channel: grpc.aio.Channel, device_id: str) -> None:
    columns = _columns(1)
    await _store(channel, device_id, columns)
    (summary,) = await _summaries(channel, device_id)
    assert summary.sample_count == 2000
    assert summary.first_time.ToNanoseconds() == START
    assert summary.last_time.ToNanoseconds() == START + 1999 * SECOND
    assert {metric.name for metric in summary.metrics} == set(columns)
    for metric in summary.metrics:
        _assert_matches(metric, columns[metric.name])


async def test_range_and_metrics(channel: grpc.aio.Channel, device_id: str) -> None:
    columns = _columns(2)
    await _store(channel, device_id, columns)
    start, end = Timestamp(seconds=START // SECOND + 50), Timestamp(seconds=START // SECOND + 1700)
    (summary,) = await _summaries(
        channel, device_id, start_time=start, end_time=end, metrics=["latency_ms", "snr_db"]
    )
    assert summary.sample_count == 1650
    assert (summary.first_time, summary.last_time.seconds) == (start, end.seconds - 1)
    assert {metric.name for metric in summary.metrics} == {"latency_ms", "snr_db"}
    for metric in summary.metrics:
        _assert_matches(metric, columns[metric.name][50:1700])


async def test_per_device_and_together(channel: grpc.aio.Channel, device_id: str) -> None:
    names = [f"{device_id}/{index}" for index in range(3)]
    by_device = {name: _columns(seed) for seed, name in enumerate(names, 10)}
    for name in reversed(names):
        await _store(channel, name, by_device[name])
    summaries = await _summaries(channel, *names, "nobody", per_device=True)
    assert [summary.device_id for summary in summaries] == names
    for summary in summaries:
        for metric in summary.metrics:
            _assert_matches(metric, by_device[summary.device_id][metric.name])
    (together,) = await _summaries(channel, *names, "nobody")
    assert (together.device_id, together.sample_count) == ("", 6000)
    for metric in together.metrics:
        _assert_matches(metric, np.concatenate([by_device[name][metric.name] for name in names]))


async def test_samples_sent_twice_count_once(channel: grpc.aio.Channel, device_id: str) -> None:
    for _ in range(2):
        await submit(channel, make_batch(device_id, count=4))
    (summary,) = await _summaries(channel, device_id)
    assert summary.sample_count == 4
    assert summary.metrics[0].count == 4


async def test_metric_without_values_is_left_out(channel: grpc.aio.Channel, device_id: str) -> None:
    batch = make_batch(device_id)
    batch.power_w.extend([math.nan] * 3)
    await submit(channel, batch)
    (summary,) = await _summaries(channel, device_id)
    assert [metric.name for metric in summary.metrics] == ["latency_ms"]


async def test_nothing_to_summarise(channel: grpc.aio.Channel, device_id: str) -> None:
    assert not await _summaries(channel, device_id)
    assert not await _summaries(channel, device_id, per_device=True)
    await submit(channel, make_batch(device_id))
    later = Timestamp(seconds=(START + HOUR) // SECOND)
    assert not await _summaries(channel, device_id, start_time=later)
    assert not await _summaries(channel, device_id, start_time=later, per_device=True)


async def test_percentiles_past_a_million_values(channel: grpc.aio.Channel, device_id: str) -> None:
    """They are estimates then, and the summary says how good."""
    rng = np.random.default_rng(3)
    count = 100_000
    values = rng.lognormal(3, 1, 11 * count).astype(np.float32)
    producer = await Producer.open(channel, device_id)
    for index in range(11):
        first = START + index * HOUR
        batch = pb.TelemetryBatch(device_id=device_id, time_unix_nano=range(first, first + count))
        batch.latency_ms.extend(values[index * count : (index + 1) * count].tolist())
        await producer.send(index + 1, batch)
    assert await producer.close() == 11
    (summary,) = await _summaries(channel, device_id)
    (metric,) = summary.metrics
    exact = values.astype(np.float64)
    assert (metric.count, metric.min, metric.max) == (len(exact), exact.min(), exact.max())
    assert metric.mean == pytest.approx(exact.mean(), rel=1e-9)
    assert 0 < metric.percentile_relative_error <= 0.01
    quantiles = np.quantile(exact, [0.5, 0.95, 0.99])
    # A thousandth for the gap between neighbouring values.
    allowed = metric.percentile_relative_error + 0.001
    assert [metric.p50, metric.p95, metric.p99] == pytest.approx(list(quantiles), rel=allowed)
