"""The URL of a REST bridge, as callers of the older SDK give it, in place of a server's address."""

from __future__ import annotations

from urllib.parse import urlsplit

from spacelink._channel import DEFAULT_TARGET

_GRPC_PORT = int(DEFAULT_TARGET.rpartition(":")[2])
# Where bridges, and proxies in front of them, listen. gRPC is spoken beside them.
_HTTP_PORTS = frozenset({None, 80, 443, 8000})


def target_of(base_url: str) -> tuple[str, bool]:
    """Tell where the server behind a bridge is to be found.

    It is expected on the bridge's host: on gRPC's usual port where the URL has one
    that is usual for HTTP, or none; any other port is taken for the server's own.

    Returns:
        HOST:PORT, and whether plain text was asked for, by http.

    Raises:
        ValueError: it is no URL of http or https.
    """
    try:
        parts = urlsplit(base_url)
        host, port = parts.hostname, parts.port
    except ValueError:
        host, port = None, None
    if not host or parts.scheme not in ("http", "https"):
        raise ValueError(f"base_url {base_url!r}: expected a URL such as https://gateway.example")
    name = f"[{host}]" if ":" in host else host
    return f"{name}:{_GRPC_PORT if port in _HTTP_PORTS else port}", parts.scheme == "http"
