"""Statistics of many groups of values in one pass."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from spacelink_server.scoring import histogram

if TYPE_CHECKING:
    from numpy.typing import NDArray


class GroupStatistics(NamedTuple):
    """Statistics of g groups; each array has shape (g,).

    Attributes:
        counts: int64, how many values.
        sums: float64, their sum.
        minima: float64, the smallest; NaN where there are none.
        maxima: float64, the largest; NaN where there are none.
    """

    counts: NDArray[np.int64]
    sums: NDArray[np.float64]
    minima: NDArray[np.float64]
    maxima: NDArray[np.float64]


class GroupHistograms(NamedTuple):
    """Histograms of g groups, with only the buckets that hold something.

    Attributes:
        offsets: int64 of shape (g + 1,); group i has the entries from offsets[i]
            to offsets[i + 1].
        buckets: int64 of shape (n,), rising within a group.
        counts: int64 of shape (n,), positive.
    """

    offsets: NDArray[np.int64]
    buckets: NDArray[np.int64]
    counts: NDArray[np.int64]


def statistics(values: NDArray[np.float32], group: NDArray[np.int64], count: int) -> GroupStatistics:
    """Sum up each group.

    Args:
        values: shape (n,), without NaN.
        group: shape (n,), the group of each value, never falling.
        count: how many groups there are.
    """
    found = GroupStatistics(
        np.bincount(group, minlength=count),
        np.zeros(count),
        np.full(count, np.nan),
        np.full(count, np.nan),
    )
    if len(values):
        starts = np.flatnonzero(np.diff(group, prepend=-1))
        present = group[starts]
        found.sums[present] = np.add.reduceat(values.astype(np.float64), starts)
        found.minima[present] = np.minimum.reduceat(values, starts)
        found.maxima[present] = np.maximum.reduceat(values, starts)
    return found


def histograms(values: NDArray[np.float32], group: NDArray[np.int64], count: int) -> GroupHistograms:
    """Count the values of each group into buckets; see statistics."""
    key, counts = np.unique(group * histogram.BUCKETS + histogram.buckets(values), return_counts=True)
    owner, buckets = np.divmod(key, histogram.BUCKETS)
    offsets = np.searchsorted(owner, np.arange(count + 1))
    return GroupHistograms(offsets, buckets, counts)


def quantiles(
    group: NDArray[np.int64],
    buckets: NDArray[np.int64],
    counts: NDArray[np.int64],
    size: int,
    probabilities: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Estimate the quantiles of each group from parts of its histogram; see histogram.sparse_quantiles.

    Args:
        group: shape (n,), the group of each entry, in any order.
        buckets: shape (n,); a bucket may come several times.
        counts: shape (n,), how many values an entry stands for; positive.
        size: how many groups there are.
        probabilities: shape (k,), within 0 to 1.

    Returns:
        Shape (size, k); NaN where a group has no value.
    """
    found = np.full((size, len(probabilities)), np.nan)
    if not len(group):
        return found
    # Values of one kind lie in a few hundred buckets, so a table is faster than sorting.
    low, high = int(buckets.min()), int(buckets.max())
    width = high - low + 1
    table = np.bincount(group * width + (buckets - low), counts, size * width).reshape(size, width)
    cumulative = np.cumsum(table, axis=1)
    totals = cumulative[:, -1]
    values = histogram.representatives(np.arange(low, high + 1))
    for column, probability in enumerate(probabilities.tolist()):
        ranks = probability * np.maximum(totals - 1, 0)
        lower = values[np.minimum((cumulative <= np.floor(ranks)[:, None]).sum(axis=1), width - 1)]
        upper = values[np.minimum((cumulative <= np.ceil(ranks)[:, None]).sum(axis=1), width - 1)]
        found[:, column] = lower + (upper - lower) * (ranks % 1)
    found[totals == 0] = np.nan
    return found
