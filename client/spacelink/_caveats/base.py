"""What a caveat is, the call it is asked about, and its answer."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Self

if TYPE_CHECKING:
    from collections.abc import Collection
    from datetime import datetime
    from ipaddress import IPv4Address, IPv6Address

# Stands for every tenant, or for every device or network of a tenant. No name
# may hold it, so a caveat that lists names never holds for it.
ANY = "*"


@dataclass(frozen=True, slots=True)
class CallContext:
    """What a call is about.

    Attributes:
        now: the server's time, with a time zone.
        tenant: the tenant it is about; ANY where it spans tenants.
        scope: what the method asks for, "resource:action".
        devices: every device it names; (ANY,) where it means all there are.
        networks: every network it names; (ANY,) where it means all there are.
        peer: the caller's address; None where it is not known.
    """

    now: datetime
    tenant: str
    scope: str
    devices: Collection[str] = ()
    networks: Collection[str] = ()
    peer: IPv4Address | IPv6Address | None = None


@dataclass(frozen=True, slots=True)
class Success:
    """The caveat holds."""


@dataclass(frozen=True, slots=True)
class Failure:
    """The caveat does not hold; the reason says why."""

    reason: str


class Caveat(ABC):
    """One restriction of a token. Constructors raise ValueError for values that no text can give."""

    __slots__ = ()
    key: ClassVar[str]

    @classmethod
    @abstractmethod
    def from_text(cls, text: str) -> Self:
        """Build from a value as people write it; ValueError says what would be right."""

    @property
    @abstractmethod
    def value(self) -> str:
        """The value's only valid text."""

    @abstractmethod
    def check(self, call: CallContext) -> Success | Failure:
        """Tell whether the caveat holds for a call."""

    def encode(self) -> bytes:
        """Write the caveat as it stands in a token."""
        return str(self).encode("ascii")

    def __str__(self) -> str:
        return f"{self.key} = {self.value}"
