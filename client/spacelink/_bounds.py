"""What a server stores: the bounds of values and times, which a client can look at before it sends."""

from __future__ import annotations

from spacelink.columns import METRICS

PERCENTS = ("packet_loss_percent", "obstruction_percent")
NOT_NEGATIVE = ("latency_ms", "jitter_ms", "downlink_mbps", "uplink_mbps")

# 1990-01-01T00:00:00Z. Earlier times come from clocks that were never set.
EARLIEST_NANOS = 631_152_000 * 1_000_000_000
# A terminal's clock may be off by a time zone, not by more.
LEAD_NANOS = 86_400 * 1_000_000_000

# Metrics of a batch without a column of their own.
MAX_EXTRA = 64

# Names that no such metric can have.
RESERVED = frozenset((*METRICS, "status", "time", "device_id", "sequence", "time_unix_nano", "extra"))
