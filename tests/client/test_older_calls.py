"""Programs written for the older SDK, which spoke to the REST bridge, run as they are."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from spacelink import AdminClient, SpaceLinkClient
from spacelink._base_url import target_of
from spacelink.errors import PermissionDeniedError, UnauthenticatedError

if TYPE_CHECKING:
    from tests.conftest import ServerProcess

PASSWORD = "correct horse battery staple"


@pytest.fixture
def api_key(server: ServerProcess) -> str:
    with SpaceLinkClient(server.address, token=server.token) as client:
        return client.generate_api_key("older", scope="telemetry:write").secret


def test_an_older_program(server: ServerProcess, api_key: str, device_id: str) -> None:
    with AdminClient(server.admin_address, token=server.token) as admin:
        admin.create_user("enterprise", PASSWORD, "admin")
    client = SpaceLinkClient(base_url=f"http://{server.address}", api_key=api_key)
    for latency in (45.5, 46.5, 47.5):
        sent = client.send_telemetry(
            device_id=device_id,
            organization="ACME Corporation",
            latency_ms=latency,
            packet_loss_percent=0.2,
            signal_strength=-68.5,
            status="active",
        )
        assert sent == {"sample_count": 1}
    with pytest.raises(PermissionDeniedError):
        client.query_telemetry(device_id=device_id, limit=2)
    assert client.authenticate("enterprise", PASSWORD).startswith("slk_")
    samples = client.query_telemetry(device_id=device_id, limit=2)
    assert [sample["latency_ms"] for sample in samples] == [45.5, 46.5]
    assert {key: samples[0][key] for key in ("device_id", "signal_strength", "status")} == {
        "device_id": device_id,
        "signal_strength": -68.5,
        "status": "active",
    }
    assert len(client.query_telemetry(device_id=device_id)) == 3
    client.create_network("older", [device_id])
    health = client.get_network_health("older", hours=24)
    assert health.devices[0].window.sample_count == 3
    client.close()


def test_a_login_that_fails_leaves_the_credential(
    server: ServerProcess, api_key: str, device_id: str
) -> None:
    with SpaceLinkClient(base_url=f"http://{server.address}", api_key=api_key) as client:
        with pytest.raises(UnauthenticatedError):
            client.authenticate("nobody", "wrong")
        assert client.send_telemetry(device_id, latency_ms=1, timestamp="2026-01-04T12:00:00Z")


@pytest.mark.parametrize(
    ("base_url", "target", "is_plain"),
    [
        ("http://localhost:8000", "localhost:50051", True),
        ("http://localhost:8000/", "localhost:50051", True),
        ("https://gateway.example", "gateway.example:50051", False),
        ("https://gateway.example:443/api", "gateway.example:50051", False),
        ("http://10.0.0.1:80", "10.0.0.1:50051", True),
        ("https://gateway.example:50443", "gateway.example:50443", False),
        ("http://[::1]:8000", "[::1]:50051", True),
    ],
)
def test_the_server_is_expected_beside_the_bridge(base_url: str, target: str, is_plain: bool) -> None:
    assert target_of(base_url) == (target, is_plain)


@pytest.mark.parametrize(
    "base_url", ["", "localhost:8000", "ftp://x", "http://", "http://x:y", "http://[::1"]
)
def test_urls_that_are_none(base_url: str) -> None:
    with pytest.raises(ValueError, match="base_url"):
        SpaceLinkClient(base_url=base_url)


def test_one_address_is_enough() -> None:
    with pytest.raises(ValueError, match="target or base_url"):
        SpaceLinkClient("localhost:1", base_url="http://localhost:8000")
