from __future__ import annotations

from typing import TYPE_CHECKING, Any

import grpc
import pytest

from spacelink.admin.v1.account_pb2 import CreateUserRequest
from spacelink.admin.v1.tenant_pb2 import ListTenantsRequest
from spacelink.v1 import partner_pb2 as pb
from spacelink.v1.session_pb2 import (
    ROLE_ADMIN,
    ROLE_CUSTOMER,
    ROLE_PARTNER,
    CreateSessionRequest,
    GetSessionRequest,
)
from spacelink_server.storage import ip_allowlists, partners
from tests.server.installation import bearer, refusal
from tests.server.services.access_calls import audited, create_tenant, mint, narrowed, tenant_admin

if TYPE_CHECKING:
    from pathlib import Path

    from tests.server.installation import Installation

PASSWORD = "correct horse 9"
ACME = {
    "tenant_id": "acme",
    "display_name": "ACME Corporation ☃",
    "contact_email": "ops@acme.example",
    "user_name": "anna",
    "password": PASSWORD,
}


async def register(installation: Installation, **fields: Any) -> str:
    """Register without a credential, and give the partner's id."""
    request = pb.RegisterPartnerRequest(**(ACME | fields))
    return (await installation.partner.RegisterPartner(request)).partner_id


async def call(installation: Installation, method: str, caller: str = "", **fields: Any) -> Any:
    """Call a method of PartnerService, by default as the operator."""
    request = getattr(pb, f"{method}Request")(**fields)
    return await getattr(installation.partner, method)(request, **bearer(caller or installation.operator))


async def log_in(installation: Installation, tenant_id: str, user_name: str = "anna") -> str:
    request = CreateSessionRequest(tenant_id=tenant_id, user_name=user_name, password=PASSWORD)
    return (await installation.session.CreateSession(request)).token


async def user(installation: Installation, role: Any) -> str:
    """Make a user of the default tenant, and give a session of it."""
    request = CreateUserRequest(user_name=f"user-{role}", password=PASSWORD, role=role)
    await installation.account.CreateUser(request, **bearer(installation.operator))
    return await log_in(installation, "default", f"user-{role}")


async def tenants(installation: Installation) -> list[str]:
    answer = await installation.tenant.ListTenants(ListTenantsRequest(), **bearer(installation.operator))
    return [tenant.tenant_id for tenant in answer.tenants]


async def test_a_partner_registers_and_is_approved(installation: Installation) -> None:
    partner_id = await register(installation)
    (pending,) = (await call(installation, "ListPartners")).partners
    assert (pending.partner_id, pending.state) == (partner_id, pb.PARTNER_STATE_PENDING)
    assert (pending.tenant_id, pending.user_name) == ("acme", "anna")
    assert not pending.HasField("approve_time")
    assert await tenants(installation) == ["default"]
    assert (await refusal(log_in(installation, "acme")))["reason"] == "INVALID_LOGIN"
    admin = await user(installation, ROLE_ADMIN)
    answer = await call(installation, "ApprovePartner", admin, partner_id=partner_id, samples_per_day=5000)
    approved = answer.partner
    assert approved.state == pb.PARTNER_STATE_APPROVED
    assert approved.HasField("approve_time")
    session = await log_in(installation, "acme")
    me = await installation.session.GetSession(GetSessionRequest(), **bearer(session))
    assert (me.tenant_id, me.role) == ("acme", ROLE_PARTNER)
    assert [limit.caveat for limit in me.limits] == ["samples_per_day = 5000"]
    assert "tenants:write" not in me.scopes
    key = await call(installation, "GenerateApiKey", session)
    assert key.secret.startswith("slak_acme.")


async def test_what_is_done_about_partners_is_audited(installation: Installation) -> None:
    partner_id = await register(installation)
    await call(installation, "ApprovePartner", partner_id=partner_id)
    await call(installation, "CreatePartner", **(ACME | {"tenant_id": "globex"}))
    found = [event for event in await audited(installation, "default") if "partner" in event.action]
    assert [event.action for event in found] == ["partner.create", "partner.approve", "partner.register"]
    assert [event.resource for event in found[1:]] == [f"partner:{partner_id}"] * 2
    assert found[2].actor == "anonymous"
    assert {event.action for event in await audited(installation, "acme")} == {
        "tenant.create",
        "account.create",
    }


