from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import grpc
import pytest

from spacelink.admin.v1.account_pb2 import CreateUserRequest
from spacelink.admin.v1.tenant_pb2 import CreateTenantRequest, Tenant
from spacelink.v1.session_pb2 import (
    ROLE_ADMIN,
    ROLE_CUSTOMER,
    ROLE_PARTNER,
    ROLE_READ_ONLY,
    ROLE_UNSPECIFIED,
    CreateSessionRequest,
    CreateSessionResponse,
    GetSessionRequest,
    GetSessionResponse,
    Role,
)
from spacelink_server.services.scopes import SCOPES
from tests.server.installation import bearer, refusal
from tests.server.services.access_calls import (
    audited,
    caveats_of,
    create_tenant,
    mint,
    narrowed,
    token_id,
)

if TYPE_CHECKING:
    from tests.server.installation import Installation

PASSWORD = "correct horse"

READS = [scope for scope in SCOPES if scope.endswith(":read")]
SCOPES_OF = {
    ROLE_ADMIN: list(SCOPES),
    ROLE_PARTNER: [
        "audit:read",
        "networks:read",
        "networks:write",
        "partners:read",
        "partners:write",
        "telemetry:read",
        "telemetry:write",
        "tokens:read",
        "tokens:write",
    ],
    ROLE_CUSTOMER: READS,
    ROLE_READ_ONLY: ["telemetry:read"],
}


async def create(installation: Installation, role: Role.ValueType = ROLE_ADMIN, tenant_id: str = "") -> None:
    request = CreateUserRequest(user_name="alice", password=PASSWORD, role=role, tenant_id=tenant_id)
    await installation.account.CreateUser(request, **bearer(installation.operator))


async def log_in(installation: Installation, **fields: str) -> CreateSessionResponse:
    request = CreateSessionRequest(**{"user_name": "alice", "password": PASSWORD, **fields})
    return await installation.session.CreateSession(request)


async def who_am_i(installation: Installation, token: str, tenant: str = "") -> GetSessionResponse:
    return await installation.session.GetSession(GetSessionRequest(), **bearer(token, tenant))


@pytest.mark.parametrize("role", SCOPES_OF)
async def test_a_session_may_do_what_its_role_may(installation: Installation, role: Role.ValueType) -> None:
    await create(installation, role)
    session = await log_in(installation)
    assert session.role == role
    found = await who_am_i(installation, session.token)
    assert (found.role, list(found.scopes)) == (role, SCOPES_OF[role])
    assert (found.tenant_id, found.token_id) == ("default", token_id(session.token))
    assert list(found.labels) == ["user:alice"]
    assert found.expire_time == session.expire_time


async def test_a_session_ends_after_half_an_hour(installation: Installation) -> None:
    await create(installation)
    before = datetime.now(UTC).replace(microsecond=0)
    session = await log_in(installation)
    expires = session.expire_time.ToDatetime(UTC)
    assert before + timedelta(minutes=30) <= expires <= datetime.now(UTC) + timedelta(minutes=30)
    assert caveats_of(session.token) == [
        "tenant = default",
        "scope = *:*",
        f"expires = {expires:%Y-%m-%dT%H:%M:%SZ}",
        "label = user:alice",
    ]
    installation.clock.ahead = 30 * 60 + 1
    found = await refusal(who_am_i(installation, session.token))
    assert (found["code"], found["reason"]) == (grpc.StatusCode.UNAUTHENTICATED, "TOKEN_EXPIRED")


async def test_a_session_is_of_the_users_tenant(installation: Installation) -> None:
    await create_tenant(installation, "acme")
    await create(installation, tenant_id="acme")
    assert (await refusal(log_in(installation)))["reason"] == "INVALID_LOGIN"
    session = await log_in(installation, tenant_id="acme")
    assert (await who_am_i(installation, session.token)).tenant_id == "acme"
    request = CreateTenantRequest(tenant=Tenant(tenant_id="globex"))
    found = await refusal(installation.tenant.CreateTenant(request, **bearer(session.token)))
    assert found["reason"] == "WRONG_TENANT"


