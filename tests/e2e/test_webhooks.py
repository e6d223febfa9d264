"""Webhooks of real server processes: what is committed is delivered, whatever happens to the server."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import grpc

from spacelink.admin.v1.governance_pb2 import BanTokenRequest
from spacelink.admin.v1.governance_pb2_grpc import GovernanceServiceStub
from spacelink.v1 import partner_pb2 as pb
from spacelink.v1.partner_pb2_grpc import PartnerServiceStub
from spacelink.v1.session_pb2 import CreateSessionRequest
from spacelink.v1.session_pb2_grpc import SessionServiceStub
from spacelink.v1.telemetry_pb2 import ListLatestTelemetryRequest
from spacelink.v1.telemetry_pb2_grpc import TelemetryServiceStub
from tests.credentials import AuthorizedChannel
from tests.e2e.calls import DEADLINE, assert_clean, failure
from tests.server.waiting import until
from tests.server.webhooks.receiver import receiving, verified

if TYPE_CHECKING:
    from pathlib import Path

    from tests.conftest import ServerProcess, StartServer

ALLOWED = "--webhook-allow-private"


async def call(server: ServerProcess, method: str, **fields: Any) -> Any:
    """Call a method of PartnerService as the operator."""
    async with server.channel() as channel:
        request = getattr(pb, f"{method}Request")(**fields)
        return await getattr(PartnerServiceStub(channel), method)(request, timeout=DEADLINE)


async def ban(server: ServerProcess, number: int) -> None:
    """Make an event."""
    async with server.admin_channel() as channel:
        request = BanTokenRequest(digest=f"{number:064x}", reason=str(number), tenant_id="default")
        await GovernanceServiceStub(channel).BanToken(request, timeout=DEADLINE)


async def test_a_server_killed_between_commit_and_delivery(servers: StartServer, tmp_path: Path) -> None:
    """The event is committed, the receiver is away; the next server delivers it."""
    server = servers(tmp_path, ALLOWED)
    with receiving() as receiver:
        port = receiver.port
        made = await call(server, "CreateWebhook", url=receiver.url)
    await ban(server, 1)
    server.kill()
    with receiving(port) as receiver:
        server = servers(tmp_path, ALLOWED)
        await until(lambda: receiver.received)
        (request,) = receiver.received
        assert verified(made.secret, request)["data"]["reason"] == "1"
    server.terminate()
    assert_clean(server.log)


async def test_a_server_killed_while_it_delivers(servers: StartServer, tmp_path: Path) -> None:
    """The receiver has the event, and nobody knows; it gets it again, with the same id."""
    with receiving() as receiver:
        server = servers(tmp_path, ALLOWED)
        made = await call(server, "CreateWebhook", url=receiver.url)
        receiver.gate.clear()
        for number in range(3):
            await ban(server, number)
        await until(lambda: len(receiver.received) == 3)
        server.kill()
        before = list(receiver.received)
        receiver.received.clear()
        receiver.gate.set()
        server = servers(tmp_path, ALLOWED)
        await until(lambda: len(receiver.received) == 3)
        key = lambda request: request.id  # noqa: E731
        for first, second in zip(sorted(before, key=key), sorted(receiver.received, key=key), strict=True):
            assert (first.id, first.body) == (second.id, second.body)
            assert verified(made.secret, first) == verified(made.secret, second)
        listed: list[Any] = [None]
        while listed:
            answer = await call(server, "ListWebhookDeliveries", webhook_id=made.webhook.webhook_id)
            listed = list(answer.deliveries)
            await asyncio.sleep(0.01)
        assert len(receiver.received) == 3
    server.terminate()
    assert_clean(server.log)


async def test_servers_over_one_database_share_the_work(
    servers: StartServer, tmp_path: Path, database: str
) -> None:
    """Each event is delivered by one of them."""
    first = servers(tmp_path / "a", ALLOWED, "--database", database)
    key = (tmp_path / "a" / "master.key").read_text()
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "master.key").write_text(key)
    second = servers(tmp_path / "b", ALLOWED, "--database", database)
    with receiving() as receiver:
        made = await call(first, "CreateWebhook", url=receiver.url)
        for number in range(30):
            await ban(first, number)
        await until(lambda: len(receiver.received) >= 30)
        assert len({request.id for request in receiver.received}) == len(receiver.received) == 30
        for request in receiver.received:
            verified(made.secret, request)
    for server in (first, second):
        server.terminate()
        assert_clean(server.log)


async def test_private_targets_are_refused_unless_allowed(servers: StartServer, tmp_path: Path) -> None:
    """When the webhook is made, and when something is sent."""
    with receiving() as receiver:
        server = servers(tmp_path, ALLOWED)
        made = await call(server, "CreateWebhook", url=receiver.url)
        assert (await call(server, "TestWebhook", webhook_id=made.webhook.webhook_id)).delivered
        server.terminate()
        receiver.received.clear()
        server = servers(tmp_path)
        for url in (receiver.url, f"https://127.0.0.1:{receiver.port}/", "https://localhost/"):
            error = await failure(call(server, "CreateWebhook", url=url))
            assert error.reason == "INVALID_WEBHOOK_TARGET"
        found = await call(server, "TestWebhook", webhook_id=made.webhook.webhook_id)
        assert (found.delivered, found.status_code) == (False, 0)
        await ban(server, 1)
        request = {"webhook_id": made.webhook.webhook_id}
        while not (delivery := (await call(server, "ListWebhookDeliveries", **request)).deliveries[0]).error:
            await asyncio.sleep(0.01)
        assert delivery.error == "expected https"
        assert receiver.received == []
    await register_and_try(server)
    server.terminate()
    assert_clean(server.log)


async def register_and_try(server: ServerProcess) -> None:
    """Go a partner's way from its registration to its sandbox."""
    async with grpc.aio.insecure_channel(server.address) as anonymous:
        request = pb.RegisterPartnerRequest(
            tenant_id="acme",
            display_name="ACME",
            contact_email="a@acme.example",
            user_name="anna",
            password="correct horse",
        )
        partner_id = (await PartnerServiceStub(anonymous).RegisterPartner(request)).partner_id
        error = await failure(PartnerServiceStub(anonymous).ListPartners(pb.ListPartnersRequest()))
        assert error.reason == "CREDENTIAL_REQUIRED"
        await call(server, "ApprovePartner", partner_id=partner_id)
        login = CreateSessionRequest(tenant_id="acme", user_name="anna", password="correct horse")
        session = await SessionServiceStub(anonymous).CreateSession(login)
        async with AuthorizedChannel(grpc.aio.insecure_channel(server.address), session.token) as channel:
            box = await PartnerServiceStub(channel).CreateSandbox(pb.CreateSandboxRequest())
            assert box.sandbox.tenant_id == "acme-sandbox"
            again = await PartnerServiceStub(channel).ResetSandbox(pb.ResetSandboxRequest())
        metadata = [("x-api-key", again.secret)]
        latest = await TelemetryServiceStub(anonymous).ListLatestTelemetry(
            ListLatestTelemetryRequest(), metadata=metadata
        )
        assert [batch.device_id for batch in latest.batches] == sorted(again.sandbox.device_ids)
