"""Where connections are plain and where they are not."""

from __future__ import annotations

from pathlib import Path

import pytest

from spacelink._channel import Security, is_loopback
from tests.certificates import Authority


@pytest.mark.parametrize("target", ["127.0.0.1:50051", "127.8.8.8:1", "localhost:50051", "[::1]:50051"])
def test_loopback(target: str) -> None:
    assert is_loopback(target)


@pytest.mark.parametrize(
    "target",
    [
        "192.0.2.1:50051",
        "0.0.0.0:50051",
        "example.com:50051",
        "[2001:db8::1]:1",
        "localhost.example.com:1",
        "",
    ],
)
def test_not_loopback(target: str) -> None:
    assert not is_loopback(target)


def test_files_ask_for_tls(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    own = authority.issue()
    assert Security.from_files(tls_ca=authority.cert).tls is not None
    assert Security.from_files(tls_cert=own.cert, tls_key=own.key).tls is not None
    assert Security.from_files().tls is None


def test_files_for_tls_and_insecure_contradict_each_other(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"^insecure: expected no files for TLS with it$"):
        Security.from_files(tls_ca=Authority(tmp_path).cert, insecure=True)
