"""Attempts to send an event to a webhook."""

from __future__ import annotations

import asyncio
import ssl
import time
from typing import TYPE_CHECKING, NamedTuple

from spacelink_server.webhooks import payloads, posting, schedule, signing
from spacelink_server.webhooks.targets import TargetError

if TYPE_CHECKING:
    from collections.abc import Callable

    from spacelink_server.access.keys import KeyRing
    from spacelink_server.storage.webhooks import Webhook
    from spacelink_server.webhooks.payloads import Message
    from spacelink_server.webhooks.posting import Answer
    from spacelink_server.webhooks.targets import Targets

# What Standard Webhooks has as the least that receivers are given.
ATTEMPT_SECONDS = 15.0

_GONE = 410


class Outcome(NamedTuple):
    """What came of an attempt.

    Attributes:
        status_code: of the answer; 0: there was none.
        error: why it failed, for people; empty: it did not.
        retry_after: seconds that the receiver asked to be left alone, or None.
    """

    status_code: int
    error: str
    retry_after: float | None = None

    @property
    def is_gone(self) -> bool:
        """Whether the receiver wants nothing more, ever."""
        return self.status_code == _GONE


class Sender:
    """Makes attempts."""

    def __init__(self, keys: KeyRing, targets: Targets, clock: Callable[[], int] = time.time_ns) -> None:
        """Make a sender.

        Args:
            keys: the secrets are derived from its master key.
            targets: tells where requests may go.
            clock: gives nanoseconds since 1970 UTC.
        """
        self._keys = keys
        self._targets = targets
        self._clock = clock
        self._context = ssl.create_default_context()

    async def attempt(self, webhook: Webhook, message: Message) -> Outcome:
        """Send a message once; whatever goes wrong is told in the outcome."""
        try:
            async with asyncio.timeout(ATTEMPT_SECONDS):
                answer = await self._post(webhook, message)
        except TargetError as error:
            return Outcome(0, str(error))
        except TimeoutError:
            return Outcome(0, f"no answer within {ATTEMPT_SECONDS:.0f} s")
        if 200 <= answer.status_code < 300:
            return Outcome(answer.status_code, "")
        retry_after = schedule.parse_retry_after(answer.headers.get("retry-after"), self._clock())
        return Outcome(answer.status_code, f"it answered with status {answer.status_code}", retry_after)

    async def _post(self, webhook: Webhook, message: Message) -> Answer:
        target = self._targets.parse(webhook.url)
        addresses = await self._targets.resolve(target)
        content_type, body = payloads.encode(message, webhook.payload)
        now = self._clock()
        secrets = [
            self._keys.webhook_secret(webhook.tenant_id, webhook.webhook_id, secret.version)
            for secret in webhook.secrets
            if secret.expire_time is None or now < secret.expire_time
        ]
        headers = {
            "user-agent": "SpaceLink-Webhooks/1",
            "content-type": content_type,
            **signing.signed_headers(message.event_id, now // 1_000_000_000, body, secrets),
        }
        return await posting.post(target, addresses, headers, body, self._context)
