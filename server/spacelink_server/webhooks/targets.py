"""Where webhooks may send: public addresses, by TLS.

Whoever may make webhooks could otherwise have the server call what only the
server can reach. A name is resolved anew for each attempt, all of its addresses
are looked at, and the connection goes to one of those that were: what the name
means a moment later does not matter.
"""

from __future__ import annotations

import asyncio
import re
import socket
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address
from typing import NamedTuple
from urllib.parse import urlsplit

_MAX_URL = 2048
_PORTS = {"https": 443, "http": 80}
# Neither blanks nor control characters, with which a request could be forged.
_URL = re.compile(r"[!-~]+", re.ASCII)
_LABEL = re.compile(r"[a-z0-9_][a-z0-9_-]{0,62}", re.ASCII)
_RULE = "expected a URL such as https://example.com/hooks"

# Through a gateway that the server's network may have, they reach the IPv4
# address in their last 32 bits: RFC 6052, section 2.1.
_NAT64 = IPv6Network("64:ff9b::/96")


class TargetError(Exception):
    """Nothing can be sent there; says why, for people."""


class Target(NamedTuple):
    """Where requests go.

    Attributes:
        is_tls: whether TLS is spoken.
        host: a name or an address.
        port: the port.
        path: with the query.
    """

    is_tls: bool
    host: str
    port: int
    path: str

    @property
    def authority(self) -> str:
        """What the header Host says."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == _PORTS["https" if self.is_tls else "http"] else f"{host}:{self.port}"


class Targets:
    """Tells where requests may go."""

    def __init__(self, *, allow_private: bool) -> None:
        """Make it.

        Args:
            allow_private: let requests go to any address, and without TLS.
        """
        self._allow_private = allow_private

    def parse(self, url: str) -> Target:
        """Read a URL.

        Raises:
            TargetError: it is none that anything is sent to.
        """
        if len(url) > _MAX_URL or not _URL.fullmatch(url):
            raise TargetError(f"{_RULE}, at most {_MAX_URL} characters of ASCII")
        try:
            parts = urlsplit(url)
            host, port = parts.hostname, parts.port
        except ValueError:
            raise TargetError(_RULE) from None
        if not host or not _is_host(host) or parts.scheme not in _PORTS or parts.fragment or port == 0:
            raise TargetError(_RULE)
        if parts.username is not None or parts.password is not None:
            raise TargetError("expected no user name or password in the URL; deliveries are signed")
        if parts.scheme == "http" and not self._allow_private:
            raise TargetError("expected https")
        path = parts.path or "/"
        path = f"{path}?{parts.query}" if parts.query else path
        return Target(parts.scheme == "https", host, port or _PORTS[parts.scheme], path)

    async def resolve(self, target: Target) -> list[str]:
        """Give the addresses to connect to, in the order to try them.

        Raises:
            TargetError: there are none, or nothing may be sent to one of them.
        """
        loop = asyncio.get_running_loop()
        try:
            found = await loop.getaddrinfo(target.host, target.port, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError):
            raise TargetError("the host name does not resolve") from None
        addresses = list(dict.fromkeys(str(entry[4][0]) for entry in found))
        if not self._allow_private and not all(map(is_public, addresses)):
            # Not which: who asks need not know the network of the server.
            raise TargetError("the host resolves to an address that is not public")
        return addresses


def _is_host(text: str) -> bool:
    """Tell whether a text is a name, or an address without a scope."""
    if ":" not in text:
        return all(map(_LABEL.fullmatch, text.removesuffix(".").split(".")))
    try:
        return "%" not in text and ip_address(text).version == 6
    except ValueError:
        return False


def is_public(text: str) -> bool:
    """Tell whether an address is one of the internet's, for one receiver."""
    # A scope says on which link an address is, so it is none of these.
    if "%" in text:
        return False
    address = ip_address(text)
    if isinstance(address, IPv6Address):
        if address.sixtofour or address.teredo or address.is_site_local:
            return False
        address = _embedded(address) or address
    is_special = address.is_multicast or address.is_reserved or address.is_unspecified
    return address.is_global and not is_special


def _embedded(address: IPv6Address) -> IPv4Address | None:
    """Give the IPv4 address that is meant by an IPv6 address."""
    if address in _NAT64:
        return IPv4Address(int(address) & 0xFFFFFFFF)
    return address.ipv4_mapped
