"""What a caller presents with each call: a token or an API key, given or in a file.

Whoever reads it has its rights, so nothing here shows it: neither repr() nor an
error nor the log.
"""

from __future__ import annotations

import asyncio
import logging
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from spacelink._names import IDENTIFIER_RULE, is_identifier
from spacelink.errors import InvalidTokenError
from spacelink.token import PREFIX, Token

if TYPE_CHECKING:
    from collections.abc import Callable

    Header: TypeAlias = tuple[str, str]
    Metadata: TypeAlias = tuple[Header, ...]

# Longer than any token or key; a file that was given by mistake is not read to its end.
_MAX_FILE = 16 * 1024
# A revoked token's successor is in use within a second; a look at a file costs
# some microseconds.
_LOOK_SECONDS = 1.0

_KEY_PREFIX = "slak_"
_API_KEY = re.compile(r"[!-~]{1,1024}", re.ASCII)

_logger = logging.getLogger(__name__)


class Credentials:
    """The metadata that goes with each call."""

    def __init__(self, metadata: Metadata = ()) -> None:
        self._metadata = metadata

    def metadata(self) -> Metadata:
        """Give the metadata to send now."""
        return self._metadata

    async def replaced(self, presented: Metadata) -> None:
        """Wait until there is another credential than the one presented, which may never be."""
        await asyncio.Event().wait()


class _FileCredentials(Credentials):
    """Follows a file; a credential stays in use until another good one is in its place."""

    def __init__(self, path: Path, header: Callable[[str], Header], others: Metadata) -> None:
        self._path = path
        self._header = header
        self._others = others
        self._stamp = _stamp(path)
        super().__init__(self._read())

    def metadata(self) -> Metadata:
        try:
            self._follow()
        except (OSError, ValueError, InvalidTokenError) as error:
            _logger.warning("keeping the credential at hand: %s: %s", self._path, _reason(error))
        return self._metadata

    async def replaced(self, presented: Metadata) -> None:
        while self.metadata() == presented:  # noqa: ASYNC110 - files set no events
            await asyncio.sleep(_LOOK_SECONDS)

    def _follow(self) -> None:
        try:
            stamp = _stamp(self._path)
        except FileNotFoundError:
            return  # moments between two files
        if stamp != self._stamp:
            # First, so that one bad file is told of once.
            self._stamp = stamp
            self._metadata = self._read()

    def _read(self) -> Metadata:
        with self._path.open("rb") as file:
            # What is not ASCII is not part of a credential; its reader says so.
            text = file.read(_MAX_FILE).decode("ascii", "replace")
        return (self._header(text), *self._others)


def _stamp(path: Path) -> tuple[int, ...]:
    status = os.stat(path)  # noqa: PTH116 - called often, and Path.stat takes twice as long
    return status.st_mtime_ns, status.st_size, status.st_ino


def _reason(error: Exception) -> str:
    return str(error.strerror if isinstance(error, OSError) else error)


ANONYMOUS = Credentials()


def credentials(
    *,
    token: Token | str | None = None,
    token_file: Path | str | None = None,
    api_key: str | None = None,
    api_key_file: Path | str | None = None,
    tenant: str | None = None,
) -> Credentials:
    """Take what a caller was given.

    Args:
        token: a token or its text.
        token_file: holds a token's text; read again whenever it changes.
        api_key: a key that stands for a token.
        api_key_file: holds such a key; read again whenever it changes.
        tenant: the tenant that the calls are about.

    Raises:
        ValueError: there is more than one credential, or one that cannot be.
        InvalidTokenError: the token is none.
        OSError: the file cannot be read.
    """
    given = {"token": token, "token_file": token_file, "api_key": api_key, "api_key_file": api_key_file}
    names = [name for name, value in given.items() if value is not None]
    for name in ("token_file", "api_key_file"):
        if is_secret(str(given[name] or "")):
            # Missing, such a file would be named in an error.
            raise ValueError(f"{name}: expected the name of a file; what came is the secret itself")
    if len(names) > 1:
        raise ValueError(f"expected one credential, not {' and '.join(names)}")
    others = () if tenant is None else (_tenant(tenant),)
    if token_file is not None:
        return _following("token_file", token_file, _bearer, others)
    if api_key_file is not None:
        return _following("api_key_file", api_key_file, _key, others)
    if token is not None:
        others = (_bearer(str(token)), *others)
    if api_key is not None:
        others = (_key(api_key), *others)
    return Credentials(others)


def _following(name: str, path: Path | str, header: Callable[[str], Header], others: Metadata) -> Credentials:
    try:
        return _FileCredentials(Path(path), header, others)
    except (ValueError, InvalidTokenError) as error:
        raise type(error)(f"{name} {path}: {error}") from None


def is_secret(text: str) -> bool:
    """Tell whether a text looks like a token or an API key."""
    return text.startswith((PREFIX, _KEY_PREFIX))


def _bearer(text: str) -> Header:
    if text.startswith(_KEY_PREFIX):
        raise InvalidTokenError("token: what came is an API key")
    return "authorization", f"Bearer {Token.parse(text.strip())}"


def _key(text: str) -> Header:
    key = text.strip()
    if key.startswith(PREFIX):
        raise ValueError("api_key: what came is a token")
    if not _API_KEY.fullmatch(key):
        raise ValueError("api_key: expected printable ASCII characters without blanks")
    return "x-api-key", key


def _tenant(tenant: str) -> Header:
    if not is_identifier(tenant):
        raise ValueError(f"tenant {tenant!r}: expected {IDENTIFIER_RULE}")
    return "x-spacelink-tenant", tenant
