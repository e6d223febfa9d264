"""Calls that many tests of access make."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from spacelink.admin.v1.audit_pb2 import AuditEvent, ListAuditEventsRequest
from spacelink.admin.v1.governance_pb2 import Ban, BanTokenRequest
from spacelink.admin.v1.tenant_pb2 import CreateTenantRequest, Tenant
from spacelink.admin.v1.token_pb2 import MintTokenRequest
from spacelink.token import Token
from tests.server.installation import bearer

if TYPE_CHECKING:
    from tests.server.installation import Installation


async def mint(installation: Installation, token: str, *caveats: str, **fields: Any) -> str:
    """Mint with a token, and give the new one's text."""
    request = MintTokenRequest(caveats=caveats, **fields)
    answer = await installation.token.MintToken(request, **bearer(token))
    assert answer.token_id == token_id(answer.token)
    text: str = answer.token
    return text


async def create_tenant(installation: Installation, tenant_id: str, **fields: Any) -> Tenant:
    """Create a tenant as the operator."""
    request = CreateTenantRequest(tenant=Tenant(tenant_id=tenant_id, **fields))
    answer = await installation.tenant.CreateTenant(request, **bearer(installation.operator))
    return answer.tenant


async def tenant_admin(installation: Installation, tenant_id: str) -> str:
    """Create a tenant, and give a token that may do everything in it."""
    await create_tenant(installation, tenant_id)
    return await mint(installation, installation.operator, "scope = *:*", tenant_id=tenant_id)


async def ban(installation: Installation, caller: str, /, **target: Any) -> Ban:
    """Ban as a caller."""
    answer = await installation.governance.BanToken(BanTokenRequest(**target), **bearer(caller))
    return answer.ban


async def audited(installation: Installation, tenant_id: str, action: str = "") -> list[AuditEvent]:
    """Give a tenant's audit events, newest first."""
    request = ListAuditEventsRequest(tenant_id=tenant_id, action=action)
    answer = await installation.audit.ListAuditEvents(request, **bearer(installation.operator))
    return list(answer.events)


def token_id(text: str) -> str:
    """Give a token's id."""
    return Token.parse(text).identifier.token_id


def caveats_of(text: str) -> list[str]:
    """Give a token's caveats."""
    return [caveat.decode() for caveat in Token.parse(text).macaroon.caveats]


def narrowed(text: str, **caveats: Any) -> str:
    """Attenuate a token's text."""
    return str(Token.parse(text).attenuate(**caveats))
