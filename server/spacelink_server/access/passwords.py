"""Passwords as argon2id hashes, computed off the event loop."""

from __future__ import annotations

import asyncio
import base64
import secrets
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, TypeVar

from argon2 import PasswordHasher
from argon2.exceptions import VerifyMismatchError

from spacelink_server.errors import UnavailableError

if TYPE_CHECKING:
    from collections.abc import Callable

_T = TypeVar("_T")

# A hash takes 64 MiB and about 0.1 s of four threads: the second choice of
# RFC 9106, which argon2-cffi has as its default. One at a time is all that a
# small machine can spare for callers that nobody knows yet.
_HASHER = PasswordHasher()

# So many take some seconds; who comes later would wait longer than people do.
_MAX_WAITING = 32
_RETRY_SECONDS = 2.0


class Passwords:
    """Makes and checks hashes of passwords."""

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(1, "passwords")
        self._waiting = 0
        self._decoy = _decoy()

    async def hash(self, password: str) -> str:
        """Hash a password with a salt of its own.

        Raises:
            UnavailableError: too many are being hashed.
        """
        return await self._run(lambda: _HASHER.hash(password))

    async def verify(self, password_hash: str | None, password: str) -> bool:
        """Tell whether a password is right.

        Args:
            password_hash: the right one's; None, for a user that does not
                exist, takes as long and is never right.
            password: the one given.

        Raises:
            UnavailableError: too many are being hashed.
        """
        return await self._run(lambda: _matches(password_hash or self._decoy, password))

    def close(self) -> None:
        """End the thread once it is idle."""
        self._thread.shutdown(wait=False)

    async def _run(self, work: Callable[[], _T]) -> _T:
        if self._waiting >= _MAX_WAITING:
            raise UnavailableError("LOGINS_BUSY", "too many passwords are being checked", _RETRY_SECONDS)
        self._waiting += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._thread, work)
        finally:
            self._waiting -= 1


def _matches(password_hash: str, password: str) -> bool:
    try:
        return _HASHER.verify(password_hash, password)
    except VerifyMismatchError:
        return False


def _decoy() -> str:
    """Make a hash of the usual parameters that no password has."""
    salt, digest = (
        base64.b64encode(secrets.token_bytes(size)).decode().rstrip("=")
        for size in (_HASHER.salt_len, _HASHER.hash_len)
    )
    costs = f"m={_HASHER.memory_cost},t={_HASHER.time_cost},p={_HASHER.parallelism}"
    return f"$argon2id$v=19${costs}${salt}${digest}"
