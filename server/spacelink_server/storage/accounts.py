"""Users who log in with a password. Times are nanoseconds since 1970 UTC."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import sqlalchemy as sa

from spacelink_server.storage.schema import users

if TYPE_CHECKING:
    from spacelink.v1.session_pb2 import Role


class User(NamedTuple):
    """A user.

    Attributes:
        tenant_id: the user's tenant.
        user_name: unique in the tenant.
        role: what the user may do.
        password_hash: argon2id, with its parameters and salt.
        disabled: whether the user may not log in.
        create_time: when the user was created.
    """

    tenant_id: str
    user_name: str
    role: Role.ValueType
    password_hash: str
    disabled: bool
    create_time: int


def insert(connection: sa.Connection, user: User) -> None:
    """Add a user who is not there yet."""
    connection.execute(sa.insert(users).values(tuple(user)))


def get(connection: sa.Connection, tenant_id: str, user_name: str) -> User | None:
    """Read a user."""
    row = connection.execute(sa.select(users).where(*_is(tenant_id, user_name))).one_or_none()
    return User(*row) if row else None


def page(connection: sa.Connection, tenant_id: str, after: str, limit: int) -> list[User]:
    """Read a tenant's users behind one, ordered by name."""
    query = (
        sa.select(users)
        .where(users.c.tenant_id == tenant_id, users.c.user_name > after)
        .order_by(users.c.user_name)
        .limit(limit)
    )
    return [User(*row) for row in connection.execute(query)]


def update(connection: sa.Connection, user: User) -> None:
    """Replace what is stored of a user."""
    where = _is(user.tenant_id, user.user_name)
    # A key that tables are distributed by is never set.
    values = dict(zip(users.c.keys()[2:], user[2:], strict=True))
    connection.execute(sa.update(users).where(*where).values(values))


def _is(tenant_id: str, user_name: str) -> tuple[Any, ...]:
    return users.c.tenant_id == tenant_id, users.c.user_name == user_name
