"""What the values of a window come to, for many devices at once."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    Numbers = NDArray[np.float64]


def percentiles(values: NDArray[np.floating], percentages: ArrayLike) -> Numbers:
    """Give percentiles of each device's values, linearly interpolated between closest ranks.

    Args:
        values: shape (devices, n) in any order; NaN is missing.
        percentages: shape (k,), 0 to 100, such as Profile.percentiles.

    Returns:
        Shape (devices, k); NaN where a device has no value.
    """
    if not values.shape[1]:
        return np.full((len(values), np.size(percentages)), np.nan)
    # NaN sorts behind all numbers.
    in_order = np.sort(values, axis=1)
    last = np.maximum(np.sum(~np.isnan(values), axis=1) - 1, 0)
    ranks = np.asarray(percentages, np.float64) / 100 * last[:, None]
    below = np.floor(ranks).astype(np.int64)
    device = np.arange(len(values))[:, None]
    lower = in_order[device, below].astype(np.float64)
    upper = in_order[device, np.ceil(ranks).astype(np.int64)]
    interpolated: Numbers = lower + (upper - lower) * (ranks - below)
    return interpolated


def mean(values: NDArray[np.floating]) -> Numbers:
    """Give the mean of each device's values, shape (devices, n); NaN where there is none."""
    is_there = ~np.isnan(values)
    count = is_there.sum(axis=1)
    total = np.where(is_there, values, 0).sum(axis=1, dtype=np.float64)
    result: Numbers = np.divide(total, count, out=np.full(len(values), np.nan), where=count > 0)
    return result
