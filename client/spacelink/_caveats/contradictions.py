"""What can be told of caveats without a call: which calls they refuse, however they are made."""

from __future__ import annotations

from ipaddress import IPv4Network, IPv6Network
from typing import TYPE_CHECKING, TypeVar

from spacelink._caveats.base import ANY
from spacelink._caveats.bounds import NOT_BEFORE_LEEWAY, Expires, Ip, NotBefore
from spacelink._caveats.names import SCOPE_ALIASES, Device, Network, Scope, Tenant

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from datetime import datetime

    from spacelink._caveats.base import Caveat

    _Item = TypeVar("_Item")
    _Kind = TypeVar("_Kind", bound=Caveat)

_EVERY_CALL = "every call is refused"


def contradictions(caveats: Sequence[Caveat], now: datetime) -> Iterator[str]:
    """Say why calls are refused that any server would refuse.

    Args:
        caveats: all of a token's.
        now: the time, with a time zone.
    """
    tenants = dict.fromkeys(caveat for caveat in _of(Tenant, caveats) if caveat.tenant != ANY)
    if len(tenants) > 1:
        yield _contradictory("tenant", tuple(tenants), _EVERY_CALL)
    yield from _never(_of(Expires, caveats), _of(NotBefore, caveats), now)
    addresses = _of(Ip, caveats)
    if not _common([caveat.networks for caveat in addresses], _narrower_network):
        yield _contradictory("address", addresses, _EVERY_CALL)
    scopes = _of(Scope, caveats)
    if not _common([[_plain(word) for word in caveat.words] for caveat in scopes], _narrower_scope):
        yield _contradictory("scope", scopes, "every call that takes a scope is refused")
    for kind in (Device, Network):
        names = _of(kind, caveats)
        if not _common([caveat.words for caveat in names], _narrower_name):
            yield _contradictory(kind.key, names, f"every call about {kind.key}s is refused")


def _of(kind: type[_Kind], caveats: Sequence[Caveat]) -> tuple[_Kind, ...]:
    return tuple(caveat for caveat in caveats if isinstance(caveat, kind))


def _contradictory(what: str, caveats: Sequence[Caveat], consequence: str) -> str:
    texts = " and ".join(f"'{caveat}'" for caveat in dict.fromkeys(caveats))
    return f"contradictory: no {what} is in {texts}: {consequence}"


def _never(expiries: Sequence[Expires], starts: Sequence[NotBefore], now: datetime) -> Iterator[str]:
    if not expiries:
        return
    end = min(expiries, key=lambda caveat: caveat.time)
    start = max(starts, key=lambda caveat: caveat.time, default=None)
    if end.time <= now:
        yield f"expired at {end.value}: {_EVERY_CALL}"
    elif start is not None and end.time <= start.time - NOT_BEFORE_LEEWAY:
        yield _contradictory("time", (start, end), _EVERY_CALL)


def _common(
    lists: Sequence[Sequence[_Item]], narrower: Callable[[_Item, _Item], _Item | None]
) -> Sequence[_Item] | bool:
    """Give what all lists of patterns have in common; True where there are no lists."""
    if not lists:
        return True
    common, *others = lists
    for other in others:
        found = (narrower(one, another) for one in common for another in other)
        common = tuple(dict.fromkeys(item for item in found if item is not None))
    return common


def _narrower_network(
    one: IPv4Network | IPv6Network, other: IPv4Network | IPv6Network
) -> IPv4Network | IPv6Network | None:
    # Of two networks with an address in common, one is inside the other.
    if one.version != other.version or not one.overlaps(other):
        return None
    return max(one, other, key=lambda network: network.prefixlen)


def _narrower_name(one: str, other: str) -> str | None:
    if one == other or _is_below(one, other):
        return one
    return other if _is_below(other, one) else None


def _is_below(name: str, above: str) -> bool:
    return above.endswith("/*") and name.startswith(above[:-1])


def _plain(scope: str) -> str:
    return SCOPE_ALIASES.get(scope, scope)


def _narrower_scope(one: str, other: str) -> str | None:
    parts = []
    for left, right in zip(one.split(":"), other.split(":"), strict=True):
        if left != right and ANY not in (left, right):
            return None
        parts.append(right if left == ANY else left)
    return ":".join(parts)
