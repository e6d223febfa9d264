"""The server's configuration."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import grpc

from spacelink._tls import TlsFileError, read_authorities, read_identity
from spacelink_server.ingest.validation import Limits

if TYPE_CHECKING:
    from collections.abc import Iterable

    from spacelink_server.access.peers import AddressRange


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


def parse_networks(name: str, texts: Iterable[str]) -> tuple[AddressRange, ...]:
    """Read networks such as 10.0.0.0/8.

    Raises:
        ConfigError: names the setting.
    """
    try:
        return tuple(ipaddress.ip_network(text) for text in texts)
    except ValueError as error:
        raise ConfigError(f"{name}: {error}; expected a network such as 10.0.0.0/8") from None


@dataclass(frozen=True, slots=True, repr=False)
class Tls:
    """What the listeners show their callers, and ask of them.

    Attributes:
        chain: the server's certificate and those up to its authority, in PEM.
        key: its private key, in PEM.
        client_authorities: callers must show a certificate from one of these;
            None: they need none.
    """

    chain: bytes
    key: bytes
    client_authorities: bytes | None

    @classmethod
    def from_files(cls, cert: Path | None, key: Path | None, client_ca: Path | None) -> Tls | None:
        """Read PEM files; None where none is given.

        Raises:
            ConfigError: names the setting.
        """
        try:
            identity = read_identity(cert, key)
            authorities = None if client_ca is None else read_authorities("tls_client_ca", client_ca)
        except TlsFileError as error:
            raise ConfigError(str(error)) from None
        if identity is None:
            if authorities is not None:
                raise ConfigError("tls_client_ca: expected tls_cert and tls_key with it")
            return None
        return cls(*identity, authorities)

    def credentials(self) -> grpc.ServerCredentials:
        """Give what a listener takes."""
        return grpc.ssl_server_credentials(
            [(self.key, self.chain)],
            self.client_authorities,
            require_client_auth=self.client_authorities is not None,
        )


@dataclass(frozen=True, slots=True)
class ServerConfig:
    """What a server is told at its start.

    Attributes:
        data_dir: holds the keys, and the embedded store.
        listen: the data plane's address.
        admin_listen: the admin plane's address.
        tls: what both planes speak TLS with; None: plain text.
        insecure: plain text is wanted wherever they listen.
        reflection: callers may ask for the contracts without a credential.
        trusted_proxies: whose word for the caller's address is taken.
        queue_bytes: payload that may wait for its commit before reading stops.
        limits: what producers may send.
        database: the URL of a PostgreSQL database; empty means the embedded store.
        workers: how many processes serve the same addresses.
        webhook_allow_private: webhooks may lead to any address, and do without TLS.
    """

    data_dir: Path
    listen: Address
    admin_listen: Address
    tls: Tls | None = None
    insecure: bool = False
    reflection: bool = True
    trusted_proxies: tuple[AddressRange, ...] = ()
    queue_bytes: int = 64 * 1024 * 1024
    limits: Limits = field(default_factory=Limits)
    database: str = field(default="", repr=False)  # may hold a password
    workers: int = 1
    webhook_allow_private: bool = False

    def __post_init__(self) -> None:
        if self.workers > 1 and not self.database:
            raise ConfigError(
                f"workers {self.workers}: expected 1; several need a PostgreSQL database, see database"
            )
        if self.insecure and self.tls is not None:
            raise ConfigError("insecure: expected no tls_cert with it")
        if self.insecure or self.tls is not None:
            return
        for name, address in (("listen", self.listen), ("admin_listen", self.admin_listen)):
            if not address.is_loopback:
                raise ConfigError(
                    f"{name} {address}: expected a loopback address such as 127.0.0.1; "
                    "others need tls_cert and tls_key, or insecure to do without"
                )
