"""The agent: runs a collector, the spool and the uplink until all is done or it is told to stop."""

from __future__ import annotations

import asyncio
import logging
from contextlib import aclosing, suppress
from typing import TYPE_CHECKING

import grpc

from spacelink.errors import AbortedError, PermissionDeniedError, SpaceLinkError, UnauthenticatedError

if TYPE_CHECKING:
    from typing import Any

    from spacelink.uplink import Uplink
    from spacelink_agent._credential import AgentCredentials
    from spacelink_agent.collectors import Collector
    from spacelink_agent.spool import Spool

# Service managers kill after ten seconds or more; a satellite link needs some
# round trips.
_FLUSH_SECONDS = 5.0
_STATUS_SECONDS = 60.0
# A refusal, such as for an expired credential, passes only when somebody acts.
_REFUSED_SECONDS = 60.0
# The server's reason for refusing a call without one.
_NO_CREDENTIAL = "CREDENTIAL_REQUIRED"

_logger = logging.getLogger(__name__)


class Agent:
    """Moves samples from a collector to the spool, and from there to the server.

    Args:
        collector: where samples come from.
        spool: where they are kept.
        uplink: delivers the spool's batches.
        credentials: what the uplink presents.
    """

    def __init__(
        self, collector: Collector, spool: Spool, uplink: Uplink, credentials: AgentCredentials
    ) -> None:
        self._collector = collector
        self._spool = spool
        self._uplink = uplink
        self._credentials = credentials

    async def run(self, stop: asyncio.Event) -> None:
        """Run until the collector has ended and everything is delivered, or until stop is set.

        When told to stop, what is spooled is delivered if the server answers
        within some seconds, and otherwise stays on disk for the next start.

        Raises:
            CollectorError: the collector failed; what it yielded before is
                delivered.
            SpaceLinkError: the server refuses the stream, and waiting is of no
                use; or another agent took it over.
        """
        collection = asyncio.ensure_future(self._collect())
        delivery = asyncio.ensure_future(self._deliver())
        stopped = asyncio.ensure_future(stop.wait())
        background = [asyncio.ensure_future(self._report()), asyncio.ensure_future(self._spool.cut_by_age())]
        try:
            await asyncio.wait({collection, delivery, stopped}, return_when=asyncio.FIRST_COMPLETED)
            await _cancelled(collection)
            self._spool.finish()
            await asyncio.wait({delivery, stopped}, return_when=asyncio.FIRST_COMPLETED)
            await self._uplink.close(_FLUSH_SECONDS)
        finally:
            await _cancelled(collection, delivery, stopped, *background)
        _raise_failure(delivery)
        _raise_failure(collection)

    def status(self) -> str:
        """Say in one line what happened since the start."""
        counters = self._spool.counters
        rejected = counters.rejected_samples + counters.bad_rows
        return (
            f"samples: {counters.collected_samples} collected, {counters.acked_samples} acked, "
            f"{rejected} rejected, {counters.dropped_samples} dropped; "
            f"batches: {counters.sent_batches} sent, {counters.acked_batches} acked, "
            f"{self._spool.pending_batches} spooled in {self._spool.size / 1e6:.1f} MB"
        )

    async def _collect(self) -> None:
        source = self._collector.source
        async with aclosing(self._collector.collect(self._spool.position(source))) as chunks:
            async for chunk in chunks:
                await self._spool.append(chunk.samples, source, chunk.position, chunk.bad)
                # A collector that never waits must not keep acks waiting.
                await asyncio.sleep(0)

    async def _deliver(self) -> None:
        while True:
            try:
                return await self._uplink.run()
            except AbortedError:
                raise
            except (UnauthenticatedError, PermissionDeniedError) as error:
                self._refused(error)
            except SpaceLinkError as error:
                if not self._collector.is_live:
                    raise
                # What only one of a server's planes knows.
                is_other_plane = error.code is grpc.StatusCode.UNIMPLEMENTED
                hint = "; --server must name its data plane" if is_other_plane else ""
                _logger.warning(
                    "the server refuses; next attempt in %.0f s: %s%s", _REFUSED_SECONDS, error, hint
                )
            with suppress(TimeoutError):
                async with asyncio.timeout(_REFUSED_SECONDS):
                    await self._uplink.credential_replaced()

    def _refused(self, error: SpaceLinkError) -> None:
        """Say what to do about a credential that is refused; raise where waiting is of no use."""
        problem = f"{error.message} ({error.reason}); {self._credentials.remedy}"
        is_missing = error.reason == _NO_CREDENTIAL and not self._credentials.may_change
        if is_missing or not self._collector.is_live:
            raise type(error)(problem, code=error.code, reason=error.reason) from None
        _logger.error(
            "the credential is refused, samples wait in the spool: %s; "
            "next attempt in %.0f s, or when there is another",
            problem,
            _REFUSED_SECONDS,
        )

    async def _report(self) -> None:
        while True:
            await asyncio.sleep(_STATUS_SECONDS)
            _logger.info(self.status())


async def _cancelled(*tasks: asyncio.Future[Any]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)


def _raise_failure(task: asyncio.Future[None]) -> None:
    if not task.cancelled() and (error := task.exception()):
        raise error