async def test_a_password_is_stored_as_its_hash_and_once(installation: Installation, tmp_path: Path) -> None:
    partner_id = await register(installation)
    stored = await installation.database.read(lambda c: partners.get(c, "default", partner_id))
    assert stored is not None
    assert stored.password_hash.startswith("$argon2id$")
    await call(installation, "ApprovePartner", partner_id=partner_id)
    stored = await installation.database.read(lambda c: partners.get(c, "default", partner_id))
    assert stored is not None
    assert stored.password_hash == ""
    data = b"".join(path.read_bytes() for path in (tmp_path / "data").glob("spacelink.db*"))
    assert PASSWORD.encode() not in data


async def test_the_answer_to_a_registration_reveals_nothing(installation: Installation) -> None:
    """Not whether there is such a tenant, such a registration, or such a user."""
    await create_tenant(installation, "taken")
    answers = [
        await register(installation, **fields)
        for fields in ({}, {}, {"tenant_id": "taken"}, {"tenant_id": "default"})
    ]
    assert {len(answer) for answer in answers} == {32}
    assert len(set(answers)) == 4


async def test_what_cannot_be_approved(installation: Installation) -> None:
    first, second = [await register(installation) for _ in range(2)]
    await call(installation, "ApprovePartner", partner_id=first)
    for fields, code, reason in (
        ({"partner_id": first}, grpc.StatusCode.FAILED_PRECONDITION, "PARTNER_ALREADY_APPROVED"),
        ({"partner_id": second}, grpc.StatusCode.ALREADY_EXISTS, "TENANT_ALREADY_EXISTS"),
        ({"partner_id": "0" * 32}, grpc.StatusCode.NOT_FOUND, "PARTNER_NOT_FOUND"),
        ({"partner_id": second, "tenant_id": "No"}, grpc.StatusCode.INVALID_ARGUMENT, "INVALID_ARGUMENT"),
        ({"partner_id": second, "max_devices": -1}, grpc.StatusCode.INVALID_ARGUMENT, "INVALID_ARGUMENT"),
    ):
        found = await refusal(call(installation, "ApprovePartner", **fields))
        assert (found["code"], found["reason"]) == (code, reason)
    answer = await call(installation, "ApprovePartner", partner_id=second, tenant_id="acme-2")
    assert answer.partner.tenant_id == "acme-2"
    await log_in(installation, "acme-2")


async def test_registrations_are_few(installation: Installation) -> None:
    """From one address in an hour; what is wrong is not counted."""
    for _ in range(3):
        await refusal(register(installation, password="short"))
    for _ in range(5):
        await register(installation)
    found = await refusal(register(installation))
    assert (found["code"], found["reason"]) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "RATE_LIMITED")
    assert found["RetryInfo"].retry_delay.seconds > 0
    installation.clock.ahead = 3600
    await register(installation)


async def test_registrations_that_nobody_approves_are_forgotten(installation: Installation) -> None:
    old, kept = [await register(installation) for _ in range(2)]
    month = 30 * 86_400 * 10**9

    def age(connection: Any) -> None:
        row = partners.get(connection, "default", old)
        assert row is not None
        partners.update(connection, row._replace(create_time=row.create_time - month))

    await installation.database.write(age)
    new = await register(installation)
    listed = (await call(installation, "ListPartners")).partners
    assert [partner.partner_id for partner in listed] == [new, kept]


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"tenant_id": ""}, "tenant_id"),
        ({"tenant_id": "Acme"}, "tenant_id"),
        ({"tenant_id": "globex-sandbox"}, "tenant_id"),
        ({"display_name": " "}, "display_name"),
        ({"display_name": "x" * 1001}, "display_name"),
        ({"contact_email": "nobody"}, "contact_email"),
        ({"contact_email": "a@b\r\nc"}, "contact_email"),
        ({"user_name": "a b"}, "user_name"),
        ({"user_name": "x" * 124}, "user_name"),
        ({"password": "short"}, "password"),
    ],
)
async def test_names_the_field_that_is_wrong(
    installation: Installation, fields: dict[str, Any], field: str
) -> None:
    for found in (
        await refusal(register(installation, **fields)),
        await refusal(call(installation, "CreatePartner", **(ACME | fields))),
    ):
        assert found["code"] is grpc.StatusCode.INVALID_ARGUMENT
        assert [violation.field for violation in found["BadRequest"].field_violations] == [field]
        assert PASSWORD not in found["message"]


