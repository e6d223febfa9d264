"""The SDK of SpaceLink, the gateway for fleets of satellite terminals.

    from spacelink import SpaceLinkClient

    with SpaceLinkClient("127.0.0.1:50051") as client:
        client.ingest("dish-01", times, latency_ms=latency, status="ACTIVE")
        columns = client.query_telemetry("dish-01", as_columns=True)["dish-01"]

AsyncSpaceLinkClient has the same calls for asyncio; AdminClient and
AsyncAdminClient speak to the admin plane. Token reads and narrows capability
tokens offline. Errors are children of SpaceLinkError; all of them are in
spacelink.errors, what the calls about access return in spacelink.records, what
those about partners and webhooks return in spacelink.partners, and what those
about networks take and return in spacelink.networks.
"""

from spacelink._async_client import AsyncSpaceLinkClient
from spacelink._blocking_client import SpaceLinkClient
from spacelink.admin_client import AdminClient, AsyncAdminClient
from spacelink.columns import METRICS, TelemetryColumns
from spacelink.errors import InvalidTokenError, SpaceLinkError
from spacelink.results import MetricSummary, TelemetrySummary, TelemetryUpdate
from spacelink.token import Token

__all__ = [
    "METRICS",
    "AdminClient",
    "AsyncAdminClient",
    "AsyncSpaceLinkClient",
    "InvalidTokenError",
    "MetricSummary",
    "SpaceLinkClient",
    "SpaceLinkError",
    "TelemetryColumns",
    "TelemetrySummary",
    "TelemetryUpdate",
    "Token",
]
