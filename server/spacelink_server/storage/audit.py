"""The audit chains, one for each tenant: see spacelink.audit for how they are hashed.

Events are appended by whoever writes what they record, in the same transaction.
A chain cannot fork: its sequences are a key of the table.
"""

from __future__ import annotations

import hashlib
import json
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

import sqlalchemy as sa

from spacelink import audit
from spacelink._times import rfc3339_of
from spacelink_server.storage.schema import audit_events

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, slots=True)
class Event:
    """Something that was done, or was not.

    Attributes:
        actor: who: "token:<token_id>" with "/<label>" for each label,
            "user:<name>" or "system".
        action: what, such as "token.mint".
        resource: to what.
        outcome: "ok", or the reason it was refused.
        detail: further facts; nothing secret.
    """

    actor: str
    action: str
    resource: str
    outcome: str = "ok"
    detail: Mapping[str, audit.Json] = field(default_factory=dict)


class StoredEvent(NamedTuple):
    """An event as it is stored.

    Attributes:
        sequence: its place in the chain, from 1.
        action: the copy of its action that queries go by.
        event: the canonical JSON that was hashed.
        event_hash: SHA-256 of it.
    """

    sequence: int
    action: str
    event: str
    event_hash: bytes

    @property
    def line(self) -> bytes:
        """The event as it is exported; one that was tampered with in a form that no verification accepts."""
        try:
            event = json.loads(self.event)
            canonical = audit.canonical_json(event).decode()
        except (ValueError, TypeError, RecursionError):
            return self.event.encode()
        if canonical != self.event or not self._has_its_place(event):
            return self.event.encode()
        return audit.canonical_json({**event, "event_hash": self.event_hash.hex()})

    def parse(self) -> dict[str, Any] | None:
        """Give the event; None where it was tampered with. A chain that was written anew is not noticed."""
        if hashlib.sha256(self.event.encode()).digest() != self.event_hash:
            return None
        event: dict[str, Any] = json.loads(self.event)
        return event if self._has_its_place(event) else None

    def _has_its_place(self, event: Any) -> bool:
        """Tell whether the columns that queries go by say the same as the event."""
        if not isinstance(event, dict):
            return False
        return (event.get("sequence"), event.get("action")) == (self.sequence, self.action)


_QUERY = sa.select(
    audit_events.c.sequence, audit_events.c.action, audit_events.c.event, audit_events.c.event_hash
)
# Built once: appending is most of what a change costs.
_LAST = (
    sa.select(audit_events.c.sequence, audit_events.c.event_hash)
    .where(audit_events.c.tenant_id == sa.bindparam("tenant"))
    .order_by(audit_events.c.sequence.desc())
    .limit(1)
)
_INSERT = sa.insert(audit_events)
_COLUMNS = tuple(audit_events.c.keys())


def append(connection: sa.Connection, tenant_id: str, event: Event) -> None:
    """Append an event to a tenant's chain.

    Args:
        connection: in the write transaction of what the event records.
        tenant_id: the tenant; "*" is the installation itself.
        event: the event; its time is now.
    """
    last = connection.execute(_LAST, {"tenant": tenant_id}).one_or_none()
    sequence = last.sequence + 1 if last else 1
    text = audit.canonical_json(
        {
            "action": event.action,
            "actor": event.actor,
            "detail": event.detail,
            "event_time": _now(),
            "outcome": event.outcome,
            "previous_hash": last.event_hash.hex() if last else audit.FIRST_PREVIOUS_HASH,
            "resource": event.resource,
            "sequence": sequence,
            "tenant_id": tenant_id,
        }
    )
    row = (tenant_id, sequence, event.action, text.decode(), hashlib.sha256(text).digest())
    connection.execute(_INSERT, dict(zip(_COLUMNS, row, strict=True)))


def page(
    connection: sa.Connection,
    tenant_id: str,
    *,
    action: str = "",
    before: int | None = None,
    limit: int,
) -> list[StoredEvent]:
    """Read a tenant's events, newest first.

    Args:
        connection: in any transaction.
        tenant_id: the tenant.
        action: only this action; empty means all.
        before: only events of lower sequences.
        limit: the most to read.
    """
    e = audit_events.c
    query = _QUERY.where(e.tenant_id == tenant_id)
    if action:
        query = query.where(e.action == action)
    if before is not None:
        query = query.where(e.sequence < before)
    query = query.order_by(e.sequence.desc()).limit(limit)
    return [StoredEvent(*row) for row in connection.execute(query)]


def chain(connection: sa.Connection, tenant_id: str, *, after: int, limit: int) -> list[StoredEvent]:
    """Read a tenant's events behind a sequence, oldest first."""
    e = audit_events.c
    query = _QUERY.where(e.tenant_id == tenant_id, e.sequence > after).order_by(e.sequence).limit(limit)
    return [StoredEvent(*row) for row in connection.execute(query)]


def _now() -> str:
    return rfc3339_of(time.time_ns())
