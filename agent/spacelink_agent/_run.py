"""One run of the agent, from its settings to its summary."""

from __future__ import annotations

import asyncio
import logging
import signal
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import click
import grpc

from spacelink._channel import open_channel
from spacelink.uplink import Uplink
from spacelink_agent._progress import show_progress
from spacelink_agent.agent import Agent
from spacelink_agent.collectors.replay import Replay
from spacelink_agent.spool import Spool

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from rich.console import Console

    from spacelink._channel import Security
    from spacelink_agent._credential import AgentCredentials
    from spacelink_agent.collectors import Collector
    from spacelink_agent.settings import AgentSettings
    from spacelink_agent.spool.rejected import SetAside

_COMPRESSION = {"none": None, "gzip": grpc.Compression.Gzip}

_logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Link:
    """How the server is spoken to.

    Attributes:
        server: HOST:PORT.
        security: what protects the connection.
        credentials: what is presented.
    """

    server: str
    security: Security
    credentials: AgentCredentials


async def run_agent(settings: AgentSettings, collector: Collector, link: Link, console: Console) -> None:
    """Run until all is done or a signal says so, and sum up.

    Raises:
        SpoolError: the spool cannot be opened.
        CollectorError: the collector failed.
        SpaceLinkError: the server refuses.
        click.ClickException: the replay ended, but not all of it is stored.
    """
    spool = Spool(settings.spool, settings.spool_settings)
    earlier = spool.rejected.count()
    stop = _stop_on_signals()
    try:
        channel = open_channel(link.server, link.security)
        async with channel, _progress(collector, spool, console):
            uplink = Uplink(
                channel,
                spool.source,
                credentials=link.credentials,
                window=settings.window,
                compression=_COMPRESSION[settings.compression],
            )
            pending = spool.pending_batches
            _logger.info("spool %s (%d batches), server %s", settings.spool, pending, link.server)
            if any(earlier):
                _logger.warning("set aside earlier: %s", _look_at(earlier, settings.spool))
            agent = Agent(collector, spool, uplink, link.credentials)
            try:
                await agent.run(stop)
            finally:
                _logger.info(agent.status())
                _tell_of_rest(settings, spool)
    finally:
        spool.close()
    if isinstance(collector, Replay) and not stop.is_set():
        _sum_up(settings, collector, spool, earlier)


def _stop_on_signals() -> asyncio.Event:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    return stop


@asynccontextmanager
async def _progress(collector: Collector, spool: Spool, console: Console) -> AsyncIterator[None]:
    if not (isinstance(collector, Replay) and console.is_terminal):
        yield
        return
    shown = asyncio.ensure_future(show_progress(collector, spool.counters, console))
    try:
        yield
    finally:
        shown.cancel()
        await asyncio.wait({shown})


def _tell_of_rest(settings: AgentSettings, spool: Spool) -> None:
    if spool.pending_batches:
        _logger.warning(
            "batches that stay in the spool %s: %d; the next start sends them",
            settings.spool,
            spool.pending_batches,
        )


def _look_at(set_aside: SetAside, spool: Path) -> str:
    return f"{set_aside}; see: spacelink agent rejected list --spool {spool}"


def _sum_up(settings: AgentSettings, replay: Replay, spool: Spool, before: SetAside) -> None:
    counters = spool.counters
    rejected = counters.rejected_samples + counters.bad_rows
    earlier = f"; earlier runs read {replay.skipped_rows} rows" if replay.skipped_rows else ""
    if any(before):
        earlier += f"; set aside earlier: {before} in {spool.rejected.directory}"
    click.echo(
        f"{settings.file}: {counters.acked_samples} samples in {counters.acked_batches} batches stored, "
        f"{rejected} rejected, {counters.dropped_samples} dropped{earlier}"
    )
    if counters.rejected_samples:
        set_aside = _look_at(spool.rejected.count(), settings.spool)
        raise click.ClickException(f"the server rejected samples; set aside are {set_aside}")
    if (rows := spool.rejected.rows_of(replay.source)).exists():
        raise click.ClickException(
            f"rows of {settings.file} are set aside in {rows}, each with its line and what is wrong; "
            "correct them there and replay that file, and then, or to give them up, run: "
            f"spacelink agent rejected discard {rows.stem} --spool {settings.spool}"
        )
    if counters.dropped_samples:
        raise click.ClickException("samples were dropped; give the spool more room or let it block")
