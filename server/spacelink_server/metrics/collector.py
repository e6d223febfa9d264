"""Reads, at each scrape, the numbers that the rooms keep; docs/operations.md lists them.

The rooms count in plain attributes. Scrapes come on threads of their own, and
see values that belong together up to the work of a moment.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.registry import Collector

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from prometheus_client.core import Metric

    from spacelink_server.access.control import AccessControl
    from spacelink_server.distribution import Distribution
    from spacelink_server.ingest.committer import Committer
    from spacelink_server.ingest.live import LiveFeed
    from spacelink_server.ingest.registry import StreamRegistry
    from spacelink_server.listeners import ServingHealth
    from spacelink_server.maintenance.maintenance import Maintenance
    from spacelink_server.networks.detection import IncidentDetection
    from spacelink_server.rpc import CallInterceptor
    from spacelink_server.webhooks.delivery import Deliverer


@dataclass(frozen=True, slots=True)
class Sources:
    """The parts of a server that count."""

    calls: CallInterceptor
    access: AccessControl
    streams: StreamRegistry
    committer: Committer
    feed: LiveFeed
    detection: IncidentDetection
    maintenance: Maintenance
    deliverer: Deliverer
    health: ServingHealth


class ServerCollector(Collector):
    """The metrics of a server, with names that begin with spacelink_."""

    def __init__(self, sources: Sources) -> None:
        """Make it with what it reads."""
        self._sources = sources

    def collect(self) -> Iterator[Metric]:
        """Give all metrics with their values of now."""
        yield from self._calls()
        yield from self._ingest()
        yield from self._commits()
        yield from self._background()

    def _calls(self) -> Iterator[Metric]:
        sources = self._sources
        calls = CounterMetricFamily(
            "spacelink_calls", "Calls that ended, by method and status code.", labels=("method", "code")
        )
        # A copy: calls end while it is read.
        for labels, count in dict(sources.calls.ended).items():
            calls.add_metric(labels, count)
        yield calls
        refused, totals = "Calls that access control refused.", sources.access.refusals.totals
        yield _counted_by("reason", "spacelink_calls_refused", refused, totals)
        yield _gauge(
            "spacelink_banned_tokens", "Tokens and signatures that are banned.", sources.access.bans.tokens
        )

    def _ingest(self) -> Iterator[Metric]:
        sources, counts = self._sources, self._sources.committer.counts
        yield _gauge("spacelink_ingest_streams", "Ingest streams that are open.", len(sources.streams))
        yield _gauge("spacelink_watchers", "WatchTelemetry calls that are open.", len(sources.feed))
        yield _counter("spacelink_batches", "Batches committed.", counts.batches)
        yield _counter("spacelink_samples", "Samples committed.", counts.samples)
        yield _counter("spacelink_payload_bytes", "Bytes of the batches committed.", counts.payload_bytes)
        rejected = "Batches of streams that can never be stored."
        yield _counted_by("reason", "spacelink_batches_rejected", rejected, counts.rejected)
        yield _counter("spacelink_batches_dropped", "Batches that producers gave up.", counts.dropped)

    def _commits(self) -> Iterator[Metric]:
        committer, counts = self._sources.committer, self._sources.committer.counts
        queued = committer.queued_bytes
        yield _gauge("spacelink_queue_bytes", "Bytes of batches that wait for their commit.", queued)
        yield _histogram("spacelink_commit_group_size", "What one commit wrote.", counts.group_sizes)
        yield _histogram("spacelink_commit_seconds", "How long commits took.", counts.commit_seconds)
        yield _histogram("spacelink_ack_seconds", "How long acks took.", counts.ack_seconds)
        yield _counter("spacelink_commit_failures", "Groups that could not be committed.", counts.failures)

    def _background(self) -> Iterator[Metric]:
        sources = self._sources
        lag = sources.maintenance.lag_seconds
        yield _gauge("spacelink_maintenance_lag_seconds", "How far maintenance is behind.", lag)
        failures = sources.maintenance.failures
        yield _counter("spacelink_maintenance_failures", "Passes of maintenance that failed.", failures)
        left_out = sources.detection.left_out
        yield _counter("spacelink_detection_left_out", "Batches not searched for incidents.", left_out)
        pending = sources.deliverer.pending
        yield _gauge("spacelink_webhooks_pending", "Events that webhooks are yet to be sent.", pending)
        attempts = "Attempts to deliver an event to a webhook."
        yield _counted_by("outcome", "spacelink_webhook_attempts", attempts, sources.deliverer.attempts)
        healthy = GaugeMetricFamily(
            "spacelink_healthy", "Whether what calls need works: 1 or 0.", labels=("part",)
        )
        for part, works in dict(sources.health.parts).items():
            healthy.add_metric((part,), works)
        yield healthy


def _counter(name: str, text: str, value: float) -> Metric:
    return CounterMetricFamily(name, text, value)


def _gauge(name: str, text: str, value: float) -> Metric:
    return GaugeMetricFamily(name, text, value)


def _counted_by(label: str, name: str, text: str, counts: Mapping[str, int]) -> Metric:
    family = CounterMetricFamily(name, text, labels=(label,))
    for value, count in dict(counts).items():
        family.add_metric((value,), count)
    return family


def _histogram(name: str, text: str, values: Distribution) -> Metric:
    buckets = zip((*map(str, values.bounds), "+Inf"), values.cumulative(), strict=True)
    return HistogramMetricFamily(name, text, list(buckets), values.sum)
