from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import grpc
import pytest

from spacelink.admin.v1.account_pb2 import (
    CreateUserRequest,
    DisableUserRequest,
    ListUsersRequest,
    SetPasswordRequest,
    SetRoleRequest,
    User,
)
from spacelink.v1.session_pb2 import (
    ROLE_ADMIN,
    ROLE_CUSTOMER,
    ROLE_READ_ONLY,
    ROLE_UNSPECIFIED,
    CreateSessionRequest,
    CreateSessionResponse,
    GetSessionRequest,
)
from tests.server.installation import bearer, refusal
from tests.server.services.access_calls import audited, create_tenant, mint, tenant_admin

if TYPE_CHECKING:
    from pathlib import Path

    from tests.server.installation import Installation

PASSWORD = "correct horse"


async def create(installation: Installation, user_name: str = "alice", **fields: Any) -> User:
    fields = {"password": PASSWORD, "role": ROLE_ADMIN, **fields}
    request = CreateUserRequest(user_name=user_name, **fields)
    answer = await installation.account.CreateUser(request, **bearer(installation.operator))
    return answer.user


async def log_in(
    installation: Installation, user_name: str = "alice", **fields: str
) -> CreateSessionResponse:
    fields = {"password": PASSWORD, **fields}
    return await installation.session.CreateSession(CreateSessionRequest(user_name=user_name, **fields))


async def test_a_user_is_created(installation: Installation, tmp_path: Path) -> None:
    user = await create(installation, role=ROLE_CUSTOMER)
    assert (user.tenant_id, user.user_name, user.role) == ("default", "alice", ROLE_CUSTOMER)
    assert not user.disabled
    age = datetime.now(UTC) - user.create_time.ToDatetime(UTC)
    assert timedelta() <= age < timedelta(minutes=5)
    (event,) = await audited(installation, "default", "account.create")
    assert (event.resource, event.detail_json) == ("user:alice", '{"role":"ROLE_CUSTOMER"}')
    stored = b"".join(path.read_bytes() for path in (tmp_path / "data").glob("spacelink.db*"))
    assert b"$argon2id$v=19$" in stored
    assert PASSWORD.encode() not in stored


async def test_a_user_is_created_once_in_a_tenant(installation: Installation) -> None:
    await create_tenant(installation, "acme")
    await create(installation)
    await create(installation, tenant_id="acme")
    found = await refusal(create(installation))
    assert (found["code"], found["reason"]) == (grpc.StatusCode.ALREADY_EXISTS, "USER_ALREADY_EXISTS")


async def test_no_user_is_created_in_a_tenant_that_has_no_users(installation: Installation) -> None:
    for tenant_id in ("acme", "*"):
        found = await refusal(create(installation, tenant_id=tenant_id))
        assert (found["code"], found["reason"]) == (grpc.StatusCode.NOT_FOUND, "TENANT_NOT_FOUND")


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"user_name": ""}, "user_name"),
        ({"user_name": "a b"}, "user_name"),
        ({"user_name": "a" * 124}, "user_name"),
        ({"password": "x" * 7}, "password"),
        ({"password": "x" * 1025}, "password"),
        ({"role": ROLE_UNSPECIFIED}, "role"),
        ({"role": 99}, "role"),
    ],
)
async def test_names_the_field_that_is_wrong(
    installation: Installation, fields: dict[str, Any], field: str
) -> None:
    found = await refusal(create(installation, **fields))
    assert found["code"] is grpc.StatusCode.INVALID_ARGUMENT
    assert [violation.field for violation in found["BadRequest"].field_violations] == [field]
    assert "x" * 7 not in found["message"]


async def test_the_longest_name_can_log_in(installation: Installation) -> None:
    name = "n" * 123
    await create(installation, name)
    session = await log_in(installation, name)
    answer = await installation.session.GetSession(GetSessionRequest(), **bearer(session.token))
    assert list(answer.labels) == [f"user:{name}"]


