"""What each method of both planes asks of its caller; a method that is not here is refused."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from google.protobuf.message import DecodeError

from spacelink._caveats import ANY
from spacelink._wire import SubmitRequestView
from spacelink.errors import InvalidTokenError
from spacelink.token import Token
from spacelink_server.access.authorization import DEFAULT_TENANT
from spacelink_server.access.rules import AUTHENTICATED, PUBLIC, Access, always, any_tenant, tenant_field

if TYPE_CHECKING:
    from collections.abc import Collection

    from spacelink_server.access.rules import Rules


def _device_ids(request: Any) -> Collection[str]:
    """Give the devices of a request for which none means all."""
    return request.device_ids or (ANY,)


def _all(_: Any) -> Collection[str]:
    """Say that a method is about all there are, whatever its request names."""
    return (ANY,)


def _changed_devices(request: Any) -> Collection[str]:
    return [*request.add_device_ids, *request.remove_device_ids]


def _network_id(request: Any) -> Collection[str]:
    """Give the network of a request for which none means all."""
    return (request.network_id or ANY,)


def _network_ids(request: Any) -> Collection[str]:
    return request.network_ids or (ANY,)


def _new_network(request: Any) -> Collection[str]:
    """Give the network to be created; one that the server names is in no token's list."""
    return (request.network.network_id or ANY,)


def _submitted_device(data: bytes) -> Collection[str]:
    view = SubmitRequestView()
    try:
        view.ParseFromString(data)
    except DecodeError:
        return ()  # the method itself says what is wrong with the request
    return (view.batch.device_id.decode(errors="replace"),)


def tenant_of(token: Token) -> str:
    """Tell whose a token is: an operator's that is narrowed to a tenant is that tenant's."""
    return token.inspect().tenant or ANY


def _token_tenant(request: Any) -> str:
    """Give the tenant of a request that names it, or a token."""
    try:
        return tenant_field(request) or tenant_of(Token.parse(request.token))
    except InvalidTokenError:
        return ""


def _default_tenant(_: Any) -> str:
    """Say that the method is about the default tenant, which partners belong to."""
    return DEFAULT_TENANT


def _is_of_a_signature(request: Any) -> bool:
    """Tell whether a request bans a signature, which does not say whose it is."""
    return request.WhichOneof("target") in ("signature", "digest")


_TELEMETRY = "/spacelink.v1.TelemetryService/"
_SESSION = "/spacelink.v1.SessionService/"
_NETWORK = "/spacelink.v1.NetworkService/"
_PARTNER = "/spacelink.v1.PartnerService/"
_TOKENS = "/spacelink.admin.v1.TokenService/"
_GOVERNANCE = "/spacelink.admin.v1.GovernanceService/"
_AUDIT = "/spacelink.admin.v1.AuditService/"
_TENANT = "/spacelink.admin.v1.TenantService/"
_ACCOUNT = "/spacelink.admin.v1.AccountService/"
_HEALTH = "/grpc.health.v1.Health/"

