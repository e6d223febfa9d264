"""When devices were up and down, found from samples.

Time is in integer nanoseconds since 1970-01-01 UTC and in half-open ranges.

What a sample says holds until the next one. Where that is more than max_gap
away, it holds for as long as the one before it did, or not at all where that
was more than max_gap too; from then on the state is unknown. At a steady
interval of reports, silence thus begins when the first missing report was due.
Of several samples of one time, one that says down counts.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from numpy.typing import NDArray

    from spacelink_server.scoring.samples import Samples

    Moments = NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class Spans:
    """Half-open stretches of time of devices, n of them.

    Attributes:
        device: int64 of shape (n,).
        start_ns: int64 of shape (n,).
        end_ns: int64 of shape (n,), above start_ns.
    """

    device: Moments
    start_ns: Moments
    end_ns: Moments

    def __len__(self) -> int:
        return len(self.device)

    @property
    def length_ns(self) -> Moments:
        """How long each is."""
        return self.end_ns - self.start_ns

    @classmethod
    def for_all(cls, devices: int, windows: Sequence[tuple[int, int]]) -> Spans:
        """Give each device the same windows, (start_ns, end_ns) each; they may overlap."""
        bounds = np.array(windows, np.int64).reshape(-1, 2)
        return cls(
            np.repeat(np.arange(devices), len(bounds)),
            np.tile(bounds[:, 0], devices),
            np.tile(bounds[:, 1], devices),
        )

    def take(self, rows: NDArray[Any]) -> Spans:
        """Give the spans of an index array or a mask."""
        return Spans(self.device[rows], self.start_ns[rows], self.end_ns[rows])

    def clipped(self, start_ns: int, end_ns: int) -> Spans:
        """Cut spans to a range; what lies beside it becomes empty, of a length of 0 or less."""
        return Spans(self.device, np.maximum(self.start_ns, start_ns), np.minimum(self.end_ns, end_ns))

    def joined(self) -> Spans:
        """Sort and join spans that touch; they do not overlap."""
        ordered = self.take(np.lexsort((self.start_ns, self.device)))
        begins = np.ones(len(self), np.bool_)
        begins[1:] = (ordered.device[1:] != ordered.device[:-1]) | (
            ordered.start_ns[1:] != ordered.end_ns[:-1]
        )
        ends = np.roll(begins, -1)
        return Spans(ordered.device[begins], ordered.start_ns[begins], ordered.end_ns[ends])

    def overlap_ns(self, cover: Spans) -> Moments:
        """Tell how much of each span other spans of its device cover; those may overlap one another."""
        time = np.concatenate([cover.start_ns, cover.end_ns, self.start_ns, self.end_ns])
        device = np.concatenate([cover.device, cover.device, self.device, self.device])
        steps = np.repeat(np.array([1, -1, 0]), [len(cover), len(cover), 2 * len(self)])
        order = np.lexsort((time, device))
        # Between one device's last moment and the next one's first nothing is open.
        is_covered = np.cumsum(steps[order])[:-1] > 0
        covered = np.zeros(len(time), np.int64)
        covered[order[1:]] = np.cumsum(np.diff(time[order]) * is_covered)
        starts, ends = covered[2 * len(cover) :].reshape(2, -1)
        overlap: Moments = ends - starts
        return overlap

    def between(self, devices: int, start_ns: int, end_ns: int) -> Spans:
        """Give what of a range the spans leave free; they lie within it, as `joined` gives them."""
        everyone = np.arange(devices)
        device = np.concatenate([everyone, self.device])
        starts = np.concatenate([np.full(devices, start_ns), self.end_ns])
        ends = np.concatenate([self.start_ns, np.full(devices, end_ns)])
        by_start = np.lexsort((starts, device))
        by_end = np.lexsort((ends, np.concatenate([self.device, everyone])))
        free = Spans(device[by_start], starts[by_start], ends[by_end])
        return free.take(free.length_ns > 0)


@dataclass(frozen=True, slots=True, eq=False)
class Runs:
    """When devices were up and down; the rest of the time is unknown.

    Attributes:
        devices: how many there are, numbered from 0; some may have no span.
        start_ns: where the time that was looked at begins.
        end_ns: where it ends; not in the future.
        up: within that time, by device, then by time; neither overlapping nor touching.
        down: likewise.
    """

    devices: int
    start_ns: int
    end_ns: int
    up: Spans
    down: Spans


def samples_needed(start_ns: int, end_ns: int, max_gap_ns: int) -> tuple[int, int]:
    """Give the range whose samples decide about a range's runs."""
    return start_ns - 2 * max_gap_ns, end_ns + max_gap_ns


def runs(samples: Samples, devices: int, start_ns: int, end_ns: int, max_gap_ns: int) -> Runs:
    """Find when devices were up and down.

    Args:
        samples: all of those within samples_needed, in any order; others do no harm.
        devices: how many there are.
        start_ns: the runs' beginning.
        end_ns: their end; not in the future.
        max_gap_ns: see Sla.
    """
    known = samples.take(samples.is_known())
    is_down = known.is_down()
    order = np.lexsort((is_down, known.time_unix_nano, known.device))
    device, time = known.device[order], known.time_unix_nano[order]
    is_last = np.ones(len(time), np.bool_)
    is_last[:-1] = (device[1:] != device[:-1]) | (time[1:] != time[:-1])
    device, time, is_down = device[is_last], time[is_last], is_down[order][is_last]
    spans = Spans(device, time, time + _held_ns(device, time, max_gap_ns)).clipped(start_ns, end_ns)
    is_there = spans.length_ns > 0
    up = spans.take(is_there & ~is_down).joined()
    return Runs(devices, start_ns, end_ns, up, spans.take(is_there & is_down).joined())


def _held_ns(device: Moments, time: Moments, max_gap_ns: int) -> Moments:
    """Tell how long each sample holds; they are in order, no two of one time."""
    gaps = np.diff(time)
    gaps[(device[1:] != device[:-1]) | (gaps > max_gap_ns)] = 0
    after = np.append(gaps, 0)[: len(time)]
    before = np.insert(gaps, 0, 0)[: len(time)]
    return np.where(after > 0, after, before)


def joined(parts: Sequence[Runs]) -> Runs:
    """Join runs of adjoining ranges; the result is that of one range at once.

    Args:
        parts: at least one, in the order of time, of the same devices.

    Raises:
        ValueError: the ranges do not adjoin, or the numbers of devices differ.
    """
    for one, other in pairwise(parts):
        if one.end_ns != other.start_ns:
            raise ValueError(f"parts: expected one to begin at {one.end_ns}, got {other.start_ns}")
        if one.devices != other.devices:
            raise ValueError(f"parts: expected runs of {one.devices} devices, got {other.devices}")
    return Runs(
        parts[0].devices,
        parts[0].start_ns,
        parts[-1].end_ns,
        _together([part.up for part in parts]).joined(),
        _together([part.down for part in parts]).joined(),
    )


def _together(parts: Sequence[Spans]) -> Spans:
    return Spans(
        np.concatenate([part.device for part in parts]),
        np.concatenate([part.start_ns for part in parts]),
        np.concatenate([part.end_ns for part in parts]),
    )
