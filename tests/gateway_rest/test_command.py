"""The settings of `spacelink rest`."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from spacelink._listeners import Address
from spacelink.cli import main
from spacelink_rest.command import rest
from spacelink_rest.serving import listen
from tests.certificates import LOOPBACK, Authority


def run(*flags: str) -> Result:
    return CliRunner().invoke(main, ["rest", *flags])


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--listen", "nowhere"], "listen 'nowhere': expected HOST:PORT"),
        (["--listen", "0.0.0.0:8000"], "listen 0.0.0.0:8000: expected a loopback address"),
        (["--admin-listen", "[::]:9090"], "admin_listen [::]:9090: expected a loopback address"),
        (["--tls-cert", "missing.pem"], "tls_cert and tls_key: expected both or neither"),
        (["--server-tls-ca", "missing.pem"], "tls_ca missing.pem: cannot be read"),
        (["--cors-origin", "dashboard.example"], "cors_origin 'dashboard.example': expected an origin"),
        (["--trusted-proxy", "proxy"], "trusted_proxy: 'proxy' does not appear to be an IPv4 or IPv6"),
        (["--max-body-bytes", "0"], "'--max-body-bytes'"),
    ],
)
def test_settings_that_cannot_be(flags: list[str], message: str) -> None:
    result = run(*flags)
    assert result.exit_code == 2
    assert message in result.output


def test_insecure_and_tls_exclude_each_other(tmp_path: Path) -> None:
    identity = Authority(tmp_path).issue(*LOOPBACK)
    result = run("--insecure", "--tls-cert", str(identity.cert), "--tls-key", str(identity.key))
    assert (result.exit_code, "insecure: expected no tls_cert" in result.output) == (2, True)


def test_an_address_that_is_taken() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        result = run("--listen", address)
    assert result.exit_code == 1
    assert f"listen {address}: cannot listen there" in result.output


def test_answers_on_kept_connections_do_not_wait_for_an_ack() -> None:
    """Each is written in two parts, the second of which would be held back."""
    listener, address = listen("listen", Address("127.0.0.1", 0))
    with listener, socket.create_connection(("127.0.0.1", address.port)), listener.accept()[0] as accepted:
        assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


def test_every_setting_is_a_variable_too() -> None:
    for parameter in rest.params:
        if parameter.name not in ("config", "help"):
            assert parameter.envvar == f"SPACELINK_{str(parameter.name).upper()}"
