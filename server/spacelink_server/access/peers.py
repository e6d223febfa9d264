"""From which address a call comes."""

from __future__ import annotations

from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import TYPE_CHECKING, TypeAlias
from urllib.parse import unquote

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

Address: TypeAlias = IPv4Address | IPv6Address
AddressRange: TypeAlias = IPv4Network | IPv6Network

FORWARDED_FOR = "x-forwarded-for"


def peer_address(peer: str, forwarded_for: Sequence[str], trusted: Iterable[AddressRange]) -> Address | None:
    """Give a caller's address.

    Args:
        peer: as gRPC names the other end, such as "ipv4:192.0.2.1:40000".
        forwarded_for: the values of x-forwarded-for, which count only behind
            proxies that are trusted: anybody can write them.
        trusted: where such proxies are.

    Returns:
        The last address that is not a trusted proxy's; None where it is not known.
    """
    address = _parse_peer(peer)
    hops = [hop for value in forwarded_for for hop in value.split(",")]
    while address is not None and hops and any(address in proxies for proxies in trusted):
        address = _parse(hops.pop())
    return address


# A connection has one name for all of its calls.
@lru_cache(maxsize=4096)
def _parse_peer(peer: str) -> Address | None:
    family, _, rest = peer.partition(":")
    if family not in ("ipv4", "ipv6"):
        return None
    host = unquote(rest).rpartition(":")[0]
    return _parse(host.removeprefix("[").removesuffix("]"))


def _parse(text: str) -> Address | None:
    try:
        address = ip_address(text.strip())
    except ValueError:
        return None
    # What a socket for both families calls a caller with IPv4.
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return mapped or address
