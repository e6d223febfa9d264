"""The bridge's configuration."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from spacelink._listeners import ConfigError, check_protection
from spacelink._tls import read_authorities, read_identity

if TYPE_CHECKING:
    from pathlib import Path

    from spacelink._channel import Security
    from spacelink._listeners import Address, AddressRange

_ORIGIN = re.compile(r"\*|https?://[^/?#\s]+")


@dataclass(frozen=True, slots=True)
class Tls:
    """What the listeners show their callers, and ask of them: PEM files.

    Attributes:
        cert: the bridge's certificate and those up to its authority.
        key: its private key.
        client_ca: callers must show a certificate from one of these authorities;
            None: they need none.
    """

    cert: Path
    key: Path
    client_ca: Path | None

    @classmethod
    def from_files(cls, cert: Path | None, key: Path | None, client_ca: Path | None) -> Tls | None:
        """Check the files; None where none is given.

        Raises:
            TlsFileError: a file cannot be used, or they do not go together.
        """
        read_identity(cert, key)
        if client_ca is not None:
            read_authorities("tls_client_ca", client_ca)
        if cert is None or key is None:
            if client_ca is not None:
                raise ConfigError("tls_client_ca: expected tls_cert and tls_key with it")
            return None
        return cls(cert, key, client_ca)


@dataclass(frozen=True, slots=True)
class RestConfig:
    """What a bridge is told at its start.

    Attributes:
        server: the server's data plane, HOST:PORT.
        admin_server: its admin plane.
        security: how the connections to it are protected.
        listen: where the data routes are served.
        admin_listen: where the admin routes are.
        tls: what both speak TLS with; None: plain HTTP.
        insecure: plain HTTP is wanted wherever they listen.
        cors_origins: origins whose pages may call the data routes.
        trusted_proxies: networks of proxies whose X-Forwarded-For is believed.
        max_body_bytes: the most bytes that a body may have.
    """

    server: str
    admin_server: str
    security: Security
    listen: Address
    admin_listen: Address
    tls: Tls | None
    insecure: bool
    cors_origins: tuple[str, ...]
    trusted_proxies: tuple[AddressRange, ...]
    max_body_bytes: int

    def __post_init__(self) -> None:
        for origin in self.cors_origins:
            if not _ORIGIN.fullmatch(origin):
                raise ConfigError(f"cors_origin {origin!r}: expected an origin such as https://example.org")
        addresses = {"listen": self.listen, "admin_listen": self.admin_listen}
        check_protection(addresses, has_tls=self.tls is not None, insecure=self.insecure)
