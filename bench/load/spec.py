"""What a load generator is told, and what it reports."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from bench.walk import Batch


@dataclass(frozen=True, slots=True)
class HttpTarget:
    """Where and how an HTTP peer takes batches in.

    Attributes:
        path: path and query of the request.
        headers: header lines but Host and Content-Length.
        encode: writes the body of one batch.
    """

    path: str
    headers: tuple[str, ...]
    encode: Callable[[Batch], bytes]


@dataclass(frozen=True, slots=True)
class LoadSpec:
    """One load.

    Attributes:
        host: address of the server.
        port: port of the server.
        metadata: what gRPC calls carry.
        http: how to send, or None for gRPC Ingest streams.
        batch_size: samples in a batch.
        connections: connections or streams that send at the same time.
        window: batches that each of them may have under way without an ack.
        warmup: seconds under load before the clock starts.
        seconds: seconds that are measured.
        expected_batches: how many batches to encode beforehand for HTTP.
        rate: batches a second that all streams together send; 0: as many as they can.
        report_seconds: how often to report what was acked meanwhile; 0: at the end alone.
    """

    host: str
    port: int
    metadata: tuple[tuple[str, str], ...]
    http: HttpTarget | None
    batch_size: int
    connections: int
    window: int
    warmup: float
    seconds: float
    expected_batches: int
    rate: float = 0.0
    report_seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class LoadInterval:
    """What was acked since the last report.

    Attributes:
        samples: samples acked.
        latency_p50_ms: median time from when a batch was to be sent to its ack.
        latency_p99_ms: 99th percentile of the same.
        latency_max_ms: the longest.
    """

    samples: int
    latency_p50_ms: float
    latency_p99_ms: float
    latency_max_ms: float


@dataclass(frozen=True, slots=True)
class LoadResult:
    """What was sent and acked.

    Attributes:
        seconds: length of the measured part; shorter than asked for where the
            batches encoded beforehand ran out.
        measured_samples: samples acked in the measured part.
        acked_samples: samples acked in all, with warm-up and end.
        wire_bytes: bytes sent in all, as TCP counts them: payload, framing and
            headers of the protocol, without those of TCP and IP.
        latency_p50_ms: median time from sending a batch to its ack, in the
            measured part.
        latency_p99_ms: 99th percentile of the same.
        latency_max_ms: the longest.
        cpu_seconds: processor time of the load generator in all.
        exhausted: whether the batches ran out before the time.
        acked_by_stream: the last sequence acked of each stream; none where there are no streams.
    """

    seconds: float
    measured_samples: int
    acked_samples: int
    wire_bytes: int
    latency_p50_ms: float
    latency_p99_ms: float
    latency_max_ms: float
    cpu_seconds: float
    exhausted: bool
    acked_by_stream: tuple[int, ...] = ()

    @property
    def samples_per_second(self) -> float:
        """Samples acked a second in the measured part."""
        return self.measured_samples / self.seconds
