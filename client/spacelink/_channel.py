"""Connections to a server."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from typing import TYPE_CHECKING

import grpc
import grpc.aio

from spacelink._tls import read_authorities, read_identity

if TYPE_CHECKING:
    from pathlib import Path

DEFAULT_TARGET = "127.0.0.1:50051"
DEFAULT_ADMIN_TARGET = "127.0.0.1:50052"

# Batches of 4 MiB are the most a server sends by default; twice that leaves
# room for their envelope and for a server that was allowed more.
_MAX_MESSAGE_BYTES = 8 * 1024 * 1024

_OPTIONS = (
    ("grpc.max_receive_message_length", _MAX_MESSAGE_BYTES),
    # Satellite links drop idle mappings silently; a minute notices it without
    # waking a terminal's radio much, and the server allows every 30 s.
    ("grpc.keepalive_time_ms", 60_000),
    ("grpc.keepalive_timeout_ms", 30_000),
    ("grpc.keepalive_permit_without_calls", 1),
    # A restarted server is back within a second; gRPC's own delay before it
    # connects again starts at one second and grows to two minutes, during which
    # every call fails at once.
    ("grpc.initial_reconnect_backoff_ms", 200),
    ("grpc.max_reconnect_backoff_ms", 5_000),
)
# A proxy that the environment names would get what is meant for this machine.
_LOOPBACK_OPTIONS = (*_OPTIONS, ("grpc.enable_http_proxy", 0))


@dataclass(frozen=True, slots=True, repr=False)
class Security:
    """How connections are protected.

    Attributes:
        tls: what TLS is spoken with; None: as the address says.
        insecure: no TLS, wherever the server is.
    """

    tls: grpc.ChannelCredentials | None = None
    insecure: bool = False

    @classmethod
    def from_files(
        cls,
        *,
        tls_ca: Path | str | None = None,
        tls_cert: Path | str | None = None,
        tls_key: Path | str | None = None,
        insecure: bool = False,
    ) -> Security:
        """Read PEM files.

        Args:
            tls_ca: the authorities that the server's certificate may be from,
                instead of the well-known ones.
            tls_cert: the own certificate, for servers that ask for one.
            tls_key: its key.
            insecure: no TLS, wherever the server is.

        Raises:
            TlsFileError: a file cannot be used, or they do not go together.
            ValueError: files for TLS and insecure were given.
        """
        identity = read_identity(tls_cert, tls_key)
        authorities = None if tls_ca is None else read_authorities("tls_ca", tls_ca)
        if identity is None and authorities is None:
            return cls(insecure=insecure)
        if insecure:
            raise ValueError("insecure: expected no files for TLS with it")
        chain, key = identity or (None, None)
        return cls(grpc.ssl_channel_credentials(authorities, key, chain))


_BY_ADDRESS = Security()


def open_channel(target: str, security: Security = _BY_ADDRESS) -> grpc.aio.Channel:
    """Open a channel to HOST:PORT.

    Without anything said it is plain on loopback and speaks TLS everywhere else,
    so that a credential is not sent in plain text unless insecure was said.
    """
    is_local = is_loopback(target)
    options = _LOOPBACK_OPTIONS if is_local else _OPTIONS
    if security.insecure or (is_local and security.tls is None):
        return grpc.aio.insecure_channel(target, options)
    return grpc.aio.secure_channel(target, security.tls or grpc.ssl_channel_credentials(), options)


def is_loopback(target: str) -> bool:
    """Tell whether HOST:PORT is this machine, where nobody listens in."""
    host = target.rpartition(":")[0].strip("[]")
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
