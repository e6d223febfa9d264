from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spacelink_server.scoring import histogram
from tests.properties import UNTIMED

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

FLOAT_MAX = float(np.finfo(np.float32).max)
SMALLEST = 2.0**-149
EXTREMES = (0.0, -0.0, SMALLEST, -SMALLEST, FLOAT_MAX, -FLOAT_MAX, 1.0, -1.0, 2.0**-126)
PROBABILITIES = np.array([0, 0.25, 0.5, 0.75, 0.95, 0.99, 1])

floats = st.one_of(
    st.sampled_from(EXTREMES),
    st.floats(width=32, allow_nan=False, allow_infinity=False),
    st.integers(-149, 127).map(lambda exponent: 2.0**exponent),
)


def array(values: Sequence[float]) -> NDArray[np.float32]:
    return np.array(values, np.float32)


def middle(value: float) -> float:
    """Give what stands for a value in its histogram."""
    (only,) = histogram.quantiles(histogram.counts(array([value])), np.array([0.5]))
    return float(only)


def bucket(value: float) -> int:
    (only,) = np.flatnonzero(histogram.counts(array([value])))
    return int(only)


def near(estimate: float, value: float) -> bool:
    return abs(estimate - value) <= histogram.RELATIVE_ERROR * abs(value)


@UNTIMED
@given(floats)
def test_a_value_is_at_most_the_error_off(value: float) -> None:
    assert near(middle(value), value)


@pytest.mark.parametrize("sign", [1, -1])
def test_random_values_of_all_magnitudes(sign: int) -> None:
    bits = np.random.default_rng(1).integers(0, 0x7F800000, 200_000, np.uint32)
    values = sign * bits.view(np.float32)
    ranks = np.linspace(0, 1, 1001)
    estimates = histogram.quantiles(histogram.counts(values), ranks)
    exact = np.quantile(values.astype(np.float64), ranks)
    assert np.all(np.abs(estimates - exact) <= histogram.RELATIVE_ERROR * np.abs(exact))


@UNTIMED
@given(st.lists(floats.map(abs), min_size=1, max_size=30))
def test_quantiles_are_those_of_the_values(values: list[float]) -> None:
    estimates = histogram.quantiles(histogram.counts(array(values)), PROBABILITIES)
    exact = np.quantile(array(values).astype(np.float64), PROBABILITIES)
    assert np.all(np.abs(estimates - exact) <= histogram.RELATIVE_ERROR * exact)


def test_a_quantile_between_two_values_far_apart() -> None:
    counts = histogram.counts(array([1, 1, 100, 100]))
    assert near(float(histogram.quantiles(counts, np.array([0.5]))[0]), 50.5)


@UNTIMED
@given(st.lists(floats, min_size=1, max_size=30))
def test_quantiles_rise(values: list[float]) -> None:
    estimates = histogram.quantiles(histogram.counts(array(values)), np.linspace(0, 1, 50))
    assert np.all(np.diff(estimates) >= -1e-12 * np.abs(estimates[1:]))


@UNTIMED
@given(st.lists(floats, max_size=20), st.lists(floats, max_size=20))
def test_histograms_add_up(one: list[float], other: list[float]) -> None:
    both = histogram.counts(array(one + other))
    assert np.array_equal(histogram.counts(array(one)) + histogram.counts(array(other)), both)
    assert both.shape == (histogram.BUCKETS,)
    assert both.sum() == len(one) + len(other)
    assert both.dtype == np.int64


@UNTIMED
@given(floats, floats)
def test_buckets_are_in_the_order_of_the_values(one: float, other: float) -> None:
    low, high = sorted((one, other))
    assert bucket(low) <= bucket(high)


@pytest.mark.parametrize("exponent", [-149, -126, -1, 0, 1, 10, 127])
def test_a_power_of_two_is_the_upper_bound_of_its_bucket(exponent: int) -> None:
    value = np.float32(2.0**exponent)
    above = float(np.nextafter(value, np.float32(np.inf)))
    below = float(np.nextafter(value, np.float32(0)))
    assert bucket(above) > bucket(float(value))
    if exponent > -126:
        assert bucket(below) == bucket(float(value))


def test_both_zeros_share_a_bucket_of_their_own() -> None:
    assert bucket(0.0) == bucket(-0.0)
    assert len({bucket(value) for value in (-SMALLEST, 0.0, SMALLEST)}) == 3
    assert middle(0.0) == 0


def test_negative_values_mirror_positive_ones() -> None:
    for value in (SMALLEST, 0.3, 1.0, 77.7, FLOAT_MAX):
        assert middle(-value) == -middle(value)
        assert bucket(-value) + bucket(value) == 2 * bucket(0.0)


def test_nothing_counted() -> None:
    counts = histogram.counts(array([]))
    assert counts.shape == (histogram.BUCKETS,)
    assert not counts.any()
