"""Mergeable histograms of float32 values.

The buckets are those of OpenTelemetry's base-2 exponential histogram
(opentelemetry.io/docs/specs/otel/metrics/data-model, "ExponentialHistogram"):
with base = 2**(2**-SCALE), bucket i holds the magnitudes in
(base**i, base**(i+1)]. Here the buckets of negative values, the one of zeros
and those of positive values stand in one array, in the order of the values.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

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


def combined(
    buckets: NDArray[np.integer[Any]], counts: NDArray[np.integer[Any]]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Add up histograms that have only the buckets that hold something.

    Args:
        buckets: integers of shape (n,), of all histograms, in any order.
        counts: likewise, how many values are in each.

    Returns:
        Buckets and counts of the sum, int64, both of shape (m,); buckets rise.
    """
    kept, place = np.unique(buckets, return_inverse=True)
    return kept.astype(np.int64), np.bincount(place, counts, len(kept)).astype(np.int64)


def quantiles(histogram: NDArray[np.int64], probabilities: NDArray[np.float64]) -> NDArray[np.float64]:
    """Estimate quantiles; see sparse_quantiles.

    Args:
        histogram: shape (BUCKETS,) with at least one value counted.
        probabilities: shape (k,), within 0 to 1.

    Returns:
        Shape (k,).
    """
    held = np.flatnonzero(histogram)
    return sparse_quantiles(held, histogram[held], probabilities)


def sparse_quantiles(
    buckets: NDArray[np.int64], counts: NDArray[np.int64], probabilities: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Estimate quantiles, linearly interpolated between closest ranks.

    Each is at most RELATIVE_ERROR off that of the values, unless it lies between
    values of different signs.

    Args:
        buckets: shape (n,), rising, at least one.
        counts: shape (n,), how many values are in each; positive.
        probabilities: shape (k,), within 0 to 1.

    Returns:
        Shape (k,).
    """
    cumulative = np.cumsum(counts)
    ranks = probabilities * (cumulative[-1] - 1)
    values = representatives(buckets)
    lower = values[np.searchsorted(cumulative, np.floor(ranks), side="right")]
    upper = values[np.searchsorted(cumulative, np.ceil(ranks), side="right")]
    estimates: NDArray[np.float64] = lower + (upper - lower) * (ranks % 1)
    return estimates


def representatives(buckets: NDArray[np.int64]) -> NDArray[np.float64]:
    """Give the value that stands for each bucket.

    The harmonic mean of a bucket's bounds is equally far from both, relatively.
    """
    position = buckets - _MAGNITUDES
    upper = np.exp2(np.abs(position) / 2**SCALE + _LOWEST_EXPONENT)
    lower = np.exp2((np.abs(position) - 1) / 2**SCALE + _LOWEST_EXPONENT)
    middles: NDArray[np.float64] = np.sign(position) * 2 * lower * upper / (lower + upper)
    return middles
