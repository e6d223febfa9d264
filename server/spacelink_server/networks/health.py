"""The health of a network: Quality of Outcome and voice quality, per device and for all of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from spacelink_server.networks.cover import Question
from spacelink_server.networks.history import is_little
from spacelink_server.networks.measures import MEASURED, Measures, Voice, measure, nothing, voice
from spacelink_server.networks.rolled_up import rolled_up
from spacelink_server.scoring import histogram

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from spacelink_server.networks.catalog import Subject
    from spacelink_server.networks.history import History
    from spacelink_server.scoring.qoo import Scores

_MINUTE = 60 * 1_000_000_000
# What "now" covers, and up to a minute more, to begin with a minute: a minute of
# samples, and a minute for them to arrive.
NOW_NS = 2 * _MINUTE


# Of rollups a query costs as much as some hundred rows.
_ROLLED_UP_AT_ONCE = 250


@dataclass(frozen=True, slots=True, eq=False)
class Scored:
    """Devices in a range, n of them.

    Attributes:
        start: the range's start in nanoseconds since 1970 UTC.
        end: its end, exclusive.
        measures: what was measured.
        scores: Quality of Outcome.
        voice: voice quality.
        percentile_relative_error: of latency percentiles; 0 where they are exact.
    """

    start: int
    end: int
    measures: Measures
    scores: Scores
    voice: Voice
    percentile_relative_error: float

    @property
    def worst(self) -> int | None:
        """The device with the lowest score, the first of several; None where none has one."""
        found = self.scores.qoo
        return None if np.isnan(found).all() else int(np.nanargmin(found))

    @property
    def median(self) -> float | None:
        """The median of the scores; None where there is none."""
        found = self.scores.qoo[~np.isnan(self.scores.qoo)]
        return float(np.median(found)) if len(found) else None


@dataclass(frozen=True, slots=True, eq=False)
class Health:
    """The health of a network's devices.

    Attributes:
        subject: the network.
        now: in the last NOW_NS of the range, and the rest of the minute these begin in.
        window: in the whole range.
        order: the devices, first those without a score over the range, then the
            others, the worst first.
    """

    subject: Subject
    now: Scored
    window: Scored
    order: NDArray[np.int64]


async def health(history: History, tenant_id: str, subject: Subject, start: int, end: int) -> Health:
    """Score devices over the range [start, end)."""
    window = await _scored(history, tenant_id, subject, start, end)
    recent = end - NOW_NS
    now = await _scored(history, tenant_id, subject, max(start, recent - recent % _MINUTE), end)
    found = window.scores.qoo
    # Stable, so that devices with equal scores stay ordered by their ids.
    order = np.argsort(np.where(np.isnan(found), -1, found), kind="stable")
    return Health(subject, now, window, order)


async def _scored(history: History, tenant_id: str, subject: Subject, start: int, end: int) -> Scored:
    percentiles = subject.profile.percentiles

    def exact(device_ids: Sequence[str]) -> Measures:
        return Measures.join([_measured(device_id) for device_id in device_ids])

    def _measured(device_id: str) -> Measures:
        columns = history.columns(tenant_id, device_id, start, end, MEASURED)
        if columns is None:
            return nothing(1, percentiles)
        return measure(columns, np.zeros(len(columns), np.int64), 1, percentiles)

    def summed(device_ids: Sequence[str]) -> Measures:
        return rolled_up(history.store, Question(tenant_id, device_ids, start, end), percentiles)

    if is_little(len(subject.device_ids), end - start):
        parts = await history.for_each(subject.device_ids, exact)
        error = 0.0
    else:
        parts = await history.for_each(subject.device_ids, summed, _ROLLED_UP_AT_ONCE)
        error = histogram.RELATIVE_ERROR
    measures = Measures.join([nothing(0, percentiles), *parts])
    return Scored(start, end, measures, measures.scores(subject.profile), voice(measures), error)
