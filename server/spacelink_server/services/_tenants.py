"""What the services that make tenants have in common."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import grpc

from spacelink_server.access.tenancy import create_tenant
from spacelink_server.errors import InvalidRequestError, RequestError
from spacelink_server.services import _requests
from spacelink_server.storage import audit, tenants
from spacelink_server.storage.audit import Event

if TYPE_CHECKING:
    from spacelink_server.access.keys import KeyRing
    from spacelink_server.storage.tenants import Tenant
    from spacelink_server.storage.transactions import Connection

_TENANT_ID = re.compile(r"[a-z][a-z0-9._-]{0,63}", re.ASCII)
_TENANT_RULE = (
    "expected 1 to 64 characters out of lower-case letters, digits and . _ -, the first of them a letter"
)
_DOMAIN = re.compile(r"(?=.{1,253}$)([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z][a-z0-9-]{0,62}", re.ASCII)
_MAX_DOMAINS = 100

RETENTIONS = ("raw_retention_days", "rollup_retention_days")
# A century: what is kept longer is kept for ever.
_MAX_RETENTION_DAYS = 36_525

# A tenant's sandbox is the tenant of its name with this behind it.
SANDBOX_SUFFIX = "-sandbox"

# As in the quotas of tokens: sums of them fit into 64 bits.
_MAX_AMOUNT = 10**15


def require_tenant_id(field: str, text: str) -> None:
    """Check the name of a tenant."""
    if not _TENANT_ID.fullmatch(text):
        raise InvalidRequestError(field, _TENANT_RULE)


def create(connection: Connection, keys: KeyRing, tenant: Tenant, actor: str) -> None:
    """Make a tenant, after which the directory of tenants is to be refreshed."""
    if tenants.get(connection, tenant.tenant_id) is not None:
        raise RequestError(
            grpc.StatusCode.ALREADY_EXISTS,
            "TENANT_ALREADY_EXISTS",
            f"there is a tenant {tenant.tenant_id!r}",
        )
    create_tenant(connection, keys, tenant)
    event = Event(actor, "tenant.create", f"tenant:{tenant.tenant_id}", detail=detail(tenant))
    audit.append(connection, tenant.tenant_id, event)


def checked(tenant: Tenant, prefix: str = "") -> Tenant:
    """Give what is to be stored of a tenant, if it is right.

    Args:
        tenant: its tenant_id is not looked at.
        prefix: of the fields' names in the request.
    """
    _requests.require_text(prefix + "display_name", tenant.display_name)
    for name in ("samples_per_day", "max_devices"):
        if not 0 <= getattr(tenant, name) <= _MAX_AMOUNT:
            raise InvalidRequestError(prefix + name, f"expected 0, for no limit, to {_MAX_AMOUNT}")
    for name in RETENTIONS:
        if not 0 <= getattr(tenant, name) <= _MAX_RETENTION_DAYS:
            raise InvalidRequestError(prefix + name, f"expected 0, for ever, to {_MAX_RETENTION_DAYS} days")
    if len(tenant.domains) > _MAX_DOMAINS:
        raise InvalidRequestError(prefix + "domains", f"expected at most {_MAX_DOMAINS}")
    for index, domain in enumerate(tenant.domains):
        if not _DOMAIN.fullmatch(domain):
            raise InvalidRequestError(
                f"{prefix}domains[{index}]", "expected a domain in lower case, such as example.com"
            )
    return tenant


def detail(tenant: Tenant) -> dict[str, Any]:
    """Give what the audit trail tells of a tenant."""
    return {
        "display_name": tenant.display_name,
        "samples_per_day": tenant.samples_per_day,
        "max_devices": tenant.max_devices,
        "domains": list(tenant.domains),
        **{name: getattr(tenant, name) for name in RETENTIONS},
    }
