"""The SDK's sessions, API keys and admin calls against the server's own services."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest

from spacelink import AsyncAdminClient, AsyncSpaceLinkClient, Token, audit
from spacelink.errors import (
    AlreadyExistsError,
    NotFoundError,
    PermissionDeniedError,
    SpaceLinkError,
    UnauthenticatedError,
)
from tests.server.installation import Installation, running
from tests.server.stores import Place

PASSWORD = "correct horse battery staple"


@pytest.fixture
async def installation(tmp_path: Path) -> AsyncIterator[Installation]:
    async with running(Place(tmp_path)) as installation:
        yield installation


@pytest.fixture
async def operator(installation: Installation) -> AsyncIterator[AsyncAdminClient]:
    """Give the operator's client, with a tenant acme there."""
    async with AsyncAdminClient(installation.address, token=installation.operator) as operator:
        await operator.create_tenant("acme", samples_per_day=1000)
        yield operator


async def who(installation: Installation, token: Token | None = None, api_key: str | None = None) -> str:
    """Give the tenant that a credential is good for, or why it is not."""
    async with AsyncSpaceLinkClient(installation.address, token=token, api_key=api_key) as client:
        try:
            return (await client.get_session()).tenant_id
        except SpaceLinkError as error:
            return error.reason


async def test_without_a_credential(installation: Installation) -> None:
    assert await who(installation) == "CREDENTIAL_REQUIRED"
    async with AsyncAdminClient(installation.address) as nobody:
        with pytest.raises(UnauthenticatedError):
            await nobody.mint_token()


async def test_a_minted_token_is_narrowed_banned_and_unbanned(
    installation: Installation, operator: AsyncAdminClient
) -> None:
    token = await operator.mint_token(tenant_id="acme", scope=["tokens:*", "telemetry:*"], label="acme")
    child = token.attenuate(device="site-7/*", expires=timedelta(hours=1))
    assert await who(installation, child) == "acme"
    found = await operator.inspect_token(child)
    assert (found.authentic, found.banned, found.tenant_id) == (True, False, "acme")
    assert found.caveats[0] == "tenant = acme"
    assert found.digests[-1] == child.inspect().digest
    ban = await operator.ban_token(token=token, reason="leaked")
    assert ban.digest == found.digests[-3]
    assert await who(installation, child) == "TOKEN_BANNED"
    assert [b.ban_id async for b in operator.list_bans(tenant_id="acme")] == [ban.ban_id]
    assert [t.token_id async for t in operator.list_tokens(tenant_id="acme")] == [token.identifier.token_id]
    await operator.unban_token(ban_id=ban.ban_id, tenant_id="acme")
    assert await who(installation, child) == "acme"
    with pytest.raises(NotFoundError):
        await operator.unban_token(token=token)


async def test_what_was_presented_is_in_the_graph(
    installation: Installation, operator: AsyncAdminClient
) -> None:
    token = await operator.mint_token(tenant_id="acme")
    await who(installation, token.attenuate(label="a"))
    await installation.lineage.flush()
    nodes = await operator.get_token_graph(tenant_id="acme")
    assert [node.caveat for node in nodes] == ["", "tenant = acme", "label = a"]
    assert [node.parent_digest for node in nodes[1:]] == [node.digest for node in nodes[:-1]]
    assert nodes[-1].use_count == 1


async def test_a_user_logs_in_until_something_changes(
    installation: Installation, operator: AsyncAdminClient
) -> None:
    user = await operator.create_user("anna", PASSWORD, "customer", tenant_id="acme")
    assert (user.tenant_id, user.role, user.disabled) == ("acme", "customer", False)
    with pytest.raises(AlreadyExistsError):
        await operator.create_user("anna", PASSWORD, "customer", tenant_id="acme")
    async with AsyncSpaceLinkClient(installation.address) as client:
        session = await client.create_session("anna", PASSWORD, tenant_id="acme")
        assert session.role == "customer"
        with pytest.raises(UnauthenticatedError):
            await client.create_session("anna", "another", tenant_id="acme")
    assert await who(installation, session.token) == "acme"
    await operator.set_role("anna", "read_only", tenant_id="acme")
    assert await who(installation, session.token) == "TOKEN_BANNED"
    await operator.disable_user("anna", tenant_id="acme")
    assert [u.disabled async for u in operator.list_users(tenant_id="acme")] == [True]


