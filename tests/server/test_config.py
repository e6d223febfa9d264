from __future__ import annotations

from pathlib import Path

import pytest

from spacelink._listeners import Address, ConfigError
from spacelink_server.config import ServerConfig, Tls
from tests.certificates import Authority

LOCAL = Address("127.0.0.1", 0)


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.9.10", "::1", "localhost"])
def test_loopback(host: str) -> None:
    address = Address(host, 1)
    assert address.is_loopback
    assert ServerConfig(Path(), address, LOCAL).listen is address


REACHABLE = ["0.0.0.0", "::", "10.0.0.1", "gateway.example", "localhost.example", "127.0.0.1.example", "1"]


@pytest.mark.parametrize("host", REACHABLE)
def test_in_plain_text_only_loopback_is_taken(host: str) -> None:
    address = Address(host, 1)
    assert not address.is_loopback
    with pytest.raises(ConfigError, match=r"^listen .*loopback.* tls_cert and tls_key, or insecure"):
        ServerConfig(Path(), address, LOCAL)
    with pytest.raises(ConfigError, match=r"^admin_listen .*loopback"):
        ServerConfig(Path(), LOCAL, address)


@pytest.mark.parametrize("host", REACHABLE)
def test_with_tls_or_on_demand_any_address_is_taken(host: str, tls: Tls) -> None:
    address = Address(host, 1)
    assert ServerConfig(Path(), address, address, tls=tls).listen is address
    assert ServerConfig(Path(), address, address, insecure=True).listen is address


def test_tls_and_insecure_contradict_each_other(tls: Tls) -> None:
    with pytest.raises(ConfigError, match=r"^insecure: "):
        ServerConfig(Path(), LOCAL, LOCAL, tls=tls, insecure=True)


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


@pytest.fixture
def tls(authority: Authority) -> Tls:
    identity = authority.issue("gateway.example")
    tls = Tls.from_files(identity.cert, identity.key, None)
    assert tls is not None
    return tls


def test_tls_files_are_read(authority: Authority) -> None:
    own = authority.issue("gateway.example")
    tls = Tls.from_files(own.cert, own.key, authority.cert)
    assert tls is not None
    assert (tls.chain, tls.key) == (own.cert.read_bytes(), own.key.read_bytes())
    assert tls.client_authorities == authority.cert.read_bytes()
    assert own.key.read_text().splitlines()[1] not in repr(tls)
    assert Tls.from_files(None, None, None) is None


def test_tls_files_that_cannot_be_used_are_named(authority: Authority, tmp_path: Path) -> None:
    own, other = authority.issue(), authority.issue()
    with pytest.raises(ConfigError, match=r"^tls_client_ca: expected tls_cert and tls_key with it$"):
        Tls.from_files(None, None, authority.cert)
    with pytest.raises(ConfigError, match=r"^tls_cert and tls_key: expected both or neither$"):
        Tls.from_files(own.cert, None, None)
    with pytest.raises(ConfigError, match=rf"^tls_key {other.key}: is not the key of tls_cert {own.cert}$"):
        Tls.from_files(own.cert, other.key, None)
    with pytest.raises(ConfigError, match=rf"^tls_client_ca {own.key}: expected certificates in PEM form$"):
        Tls.from_files(own.cert, own.key, own.key)
    with pytest.raises(ConfigError, match=rf"^tls_cert {tmp_path / 'none'}: cannot be read: No such file"):
        Tls.from_files(tmp_path / "none", own.key, None)


def test_config_errors_are_value_errors() -> None:
    assert issubclass(ConfigError, ValueError)


# Metrics


@pytest.mark.parametrize("host", REACHABLE)
def test_scrapes_are_answered_where_calls_may_be(host: str, tls: Tls) -> None:
    address = Address(host, 9464)
    with pytest.raises(ConfigError, match=r"^metrics_listen .*loopback.* tls_cert and tls_key, or insecure"):
        ServerConfig(Path(), LOCAL, LOCAL, metrics_listen=address)
    assert ServerConfig(Path(), LOCAL, LOCAL, tls=tls, metrics_listen=address).metrics_listen is address
    assert ServerConfig(Path(), LOCAL, LOCAL, insecure=True, metrics_listen=address).metrics_listen is address


def test_each_worker_has_a_port_for_scrapes() -> None:
    def ports(first: int) -> list[int]:
        config = ServerConfig(
            Path(), LOCAL, LOCAL, database="postgresql://", workers=3, metrics_listen=Address("::1", first)
        )
        found = [config.of_worker(number).metrics_listen for number in (1, 2, 3)]
        assert {address.host for address in found if address} == {"::1"}
        return [address.port for address in found if address]

    assert ports(9464) == [9464, 9465, 9466]
    assert ports(65_533) == [65_533, 65_534, 65_535]
    assert ports(0) == [0, 0, 0]
    with pytest.raises(
        ConfigError, match=r"^metrics_listen \[::1\]:65534: expected a port up to 65533 for 3"
    ):
        ports(65_534)
    without = ServerConfig(Path(), LOCAL, LOCAL, database="postgresql://", workers=3)
    assert without.of_worker(3).metrics_listen is None


# Traces


@pytest.mark.parametrize("url", ["http://127.0.0.1:4318", "https://otel.example/tenant/"])
def test_traces_go_to_a_collector(url: str) -> None:
    assert ServerConfig(Path(), LOCAL, LOCAL, otlp_endpoint=url).otlp_endpoint == url


@pytest.mark.parametrize(
    "url",
    [
        "127.0.0.1:4318",
        "grpc://127.0.0.1:4317",
        "http://",
        "http://:4318",
        "http://u:sesame@h",
        "http://h?a=b",
    ],
)
def test_an_endpoint_that_is_none_is_refused(url: str) -> None:
    with pytest.raises(ConfigError, match=r"^otlp_endpoint: expected the URL .*4318") as caught:
        ServerConfig(Path(), LOCAL, LOCAL, otlp_endpoint=url)
    assert "sesame" not in str(caught.value)
