"""When each batch was acked, and how long after it was sent."""

from __future__ import annotations

import math
import socket
import struct
import time
from array import array
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np

from bench.load.spec import LoadInterval, LoadResult, LoadSpec

# tcpi_bytes_acked in Linux' struct tcp_info: what the other side has received, resent bytes once.
_BYTES_ACKED = struct.Struct("=120xQ")

# The median, what one of a hundred exceeds, and the largest.
_PERCENTILES = (50, 99, 100)


class AckLog:
    """Collects acks; one entry for each batch."""

    def __init__(self, spec: LoadSpec) -> None:
        self._spec = spec
        self._acked_at = array("d")
        self._latency = array("d")
        self._reported = 0
        self.exhausted = False
        self.start()

    def start(self) -> None:
        """Start the clock: the warm-up begins."""
        self._measured_from = time.perf_counter() + self._spec.warmup
        self.deadline = self._measured_from + self._spec.seconds
        self._cpu_before = time.process_time()

    def add(self, sent_at: float, acked_at: float) -> None:
        """Note the ack of one batch, times as of perf_counter."""
        self._acked_at.append(acked_at)
        self._latency.append(acked_at - sent_at)

    def interval(self) -> Callable[[], LoadInterval]:
        """Take what was acked since the last call; what is given sums it up, on any thread."""
        latency = self._latency[self._reported :]
        self._reported += len(latency)
        return partial(_summed_up, latency, self._spec.batch_size)

    def result(self) -> LoadResult:
        """Sum up; call it while the connections are still open."""
        acked_at, latency = np.array(self._acked_at), np.array(self._latency)
        end = min(self.deadline, float(acked_at.max())) if self.exhausted else self.deadline
        measured = (acked_at >= self._measured_from) & (acked_at <= end)
        if not measured.any():
            raise RuntimeError("nothing was acked in the measured part")
        p50, p99, longest = np.percentile(latency[measured] * 1000, _PERCENTILES)
        return LoadResult(
            seconds=end - self._measured_from,
            measured_samples=int(measured.sum()) * self._spec.batch_size,
            acked_samples=len(acked_at) * self._spec.batch_size,
            wire_bytes=_tcp_bytes_sent(),
            latency_p50_ms=float(p50),
            latency_p99_ms=float(p99),
            latency_max_ms=float(longest),
            cpu_seconds=time.process_time() - self._cpu_before,
            exhausted=self.exhausted,
        )


def _summed_up(latency: array[float], batch_size: int) -> LoadInterval:
    if not latency:
        return LoadInterval(0, math.nan, math.nan, math.nan)
    percentiles = np.percentile(np.frombuffer(latency) * 1000, _PERCENTILES)
    return LoadInterval(len(latency) * batch_size, *percentiles.tolist())


def _tcp_bytes_sent() -> int:
    """Add up what all TCP connections of this process have delivered."""
    return sum(_delivered(int(entry.name)) for entry in list(Path("/proc/self/fd").iterdir()))


def _delivered(descriptor: int) -> int:
    try:
        connection = socket.socket(fileno=descriptor)
    except OSError:
        # Not a socket, or closed by now.
        return 0
    try:
        if connection.type != socket.SOCK_STREAM or connection.family == socket.AF_UNIX:
            return 0
        info = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _BYTES_ACKED.size)
    finally:
        # The descriptor belongs to whoever opened it.
        connection.detach()
    return int(_BYTES_ACKED.unpack(info)[0])
