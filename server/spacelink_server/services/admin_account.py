"""AccountService."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, TypeAlias

import grpc

from spacelink.admin.v1 import account_pb2 as pb
from spacelink.admin.v1.account_pb2_grpc import AccountServiceServicer
from spacelink.v1.session_pb2 import Role
from spacelink_server.access.call import current
from spacelink_server.access.errors import tenant_not_found
from spacelink_server.access.sessions import SCOPES, USER_PREFIX, end_sessions
from spacelink_server.errors import InvalidRequestError, RequestError
from spacelink_server.services import _accounts, _requests
from spacelink_server.storage import accounts, audit, tenants
from spacelink_server.storage.accounts import User
from spacelink_server.storage.audit import Event

if TYPE_CHECKING:
    from spacelink_server.access.bans import BanList
    from spacelink_server.access.call import Call
    from spacelink_server.access.passwords import Passwords
    from spacelink_server.access.writes import Database
    from spacelink_server.storage.transactions import Connection

    Context: TypeAlias = grpc.aio.ServicerContext[Any, Any]


class AccountService(AccountServiceServicer):
    """Manages users; see account.proto."""

    def __init__(self, database: Database, bans: BanList, passwords: Passwords) -> None:
        self._database = database
        self._bans = bans
        self._passwords = passwords

    async def CreateUser(self, request: pb.CreateUserRequest, context: Context) -> pb.CreateUserResponse:
        """Create a user."""
        call = current()
        _accounts.require_user_name(request.user_name)
        _require_role(request.role)
        password_hash = await self._hash(request.password)
        user = User(call.tenant_id, request.user_name, request.role, password_hash, False, time.time_ns())
        await self._database.write(lambda connection: _create(connection, call, user))
        return pb.CreateUserResponse(user=_message(user))

    async def ListUsers(self, request: pb.ListUsersRequest, context: Context) -> pb.ListUsersResponse:
        """List a tenant's users."""
        tenant_id = current().tenant_id
        size = _requests.page_size(request.page_size)
        after = _requests.parse_page_token(request.page_token)
        rows = await self._database.read(lambda c: accounts.page(c, tenant_id, after, size + 1))
        page, next_page = _requests.split_page(rows, size, lambda row: row.user_name)
        return pb.ListUsersResponse(users=map(_message, page), next_page_token=next_page)

    async def SetPassword(self, request: pb.SetPasswordRequest, context: Context) -> pb.SetPasswordResponse:
        """Set a user's password."""
        password_hash = await self._hash(request.password)
        await self._change(request.user_name, "account.set_password", password_hash=password_hash)
        return pb.SetPasswordResponse()

    async def SetRole(self, request: pb.SetRoleRequest, context: Context) -> pb.SetRoleResponse:
        """Set a user's role."""
        _require_role(request.role)
        await self._change(request.user_name, "account.set_role", role=request.role)
        return pb.SetRoleResponse()

    async def DisableUser(self, request: pb.DisableUserRequest, context: Context) -> pb.DisableUserResponse:
        """Keep a user from logging in."""
        await self._change(request.user_name, "account.disable", disabled=True)
        return pb.DisableUserResponse()

    async def _hash(self, password: str) -> str:
        _accounts.require_password(password)
        return await self._passwords.hash(password)

    async def _change(self, user_name: str, action: str, **changes: Any) -> None:
        """Change a user and end the user's sessions, which what is changed has let in."""
        call = current()
        await self._database.write(
            lambda connection: _change(connection, call, user_name, action, changes), self._bans.refresh
        )


def _create(connection: Connection, call: Call, user: User) -> None:
    if tenants.get(connection, user.tenant_id) is None:
        raise tenant_not_found(user.tenant_id)
    if accounts.get(connection, user.tenant_id, user.user_name) is not None:
        raise RequestError(
            grpc.StatusCode.ALREADY_EXISTS, "USER_ALREADY_EXISTS", f"there is a user {user.user_name!r}"
        )
    accounts.insert(connection, user)
    _record(connection, call, user, "account.create", role=Role.Name(user.role))


def _change(connection: Connection, call: Call, user_name: str, action: str, changes: dict[str, Any]) -> None:
    user = accounts.get(connection, call.tenant_id, user_name)
    if user is None:
        raise _requests.not_found("USER_NOT_FOUND", f"there is no user {user_name!r}")
    user = user._replace(**changes)
    accounts.update(connection, user)
    ended = end_sessions(connection, user, action, call.principal.actor)
    _record(connection, call, user, action, role=Role.Name(user.role), sessions_ended=ended)


def _record(connection: Connection, call: Call, user: User, action: str, **detail: Any) -> None:
    event = Event(call.principal.actor, action, USER_PREFIX + user.user_name, detail=detail)
    audit.append(connection, user.tenant_id, event)


def _require_role(role: Role.ValueType) -> None:
    if role not in SCOPES:
        raise InvalidRequestError("role", f"expected one of {', '.join(map(Role.Name, SCOPES))}")


def _message(user: User) -> pb.User:
    return pb.User(
        tenant_id=user.tenant_id,
        user_name=user.user_name,
        role=user.role,
        disabled=user.disabled,
        create_time=_requests.timestamp(user.create_time),
    )
