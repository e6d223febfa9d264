from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import numpy as np
import pytest

from spacelink.columns import merge
from spacelink_server.scoring.histogram import RELATIVE_ERROR
from spacelink_server.services._summaries import Query, Summary, _without, summarize
from spacelink_server.storage.sqlite import SqliteStore
from tests.server.maintenance.fleet import DEVICES, TENANT, some_samples, submit
from tests.server.samples import DAY, HOUR, SECOND, T0
from tests.server.stored import FOREVER, maintain

if TYPE_CHECKING:
    from collections.abc import Iterator

    from spacelink.columns import TelemetryColumns
    from spacelink.v1.telemetry_pb2 import TelemetrySummary

MINUTE = 60 * SECOND
RANGES = [
    (0, FOREVER),
    (T0, T0 + DAY),
    (T0 + 90 * MINUTE, T0 + 50 * HOUR + 7 * SECOND),
    (T0 + 26 * HOUR + 1, T0 + 26 * HOUR + 20 * MINUTE),
    (T0 + DAY, T0 + DAY + HOUR),
    (T0 + 3 * DAY, T0 + 9 * DAY),
]


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SqliteStore]:
    store = SqliteStore(tmp_path_factory.mktemp("store"))
    yield store
    store.close()


@pytest.fixture(scope="module")
def batches(store: SqliteStore) -> list[TelemetryColumns]:
    """Give what is stored: closed days and hours, an open one, late samples, and some not taken in."""
    old = [some_samples(n, device, 0, 20_000, 10 * SECOND) for n, device in enumerate(DEVICES)]
    late = [some_samples(9, DEVICES[0], 26 * HOUR, 300, 3 * SECOND)]
    arrived = [some_samples(n + 20, device, 56 * HOUR, 500) for n, device in enumerate(DEVICES[:2])]
    arrived.append(some_samples(30, DEVICES[1], 30 * HOUR, 100))
    for batches in (old, late):
        submit(store, *batches)
        maintain(store, T0 + 50 * HOUR + 10 * MINUTE)
    submit(store, *arrived)
    return [*old, *late, *arrived]


def summed(store: SqliteStore, start: int, end: int, *metrics: str) -> dict[str, TelemetrySummary]:
    summaries = {device: Summary(device) for device in DEVICES}
    summarize(store, Query(TENANT, start, end, frozenset(metrics)), summaries)
    return {device: summary.message() for device, summary in summaries.items() if summary.count}


@pytest.mark.parametrize("metrics", [(), ("latency_ms",), ("azimuth_deg", "packet_loss_percent")])
@pytest.mark.parametrize(("start", "end"), RANGES)
def test_summaries_are_those_of_the_samples(
    store: SqliteStore, batches: list[TelemetryColumns], start: int, end: int, metrics: tuple[str, ...]
) -> None:
    found = summed(store, start, end, *metrics)
    for device in DEVICES:
        samples = merge([batch for batch in batches if batch.device_id == device])
        times = samples.time_unix_nano
        samples = samples.take((times >= start) & (times < end))
        assert (device in found) == (len(samples) > 0)
        if len(samples):
            check(found[device], samples, metrics)


def check(summary: TelemetrySummary, samples: TelemetryColumns, metrics: tuple[str, ...]) -> None:
    assert summary.sample_count == len(samples)
    assert summary.first_time.ToNanoseconds() == samples.time_unix_nano[0]
    assert summary.last_time.ToNanoseconds() == samples.time_unix_nano[-1]
    assert {metric.name for metric in summary.metrics} == set(metrics or samples.metrics)
    for metric in summary.metrics:
        values = samples.metrics[metric.name]
        values = values[~np.isnan(values)].astype(np.float64)
        assert (metric.count, metric.min, metric.max) == (len(values), values.min(), values.max())
        assert metric.mean == pytest.approx(values.mean(), rel=1e-9, abs=1e-9)
        assert metric.percentile_relative_error in (0, RELATIVE_ERROR)
        exact = np.quantile(values, [0.5, 0.95, 0.99])
        found = [metric.p50, metric.p95, metric.p99]
        # Azimuths are of both signs: next to zero a relative error says nothing.
        room = 0.5 if metric.name == "azimuth_deg" else 0
        np.testing.assert_allclose(found, exact, rtol=metric.percentile_relative_error + 1e-12, atol=room)


def test_what_was_read_is_in_the_debug_log(
    store: SqliteStore, batches: list[TelemetryColumns], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "spacelink_server.services")
    summed(store, T0, T0 + DAY)
    assert [record.getMessage() for record in caplog.records] == [
        "summary of 3 devices: 3 rollups of 86400 s",
        "summary of 3 devices: 0 rollups of 3600 s",
        "summary of 3 devices: 0 samples read from segments",
    ]


@pytest.mark.parametrize(
    ("ranges", "starts", "left"),
    [
        (((0, 100),), [], ((0, 100),)),
        (((0, 100),), [0, 10, 90], ((20, 90),)),
        (((5, 95),), [10, 30], ((5, 10), (20, 30), (40, 95))),
        (((0, 20), (50, 70)), [50, 60], ((0, 20),)),
        (((0, 20), (50, 70)), [0, 10], ((50, 70),)),
        (((0, 20), (50, 70)), [10, 50], ((0, 10), (60, 70))),
    ],
)
def test_taking_windows_out_of_ranges(
    ranges: tuple[tuple[int, int], ...], starts: list[int], left: tuple[tuple[int, int], ...]
) -> None:
    assert _without(ranges, starts, 10) == left
