"""What a method asks of its caller."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Any, TypeAlias

from spacelink._caveats import ANY

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping


def no_names(_: Any) -> tuple[str, ...]:
    """Say that no request of the method names any."""
    return ()


def tenant_field(request: Any) -> str:
    """Give the tenant that a request names; empty where it names none."""
    tenant_id: str = getattr(request, "tenant_id", "")
    return tenant_id


def any_tenant(_: Any) -> str:
    """Say that the method is about more than one tenant, so for operators only."""
    return ANY


def never(_: Any) -> bool:
    """Say that an operator's call which names no tenant is about the default one."""
    return False


def always(_: Any) -> bool:
    """Say that it is about all tenants."""
    return True


@dataclass(frozen=True, slots=True)
class Access:
    """The method is for tokens with a scope.

    The functions are called with the request: the message, the bytes of methods
    that take bytes, or the iterator of methods with a stream of requests.

    Attributes:
        scope: "resource:action".
        devices: gives the devices that a request names; (ANY,) where it means all.
        networks: likewise.
        tenant: gives the tenant that a request names; empty where it names none.
        everywhere: tells whether an operator's call that names no tenant is about
            all of them, rather than the default one.
    """

    scope: str
    devices: Callable[[Any], Collection[str]] = no_names
    networks: Callable[[Any], Collection[str]] = no_names
    tenant: Callable[[Any], str] = tenant_field
    everywhere: Callable[[Any], bool] = never


class Open(Enum):
    """The method needs no scope."""

    PUBLIC = "no credential is asked for"
    AUTHENTICATED = "any token that is good for the tenant"


PUBLIC = Open.PUBLIC
AUTHENTICATED = Open.AUTHENTICATED

Rule: TypeAlias = Access | Open

if TYPE_CHECKING:
    Rules: TypeAlias = Mapping[str, Rule]
