"""An installation in this process: its store, its keys, and the services of access over real gRPC."""

from __future__ import annotations

import asyncio
import contextlib
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import grpc
import pytest

from spacelink.admin.v1 import (
    account_pb2_grpc,
    audit_pb2_grpc,
    governance_pb2_grpc,
    tenant_pb2_grpc,
    token_pb2_grpc,
)
from spacelink.v1 import network_pb2_grpc, partner_pb2_grpc, session_pb2_grpc
from spacelink_server.access import first_start
from spacelink_server.access.control import AccessControl
from spacelink_server.access.writes import Database
from spacelink_server.ingest.committer import Committer
from spacelink_server.ingest.live import LiveFeed
from spacelink_server.networks.history import History
from spacelink_server.rpc import CallInterceptor
from spacelink_server.sandboxes.seeding import Seeder
from spacelink_server.services.admin_account import AccountService
from spacelink_server.services.admin_audit import AuditService
from spacelink_server.services.admin_governance import GovernanceService
from spacelink_server.services.admin_tenant import TenantService
from spacelink_server.services.admin_token import TokenService
from spacelink_server.services.network import NetworkService
from spacelink_server.services.partner import PartnerService
from spacelink_server.services.scopes import RULES
from spacelink_server.services.session import SessionService
from spacelink_server.webhooks.delivery import Deliverer
from spacelink_server.webhooks.sending import Sender
from spacelink_server.webhooks.targets import Targets
from tests.server.plane import status_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable

    from tests.server.stores import Place


_QUEUE_BYTES = 64 * 1024 * 1024


class Clock:
    """A clock that can be set forward."""

    def __init__(self) -> None:
        self.ahead = 0.0

    def __call__(self) -> float:
        return time.time() + self.ahead

    def nanos(self) -> int:
        return int(self() * 1e9)


class Installation:
    """Everything that decides about a call, wired as in the server."""

    def __init__(self, place: Place) -> None:
        self.store = place.open()
        directory = place.directory
        self.clock = Clock()
        self.keys = first_start.prepare(self.store, directory, {})
        self.writer = ThreadPoolExecutor(1)
        self.readers = ThreadPoolExecutor(2)
        self.database = Database(self.store, self.writer, self.readers)
        self.access = AccessControl(self.database, self.keys, RULES, on_health=_ignore, clock=self.clock)
        self.gate = self.access.gate
        self.bans = self.access.bans
        self.directory = self.access.tenants
        self.minter = self.access.minter
        self.passwords = self.access.passwords
        self.sessions = self.access.sessions
        self.api_keys = self.access.api_keys
        self.verifier = self.access.verifier
        self.limiter = self.access.limiter
        self.open_calls = self.access.open_calls
        self.lineage = self.access.lineage
        self.refusals = self.access.refusals
        self.committer = Committer(self.store, self.writer, LiveFeed(), _QUEUE_BYTES, _ignore)
        self.targets = Targets(allow_private=True)
        self.sender = Sender(self.keys, self.targets, self.clock.nanos)
        self.deliverer = Deliverer(self.database, self.sender, self.clock.nanos)
        self.operator = (directory / first_start.OPERATOR_TOKEN_FILE).read_text().strip()
        self.server = grpc.aio.server(interceptors=(CallInterceptor(), self.access.interceptor))
        self._register()
        port = self.server.add_insecure_port("127.0.0.1:0")
        self.address = f"127.0.0.1:{port}"
        self.channel = grpc.aio.insecure_channel(self.address)
        self.token = token_pb2_grpc.TokenServiceStub(self.channel)
        self.governance = governance_pb2_grpc.GovernanceServiceStub(self.channel)
        self.audit = audit_pb2_grpc.AuditServiceStub(self.channel)
        self.tenant = tenant_pb2_grpc.TenantServiceStub(self.channel)
        self.account = account_pb2_grpc.AccountServiceStub(self.channel)
        self.session = session_pb2_grpc.SessionServiceStub(self.channel)
        self.partner = partner_pb2_grpc.PartnerServiceStub(self.channel)
        self.network = network_pb2_grpc.NetworkServiceStub(self.channel)

    def _register(self) -> None:
        token_pb2_grpc.add_TokenServiceServicer_to_server(
            TokenService(self.database, self.keys, self.bans, self.minter), self.server
        )
        governance_pb2_grpc.add_GovernanceServiceServicer_to_server(
            GovernanceService(self.database, self.keys, self.bans, self.lineage), self.server
        )
        audit_pb2_grpc.add_AuditServiceServicer_to_server(AuditService(self.database), self.server)
        tenant_pb2_grpc.add_TenantServiceServicer_to_server(
            TenantService(self.database, self.keys, self.directory), self.server
        )
        account_pb2_grpc.add_AccountServiceServicer_to_server(
            AccountService(self.database, self.bans, self.passwords), self.server
        )
        session_pb2_grpc.add_SessionServiceServicer_to_server(
            SessionService(self.database, self.sessions, self.access.allowances, self.limiter), self.server
        )
        partner_pb2_grpc.add_PartnerServiceServicer_to_server(
            PartnerService(self.access, Seeder(self.committer, self.readers), self.targets, self.sender),
            self.server,
        )
        network_pb2_grpc.add_NetworkServiceServicer_to_server(
            NetworkService(self.database, History(self.store, self.readers)), self.server
        )

    async def close(self) -> None:
        await self.channel.close()
        await self.server.stop(0)
        await self.limiter.close()
        self.passwords.close()
        self.writer.shutdown()
        self.readers.shutdown()
        self.store.close()


async def _ignore(_: bool) -> None:
    pass


@contextlib.asynccontextmanager
async def running(place: Place) -> AsyncIterator[Installation]:
    """Run an installation."""
    installation = Installation(place)
    await installation.bans.refresh()
    await installation.directory.refresh()
    await installation.server.start()
    polling = [asyncio.create_task(work.run()) for work in (installation.bans, installation.directory)]
    committing = asyncio.create_task(installation.committer.run())
    try:
        yield installation
    finally:
        for task in polling:
            task.cancel()
        await asyncio.wait(polling)
        await installation.deliverer.close()
        installation.committer.close()
        await committing
        await installation.close()


def bearer(token: str, tenant: str = "") -> dict[str, Any]:
    """Give the keyword of a call that presents a token."""
    metadata = [("authorization", f"Bearer {token}")]
    if tenant:
        metadata.append(("x-spacelink-tenant", tenant))
    return {"metadata": metadata}


async def refusal(awaited: Awaitable[object]) -> dict[str, Any]:
    """Give what the status of a call says that must fail: see status_of."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await awaited
    return status_of(caught.value.code(), caught.value.trailing_metadata())
