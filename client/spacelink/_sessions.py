"""Calls of SessionService."""

from __future__ import annotations

from typing import TYPE_CHECKING

from spacelink._client import AsyncClient
from spacelink._credentials import credentials
from spacelink._messages import record
from spacelink.records import Session, SessionInfo, SessionLimit
from spacelink.token import Token
from spacelink.v1 import session_pb2 as pb
from spacelink.v1.session_pb2_grpc import SessionServiceStub

if TYPE_CHECKING:
    from spacelink.v1.session_pb2_grpc import SessionServiceAsyncStub


class AsyncSessions(AsyncClient):
    """Logs in and asks who one is."""

    @property
    def _sessions(self) -> SessionServiceAsyncStub:
        return SessionServiceStub(self._channel)

    async def create_session(self, user: str, password: str, *, tenant_id: str = "") -> Session:
        """Log in; needs no credential. The session's token is for other clients.

        Args:
            user: the user's name.
            password: the user's password.
            tenant_id: the user's tenant; empty means the default tenant.

        Raises:
            UnauthenticatedError: there is no such user, or the password is wrong.
        """
        request = pb.CreateSessionRequest(user_name=user, password=password, tenant_id=tenant_id)
        response = await self._unary(self._sessions.CreateSession, request)
        return record(Session, response, token=Token.parse(response.token))

    async def authenticate(self, user: str, password: str, *, tenant_id: str = "") -> str:
        """Log in; the session's token goes with all calls from now on.

        Args:
            user: the user's name.
            password: the user's password.
            tenant_id: the user's tenant; empty means the default tenant.

        Returns:
            The token's text; whoever has it has the session.

        Raises:
            UnauthenticatedError: there is no such user, or the password is wrong.
        """
        session = await self.create_session(user, password, tenant_id=tenant_id)
        self._credentials = credentials(token=session.token)
        return str(session.token)

    async def get_session(self) -> SessionInfo:
        """Ask who one is, and what one's credential is good for.

        Raises:
            UnauthenticatedError: there is no credential, or it is not good.
        """
        response = await self._unary(self._sessions.GetSession, pb.GetSessionRequest())
        limits = tuple(record(SessionLimit, limit) for limit in response.limits)
        return record(SessionInfo, response, limits=limits)
