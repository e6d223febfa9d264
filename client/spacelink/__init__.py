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

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
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

# Where the names are from. They are imported when they are first used: gRPC and numpy
# take a third of a second, in which the command must already know what Ctrl-C means.
_MODULES = {
    "METRICS": "columns",
    "AdminClient": "admin_client",
    "AsyncAdminClient": "admin_client",
    "AsyncSpaceLinkClient": "_async_client",
    "InvalidTokenError": "errors",
    "MetricSummary": "results",
    "SpaceLinkClient": "_blocking_client",
    "SpaceLinkError": "errors",
    "TelemetryColumns": "columns",
    "TelemetrySummary": "results",
    "TelemetryUpdate": "results",
    "Token": "token",
}
# They can be reached as attributes, too.
_SUBMODULES = ("columns", "errors", "networks", "partners", "records", "results", "token")


def __getattr__(name: str) -> object:
    if name in _SUBMODULES:
        return importlib.import_module(f"spacelink.{name}")
    if name not in _MODULES:
        raise AttributeError(f"module 'spacelink' has no attribute {name!r}")
    value = getattr(importlib.import_module(f"spacelink.{_MODULES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_MODULES, *_SUBMODULES})
