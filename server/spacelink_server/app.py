"""Composition root: builds the rooms, starts both planes, drains on SIGTERM."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, TypeAlias

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from spacelink.v1 import telemetry_pb2, telemetry_pb2_grpc
from spacelink_server.config import ConfigError
from spacelink_server.ingest.committer import Committer
from spacelink_server.ingest.live import LiveFeed
from spacelink_server.ingest.registry import StreamRegistry
from spacelink_server.rpc import CallInterceptor
from spacelink_server.services.telemetry import TelemetryService
from spacelink_server.storage.sqlite import SqliteStore

if TYPE_CHECKING:
    from collections.abc import Callable

    from spacelink_server.config import Address, ServerConfig, Tls
    from spacelink_server.storage.store import Store

    Health: TypeAlias = health.aio.HealthServicer

logger = logging.getLogger(__name__)

_TELEMETRY = telemetry_pb2.DESCRIPTOR.services_by_name["TelemetryService"].full_name

# Streams of producers that answer end well within this; one whose producer
# takes nothing in any more must not keep the server from stopping.
_DRAIN_SECONDS = 5.0

# After the streams have ended, calls still under way get this long.
_GRACE_SECONDS = 2.0

_OPTIONS = (
    # Two servers must not share a port by accident.
    ("grpc.so_reuseport", 0),
    # Room for the largest batch with all that surrounds it.
    ("grpc.max_receive_message_length", 8 * 1024 * 1024),
    ("grpc.max_send_message_length", 8 * 1024 * 1024),
    # Without these, megabytes of a stream are taken in before a producer feels
    # that the server has stopped reading.
    ("grpc.http2.bdp_probe", 0),
    ("grpc.http2.lookahead_bytes", 64 * 1024),
    # Producers behind satellite links ping every minute to keep their path open.
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.min_ping_interval_without_data_ms", 30_000),
)


# The planes, each with the services registered on it.
_DATA_SERVICES = (_TELEMETRY,)
_ADMIN_SERVICES: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _Plane:
    """A listener with health and reflection."""

    server: grpc.aio.Server
    health: Health
    services: tuple[str, ...]
    address: Address

    async def set_serving(self, serving: bool) -> None:
        """Say in the plane's health whether its services can serve."""
        states = health_pb2.HealthCheckResponse
        for service in ("", *self.services):
            await self.health.set(service, states.SERVING if serving else states.NOT_SERVING)


async def serve(config: ServerConfig, on_ready: Callable[[Address, Address], None]) -> None:
    """Run the server until SIGTERM or SIGINT, then drain it.

    Args:
        config: its settings.
        on_ready: called with the addresses of the data and the admin plane once
            calls are accepted.

    Raises:
        ConfigError: a listener cannot listen.
        DataDirectoryInUseError: another server works on the data directory.
        SchemaMismatchError: the store belongs to another version.
        StoreUnavailableError: the store cannot be opened.
    """
    stopping = _stop_signal()
    store = SqliteStore(config.data_dir)
    try:
        await _serve(config, store, on_ready, stopping)
    finally:
        store.close()


async def _serve(
    config: ServerConfig, store: Store, on_ready: Callable[[Address, Address], None], stopping: asyncio.Event
) -> None:
    data = _plane(config.listen, "listen", _DATA_SERVICES, config.tls)
    admin = _plane(config.admin_listen, "admin_listen", _ADMIN_SERVICES, config.tls)
    feed = LiveFeed()
    streams = StreamRegistry()
    committer = Committer(store, feed, config.queue_bytes, data.set_serving)
    service = TelemetryService(store, committer, feed, streams, config.limits)
    telemetry_pb2_grpc.add_TelemetryServiceServicer_to_server(service, data.server)
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(committer.run())
        probing = tasks.create_task(committer.watch_health())
        for plane in (data, admin):
            await plane.server.start()
            await plane.set_serving(True)
        on_ready(data.address, admin.address)
        await stopping.wait()
        logger.info("draining")
        for plane in (data, admin):
            await plane.health.enter_graceful_shutdown()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(streams.drain(), _DRAIN_SECONDS)
        feed.close()
        await asyncio.gather(data.server.stop(_GRACE_SECONDS), admin.server.stop(_GRACE_SECONDS))
        committer.close()
        probing.cancel()
    logger.info("stopped")


def _plane(address: Address, setting: str, services: tuple[str, ...], tls: Tls | None) -> _Plane:
    server = grpc.aio.server(interceptors=(CallInterceptor(),), options=_OPTIONS)
    servicer = health.aio.HealthServicer()
    health_pb2_grpc.add_HealthServicer_to_server(servicer, server)
    reflection.enable_server_reflection((*services, health.SERVICE_NAME, reflection.SERVICE_NAME), server)
    try:
        if tls is None:
            port = server.add_insecure_port(str(address))
        else:
            port = server.add_secure_port(str(address), tls.credentials())
    except RuntimeError:
        raise ConfigError(f"{setting} {address}: cannot listen there; is the address in use?") from None
    return _Plane(server, servicer, services, replace(address, port=port))


def _stop_signal() -> asyncio.Event:
    event = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, event.set)
    return event
