"""`bench health`: the score of each minute of recordings."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bench.recording import Recording
from spacelink_server.scoring import qoo, window
from spacelink_server.scoring.samples import SECOND_NS

_MINUTE_NS = 60 * SECOND_NS
PERCENTAGES = (0, 1, 5, 25, 50, 75, 100)


@dataclass(frozen=True, slots=True)
class Health:
    """How the minutes of a recording scored.

    Attributes:
        recording: the file's name.
        minutes: from the first to the last sample.
        scored: minutes with a score.
        empty: minutes without a sample.
        percentiles: of the scores, at PERCENTAGES.
        limiting: how many minutes below 100 each item held down.
    """

    recording: str
    minutes: int
    scored: int
    empty: int
    percentiles: tuple[float, ...]
    limiting: dict[str, int]


def run(recording: Recording, profile: qoo.Profile) -> Health:
    """Score each minute of a recording."""
    samples = recording.samples
    minute = (samples.time_unix_nano - samples.time_unix_nano[0] // _MINUTE_NS * _MINUTE_NS) // _MINUTE_NS
    latency = _by_minute(minute, samples.latency_ms)
    loss = _by_minute(minute, samples.packet_loss_percent)
    scores = qoo.score(window.percentiles(latency, profile.percentiles), window.mean(loss), profile)
    scored = ~np.isnan(scores.qoo)
    held_down = [scores.limiting(device) for device in np.flatnonzero(scored & (scores.qoo < 100)).tolist()]
    return Health(
        recording.name,
        len(scored),
        int(scored.sum()),
        len(scored) - len(np.unique(minute)),
        tuple(np.percentile(scores.qoo[scored], PERCENTAGES).tolist()),
        {item: held_down.count(item) for item in profile.items},
    )


def _by_minute(minute: NDArray[np.int64], values: NDArray[np.float32]) -> NDArray[np.float32]:
    """Lay values, in order, out by minute; minutes are padded with NaN."""
    place = np.arange(len(minute)) - np.searchsorted(minute, minute)
    table = np.full((int(minute[-1]) + 1, int(place.max()) + 1), np.nan, np.float32)
    table[minute, place] = values
    return table
