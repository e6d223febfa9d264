"""`bench scoring`: QoO and R of many devices in one pass, beside a plain loop over the same samples."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median

import numpy as np
from numpy.typing import NDArray

from spacelink_server.scoring import emodel, qoo, window

DEVICES = 10_000
# A minute at 1 Hz.
_SAMPLES = 60
_PROFILE = qoo.PROFILES["leo"]
_CODEC = emodel.CODECS["g711_plc"]
_PERCENTAGES = (50.0, *_PROFILE.percentiles)

Window = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Rates:
    """Samples scored a second on one core.

    Attributes:
        vectorised: by the product.
        plain: by the loop.
        difference: the largest between any two of their scores.
    """

    vectorised: float
    plain: float
    difference: float


def run(rounds: int) -> Rates:
    """Measure both; the medians of some rounds, in processor time of this thread."""
    latency, loss = _windows()
    score(latency, loss)
    vectorised = [_timed(lambda: score(latency, loss)) for _ in range(rounds)]
    rows = list(zip(latency.tolist(), loss.tolist(), strict=True))
    plain = [_timed(lambda: [_plain_score(*row) for row in rows]) for _ in range(rounds)]
    difference = np.abs(np.array(score(latency, loss)).T - [_plain_score(*row) for row in rows])
    return Rates(latency.size / median(vectorised), latency.size / median(plain), float(np.max(difference)))


def score(latency_ms: Window, loss_percent: Window) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Give QoO and R of windows of shape (devices, n)."""
    percentiles = window.percentiles(latency_ms, _PERCENTAGES)
    loss = window.mean(loss_percent)
    r = emodel.r_factor(
        emodel.one_way_delay_ms(percentiles[:, 0], _CODEC),
        loss,
        ie=_CODEC.ie,
        bpl=_CODEC.bpl,
        burst_ratio=emodel.burst_ratio(loss_percent),
    )
    return qoo.score(percentiles[:, 1:], loss, _PROFILE).qoo, r


def _windows() -> tuple[Window, Window]:
    random = np.random.default_rng(1)
    shape = (DEVICES, _SAMPLES)
    # Some devices are far off, and one in a hundred samples has no latency.
    latency = random.gamma(2, 4, shape) + random.uniform(20, 150, (DEVICES, 1))
    latency[random.random(shape) < 0.01] = np.nan
    loss = np.where(random.random(shape) < 0.03, random.choice([6.25, 12.5, 50.0, 100.0], shape), 0)
    return latency.astype(np.float32), loss.astype(np.float32)


def _timed(work: Callable[[], object]) -> float:
    start = time.thread_time()
    work()
    return time.thread_time() - start


def _plain_score(latency_ms: Sequence[float], loss_percent: Sequence[float]) -> tuple[float, float]:
    """Do the same as one writes it down for one device."""
    present = sorted(value for value in latency_ms if not math.isnan(value))
    middle, *percentiles = (_plain_percentile(present, percentage) for percentage in _PERCENTAGES)
    loss = sum(loss_percent) / len(loss_percent)
    scores = [
        _plain_item(value, need.rop_ms, need.cpup_ms)
        for value, need in zip(percentiles, _PROFILE.latency, strict=True)
    ]
    if _PROFILE.loss is not None:
        scores.append(_plain_item(loss, _PROFILE.loss.rop_percent, _PROFILE.loss.cpup_percent))
    return min(scores), _plain_r(middle, loss, _plain_burst_ratio(loss_percent))


def _plain_percentile(ordered: Sequence[float], percentage: float) -> float:
    rank = percentage / 100 * (len(ordered) - 1)
    below = math.floor(rank)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (ordered[above] - ordered[below]) * (rank - below)


def _plain_item(value: float, rop: float, cpup: float) -> float:
    return 100 * min(max(1 - (value - rop) / (cpup - rop), 0), 1)


def _plain_burst_ratio(loss_percent: Sequence[float]) -> float:
    lost = runs = before = 0.0
    for loss in loss_percent:
        lost += loss
        runs += max(loss - before, 0)
        before = loss
    return max(lost / runs * (1 - lost / 100 / len(loss_percent)), 1) if runs else 1.0


def _plain_r(rtt_ms: float, loss: float, burst_ratio: float) -> float:
    delay = rtt_ms / 2 + emodel.JITTER_BUFFER_MS + _CODEC.delay_ms
    idd = 0.0
    if delay > 100:
        x = math.log2(delay / 100)
        idd = 25 * ((1 + x**6) ** (1 / 6) - 3 * (1 + (x / 3) ** 6) ** (1 / 6) + 2)
    effective = _CODEC.ie + (95 - _CODEC.ie) * loss / (loss / burst_ratio + _CODEC.bpl)
    return max(93.2 - idd - effective, 0)
