"""A healthy link that does not exist, at 1 Hz."""

from __future__ import annotations

import numpy as np

from spacelink_server.scoring.degradation import FIRST_BOUNDARY_NS, SLOT_NS
from spacelink_server.scoring.samples import SECOND_NS, Samples

# 1 March 2026, at the beginning of a slot.
START_NS = 1_772_323_200 * SECOND_NS + FIRST_BOUNDARY_NS


def healthy(seconds: int, seed: int = 1) -> Samples:
    """Give samples whose latency has a level per slot, and which lose a little after handovers."""
    random = np.random.default_rng(seed)
    second = np.arange(seconds)
    slot = second // (SLOT_NS // SECOND_NS)
    level = random.normal(28, 4, slot[-1] + 1)[slot]
    latency = level + random.gamma(2, 2, seconds)
    is_lossy = (second % 15 < 2) & (random.random(seconds) < 0.1)
    loss = np.where(is_lossy, random.choice([6.25, 12.5], seconds), 0)
    return Samples.of_device(
        0,
        START_NS + second * SECOND_NS + random.integers(0, 50_000_000, seconds),
        latency_ms=latency.astype(np.float32),
        packet_loss_percent=loss.astype(np.float32),
    )
