"""Events that webhooks are yet to be sent. Times are nanoseconds since 1970 UTC.

Whoever changes what an event is about appends the event in the same transaction,
so that none is lost and none is sent of what did not happen.
"""

from __future__ import annotations

import json
import secrets
import time
from typing import TYPE_CHECKING, Any, NamedTuple

import sqlalchemy as sa

from spacelink_server.storage import webhooks
from spacelink_server.storage.schema import webhook_deliveries

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from spacelink_server.storage.webhooks import Webhook

# What webhooks can ask for.
EVENT_TYPES = frozenset(
    (
        "incident.opened",
        "incident.closed",
        "device.silent",
        "device.back",
        "sla.at_risk",
        "sla.breached",
        "token.banned",
        "quota.warning",
        "quota.exhausted",
        "webhook.disabled",
    )
)

# Long enough to look into what went wrong with a receiver; then they go.
_DEAD_LETTERS_KEPT = 30 * 86_400 * 1_000_000_000


class Delivery(NamedTuple):
    """An event that a webhook is yet to be sent, or could not be.

    Attributes:
        tenant_id: the tenant.
        webhook_id: the webhook.
        event_id: 32 hexadecimal digits; the same for all webhooks of the event.
        sequence: counts up with a tenant's events.
        ordering_key: events of one key are sent in their order; empty: in any.
        event_type: one of EVENT_TYPES.
        event_time: when it happened.
        data: its data, as JSON.
        attempt_count: how often it was tried.
        next_attempt_time: when it may be tried; None: it is a dead letter.
        first_failure_time: when it first failed, or None.
        lease_id: whose turn it is to try; empty: nobody's.
        status_code: of the last answer; 0: there was none.
        error: why the last attempt failed.
    """

    tenant_id: str
    webhook_id: str
    event_id: str
    sequence: int
    ordering_key: str
    event_type: str
    event_time: int
    data: str
    attempt_count: int
    next_attempt_time: int | None
    first_failure_time: int | None
    lease_id: str
    status_code: int
    error: str


class Failure(NamedTuple):
    """What came of an attempt that failed.

    Attributes:
        time: when.
        status_code: of the answer; 0: there was none.
        error: why, for people.
    """

    time: int
    status_code: int
    error: str


_d = webhook_deliveries.c
_LAST_SEQUENCE = sa.select(sa.func.max(_d.sequence)).where(_d.tenant_id == sa.bindparam("tenant"))


def append(connection: sa.Connection, tenant_id: str, event_type: str, data: Mapping[str, Any]) -> None:
    """Have an event sent to the tenant's webhooks that ask for it.

    Args:
        connection: in the write transaction of what has happened; for events of
            a device or a network one that is alone, so that they keep their order.
        tenant_id: the tenant.
        event_type: one of EVENT_TYPES.
        data: what has happened, as JSON has it; nothing secret. Events with the
            same "device_id", or else "network_id", are sent in their order.
    """
    if event_type not in EVENT_TYPES:
        raise ValueError(f"event_type {event_type!r}: expected one of {', '.join(sorted(EVENT_TYPES))}")
    now = time.time_ns()
    hooks = wanting(connection, tenant_id, event_type)
    if not hooks:
        return
    # Servers' clocks may differ by more than two events lie apart.
    sequence = max(now, (connection.scalar(_LAST_SEQUENCE, {"tenant": tenant_id}) or 0) + 1)
    subject = str(data.get("device_id") or data.get("network_id", ""))
    event = (secrets.token_hex(16), sequence, subject, event_type, now)
    text = json.dumps(data, separators=(",", ":"), ensure_ascii=False)
    rows = [
        Delivery(tenant_id, hook.webhook_id, *event, text, 0, max(now, hook.not_before), None, "", 0, "")
        for hook in hooks
    ]
    connection.execute(sa.insert(webhook_deliveries).values(list(map(tuple, rows))))


