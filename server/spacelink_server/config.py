"""The server's configuration."""

from __future__ import annotations

import ssl
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Self
from urllib.parse import urlsplit

import grpc

from spacelink._listeners import ConfigError, check_protection
from spacelink._tls import TlsFileError, read_authorities, read_identity
from spacelink_server.ingest.validation import Limits
from spacelink_server.maintenance.maintenance import Schedule

if TYPE_CHECKING:
    from spacelink._listeners import Address
    from spacelink_server.access.peers import AddressRange

_MAX_PORT = 65_535


@dataclass(frozen=True, slots=True, repr=False)
class Tls:
    """What the listeners show their callers, and ask of them.

    Attributes:
        chain: the server's certificate and those up to its authority, in PEM.
        key: its private key, in PEM.
        client_authorities: callers must show a certificate from one of these;
            None: they need none.
        files: where these three are from.
    """

    chain: bytes
    key: bytes
    client_authorities: bytes | None
    files: tuple[Path, Path, Path | None]

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
        if identity is None or cert is None or key is None:
            if authorities is not None:
                raise ConfigError("tls_client_ca: expected tls_cert and tls_key with it")
            return None
        return cls(*identity, authorities, (cert, key, client_ca))

    def credentials(self) -> grpc.ServerCredentials:
        """Give what a listener for gRPC takes."""
        return grpc.ssl_server_credentials(
            [(self.key, self.chain)],
            self.client_authorities,
            require_client_auth=self.client_authorities is not None,
        )

    def http_context(self) -> ssl.SSLContext:
        """Give what a listener for HTTP takes.

        Raises:
            OSError: the files are not what they were.
        """
        cert, key, client_ca = self.files
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=client_ca)
        context.load_cert_chain(cert, key)
        if client_ca is not None:
            context.verify_mode = ssl.CERT_REQUIRED
        return context


@dataclass(frozen=True, slots=True)
class ServerConfig:
    """What a server is told at its start.

    Attributes:
        data_dir: holds the keys, and the embedded store.
        listen: the data plane's address.
        admin_listen: the admin plane's address.
        tls: what all listeners speak TLS with; None: plain text.
        insecure: plain text is wanted wherever they listen.
        reflection: callers may ask for the contracts without a credential.
        trusted_proxies: whose word for the caller's address is taken.
        queue_bytes: payload that may wait for its commit before reading stops.
        limits: what producers may send.
        database: the URL of a PostgreSQL database; empty means the embedded store.
        workers: how many processes serve the same addresses.
        webhook_allow_private: webhooks may lead to any address, and do without TLS.
        maintenance: when to do what to the store.
        metrics_listen: where scrapes are answered; None: nowhere.
        otlp_endpoint: the URL of an OpenTelemetry collector; empty: nothing is traced.
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
    maintenance: Schedule = field(default_factory=Schedule)
    metrics_listen: Address | None = None
    otlp_endpoint: str = ""

    def __post_init__(self) -> None:
        if self.workers > 1 and not self.database:
            raise ConfigError(
                f"workers {self.workers}: expected 1; several need a PostgreSQL database, see database"
            )
        if self.otlp_endpoint:
            _check_endpoint(self.otlp_endpoint)
        addresses = {"listen": self.listen, "admin_listen": self.admin_listen}
        if self.metrics_listen is not None:
            addresses["metrics_listen"] = self.metrics_listen
        check_protection(addresses, has_tls=self.tls is not None, insecure=self.insecure)

    def of_worker(self, number: int) -> Self:
        """Give the settings of a worker: each answers scrapes on a port of its own.

        Args:
            number: which of them, from 1; the first has the port of metrics_listen,
                the others have those that follow.

        Raises:
            ConfigError: there is no such port.
        """
        address = self.metrics_listen
        if address is None or not address.port:
            return self
        port = address.port + number - 1
        if port > _MAX_PORT:
            raise ConfigError(
                f"metrics_listen {address}: expected a port up to {_MAX_PORT - self.workers + 1} "
                f"for {self.workers} workers, which take one each"
            )
        return replace(self, metrics_listen=replace(address, port=port))


def _check_endpoint(url: str) -> None:
    parts = urlsplit(url)
    # A path may be a proxy's; a user would be shown in the collector's errors.
    plain = not (parts.username or parts.query or parts.fragment)
    if parts.scheme not in {"http", "https"} or not parts.hostname or not plain:
        raise ConfigError(
            "otlp_endpoint: expected the URL of a collector that takes OTLP over HTTP, such as "
            "http://127.0.0.1:4318; headers go into OTEL_EXPORTER_OTLP_HEADERS"
        )
