"""TenantService."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, TypeAlias

import grpc

from spacelink._caveats import ANY
from spacelink.admin.v1 import tenant_pb2 as pb
from spacelink.admin.v1.tenant_pb2_grpc import TenantServiceServicer
from spacelink_server.access.call import current
from spacelink_server.access.errors import tenant_not_found
from spacelink_server.access.tenancy import add_key
from spacelink_server.errors import InvalidRequestError
from spacelink_server.services import _requests, _tenants
from spacelink_server.storage import audit, tenants
from spacelink_server.storage.audit import Event
from spacelink_server.storage.tenants import Tenant

if TYPE_CHECKING:
    from collections.abc import Sequence

    from spacelink_server.access.call import Call
    from spacelink_server.access.keys import KeyRing
    from spacelink_server.access.tenancy import TenantDirectory
    from spacelink_server.access.writes import Database
    from spacelink_server.storage.transactions import Connection

    Context: TypeAlias = grpc.aio.ServicerContext[Any, Any]

# With the installation's key end the tokens of all operators, and with them the
# only way to mint others: time for one command.
_LEAST_OPERATOR_OVERLAP = 60 * 1_000_000_000


class TenantService(TenantServiceServicer):
    """Manages tenants; see tenant.proto."""

    def __init__(self, database: Database, keys: KeyRing, directory: TenantDirectory) -> None:
        self._database = database
        self._keys = keys
        self._directory = directory

    async def CreateTenant(
        self, request: pb.CreateTenantRequest, context: Context
    ) -> pb.CreateTenantResponse:
        """Create a tenant with a key of its own."""
        call = current()
        _requests.require_request_id(request.request_id)
        wanted = request.tenant
        _tenants.require_tenant_id("tenant.tenant_id", wanted.tenant_id)
        tenant = _tenants.checked(
            Tenant(
                wanted.tenant_id,
                wanted.display_name,
                wanted.samples_per_day,
                wanted.max_devices,
                tuple(wanted.domains),
                time.time_ns(),
                wanted.raw_retention_days,
                wanted.rollup_retention_days,
            ),
            "tenant.",
        )
        message = await self._database.write(
            lambda connection: self._create(connection, call, request, tenant), self._directory.refresh
        )
        return pb.CreateTenantResponse(tenant=message)

    async def ListTenants(self, request: pb.ListTenantsRequest, context: Context) -> pb.ListTenantsResponse:
        """List all tenants."""
        size = _requests.page_size(request.page_size)
        after = _requests.parse_page_token(request.page_token)

        def work(connection: Connection) -> pb.ListTenantsResponse:
            rows = tenants.page(connection, after, size + 1)
            page, next_page = _requests.split_page(rows, size, lambda row: row.tenant_id)
            return pb.ListTenantsResponse(tenants=_messages(connection, page), next_page_token=next_page)

        return await self._database.read(work)

    async def UpdateTenant(
        self, request: pb.UpdateTenantRequest, context: Context
    ) -> pb.UpdateTenantResponse:
        """Change what the request sets."""
        call = current()
        message = await self._database.write(
            lambda connection: _update(connection, call, request), self._directory.refresh
        )
        return pb.UpdateTenantResponse(tenant=message)

    async def RotateTenantKey(
        self, request: pb.RotateTenantKeyRequest, context: Context
    ) -> pb.RotateTenantKeyResponse:
        """Give a tenant a new key."""
        call = current()
        overlap = _requests.overlap(request.overlap, request.HasField("overlap"))
        if call.tenant_id == ANY and overlap < _LEAST_OPERATOR_OVERLAP:
            raise InvalidRequestError(
                "overlap",
                "expected at least 60 s: operators have to mint a successor to their token meanwhile",
            )
        key_version, expire_time = await self._database.write(
            lambda connection: self._rotate(connection, call, overlap), self._directory.refresh
        )
        return pb.RotateTenantKeyResponse(
            key_version=key_version, old_key_expire_time=_requests.timestamp(expire_time)
        )

    def _create(
        self, connection: Connection, call: Call, request: pb.CreateTenantRequest, tenant: Tenant
    ) -> pb.Tenant:
        def make() -> dict[str, str]:
            _tenants.create(connection, self._keys, tenant, call.principal.actor)
            return {"tenant_id": tenant.tenant_id}

        result = _requests.once(connection, call, request, make)
        return _message(connection, result["tenant_id"])

    def _rotate(self, connection: Connection, call: Call, overlap: int) -> tuple[int, int]:
        tenant_id = call.tenant_id
        version = tenants.current_key_version(connection, tenant_id)
        if version is None:
            raise tenant_not_found(tenant_id)
        expire_time = time.time_ns() + overlap
        tenants.expire_key(connection, tenant_id, version, expire_time)
        add_key(connection, self._keys, tenant_id, version + 1)
        detail = {"key_version": version + 1, "overlap_seconds": overlap // 1_000_000_000}
        _record(connection, call, tenant_id, "tenant.rotate_key", detail)
        return version + 1, expire_time


def _update(connection: Connection, call: Call, request: pb.UpdateTenantRequest) -> pb.Tenant:
    tenant = tenants.get(connection, request.tenant_id)
    if tenant is None:
        raise tenant_not_found(request.tenant_id)
    changes: dict[str, Any] = {
        name: getattr(request, name)
        for name in (
            "display_name",
            "samples_per_day",
            "max_devices",
            "raw_retention_days",
            "rollup_retention_days",
        )
        if request.HasField(name)
    }
    if request.update_domains:
        changes["domains"] = tuple(request.domains)
    tenant = _tenants.checked(tenant._replace(**changes))
    tenants.update(connection, tenant)
    detail = _tenants.detail(tenant)
    _record(
        connection, call, tenant.tenant_id, "tenant.update", {name: detail[name] for name in sorted(changes)}
    )
    return _message(connection, tenant.tenant_id)


def _record(connection: Connection, call: Call, tenant_id: str, action: str, detail: dict[str, Any]) -> None:
    event = Event(call.principal.actor, action, f"tenant:{tenant_id}", detail=detail)
    audit.append(connection, tenant_id, event)


def _message(connection: Connection, tenant_id: str) -> pb.Tenant:
    tenant = tenants.get(connection, tenant_id)
    assert tenant is not None  # noqa: S101 - tenants are never deleted
    return _messages(connection, [tenant])[0]


def _messages(connection: Connection, rows: Sequence[Tenant]) -> list[pb.Tenant]:
    versions = tenants.current_key_versions(connection, [row.tenant_id for row in rows])
    return [
        pb.Tenant(
            tenant_id=row.tenant_id,
            display_name=row.display_name,
            samples_per_day=row.samples_per_day,
            max_devices=row.max_devices,
            domains=row.domains,
            create_time=_requests.timestamp(row.create_time),
            key_version=versions[row.tenant_id],
            raw_retention_days=row.raw_retention_days,
            rollup_retention_days=row.rollup_retention_days,
        )
        for row in rows
    ]
