from __future__ import annotations

from pathlib import Path

import pytest

from spacelink_server.config import Address, ConfigError, ServerConfig

LOCAL = Address("127.0.0.1", 0)


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


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.9.10", "::1", "localhost"])
def test_loopback(host: str) -> None:
    address = Address(host, 1)
    assert address.is_loopback
    assert ServerConfig(Path(), address, LOCAL).listen is address


@pytest.mark.parametrize(
    "host", ["0.0.0.0", "::", "10.0.0.1", "gateway.example", "localhost.example", "127.0.0.1.example", "1"]
)
def test_without_credentials_only_loopback_is_taken(host: str) -> None:
    address = Address(host, 1)
    assert not address.is_loopback
    with pytest.raises(ConfigError, match=r"^listen .*loopback"):
        ServerConfig(Path(), address, LOCAL)
    with pytest.raises(ConfigError, match=r"^admin_listen .*loopback"):
        ServerConfig(Path(), LOCAL, address)


def test_config_errors_are_value_errors() -> None:
    assert issubclass(ConfigError, ValueError)
