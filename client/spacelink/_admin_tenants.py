"""Calls of the admin plane about tenants, their users, and what was done."""

from __future__ import annotations

import json
import uuid
from typing import TYPE_CHECKING

from spacelink._client import AsyncClient
from spacelink._messages import duration, record, role_number
from spacelink.admin.v1 import (
    account_pb2,
    account_pb2_grpc,
    audit_pb2,
    audit_pb2_grpc,
    tenant_pb2,
    tenant_pb2_grpc,
)
from spacelink.audit import Verification, check_head
from spacelink.records import AuditEvent, KeyRotation, Tenant, User

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Iterable
    from datetime import timedelta


class AsyncTenantAdmin(AsyncClient):
    """Creates and changes tenants."""

    @property
    def _tenants(self) -> tenant_pb2_grpc.TenantServiceAsyncStub:
        return tenant_pb2_grpc.TenantServiceStub(self._channel)

    async def create_tenant(
        self,
        tenant_id: str,
        *,
        display_name: str = "",
        samples_per_day: int = 0,
        max_devices: int = 0,
        domains: Iterable[str] = (),
        raw_retention_days: int = 0,
        rollup_retention_days: int = 0,
    ) -> Tenant:
        """Create a tenant with a key of its own.

        Args:
            tenant_id: 1 to 64 characters out of lower-case letters, digits and
                . _ -, the first a letter.
            display_name: for people.
            samples_per_day: what it may store in a day (UTC); 0 means no limit.
            max_devices: the most devices it may have; 0 means no limit.
            domains: those of its people.
            raw_retention_days: how many whole days (UTC) its samples are kept; 0
                means for ever.
            rollup_retention_days: the same of rollups, which summaries of days
                without samples come from.

        Raises:
            AlreadyExistsError: there is such a tenant.
        """
        tenant = tenant_pb2.Tenant(
            tenant_id=tenant_id,
            display_name=display_name,
            samples_per_day=samples_per_day,
            max_devices=max_devices,
            domains=domains,
            raw_retention_days=raw_retention_days,
            rollup_retention_days=rollup_retention_days,
        )
        request = tenant_pb2.CreateTenantRequest(tenant=tenant, request_id=str(uuid.uuid4()))
        return record(Tenant, (await self._unary(self._tenants.CreateTenant, request)).tenant)

    async def list_tenants(self) -> AsyncGenerator[Tenant]:
        """List the tenants, ordered by tenant_id; pages are fetched as they are needed."""
        async for page in self._pages(self._tenants.ListTenants, tenant_pb2.ListTenantsRequest()):
            for tenant in page.tenants:
                yield record(Tenant, tenant)

    async def update_tenant(
        self,
        tenant_id: str,
        *,
        display_name: str | None = None,
        samples_per_day: int | None = None,
        max_devices: int | None = None,
        domains: Iterable[str] | None = None,
        raw_retention_days: int | None = None,
        rollup_retention_days: int | None = None,
    ) -> Tenant:
        """Change a tenant; what is None stays. See create_tenant.

        Returns:
            What it became.

        Raises:
            NotFoundError: there is no such tenant.
        """
        request = tenant_pb2.UpdateTenantRequest(
            tenant_id=tenant_id,
            display_name=display_name,
            samples_per_day=samples_per_day,
            max_devices=max_devices,
            domains=domains,
            update_domains=domains is not None,
            raw_retention_days=raw_retention_days,
            rollup_retention_days=rollup_retention_days,
        )
        return record(Tenant, (await self._unary(self._tenants.UpdateTenant, request)).tenant)

    async def rotate_tenant_key(
        self, tenant_id: str = "", *, overlap: timedelta | None = None
    ) -> KeyRotation:
        """Give a tenant a new key.

        Args:
            tenant_id: the tenant; empty means the one that the call is about.
            overlap: how long tokens of the old key stay good; None means 24 hours.
                For "*" at least 60 s: until then, mint a successor to the
                operator's token.

        Raises:
            NotFoundError: there is no such tenant.
        """
        request = tenant_pb2.RotateTenantKeyRequest(tenant_id=tenant_id, overlap=duration(overlap))
        # Made again after it was served, it would rotate once more.
        response = await self._unary(self._tenants.RotateTenantKey, request, repeatable=False)
        return record(KeyRotation, response)


