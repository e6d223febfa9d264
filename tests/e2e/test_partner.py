"""A partner's whole path, from its registration to its ban."""

from __future__ import annotations

import re
import signal
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest

from spacelink import AdminClient, SpaceLinkClient, SpaceLinkError
from spacelink.errors import PermissionDeniedError, UnauthenticatedError
from tests.conftest import EXIT_SECONDS
from tests.e2e.agents import put_secret, simulating, wait_until
from tests.e2e.batches import stored_samples
from tests.server.webhooks.receiver import receiving, verified

if TYPE_CHECKING:
    from pathlib import Path

    from spacelink.records import ApiKey
    from tests.conftest import ServerProcess, StartServer

DEVICE = "acme-1"
PASSWORD = "correct horse battery"


def registered(server: ServerProcess, operator: SpaceLinkClient) -> SpaceLinkClient:
    """Register, be approved and log in."""
    partner = SpaceLinkClient(server.address)
    partner_id = partner.register_partner(
        "acme", display_name="ACME", contact_email="a@acme.example", user_name="anna", password=PASSWORD
    )
    with pytest.raises(UnauthenticatedError):
        partner.authenticate("anna", PASSWORD, tenant_id="acme")
    operator.approve_partner(partner_id)
    partner.authenticate("anna", PASSWORD, tenant_id="acme")
    return partner


def key_of(partner: SpaceLinkClient, key_id: str) -> ApiKey:
    return next(key for key in partner.list_api_keys() if key.key_id == key_id)


def test_from_registration_to_ban(servers: StartServer, tmp_path: Path) -> None:
    server = servers(tmp_path / "server", "--webhook-allow-private")

    def stored() -> int:
        return stored_samples(server.data_dir).get(DEVICE, 0)

    with (
        SpaceLinkClient(server.address, token=server.token) as operator,
        registered(server, operator) as partner,
        receiving() as receiver,
    ):
        hook = partner.create_webhook(receiver.url, ["token.banned"])
        first = partner.generate_api_key("terminal", scope="telemetry:write", device=DEVICE)
        key_file = put_secret(tmp_path / "agent.key", first.secret)
        flags = ("--device-id", DEVICE, "--api-key-file", str(key_file))
        with simulating(server, tmp_path, *flags) as agent:
            wait_until(lambda: stored() > 0, agent)
            partner.create_network("home", [DEVICE])
            (device,) = partner.get_network_health("home", hours=1).devices
            assert device.device_id == DEVICE
            assert device.window.sample_count > 0

            second = partner.rotate_api_key(first.api_key.key_id)
            put_secret(key_file, second.secret)
            wait_until(lambda: key_of(partner, second.api_key.key_id).last_use_time is not None, agent)
            partner.revoke_api_key(first.api_key.key_id)
            before = stored()
            wait_until(lambda: stored() > before, agent)

            with AdminClient(server.admin_address, token=server.token) as admin:
                admin.ban_token(minted_before=datetime.now(UTC), tenant_id="acme", reason="unpaid")
            wait_until(lambda: "TOKEN_BANNED" in agent.log, agent)
            acked = stored()
            with pytest.raises(SpaceLinkError) as refused:
                list(partner.list_networks())
            assert isinstance(refused.value, PermissionDeniedError)
            assert refused.value.reason == "TOKEN_BANNED"
            wait_until(lambda: bool(receiver.received), agent)
            assert verified(hook.secret, receiver.received[0])["data"]["reason"] == "unpaid"

            agent.process.send_signal(signal.SIGTERM)
            agent.process.wait(EXIT_SECONDS)
    pattern = r"samples: (\d+) collected, (\d+) acked, 0 rejected, 0 dropped; .* (\d+) spooled"
    collected, delivered, batches_kept = map(int, re.findall(pattern, agent.log)[-1])
    assert delivered == acked == stored() < collected
    assert batches_kept > 0