async def test_an_api_key_stands_for_a_token_until_it_is_replaced(
    installation: Installation, operator: AsyncAdminClient
) -> None:
    token = await operator.mint_token(tenant_id="acme", scope="partners:*")
    async with AsyncSpaceLinkClient(installation.address, token=token) as client:
        first = await client.generate_api_key("dashboard", rate_limit="100/minute")
        assert "rate_limit = 100/minute" in first.api_key.caveats
        assert await who(installation, api_key=first.secret) == "acme"
        second = await client.rotate_api_key(first.api_key.key_id, overlap=timedelta(0))
        assert await who(installation, api_key=second.secret) == "acme"
        assert await who(installation, api_key=first.secret) in {"INVALID_TOKEN", "TOKEN_BANNED"}
        await client.revoke_api_key(second.api_key.key_id)
        assert await who(installation, api_key=second.secret) in {"INVALID_TOKEN", "TOKEN_BANNED"}
        assert {key.display_name async for key in client.list_api_keys()} == {"dashboard"}


async def test_the_operator_says_which_tenant_a_call_is_about(
    installation: Installation, operator: AsyncAdminClient
) -> None:
    options = {"token": installation.operator, "tenant": "acme"}
    async with AsyncSpaceLinkClient(installation.address, **options) as client:  # type: ignore[arg-type]
        assert (await client.get_session()).tenant_id == "acme"
    token = await operator.mint_token(tenant_id="acme")
    async with AsyncSpaceLinkClient(installation.address, token=token, tenant="default") as client:
        with pytest.raises(PermissionDeniedError) as caught:
            await client.get_session()
    assert caught.value.reason == "WRONG_TENANT"


async def test_an_operator_mints_a_successor_for_the_time_after_its_key(
    installation: Installation, operator: AsyncAdminClient
) -> None:
    await operator.rotate_tenant_key("*", overlap=timedelta(minutes=10))
    successor = await operator.mint_token(tenant_id="*", label="second")
    assert (successor.identifier.tenant, successor.identifier.key_version) == ("*", 2)
    installation.clock.ahead = 601
    assert await who(installation, Token.parse(installation.operator)) in {"INVALID_TOKEN", "TOKEN_EXPIRED"}
    async with AsyncAdminClient(installation.address, token=successor) as second:
        assert {tenant.tenant_id async for tenant in second.list_tenants()} == {"acme", "default"}
        acme = await second.mint_token(tenant_id="acme")
    async with AsyncAdminClient(installation.address, token=acme) as tenants:
        with pytest.raises(PermissionDeniedError):
            await tenants.mint_token(tenant_id="*")


async def test_tenants_and_their_keys(operator: AsyncAdminClient) -> None:
    assert [tenant.tenant_id async for tenant in operator.list_tenants()] == ["acme", "default"]
    changed = await operator.update_tenant("acme", display_name="Acme", domains=["acme.example"])
    assert (changed.display_name, changed.samples_per_day, changed.domains) == (
        "Acme",
        1000,
        ("acme.example",),
    )
    assert (await operator.rotate_tenant_key("acme")).key_version == 2
    with pytest.raises(NotFoundError):
        await operator.update_tenant("nobody", max_devices=1)


async def test_what_was_done_is_exported_and_verified(operator: AsyncAdminClient) -> None:
    token = await operator.mint_token(tenant_id="acme")
    events = [event async for event in operator.list_audit_events(tenant_id="acme")]
    assert events[0].action == "token.mint"
    assert events[0].resource == f"token:{token.identifier.token_id}"
    lines = [line async for line in operator.export_audit(tenant_id="acme")]
    offline = audit.verify(lines, events[0].event_hash)
    assert offline.intact
    assert await operator.verify_audit(tenant_id="acme", expected_head=offline.head) == offline
    assert not any(str(token).encode() in line for line in lines)