def wanting(connection: sa.Connection, tenant_id: str, event_type: str) -> list[Webhook]:
    """List a tenant's webhooks that are sent events of a type."""
    return [
        webhook
        for webhook in webhooks.all_of(connection, tenant_id)
        if not webhook.disable_reason and (not webhook.event_types or event_type in webhook.event_types)
    ]


def due(connection: sa.Connection, now: int, limit: int) -> list[tuple[str, str]]:
    """List webhooks, by tenant_id and webhook_id, with something to be sent; who waits longest is first."""
    query = (
        sa.select(_d.tenant_id, _d.webhook_id)
        .where(_d.next_attempt_time_unix_nano <= now)
        .group_by(_d.tenant_id, _d.webhook_id)
        .order_by(sa.func.min(_d.next_attempt_time_unix_nano))
        .limit(limit)
    )
    return [(tenant_id, webhook_id) for tenant_id, webhook_id in connection.execute(query)]


def pending(connection: sa.Connection) -> int:
    """Count what is yet to be sent, to all webhooks; no dead letters."""
    query = sa.select(sa.func.count()).where(_d.next_attempt_time_unix_nano.is_not(None))
    return connection.execute(query.select_from(webhook_deliveries)).scalar_one()


def claim(
    connection: sa.Connection, tenant_id: str, webhook_id: str, now: int, lost_at: int, limit: int
) -> list[Delivery]:
    """Take deliveries that are due, so that nobody else tries them meanwhile.

    Of those with the same ordering key only the first, if it is due.

    Args:
        connection: in a write transaction, which need not be alone.
        tenant_id: with webhook_id, names the webhook.
        webhook_id: its id.
        now: what was to be tried by then is due.
        lost_at: when others may take them, unless they are settled by then.
        limit: the most to take.
    """
    earlier = webhook_deliveries.alias("earlier")
    has_earlier = sa.exists().where(
        earlier.c.tenant_id == _d.tenant_id,
        earlier.c.webhook_id == _d.webhook_id,
        earlier.c.ordering_key == _d.ordering_key,
        earlier.c.sequence < _d.sequence,
        earlier.c.next_attempt_time_unix_nano.is_not(None),
    )
    query = (
        sa.select(webhook_deliveries)
        .where(
            *_of(tenant_id, webhook_id),
            _d.next_attempt_time_unix_nano <= now,
            sa.or_(_d.ordering_key == "", ~has_earlier),
        )
        .order_by(_d.sequence)
        .limit(limit)
        # SQLite, which has one writer at a time, leaves the lock out.
        .with_for_update(skip_locked=True)
    )
    lease_id = secrets.token_hex(16)
    taken = [Delivery(*row)._replace(lease_id=lease_id) for row in connection.execute(query)]
    if taken:
        ids = [delivery.event_id for delivery in taken]
        taking = _update(tenant_id, webhook_id, _d.event_id.in_(ids))
        connection.execute(taking.values(lease_id=lease_id, next_attempt_time_unix_nano=lost_at))
    return taken


def settle(connection: sa.Connection, delivery: Delivery) -> None:
    """Forget what was delivered."""
    is_it = (*_of(delivery.tenant_id, delivery.webhook_id), _d.event_id == delivery.event_id)
    connection.execute(sa.delete(webhook_deliveries).where(*is_it))


def retry(connection: sa.Connection, delivery: Delivery, failure: Failure, at: int | None) -> None:
    """Note that an attempt failed, unless the delivery is in other hands by now.

    Args:
        connection: in a write transaction.
        delivery: as claim gave it.
        failure: what came of the attempt.
        at: when to try again; None: never, it becomes a dead letter.
    """
    is_it = (_d.event_id == delivery.event_id, _d.lease_id == delivery.lease_id)
    noting = _update(delivery.tenant_id, delivery.webhook_id, *is_it)
    connection.execute(
        noting.values(
            lease_id="",
            attempt_count=_d.attempt_count + 1,
            next_attempt_time_unix_nano=at,
            first_failure_time_unix_nano=sa.func.coalesce(_d.first_failure_time_unix_nano, failure.time),
            status_code=failure.status_code,
            error=failure.error,
        )
    )


