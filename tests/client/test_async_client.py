"""The asyncio client against a real server."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from spacelink import METRICS, AsyncSpaceLinkClient, TelemetryColumns, errors
from tests.conftest import ServerProcess, StartServer

NOON = 1_769_860_800_000_000_000  # 2026-01-31T12:00:00Z
SECOND = 1_000_000_000


@pytest.fixture
async def client(server: ServerProcess) -> AsyncIterator[AsyncSpaceLinkClient]:
    async with AsyncSpaceLinkClient(server.address, token=server.token) as client:
        yield client


def samples(device_id: str, count: int, start: int = NOON, **changes: Any) -> TelemetryColumns:
    rng = np.random.default_rng(count)
    times = start + np.arange(count) * SECOND + rng.integers(0, 1000, count)
    metrics = {name: rng.random(count, np.float32) * 100 for name in (*METRICS, "azimuth_deg")}
    metrics["latency_ms"][::5] = np.nan
    return TelemetryColumns.from_arrays(
        device_id, times, status=rng.integers(0, 5, count), **(metrics | changes)
    )


def assert_same(left: TelemetryColumns, right: TelemetryColumns) -> None:
    assert np.array_equal(left.time_unix_nano, right.time_unix_nano)
    assert set(left.metrics) == set(right.metrics)
    for name in left.metrics:
        assert left.metrics[name].tobytes() == right.metrics[name].tobytes(), name
    assert np.array_equal(left.status, right.status)  # type: ignore[arg-type]


async def test_what_was_ingested_comes_back_bit_for_bit(client: AsyncSpaceLinkClient, device_id: str) -> None:
    sent = samples(device_id, 25_000)
    assert sent.status is not None
    count = await client.ingest(device_id, sent.time_unix_nano, status=sent.status, **sent.metrics)
    assert count == 25_000
    stored = await client.query_telemetry(device_id, as_columns=True)
    assert list(stored) == [device_id]
    assert_same(stored[device_id], sent)


async def test_query_gives_batches_in_time_order(client: AsyncSpaceLinkClient, device_id: str) -> None:
    sent = samples(device_id, 12_000)
    await client.ingest_columns([sent.take(slice(6_000, None)), sent.take(slice(6_000))])
    batches = [batch async for batch in client.query_telemetry([device_id])]
    assert {batch.device_id for batch in batches} == {device_id}
    times = np.concatenate([batch.time_unix_nano for batch in batches])
    assert np.array_equal(times, sent.time_unix_nano)


@pytest.mark.parametrize(
    ("start", "end"),
    [
        (NOON + 10 * SECOND, NOON + 20 * SECOND),
        ("2026-01-31T12:00:10Z", "2026-01-31T12:00:20Z"),
        (np.datetime64("2026-01-31T12:00:10"), np.datetime64("2026-01-31T12:00:20")),
        (datetime(2026, 1, 31, 12, 0, 10, tzinfo=UTC), datetime(2026, 1, 31, 12, 0, 20, tzinfo=UTC)),
    ],
    ids=["int", "text", "datetime64", "datetime"],
)
async def test_the_range_is_half_open(
    client: AsyncSpaceLinkClient, device_id: str, start: Any, end: Any
) -> None:
    await client.ingest(device_id, NOON + np.arange(60) * SECOND, latency_ms=np.arange(60))
    stored = (await client.query_telemetry(device_id, start, end, as_columns=True))[device_id]
    assert stored.metrics["latency_ms"].tolist() == list(range(10, 20))


async def test_only_the_wanted_metrics_come_back(client: AsyncSpaceLinkClient, device_id: str) -> None:
    await client.ingest_columns([samples(device_id, 3)])
    stored = await client.query_telemetry(device_id, metrics=["power_w", "azimuth_deg"], as_columns=True)
    assert set(stored[device_id].metrics) == {"power_w", "azimuth_deg"}
    assert stored[device_id].status is None


async def test_an_unknown_device_has_no_samples(client: AsyncSpaceLinkClient, device_id: str) -> None:
    assert await client.query_telemetry(device_id, as_columns=True) == {}
    assert await client.summarize_telemetry(device_id) == []


async def test_calls_on_one_client_may_run_at_the_same_time(
    client: AsyncSpaceLinkClient, device_id: str
) -> None:
    devices = [f"{device_id}-{number}" for number in range(5)]
    counts = await asyncio.gather(
        *(client.ingest_columns([samples(device, 100 + n)]) for n, device in enumerate(devices))
    )
    assert counts == [100, 101, 102, 103, 104]
    stored = await client.query_telemetry(devices, as_columns=True)
    assert [len(stored[device]) for device in devices] == counts


async def test_rejected_batches_are_named_and_the_others_stored(
    client: AsyncSpaceLinkClient, device_id: str
) -> None:
    good, bad = samples(device_id, 10), samples(f"{device_id}-bad", 4, latency_ms=[1, 2, -3, 4])
    with pytest.raises(errors.RejectedBatchesError, match="latency_ms") as caught:
        await client.ingest_columns([good, bad])
    assert caught.value.committed_samples == 10
    (rejected,) = caught.value.rejected
    assert_same(rejected.samples, bad)
    assert rejected.reason == caught.value.reason == "VALUE_OUT_OF_RANGE"
    stored = await client.query_telemetry([device_id, f"{device_id}-bad"], as_columns=True)
    assert list(stored) == [device_id]


async def test_ingest_survives_servers_that_are_killed(servers: StartServer, tmp_path: Path) -> None:
    server = servers(tmp_path)
    sent = samples("dish-01", 60_000)

    async with AsyncSpaceLinkClient(server.address, token=server.token) as client:
        restarted = 0

        def pieces() -> Any:
            nonlocal server, restarted
            for start in range(0, len(sent), 1_000):
                if start in (15_000, 40_000):
                    server.kill()
                    server = servers(tmp_path, listen=server.address)
                    restarted += 1
                yield sent.take(slice(start, start + 1_000))

        assert await client.ingest_columns(pieces()) == 60_000
        assert restarted == 2
        stored = await client.query_telemetry("dish-01", as_columns=True)
        assert_same(stored["dish-01"], sent)
        (summary,) = await client.summarize_telemetry("dish-01")
        assert summary.sample_count == 60_000


async def test_submitting_twice_with_one_request_id_stores_once(
    client: AsyncSpaceLinkClient, device_id: str
) -> None:
    first, second = samples(device_id, 5), samples(device_id, 5, start=NOON + 1000 * SECOND)
    request_id = f"request-{device_id}"
    for _ in range(2):
        assert await client.submit_telemetry(first, request_id=request_id) == 5
    with pytest.raises(errors.AlreadyExistsError, match="request_id"):
        await client.submit_telemetry(second, request_id=request_id)
    assert_same((await client.query_telemetry(device_id, as_columns=True))[device_id], first)
    assert await client.submit_telemetry(second) == 5
    assert len((await client.query_telemetry(device_id, as_columns=True))[device_id]) == 10


async def test_a_wrong_batch_is_refused_by_field(client: AsyncSpaceLinkClient, device_id: str) -> None:
    with pytest.raises(errors.InvalidArgumentError) as caught:
        await client.submit_telemetry(samples(device_id, 1, packet_loss_percent=[101]))
    assert caught.value.reason == "VALUE_OUT_OF_RANGE"
    (violation,) = caught.value.field_violations
    assert violation.field == "batch.packet_loss_percent"


async def test_latest_follows_all_pages(servers: StartServer, tmp_path: Path) -> None:
    server = servers(tmp_path)
    devices = [f"dish-{number:04}" for number in range(1_003)]
    async with AsyncSpaceLinkClient(server.address, token=server.token) as client:
        await client.ingest_columns(
            TelemetryColumns.from_arrays(device, [NOON, NOON + 1], latency_ms=[1, n])
            for n, device in enumerate(devices)
        )
        latest = [sample async for sample in client.list_latest_telemetry()]
        assert [sample.device_id for sample in latest] == devices
        assert [sample.metrics["latency_ms"].tolist() for sample in latest] == [[n] for n in range(1_003)]
        some = [sample.device_id async for sample in client.list_latest_telemetry(devices[5:7])]
        assert some == devices[5:7]


async def test_summaries_are_what_numpy_says(client: AsyncSpaceLinkClient, device_id: str) -> None:
    sent = samples(device_id, 1_000)
    await client.ingest_columns([sent])
    (summary,) = await client.summarize_telemetry(device_id, per_device=True)
    assert (summary.device_id, summary.sample_count) == (device_id, 1_000)
    assert summary.first_time == sent.time_unix_nano[0].astype("M8[ns]")
    assert summary.last_time == sent.time_unix_nano[-1].astype("M8[ns]")
    latency = sent.metrics["latency_ms"].astype(np.float64)
    found = summary.metrics["latency_ms"]
    assert found.count == 800
    assert (found.min, found.max) == (np.nanmin(latency), np.nanmax(latency))
    assert found.mean == pytest.approx(np.nanmean(latency), rel=1e-9)
    wanted = np.nanpercentile(latency, [50, 95, 99])
    rel = found.percentile_relative_error + 1e-6
    assert [found.p50, found.p95, found.p99] == pytest.approx(wanted.tolist(), rel=rel)
    (whole,) = await client.summarize_telemetry([device_id], metrics=["power_w"], end=NOON + 10 * SECOND)
    assert (whole.device_id, whole.sample_count, list(whole.metrics)) == ("", 10, ["power_w"])


async def test_a_watcher_sees_what_is_committed(client: AsyncSpaceLinkClient, device_id: str) -> None:
    watch = client.watch_telemetry(device_id, metrics=["latency_ms"])
    update = asyncio.ensure_future(anext(watch))
    sent = 0
    while not update.done():
        # Until the server has taken the watch, nothing that is sent is seen.
        await client.ingest(device_id, [NOON + sent * SECOND], latency_ms=[sent], power_w=[1])
        sent += 1
        await asyncio.wait({update}, timeout=0.2)
    first = update.result()
    assert first.samples.device_id == device_id
    assert list(first.samples.metrics) == ["latency_ms"]
    assert first.lost_batches == 0
    await watch.aclose()


async def test_without_a_server_calls_end_with_unavailable(servers: StartServer, tmp_path: Path) -> None:
    server = servers(tmp_path)
    server.kill()
    async with AsyncSpaceLinkClient(server.address, token=server.token, retry_for=0.3) as client:
        calls = [
            client.ingest("dish-01", [NOON]),
            client.submit_telemetry(samples("dish-01", 1)),
            client.summarize_telemetry(),
            client.query_telemetry(as_columns=True),
            anext(client.list_latest_telemetry()),
            anext(client.watch_telemetry()),
        ]
        for call in calls:
            with pytest.raises(errors.UnavailableError):
                await call


async def test_a_call_waits_for_a_server_that_restarts(servers: StartServer, tmp_path: Path) -> None:
    server = servers(tmp_path)
    async with AsyncSpaceLinkClient(server.address, token=server.token) as client:
        await client.ingest("dish-01", [time.time_ns()], latency_ms=[1])
        server.kill()
        summary = asyncio.ensure_future(client.summarize_telemetry())
        await asyncio.sleep(0)
        servers(tmp_path, listen=server.address)
        assert [s.sample_count for s in await summary] == [1]


async def test_a_closed_client_says_so(server: ServerProcess) -> None:
    client = AsyncSpaceLinkClient(server.address, token=server.token)
    assert await client.summarize_telemetry("nobody") == []
    await client.close()
    await client.close()
    with pytest.raises(RuntimeError, match="closed"):
        await client.summarize_telemetry("nobody")
