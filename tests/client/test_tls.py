"""What files for TLS are taken, and what is said of the others."""

from __future__ import annotations

from pathlib import Path

import pytest

from spacelink._tls import TlsFileError, handshake_problem, read_authorities, read_identity
from tests.certificates import LOOPBACK, Authority


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


@pytest.fixture
def junk(tmp_path: Path) -> Path:
    path = tmp_path / "junk"
    path.write_bytes(b"\xff not a certificate\n")
    return path


def test_good_files_are_read_as_they_are(authority: Authority) -> None:
    one = authority.issue(*LOOPBACK)
    assert read_identity(one.cert, one.key) == (one.cert.read_bytes(), one.key.read_bytes())
    assert read_authorities("tls_ca", str(authority.cert)) == authority.cert.read_bytes()
    assert read_identity(None, None) is None


def test_one_file_without_the_other(authority: Authority) -> None:
    one = authority.issue()
    for cert, key in ((one.cert, None), (None, one.key)):
        with pytest.raises(TlsFileError, match=r"^tls_cert and tls_key: expected both or neither$"):
            read_identity(cert, key)


def test_the_key_of_another_certificate(authority: Authority) -> None:
    one, other = authority.issue(), authority.issue()
    with pytest.raises(TlsFileError) as caught:
        read_identity(one.cert, other.key)
    assert str(caught.value) == f"tls_key {other.key}: is not the key of tls_cert {one.cert}"


def test_what_is_no_certificate(authority: Authority, junk: Path) -> None:
    one = authority.issue()
    for path in (junk, one.key):
        with pytest.raises(TlsFileError, match=f"^tls_ca {path}: expected certificates in PEM form$"):
            read_authorities("tls_ca", path)
        with pytest.raises(TlsFileError, match=f"^tls_cert {path}: expected certificates in PEM form$"):
            read_identity(path, one.key)


def test_what_is_no_key(authority: Authority, junk: Path) -> None:
    one, encrypted = authority.issue(), authority.issue(password=b"secret")
    for cert, key in ((one.cert, junk), (one.cert, one.cert), (encrypted.cert, encrypted.key)):
        with pytest.raises(TlsFileError, match=f"^tls_key {key}: expected a private key in PEM form"):
            read_identity(cert, key)


def test_what_cannot_be_read(authority: Authority, tmp_path: Path) -> None:
    one = authority.issue()
    with pytest.raises(TlsFileError, match=r"^tls_ca .*none: cannot be read: No such file or directory$"):
        read_authorities("tls_ca", tmp_path / "none")
    with pytest.raises(TlsFileError, match=rf"^tls_key {tmp_path}: cannot be read: Is a directory$"):
        read_identity(one.cert, tmp_path)


@pytest.mark.parametrize(
    "text",
    ["failed to connect to all addresses; last error: UNKNOWN: Connection refused", "", "Socket closed"],
)
def test_other_failures_are_not_tls_s(text: str) -> None:
    assert handshake_problem(text) is None
