from __future__ import annotations

import pytest

from spacelink._listeners import Address, ConfigError, parse_networks


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [
        ("127.0.0.1:50051", "127.0.0.1", 50051),
        ("localhost:0", "localhost", 0),
        ("[::1]:65535", "::1", 65535),
        ("gateway.example:1", "gateway.example", 1),
    ],
)
def test_address(text: str, host: str, port: int) -> None:
    address = Address.parse("listen", text)
    assert (address.host, address.port) == (host, port)
    assert str(address) == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        ":",
        ":50051",
        "localhost",
        "localhost:",
        "localhost:x",
        "h:-1",
        "h:65536",
        "h:1.0",
        "h: 1",
        "h:\u0661",
    ],
)
def test_no_address(text: str) -> None:
    with pytest.raises(ConfigError, match=r"admin_listen .*HOST:PORT"):
        Address.parse("admin_listen", text)


def test_networks() -> None:
    assert [str(network) for network in parse_networks("trusted_proxy", ["10.0.0.0/8", "::1"])] == [
        "10.0.0.0/8",
        "::1/128",
    ]
    with pytest.raises(ConfigError, match=r"trusted_proxy: .*10\.0\.0\.1/8"):
        parse_networks("trusted_proxy", ["10.0.0.1/8"])