async def test_an_administrator_makes_a_partner(installation: Installation) -> None:
    admin = await user(installation, ROLE_ADMIN)
    made = (await call(installation, "CreatePartner", admin, **ACME, max_devices=7)).partner
    assert (made.state, made.tenant_id) == (pb.PARTNER_STATE_APPROVED, "acme")
    await log_in(installation, "acme")
    found = await refusal(call(installation, "CreatePartner", admin, **ACME))
    assert found["reason"] == "TENANT_ALREADY_EXISTS"
    assert len((await call(installation, "ListPartners")).partners) == 1


async def test_only_administrators_of_the_default_tenant_make_partners(installation: Installation) -> None:
    partner_id = await register(installation)
    callers = {
        await user(installation, ROLE_PARTNER): "SCOPE_DENIED",
        await user(installation, ROLE_CUSTOMER): "SCOPE_DENIED",
        await tenant_admin(installation, "globex"): "WRONG_TENANT",
    }
    for caller, reason in callers.items():
        for method, fields in (("CreatePartner", ACME), ("ApprovePartner", {"partner_id": partner_id})):
            found = await refusal(call(installation, method, caller, **fields))
            assert (found["code"], found["reason"]) == (grpc.StatusCode.PERMISSION_DENIED, reason)


async def test_who_sees_which_partners(installation: Installation) -> None:
    await register(installation, tenant_id="globex")
    made = [
        (await call(installation, "CreatePartner", **(ACME | {"tenant_id": name}))).partner
        for name in ("acme", "initech")
    ]

    async def seen(caller: str, **fields: Any) -> list[str]:
        listed = await call(installation, "ListPartners", caller, **fields)
        return [partner.tenant_id for partner in listed.partners]

    admin = await user(installation, ROLE_ADMIN)
    everything = ["initech", "acme", "globex"]
    assert await seen(admin) == await seen(installation.operator) == everything
    assert await seen(admin, state=pb.PARTNER_STATE_PENDING) == ["globex"]
    assert await seen(admin, state=pb.PARTNER_STATE_APPROVED) == ["initech", "acme"]
    assert await seen(await log_in(installation, "acme")) == [made[0].tenant_id]
    assert await seen(await user(installation, ROLE_PARTNER)) == []
    # That somebody asks for a tenant's name does not make it that tenant's.
    assert await seen(await tenant_admin(installation, "globex")) == []
    page = await call(installation, "ListPartners", page_size=2)
    rest = await call(installation, "ListPartners", page_size=2, page_token=page.next_page_token)
    assert [partner.tenant_id for partner in (*page.partners, *rest.partners)] == everything
    assert rest.next_page_token == ""
    assert (await refusal(call(installation, "ListPartners", state=9)))["code"].value[0] == 3


async def whoami(installation: Installation, credential: dict[str, Any]) -> str:
    return (await installation.session.GetSession(GetSessionRequest(), **credential)).tenant_id


