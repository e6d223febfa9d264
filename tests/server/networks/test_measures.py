from __future__ import annotations

from dataclasses import fields
from typing import Any

import numpy as np
import pytest

from spacelink.columns import TelemetryColumns
from spacelink_server.networks import measures
from spacelink_server.networks.measures import Measures, live_samples, measure, nothing, samples_of, voice
from spacelink_server.scoring import qoo
from spacelink_server.scoring.samples import Samples
from tests.server.samples import SECOND, T0, columns, segments

NAN = float("nan")


def measured(rows: list[int], count: int, **metrics: Any) -> Measures:
    offsets = [second * SECOND for second in range(len(rows))]
    return measure(columns("d", offsets, **metrics), np.array(rows, np.int64), count, (50, 100))


def test_what_samples_come_to_by_row() -> None:
    found = measured(
        [0, 0, 0, 2],
        3,
        latency_ms=[10, NAN, 30, 7],
        packet_loss_percent=[0, 100, 50, NAN],
        status=["ACTIVE", "ACTIVE", "OFFLINE", "OFFLINE"],
    )
    assert found.sample_count.tolist() == [3, 0, 1]
    assert found.offline_count.tolist() == [1, 0, 1]
    assert found.last_time.tolist() == [T0 + 2 * SECOND, 0, T0 + 3 * SECOND]
    np.testing.assert_equal(found.latency_percentiles_ms, [[20, 30], [NAN, NAN], [7, 7]])
    np.testing.assert_equal(found.latency_mean_ms, [20, NAN, 7])
    np.testing.assert_equal(found.loss_percent, [50, NAN, NAN])
    np.testing.assert_equal(np.isnan(found.burst_ratio), [False, True, True])


def test_only_capacity_tests_tell_throughput() -> None:
    found = measured([0, 0, 0, 0], 1, downlink_mbps=[1, 90, 110, 500], capacity_test=[0, 1, 1, NAN])
    assert found.throughput_mbps.tolist() == [100]
    assert np.isnan(measured([0], 1, downlink_mbps=[90]).throughput_mbps).all()


def test_blocks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(7)
    rows = np.sort(rng.integers(0, 40, 500)).tolist()
    values = {"latency_ms": rng.gamma(9, 3, 500), "packet_loss_percent": rng.random(500) * 100}
    whole = measured(rows, 42, **values)
    monkeypatch.setattr(measures, "_MAX_CELLS", 30)
    parts = measured(rows, 42, **values)
    for name in Measures.__dataclass_fields__:
        np.testing.assert_equal(getattr(parts, name), getattr(whole, name))
    assert len(whole) == 42


def test_nothing_is_scored_where_there_is_nothing() -> None:
    profile = qoo.PROFILES["leo"]
    found = nothing(2, profile.percentiles)
    scores = found.scores(profile)
    assert np.isnan(scores.qoo).all()
    assert scores.missing(0) == profile.items
    assert np.isnan(voice(found).r_factor).all()


def test_voice_is_the_e_model_of_what_was_measured() -> None:
    found = measured([0] * 10, 1, latency_ms=[80.0] * 10, packet_loss_percent=[0.0] * 10)
    quality = voice(found)
    # Half the round trip, 40 ms of jitter buffer and 20 of G.711.
    assert quality.one_way_delay_ms.tolist() == [100]
    assert quality.r_factor[0] == pytest.approx(93.2)


def test_live_samples_are_those_of_the_segments() -> None:
    sent = [
        *segments("b", [3, 4, 9], latency_ms=[1, NAN, 3], packet_loss_percent=[0, 100, 2.5]),
        *segments("a", [1], status=["OFFLINE"], downlink_mbps=[3]),
        *segments("b", [10, 11], status=["ACTIVE", "DEGRADED"], packet_loss_percent=[1, 2]),
    ]
    numbers = [7, 2, 7]
    alone = [
        samples_of(number, TelemetryColumns.decode(each.payload))
        for number, each in zip(numbers, sent, strict=True)
    ]
    expected, found = Samples.concatenate(alone), live_samples(numbers, sent)
    for column in fields(Samples):
        np.testing.assert_array_equal(getattr(found, column.name), getattr(expected, column.name))
        assert getattr(found, column.name).dtype == getattr(expected, column.name).dtype
