"""Runs the two listeners until a signal ends them."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
import ssl
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import uvicorn

from spacelink._channel import open_channel
from spacelink_rest.application import admin_application, data_application
from spacelink_rest.middleware import RequestIds
from spacelink_rest.upstream import AdminUpstream, DataUpstream

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from fastapi import FastAPI

    from spacelink._listeners import Address
    from spacelink_rest.config import RestConfig

# Answers under way get this long to end.
_GRACE_SECONDS = 5


class ListenError(Exception):
    """A listener cannot listen; says which."""


class _Listener(uvicorn.Server):
    """A server among others in one process, whose signals are handled for all of them."""

    def __init__(self, app: FastAPI, config: RestConfig) -> None:
        super().__init__(_uvicorn_config(app, config))
        self.ready = asyncio.Event()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.ready.set()


async def serve(config: RestConfig, on_ready: Callable[[Address, Address], None]) -> None:
    """Run the bridge until SIGTERM or SIGINT.

    Args:
        config: its settings.
        on_ready: called with the addresses of the data and the admin listener
            once they accept requests.

    Raises:
        ListenError: a listener cannot listen.
    """
    stopping = _stop_signal()
    data_socket, data_address = listen("listen", config.listen)
    admin_socket, admin_address = listen("admin_listen", config.admin_listen)
    async with (
        open_channel(config.server, config.security) as data_channel,
        open_channel(config.admin_server, config.security) as admin_channel,
    ):
        limit = config.max_body_bytes
        data = data_application(
            DataUpstream(data_channel),
            max_body_bytes=limit,
            cors_origins=config.cors_origins,
            stopping=stopping,
        )
        admin = admin_application(AdminUpstream(admin_channel), max_body_bytes=limit)
        listeners = [_Listener(data, config), _Listener(admin, config)]
        async with asyncio.TaskGroup() as tasks:
            for listener, sock in zip(listeners, (data_socket, admin_socket), strict=True):
                tasks.create_task(listener.serve([sock]))
            for listener in listeners:
                await listener.ready.wait()
            on_ready(data_address, admin_address)
            await stopping.wait()
            for listener in listeners:
                listener.should_exit = True


def _uvicorn_config(app: FastAPI, config: RestConfig) -> uvicorn.Config:
    settings: dict[str, Any] = {}
    if config.tls is not None:
        settings = {"ssl_certfile": config.tls.cert, "ssl_keyfile": config.tls.key}
        if config.tls.client_ca is not None:
            settings |= {"ssl_ca_certs": str(config.tls.client_ca), "ssl_cert_reqs": ssl.CERT_REQUIRED}
    return uvicorn.Config(
        RequestIds(app),
        **settings,
        lifespan="off",
        # The process's own, on standard error.
        log_config=None,
        # RequestIds writes one that has no query in it.
        access_log=False,
        server_header=False,
        # Otherwise uvicorn trusts what the environment names.
        proxy_headers=bool(config.trusted_proxies),
        forwarded_allow_ips=[str(network) for network in config.trusted_proxies],
        timeout_graceful_shutdown=_GRACE_SECONDS,
    )


def listen(name: str, address: Address) -> tuple[socket.socket, Address]:
    """Listen on an address, and give it with the port there is.

    Raises:
        ListenError: somebody else does, or there is no such address.
    """
    family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    try:
        sock = socket.create_server((address.host, address.port), family=family)
    except OSError as error:
        raise ListenError(f"{name} {address}: cannot listen there: {error.strerror}") from None
    # Connections inherit it; asyncio, which would set it, does not see that they are TCP.
    # Without it each answer on a kept connection waits 40 ms for the ACK of its own head.
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return sock, replace(address, port=sock.getsockname()[1])


def _stop_signal() -> asyncio.Event:
    event = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, event.set)
    return event
