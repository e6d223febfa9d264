from __future__ import annotations

import numpy as np
import pytest

from spacelink._sample_rules import EARLIEST_NANOS, bounds_of, latest_nanos, wrong_values
from spacelink.columns import TelemetryColumns

START = 1_767_225_600 * 10**9
HOUR = 3600 * 10**9
# Half a step of float32 above 100 and less.
ROUNDED_TO_100 = 100.000003


def test_the_first_wrong_value_of_each_sample_is_told() -> None:
    times = np.array([START, EARLIEST_NANOS - 1, START, START, START, latest_nanos() + HOUR], np.int64)
    samples = TelemetryColumns(
        "dish",
        times,
        {
            "latency_ms": np.array([1, -1, -0.5, np.nan, 1, 1], np.float32),
            "snr_db": np.array([1, 1, -np.inf, 1, 1, 1], np.float32),
            "packet_loss_percent": np.array([100, 0, 0, 100.1, 0, 0], np.float32),
        },
        np.array([0, 1, 2, 3, 9, 1], np.uint8),
    )
    wrong = wrong_values(samples)
    assert [(each.row, each.column) for each in wrong] == [
        (1, "time"),
        (2, "latency_ms"),
        (3, "packet_loss_percent"),
        (4, "status"),
        (5, "time"),
    ]
    assert str(wrong[1]) == "latency_ms: -0.5 is out of range; expected finite values from 0"
    assert "1989-12-31T23:59:59.999999999Z is out of range; expected from 1990" in str(wrong[0])


def test_nothing_is_wrong_with_good_samples() -> None:
    samples = TelemetryColumns.from_arrays(
        "dish", [START, EARLIEST_NANOS], latency_ms=[0, np.nan], power_w=[-1e38, 3.4e38], status="OFFLINE"
    )
    assert wrong_values(samples) == []


@pytest.mark.parametrize(
    ("metric", "value", "holds"),
    [
        ("packet_loss_percent", 100.0, True),
        ("packet_loss_percent", ROUNDED_TO_100, True),
        ("packet_loss_percent", 100.00001, False),
        ("latency_ms", -1e-50, True),
        ("latency_ms", -1e-40, False),
        ("latency_ms", float("nan"), True),
        ("snr_db", -1.0, True),
    ],
)
def test_what_counts_is_the_float32(metric: str, value: float, holds: bool) -> None:
    assert bounds_of(metric).holds(value) is holds
