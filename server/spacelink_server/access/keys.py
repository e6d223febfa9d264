"""The master key, and the tenants' root keys that are derived from it."""

from __future__ import annotations

import base64
import binascii
import contextlib
import hashlib
import hmac
import logging
import math
import os
import re
import secrets
import time
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from pathlib import Path

    from spacelink_server.storage.tenants import TenantKey

logger = logging.getLogger(__name__)

MASTER_KEY_FILE = "master.key"
MASTER_KEY_VARIABLE = "SPACELINK_MASTER_KEY"

_KEY_SIZE = 32
_HEX = re.compile(rf"[0-9a-fA-F]{{{2 * _KEY_SIZE}}}", re.ASCII)
_RULE = f"expected {_KEY_SIZE} bytes as {2 * _KEY_SIZE} hexadecimal digits or in base64"
_NANOS = 1_000_000_000


class MasterKeyError(Exception):
    """The master key is missing, not readable, or not the one that the store was made with."""


def load_master_key(data_dir: Path, environ: Mapping[str, str], *, create: bool) -> bytes:
    """Give the 32 bytes that all root keys are derived from.

    Args:
        data_dir: where master.key is.
        environ: where SPACELINK_MASTER_KEY may be, which goes before the file.
        create: whether to make the file if there is no key: only where the
            store has no keys yet.

    Raises:
        MasterKeyError: says what is wrong, never what the key is.
    """
    if text := environ.get(MASTER_KEY_VARIABLE):
        return _parse(MASTER_KEY_VARIABLE, text)
    path = data_dir / MASTER_KEY_FILE
    if create and not path.exists():
        write_secret(path, secrets.token_hex(_KEY_SIZE))
        logger.info("made a master key in %s", path)
    try:
        text = path.read_text("ascii")
    except FileNotFoundError:
        raise MasterKeyError(
            f"{path} is missing, but the store has keys derived from it: "
            f"put it back or set {MASTER_KEY_VARIABLE}"
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise MasterKeyError(f"{path} cannot be read: {_RULE} ({type(error).__name__})") from None
    return _parse(str(path), text)


def write_secret(path: Path, text: str) -> None:
    """Write a line to a file that only its owner can read, whole or not at all."""
    part = path.with_name(f".{path.name}.part")
    part.unlink(missing_ok=True)
    with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(f"{text}\n")
        file.flush()
        os.fsync(file.fileno())
    part.replace(path)
    directory = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


def _parse(source: str, text: str) -> bytes:
    text = text.strip()
    if _HEX.fullmatch(text):
        return bytes.fromhex(text)
    with contextlib.suppress(binascii.Error, UnicodeEncodeError):
        plain = text.translate({ord("-"): "+", ord("_"): "/"}).rstrip("=")
        key = base64.b64decode(plain.encode("ascii") + b"=" * (-len(plain) % 4), validate=True)
        if len(key) == _KEY_SIZE:
            return key
    raise MasterKeyError(f"{source}: {_RULE}")


class _RootKey(NamedTuple):
    key: bytes
    good_until: float  # Unix seconds


class KeyRing:
    """The root keys that sign tokens, by tenant and version; tenant "*" is the installation.

    Attributes:
        version: counts up whenever the keys change.
    """

    def __init__(self, master_key: bytes, clock: Callable[[], float] = time.time) -> None:
        """Make a ring without keys.

        Args:
            master_key: 32 bytes.
            clock: gives Unix seconds.
        """
        self.version = 0
        # HKDF's first step, with no salt: RFC 5869, section 2.2.
        self._secret = hmac.digest(bytes(hashlib.sha256().digest_size), master_key, "sha256")
        self._clock = clock
        self._keys: dict[tuple[str, int], _RootKey] = {}
        self._current: dict[str, int] = {}
        self._listeners: list[Callable[[], None]] = []

    def on_change(self, listener: Callable[[], None]) -> None:
        """Have a function called whenever the keys change."""
        self._listeners.append(listener)

    def load(self, rows: Iterable[TenantKey]) -> None:
        """Take the keys that the store knows in place of all before.

        Raises:
            MasterKeyError: one was derived from another master key.
        """
        keys: dict[tuple[str, int], _RootKey] = {}
        current: dict[str, int] = {}
        for row in rows:
            name = (row.tenant_id, row.key_version)
            if not hmac.compare_digest(row.fingerprint, self.fingerprint(*name)):
                raise MasterKeyError(
                    "the master key is not the one that the store was made with: "
                    f"set {MASTER_KEY_VARIABLE} or put the right {MASTER_KEY_FILE} into the data directory"
                )
            if row.expire_time is None:
                current[row.tenant_id] = max(row.key_version, current.get(row.tenant_id, 0))
            keys[name] = _RootKey(self._derive("tenant-key", *name), _seconds(row.expire_time))
        self._keys, self._current = keys, current
        self.version += 1
        for listener in self._listeners:
            listener()

    def root_key(self, tenant_id: str, key_version: int) -> bytes | None:
        """Give a root key of 32 bytes; None: there is none, or its time is over."""
        entry = self._keys.get((tenant_id, key_version))
        return entry.key if entry is not None and self._clock() < entry.good_until else None

    def good_until(self, tenant_id: str, key_version: int) -> float:
        """Tell until when a key of the ring is good, in Unix seconds; infinity for current ones."""
        return self._keys[tenant_id, key_version].good_until

    def current_version(self, tenant_id: str) -> int:
        """Tell which key signs a tenant's new tokens; KeyError where there is no such tenant."""
        return self._current[tenant_id]

    def __contains__(self, tenant_id: object) -> bool:
        return tenant_id in self._current

    def fingerprint(self, tenant_id: str, key_version: int) -> bytes:
        """Give what the store keeps to recognise the master key: 32 bytes that reveal no key."""
        return hashlib.sha256(self._derive("key-fingerprint", tenant_id, key_version)).digest()

    def webhook_secret(self, tenant_id: str, webhook_id: str, version: int) -> bytes:
        """Give what the deliveries of a webhook are signed with: 32 bytes that are stored nowhere."""
        return self._derive("webhook-secret", tenant_id, webhook_id, version)

    def _derive(self, purpose: str, *names: str | int) -> bytes:
        # HKDF's second step, whose first block is all that is needed. Names have
        # no blanks.
        info = " ".join(("spacelink", purpose, *map(str, names)))
        return hmac.digest(self._secret, info.encode("ascii") + b"\x01", "sha256")


def _seconds(time_unix_nano: int | None) -> float:
    return math.inf if time_unix_nano is None else time_unix_nano / _NANOS
