"""The planes: listeners with interceptors, health and reflection."""

from __future__ import annotations

import errno
import socket
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, TypeAlias

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from spacelink._listeners import ConfigError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from spacelink._listeners import Address
    from spacelink_server.config import ServerConfig

    Context: TypeAlias = grpc.aio.ServicerContext[Any, Any]

_OPTIONS = (
    # Room for the largest batch with all that surrounds it.
    ("grpc.max_receive_message_length", 8 * 1024 * 1024),
    ("grpc.max_send_message_length", 8 * 1024 * 1024),
    # Without these, megabytes of a stream are taken in before a producer feels
    # that the server has stopped reading. Batches of 1000 samples have 48 KB: with
    # 64 KB each of them waits for the window, with 256 KB 17 % more get through,
    # and more than that gains nothing.
    ("grpc.http2.bdp_probe", 0),
    ("grpc.http2.lookahead_bytes", 256 * 1024),
    # Producers behind satellite links ping every minute to keep their path open.
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.min_ping_interval_without_data_ms", 30_000),
)


class Health(health.aio.HealthServicer):  # type: ignore[misc]
    """The health service, with the method that the package's own leaves out."""

    def __init__(self, services: Sequence[str]) -> None:
        """Make it for services by their full names."""
        super().__init__()
        self._services = ("", *services)

    async def List(self, request: Any, context: Context) -> Any:  # noqa: N802 - as in the contract
        """List the health of all services."""
        response = health_pb2.HealthListResponse()
        for service in self._services:
            status = await self.Check(health_pb2.HealthCheckRequest(service=service), context)
            response.statuses[service].CopyFrom(status)
        return response

    async def set_all(self, serving: bool) -> None:
        """Say whether the services can serve."""
        states = health_pb2.HealthCheckResponse
        for service in self._services:
            await self.set(service, states.SERVING if serving else states.NOT_SERVING)


@dataclass(frozen=True, slots=True)
class Plane:
    """A listener.

    Attributes:
        server: to register services with.
        health: the health service on it.
        address: where it listens, with the port that the system chose.
    """

    server: grpc.aio.Server
    health: Health
    address: Address


def open_plane(
    config: ServerConfig,
    setting: str,
    services: tuple[str, ...],
    interceptors: Sequence[grpc.aio.ServerInterceptor],
) -> Plane:
    """Bind a listener, which takes no calls before its server is started.

    Args:
        config: the server's settings.
        setting: which of them has the address: "listen" or "admin_listen".
        services: the full names of the services that will be registered.
        interceptors: the outermost first.

    Raises:
        ConfigError: it cannot listen there.
    """
    address: Address = getattr(config, setting)
    # Workers share a port, which their parent holds; two servers must not by accident.
    options = (("grpc.so_reuseport", int(config.workers > 1)), *_OPTIONS)
    server = grpc.aio.server(interceptors=interceptors, options=options)
    servicer = Health(services)
    health_pb2_grpc.add_HealthServicer_to_server(servicer, server)
    if config.reflection:
        names = (*services, health.SERVICE_NAME, reflection.SERVICE_NAME)
        reflection.enable_server_reflection(names, server)
    try:
        if config.tls is None:
            port = server.add_insecure_port(str(address))
        else:
            port = server.add_secure_port(str(address), config.tls.credentials())
    except RuntimeError:
        raise _cannot_listen(setting, address, None) from None
    return Plane(server, servicer, replace(address, port=port))


def bind_for_a_moment(setting: str, address: Address) -> tuple[socket.AddressFamily, tuple[Any, ...]]:
    """Bind an address alone and let go of it, before anything is made for a server that cannot listen.

    Returns:
        Its family, and the address as the system has it, with the port that it chose.

    Raises:
        ConfigError: it is in use, or none of this machine's.
    """
    try:
        family, kind, protocol, _, target = socket.getaddrinfo(
            address.host, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        with socket.socket(family, kind, protocol) as alone:
            # As servers do: connections that ended a moment ago are no obstacle.
            alone.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            alone.bind(target)
            return family, alone.getsockname()
    except OSError as error:
        raise _cannot_listen(setting, address, error) from None


def _cannot_listen(setting: str, address: Address, error: OSError | None) -> ConfigError:
    flag = f"--{setting.replace('_', '-')}"
    if error is None or error.errno == errno.EADDRINUSE:
        return ConfigError(f"{setting} {address}: the address is in use; {flag} takes another one")
    return ConfigError(f"{setting} {address}: cannot listen there: {error.strerror}; see {flag}")


def check_free(config: ServerConfig) -> None:
    """Look whether a server of one process can listen where it is to; see bind_for_a_moment."""
    for setting in ("listen", "admin_listen", "metrics_listen"):
        address = getattr(config, setting)
        if address is not None:
            bind_for_a_moment(setting, address)


class ServingHealth:
    """Says in the planes' health whether everything works that calls need.

    Attributes:
        parts: which of them work, by name.
    """

    def __init__(self) -> None:
        """Begin with no plane to say it on."""
        self.parts: dict[str, bool] = {}
        self._planes: tuple[Plane, ...] = ()

    def reporter(self, part: str) -> Callable[[bool], Awaitable[None]]:
        """Give what a part calls with False when it fails, with True when it works again, as it does now."""
        self.parts[part] = True

        async def report(works: bool) -> None:
            self.parts[part] = works
            await self._publish()

        return report

    async def start(self, *planes: Plane) -> None:
        """Say it on these planes from now on."""
        self._planes = planes
        await self._publish()

    async def _publish(self) -> None:
        for plane in self._planes:
            await plane.health.set_all(all(self.parts.values()))
