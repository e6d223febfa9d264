from __future__ import annotations

import tracemalloc
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spacelink_server.scoring import histogram, summary
from spacelink_server.scoring.summary import EXACT_VALUES, MetricAccumulator
from tests.properties import UNTIMED

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from spacelink_server.scoring.summary import MetricStatistics

floats = st.one_of(st.just(float("nan")), st.floats(-1e6, 1e6, width=32))


def summed(*parts: NDArray[np.float32]) -> MetricStatistics | None:
    accumulator = MetricAccumulator()
    for part in parts:
        accumulator.add(part)
    return accumulator.statistics()


def array(values: list[float]) -> NDArray[np.float32]:
    return np.array(values, np.float32)


def check_exact(statistics: MetricStatistics, values: NDArray[np.float32]) -> None:
    present = values[~np.isnan(values)].astype(np.float64)
    assert statistics.count == len(present)
    assert statistics.mean == pytest.approx(present.mean(), rel=1e-12, abs=1e-9)
    assert (statistics.minimum, statistics.maximum) == (present.min(), present.max())
    assert statistics.percentiles == tuple(np.quantile(present, [0.5, 0.95, 0.99]))
    assert statistics.percentile_relative_error == 0


@UNTIMED
@given(st.lists(st.lists(floats, max_size=8).map(array), max_size=5))
def test_statistics_are_numpys(parts: list[NDArray[np.float32]]) -> None:
    values = np.concatenate([*parts, array([])])
    statistics = summed(*parts)
    if np.isnan(values).all():
        assert statistics is None
    else:
        assert statistics is not None
        check_exact(statistics, values)


def test_no_values() -> None:
    assert summed() is None
    assert summed(array([]), array([float("nan")])) is None


def test_nan_is_left_out() -> None:
    statistics = summed(array([float("nan"), 3, float("nan"), 1]))
    assert statistics is not None
    assert (statistics.count, statistics.mean, statistics.minimum, statistics.maximum) == (2, 2, 1, 3)
    assert statistics.percentiles[0] == 2


def test_the_largest_values_do_not_overflow() -> None:
    largest = float(np.finfo(np.float32).max)
    statistics = summed(array([largest] * 1000))
    assert statistics is not None
    assert statistics.mean == pytest.approx(largest)
    assert statistics.percentiles == (largest, largest, largest)


def test_what_was_taken_in_may_change_afterwards() -> None:
    values = array([1, 2, 3])
    accumulator = MetricAccumulator()
    accumulator.add(values)
    values[:] = 100
    statistics = accumulator.statistics()
    assert statistics is not None
    assert statistics.percentiles[0] == 2


def test_exact_up_to_the_bound_and_a_histogram_past_it() -> None:
    values = np.random.default_rng(1).lognormal(3, 1, EXACT_VALUES + 2).astype(np.float32)
    accumulator = MetricAccumulator()
    accumulator.add(values[:EXACT_VALUES])
    exact = accumulator.statistics()
    assert exact is not None
    check_exact(exact, values[:EXACT_VALUES])
    for end in (EXACT_VALUES + 1, EXACT_VALUES + 2):
        accumulator.add(values[end - 1 : end])
        statistics = accumulator.statistics()
        assert statistics is not None
        check_estimated(statistics, values[:end])


def check_estimated(statistics: MetricStatistics, values: NDArray[np.float32]) -> None:
    assert statistics.count == len(values)
    assert statistics.mean == pytest.approx(values.mean(dtype=np.float64))
    assert (statistics.minimum, statistics.maximum) == (values.min(), values.max())
    assert statistics.percentile_relative_error == histogram.RELATIVE_ERROR
    exact = tuple(np.quantile(values.astype(np.float64), [0.5, 0.95, 0.99]))
    assert statistics.percentiles == pytest.approx(exact, rel=histogram.RELATIVE_ERROR)
    assert statistics.percentiles != exact


def test_parts_do_not_matter_past_the_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(summary, "EXACT_VALUES", 100)
    values = np.random.default_rng(2).normal(0, 50, 300).astype(np.float32)
    whole = summed(values)
    pieces = summed(*np.array_split(values, 77))
    assert whole is not None
    assert pieces is not None
    assert pieces.percentiles == whole.percentiles
    assert pieces.mean == pytest.approx(whole.mean)


def test_estimates_stay_within_what_was_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(summary, "EXACT_VALUES", 1)
    statistics = summed(array([42.0, 42.0, 42.0]))
    assert statistics is not None
    assert statistics.percentiles == (42.0, 42.0, 42.0)


def test_the_error_holds_where_a_percentile_falls_between_values_far_apart(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(summary, "EXACT_VALUES", 1)
    statistics = summed(array([1, 1, 100, 100]))
    assert statistics is not None
    assert statistics.percentiles[0] == pytest.approx(50.5, rel=statistics.percentile_relative_error)


@pytest.mark.parametrize("size", [1, 1000])
def test_memory_is_that_of_the_values(size: int) -> None:
    """Many small parts must not cost more than a few large ones."""
    part = np.ones(size, np.float32)
    count = 5_000 // size
    accumulator = MetricAccumulator()
    tracemalloc.start()
    try:
        for _ in range(count):
            accumulator.add(part)
        used, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert used < 10 * count * size


def test_values_beside_a_histogram_are_not_kept() -> None:
    """They go into it in the end: until then as few are held as pays."""
    rolled_up = np.array([1, 2, 3, 4], np.float32)
    counts = histogram.counts(rolled_up)
    accumulator = MetricAccumulator()
    buckets = np.flatnonzero(counts)
    accumulator.add_histogram((4, 10.0, 1.0, 4.0), buckets, counts[buckets])
    hour = np.random.default_rng(5).normal(30, 2, 3600).astype(np.float32)
    tracemalloc.start()
    try:
        for _ in range(100):
            accumulator.add(hour)
        used, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert used < 300_000
    statistics = accumulator.statistics()
    assert statistics is not None
    assert statistics.count == 360_004
    assert statistics.percentiles[0] == pytest.approx(np.median(hour), rel=histogram.RELATIVE_ERROR)
