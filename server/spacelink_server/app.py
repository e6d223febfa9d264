"""Composition root: builds the rooms, starts both planes, drains on SIGTERM."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from spacelink._listeners import ConfigError
from spacelink.admin.v1 import (
    account_pb2,
    account_pb2_grpc,
    audit_pb2,
    audit_pb2_grpc,
    governance_pb2,
    governance_pb2_grpc,
    tenant_pb2,
    tenant_pb2_grpc,
    token_pb2,
    token_pb2_grpc,
)
from spacelink.v1 import (
    network_pb2,
    network_pb2_grpc,
    partner_pb2,
    partner_pb2_grpc,
    session_pb2,
    session_pb2_grpc,
    telemetry_pb2,
    telemetry_pb2_grpc,
)
from spacelink_server.access import first_start
from spacelink_server.access.control import AccessControl
from spacelink_server.access.writes import Database
from spacelink_server.ingest.committer import Committer
from spacelink_server.ingest.live import LiveFeed
from spacelink_server.ingest.registry import StreamRegistry
from spacelink_server.ingest.shared_feed import SharedFeed
from spacelink_server.listeners import ServingHealth, check_free, open_plane
from spacelink_server.maintenance.maintenance import Maintenance
from spacelink_server.metrics.collector import ServerCollector, Sources
from spacelink_server.metrics.listener import answering_scrapes
from spacelink_server.networks.alerts import SlaAlerts
from spacelink_server.networks.detection import IncidentDetection
from spacelink_server.networks.history import History
from spacelink_server.rpc import CallInterceptor
from spacelink_server.sandboxes.seeding import Seeder
from spacelink_server.services.admin_account import AccountService
from spacelink_server.services.admin_audit import AuditService
from spacelink_server.services.admin_governance import GovernanceService
from spacelink_server.services.admin_tenant import TenantService
from spacelink_server.services.admin_token import TokenService
from spacelink_server.services.network import NetworkService
from spacelink_server.services.partner import PartnerService
from spacelink_server.services.scopes import RULES
from spacelink_server.services.session import SessionService
from spacelink_server.services.telemetry import TelemetryService
from spacelink_server.storage.opening import open_store
from spacelink_server.tracing.starting import traced
from spacelink_server.webhooks.delivery import Deliverer
from spacelink_server.webhooks.sending import Sender
from spacelink_server.webhooks.targets import Targets

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import grpc

    from spacelink._listeners import Address
    from spacelink_server.access.keys import KeyRing
    from spacelink_server.config import ServerConfig
    from spacelink_server.storage.sql_store import SqlStore
    from spacelink_server.tracing.spans import Tracing

logger = logging.getLogger(__name__)

# Reads run in threads of their own: more would only contend for the two things
# they need, the disk and Python's global lock.
_READ_THREADS = 4

# Bans and limits are read in threads of their own: a long query must not make
# them late.
_ACCESS_THREADS = 2

# Streams of producers that answer end well within this; one whose producer
# takes nothing in any more must not keep the server from stopping.
_DRAIN_SECONDS = 5.0

# After the streams have ended, calls still under way get this long.
_GRACE_SECONDS = 2.0


def _services(*files: Any) -> tuple[str, ...]:
    return tuple(service.full_name for file in files for service in file.DESCRIPTOR.services_by_name.values())


# The planes, each with the services registered on it.
_DATA_SERVICES = _services(telemetry_pb2, network_pb2, session_pb2, partner_pb2)
_ADMIN_SERVICES = _services(token_pb2, governance_pb2, audit_pb2, tenant_pb2, account_pb2)


async def serve(
    config: ServerConfig,
    on_ready: Callable[[Address, Address], None],
    stop_on: int | None = None,
) -> None:
    """Run the server until SIGTERM or SIGINT, then drain it.

    Args:
        config: its settings.
        on_ready: called with the addresses of the data and the admin plane once
            calls are accepted.
        stop_on: a file descriptor; the server also stops when there is
            something to read from it, such as its end.

    Raises:
        ConfigError: a listener cannot listen, the database's URL is none, or what
            traces need is not installed.
        MasterKeyError: the master key is missing or not the store's.
        DataDirectoryInUseError: another server works on the data directory.
        SchemaMismatchError: the store belongs to another version.
        StoreUnavailableError: the store cannot be opened.
    """
    stopping = _stop_signal(stop_on)
    if config.workers == 1:
        check_free(config)
    async with traced(config.otlp_endpoint) as tracing:
        with opened(config) as store:
            keys = first_start.prepare(store, config.data_dir, os.environ)
            await _serve(config, store, keys, on_ready, stopping, tracing)


@contextlib.contextmanager
def opened(config: ServerConfig) -> Iterator[SqlStore]:
    """Open the store of a server; see serve for what it raises."""
    try:
        store = open_store(config.data_dir, config.database)
    except ValueError as error:
        raise ConfigError(f"database: {error}") from None
    try:
        yield store
    finally:
        store.close()


async def _serve(
    config: ServerConfig,
    store: SqlStore,
    keys: KeyRing,
    on_ready: Callable[[Address, Address], None],
    stopping: asyncio.Event,
    tracing: Tracing | None,
) -> None:
    health = ServingHealth()
    with (
        ThreadPoolExecutor(1, "writer") as writer,
        ThreadPoolExecutor(_READ_THREADS, "reader") as readers,
        ThreadPoolExecutor(_ACCESS_THREADS, "access") as access_readers,
        ThreadPoolExecutor(_ACCESS_THREADS, "access-writer") as access_writers,
    ):
        access = AccessControl(
            Database(store, writer if store.one_writer else access_writers, access_readers),
            keys,
            RULES,
            on_health=health.reporter("bans"),
            trusted_proxies=config.trusted_proxies,
        )
        detection = IncidentDetection(store, access.database, readers)
        feed = (
            LiveFeed(detection.observe)
            if store.tail is None
            else SharedFeed(store.tail, readers, detection.observe)
        )
        streams = StreamRegistry()
        committer = Committer(
            store,
            writer,
            feed,
            config.queue_bytes,
            health.reporter("store"),
            None if tracing is None else tracing.commit,
        )
        telemetry = TelemetryService(store, readers, committer, feed, streams, config.limits)
        calls = CallInterceptor(None if tracing is None else tracing.begin_call)
        interceptors = (calls, access.interceptor)
        data = open_plane(config, "listen", _DATA_SERVICES, interceptors)
        admin = open_plane(config, "admin_listen", _ADMIN_SERVICES, interceptors)
        telemetry_pb2_grpc.add_TelemetryServiceServicer_to_server(telemetry, data.server)
        targets = Targets(allow_private=config.webhook_allow_private)
        sender = Sender(keys, targets)
        deliverer = Deliverer(access.database, sender)
        partner = PartnerService(access, Seeder(committer, readers), targets, sender)
        partner_pb2_grpc.add_PartnerServiceServicer_to_server(partner, data.server)
        history = History(store, readers)
        network = NetworkService(access.database, history)
        network_pb2_grpc.add_NetworkServiceServicer_to_server(network, data.server)
        _register_access(access, data.server, admin.server)
        maintenance = Maintenance(store, config.maintenance)
        sources = Sources(calls, access, streams, committer, feed, detection, maintenance, deliverer, health)
        await access.load()
        if store.tail is None:
            await deliverer.take_over()
        async with answering_scrapes(config, ServerCollector(sources)), asyncio.TaskGroup() as tasks:
            tasks.create_task(committer.run())
            background = [
                tasks.create_task(work)
                for work in (
                    committer.watch_health(),
                    feed.run(),
                    maintenance.run(),
                    detection.run(),
                    SlaAlerts(access.database, history).run(),
                    deliverer.run(),
                    *access.background(),
                )
            ]
            await asyncio.gather(data.server.start(), admin.server.start())
            await health.start(data, admin)
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
            for task in background:
                task.cancel()
        await deliverer.close()
        await access.close()
    logger.info("stopped")


def _register_access(access: AccessControl, data: grpc.aio.Server, admin: grpc.aio.Server) -> None:
    """Add the services that manage access to the planes."""
    database, keys, bans = access.database, access.keys, access.bans
    session = SessionService(database, access.sessions, access.allowances, access.limiter)
    session_pb2_grpc.add_SessionServiceServicer_to_server(session, data)
    token = TokenService(database, keys, bans, access.minter)
    token_pb2_grpc.add_TokenServiceServicer_to_server(token, admin)
    governance = GovernanceService(database, keys, bans, access.lineage)
    governance_pb2_grpc.add_GovernanceServiceServicer_to_server(governance, admin)
    audit_pb2_grpc.add_AuditServiceServicer_to_server(AuditService(database), admin)
    tenant = TenantService(database, keys, access.tenants)
    tenant_pb2_grpc.add_TenantServiceServicer_to_server(tenant, admin)
    account = AccountService(database, bans, access.passwords)
    account_pb2_grpc.add_AccountServiceServicer_to_server(account, admin)


def _stop_signal(stop_on: int | None) -> asyncio.Event:
    event = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, event.set)
    if stop_on is not None:

        def stop() -> None:
            loop.remove_reader(stop_on)
            event.set()

        loop.add_reader(stop_on, stop)
    return event
