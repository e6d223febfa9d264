"""Late and out-of-order samples change past results to what they should have been, and no others."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from google.protobuf.duration_pb2 import Duration
from google.protobuf.json_format import MessageToDict

from spacelink_server.networks import history
from spacelink_server.scoring.histogram import RELATIVE_ERROR
from tests.server.samples import DAY, T0
from tests.server.services.test_network import Networks
from tests.server.stored import maintain
from tests.server.stored_telemetry import put, within

if TYPE_CHECKING:
    from tests.server.installation import Installation

HOUR = 3600
STEP = 20
END = 60 * HOUR
# What comes late: an outage of three minutes, an hour that was good, and one across midnight.
LATE = [(10 * HOUR + 600, 10 * HOUR + 780), (30 * HOUR, 31 * HOUR), (48 * HOUR - 900, 48 * HOUR + 900)]
RANGES = [(0, END), *((start, start + 6 * HOUR) for start in range(0, END, 6 * HOUR))]


def put_some(networks: Networks, device_id: str, times: list[int]) -> None:
    rng = np.random.default_rng(1)
    latency, lossy = rng.gamma(9, 3, END // STEP), rng.random(END // STEP) < 0.02
    place = np.array(times) // STEP
    is_down = (place * STEP >= LATE[0][0]) & (place * STEP < LATE[0][1])
    put(
        networks.installation.store,
        device_id,
        times,
        latency_ms=latency[place],
        packet_loss_percent=np.where(is_down, 100, np.where(lossy[place], 5.0, 0)),
    )


def is_late(time: int) -> bool:
    return any(start <= time < end for start, end in LATE)


def touched(start: int, end: int) -> bool:
    """Tell whether late samples matter to a range; how long the sample before them holds is changed, too."""
    return any(first < end and last > start for first, last in LATE)


async def answers(networks: Networks, device_id: str, span: tuple[int, int]) -> dict[str, Any]:
    """Give all that is computed of a device in a range, but for its name; sums are rounded."""
    asked: dict[str, Any] = {"network_id": "n", "device_ids": [device_id], **within(*span)}
    found = {
        "health": await networks.call("GetNetworkHealth", **asked),
        "sla": await networks.call("GetNetworkSla", **asked),
    }
    for metric in ("latency_ms", "qoo"):
        found[metric] = await networks.call(
            "GetNetworkTrend", metric=metric, step=Duration(seconds=HOUR), **asked
        )
    return {name: rounded(MessageToDict(answer), device_id) for name, answer in found.items()}


def rounded(value: Any, device_id: str) -> Any:
    if isinstance(value, dict):
        return {key: rounded(each, device_id) for key, each in value.items()}
    if isinstance(value, list):
        return [rounded(each, device_id) for each in value]
    if isinstance(value, float):
        return float(f"{value:.9g}")
    return "" if value == device_id else value


@pytest.mark.parametrize("exact_ns", [history._EXACT_NS, 0], ids=["samples", "rollups"])
async def test_late_samples(
    installation: Installation, exact_ns: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(history, "_EXACT_NS", exact_ns)
    networks = Networks(installation)
    await networks.create("n", "late", "in-time")
    every = list(range(0, END, STEP))
    put_some(networks, "in-time", every)
    put_some(networks, "late", [time for time in every if not is_late(time)])
    await asyncio.to_thread(maintain, installation.store, T0 + 10 * DAY)
    expected = {span: await answers(networks, "in-time", span) for span in RANGES}
    before = {span: await answers(networks, "late", span) for span in RANGES}
    for span in RANGES:
        if touched(*span):
            for name in ("health", "sla", "latency_ms"):
                assert before[span][name] != expected[span][name], (span, name)
        else:
            # The trend's range before may be touched.
            assert before[span]["health"] == expected[span]["health"]
            assert before[span]["sla"] == expected[span]["sla"]
            assert before[span]["qoo"].get("points") == expected[span]["qoo"].get("points")

    late = [time for time in every if is_late(time)]
    # In batches, the last first, the odd ones before the even ones, and some twice.
    for batch in (late[1::2][::-1], late[::2][::-1], late[:100]):
        put_some(networks, "late", sorted(batch))
    for _ in range(2):
        for span in RANGES:
            assert await answers(networks, "late", span) == expected[span], span
            assert await answers(networks, "in-time", span) == expected[span], span
        await asyncio.to_thread(maintain, installation.store, T0 + 10 * DAY)


async def test_rollups_give_what_samples_give(
    installation: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Scores and trends of a long range, within the error of histograms; the SLA to the nanosecond."""
    networks = Networks(installation)
    await networks.create("n", "late", "silent")
    put_some(networks, "late", [time for time in range(0, END, STEP) if not LATE[2][0] <= time < LATE[2][1]])
    asked: dict[str, Any] = {"network_id": "n", **within(0, END)}
    step = Duration(seconds=6 * HOUR)

    async def found() -> tuple[Any, Any, list[Any]]:
        trends = [
            await networks.call("GetNetworkTrend", metric=metric, step=step, **asked)
            for metric in ("latency_ms", "qoo")
        ]
        health = await networks.call("GetNetworkHealth", **asked)
        return health, await networks.call("GetNetworkSla", **asked), trends

    monkeypatch.setattr(history, "_EXACT_NS", 2**62)
    exact, exact_sla, exact_trends = await found()
    await asyncio.to_thread(maintain, installation.store, T0 + 10 * DAY)
    monkeypatch.setattr(history, "_EXACT_NS", 0)
    health, sla, trends = await found()
    assert (exact.percentile_relative_error, health.percentile_relative_error) == (0, RELATIVE_ERROR)
    assert sla == exact_sla
    (device,) = (each.window for each in health.devices if each.device_id == "late")
    (exact_device,) = (each.window for each in exact.devices if each.device_id == "late")
    for item, exact_item in zip(device.items, exact_device.items, strict=True):
        error = RELATIVE_ERROR if item.input.startswith("latency") else 1e-9
        assert item.measured == pytest.approx(exact_item.measured, rel=error)
    # The errors of the items, by their slopes: 1 % of 150 ms of 100 ms.
    assert health.window.score == pytest.approx(exact.window.score, abs=1.5)
    for trend, exact_trend in zip(trends, exact_trends, strict=True):
        assert len(trend.points) == len(exact_trend.points) == 10
        pairs = [*zip(trend.points, exact_trend.points, strict=True), (trend.current, exact_trend.current)]
        for point, exact_point in pairs:
            assert (point.start_time, point.count) == (exact_point.start_time, exact_point.count)
            for value in ("p50", "p95", "min", "max"):
                expected = getattr(exact_point, value)
                assert getattr(point, value) == pytest.approx(expected, rel=RELATIVE_ERROR, abs=1e-9)
