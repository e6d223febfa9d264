"""Rollups out of samples: for maintenance, and for what it has not come to yet."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from spacelink_server.scoring import groups
from spacelink_server.storage.rollups import (
    DAY,
    HISTOGRAM_METRICS,
    HOUR,
    MINUTE,
    Histograms,
    MetricRollups,
    Rollups,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from spacelink.columns import TelemetryColumns

# From how many samples on a window has histograms of all metrics. One takes up
# to 4 bytes a value, and much less where values repeat: in a short window it would
# take the room of the samples themselves, which are as quick to read. Days have
# them always, or a month of a device that reports each minute would have to be
# read sample by sample.
_ALL_HISTOGRAMS_SAMPLES = {MINUTE: 2**62, HOUR: 600, DAY: 0}

_STATUS_COUNT = 5


def aggregate(devices: Sequence[TelemetryColumns], window_seconds: int) -> Rollups:
    """Sum up samples by device and window.

    Args:
        devices: the samples of a device each, in time order and each once.
        window_seconds: MINUTE, HOUR or DAY.

    Returns:
        A rollup for each window that holds a sample.
    """
    samples = [columns for columns in devices if len(columns)]
    device_ids = tuple(columns.device_id for columns in samples)
    if not samples:
        none = np.empty(0, np.int64)
        statuses = np.empty((0, _STATUS_COUNT), np.int64)
        return Rollups((), window_seconds, none, none, none, statuses, none, none, none, none)
    times = np.concatenate([columns.time_unix_nano for columns in samples])
    device = np.repeat(np.arange(len(samples)), [len(columns) for columns in samples])
    window = times // (window_seconds * 1_000_000_000)
    starts = np.flatnonzero((np.diff(window, prepend=-1) != 0) | (np.diff(device, prepend=-1) != 0))
    sample_count = np.diff(starts, append=len(times))
    group = np.repeat(np.arange(len(starts)), sample_count)
    return Rollups(
        device_ids,
        window_seconds,
        device[starts],
        window[starts] * window_seconds,
        sample_count,
        _status_counts(samples, group, len(starts)),
        times[starts],
        times[starts + sample_count - 1],
        *_gaps(times, starts),
        _metrics(samples, group, sample_count, _ALL_HISTOGRAMS_SAMPLES[window_seconds]),
    )


def _gaps(times: NDArray[np.int64], starts: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Tell the longest time between two samples of a window, and that between its last two moments."""
    gaps = np.diff(times, prepend=times[0])
    gaps[starts] = 0
    last = np.maximum.reduceat(np.where(gaps > 0, np.arange(len(times)), -1), starts)
    return np.maximum.reduceat(gaps, starts), np.where(last < 0, 0, gaps[last])


def _status_counts(
    samples: Sequence[TelemetryColumns], group: NDArray[np.int64], count: int
) -> NDArray[np.int64]:
    status = np.concatenate(
        [np.zeros(len(part), np.uint8) if part.status is None else part.status for part in samples]
    )
    cells = np.bincount(group * _STATUS_COUNT + status, minlength=count * _STATUS_COUNT)
    return cells.reshape(count, _STATUS_COUNT)


def _metrics(
    samples: Sequence[TelemetryColumns],
    group: NDArray[np.int64],
    sample_count: NDArray[np.int64],
    least: int,
) -> dict[str, MetricRollups]:
    by_device = np.split(group, np.cumsum([len(part) for part in samples])[:-1])
    names = dict.fromkeys(name for part in samples for name in part.metrics)
    found = {}
    for name in names:
        having = [index for index, part in enumerate(samples) if name in part.metrics]
        values = np.concatenate([samples[index].metrics[name] for index in having])
        present = ~np.isnan(values)
        if not present.any():
            continue
        owner = np.concatenate([by_device[index] for index in having])[present]
        values = values[present]
        summed = groups.statistics(values, owner, len(sample_count))
        if name not in HISTOGRAM_METRICS:
            kept = sample_count >= least
            values, owner = values[kept[owner]], owner[kept[owner]]
        histograms = Histograms(*groups.histograms(values, owner, len(sample_count)))
        found[name] = MetricRollups(*summed, histograms)
    return found
