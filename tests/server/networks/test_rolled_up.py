from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from spacelink.columns import concatenate
from spacelink_server.networks.cover import Question
from spacelink_server.networks.measures import Measures, measure, metric, nothing
from spacelink_server.networks.rolled_up import rolled_up
from spacelink_server.networks.rolled_up_values import StepValues
from spacelink_server.scoring.histogram import RELATIVE_ERROR
from spacelink_server.storage import reading
from tests.server.samples import DAY, HOUR, SECOND, T0
from tests.server.stored import maintain
from tests.server.stored_telemetry import put

if TYPE_CHECKING:
    from collections.abc import Sequence

    from spacelink_server.storage.sql_store import SqlStore

MINUTE = 60
DEVICES = ("a", "b", "silent")
PERCENTILES = (50, 95, 99)


def random_columns(count: int, seed: int) -> dict[str, Any]:
    rng = np.random.default_rng(seed)
    latency = rng.gamma(9, 3, count)
    latency[rng.random(count) < 0.1] = np.nan
    loss = np.where(rng.random(count) < 0.05, rng.random(count) * 100, 0)
    return {
        "latency_ms": latency,
        "packet_loss_percent": loss,
        "status": list(rng.integers(1, 5, count)),
        "power_w": rng.uniform(50, 90, count),
        "cabin_c": rng.uniform(1, 30, count),
    }


def put_random(store: SqlStore, device_id: str, start: int, end: int, step: int = 10) -> None:
    offsets = range(start, end, step)
    put(store, device_id, offsets, **random_columns(len(offsets), abs(start)))


def raw(store: SqlStore, device_ids: Sequence[str], start: int, end: int) -> Measures:
    """Measure sample by sample."""
    found = []
    for device_id in device_ids:
        parts = [
            reading.columns_of(part)
            for part in reading.read(store, "default", device_id, T0 + start * SECOND, T0 + end * SECOND)
        ]
        if not parts:
            found.append(nothing(1, PERCENTILES))
            continue
        whole = concatenate(parts)
        found.append(measure(whole, np.zeros(len(whole), np.int64), 1, PERCENTILES))
    return Measures.join(found)


def check(store: SqlStore, start: int, end: int, device_ids: Sequence[str] = DEVICES) -> None:
    """Hold the measures of a range, in seconds from T0, against those of the samples."""
    question = Question("default", device_ids, T0 + start * SECOND, T0 + end * SECOND)
    found, expected = rolled_up(store, question, PERCENTILES), raw(store, device_ids, start, end)
    for name in ("sample_count", "offline_count", "last_time"):
        np.testing.assert_array_equal(getattr(found, name), getattr(expected, name), name)
    for name in ("latency_mean_ms", "loss_percent"):
        np.testing.assert_allclose(getattr(found, name), getattr(expected, name), rtol=1e-9, err_msg=name)
    np.testing.assert_allclose(
        found.latency_percentiles_ms, expected.latency_percentiles_ms, rtol=RELATIVE_ERROR
    )


def check_steps(store: SqlStore, end: int, step: int) -> None:
    """Hold the measures of each step of a range against those of the samples."""
    question = Question("default", DEVICES, T0, T0 + end * SECOND, step * SECOND)
    found = rolled_up(store, question, PERCENTILES)
    assert len(found) == len(DEVICES) * question.steps
    expected = [raw(store, [each], at, min(at + step, end)) for each in DEVICES for at in range(0, end, step)]
    together = Measures.join(expected)
    np.testing.assert_array_equal(found.sample_count, together.sample_count)
    np.testing.assert_allclose(found.loss_percent, together.loss_percent, rtol=1e-9)
    np.testing.assert_allclose(
        found.latency_percentiles_ms, together.latency_percentiles_ms, rtol=RELATIVE_ERROR
    )


