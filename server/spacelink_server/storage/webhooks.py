"""Where tenants have events sent. Times are nanoseconds since 1970 UTC."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, NamedTuple

import sqlalchemy as sa

from spacelink_server.storage.schema import webhook_deliveries, webhooks

if TYPE_CHECKING:
    from spacelink.v1.partner_pb2 import WebhookPayload


class SecretVersion(NamedTuple):
    """A secret that is in use.

    Attributes:
        version: counts up from 1.
        expire_time: until when deliveries are signed with it; None: it is the current one.
    """

    version: int
    expire_time: int | None


class Webhook(NamedTuple):
    """A webhook.

    Attributes:
        tenant_id: the tenant.
        webhook_id: 32 hexadecimal digits.
        display_name: for people.
        url: where events are sent.
        event_types: which; none means all.
        payload: the form they have.
        secrets: what they are signed with, newest first; those that have expired
            may be among them.
        create_time: when it was made.
        disable_reason: why nothing is sent; empty: it is not disabled.
        failing_since: since when every attempt has failed, or None.
        not_before: nothing is to be sent before.
    """

    tenant_id: str
    webhook_id: str
    display_name: str
    url: str
    event_types: tuple[str, ...]
    payload: WebhookPayload.ValueType
    secrets: tuple[SecretVersion, ...]
    create_time: int
    disable_reason: str
    failing_since: int | None
    not_before: int


_w = webhooks.c


def insert(connection: sa.Connection, webhook: Webhook) -> None:
    """Add a webhook."""
    connection.execute(sa.insert(webhooks).values(_to_row(webhook)))


def get(connection: sa.Connection, tenant_id: str, webhook_id: str) -> Webhook | None:
    """Read a webhook."""
    row = connection.execute(sa.select(webhooks).where(*_is(tenant_id, webhook_id))).one_or_none()
    return _from_row(row) if row else None


def all_of(connection: sa.Connection, tenant_id: str) -> list[Webhook]:
    """Read all of a tenant's webhooks."""
    query = sa.select(webhooks).where(_w.tenant_id == tenant_id).order_by(_w.webhook_id)
    return [_from_row(row) for row in connection.execute(query)]


def page(
    connection: sa.Connection, tenant_id: str, before: tuple[int, str] | None, limit: int
) -> list[Webhook]:
    """Read a tenant's webhooks, newest first.

    Args:
        connection: in any transaction.
        tenant_id: the tenant.
        before: create_time and webhook_id of the last one of the page before.
        limit: the most to read.
    """
    query = sa.select(webhooks).where(_w.tenant_id == tenant_id)
    if before is not None:
        query = query.where(sa.tuple_(_w.create_time_unix_nano, _w.webhook_id) < sa.tuple_(*before))
    query = query.order_by(_w.create_time_unix_nano.desc(), _w.webhook_id.desc()).limit(limit)
    return [_from_row(row) for row in connection.execute(query)]


def update(connection: sa.Connection, webhook: Webhook) -> None:
    """Replace what is stored of a webhook."""
    # A key that tables are distributed by is never set.
    values = dict(zip(webhooks.c.keys()[2:], _to_row(webhook)[2:], strict=True))
    connection.execute(sa.update(webhooks).where(*_is(*webhook[:2])).values(values))


def note_success(connection: sa.Connection, tenant_id: str, webhook_id: str) -> None:
    """Note that an attempt succeeded."""
    has_failed = (*_is(tenant_id, webhook_id), _w.failing_since_unix_nano.is_not(None))
    connection.execute(sa.update(webhooks).where(*has_failed).values(failing_since_unix_nano=None))


def delete(connection: sa.Connection, tenant_id: str, webhook_id: str) -> None:
    """Delete a webhook, and what it was yet to be sent."""
    d = webhook_deliveries.c
    connection.execute(sa.delete(webhooks).where(*_is(tenant_id, webhook_id)))
    connection.execute(
        sa.delete(webhook_deliveries).where(d.tenant_id == tenant_id, d.webhook_id == webhook_id)
    )


def _is(tenant_id: str, webhook_id: str) -> tuple[sa.ColumnElement[bool], ...]:
    return _w.tenant_id == tenant_id, _w.webhook_id == webhook_id


def _to_row(webhook: Webhook) -> tuple[Any, ...]:
    texts = {"event_types": json.dumps(webhook.event_types), "secrets": json.dumps(webhook.secrets)}
    return tuple((webhook._asdict() | texts).values())


def _from_row(row: Any) -> Webhook:
    secrets = tuple(SecretVersion(*secret) for secret in json.loads(row.secrets))
    return Webhook(*row)._replace(event_types=tuple(json.loads(row.event_types)), secrets=secrets)
