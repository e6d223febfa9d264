from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spacelink_server.scoring import qoo
from spacelink_server.scoring.qoo import PROFILES, LatencyRequirement, LossRequirement, Profile
from tests.properties import UNTIMED

if TYPE_CHECKING:
    from collections.abc import Callable

DRAFT = Profile(
    "draft",
    (LatencyRequirement(99, 200, 500), LatencyRequirement(99.9, 300, 600)),
    LossRequirement(1, 5),
    4,
)
NAN = float("nan")

profiles = st.sampled_from(list(PROFILES.values()))
latencies = st.floats(0, 5000)
losses = st.floats(0, 100)


def test_the_drafts_example() -> None:
    scores = qoo.score(np.array([[350, 375]]), [2], DRAFT, [28])
    assert scores.items == pytest.approx(np.array([[50, 75, 75, 100]]))
    assert scores.qoo == pytest.approx([50])
    assert DRAFT.items == ("latency_p99_ms", "latency_p99.9_ms", "packet_loss_percent", "throughput_mbps")
    assert scores.limiting(0) == "latency_p99_ms"
    assert scores.missing(0) == ()
    assert scores.measured.tolist() == [[350, 375, 2, 28]]


def test_the_leo_profile() -> None:
    assert PROFILES["leo"] == Profile(
        "leo",
        (LatencyRequirement(95, 100, 200), LatencyRequirement(99, 150, 300)),
        LossRequirement(0.1, 2),
    )
    assert set(PROFILES) == {"leo", "voice", "video", "bulk"}


def test_devices_are_scored_side_by_side() -> None:
    measured = np.array([[90.0, 140], [150, 140], [90, 400], [90, 140]])
    scores = qoo.score(measured, [0, 0, 0, 1.05], PROFILES["leo"])
    assert scores.qoo == pytest.approx([100, 50, 0, 50])
    limiting = [scores.limiting(device) for device in range(4)]
    assert limiting[1:] == ["latency_p95_ms", "latency_p99_ms", "packet_loss_percent"]


@pytest.mark.parametrize(("throughput", "expected"), [(3.99, 0), (4, 100), (100, 100)])
def test_throughput_is_enough_or_not(throughput: float, expected: float) -> None:
    assert qoo.score(np.array([[10, 10]]), [0], DRAFT, [throughput]).items[0, 3] == expected


def test_what_is_missing_is_left_out_and_named() -> None:
    scores = qoo.score(np.array([[350, NAN], [NAN, NAN]]), [NAN, 1], DRAFT)
    assert scores.qoo == pytest.approx([50, 100])
    assert scores.missing(0) == ("latency_p99.9_ms", "packet_loss_percent", "throughput_mbps")
    assert scores.missing(1) == ("latency_p99_ms", "latency_p99.9_ms", "throughput_mbps")
    assert np.isnan(scores.items[0, 1:]).all()


def test_a_device_without_data_has_no_score() -> None:
    scores = qoo.score(np.array([[NAN, NAN]]), [NAN], PROFILES["leo"])
    assert np.isnan(scores.qoo).all()
    assert scores.limiting(0) is None
    assert scores.missing(0) == PROFILES["leo"].items


def test_no_device() -> None:
    assert qoo.score(np.empty((0, 2)), [], PROFILES["leo"]).qoo.shape == (0,)


@UNTIMED
@given(profiles, st.lists(latencies, min_size=4, max_size=4), losses, losses)
def test_scores_fall_with_latency_and_loss(
    profile: Profile, values: list[float], loss: float, other_loss: float
) -> None:
    width = len(profile.latency)
    pairs = np.sort(np.array(values[: 2 * width]).reshape(2, width), axis=0)
    scores = qoo.score(pairs, sorted((loss, other_loss)), profile, [30, 30])
    assert 0 <= scores.qoo[1] <= scores.qoo[0] <= 100
    assert np.all((scores.items >= 0) & (scores.items <= 100))
    assert np.array_equal(scores.qoo, scores.items.min(axis=1))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: LatencyRequirement(0, 1, 2), "percentile: expected above 0"),
        (lambda: LatencyRequirement(101, 1, 2), "percentile: expected above 0"),
        (lambda: LatencyRequirement(95, -1, 2), "rop_ms: expected 0 or more"),
        (lambda: LatencyRequirement(95, 5, 5), "cpup_ms: expected above rop_ms, 5, got 5"),
        (lambda: LatencyRequirement(95, 5, float("inf")), "cpup_ms: "),
        (lambda: LatencyRequirement(NAN, 5, 6), "percentile: "),
        (lambda: LatencyRequirement(95, NAN, 6), "rop_ms: "),
        (lambda: LatencyRequirement(95, 5, NAN), "cpup_ms: "),
        (lambda: LossRequirement(-1, 5), "rop_percent: expected 0 or more"),
        (lambda: LossRequirement(100, 101), "rop_percent: "),
        (lambda: LossRequirement(2, 2), "cpup_percent: expected above rop_percent, 2, and at most 100"),
        (lambda: LossRequirement(2, 101), "cpup_percent: "),
        (
            lambda: Profile("p", loss=LossRequirement(1, 2), minimum_throughput_mbps=0),
            "minimum_throughput_mbps",
        ),
        (lambda: Profile("", loss=LossRequirement(1, 2)), "name: "),
        (lambda: Profile("p"), "profile p: expected latency, loss or minimum_throughput_mbps"),
        (
            lambda: Profile("p", (LatencyRequirement(99, 1, 2), LatencyRequirement(95, 1, 2))),
            "latency: expected rising percentiles",
        ),
        (
            lambda: Profile("p", (LatencyRequirement(99, 1, 2), LatencyRequirement(99, 1, 3))),
            "latency: expected rising percentiles",
        ),
    ],
)
def test_a_wrong_profile_is_refused(make: Callable[[], object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize(
    ("latency", "loss", "throughput", "message"),
    [
        (np.zeros((2, 3)), [0, 0], None, r"latency_percentiles_ms: expected shape \(devices, 2\)"),
        (np.zeros((2, 2)), [0], None, r"loss_percent: expected shape \(2,\), got \(1,\)"),
        (np.zeros((2, 2)), [0, 0], [1], r"throughput_mbps: expected shape \(2,\)"),
    ],
)
def test_wrong_shapes_are_refused(
    latency: np.ndarray, loss: list[float], throughput: list[float] | None, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        qoo.score(latency, loss, DRAFT, throughput)
