"""What is measured of devices in a range of time, as arrays that scoring takes."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from spacelink._wire import BatchView
from spacelink.v1.telemetry_pb2 import DeviceStatus
from spacelink_server.scoring import emodel, qoo, window
from spacelink_server.scoring.samples import Samples

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from spacelink.columns import TelemetryColumns
    from spacelink_server.storage.segments import Segment

    Counts = NDArray[np.int64]
    Numbers = NDArray[np.float64]

# A terminal's own metric that marks a sample as part of a capacity test: 1 while
# one runs. The downlink of all other samples is usage.
CAPACITY_TEST = "capacity_test"

# What measures are made of, beside the status, and what samples_of takes.
MEASURED = ("latency_ms", "packet_loss_percent", "downlink_mbps", CAPACITY_TEST)
SEEN = ("latency_ms", "packet_loss_percent")

_MISSING = np.array([np.nan], "<f4").tobytes()

# What voice is scored with: the codec that most telephone systems agree on.
VOICE_CODEC = "g711_plc"

# Cells of a matrix of samples: 16 MB, a day of a terminal at 1 Hz forty times over.
_MAX_CELLS = 4_000_000


@dataclass(frozen=True, slots=True, eq=False)
class Measures:
    """What was measured, of each of n devices or of n times of one device; arrays of shape (n,).

    Attributes:
        sample_count: how many samples.
        offline_count: how many of them say that the terminal is offline.
        last_time: the newest sample's time in nanoseconds since 1970 UTC; 0 where there is none.
        latency_percentiles_ms: shape (n, percentiles) of round-trip time; NaN where there is none.
        latency_mean_ms: mean round-trip time; NaN where there is none.
        loss_percent: mean packet loss; NaN where there is none.
        burst_ratio: of the loss; NaN where it is not known.
        throughput_mbps: median downlink of capacity tests; NaN where there was none.
    """

    sample_count: Counts
    offline_count: Counts
    last_time: Counts
    latency_percentiles_ms: Numbers
    latency_mean_ms: Numbers
    loss_percent: Numbers
    burst_ratio: Numbers
    throughput_mbps: Numbers

    def __len__(self) -> int:
        return len(self.sample_count)

    @classmethod
    def join(cls, parts: Sequence[Measures]) -> Measures:
        """Put measures one behind the other; at least one part."""
        return cls(*(np.concatenate([getattr(part, f.name) for part in parts]) for f in fields(cls)))

    def select(self, given: Sequence[float], wanted: Sequence[float]) -> Measures:
        """Keep some of the given percentiles of latency."""
        columns = [given.index(percentile) for percentile in wanted]
        return replace(self, latency_percentiles_ms=self.latency_percentiles_ms[:, columns])

    def scores(self, profile: qoo.Profile) -> qoo.Scores:
        """Score by a profile whose percentiles these are."""
        return qoo.score(self.latency_percentiles_ms, self.loss_percent, profile, self.throughput_mbps)


@dataclass(frozen=True, slots=True, eq=False)
class Voice:
    """Voice quality; float64 of shape (n,), NaN where an input is missing."""

    one_way_delay_ms: Numbers
    r_factor: Numbers
    mos: Numbers


def voice(measures: Measures) -> Voice:
    """Score calls by the E-model."""
    codec = emodel.CODECS[VOICE_CODEC]
    delay = emodel.one_way_delay_ms(measures.latency_mean_ms, codec)
    r = emodel.r_factor(
        delay, measures.loss_percent, ie=codec.ie, bpl=codec.bpl, burst_ratio=measures.burst_ratio
    )
    return Voice(delay, r, emodel.mos(r))


def measure(columns: TelemetryColumns, rows: Counts, count: int, percentiles: Sequence[float]) -> Measures:
    """Measure the samples of one device.

    Args:
        columns: n samples in time order.
        rows: shape (n,), which of the times each sample belongs to, from 0; not falling.
        count: how many times there are.
        percentiles: those of latency that are wanted, 0 to 100.
    """
    ends = np.cumsum(np.bincount(rows, minlength=count))
    first = np.append(0, ends)
    parts = [
        _measure(columns.take(slice(first[begin], first[end])), first[begin : end + 1], percentiles)
        for begin, end in _blocks(first)
    ]
    return Measures.join([nothing(0, percentiles), *parts])


def nothing(count: int, percentiles: Sequence[float]) -> Measures:
    """Give what is measured where there are no samples."""
    zeros = np.zeros(count, np.int64)
    missing = np.full(count, np.nan)
    latency = np.full((count, len(percentiles)), np.nan)
    return Measures(zeros, zeros, zeros, latency, missing, missing, missing, missing)


def metric(columns: TelemetryColumns, name: str) -> NDArray[np.float32]:
    """Give a metric's values; NaN for all where it was not measured."""
    values = columns.metrics.get(name)
    return np.full(len(columns), np.nan, np.float32) if values is None else values