async def test_a_tenants_credentials_are_good_from_its_addresses_only(installation: Installation) -> None:
    acme = await tenant_admin(installation, "acme")
    secret = (await call(installation, "GenerateApiKey", acme)).secret
    key = {"metadata": [("x-api-key", secret)]}
    answer = await call(installation, "SetIpAllowlist", acme, cidrs=["2001:db8::/32", "127.0.0.0/8"])
    assert list(answer.cidrs) == ["127.0.0.0/8", "2001:db8::/32"]
    assert await whoami(installation, bearer(acme)) == await whoami(installation, key) == "acme"
    assert list((await call(installation, "GetIpAllowlist", acme)).cidrs) == list(answer.cidrs)
    about_acme = bearer(installation.operator, "acme")
    request = pb.SetIpAllowlistRequest(cidrs=["192.0.2.7"])
    answer = await installation.partner.SetIpAllowlist(request, **about_acme)
    assert list(answer.cidrs) == ["192.0.2.7/32"]
    for credential in (bearer(acme), bearer(narrowed(acme, label="a")), key):
        found = await refusal(whoami(installation, credential))
        assert (found["code"], found["reason"]) == (grpc.StatusCode.PERMISSION_DENIED, "ADDRESS_DENIED")
    assert await whoami(installation, bearer(installation.operator)) == "default"
    assert await whoami(installation, about_acme) == "acme"
    await installation.partner.SetIpAllowlist(pb.SetIpAllowlistRequest(), **about_acme)
    assert await whoami(installation, bearer(acme)) == "acme"
    events = await audited(installation, "acme", "ip_allowlist.set")
    assert [event.detail_json for event in events] == [
        '{"cidrs":[]}',
        '{"cidrs":["192.0.2.7/32"]}',
        '{"cidrs":["127.0.0.0/8","2001:db8::/32"]}',
    ]


async def test_an_allowlist_that_another_server_has_set_is_heard_of(installation: Installation) -> None:
    acme = await tenant_admin(installation, "acme")
    await installation.database.write(lambda c: ip_allowlists.replace(c, "acme", ["192.0.2.0/24"]))
    assert await whoami(installation, bearer(acme)) == "acme"
    await installation.directory._poll()
    assert (await refusal(whoami(installation, bearer(acme))))["reason"] == "ADDRESS_DENIED"


async def test_nobody_locks_itself_out(installation: Installation) -> None:
    acme = await tenant_admin(installation, "acme")
    found = await refusal(call(installation, "SetIpAllowlist", acme, cidrs=["192.0.2.0/24"]))
    assert (found["code"], found["reason"]) == (grpc.StatusCode.INVALID_ARGUMENT, "WOULD_LOCK_OUT")
    assert await whoami(installation, bearer(acme)) == "acme"


@pytest.mark.parametrize("cidr", ["", "example.com", "10.0.0.1/8", "10.0.0.0/33", "fe80::1%eth0/128"])
async def test_names_the_network_that_is_wrong(installation: Installation, cidr: str) -> None:
    found = await refusal(call(installation, "SetIpAllowlist", cidrs=["10.0.0.0/8", cidr]))
    assert [violation.field for violation in found["BadRequest"].field_violations] == ["cidrs[1]"]


async def test_a_list_has_an_end(installation: Installation) -> None:
    cidrs = [f"10.0.0.{number}" for number in range(101)]
    found = await refusal(call(installation, "SetIpAllowlist", cidrs=cidrs))
    assert [violation.field for violation in found["BadRequest"].field_violations] == ["cidrs"]


async def test_the_roles_of_others(installation: Installation) -> None:
    customer = await user(installation, ROLE_CUSTOMER)
    for method in ("SetIpAllowlist", "CreateSandbox", "ResetSandbox", "CreateWebhook"):
        assert (await refusal(call(installation, method, customer)))["reason"] == "SCOPE_DENIED"
    await call(installation, "GetIpAllowlist", customer)
    telemetry = await mint(installation, installation.operator, "scope = telemetry:*")
    assert (await refusal(call(installation, "GetIpAllowlist", telemetry)))["reason"] == "SCOPE_DENIED"


async def test_a_tenant_that_is_not_a_sandbox_may_be_named_like_one(installation: Installation) -> None:
    """By operators, who know what they do; it is nobody's sandbox for that."""
    acme = await tenant_admin(installation, "acme")
    await create_tenant(installation, "acme-sandbox")
    assert (await refusal(call(installation, "CreateSandbox", acme)))["reason"] == "TENANT_ALREADY_EXISTS"
    assert (await refusal(call(installation, "ResetSandbox", acme)))["reason"] == "SANDBOX_NOT_FOUND"
