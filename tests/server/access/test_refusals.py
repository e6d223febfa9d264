from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from spacelink_server.access.refusals import Refusals
from spacelink_server.errors import UnavailableError
from spacelink_server.storage import audit

if TYPE_CHECKING:
    from tests.server.installation import Installation

READ = "/spacelink.v1.TelemetryService/QueryTelemetry"
WRITE = "/spacelink.v1.TelemetryService/Ingest"


@pytest.fixture
def refusals(installation: Installation) -> Refusals:
    return Refusals(installation.database)


async def told(installation: Installation, tenant_id: str) -> list[Any]:
    """Give the calls that a tenant's events tell of, oldest first."""
    rows = await installation.database.read(
        lambda connection: audit.page(connection, tenant_id, action="call.refused", limit=100)
    )
    return [json.loads(row.event)["detail"]["calls"] for row in reversed(rows)]


async def test_an_event_for_each_tenant(installation: Installation, refusals: Refusals) -> None:
    for tenant_id, method, reason in (
        ("acme", WRITE, "DEVICE_DENIED"),
        (None, READ, "INVALID_TOKEN"),
        ("acme", READ, "SCOPE_DENIED"),
        ("acme", WRITE, "DEVICE_DENIED"),
        ("*", READ, "INVALID_TOKEN"),
    ):
        refusals.count(tenant_id, method, reason)
    await refusals.flush()
    await refusals.flush()
    assert await told(installation, "acme") == [
        [
            {"count": 2, "method": WRITE, "reason": "DEVICE_DENIED"},
            {"count": 1, "method": READ, "reason": "SCOPE_DENIED"},
        ]
    ]
    assert await told(installation, "*") == [[{"count": 2, "method": READ, "reason": "INVALID_TOKEN"}]]
    refusals.count("acme", READ, "SCOPE_DENIED")
    await refusals.flush()
    assert [len(calls) for calls in await told(installation, "acme")] == [2, 1]
    # Writing them down takes nothing away.
    assert refusals.totals == {"DEVICE_DENIED": 2, "INVALID_TOKEN": 2, "SCOPE_DENIED": 2}


async def test_what_the_store_does_not_take_is_kept(installation: Installation, refusals: Refusals) -> None:
    def rename(*names: str) -> None:
        installation.store.transact(
            lambda connection: connection.exec_driver_sql("ALTER TABLE {} RENAME TO {}".format(*names))
        )

    refusals.count("acme", READ, "SCOPE_DENIED")
    rename("audit_events", "elsewhere")
    with pytest.raises(UnavailableError):
        await refusals.flush()
    refusals.count("acme", READ, "SCOPE_DENIED")
    rename("elsewhere", "audit_events")
    await refusals.flush()
    assert await told(installation, "acme") == [[{"count": 2, "method": READ, "reason": "SCOPE_DENIED"}]]
