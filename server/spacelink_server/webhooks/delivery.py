"""Delivery: takes what is due from the outbox, sends it, and writes down what came of it.

Any number of servers do so over one store. A delivery is claimed for longer than
an attempt can take; one whose server dies is claimed again after that. So each
event is delivered at least once, and duplicates carry the same id.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import time
from typing import TYPE_CHECKING

from spacelink_server.access.periodic import repeat
from spacelink_server.errors import UnavailableError
from spacelink_server.storage import outbox, webhooks
from spacelink_server.webhooks import settling
from spacelink_server.webhooks.payloads import Message
from spacelink_server.webhooks.sending import ATTEMPT_SECONDS

if TYPE_CHECKING:
    from collections.abc import Callable

    from spacelink_server.access.writes import Database
    from spacelink_server.storage.outbox import Delivery
    from spacelink_server.storage.transactions import Connection
    from spacelink_server.storage.webhooks import Webhook
    from spacelink_server.webhooks.sending import Sender

logger = logging.getLogger(__name__)

# How late an event is sent: a look at an index that has nothing takes 0.1 ms.
_POLL_SECONDS = 0.5

# As often as Prometheus looks: counting goes over all that waits.
_COUNT_SECONDS = 15.0

# How many webhooks are served at once: receivers that hang keep the others
# waiting only where there are so many of them.
_MAX_WEBHOOKS = 64
# And how many events of one: what a small receiver takes in at once.
_MAX_EVENTS = 4
# Then it is another one's turn.
_MAX_ROUNDS = 16

# An attempt, and time to write down what came of it on a busy store.
_LEASE_NANOS = int(2 * ATTEMPT_SECONDS * 1_000_000_000)

# A server that stops waits so long for attempts under way.
_CLOSE_SECONDS = 2.0


class Deliverer:
    """Delivers what is due. Used on one event loop.

    Attributes:
        pending: how many events there were to be sent when they were last counted,
            by whichever server.
        attempts: how many there were of this one, by whether they failed.
    """

    def __init__(self, database: Database, sender: Sender, clock: Callable[[], int] = time.time_ns) -> None:
        """Make a deliverer; run delivers.

        Args:
            database: where the outbox is.
            sender: makes attempts.
            clock: gives nanoseconds since 1970 UTC.
        """
        self.pending = 0
        self.attempts = {"delivered": 0, "failed": 0}
        self._database = database
        self._sender = sender
        self._clock = clock
        self._serving: dict[tuple[str, str], asyncio.Task[None]] = {}
        # What was claimed and is not settled yet, by its key.
        self._claimed: dict[tuple[str, str, str], Delivery] = {}
        self._closing = False

    async def take_over(self) -> None:
        """Let go of what a server before has claimed: only where this one is the only one."""
        now = self._clock()
        await self._database.write(lambda connection: outbox.release_all(connection, now))

    async def run(self) -> None:
        """Deliver for ever."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(repeat(_POLL_SECONDS, self.step, "delivering webhooks"))
            tasks.create_task(repeat(_COUNT_SECONDS, self.count, "counting what webhooks wait for"))

    async def step(self) -> None:
        """Begin to serve the webhooks that have something due.

        Raises:
            UnavailableError: the store failed.
        """
        now = self._clock()
        # Those that are served may be due as well.
        found = await self._database.read(lambda c: outbox.due(c, now, 2 * _MAX_WEBHOOKS))
        for name in found:
            if name not in self._serving and len(self._serving) < _MAX_WEBHOOKS:
                self._serving[name] = asyncio.create_task(self._serve(*name))

    async def count(self) -> None:
        """Count what is yet to be sent.

        Raises:
            UnavailableError: the store failed.
        """
        self.pending = await self._database.read(outbox.pending)

    async def idle(self) -> None:
        """Wait until nothing is being sent."""
        while self._serving:
            await asyncio.wait(self._serving.values())

    async def close(self) -> None:
        """End, with a moment for attempts under way; others then try what is left."""
        self._closing = True
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self.idle(), _CLOSE_SECONDS)
        tasks = list(self._serving.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        left, now = list(self._claimed.values()), self._clock()
        if left:
            try:
                await self._database.write(lambda c: outbox.release(c, left, now), alone=False)
            except UnavailableError as error:
                logger.warning("%d deliveries are tried again later than they might be: %s", len(left), error)

    async def _serve(self, tenant_id: str, webhook_id: str) -> None:
        """Deliver what is due to a webhook."""
        try:
            for _ in range(_MAX_ROUNDS):
                webhook, taken = await self._claim(tenant_id, webhook_id)
                if webhook is None or not taken:
                    return
                await asyncio.gather(*(self._deliver(webhook, delivery) for delivery in taken))
        except UnavailableError:
            logger.debug("delivering webhooks: the store is not available")
        except Exception:
            logger.exception("delivering to webhook %s failed", webhook_id)
        finally:
            del self._serving[tenant_id, webhook_id]

    async def _claim(self, tenant_id: str, webhook_id: str) -> tuple[Webhook | None, list[Delivery]]:
        if self._closing:
            return None, []
        now = self._clock()

        def work(connection: Connection) -> tuple[Webhook | None, list[Delivery]]:
            webhook = webhooks.get(connection, tenant_id, webhook_id)
            # An event may cross the end of its webhook.
            if webhook is None:
                webhooks.delete(connection, tenant_id, webhook_id)
            elif webhook.disable_reason:
                outbox.bury(connection, tenant_id, webhook_id, webhook.disable_reason)
            taken = outbox.claim(connection, tenant_id, webhook_id, now, now + _LEASE_NANOS, _MAX_EVENTS)
            return webhook, taken

        webhook, taken = await self._database.write(work, alone=False)
        self._claimed |= {delivery[:3]: delivery for delivery in taken}
        return webhook, taken

    async def _deliver(self, webhook: Webhook, delivery: Delivery) -> None:
        message = Message(
            delivery.tenant_id,
            delivery.event_id,
            delivery.event_type,
            delivery.event_time,
            json.loads(delivery.data),
        )
        outcome = await self._sender.attempt(webhook, message)
        now = self._clock()
        self.attempts["failed" if outcome.error else "delivered"] += 1
        if outcome.error:
            # Disabling it is told to the audit trail, whose appends must be alone.
            await self._database.write(lambda c: settling.failed(c, delivery, outcome, now))
        else:
            await self._database.write(lambda c: settling.delivered(c, delivery), alone=False)
        del self._claimed[delivery[:3]]
