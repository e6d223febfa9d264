"""The server's configuration."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass, field
from pathlib import Path

from spacelink_server.ingest.validation import Limits


class ConfigError(ValueError):
    """A setting cannot be used; says which and what would be right."""


@dataclass(frozen=True, slots=True)
class Address:
    """Where a listener listens."""

    host: str
    port: int

    @classmethod
    def parse(cls, name: str, text: str) -> Address:
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
        if self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False


@dataclass(frozen=True, slots=True)
class ServerConfig:
    """What a server is told at its start.

    Attributes:
        data_dir: holds the embedded store.
        listen: the data plane's address.
        admin_listen: the admin plane's address.
        queue_bytes: payload that may wait for its commit before reading stops.
        limits: what producers may send.
    """

    data_dir: Path
    listen: Address
    admin_listen: Address
    queue_bytes: int = 64 * 1024 * 1024
    limits: Limits = field(default_factory=Limits)

    def __post_init__(self) -> None:
        for name, address in (("listen", self.listen), ("admin_listen", self.admin_listen)):
            if not address.is_loopback:
                raise ConfigError(
                    f"{name} {address}: expected a loopback address such as 127.0.0.1; "
                    "without credentials the server does not listen on others"
                )
