"""AuditService."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

import grpc

from spacelink.admin.v1 import audit_pb2 as pb
from spacelink.admin.v1.audit_pb2_grpc import AuditServiceServicer
from spacelink.audit import Verifier, canonical_json, check_head
from spacelink_server.access.call import current
from spacelink_server.errors import InvalidRequestError
from spacelink_server.services import _requests
from spacelink_server.storage import audit

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from spacelink_server.access.writes import Database
    from spacelink_server.storage.audit import StoredEvent
    from spacelink_server.storage.transactions import Connection

    Context: TypeAlias = grpc.aio.ServicerContext[Any, Any]

# Events read by one visit to a thread and sent in one message. Those that list
# a token's caveats take 5 kB: 1 MB, of the 4 MiB that clients take by default.
_EVENTS_AT_ONCE = 200


class AuditService(AuditServiceServicer):
    """Reads and verifies the audit chains; see audit.proto."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def ListAuditEvents(
        self, request: pb.ListAuditEventsRequest, context: Context
    ) -> pb.ListAuditEventsResponse:
        """List events, newest first."""
        tenant_id = current().tenant_id
        size = _requests.page_size(request.page_size)
        before = _requests.parse_time_page_token(request.page_token)
        rows = await self._database.read(
            lambda connection: audit.page(
                connection,
                tenant_id,
                action=request.action,
                before=before[0] if before else None,
                limit=size + 1,
            )
        )
        page, next_page = _requests.split_page(rows, size, lambda row: f"{row.sequence} audit")
        return pb.ListAuditEventsResponse(events=map(_message, page), next_page_token=next_page)

    async def ExportAudit(
        self, request: pb.ExportAuditRequest, context: Context
    ) -> AsyncIterator[pb.ExportAuditResponse]:
        """Stream a whole chain."""
        tenant_id = current().tenant_id
        after = 0
        while True:
            rows = await self._database.read(
                lambda connection, after=after: audit.chain(  # type: ignore[misc]
                    connection, tenant_id, after=after, limit=_EVENTS_AT_ONCE
                )
            )
            if rows:
                yield pb.ExportAuditResponse(lines=[row.line.decode() for row in rows])
            if len(rows) < _EVENTS_AT_ONCE:
                return
            after = rows[-1].sequence

    async def VerifyAudit(self, request: pb.VerifyAuditRequest, context: Context) -> pb.VerifyAuditResponse:
        """Verify a chain in the store."""
        tenant_id = current().tenant_id
        expected_head = _expected_head(request)
        verifier = Verifier()
        after: int | None = 0
        while after is not None:
            after = await self._database.read(
                lambda connection, after=after: _verify(connection, tenant_id, verifier, after)  # type: ignore[misc]
            )
        found = verifier.finish(expected_head)
        return pb.VerifyAuditResponse(
            intact=found.intact,
            event_count=found.event_count,
            head=found.head,
            broken_sequence=found.broken_sequence,
            problem=found.problem,
        )


def _verify(connection: Connection, tenant_id: str, verifier: Verifier, after: int) -> int | None:
    """Verify some events; give the sequence to go on behind, or None where that is of no use."""
    rows = audit.chain(connection, tenant_id, after=after, limit=_EVENTS_AT_ONCE)
    intact = all(verifier.add(row.line) for row in rows)
    return rows[-1].sequence if intact and len(rows) == _EVENTS_AT_ONCE else None


def _expected_head(request: pb.VerifyAuditRequest) -> str:
    try:
        return check_head(request.expected_head) if request.expected_head else ""
    except ValueError as error:
        raise InvalidRequestError("expected_head", str(error)) from None


def _message(row: StoredEvent) -> pb.AuditEvent:
    # Of one that was tampered with, only what has a column of its own.
    event: dict[str, Any] = row.parse() or {}
    message = pb.AuditEvent(
        sequence=row.sequence,
        actor=event.get("actor", ""),
        action=row.action,
        resource=event.get("resource", ""),
        outcome=event.get("outcome", ""),
        detail_json=canonical_json(event["detail"]).decode() if event else "",
        previous_hash=event.get("previous_hash", ""),
        event_hash=row.event_hash.hex(),
    )
    if event:
        message.event_time.FromJsonString(event["event_time"])
    return message
