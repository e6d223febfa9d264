"""The tamper-evident record of what was done."""

from __future__ import annotations

from contextlib import aclosing
from typing import TYPE_CHECKING, Annotated

from fastapi import APIRouter, Query, Response

from spacelink.admin.v1 import audit_pb2 as pb
from spacelink_rest.caller import CallerParam, started
from spacelink_rest.documentation import CREDENTIALS
from spacelink_rest.messages import answer, model_of
from spacelink_rest.parameters import PageParam, TenantId
from spacelink_rest.responses import PartsResponse
from spacelink_rest.upstream import Admin

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

router = APIRouter(prefix="/api/v1/audit", tags=["audit"], dependencies=CREDENTIALS)

_LINES = "application/x-ndjson"


@router.get("", response_model=model_of(pb.ListAuditEventsResponse))
async def list_audit_events(
    caller: CallerParam,
    admin: Admin,
    page: PageParam,
    tenant_id: TenantId = "",
    action: Annotated[str, Query(description="Only this action.", examples=["token.mint"])] = "",
) -> Response:
    """List events, the newest first."""
    request = pb.ListAuditEventsRequest(tenant_id=tenant_id, action=action, **page)
    return answer(await caller.call(admin.audit.ListAuditEvents, request))


@router.get(
    "/export",
    status_code=200,
    response_class=PartsResponse,
    responses={200: {"content": {_LINES: {"schema": {"type": "string"}}}}},
)
async def export_audit(caller: CallerParam, admin: Admin, tenant_id: TenantId = "") -> Response:
    """Give a tenant's whole chain, the oldest event first, for `spacelink audit verify`.

    Each line is an event in canonical JSON: what was hashed, and its event_hash.
    """
    request = pb.ExportAuditRequest(tenant_id=tenant_id)
    messages = await started(caller.stream(admin.audit.ExportAudit, request))
    return PartsResponse(_lines(messages), _LINES)


async def _lines(messages: AsyncGenerator[pb.ExportAuditResponse]) -> AsyncGenerator[str]:
    async with aclosing(messages):
        async for message in messages:
            yield "".join(f"{line}\n" for line in message.lines)
