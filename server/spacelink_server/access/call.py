"""The call being served, for whoever serves it."""

from __future__ import annotations

from contextvars import ContextVar
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ipaddress import IPv4Address, IPv6Address

    from spacelink_server.access.verification import VerifiedToken


@dataclass(frozen=True, slots=True)
class Call:
    """A call that was let in.

    Attributes:
        tenant_id: the tenant it is about; "*" where it is about more than one.
        principal: the caller's token.
        peer: the caller's address; None where it is not known.
    """

    tenant_id: str
    principal: VerifiedToken
    peer: IPv4Address | IPv6Address | None


_current: ContextVar[Call] = ContextVar("call")


def current() -> Call:
    """Give the call that this task serves; LookupError where the method is public."""
    return _current.get()


def enter(call: Call) -> None:
    """Make it the call that this task serves; every call has a task of its own."""
    _current.set(call)
