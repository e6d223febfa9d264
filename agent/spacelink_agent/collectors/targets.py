"""What the host collector connects to: names, and the addresses they have."""

from __future__ import annotations

import asyncio
import logging
import socket
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence

_logger = logging.getLogger(__name__)


class Target(NamedTuple):
    """Where to connect to."""

    host: str
    port: int

    @classmethod
    def parse(cls, text: str) -> Target:
        """Read HOST:PORT, with brackets around an IPv6 address.

        Raises:
            ValueError: says what would be right.
        """
        host, _, port = text.rpartition(":")
        host = host.removeprefix("[").removesuffix("]")
        if not host or not port.isdecimal() or not 0 < int(port) < 65536:
            raise ValueError(f"{text!r}: expected HOST:PORT, such as example.org:443")
        return cls(host, int(port))

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


class Address(NamedTuple):
    """A target's address, as sockets take it."""

    family: int
    kind: int
    protocol: int
    address: Any


class Resolver:
    """Knows the addresses of targets; says so, once, when a name cannot be resolved any more, or again."""

    def __init__(self, targets: Sequence[Target]) -> None:
        self._names = [_Name(target) for target in targets]

    @property
    def addresses(self) -> list[Address]:
        """The addresses that the targets had last; of those that ever had one."""
        return [name.address for name in self._names if name.address is not None]

    async def look_up(self, patience: float) -> None:
        """Look all names up, and wait for that for some seconds; what takes longer goes on."""
        await asyncio.wait([name.look_up() for name in self._names], timeout=patience)

    def close(self) -> None:
        """Look up no more."""
        for name in self._names:
            name.close()


class _Name:
    """A target, and the address it had last."""

    def __init__(self, target: Target) -> None:
        self.address: Address | None = None
        self._target = target
        self._is_failing = False
        self._lookup: asyncio.Task[None] | None = None

    def look_up(self) -> asyncio.Task[None]:
        """Begin to look up, unless that is going on already: without a link it takes long."""
        if self._lookup is None or self._lookup.done():
            self._lookup = asyncio.ensure_future(self._look_up())
        return self._lookup

    def close(self) -> None:
        if self._lookup is not None:
            self._lookup.cancel()

    async def _look_up(self) -> None:
        try:
            infos = await asyncio.get_running_loop().getaddrinfo(*self._target, type=socket.SOCK_STREAM)
        # UnicodeError: what no name can be, such as a label of 64 characters.
        except (OSError, UnicodeError) as error:
            self._failed(error.strerror if isinstance(error, OSError) else str(error))
        else:
            self._resolved(infos[0])

    def _failed(self, problem: str | None) -> None:
        if not self._is_failing:
            meanwhile = (
                "it is left out until it can be"
                if self.address is None
                else f"measuring its last address, {self.address.address[0]}"
            )
            _logger.warning("target %s cannot be resolved (%s); %s", self._target, problem, meanwhile)
        self._is_failing = True

    def _resolved(self, info: tuple[Any, ...]) -> None:
        family, kind, protocol, _, address = info
        self.address = Address(family, kind, protocol, address)
        if self._is_failing:
            _logger.warning("target %s is resolved again: %s", self._target, address[0])
        self._is_failing = False
