from __future__ import annotations

import numpy as np
import pytest

from spacelink.columns import METRICS, TelemetryColumns
from spacelink.v1.telemetry_pb2 import DeviceStatus
from spacelink_agent.collectors.leo import LeoLink

SECOND = 1_000_000_000
# 2026-01-10T00:00:00Z
MIDNIGHT = 1_768_003_200 * SECOND
DAY = MIDNIGHT + np.arange(86_400) * SECOND


@pytest.fixture(scope="module")
def fleet() -> list[TelemetryColumns]:
    return [LeoLink(1, f"dish-{number}").samples(DAY) for number in range(6)]


def _same(first: TelemetryColumns, second: TelemetryColumns) -> bool:
    return first.encode() == second.encode()


def test_same_seed_device_and_time_give_the_same_sample() -> None:
    whole = LeoLink(5, "dish").samples(DAY[:600])
    for rows in (slice(0, 1), slice(137, 138), slice(300, 420)):
        # Another object, asked for other times before.
        link = LeoLink(5, "dish")
        link.samples(DAY[1000:1010])
        assert _same(link.samples(DAY[rows]), whole.take(rows))


def test_other_seeds_and_devices_give_other_samples() -> None:
    times = DAY[:60]
    sample = LeoLink(5, "dish").samples(times)
    for link in (LeoLink(6, "dish"), LeoLink(5, "dish-2")):
        other = link.samples(times)
        assert np.all(other.metrics["latency_ms"] != sample.metrics["latency_ms"])


def test_every_metric_is_measured_within_its_bounds(fleet: list[TelemetryColumns]) -> None:
    bounds = {
        "latency_ms": (15, 250),
        "jitter_ms": (0, 100),
        "packet_loss_percent": (0, 100),
        "signal_strength_dbm": (-85, -50),
        "downlink_mbps": (0, 300),
        "uplink_mbps": (0, 40),
        "obstruction_percent": (0, 5),
        "power_w": (25, 100),
    }
    assert set(bounds) == set(METRICS)
    for samples in fleet:
        for name, (low, high) in bounds.items():
            values = samples.metrics[name]
            assert low <= np.nanmin(values) <= np.nanmax(values) <= high, name


def test_latency_is_missing_when_and_only_when_nothing_arrives(fleet: list[TelemetryColumns]) -> None:
    for samples in fleet:
        is_lost = samples.metrics["packet_loss_percent"] == 100
        assert np.array_equal(np.isnan(samples.metrics["latency_ms"]), is_lost)
        assert samples.status is not None
        assert np.array_equal(samples.status == DeviceStatus.DEVICE_STATUS_OFFLINE, is_lost)
    assert any(np.any(samples.metrics["packet_loss_percent"] == 100) for samples in fleet)


def test_latency_level_changes_at_handovers(fleet: list[TelemetryColumns]) -> None:
    for samples in fleet:
        # The smallest latency of a stretch shows its level without queueing.
        by_slot = _slots(samples.metrics["latency_ms"], first_second=12)
        across = _slots(samples.metrics["latency_ms"], first_second=5)
        levels = np.nanmin(by_slot, axis=1)
        assert np.nanmean(np.abs(np.diff(levels))) > 2
        # A stretch across a handover sees two levels, so it varies more.
        assert np.nanmean(np.nanstd(across, axis=1)) > np.nanmean(np.nanstd(by_slot, axis=1))


def test_losses_come_in_bursts_after_handovers(fleet: list[TelemetryColumns]) -> None:
    loss = np.concatenate([_slots(s.metrics["packet_loss_percent"], first_second=12) for s in fleet])
    assert 0.3 < loss.mean() < 3
    by_second = loss.mean(axis=0)
    assert by_second[:2].min() > 3 * by_second[4:].max()
    # Within a second of loss, many are lost: 1 % spread evenly would be one packet of 20.
    assert loss[loss > 0].mean() > 15


def test_obstructed_terminals_lose_more(fleet: list[TelemetryColumns]) -> None:
    obstruction = [float(s.metrics["obstruction_percent"].mean()) for s in fleet]
    loss = [float(s.metrics["packet_loss_percent"].mean()) for s in fleet]
    assert np.corrcoef(obstruction, loss)[0, 1] > 0.8


def test_load_follows_the_day(fleet: list[TelemetryColumns]) -> None:
    for samples in fleet:
        hourly = np.nanmean(samples.metrics["latency_ms"].reshape(24, 3600), axis=1)
        usage = samples.metrics["downlink_mbps"].reshape(24, 3600).mean(axis=1)
        busiest, quietest = np.argmax(hourly), np.argmin(hourly)
        assert 8 <= abs(busiest - quietest) <= 16
        assert usage[busiest] > 1.5 * usage[quietest]


def _slots(values: np.ndarray, first_second: int) -> np.ndarray:
    """Arrange a day's values by stretches of 15 seconds."""
    return values[first_second : first_second + 15 * 5750].reshape(-1, 15)
