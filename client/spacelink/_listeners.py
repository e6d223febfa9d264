"""Where a process listens, and what the settings of its listeners must be."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self, TypeAlias

from spacelink._channel import is_loopback

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    AddressRange: TypeAlias = ipaddress.IPv4Network | ipaddress.IPv6Network


class ConfigError(ValueError):
    """A setting cannot be used; says which and what would be right."""


@dataclass(frozen=True, slots=True)
class Address:
    """Where a listener listens."""

    host: str
    port: int

    @classmethod
    def parse(cls, name: str, text: str) -> Self:
        """Read HOST:PORT; port 0 lets the system choose.

        Raises:
            ConfigError: names the setting.
        """
        host, _, port = text.rpartition(":")
        if not host or not port.isascii() or not port.isdigit() or int(port) > 65535:
            raise ConfigError(f"{name} {text!r}: expected HOST:PORT, such as 127.0.0.1:50051")
        return cls(host.removeprefix("[").removesuffix("]"), int(port))

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine can reach it."""
        return is_loopback(str(self))


def parse_networks(name: str, texts: Iterable[str]) -> tuple[AddressRange, ...]:
    """Read networks such as 10.0.0.0/8.

    Raises:
        ConfigError: names the setting.
    """
    try:
        return tuple(ipaddress.ip_network(text) for text in texts)
    except ValueError as error:
        raise ConfigError(f"{name}: {error}; expected a network such as 10.0.0.0/8") from None


def check_protection(addresses: Mapping[str, Address], *, has_tls: bool, insecure: bool) -> None:
    """Refuse to listen in plain text where others can reach it, unless that was said.

    Args:
        addresses: by the names of their settings.
        has_tls: there are a certificate and a key.
        insecure: plain text is wanted wherever they are.

    Raises:
        ConfigError: names the setting.
    """
    if insecure and has_tls:
        raise ConfigError("insecure: expected no tls_cert with it")
    if insecure or has_tls:
        return
    for name, address in addresses.items():
        if not address.is_loopback:
            raise ConfigError(
                f"{name} {address}: expected a loopback address such as 127.0.0.1; "
                "others need tls_cert and tls_key, or insecure to do without"
            )
