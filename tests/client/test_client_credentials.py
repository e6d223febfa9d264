"""Every call of the clients carries the credential, as it is at that moment."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc
import pytest

from spacelink import AdminClient, InvalidTokenError, SpaceLinkClient, TelemetryColumns, Token, errors
from spacelink.admin.v1 import token_pb2
from spacelink.networks import ScoreProfile
from spacelink.v1 import partner_pb2, session_pb2
from tests.certificates import Authority
from tests.client.recorder import ADMIN_FILES, DATA_FILES, Recorder
from tests.client.tokens import minted

TOKEN = minted()
NOON = 1_769_860_800_000_000_000  # 2026-01-31T12:00:00Z
SAMPLE = TelemetryColumns.from_arrays("dish-01", [NOON], latency_ms=[1])

DATA_CALLS: dict[str, Callable[[SpaceLinkClient], Any]] = {
    "Ingest": lambda client: client.ingest_columns([SAMPLE]),
    "SubmitTelemetry": lambda client: client.submit_telemetry(SAMPLE),
    "QueryTelemetry": lambda client: list(client.query_telemetry()),
    "ListLatestTelemetry": lambda client: list(client.list_latest_telemetry()),
    "SummarizeTelemetry": lambda client: client.summarize_telemetry(),
    "WatchTelemetry": lambda client: list(client.watch_telemetry()),
    "CreateSession": lambda client: client.create_session("anna", "secret of anna"),
    "GetSession": lambda client: client.get_session(),
    "GenerateApiKey": lambda client: client.generate_api_key(),
    "RotateApiKey": lambda client: client.rotate_api_key("k"),
    "RevokeApiKey": lambda client: client.revoke_api_key("k"),
    "ListApiKeys": lambda client: list(client.list_api_keys()),
    "CreateNetwork": lambda client: client.create_network("n"),
    "GetNetwork": lambda client: client.get_network("n"),
    "ListNetworks": lambda client: list(client.list_networks()),
    "UpdateNetwork": lambda client: client.update_network("n"),
    "UpdateNetworkDevices": lambda client: client.update_network_devices("n"),
    "ListNetworkDevices": lambda client: list(client.list_network_devices("n")),
    "CreateScoreProfile": lambda client: client.create_score_profile(ScoreProfile("calls")),
    "ListScoreProfiles": lambda client: list(client.list_score_profiles()),
    "GetNetworkHealth": lambda client: client.get_network_health("n"),
    "GetNetworkSla": lambda client: client.get_network_sla("n"),
    "GetNetworkTrend": lambda client: client.get_network_trend("n", "latency_ms"),
    "ListIncidents": lambda client: list(client.list_incidents("n")),
}
# Partners and their webhooks are managed through gRPC or the REST bridge.
WITHOUT_CALLS = {
    *("RegisterPartner", "CreatePartner", "ApprovePartner", "ListPartners"),
    *("SetIpAllowlist", "GetIpAllowlist", "CreateSandbox", "ResetSandbox"),
    *("CreateWebhook", "ListWebhooks", "DeleteWebhook", "TestWebhook", "EnableWebhook"),
    *("RotateWebhookSecret", "ListWebhookDeliveries", "RedeliverWebhook"),
}
ADMIN_CALLS: dict[str, Callable[[AdminClient], Any]] = {
    "MintToken": lambda client: client.mint_token(),
    "InspectToken": lambda client: client.inspect_token(TOKEN),
    "ListTokens": lambda client: list(client.list_tokens()),
    "BanToken": lambda client: client.ban_token(token=TOKEN),
    "UnbanToken": lambda client: client.unban_token(ban_id="b"),
    "ListBans": lambda client: list(client.list_bans()),
    "GetTokenGraph": lambda client: client.get_token_graph(),
    "ListAuditEvents": lambda client: list(client.list_audit_events()),
    "ExportAudit": lambda client: list(client.export_audit()),
    "VerifyAudit": lambda client: client.verify_audit(),
    "CreateTenant": lambda client: client.create_tenant("acme"),
    "ListTenants": lambda client: list(client.list_tenants()),
    "UpdateTenant": lambda client: client.update_tenant("acme"),
    "RotateTenantKey": lambda client: client.rotate_tenant_key("acme"),
    "CreateUser": lambda client: client.create_user("anna", "secret of anna", "customer"),
    "ListUsers": lambda client: list(client.list_users()),
    "SetPassword": lambda client: client.set_password("anna", "secret of anna"),
    "SetRole": lambda client: client.set_role("anna", "partner"),
    "DisableUser": lambda client: client.disable_user("anna"),
}


@pytest.fixture
def answering(recorder: Recorder) -> Recorder:
    recorder.answers = {
        "QueryTelemetry": [],
        "WatchTelemetry": [],
        "ExportAudit": [],
        "CreateSession": session_pb2.CreateSessionResponse(token=str(TOKEN)),
        "MintToken": token_pb2.MintTokenResponse(token=str(TOKEN)),
        "GenerateApiKey": partner_pb2.GenerateApiKeyResponse(secret="slak"),
    }
    return recorder


def methods(*files: Any) -> set[str]:
    return {
        method.name
        for file in files
        for service in file.services_by_name.values()
        for method in service.methods
    }


def test_the_clients_have_a_call_for_every_other_method() -> None:
    assert set(DATA_CALLS) | WITHOUT_CALLS == methods(*DATA_FILES)
    assert set(ADMIN_CALLS) == methods(*ADMIN_FILES)


def test_every_call_presents_the_token(answering: Recorder) -> None:
    with SpaceLinkClient(answering.address, token=TOKEN, tenant="acme") as client:
        for call in DATA_CALLS.values():
            call(client)
    with AdminClient(answering.address, token=str(TOKEN), tenant="acme") as admin:
        for admin_call in ADMIN_CALLS.values():
            admin_call(admin)
    assert [call.method for call in answering.calls] == [*DATA_CALLS, *ADMIN_CALLS]
    for seen in answering.calls:
        assert seen.metadata["authorization"] == f"Bearer {TOKEN}", seen.method
        assert seen.metadata["x-spacelink-tenant"] == "acme", seen.method


def test_an_api_key_goes_in_a_header_of_its_own(recorder: Recorder) -> None:
    with SpaceLinkClient(recorder.address, api_key="slak_key") as client:
        client.get_session()
    assert recorder.calls[0].metadata["x-api-key"] == "slak_key"
    assert "authorization" not in recorder.calls[0].metadata


def test_without_a_credential_none_is_sent(recorder: Recorder) -> None:
    with SpaceLinkClient(recorder.address) as client:
        client.get_session()
    assert not {"authorization", "x-api-key", "x-spacelink-tenant"} & recorder.calls[0].metadata.keys()


def test_a_call_takes_the_token_that_is_in_the_file_then(recorder: Recorder, tmp_path: Path) -> None:
    path, tokens = tmp_path / "token", [minted(), minted()]
    path.write_text(str(tokens[0]))
    with SpaceLinkClient(recorder.address, token_file=path) as client:
        client.get_session()
        (tmp_path / "new").write_text(str(tokens[1]))
        (tmp_path / "new").replace(path)
        client.get_session()
    assert [call.metadata["authorization"] for call in recorder.calls] == [f"Bearer {t}" for t in tokens]


@pytest.mark.parametrize("client", [SpaceLinkClient, AdminClient])
def test_wrong_arguments_are_named_and_secrets_are_not_shown(client: Any, tmp_path: Path) -> None:
    with pytest.raises(InvalidTokenError, match="base64url") as caught:
        client("gateway.example:1", token=f"{TOKEN}=")
    assert str(TOKEN) not in str(caught.value)
    with pytest.raises(ValueError, match="token and api_key"):
        client("gateway.example:1", token=TOKEN, api_key="k")
    with pytest.raises(ValueError, match="insecure"):
        client("gateway.example:1", insecure=True, tls_ca=Authority(tmp_path).cert)
    with pytest.raises(TypeError, match="tokn"):
        client("gateway.example:1", tokn=TOKEN)
    with client("gateway.example:1", token=TOKEN) as made:
        assert str(TOKEN) not in repr(made)
        assert str(TOKEN) not in repr(vars(made))


@pytest.mark.parametrize("client", [SpaceLinkClient, AdminClient])
def test_what_must_not_be_done_twice_is_not_tried_again(client: Any, recorder: Recorder) -> None:
    unsafe = (
        ["RotateApiKey"] if client is SpaceLinkClient else ["UnbanToken", "RotateTenantKey", "CreateUser"]
    )
    calls: dict[str, Callable[[Any], Any]] = {**DATA_CALLS, **ADMIN_CALLS}
    recorder.answers = dict.fromkeys(unsafe, grpc.StatusCode.UNAVAILABLE)
    with client(recorder.address) as made:
        for name in unsafe:
            with pytest.raises(errors.UnavailableError):
                calls[name](made)
    assert [call.method for call in recorder.calls] == unsafe


def test_the_token_of_a_session_is_a_token(answering: Recorder) -> None:
    with SpaceLinkClient(answering.address) as client:
        session = client.create_session("anna", "secret of anna", tenant_id="acme")
    assert isinstance(session.token, Token)
    assert session.token == TOKEN
    assert str(TOKEN) not in repr(session)
    request = answering.take("CreateSession").request
    assert (request.user_name, request.password, request.tenant_id) == ("anna", "secret of anna", "acme")