class AsyncAccountAdmin(AsyncClient):
    """Creates and changes users."""

    @property
    def _accounts(self) -> account_pb2_grpc.AccountServiceAsyncStub:
        return account_pb2_grpc.AccountServiceStub(self._channel)

    async def create_user(self, user_name: str, password: str, role: str, *, tenant_id: str = "") -> User:
        """Create a user.

        Args:
            user_name: unique in the tenant.
            password: 8 to 1024 characters.
            role: "admin", "partner", "customer" or "read_only".
            tenant_id: the tenant; empty means the one that the call is about.

        Raises:
            ValueError: there is no such role.
            AlreadyExistsError: there is such a user.
        """
        request = account_pb2.CreateUserRequest(
            tenant_id=tenant_id, user_name=user_name, password=password, role=role_number(role)
        )
        # Made again after it was served, it would find the user there.
        response = await self._unary(self._accounts.CreateUser, request, repeatable=False)
        return record(User, response.user)

    async def list_users(self, *, tenant_id: str = "") -> AsyncGenerator[User]:
        """List a tenant's users, ordered by name; pages are fetched as they are needed."""
        request = account_pb2.ListUsersRequest(tenant_id=tenant_id)
        async for page in self._pages(self._accounts.ListUsers, request):
            for user in page.users:
                yield record(User, user)

    async def set_password(self, user_name: str, password: str, *, tenant_id: str = "") -> None:
        """Set a user's password, and end the user's sessions.

        Raises:
            NotFoundError: there is no such user.
        """
        request = account_pb2.SetPasswordRequest(tenant_id=tenant_id, user_name=user_name, password=password)
        await self._unary(self._accounts.SetPassword, request)

    async def set_role(self, user_name: str, role: str, *, tenant_id: str = "") -> None:
        """Set a user's role, and end the user's sessions.

        Raises:
            ValueError: there is no such role.
            NotFoundError: there is no such user.
        """
        request = account_pb2.SetRoleRequest(tenant_id=tenant_id, user_name=user_name, role=role_number(role))
        await self._unary(self._accounts.SetRole, request)

    async def disable_user(self, user_name: str, *, tenant_id: str = "") -> None:
        """Keep a user from logging in, and end the user's sessions.

        Raises:
            NotFoundError: there is no such user.
        """
        request = account_pb2.DisableUserRequest(tenant_id=tenant_id, user_name=user_name)
        await self._unary(self._accounts.DisableUser, request)


class AsyncAuditAdmin(AsyncClient):
    """Reads the audit chains."""

    @property
    def _audit(self) -> audit_pb2_grpc.AuditServiceAsyncStub:
        return audit_pb2_grpc.AuditServiceStub(self._channel)

    async def list_audit_events(self, *, action: str = "", tenant_id: str = "") -> AsyncGenerator[AuditEvent]:
        """List events, newest first; pages are fetched as they are needed.

        Args:
            action: only these, such as "token.mint"; empty means all.
            tenant_id: the tenant; empty means the one that the call is about.
        """
        request = audit_pb2.ListAuditEventsRequest(action=action, tenant_id=tenant_id)
        async for page in self._pages(self._audit.ListAuditEvents, request):
            for event in page.events:
                yield record(AuditEvent, event, detail=json.loads(event.detail_json or "{}"))

    async def export_audit(self, *, tenant_id: str = "") -> AsyncGenerator[bytes]:
        """Read a tenant's whole chain, oldest event first.

        Returns:
            An async iterator of events as they were hashed, each a line of JSON
            without its line end: what spacelink.audit.verify takes.
        """
        request = audit_pb2.ExportAuditRequest(tenant_id=tenant_id)
        async for response in self._stream(self._audit.ExportAudit, request):
            for line in response.lines:
                yield line.encode()

    async def verify_audit(self, *, expected_head: str = "", tenant_id: str = "") -> Verification:
        """Let the server verify a tenant's chain; spacelink.audit verifies an export without it.

        Args:
            expected_head: the hash that the last event must have; empty means any.
            tenant_id: the tenant; empty means the one that the call is about.

        Raises:
            ValueError: expected_head is no hash.
        """
        head = check_head(expected_head) if expected_head else ""
        request = audit_pb2.VerifyAuditRequest(expected_head=head, tenant_id=tenant_id)
        response = await self._unary(self._audit.VerifyAudit, request)
        return record(Verification, response)