@pytest.mark.parametrize(
    "fields",
    [
        {"password": "wrong horse"},
        {"password": ""},
        {"password": "x" * 100_000},
        {"user_name": "bob"},
        {"user_name": "Alice"},
        {"user_name": ""},
        {"user_name": "' OR 1=1 --"},
        {"tenant_id": "acme"},
        {"tenant_id": "*"},
    ],
)
async def test_whatever_is_wrong_the_answer_is_the_same(
    installation: Installation, fields: dict[str, str]
) -> None:
    await create(installation)
    found = await refusal(log_in(installation, **fields))
    assert (found["code"], found["reason"]) == (grpc.StatusCode.UNAUTHENTICATED, "INVALID_LOGIN")
    assert found["message"] == "the user name or the password is wrong"


async def test_logins_are_audited_without_what_may_be_a_password(installation: Installation) -> None:
    await create(installation)
    session = await log_in(installation)
    for fields in ({"password": "wrong"}, {"user_name": PASSWORD.replace(" ", "-")}):
        await refusal(log_in(installation, **fields))
    unknown, wrong, right = await audited(installation, "default", "session.create")
    assert (right.actor, right.outcome) == ("user:alice", "ok")
    assert right.resource == f"token:{token_id(session.token)}"
    assert (wrong.actor, wrong.outcome) == ("user:alice", "INVALID_LOGIN")
    assert (unknown.actor, unknown.outcome) == ("anonymous", "INVALID_LOGIN")
    assert "horse" not in str((unknown, wrong, right))


async def test_a_login_to_an_unknown_tenant_is_in_the_installations_chain(installation: Installation) -> None:
    await refusal(log_in(installation, tenant_id="acme"))
    (event,) = await audited(installation, "*", "session.create")
    assert (event.actor, event.outcome) == ("anonymous", "INVALID_LOGIN")


async def test_many_can_log_in_at_once(installation: Installation) -> None:
    await create(installation)
    sessions = await asyncio.gather(*(log_in(installation) for _ in range(4)))
    assert len({session.token for session in sessions}) == 4


async def test_a_minted_token_has_no_role(installation: Installation) -> None:
    text = await mint(installation, installation.operator, "scope = api:read", "scope = *:* telemetry:write")
    found = await who_am_i(installation, narrowed(text, label="dish"))
    assert (found.role, list(found.scopes)) == (ROLE_UNSPECIFIED, READS)
    assert (list(found.labels), found.HasField("expire_time")) == (["dish"], False)


async def test_scopes_that_exclude_each_other_leave_none(installation: Installation) -> None:
    text = await mint(installation, installation.operator, "scope = tokens:*")
    assert list((await who_am_i(installation, narrowed(text, scope="telemetry:*"))).scopes) == []


async def test_a_narrowed_session_is_still_the_users(installation: Installation) -> None:
    await create(installation)
    leaf = narrowed((await log_in(installation)).token, scope="telemetry:read")
    found = await who_am_i(installation, leaf)
    assert (found.role, list(found.scopes)) == (ROLE_ADMIN, ["telemetry:read"])


async def test_what_a_session_mints_is_nobodys_session(installation: Installation) -> None:
    await create(installation)
    minted = await mint(installation, (await log_in(installation)).token)
    found = await who_am_i(installation, minted)
    assert (found.role, list(found.labels)) == (ROLE_UNSPECIFIED, ["user:alice"])


async def test_the_operator_is_told_about_the_tenant_it_names(installation: Installation) -> None:
    await create_tenant(installation, "acme")
    assert (await who_am_i(installation, installation.operator)).tenant_id == "default"
    assert (await who_am_i(installation, installation.operator, "acme")).tenant_id == "acme"


def limits_of(found: GetSessionResponse) -> list[Any]:
    return [(limit.caveat, limit.remaining) for limit in found.limits]


async def test_tells_where_the_limits_stand(installation: Installation) -> None:
    await create_tenant(installation, "acme", samples_per_day=5000)
    parent = await mint(installation, installation.operator, "quota = 100/day", tenant_id="acme")
    child = await mint(installation, parent, "rate_limit = 10/hour")
    leaf = narrowed(child, quota="7/day")
    for left in (9, 8):
        found = await who_am_i(installation, leaf)
        assert limits_of(found) == [
            ("samples_per_day = 5000", 5000),
            ("quota = 100/day", 100),
            ("quota = 100/day", 100),
            ("rate_limit = 10/hour", left),
            ("quota = 7/day", 7),
        ]
    resets = [limit.reset_time.seconds for limit in found.limits]
    assert resets[0] % 86_400 == resets[3] % 3600 == 0
    assert all(datetime.now(UTC).timestamp() < reset for reset in resets)
