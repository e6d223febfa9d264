"""Answers scrapes by HTTP, on threads of its own."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import socketserver
import ssl
import sys
import threading
from dataclasses import replace
from http.server import ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

from prometheus_client import CollectorRegistry, MetricsHandler, ProcessCollector

from spacelink._listeners import ConfigError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from prometheus_client.registry import Collector

    from spacelink._listeners import Address
    from spacelink_server.config import ServerConfig, Tls

logger = logging.getLogger(__name__)

# A connection that says nothing for so long is closed, and its thread ends.
_IDLE_SECONDS = 10.0


class _Handler(MetricsHandler):
    # Nobody needs to know which Python answers.
    server_version = "SpaceLink"
    sys_version = ""


class _Server(ThreadingHTTPServer):
    """Has a thread for each connection, which also shakes hands where there is TLS."""

    # Two servers must not share a port by accident.
    allow_reuse_port = False

    def __init__(self, address: Address, tls: Tls | None, registry: CollectorRegistry) -> None:
        self._context = tls.http_context() if tls else None
        found = socket.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM)
        self.address_family, _, _, _, target = found[0]
        super().__init__(target, _Handler.factory(registry))  # type: ignore[arg-type]

    def server_bind(self) -> None:
        # Not HTTPServer's, which asks for the name of this machine.
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = self.server_address[:2]  # type: ignore[assignment]

    def get_request(self) -> tuple[socket.socket, Any]:
        connection, peer = super().get_request()
        connection.settimeout(_IDLE_SECONDS)
        if self._context is not None:
            connection = self._context.wrap_socket(
                connection, server_side=True, do_handshake_on_connect=False
            )
        return connection, peer

    def finish_request(self, request: Any, client_address: Any) -> None:
        if isinstance(request, ssl.SSLSocket):
            request.do_handshake()
        super().finish_request(request, client_address)

    def handle_error(self, request: Any, client_address: Any) -> None:
        if isinstance(sys.exception(), OSError):
            logger.debug("scrape by %s: %s", client_address[0], sys.exception())
        else:
            logger.exception("scrape by %s failed", client_address[0])


@contextlib.asynccontextmanager
async def answering_scrapes(config: ServerConfig, collector: Collector) -> AsyncIterator[None]:
    """Answer GET /metrics on config.metrics_listen, if that is set.

    Args:
        config: the server's settings.
        collector: gives the metrics; those of the process come on top.

    Raises:
        ConfigError: it cannot listen there.
    """
    address = config.metrics_listen
    if address is None:
        yield
        return
    try:
        server = _Server(address, config.tls, _registry(collector))
    except OSError:
        raise ConfigError(f"metrics_listen {address}: cannot listen there; is the address in use?") from None
    thread = threading.Thread(target=server.serve_forever, name="metrics", daemon=True)
    thread.start()
    scheme = "http" if config.tls is None else "https"
    logger.info("metrics at %s://%s/metrics", scheme, replace(address, port=server.server_port))
    try:
        yield
    finally:
        # Waits until the thread looks; it does twice a second.
        await asyncio.to_thread(server.shutdown)
        server.server_close()
        thread.join()


def _registry(collector: Collector) -> CollectorRegistry:
    registry = CollectorRegistry()
    registry.register(collector)
    ProcessCollector(registry=registry)
    return registry
