from __future__ import annotations

import pytest
from google.protobuf.descriptor import FileDescriptor, MethodDescriptor
from google.protobuf.message_factory import GetMessageClass
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha import reflection_pb2

from spacelink import _pymacaroons
from spacelink.admin.v1 import account_pb2, audit_pb2, governance_pb2, tenant_pb2, token_pb2
from spacelink.token import Token, TokenIdentifier
from spacelink.v1 import network_pb2, partner_pb2, session_pb2, telemetry_pb2
from spacelink_server.access.rules import AUTHENTICATED, PUBLIC, Access
from spacelink_server.services.scopes import RULES, SCOPES, tenant_of

OURS = (
    account_pb2,
    audit_pb2,
    governance_pb2,
    network_pb2,
    partner_pb2,
    session_pb2,
    telemetry_pb2,
    tenant_pb2,
    token_pb2,
)


def methods(file: FileDescriptor) -> dict[str, MethodDescriptor]:
    """Give the methods of a file's services, by their names as calls have them."""
    return {
        f"/{service.full_name}/{method.name}": method
        for service in file.services_by_name.values()
        for method in service.methods
    }


METHODS = {name: method for module in OURS for name, method in methods(module.DESCRIPTOR).items()}
OTHERS = {*methods(health_pb2.DESCRIPTOR), *methods(reflection_pb2.DESCRIPTOR)}


# Their tenant_id is of a tenant that is not there yet.
MAKING_TENANTS = {
    "/spacelink.v1.PartnerService/CreatePartner",
    "/spacelink.v1.PartnerService/ApprovePartner",
}


def test_every_method_has_a_rule_and_every_rule_a_method() -> None:
    assert len(METHODS) > 30
    assert set(RULES) == set(METHODS) | OTHERS


def test_only_these_methods_go_without_a_scope() -> None:
    public = {name for name, rule in RULES.items() if rule is PUBLIC}
    assert public == OTHERS | {
        "/spacelink.v1.PartnerService/RegisterPartner",
        "/spacelink.v1.SessionService/CreateSession",
    }
    authenticated = {name for name, rule in RULES.items() if rule is AUTHENTICATED}
    assert authenticated == {"/spacelink.v1.SessionService/GetSession"}


@pytest.mark.parametrize("name", sorted(METHODS))
def test_what_only_reads_asks_to_read(name: str) -> None:
    rule = RULES[name]
    verb = name.rpartition("/")[2]
    reads = verb.startswith(("Get", "List", "Query", "Summarize", "Watch", "Inspect", "Export", "Verify"))
    if isinstance(rule, Access):
        assert rule.scope.endswith(":read" if reads else ":write")


@pytest.mark.parametrize("name", sorted(METHODS))
def test_the_tenant_that_a_request_names_is_found(name: str) -> None:
    method = METHODS[name]
    rule = RULES[name]
    if isinstance(rule, Access) and "tenant_id" in method.input_type.fields_by_name:
        request = GetMessageClass(method.input_type)(tenant_id="acme")
        assert rule.tenant(request) in (("default",) if name in MAKING_TENANTS else ("acme", "*"))


@pytest.mark.parametrize("name", sorted(METHODS))
def test_the_devices_that_a_request_names_are_found(name: str) -> None:
    method = METHODS[name]
    rule = RULES[name]
    if "device_ids" in method.input_type.fields_by_name:
        assert isinstance(rule, Access)
        request = GetMessageClass(method.input_type)(device_ids=["b", "a"])
        assert list(rule.devices(request)) == ["b", "a"]
        assert list(rule.devices(GetMessageClass(method.input_type)())) == ["*"]


def submitted(data: bytes) -> list[str]:
    rule = RULES["/spacelink.v1.TelemetryService/SubmitTelemetry"]
    assert isinstance(rule, Access)
    return list(rule.devices(data))


def test_the_device_of_a_submitted_batch_is_found() -> None:
    request = telemetry_pb2.SubmitTelemetryRequest()
    request.batch.device_id = "site-7/dish"
    request.batch.latency_ms[:] = [1.0, 2.0]
    data = request.SerializeToString()
    assert submitted(data) == ["site-7/dish"]
    # A message given in two parts is the two merged: what comes last counts.
    request.batch.device_id = "other"
    assert submitted(data + request.SerializeToString()) == ["other"]
    assert submitted(b"") == [""]
    assert submitted(b"\xff") == []
    assert submitted(b"\x0a\x03\x0a\x01\xff") == ["\ufffd"]


def test_scopes_are_those_of_the_rules() -> None:
    assert tuple(sorted(SCOPES)) == SCOPES
    assert {"telemetry:read", "telemetry:write", "tenants:write", "audit:read"} <= set(SCOPES)
    assert "audit:write" not in SCOPES


SECRET = b"k" * 32


@pytest.mark.parametrize(
    ("tenant", "caveats", "expected"),
    [
        ("acme", ["tenant = acme"], "acme"),
        ("*", ["tenant = *"], "*"),
        ("*", ["tenant = *", "label = a", "tenant = acme"], "acme"),
        ("*", ["tenant = *", "tenant = acme", "tenant = globex"], "*"),
        ("acme", ["tenant = acme", "tenant = globex"], "*"),
        ("acme", ["odd"], "acme"),
    ],
)
def test_tells_whose_a_token_is(tenant: str, caveats: list[str], expected: str) -> None:
    identifier = TokenIdentifier(tenant, 1, "0" * 32).encode()
    data = _pymacaroons.mint(SECRET, identifier, [caveat.encode() for caveat in caveats])
    token = Token.decode(data)
    assert tenant_of(token) == expected
    rule = RULES["/spacelink.admin.v1.TokenService/InspectToken"]
    assert isinstance(rule, Access)
    assert rule.tenant(token_pb2.InspectTokenRequest(token=str(token))) == expected


def test_which_calls_of_operators_are_about_all_tenants() -> None:
    rules = {name.rpartition("/")[2]: rule for name, rule in RULES.items() if isinstance(rule, Access)}
    assert rules["UnbanToken"].everywhere(governance_pb2.UnbanTokenRequest(token_id="a"))
    assert rules["ListBans"].everywhere(governance_pb2.ListBansRequest())
    request = governance_pb2.BanTokenRequest
    for everywhere, target in (
        (True, request(signature="")),
        (True, request(digest="00")),
        (False, request(token="slk_")),
        (False, request(token_id="00")),
        (False, request()),
    ):
        assert rules["BanToken"].everywhere(target) is everywhere
    assert not rules["QueryTelemetry"].everywhere(telemetry_pb2.QueryTelemetryRequest())


def test_the_tenant_of_what_is_no_token_is_not_known() -> None:
    rule = RULES["/spacelink.admin.v1.GovernanceService/BanToken"]
    assert isinstance(rule, Access)
    assert rule.tenant(governance_pb2.BanTokenRequest(token="slk_")) == ""
    assert rule.tenant(governance_pb2.BanTokenRequest(digest="00")) == ""
    assert rule.tenant(governance_pb2.BanTokenRequest(token="slk_", tenant_id="acme")) == "acme"
