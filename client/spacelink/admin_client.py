"""Clients of the admin plane: tokens, bans, tenants, users and the audit chains.

from spacelink import AdminClient

with AdminClient("127.0.0.1:50052", token_file="operator.token") as admin:
    admin.create_tenant("acme", samples_per_day=10_000_000)
    token = admin.mint_token(tenant_id="acme", scope="telemetry:write", device="site-7/*")
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from spacelink._admin_tenants import AsyncAccountAdmin, AsyncAuditAdmin, AsyncTenantAdmin
from spacelink._admin_tokens import AsyncTokenAdmin
from spacelink._channel import DEFAULT_ADMIN_TARGET
from spacelink._client import BlockingClient, iterating, waiting

if TYPE_CHECKING:
    from typing import Unpack

    from spacelink._client import ConnectionOptions


class AsyncAdminClient(AsyncTokenAdmin, AsyncTenantAdmin, AsyncAccountAdmin, AsyncAuditAdmin):
    """Speaks to the admin plane of a SpaceLink server from asyncio.

    Use it as an async context manager, or call close. The arguments are those
    of AsyncSpaceLinkClient. Every call raises SpaceLinkError's children.
    """

    def __init__(self, target: str = DEFAULT_ADMIN_TARGET, **options: Unpack[ConnectionOptions]) -> None:
        super().__init__(target, **options)


class AdminClient(BlockingClient[AsyncAdminClient]):
    """Speaks to the admin plane of a SpaceLink server and waits for its answers.

    Use it as a context manager, or call close. It may be shared by threads. The
    arguments are those of AsyncSpaceLinkClient; the calls, their results and
    errors those of AsyncAdminClient, with plain iterators.
    """

    def __init__(self, target: str = DEFAULT_ADMIN_TARGET, **options: Unpack[ConnectionOptions]) -> None:
        super().__init__(AsyncAdminClient(target, **options))

    mint_token = waiting(AsyncAdminClient.mint_token)
    inspect_token = waiting(AsyncAdminClient.inspect_token)
    list_tokens = iterating(AsyncAdminClient.list_tokens)
    ban_token = waiting(AsyncAdminClient.ban_token)
    unban_token = waiting(AsyncAdminClient.unban_token)
    list_bans = iterating(AsyncAdminClient.list_bans)
    get_token_graph = waiting(AsyncAdminClient.get_token_graph)
    create_tenant = waiting(AsyncAdminClient.create_tenant)
    list_tenants = iterating(AsyncAdminClient.list_tenants)
    update_tenant = waiting(AsyncAdminClient.update_tenant)
    rotate_tenant_key = waiting(AsyncAdminClient.rotate_tenant_key)
    create_user = waiting(AsyncAdminClient.create_user)
    list_users = iterating(AsyncAdminClient.list_users)
    set_password = waiting(AsyncAdminClient.set_password)
    set_role = waiting(AsyncAdminClient.set_role)
    disable_user = waiting(AsyncAdminClient.disable_user)
    list_audit_events = iterating(AsyncAdminClient.list_audit_events)
    export_audit = iterating(AsyncAdminClient.export_audit)
    verify_audit = waiting(AsyncAdminClient.verify_audit)