def postpone(connection: sa.Connection, tenant_id: str, webhook_id: str, until: int) -> None:
    """Have nothing of a webhook tried before a time, but for what is being tried."""
    early = (_d.lease_id == "", _d.next_attempt_time_unix_nano < until)
    connection.execute(_update(tenant_id, webhook_id, *early).values(next_attempt_time_unix_nano=until))


def bury(connection: sa.Connection, tenant_id: str, webhook_id: str, error: str) -> None:
    """Make all that a webhook is yet to be sent dead letters."""
    pending = _update(tenant_id, webhook_id, _d.next_attempt_time_unix_nano.is_not(None))
    connection.execute(pending.values(lease_id="", next_attempt_time_unix_nano=None, error=error))


def revive(
    connection: sa.Connection, tenant_id: str, webhook_id: str, event_ids: Collection[str], now: int
) -> int:
    """Have dead letters sent again as if they were new; give how many there are.

    Args:
        connection: in a write transaction.
        tenant_id: with webhook_id, names the webhook.
        webhook_id: its id.
        event_ids: which; none means all.
        now: when to try them.
    """
    which = [_d.next_attempt_time_unix_nano.is_(None)]
    if event_ids:
        which.append(_d.event_id.in_(event_ids))
    values = {"next_attempt_time_unix_nano": now, "first_failure_time_unix_nano": None, "attempt_count": 0}
    return connection.execute(_update(tenant_id, webhook_id, *which).values(values)).rowcount


def release(connection: sa.Connection, deliveries: Collection[Delivery], now: int) -> None:
    """Let others try what was claimed and not settled."""
    for tenant_id, webhook_id, lease_id in sorted({(each[0], each[1], each.lease_id) for each in deliveries}):
        held = _update(tenant_id, webhook_id, _d.lease_id == lease_id)
        connection.execute(held.values(lease_id="", next_attempt_time_unix_nano=now))


def release_all(connection: sa.Connection, now: int) -> None:
    """Let go of all claims: for a server that is the only one, when it starts."""
    held = sa.update(webhook_deliveries).where(_d.lease_id != "")
    connection.execute(held.values(lease_id="", next_attempt_time_unix_nano=now))


def forget(connection: sa.Connection, tenant_id: str, webhook_id: str, now: int) -> None:
    """Delete a webhook's dead letters of long ago."""
    is_old = (_d.next_attempt_time_unix_nano.is_(None), _d.event_time_unix_nano < now - _DEAD_LETTERS_KEPT)
    connection.execute(sa.delete(webhook_deliveries).where(*_of(tenant_id, webhook_id), *is_old))


def page(
    connection: sa.Connection,
    tenant_id: str,
    webhook_id: str,
    before: tuple[int, str] | None,
    limit: int,
    *,
    dead_only: bool,
) -> list[Delivery]:
    """Read what a webhook was not sent, newest first.

    Args:
        connection: in any transaction.
        tenant_id: with webhook_id, names the webhook.
        webhook_id: its id.
        before: sequence and event_id of the last one of the page before.
        limit: the most to read.
        dead_only: only dead letters.
    """
    query = sa.select(webhook_deliveries).where(*_of(tenant_id, webhook_id))
    if dead_only:
        query = query.where(_d.next_attempt_time_unix_nano.is_(None))
    if before is not None:
        query = query.where(sa.tuple_(_d.sequence, _d.event_id) < sa.tuple_(*before))
    query = query.order_by(_d.sequence.desc(), _d.event_id.desc()).limit(limit)
    return [Delivery(*row) for row in connection.execute(query)]


def _of(tenant_id: str, webhook_id: str) -> tuple[sa.ColumnElement[bool], ...]:
    return _d.tenant_id == tenant_id, _d.webhook_id == webhook_id


def _update(tenant_id: str, webhook_id: str, *which: sa.ColumnElement[bool]) -> sa.Update:
    return sa.update(webhook_deliveries).where(*_of(tenant_id, webhook_id), *which)
