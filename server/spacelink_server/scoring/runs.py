"""When devices were up and down, found from samples.

Time is in integer nanoseconds since 1970-01-01 UTC and in half-open ranges.

What a sample says holds until the next one. Where that is more than max_gap
away, it holds for as long as the one before it did, or not at all where that
was more than max_gap too; from then on the state is unknown. At a steady
interval of reports, silence thus begins when the first missing report was due.
Of several samples of one time, one that says down counts.

Most samples only repeat what the ones around them say. `sightings` leaves these
out, so that those of years fit into memory, and those of parts can be put
together to what the whole gives.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
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


@dataclass(frozen=True, slots=True, eq=False)
class Sightings:
    """The samples that decide about when devices were up and down, n of them in any order.

    Attributes:
        device: int64 of shape (n,).
        time_ns: int64 of shape (n,), no two of one device alike.
        is_down: bool of shape (n,).
        is_steady: bool of shape (n,), whether up to the device's next one there
            are samples that say the same, none further than max_gap behind another.
    """

    device: Moments
    time_ns: Moments
    is_down: NDArray[np.bool_]
    is_steady: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.time_ns)

    @classmethod
    def none(cls) -> Sightings:
        """Give none at all."""
        no_moments, no_facts = np.empty(0, np.int64), np.empty(0, np.bool_)
        return cls(no_moments, no_moments, no_facts, no_facts)

    @classmethod
    def concatenate(cls, parts: Sequence[Sightings]) -> Sightings:
        """Put together what was seen in parts of time that do not overlap, or of different devices."""
        return cls(
            *(np.concatenate([getattr(part, f.name) for part in (cls.none(), *parts)]) for f in fields(cls))
        )

    def take(self, rows: NDArray[Any]) -> Sightings:
        """Give the sightings of an index array or a mask."""
        return Sightings(self.device[rows], self.time_ns[rows], self.is_down[rows], self.is_steady[rows])

    def in_order(self) -> Sightings:
        """Sort by device, then by time."""
        return self.take(np.lexsort((self.time_ns, self.device)))


def samples_needed(start_ns: int, end_ns: int, max_gap_ns: int) -> tuple[int, int]:
    """Give the range whose samples decide about a range's runs."""
    return start_ns - 2 * max_gap_ns, end_ns + max_gap_ns


def sightings(samples: Samples, max_gap_ns: int) -> Sightings:
    """Leave out the samples that only repeat what those around them say.

    Of samples that follow one another no further than max_gap apart and say the
    same, the first is kept and the last two: how far these are apart is for how
    long the last one holds.

    Args:
        samples: in any order; each time of a device is in one call only.
        max_gap_ns: see Sla.
    """
    known = samples.take(samples.is_known())
    is_down = known.is_down()
    order = np.lexsort((is_down, known.time_unix_nano, known.device))
    device, time, is_down = known.device[order], known.time_unix_nano[order], is_down[order]
    is_last = np.ones(len(time), np.bool_)
    is_last[:-1] = (device[1:] != device[:-1]) | (time[1:] != time[:-1])
    device, time, is_down = device[is_last], time[is_last], is_down[is_last]
    # Whether each is followed by one that says the same; shifted by one and by two, too.
    follows = np.zeros(len(time) + 2, np.bool_)
    follows[1:-2] = (
        (device[1:] == device[:-1]) & (is_down[1:] == is_down[:-1]) & (np.diff(time) <= max_gap_ns)
    )
    is_steady = follows[1:-1]
    repeats = follows[:-2] & is_steady & follows[2:]
    return Sightings(device, time, is_down, is_steady).take(~repeats)


def runs(seen: Sightings, devices: int, start_ns: int, end_ns: int, max_gap_ns: int) -> Runs:
    """Find when devices were up and down.

    Args:
        seen: all within samples_needed; others do no harm.
        devices: how many there are.
        start_ns: the runs' beginning.
        end_ns: their end; not in the future.
        max_gap_ns: that of the sightings.
    """
    ordered = seen.in_order()
    held = _held_ns(ordered, max_gap_ns)
    spans = Spans(ordered.device, ordered.time_ns, ordered.time_ns + held).clipped(start_ns, end_ns)
    is_there = spans.length_ns > 0
    up = spans.take(is_there & ~ordered.is_down).joined()
    return Runs(devices, start_ns, end_ns, up, spans.take(is_there & ordered.is_down).joined())


def _held_ns(seen: Sightings, max_gap_ns: int) -> Moments:
    """Tell how long each sighting holds; they are in order."""
    gaps = np.diff(seen.time_ns)
    is_silence = (gaps > max_gap_ns) & ~seen.is_steady[:-1]
    gaps[(seen.device[1:] != seen.device[:-1]) | is_silence] = 0
    after = np.append(gaps, 0)[: len(seen)]
    before = np.insert(gaps, 0, 0)[: len(seen)]
    return np.where(after > 0, after, before)