async def test_lists_the_users_of_a_tenant_in_pages(installation: Installation) -> None:
    acme = await tenant_admin(installation, "acme")
    for name in ("carol", "alice", "bob"):
        await create(installation, name)
    await create(installation, "dave", tenant_id="acme")
    request = ListUsersRequest(page_size=2)
    answer = await installation.account.ListUsers(request, **bearer(installation.operator))
    assert [user.user_name for user in answer.users] == ["alice", "bob"]
    request.page_token = answer.next_page_token
    answer = await installation.account.ListUsers(request, **bearer(installation.operator))
    assert ([user.user_name for user in answer.users], answer.next_page_token) == (["carol"], "")
    answer = await installation.account.ListUsers(ListUsersRequest(), **bearer(acme))
    assert [user.user_name for user in answer.users] == ["dave"]


async def change_password(installation: Installation) -> None:
    request = SetPasswordRequest(user_name="alice", password="another horse")
    await installation.account.SetPassword(request, **bearer(installation.operator))


async def change_role(installation: Installation) -> None:
    request = SetRoleRequest(user_name="alice", role=ROLE_READ_ONLY)
    await installation.account.SetRole(request, **bearer(installation.operator))


async def disable(installation: Installation) -> None:
    request = DisableUserRequest(user_name="alice")
    await installation.account.DisableUser(request, **bearer(installation.operator))


@pytest.mark.parametrize("change", [change_password, change_role, disable])
async def test_a_change_ends_the_users_sessions_and_what_they_minted(
    installation: Installation, change: Any
) -> None:
    await create(installation)
    await create(installation, "bob")
    sessions = [(await log_in(installation)).token for _ in range(2)]
    minted = await mint(installation, sessions[0])
    other = (await log_in(installation, "bob")).token
    await change(installation)
    for text in (*sessions, minted):
        call = installation.session.GetSession(GetSessionRequest(), **bearer(text))
        found = await refusal(call)
        assert (found["code"], found["reason"]) == (grpc.StatusCode.PERMISSION_DENIED, "TOKEN_BANNED")
    await installation.session.GetSession(GetSessionRequest(), **bearer(other))
    (event, *_) = await audited(installation, "default")
    assert event.resource == "user:alice"
    assert '"sessions_ended":2' in event.detail_json


async def test_users_may_set_their_own_password(installation: Installation) -> None:
    await create(installation)
    session = await log_in(installation)
    request = SetPasswordRequest(user_name="alice", password="another horse")
    await installation.account.SetPassword(request, **bearer(session.token))
    found = await refusal(installation.session.GetSession(GetSessionRequest(), **bearer(session.token)))
    assert found["reason"] == "TOKEN_BANNED"


async def test_a_new_password_lets_in(installation: Installation) -> None:
    await create(installation)
    await change_password(installation)
    assert (await refusal(log_in(installation)))["reason"] == "INVALID_LOGIN"
    assert (await log_in(installation, password="another horse")).token


async def test_a_new_role_is_that_of_new_sessions(installation: Installation) -> None:
    await create(installation)
    await change_role(installation)
    session = await log_in(installation)
    assert session.role == ROLE_READ_ONLY
    answer = await installation.session.GetSession(GetSessionRequest(), **bearer(session.token))
    assert (answer.role, list(answer.scopes)) == (ROLE_READ_ONLY, ["telemetry:read"])


async def test_a_disabled_user_cannot_log_in(installation: Installation) -> None:
    await create(installation)
    await disable(installation)
    await disable(installation)
    found = await refusal(log_in(installation))
    assert (found["code"], found["reason"]) == (grpc.StatusCode.UNAUTHENTICATED, "INVALID_LOGIN")
    answer = await installation.account.ListUsers(ListUsersRequest(), **bearer(installation.operator))
    assert [user.disabled for user in answer.users] == [True]


async def test_who_does_not_exist_is_not_changed(installation: Installation) -> None:
    acme = await tenant_admin(installation, "acme")
    await create(installation)
    caller = bearer(acme)
    calls = (
        installation.account.SetPassword(SetPasswordRequest(user_name="alice", password=PASSWORD), **caller),
        installation.account.SetRole(SetRoleRequest(user_name="alice", role=ROLE_ADMIN), **caller),
        installation.account.DisableUser(DisableUserRequest(user_name="alice"), **caller),
    )
    for call in calls:
        found = await refusal(call)
        assert (found["code"], found["reason"]) == (grpc.StatusCode.NOT_FOUND, "USER_NOT_FOUND")
    assert (await log_in(installation)).role == ROLE_ADMIN
