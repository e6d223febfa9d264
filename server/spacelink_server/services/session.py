"""SessionService."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

import grpc

from spacelink.v1 import session_pb2 as pb
from spacelink.v1.session_pb2_grpc import SessionServiceServicer
from spacelink_server.access.authorization import DEFAULT_TENANT, has_scope
from spacelink_server.access.call import current
from spacelink_server.access.sessions import USER_PREFIX
from spacelink_server.services.scopes import SCOPES
from spacelink_server.storage import accounts, tokens

if TYPE_CHECKING:
    from spacelink_server.access.allowances import Allowances
    from spacelink_server.access.limits import Limiter, LimitKey
    from spacelink_server.access.sessions import Sessions
    from spacelink_server.access.verification import VerifiedToken
    from spacelink_server.access.writes import Database
    from spacelink_server.storage.transactions import Connection

    Context: TypeAlias = grpc.aio.ServicerContext[Any, Any]


class SessionService(SessionServiceServicer):
    """Logs users in and tells callers who they are; see session.proto."""

    def __init__(
        self, database: Database, sessions: Sessions, allowances: Allowances, limiter: Limiter
    ) -> None:
        self._database = database
        self._sessions = sessions
        self._allowances = allowances
        self._limiter = limiter

    async def CreateSession(
        self, request: pb.CreateSessionRequest, context: Context
    ) -> pb.CreateSessionResponse:
        """Give a token for a user name and a password."""
        tenant_id = request.tenant_id or DEFAULT_TENANT
        session = await self._sessions.begin(tenant_id, request.user_name, request.password)
        response = pb.CreateSessionResponse(token=session.token, role=session.role)
        response.expire_time.FromDatetime(session.expire_time)
        return response

    async def GetSession(self, request: pb.GetSessionRequest, context: Context) -> pb.GetSessionResponse:
        """Tell what the caller's credential is good for."""
        call = current()
        principal = call.principal
        role = await self._database.read(lambda connection: _role(connection, principal))
        response = pb.GetSessionResponse(
            tenant_id=call.tenant_id,
            token_id=principal.identifier.token_id,
            role=role,
            scopes=_scopes(principal),
            labels=principal.labels,
            limits=[await self._limit(key) for key in (await self._allowances.limits(call)).in_force()],
        )
        if principal.expires is not None:
            response.expire_time.FromSeconds(int(principal.expires))
        return response

    async def _limit(self, key: LimitKey) -> pb.SessionLimit:
        remaining = await self._limiter.remaining(key)
        limit = pb.SessionLimit(caveat=key.caveat, remaining=remaining.units)
        limit.reset_time.FromSeconds(int(remaining.reset_time))
        return limit


def _role(connection: Connection, principal: VerifiedToken) -> pb.Role.ValueType:
    identifier = principal.identifier
    minted = tokens.get(connection, identifier.tenant, identifier.token_id)
    if minted is None or not minted.minter.startswith(USER_PREFIX):
        return pb.ROLE_UNSPECIFIED
    user = accounts.get(connection, identifier.tenant, minted.minter.removeprefix(USER_PREFIX))
    return user.role if user else pb.ROLE_UNSPECIFIED


def _scopes(principal: VerifiedToken) -> list[str]:
    """Give the scopes that methods ask for and that the token has."""
    return [scope for scope in SCOPES if has_scope(principal, scope)]
