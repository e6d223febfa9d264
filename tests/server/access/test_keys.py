from __future__ import annotations

import base64
import hashlib
import hmac
import logging
import os
import stat
from typing import TYPE_CHECKING

import pytest

from spacelink_server.access.keys import KeyRing, MasterKeyError, load_master_key, write_secret
from spacelink_server.storage.tenants import TenantKey

if TYPE_CHECKING:
    from pathlib import Path

MASTER_KEY = bytes(range(200, 232))
HOUR = 3600
NANOS = 1_000_000_000


class Clock:
    """A clock that tests set."""

    def __init__(self) -> None:
        self.now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def ring(clock: Clock) -> KeyRing:
    return KeyRing(MASTER_KEY, clock)


def row(ring: KeyRing, tenant_id: str, key_version: int = 1, expires: float | None = None) -> TenantKey:
    end = None if expires is None else int(expires * NANOS)
    return TenantKey(tenant_id, key_version, ring.fingerprint(tenant_id, key_version), 0, end)


def hkdf_sha256(secret: bytes, salt: bytes, info: bytes, length: int) -> bytes:
    """HKDF as RFC 5869 describes it, section 2."""
    key = hmac.new(salt or bytes(32), secret, hashlib.sha256).digest()
    output, block = b"", b""
    for number in range(1, -(-length // 32) + 1):
        block = hmac.new(key, block + info + bytes((number,)), hashlib.sha256).digest()
        output += block
    return output[:length]


def test_hkdf_of_these_tests_is_that_of_the_rfc() -> None:
    # RFC 5869, A.1 and A.3.
    first = hkdf_sha256(b"\x0b" * 22, bytes(range(13)), bytes(range(0xF0, 0xFA)), 42)
    assert first.hex() == (
        "3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf34007208d5b887185865"
    )
    third = hkdf_sha256(b"\x0b" * 22, b"", b"", 42)
    assert third.hex() == (
        "8da4e775a563c18f715f802a063c5a31b8a11f5c5ee1879ec3454e5f3c738d2d9d201395faa4b61a96c8"
    )


@pytest.mark.parametrize(("tenant_id", "version"), [("acme", 1), ("acme", 12), ("*", 1)])
def test_root_keys_are_derived_by_hkdf(ring: KeyRing, tenant_id: str, version: int) -> None:
    ring.load([row(ring, tenant_id, version)])
    info = f"spacelink tenant-key {tenant_id} {version}".encode()
    assert ring.root_key(tenant_id, version) == hkdf_sha256(MASTER_KEY, b"", info, 32)


def test_no_two_keys_or_fingerprints_are_alike(ring: KeyRing) -> None:
    names = [("acme", 1), ("acme", 2), ("globex", 1), ("*", 1), ("acme1", 1)]
    ring.load([row(ring, *name) for name in names])
    derived = [ring.root_key(*name) for name in names] + [ring.fingerprint(*name) for name in names]
    assert len(set(derived)) == 2 * len(names)


def test_a_key_that_is_not_there(ring: KeyRing) -> None:
    ring.load([row(ring, "acme")])
    assert ring.root_key("acme", 2) is None
    assert ring.root_key("globex", 1) is None
    assert "globex" not in ring
    with pytest.raises(KeyError):
        ring.current_version("globex")


def test_rotation_keeps_the_old_key_until_its_time(ring: KeyRing, clock: Clock) -> None:
    ring.load([row(ring, "acme")])
    assert ring.current_version("acme") == 1
    ring.load([row(ring, "acme", 1, clock.now + HOUR), row(ring, "acme", 2)])
    assert ring.current_version("acme") == 2
    assert ring.root_key("acme", 1) is not None
    assert ring.good_until("acme", 1) == clock.now + HOUR
    clock.now += HOUR - 0.001
    assert ring.root_key("acme", 1) is not None
    clock.now += 0.001
    assert ring.root_key("acme", 1) is None
    assert ring.root_key("acme", 2) is not None
    assert "acme" in ring


def test_whoever_listens_hears_of_changed_keys(ring: KeyRing) -> None:
    heard: list[tuple[int, bool]] = []
    ring.on_change(lambda: heard.append((ring.version, "acme" in ring)))
    ring.load([row(ring, "acme")])
    ring.load([])
    assert heard == [(1, True), (2, False)]


def test_another_master_key_is_recognised(ring: KeyRing) -> None:
    rows = [row(ring, "*"), row(ring, "acme")]
    other = KeyRing(MASTER_KEY[::-1])
    with pytest.raises(MasterKeyError, match="not the one that the store was made with") as caught:
        other.load(rows)
    assert MASTER_KEY[::-1].hex() not in str(caught.value)
    assert "acme" not in other


@pytest.mark.parametrize(
    "text",
    [
        MASTER_KEY.hex(),
        MASTER_KEY.hex().upper(),
        f"  {MASTER_KEY.hex()}\n",
        base64.b64encode(MASTER_KEY).decode(),
        base64.b64encode(MASTER_KEY).decode().rstrip("="),
        base64.urlsafe_b64encode(MASTER_KEY).decode(),
    ],
)
def test_the_environment_has_the_master_key(tmp_path: Path, text: str) -> None:
    write_secret(tmp_path / "master.key", "00" * 32)
    assert load_master_key(tmp_path, {"SPACELINK_MASTER_KEY": text}, create=True) == MASTER_KEY


@pytest.mark.parametrize("text", ["hunter2hunter2", "ab" * 31, "ab" * 33, "%" * 44, "é" * 44, "zz" * 32])
def test_no_master_key(tmp_path: Path, text: str) -> None:
    with pytest.raises(MasterKeyError, match="SPACELINK_MASTER_KEY: expected 32 bytes") as caught:
        load_master_key(tmp_path, {"SPACELINK_MASTER_KEY": text}, create=True)
    assert text not in str(caught.value)
    (tmp_path / "master.key").write_text(text)
    with pytest.raises(MasterKeyError, match=r"master\.key.*expected 32 bytes") as caught:
        load_master_key(tmp_path, {}, create=True)
    assert text not in str(caught.value)


def test_a_master_key_is_made_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    before = os.umask(0)
    try:
        with caplog.at_level(logging.DEBUG):
            key = load_master_key(tmp_path, {}, create=True)
    finally:
        os.umask(before)
    path = tmp_path / "master.key"
    assert len(key) == 32
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert path.read_text() == f"{key.hex()}\n"
    assert str(path) in caplog.text
    assert key.hex() not in caplog.text
    assert load_master_key(tmp_path, {}, create=True) == key
    assert load_master_key(tmp_path, {}, create=False) == key
    assert load_master_key(tmp_path / "..", {"SPACELINK_MASTER_KEY": key.hex()}, create=False) == key
    assert list(tmp_path.iterdir()) == [path]


def test_two_installations_have_two_keys(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    keys = {load_master_key(tmp_path / name, {}, create=True) for name in "ab"}
    assert len(keys) == 2


def test_a_lost_master_key_is_not_made_anew(tmp_path: Path) -> None:
    with pytest.raises(MasterKeyError, match=r"master\.key is missing.*put it back"):
        load_master_key(tmp_path, {}, create=False)
    assert not list(tmp_path.iterdir())


def test_a_master_key_that_is_a_directory(tmp_path: Path) -> None:
    (tmp_path / "master.key").mkdir()
    with pytest.raises(MasterKeyError, match="cannot be read"):
        load_master_key(tmp_path, {}, create=True)


def test_a_secret_replaces_what_a_crash_left(tmp_path: Path) -> None:
    path = tmp_path / "master.key"
    (tmp_path / ".master.key.part").write_text("half a k")
    write_secret(path, "new")
    write_secret(path, "newer")
    assert path.read_text() == "newer\n"
    assert [p.name for p in tmp_path.iterdir()] == ["master.key"]
