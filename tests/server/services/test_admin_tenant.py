from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration

from spacelink.admin.v1.tenant_pb2 import (
    CreateTenantRequest,
    ListTenantsRequest,
    RotateTenantKeyRequest,
    RotateTenantKeyResponse,
    Tenant,
    UpdateTenantRequest,
)
from spacelink.admin.v1.token_pb2 import MintTokenRequest
from spacelink.token import Token
from spacelink.v1.session_pb2 import GetSessionRequest
from spacelink_server.access.limits import samples_per_day
from tests.server.installation import bearer, refusal
from tests.server.services.access_calls import audited, create_tenant, mint, narrowed, tenant_admin
from tests.server.waiting import until

if TYPE_CHECKING:
    from tests.server.installation import Installation


async def rotate(installation: Installation, caller: str, **fields: Any) -> RotateTenantKeyResponse:
    request = RotateTenantKeyRequest(**fields)
    return await installation.tenant.RotateTenantKey(request, **bearer(caller))


async def update(installation: Installation, **fields: Any) -> Tenant:
    request = UpdateTenantRequest(**fields)
    answer = await installation.tenant.UpdateTenant(request, **bearer(installation.operator))
    return answer.tenant


async def list_tenants(installation: Installation, **fields: Any) -> tuple[list[Tenant], str]:
    request = ListTenantsRequest(**fields)
    answer = await installation.tenant.ListTenants(request, **bearer(installation.operator))
    return list(answer.tenants), answer.next_page_token


async def call_with(installation: Installation, token: str) -> None:
    await installation.session.GetSession(GetSessionRequest(), **bearer(token))


def key_version(text: str) -> int:
    return Token.parse(text).identifier.key_version


async def test_a_tenant_is_created_with_a_key_of_its_own(installation: Installation) -> None:
    tenant = await create_tenant(
        installation,
        "acme-1.eu_west",
        display_name="Acme ☃",
        samples_per_day=1000,
        max_devices=10,
        domains=["acme.example", "xn--bcher-kva.example"],
    )
    assert (tenant.tenant_id, tenant.display_name) == ("acme-1.eu_west", "Acme ☃")
    assert (tenant.samples_per_day, tenant.max_devices, tenant.key_version) == (1000, 10, 1)
    assert list(tenant.domains) == ["acme.example", "xn--bcher-kva.example"]
    age = datetime.now(UTC) - tenant.create_time.ToDatetime(UTC)
    assert timedelta() <= age < timedelta(minutes=5)
    assert (await list_tenants(installation))[0][0] == tenant
    await call_with(installation, await mint(installation, installation.operator, tenant_id=tenant.tenant_id))


async def test_retention_is_set_and_changed(installation: Installation) -> None:
    tenant = await create_tenant(installation, "acme", raw_retention_days=30, rollup_retention_days=365)
    assert (tenant.raw_retention_days, tenant.rollup_retention_days) == (30, 365)
    tenant = await update(installation, tenant_id="acme", raw_retention_days=0)
    assert (tenant.raw_retention_days, tenant.rollup_retention_days) == (0, 365)
    assert (await list_tenants(installation))[0][0] == tenant


async def test_a_tenant_is_created_once(installation: Installation) -> None:
    await create_tenant(installation, "acme")
    for tenant_id in ("acme", "default"):
        found = await refusal(create_tenant(installation, tenant_id))
        assert (found["code"], found["reason"]) == (
            grpc.StatusCode.ALREADY_EXISTS,
            "TENANT_ALREADY_EXISTS",
        )


