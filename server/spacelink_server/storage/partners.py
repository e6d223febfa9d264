"""Who works with the installation, or asks to. Times are nanoseconds since 1970 UTC."""

from __future__ import annotations

from typing import NamedTuple

import sqlalchemy as sa

from spacelink_server.storage.schema import partners


class Partner(NamedTuple):
    """A partner.

    Attributes:
        tenant_id: the tenant that it belongs to, not its own.
        partner_id: 32 hexadecimal digits.
        partner_tenant_id: its own tenant; while it is pending, the one it asks for.
        display_name: for people.
        contact_email: whom to ask.
        user_name: its tenant's first user.
        password_hash: argon2id, the user's; empty once there is the user.
        create_time: when it registered, or was made.
        approve_time: when it was approved; None: it is pending.
    """

    tenant_id: str
    partner_id: str
    partner_tenant_id: str
    display_name: str
    contact_email: str
    user_name: str
    password_hash: str
    create_time: int
    approve_time: int | None


_p = partners.c


def insert(connection: sa.Connection, partner: Partner) -> None:
    """Add a partner."""
    connection.execute(sa.insert(partners).values(tuple(partner)))


def get(connection: sa.Connection, tenant_id: str, partner_id: str) -> Partner | None:
    """Read a partner."""
    row = connection.execute(sa.select(partners).where(*_is(tenant_id, partner_id))).one_or_none()
    return Partner(*row) if row else None


def update(connection: sa.Connection, partner: Partner) -> None:
    """Replace what is stored of a partner."""
    # A key that tables are distributed by is never set.
    values = dict(zip(partners.c.keys()[2:], partner[2:], strict=True))
    connection.execute(sa.update(partners).where(*_is(*partner[:2])).values(values))


def page(
    connection: sa.Connection,
    tenant_id: str,
    before: tuple[int, str] | None,
    limit: int,
    *,
    approved: bool | None = None,
    partner_tenant_id: str = "",
) -> list[Partner]:
    """Read partners, newest first.

    Args:
        connection: in any transaction.
        tenant_id: the tenant that they belong to.
        before: create_time and partner_id of the last one of the page before.
        limit: the most to read.
        approved: only those that are, or that are not; None means all.
        partner_tenant_id: only the one that has this tenant; empty means all.
    """
    query = sa.select(partners).where(_p.tenant_id == tenant_id)
    if approved is not None:
        query = query.where(_p.approve_time_unix_nano.is_(None) != approved)
    if partner_tenant_id:
        query = query.where(_p.partner_tenant_id == partner_tenant_id, _p.approve_time_unix_nano.is_not(None))
    if before is not None:
        query = query.where(sa.tuple_(_p.create_time_unix_nano, _p.partner_id) < sa.tuple_(*before))
    query = query.order_by(_p.create_time_unix_nano.desc(), _p.partner_id.desc()).limit(limit)
    return [Partner(*row) for row in connection.execute(query)]


def forget_pending(connection: sa.Connection, tenant_id: str, before: int) -> None:
    """Delete registrations of before a time that nobody has approved."""
    is_pending = (_p.tenant_id == tenant_id, _p.approve_time_unix_nano.is_(None))
    connection.execute(sa.delete(partners).where(*is_pending, _p.create_time_unix_nano < before))


def _is(tenant_id: str, partner_id: str) -> tuple[sa.ColumnElement[bool], ...]:
    return _p.tenant_id == tenant_id, _p.partner_id == partner_id
