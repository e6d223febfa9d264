from __future__ import annotations

from ipaddress import ip_address, ip_network

import pytest

from spacelink_server.access.peers import peer_address

PROXIES = (ip_network("10.0.0.0/8"), ip_network("fd00::/8"))


@pytest.mark.parametrize(
    ("peer", "address"),
    [
        ("ipv4:192.0.2.1:40000", "192.0.2.1"),
        ("ipv6:[2001:db8::1]:40000", "2001:db8::1"),
        ("ipv6:%5B2001:db8::1%5D:40000", "2001:db8::1"),
        ("ipv6:[fe80::1%25eth0]:1", "fe80::1%eth0"),
        ("ipv6:[::ffff:192.0.2.1]:40000", "192.0.2.1"),
    ],
)
def test_what_grpc_calls_a_peer(peer: str, address: str) -> None:
    assert peer_address(peer, [], ()) == ip_address(address)


@pytest.mark.parametrize(
    "peer",
    ["", "unix:/run/spacelink.sock", "unix:", "ipv4:", "ipv4:192.0.2.1", "ipv4:somewhere:1", "dns:a:1"],
)
def test_peers_without_an_address(peer: str) -> None:
    assert peer_address(peer, ["192.0.2.9"], PROXIES) is None


@pytest.mark.parametrize(
    ("peer", "forwarded_for", "address"),
    [
        # Anybody may write the header; only behind a trusted proxy it counts.
        ("192.0.2.1", ["198.51.100.7"], "192.0.2.1"),
        ("10.0.0.1", ["198.51.100.7"], "198.51.100.7"),
        ("::ffff:10.0.0.1", ["198.51.100.7"], "198.51.100.7"),
        ("fd00::1", ["2001:db8::9"], "2001:db8::9"),
        # What a caller wrote itself stands before what the proxies added.
        ("10.0.0.1", ["203.0.113.5, 198.51.100.7"], "198.51.100.7"),
        ("10.0.0.1", ["203.0.113.5", "198.51.100.7"], "198.51.100.7"),
        ("10.0.0.1", ["203.0.113.5, 198.51.100.7, 10.0.0.2,10.0.0.3"], "198.51.100.7"),
        ("10.0.0.1", ["10.0.0.3"], "10.0.0.3"),
        ("10.0.0.1", [], "10.0.0.1"),
        ("10.0.0.1", ["198.51.100.7, unknown"], None),
        ("10.0.0.1", ["198.51.100.7,"], None),
        ("10.0.0.1", [""], None),
    ],
)
def test_behind_proxies(peer: str, forwarded_for: list[str], address: str | None) -> None:
    family = "ipv6" if ":" in peer else "ipv4"
    host = f"[{peer}]" if ":" in peer else peer
    found = peer_address(f"{family}:{host}:1", forwarded_for, PROXIES)
    assert found == (ip_address(address) if address else None)