def samples_of(device: int, columns: TelemetryColumns) -> Samples:
    """Give one device's samples to availability and to detection."""
    return Samples.of_device(
        device,
        columns.time_unix_nano,
        latency_ms=columns.metrics.get("latency_ms"),
        packet_loss_percent=columns.metrics.get("packet_loss_percent"),
        status=columns.status,
    )


def live_samples(devices: Sequence[int], segments: Sequence[Segment]) -> Samples:
    """Give the samples of segments just committed to detection.

    Of small segments there are thousands a second: their bytes are joined and
    looked at once, which takes a tenth of decoding each.

    Args:
        devices: the number of each segment's device.
        segments: at least one.
    """
    views = [_parsed(segment.payload) for segment in segments]
    counts = [segment.sample_count for segment in segments]

    def column(name: str, missing: bytes) -> bytes:
        return b"".join(
            [getattr(view, name) or missing * count for view, count in zip(views, counts, strict=True)]
        )

    return Samples(
        np.repeat(np.array(devices, np.int64), counts),
        np.frombuffer(column("time_unix_nano", b""), "<i8"),
        np.frombuffer(column("latency_ms", _MISSING), "<f4"),
        np.frombuffer(column("packet_loss_percent", _MISSING), "<f4"),
        np.frombuffer(column("status", b"\0"), np.uint8),
    )


def _parsed(payload: bytes) -> Any:
    view = BatchView()
    view.ParseFromString(payload)
    return view


def _is_offline(columns: TelemetryColumns) -> NDArray[np.bool_]:
    if columns.status is None:
        return np.zeros(len(columns), np.bool_)
    offline: NDArray[np.bool_] = columns.status == DeviceStatus.DEVICE_STATUS_OFFLINE
    return offline


def _blocks(first: Counts) -> Iterator[tuple[int, int]]:
    """Cut rows so that a matrix of a block's samples stays small, however uneven the rows are."""
    begin, widest = 0, 0
    sizes = np.diff(first).tolist()
    for row, size in enumerate(sizes):
        if row > begin and max(widest, size) * (row + 1 - begin) > _MAX_CELLS:
            yield begin, row
            begin, widest = row, 0
        widest = max(widest, size)
    if sizes:
        yield begin, len(sizes)


def _measure(columns: TelemetryColumns, first: Counts, percentiles: Sequence[float]) -> Measures:
    """Measure a block of rows; first is where each one's samples begin, and where the last one's end."""
    sizes = np.diff(first)
    count = len(sizes)
    rows = np.repeat(np.arange(count), sizes)
    place = np.arange(len(columns)) - (first[:-1] - first[0])[rows]

    def matrix(values: NDArray[np.float32]) -> NDArray[np.float32]:
        cells = np.full((count, int(sizes.max())), np.nan, np.float32)
        cells[rows, place] = values
        return cells

    latency = matrix(metric(columns, "latency_ms"))
    loss = matrix(metric(columns, "packet_loss_percent"))
    loss_percent = window.mean(loss)
    tested = np.where(
        metric(columns, CAPACITY_TEST) > 0, metric(columns, "downlink_mbps"), np.float32(np.nan)
    )
    times = np.append(columns.time_unix_nano, 0)
    return Measures(
        sample_count=sizes,
        offline_count=np.bincount(rows[_is_offline(columns)], minlength=count),
        last_time=np.where(sizes > 0, times[first[1:] - first[0] - 1], 0),
        latency_percentiles_ms=window.percentiles(latency, percentiles),
        latency_mean_ms=window.mean(latency),
        loss_percent=loss_percent,
        burst_ratio=np.where(np.isnan(loss_percent), np.nan, emodel.burst_ratio(loss)),
        throughput_mbps=window.percentiles(matrix(tested), [50])[:, 0],
    )