async def test_a_repeated_call_gives_what_was_created(installation: Installation) -> None:
    request = CreateTenantRequest(tenant=Tenant(tenant_id="acme"), request_id="r")
    calls = [installation.tenant.CreateTenant(request, **bearer(installation.operator)) for _ in range(3)]
    first, *others = await asyncio.gather(*calls)
    assert others == [first, first]
    assert len(await audited(installation, "acme", "tenant.create")) == 1
    request.tenant.tenant_id = "globex"
    found = await refusal(installation.tenant.CreateTenant(request, **bearer(installation.operator)))
    assert found["reason"] == "REQUEST_ID_REUSED"


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"tenant_id": ""}, "tenant.tenant_id"),
        ({"tenant_id": "*"}, "tenant.tenant_id"),
        ({"tenant_id": "Acme"}, "tenant.tenant_id"),
        ({"tenant_id": "1acme"}, "tenant.tenant_id"),
        ({"tenant_id": "acme\n"}, "tenant.tenant_id"),
        ({"tenant_id": "a" * 65}, "tenant.tenant_id"),
        ({"display_name": "x" * 1001}, "tenant.display_name"),
        ({"display_name": "a\0b"}, "tenant.display_name"),
        ({"samples_per_day": -1}, "tenant.samples_per_day"),
        ({"samples_per_day": 10**15 + 1}, "tenant.samples_per_day"),
        ({"max_devices": -1}, "tenant.max_devices"),
        ({"raw_retention_days": -1}, "tenant.raw_retention_days"),
        ({"rollup_retention_days": 36_526}, "tenant.rollup_retention_days"),
        ({"domains": ["acme.example", "acme"]}, "tenant.domains[1]"),
        ({"domains": ["Acme.example"]}, "tenant.domains[0]"),
        ({"domains": ["-a.example"]}, "tenant.domains[0]"),
        ({"domains": ["acme.example"] * 101}, "tenant.domains"),
    ],
)
async def test_names_the_field_that_is_wrong(
    installation: Installation, fields: dict[str, Any], field: str
) -> None:
    fields = {"tenant_id": "acme", **fields}
    found = await refusal(create_tenant(installation, **fields))
    assert found["code"] is grpc.StatusCode.INVALID_ARGUMENT
    assert [violation.field for violation in found["BadRequest"].field_violations] == [field]


async def test_lists_tenants_in_pages(installation: Installation) -> None:
    for tenant_id in ("globex", "acme", "initech"):
        await create_tenant(installation, tenant_id)
    page, page_token = await list_tenants(installation, page_size=3)
    assert [tenant.tenant_id for tenant in page] == ["acme", "default", "globex"]
    page, page_token = await list_tenants(installation, page_size=3, page_token=page_token)
    assert ([tenant.tenant_id for tenant in page], page_token) == (["initech"], "")


async def test_an_update_changes_what_is_set(installation: Installation) -> None:
    before = await create_tenant(
        installation, "acme", display_name="a", max_devices=5, domains=["acme.example"]
    )
    after = await update(installation, tenant_id="acme", display_name="b", domains=["not.read"])
    before.display_name = "b"
    assert after == before
    after = await update(installation, tenant_id="acme", max_devices=0, update_domains=True)
    assert (after.max_devices, list(after.domains), after.display_name) == (0, [], "b")
    found = await refusal(update(installation, tenant_id="acme", samples_per_day=-1))
    assert found["BadRequest"].field_violations[0].field == "samples_per_day"
    events = await audited(installation, "acme", "tenant.update")
    assert [event.detail_json for event in events] == [
        '{"domains":[],"max_devices":0}',
        '{"display_name":"b"}',
    ]


async def test_a_quota_is_in_force_at_once(installation: Installation) -> None:
    await create_tenant(installation, "acme", samples_per_day=7)
    assert installation.directory.quotas("acme") == (samples_per_day("acme", 7),)
    await update(installation, tenant_id="acme", samples_per_day=8)
    assert installation.directory.quotas("acme") == (samples_per_day("acme", 8),)
    await update(installation, tenant_id="acme", samples_per_day=0)
    assert installation.directory.quotas("acme") == ()


async def test_what_does_not_exist_is_not_updated(installation: Installation) -> None:
    for tenant_id in ("acme", "", "*"):
        found = await refusal(update(installation, tenant_id=tenant_id))
        assert (found["code"], found["reason"]) == (grpc.StatusCode.NOT_FOUND, "TENANT_NOT_FOUND")


async def test_tenants_are_the_operators(installation: Installation) -> None:
    acme = await tenant_admin(installation, "acme")
    for call in (
        installation.tenant.CreateTenant(CreateTenantRequest(), **bearer(acme)),
        installation.tenant.ListTenants(ListTenantsRequest(), **bearer(acme)),
        installation.tenant.UpdateTenant(UpdateTenantRequest(tenant_id="acme"), **bearer(acme)),
        installation.tenant.ListTenants(
            ListTenantsRequest(), **bearer(narrowed(installation.operator, tenant="acme"))
        ),
    ):
        found = await refusal(call)
        assert (found["code"], found["reason"]) == (grpc.StatusCode.PERMISSION_DENIED, "WRONG_TENANT")


