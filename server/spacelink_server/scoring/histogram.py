"""Mergeable histograms of float32 values.

The buckets are those of OpenTelemetry's base-2 exponential histogram
(opentelemetry.io/docs/specs/otel/metrics/data-model, "ExponentialHistogram"):
with base = 2**(2**-SCALE), bucket i holds the magnitudes in
(base**i, base**(i+1)]. Here the buckets of negative values, the one of zeros
and those of positive values stand in one array, in the order of the values.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

# The lowest scale at which the value standing for a bucket is at most 1 % off
# any value in it: (base - 1) / (base + 1) is 0.0054 at 6 and 0.0108 at 5.
SCALE = 6
RELATIVE_ERROR = 0.01

# float32 magnitudes lie in (2**-150, 2**128].
_LOWEST_EXPONENT = -150
_MAGNITUDES = (128 - _LOWEST_EXPONENT) << SCALE
BUCKETS = 2 * _MAGNITUDES + 1


def buckets(values: NDArray[np.float32]) -> NDArray[np.int64]:
    """Tell which bucket each value falls into.

    Args:
        values: shape (n,), finite.

    Returns:
        Shape (n,), from 0 to BUCKETS - 1.
    """
    result = np.full(len(values), _MAGNITUDES, np.int64)
    at = np.flatnonzero(values)
    magnitudes = np.abs(values[at]).astype(np.float64)
    rank = np.ceil((np.log2(magnitudes) - _LOWEST_EXPONENT) * 2**SCALE).astype(np.int64)
    result[at] += np.sign(values[at]).astype(np.int64) * rank
    return result


def counts(values: NDArray[np.float32]) -> NDArray[np.int64]:
    """Count values into buckets.

    Args:
        values: shape (n,), finite.

    Returns:
        Shape (BUCKETS,). Histograms of parts add up to that of the whole.
    """
    return np.bincount(buckets(values), minlength=BUCKETS)


def quantiles(histogram: NDArray[np.int64], probabilities: NDArray[np.float64]) -> NDArray[np.float64]:
    """Estimate quantiles, linearly interpolated between closest ranks.

    Each is at most RELATIVE_ERROR off that of the values, unless it lies between
    values of different signs.

    Args:
        histogram: shape (BUCKETS,) with at least one value counted.
        probabilities: shape (k,), within 0 to 1.

    Returns:
        Shape (k,).
    """
    cumulative = np.cumsum(histogram)
    ranks = probabilities * (cumulative[-1] - 1)
    lower = _at(np.floor(ranks), cumulative)
    upper = _at(np.ceil(ranks), cumulative)
    estimates: NDArray[np.float64] = lower + (upper - lower) * (ranks % 1)
    return estimates


def _at(ranks: NDArray[np.float64], cumulative: NDArray[np.int64]) -> NDArray[np.float64]:
    """Give the value for each rank, counted from 0."""
    return _representatives(np.searchsorted(cumulative, ranks, side="right") - _MAGNITUDES)


def _representatives(position: NDArray[np.int64]) -> NDArray[np.float64]:
    """Give the value for a bucket, counted from the one of zeros.

    The harmonic mean of a bucket's bounds is equally far from both, relatively.
    """
    upper = np.exp2(np.abs(position) / 2**SCALE + _LOWEST_EXPONENT)
    lower = np.exp2((np.abs(position) - 1) / 2**SCALE + _LOWEST_EXPONENT)
    middles: NDArray[np.float64] = np.sign(position) * 2 * lower * upper / (lower + upper)
    return middles
