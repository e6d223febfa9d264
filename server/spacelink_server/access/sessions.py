"""Sessions: a user name and a password for a short-lived token."""

from __future__ import annotations

import secrets
import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import grpc

from spacelink._caveats import ANY, Expires, Label, Scope
from spacelink._names import is_identifier
from spacelink.v1.session_pb2 import ROLE_ADMIN, ROLE_CUSTOMER, ROLE_PARTNER, ROLE_READ_ONLY
from spacelink_server.access.minting import Origin
from spacelink_server.errors import RequestError
from spacelink_server.storage import accounts, audit, bans, tenants, tokens
from spacelink_server.storage.audit import Event
from spacelink_server.storage.bans import Ban

if TYPE_CHECKING:
    from spacelink.v1.session_pb2 import Role
    from spacelink_server.access.minting import Minter
    from spacelink_server.access.passwords import Passwords
    from spacelink_server.access.writes import Database
    from spacelink_server.storage.accounts import User
    from spacelink_server.storage.transactions import Connection

# Long enough for a look at things without a second login, short enough for a
# token that a browser holds.
SESSION_TIME = timedelta(minutes=30)

# In audit events and as the minter of tokens, users are told from tokens by it.
USER_PREFIX = "user:"

# What a user's session may do, by role.
SCOPES: dict[Role.ValueType, str] = {
    ROLE_ADMIN: "*:*",
    ROLE_PARTNER: "telemetry:* networks:* partners:* tokens:* audit:*",
    ROLE_CUSTOMER: "*:read",
    ROLE_READ_ONLY: "telemetry:read",
}


@dataclass(frozen=True, slots=True)
class Session:
    """A session that was begun.

    Attributes:
        token: the text of its token.
        expire_time: when it ends.
        role: the user's.
    """

    token: str
    expire_time: datetime
    role: Role.ValueType


class Sessions:
    """Begins sessions."""

    def __init__(self, database: Database, minter: Minter, passwords: Passwords) -> None:
        """Make sessions with what reads users, checks passwords and mints tokens."""
        self._database = database
        self._minter = minter
        self._passwords = passwords

    async def begin(self, tenant_id: str, user_name: str, password: str) -> Session:
        """Log a user in.

        Raises:
            RequestError: name or password is wrong, or the user is disabled:
                the answer is the same, and takes as long.
            UnavailableError: too many log in, or the store failed.
        """
        named = is_identifier(tenant_id) and is_identifier(user_name)
        user = None
        if named:
            user = await self._database.read(lambda c: accounts.get(c, tenant_id, user_name))
        right = await self._passwords.verify(user.password_hash if user else None, password)
        session = await self._database.write(lambda c: self._decide(c, tenant_id, user, right))
        if session is None:
            raise RequestError(
                grpc.StatusCode.UNAUTHENTICATED, "INVALID_LOGIN", "the user name or the password is wrong"
            )
        return session

    def _decide(
        self, connection: Connection, tenant_id: str, user: User | None, right: bool
    ) -> Session | None:
        # The user may have been changed since the hash was read.
        if right and user and not user.disabled and user == accounts.get(connection, *user[:2]):
            return self._begin(connection, user)
        _record_failure(connection, tenant_id, user)
        return None

    def _begin(self, connection: Connection, user: User) -> Session:
        actor = USER_PREFIX + user.user_name
        expires = Expires(datetime.now(UTC).replace(microsecond=0) + SESSION_TIME)
        caveats = (Scope.from_text(SCOPES[user.role]), expires, Label(actor))
        token = self._minter.mint(connection, user.tenant_id, Origin(actor), map(str, caveats))
        event = Event(actor, "session.create", f"token:{token.token_id}", detail={"role": user.role})
        audit.append(connection, user.tenant_id, event)
        text = self._minter.text(token)
        assert text is not None  # noqa: S101 - it was minted with the tenant's current key
        return Session(text, expires.time, user.role)


def end_sessions(connection: Connection, user: User, reason: str, actor: str) -> int:
    """Ban the tokens of all of a user's sessions, and tell how many there were.

    Args:
        connection: in a write transaction; when it is committed, the list of
            bans is to be refreshed.
        user: the user.
        reason: for who reads the bans.
        actor: who does it, as in the audit chain.
    """
    now = time.time_ns()
    ids = tokens.live_ids(connection, user.tenant_id, USER_PREFIX + user.user_name, now)
    for token_id in ids:
        ban = Ban(user.tenant_id, secrets.token_hex(16), None, token_id, None, reason, actor, now)
        bans.insert(connection, ban)
    return len(ids)


def _record_failure(connection: Connection, tenant_id: str, user: User | None) -> None:
    # Some type their password where the name belongs, so only known names are kept.
    actor = USER_PREFIX + user.user_name if user else "anonymous"
    known = user is not None or tenants.get(connection, tenant_id) is not None
    event = Event(actor, "session.create", "session", "INVALID_LOGIN")
    audit.append(connection, tenant_id if known else ANY, event)
