"""Sessions, API keys and the admin plane: what is asked, and what is made of the answers."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from spacelink import AdminClient, AsyncAdminClient, SpaceLinkClient, audit, errors, records
from spacelink.admin.v1 import account_pb2, audit_pb2, governance_pb2, tenant_pb2, token_pb2
from spacelink.v1 import partner_pb2, session_pb2
from tests.client.recorder import Recorder
from tests.client.tokens import minted

NOON = datetime(2026, 1, 31, 12, tzinfo=UTC)
NOON_MESSAGE = Timestamp(seconds=1_769_860_800)
TOKEN = minted()
SECRET = "slak_acme.key.secret"


@pytest.fixture
def client(recorder: Recorder) -> Iterator[SpaceLinkClient]:
    with SpaceLinkClient(recorder.address) as client:
        yield client


@pytest.fixture
def admin(recorder: Recorder) -> Iterator[AdminClient]:
    with AdminClient(recorder.address) as admin:
        yield admin


def test_a_session_tells_who_one_is(recorder: Recorder, client: SpaceLinkClient) -> None:
    limit = session_pb2.SessionLimit(caveat="quota = 10/day", remaining=3, reset_time=NOON_MESSAGE)
    recorder.answers["GetSession"] = session_pb2.GetSessionResponse(
        tenant_id="acme",
        token_id="t",
        role=session_pb2.ROLE_READ_ONLY,
        scopes=["telemetry:read"],
        expire_time=NOON_MESSAGE,
        labels=["user:anna"],
        limits=[limit],
    )
    assert client.get_session() == records.SessionInfo(
        "acme",
        "t",
        "read_only",
        ("telemetry:read",),
        NOON,
        ("user:anna",),
        (records.SessionLimit("quota = 10/day", 3, NOON),),
    )


def test_what_the_server_leaves_out_is_none_or_empty(recorder: Recorder, client: SpaceLinkClient) -> None:
    assert client.get_session() == records.SessionInfo("", "", "", (), None, (), ())
    recorder.answers["GetSession"] = session_pb2.GetSessionResponse(role=99)  # type: ignore[arg-type]
    assert client.get_session().role == ""


def test_a_new_api_key_is_shown_once(recorder: Recorder, client: SpaceLinkClient) -> None:
    kept = partner_pb2.ApiKey(key_id="k", display_name="dashboard", caveats=["tenant = acme"])
    recorder.answers["GenerateApiKey"] = partner_pb2.GenerateApiKeyResponse(secret=SECRET, api_key=kept)
    key = client.generate_api_key("dashboard", scope=["telemetry:read", "networks:read"], expires=NOON)
    assert key.secret == SECRET
    assert SECRET not in repr(key)
    assert key.api_key == records.ApiKey("k", "dashboard", ("tenant = acme",), None, None, None, False)
    request = recorder.take("GenerateApiKey").request
    assert request.display_name == "dashboard"
    assert list(request.caveats) == [
        "scope = telemetry:read networks:read",
        "expires = 2026-01-31T12:00:00Z",
    ]
    assert uuid.UUID(request.request_id)


def test_an_api_key_whose_answer_was_lost_is_named(recorder: Recorder, client: SpaceLinkClient) -> None:
    recorder.answers["GenerateApiKey"] = partner_pb2.GenerateApiKeyResponse(
        api_key=partner_pb2.ApiKey(key_id="k-17")
    )
    with pytest.raises(errors.AlreadyExistsError, match="API key k-17 was made"):
        client.generate_api_key()


def test_rotating_tells_how_long_the_old_key_stays(recorder: Recorder, client: SpaceLinkClient) -> None:
    recorder.answers["RotateApiKey"] = partner_pb2.RotateApiKeyResponse(secret=SECRET)
    assert client.rotate_api_key("k").secret == SECRET
    assert recorder.take("RotateApiKey").request == partner_pb2.RotateApiKeyRequest(key_id="k")
    client.rotate_api_key("k", overlap=timedelta(0))
    request = recorder.take("RotateApiKey").request
    assert request == partner_pb2.RotateApiKeyRequest(key_id="k", overlap=Duration())


def test_lists_follow_all_pages(recorder: Recorder, client: SpaceLinkClient) -> None:
    recorder.answers["ListApiKeys"] = [
        partner_pb2.ListApiKeysResponse(
            api_keys=[partner_pb2.ApiKey(key_id=key_id) for key_id in page], next_page_token=following
        )
        for page, following in (("ab", "more"), ("c", ""))
    ]
    assert [key.key_id for key in client.list_api_keys()] == ["a", "b", "c"]
    assert [call.request.page_token for call in recorder.calls] == ["", "more"]
    assert {call.request.page_size for call in recorder.calls} == {1000}


def test_a_minted_token_is_bound_as_said(recorder: Recorder, admin: AdminClient) -> None:
    recorder.answers["MintToken"] = token_pb2.MintTokenResponse(token=str(TOKEN))
    assert admin.mint_token(tenant_id="acme", device="site-7/*", rate_limit="100/minute") == TOKEN
    request = recorder.take("MintToken").request
    assert request.tenant_id == "acme"
    assert list(request.caveats) == ["device = site-7/*", "rate_limit = 100/minute"]
    assert uuid.UUID(request.request_id)


def test_a_bound_that_is_none_is_refused_before_the_call(recorder: Recorder, admin: AdminClient) -> None:
    with pytest.raises(ValueError, match="quota: expected amount/unit"):
        admin.mint_token(quota="10/week")
    assert recorder.calls == []


def test_what_a_server_knows_of_a_token(recorder: Recorder, admin: AdminClient) -> None:
    recorder.answers["InspectToken"] = token_pb2.InspectTokenResponse(
        authentic=True, tenant_id="acme", token_id="t", key_version=2, caveats=["a"], digests=["d0", "d1"]
    )
    found = admin.inspect_token(TOKEN)
    assert found == records.TokenInspection(True, False, "acme", "t", 2, ("a",), None, ("d0", "d1"))
    assert recorder.take("InspectToken").request.token == str(TOKEN)
    recorder.answers["ListTokens"] = token_pb2.ListTokensResponse(
        tokens=[
            token_pb2.MintedToken(token_id="t", caveats=["a"], mint_time=NOON_MESSAGE, minter="user:anna")
        ]
    )
    assert list(admin.list_tokens()) == [records.MintedToken("t", ("a",), NOON, "user:anna", False)]


@pytest.mark.parametrize(
    ("given", "field", "value"),
    [
        ({"token": TOKEN}, "token", str(TOKEN)),
        ({"token": str(TOKEN)}, "token", str(TOKEN)),
        ({"signature": "ab" * 32}, "signature", "ab" * 32),
        ({"token_id": "t"}, "token_id", "t"),
        ({"digest": "cd" * 32}, "digest", "cd" * 32),
        ({"minted_before": NOON}, "minted_before", NOON_MESSAGE),
        ({"minted_before": "2026-01-31T12:00:00Z"}, "minted_before", NOON_MESSAGE),
    ],
)
def test_a_ban_names_its_target_in_one_way(
    recorder: Recorder, admin: AdminClient, given: dict[str, Any], field: str, value: Any
) -> None:
    ban = governance_pb2.Ban(
        ban_id="b", digest="d", reason="leaked", create_time=NOON_MESSAGE, actor="user:a"
    )
    recorder.answers["BanToken"] = governance_pb2.BanTokenResponse(ban=ban)
    made = admin.ban_token(**given, reason="leaked", tenant_id="acme")
    assert made == records.Ban("b", "", "d", "", None, "leaked", NOON, "user:a")
    request = recorder.take("BanToken").request
    assert (request.WhichOneof("target"), getattr(request, field)) == (field, value)
    assert (request.reason, request.tenant_id) == ("leaked", "acme")


@pytest.mark.parametrize("given", [{}, {"token": TOKEN, "token_id": "t"}])
def test_a_ban_without_one_target_is_refused(
    recorder: Recorder, admin: AdminClient, given: dict[str, Any]
) -> None:
    for call in (admin.ban_token, admin.unban_token):
        with pytest.raises(ValueError, match="expected one of") as caught:
            call(**given)
        assert str(TOKEN) not in str(caught.value)
    assert recorder.calls == []


@pytest.mark.parametrize(
    ("given", "field"),
    [({"ban_id": "b"}, "ban_id"), ({"token_id": "t"}, "token_id"), ({"token": "x"}, "token")],
)
def test_unbanning(recorder: Recorder, admin: AdminClient, given: dict[str, str], field: str) -> None:
    admin.unban_token(**given, tenant_id="*")
    request = recorder.take("UnbanToken").request
    assert (request.WhichOneof("target"), getattr(request, field)) == (field, given[field])
    assert request.tenant_id == "*"


def test_bans_and_lineage(recorder: Recorder, admin: AdminClient) -> None:
    recorder.answers["ListBans"] = governance_pb2.ListBansResponse(
        bans=[governance_pb2.Ban(ban_id="b", minted_before=NOON_MESSAGE)]
    )
    assert [ban.minted_before for ban in admin.list_bans(tenant_id="acme")] == [NOON]
    assert recorder.take("ListBans").request.tenant_id == "acme"
    node = governance_pb2.TokenNode(
        digest="d1",
        parent_digest="d0",
        token_id="t",
        caveat="label = a",
        use_count=7,
        first_use_time=NOON_MESSAGE,
        banned=True,
    )
    recorder.answers["GetTokenGraph"] = governance_pb2.GetTokenGraphResponse(nodes=[node])
    nodes = admin.get_token_graph(token_id="t")
    assert nodes == [records.TokenNode("d1", "d0", "t", "label = a", 7, NOON, None, True)]


def test_tenants(recorder: Recorder, admin: AdminClient) -> None:
    message = tenant_pb2.Tenant(
        tenant_id="acme",
        display_name="Acme",
        samples_per_day=10,
        domains=["a.example"],
        key_version=1,
        raw_retention_days=30,
        rollup_retention_days=365,
    )
    acme = records.Tenant("acme", "Acme", 10, 0, ("a.example",), None, 1, 30, 365)
    recorder.answers = {
        "CreateTenant": tenant_pb2.CreateTenantResponse(tenant=message),
        "UpdateTenant": tenant_pb2.UpdateTenantResponse(tenant=message),
        "ListTenants": tenant_pb2.ListTenantsResponse(tenants=[message]),
        "RotateTenantKey": tenant_pb2.RotateTenantKeyResponse(
            key_version=2, old_key_expire_time=NOON_MESSAGE
        ),
    }
    made = admin.create_tenant(
        "acme",
        display_name="Acme",
        samples_per_day=10,
        domains=["a.example"],
        raw_retention_days=30,
        rollup_retention_days=365,
    )
    assert made == acme
    request = recorder.take("CreateTenant").request
    message.ClearField("key_version")
    assert request.tenant == message
    assert uuid.UUID(request.request_id)
    assert list(admin.list_tenants()) == [acme]
    recorder.calls.clear()
    assert admin.rotate_tenant_key("acme", overlap=timedelta(days=7)) == records.KeyRotation(2, NOON)
    assert recorder.take("RotateTenantKey").request.overlap == Duration(seconds=7 * 86_400)


def test_an_update_changes_what_it_names_only(recorder: Recorder, admin: AdminClient) -> None:
    admin.update_tenant("acme", samples_per_day=0)
    request = recorder.take("UpdateTenant").request
    assert request == tenant_pb2.UpdateTenantRequest(tenant_id="acme", samples_per_day=0)
    assert not request.HasField("max_devices")
    admin.update_tenant("acme", display_name="A", max_devices=5, domains=())
    assert recorder.take("UpdateTenant").request == tenant_pb2.UpdateTenantRequest(
        tenant_id="acme", display_name="A", max_devices=5, update_domains=True
    )


def test_users(recorder: Recorder, admin: AdminClient) -> None:
    message = account_pb2.User(tenant_id="acme", user_name="anna", role=session_pb2.ROLE_PARTNER)
    anna = records.User("acme", "anna", "partner", False, None)
    recorder.answers = {
        "CreateUser": account_pb2.CreateUserResponse(user=message),
        "ListUsers": account_pb2.ListUsersResponse(users=[message]),
    }
    assert admin.create_user("anna", "a password", "partner", tenant_id="acme") == anna
    assert recorder.take("CreateUser").request == account_pb2.CreateUserRequest(
        tenant_id="acme", user_name="anna", password="a password", role=session_pb2.ROLE_PARTNER
    )
    assert list(admin.list_users(tenant_id="acme")) == [anna]
    recorder.calls.clear()
    admin.set_password("anna", "another password")
    assert recorder.take("SetPassword").request.password == "another password"
    admin.set_role("anna", "read_only")
    assert recorder.take("SetRole").request.role == session_pb2.ROLE_READ_ONLY
    admin.disable_user("anna", tenant_id="acme")
    assert recorder.take("DisableUser").request.user_name == "anna"


@pytest.mark.parametrize("role", ["", "root", "ADMIN", "unspecified"])
def test_there_is_no_such_role(recorder: Recorder, admin: AdminClient, role: str) -> None:
    with pytest.raises(ValueError, match="expected one of admin, partner, customer, read_only"):
        admin.set_role("anna", role)
    assert recorder.calls == []


def test_the_audit_chain(recorder: Recorder, admin: AdminClient) -> None:
    event = audit_pb2.AuditEvent(
        sequence=1, event_time=NOON_MESSAGE, action="token.mint", detail_json='{"a":1}'
    )
    recorder.answers = {
        "ListAuditEvents": audit_pb2.ListAuditEventsResponse(events=[event, audit_pb2.AuditEvent()]),
        "ExportAudit": [
            audit_pb2.ExportAuditResponse(lines=["{}", '{"ö":1}']),
            audit_pb2.ExportAuditResponse(lines=["x"]),
        ],
        "VerifyAudit": audit_pb2.VerifyAuditResponse(
            event_count=6, head="ab" * 32, broken_sequence=7, problem="moved"
        ),
    }
    first, second = admin.list_audit_events(action="token.mint", tenant_id="acme")
    assert (first.sequence, first.event_time, first.detail, second.detail) == (1, NOON, {"a": 1}, {})
    assert recorder.take("ListAuditEvents").request.action == "token.mint"
    assert list(admin.export_audit()) == [b"{}", '{"ö":1}'.encode(), b"x"]
    recorder.calls.clear()
    found = admin.verify_audit(expected_head="AB" * 32)
    assert found == audit.Verification(6, "ab" * 32, 7, "moved")
    assert recorder.take("VerifyAudit").request.expected_head == "ab" * 32
    with pytest.raises(ValueError, match="64 hexadecimal digits"):
        admin.verify_audit(expected_head="ab")


async def test_the_asyncio_client_has_the_same_calls(recorder: Recorder) -> None:
    recorder.answers["ListUsers"] = account_pb2.ListUsersResponse(users=[account_pb2.User(user_name="anna")])
    async with AsyncAdminClient(recorder.address) as admin:
        assert [user.user_name async for user in admin.list_users()] == ["anna"]
        await admin.disable_user("anna")
    assert [call.method for call in recorder.calls] == ["ListUsers", "DisableUser"]