def check_values(store: SqlStore, name: str, end: int, step: int) -> None:
    """Hold the values of a metric in each step against those of the samples."""
    gathered = StepValues(Question("default", DEVICES, T0, T0 + end * SECOND, step * SECOND), name)
    gathered.add_all(store)
    found, wanted = gathered.values(), np.array([0, 0.5, 0.95, 1])
    quantiles = found.quantiles(wanted)
    everything = [
        metric(reading.columns_of(part), name)
        for device_id in DEVICES
        for part in reading.read(store, "default", device_id, T0, T0 + end * SECOND)
    ]
    for place, at in enumerate(range(0, end, step)):
        values = np.concatenate(
            [
                metric(reading.columns_of(part), name)
                for device_id in DEVICES
                for part in reading.read(
                    store, "default", device_id, T0 + at * SECOND, T0 + min(at + step, end) * SECOND
                )
            ]
            or [np.empty(0, np.float32)]
        )
        values = values[~np.isnan(values)].astype(np.float64)
        assert found.counts[place] == len(values)
        if len(values):
            assert (found.minima[place], found.maxima[place]) == (values.min(), values.max())
            np.testing.assert_allclose(quantiles[place], np.quantile(values, wanted), rtol=RELATIVE_ERROR)
    whole = np.concatenate(everything)
    whole = whole[~np.isnan(whole)]
    assert found.together().counts.tolist() == [len(whole)]
    np.testing.assert_allclose(
        found.together().quantiles(wanted)[0], np.quantile(whole, wanted), rtol=RELATIVE_ERROR
    )


def check_parts(store: SqlStore) -> None:
    check_steps(store, 4 * 3600, 1800)
    check_steps(store, 2 * 86_400, 6 * 3600)
    for name, end, step in (
        ("latency_ms", 4 * 3600 + 90, 900),
        ("latency_ms", 2 * 86_400, 86_400),
        ("power_w", 4 * 3600 + 90, 1800),
        ("power_w", 2 * 86_400, 6 * 3600),
        ("cabin_c", 2 * 86_400, 86_400),
    ):
        check_values(store, name, end, step)


RANGES = [
    (0, 86400),
    (0, 2 * 86400 + 5),
    (-MINUTE, 90_000),
    (3 * MINUTE, 86400 + 7 * MINUTE),
    (3600, 7200),
    (3660, 7175),
    (5 * MINUTE, 6 * MINUTE),
    (5 * MINUTE, 5 * MINUTE + 7),
    (40 * 86400, 41 * 86400),
]


def check_ranges(store: SqlStore) -> None:
    for start, end in RANGES:
        check(store, start, end)
    check_parts(store)


def test_rollups_give_what_the_samples_give(store: SqlStore) -> None:
    for device_id in DEVICES[:2]:
        put_random(store, device_id, -3600, 3 * 3600, step=20)
        put_random(store, device_id, 86400 - 3600, 86400 + 1800, step=60)
    check_ranges(store)  # nothing is rolled up
    maintain(store, T0 + HOUR)  # an hour is, and a part of the next
    check_ranges(store)
    maintain(store, T0 + 10 * DAY)
    check_ranges(store)


def test_late_samples_count_at_once_and_repeated_ones_once(store: SqlStore) -> None:
    for device_id in DEVICES[:2]:
        put_random(store, device_id, 0, 4 * 3600, step=60)
    maintain(store, T0 + 10 * DAY)
    put_random(store, "a", 3605, 7205, step=10)  # between those that are there
    put_random(store, "b", 0, 4 * 3600, step=60)  # the same again
    put_random(store, "silent", 1800, 1900, step=1)
    check_ranges(store)
    maintain(store, T0 + 10 * DAY)
    check_ranges(store)


def test_rollups_are_used(store: SqlStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a range that maintenance has been over, no sample is read."""
    put_random(store, "a", 0, 2 * 3600, step=60)
    maintain(store, T0 + 10 * DAY)
    monkeypatch.setattr(reading, "read", lambda *_: pytest.fail("samples were read"))
    question = Question("default", ["a"], T0 + 5 * MINUTE * SECOND, T0 + DAY)
    assert rolled_up(store, question, PERCENTILES).sample_count.tolist() == [115]


def test_a_store_of_either_kind(either_store: SqlStore) -> None:
    put_random(either_store, "a", 0, 3 * 3600, step=60)
    maintain(either_store, T0 + 2 * HOUR)
    put_random(either_store, "b", 0, 3600)
    check(either_store, 60, 3 * 3600 - 30)
    check_steps(either_store, 3 * 3600, 1800)
    check_values(either_store, "latency_ms", 3 * 3600, 900)
    check_values(either_store, "power_w", 3 * 3600, 3600)