async def test_tokens_of_a_replaced_key_stay_good_for_a_while(installation: Installation) -> None:
    old = await mint(installation, installation.operator)
    answer = await rotate(installation, installation.operator, overlap=Duration(seconds=3600))
    new = await mint(installation, installation.operator)
    assert (answer.key_version, key_version(old), key_version(new)) == (2, 1, 2)
    for text in (old, new, narrowed(old, label="a")):
        await call_with(installation, text)
    left = answer.old_key_expire_time.ToDatetime(UTC) - datetime.now(UTC)
    assert timedelta(minutes=55) < left <= timedelta(hours=1)
    assert (await list_tenants(installation))[0][0].key_version == 2


async def test_tokens_of_a_replaced_key_end_after_a_while(installation: Installation) -> None:
    old = await mint(installation, installation.operator)
    answer = await rotate(installation, installation.operator, overlap=Duration(nanos=500_000_000))
    new = await mint(installation, installation.operator)
    await until(lambda: time.time_ns() > answer.old_key_expire_time.ToNanoseconds())
    assert (await refusal(call_with(installation, old)))["reason"] == "INVALID_TOKEN"
    await call_with(installation, new)


async def test_a_key_is_replaced_at_once(installation: Installation) -> None:
    old = await mint(installation, installation.operator)
    await rotate(installation, installation.operator, overlap=Duration())
    assert (await refusal(call_with(installation, old)))["reason"] == "INVALID_TOKEN"
    await call_with(installation, await mint(installation, installation.operator))


async def test_who_replaces_the_key_of_its_own_token_is_told_so(installation: Installation) -> None:
    acme = await tenant_admin(installation, "acme")
    assert (await rotate(installation, acme, overlap=Duration())).key_version == 2
    assert (await refusal(call_with(installation, acme)))["reason"] == "INVALID_TOKEN"


async def test_keys_are_replaced_by_the_day_unless_told_otherwise(installation: Installation) -> None:
    answer = await rotate(installation, installation.operator)
    left = answer.old_key_expire_time.ToDatetime(UTC) - datetime.now(UTC)
    assert timedelta(hours=23, minutes=55) < left <= timedelta(hours=24)


async def test_a_tenant_replaces_its_own_key_only(installation: Installation) -> None:
    acme, globex = [await tenant_admin(installation, name) for name in ("acme", "globex")]
    assert (await refusal(rotate(installation, acme, tenant_id="globex")))["reason"] == "WRONG_TENANT"
    await rotate(installation, acme, overlap=Duration(seconds=60))
    assert installation.keys.current_version("acme") == 2
    assert installation.keys.current_version("globex") == 1
    (event,) = await audited(installation, "acme", "tenant.rotate_key")
    assert event.detail_json == '{"key_version":2,"overlap_seconds":60}'
    await call_with(installation, globex)


async def test_the_installation_replaces_its_key(installation: Installation) -> None:
    successor = await mint(installation, installation.operator, tenant_id="*")
    answer = await rotate(installation, installation.operator, tenant_id="*")
    assert answer.key_version == 2
    for text in (installation.operator, successor):
        await call_with(installation, text)


@pytest.mark.parametrize("seconds", [0, 59])
async def test_operators_are_left_time_to_mint_their_successors(
    installation: Installation, seconds: int
) -> None:
    overlap = Duration(seconds=seconds)
    found = await refusal(rotate(installation, installation.operator, tenant_id="*", overlap=overlap))
    assert found["BadRequest"].field_violations[0].field == "overlap"
    assert installation.keys.current_version("*") == 1


async def test_a_request_answered_before_a_rotation_cannot_be_repeated_behind_it(
    installation: Installation,
) -> None:
    request = MintTokenRequest(request_id="r")
    await installation.token.MintToken(request, **bearer(installation.operator))
    await rotate(installation, installation.operator, overlap=Duration())
    found = await refusal(installation.token.MintToken(request, **bearer(installation.operator)))
    assert (found["code"], found["reason"]) == (grpc.StatusCode.FAILED_PRECONDITION, "KEY_EXPIRED")


@pytest.mark.parametrize("overlap", [Duration(seconds=-1), Duration(seconds=367 * 86_400)])
async def test_refuses_an_overlap_out_of_range(installation: Installation, overlap: Duration) -> None:
    found = await refusal(rotate(installation, installation.operator, overlap=overlap))
    assert found["BadRequest"].field_violations[0].field == "overlap"