RULES: Rules = {
    # Each batch of a stream is held against the devices of the token on its own.
    _TELEMETRY + "Ingest": Access("telemetry:write"),
    _TELEMETRY + "SubmitTelemetry": Access("telemetry:write", devices=_submitted_device),
    _TELEMETRY + "QueryTelemetry": Access("telemetry:read", devices=_device_ids),
    _TELEMETRY + "ListLatestTelemetry": Access("telemetry:read", devices=_device_ids),
    _TELEMETRY + "SummarizeTelemetry": Access("telemetry:read", devices=_device_ids),
    _TELEMETRY + "WatchTelemetry": Access("telemetry:read", devices=_device_ids),
    _SESSION + "CreateSession": PUBLIC,
    _SESSION + "GetSession": AUTHENTICATED,
    # Terms and lists of devices are about all devices of a network.
    _NETWORK + "CreateNetwork": Access("networks:write", _device_ids, _new_network),
    _NETWORK + "GetNetwork": Access("networks:read", networks=_network_id),
    _NETWORK + "ListNetworks": Access("networks:read", networks=_network_ids),
    _NETWORK + "UpdateNetwork": Access("networks:write", _all, _network_id),
    _NETWORK + "UpdateNetworkDevices": Access("networks:write", _changed_devices, _network_id),
    _NETWORK + "ListNetworkDevices": Access("networks:read", _all, _network_id),
    _NETWORK + "CreateScoreProfile": Access("networks:write", _all, _all),
    _NETWORK + "ListScoreProfiles": Access("networks:read"),
    _NETWORK + "GetNetworkHealth": Access("networks:read", _device_ids, _network_id),
    _NETWORK + "GetNetworkSla": Access("networks:read", _device_ids, _network_id),
    _NETWORK + "GetNetworkTrend": Access("networks:read", _device_ids, _network_id),
    _NETWORK + "ListIncidents": Access("networks:read", _device_ids, _network_id),
    _PARTNER + "RegisterPartner": PUBLIC,
    # They make tenants: for administrators, not for partners.
    _PARTNER + "CreatePartner": Access("tenants:write", tenant=_default_tenant),
    _PARTNER + "ApprovePartner": Access("tenants:write", tenant=_default_tenant),
    _PARTNER + "ListPartners": Access("partners:read"),
    _PARTNER + "SetIpAllowlist": Access("partners:write"),
    _PARTNER + "GetIpAllowlist": Access("partners:read"),
    _PARTNER + "CreateSandbox": Access("partners:write"),
    _PARTNER + "ResetSandbox": Access("partners:write"),
    _PARTNER + "CreateWebhook": Access("partners:write"),
    _PARTNER + "ListWebhooks": Access("partners:read"),
    _PARTNER + "DeleteWebhook": Access("partners:write"),
    _PARTNER + "TestWebhook": Access("partners:write"),
    _PARTNER + "EnableWebhook": Access("partners:write"),
    _PARTNER + "RotateWebhookSecret": Access("partners:write"),
    _PARTNER + "ListWebhookDeliveries": Access("partners:read"),
    _PARTNER + "RedeliverWebhook": Access("partners:write"),
    _PARTNER + "GenerateApiKey": Access("partners:write"),
    _PARTNER + "RotateApiKey": Access("partners:write"),
    _PARTNER + "RevokeApiKey": Access("partners:write"),
    _PARTNER + "ListApiKeys": Access("partners:read"),
    _TOKENS + "MintToken": Access("tokens:write"),
    _TOKENS + "InspectToken": Access("tokens:read", tenant=_token_tenant),
    _TOKENS + "ListTokens": Access("tokens:read"),
    _GOVERNANCE + "BanToken": Access("governance:write", tenant=_token_tenant, everywhere=_is_of_a_signature),
    _GOVERNANCE + "UnbanToken": Access("governance:write", everywhere=always),
    _GOVERNANCE + "ListBans": Access("governance:read", everywhere=always),
    _GOVERNANCE + "GetTokenGraph": Access("governance:read", everywhere=always),
    _AUDIT + "ListAuditEvents": Access("audit:read"),
    _AUDIT + "ExportAudit": Access("audit:read"),
    _AUDIT + "VerifyAudit": Access("audit:read"),
    _TENANT + "CreateTenant": Access("tenants:write", tenant=any_tenant),
    _TENANT + "ListTenants": Access("tenants:read", tenant=any_tenant),
    _TENANT + "UpdateTenant": Access("tenants:write", tenant=any_tenant),
    _TENANT + "RotateTenantKey": Access("tenants:write"),
    _ACCOUNT + "CreateUser": Access("accounts:write"),
    _ACCOUNT + "ListUsers": Access("accounts:read"),
    _ACCOUNT + "SetPassword": Access("accounts:write"),
    _ACCOUNT + "SetRole": Access("accounts:write"),
    _ACCOUNT + "DisableUser": Access("accounts:write"),
    _HEALTH + "Check": PUBLIC,
    _HEALTH + "List": PUBLIC,
    _HEALTH + "Watch": PUBLIC,
    "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo": PUBLIC,
}

# All scopes that methods ask for, in order.
SCOPES = tuple(sorted({rule.scope for rule in RULES.values() if isinstance(rule, Access)}))
