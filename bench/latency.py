"""`bench latency`: how long 64 streams wait for their acks."""

from __future__ import annotations

from bench.ingest import Series
from bench.measure import Settings
from bench.peers import Noop, SpaceLink

_STREAMS = 64
_BATCH_SIZES = (10, 1000)
# One batch under way on each stream shows the commit itself. A full window shows the queue in front of it: 64
# batches on each of 64 streams are 4096 under way, so the wait is 4096 divided by the batches acked a second.
_WINDOWS = (1, 8, 64)


def plan(seconds: float) -> list[Series]:
    """List the loads: closed loop, a small window and a full one."""
    return [
        Series(peer, Settings(size, _STREAMS, window, seconds, warmup=1.0, expected_rate=0))
        for size in _BATCH_SIZES
        for window in _WINDOWS
        for peer in (Noop(), SpaceLink())
    ]
