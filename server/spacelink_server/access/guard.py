"""What a call has to ask while it is served: whether it may write this, and so much."""

from __future__ import annotations

from contextvars import ContextVar
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from spacelink._caveats import CallContext, Device
from spacelink_server.access.authorization import refusal_of

if TYPE_CHECKING:
    from spacelink_server.access.allowances import CallLimits
    from spacelink_server.access.call import Call
    from spacelink_server.access.devices import DeviceLimits
    from spacelink_server.access.errors import RefusedError
    from spacelink_server.access.limits import Limiter
    from spacelink_server.access.open_calls import OpenCall

# How long a stream waits for units of a limit before it ends: reading stops
# meanwhile, and the producer feels it.
_WAIT_SECONDS = 5.0

# Streams of relays carry some thousand devices; past this they are checked anew.
_DEVICES_REMEMBERED = 10_000

# Whether a device is in a list does not depend on it.
_NO_TIME = datetime.fromtimestamp(0, UTC)


class Guard:
    """Checks the batches of a call. Nothing here suspends where limits have units at hand."""

    def __init__(
        self, call: Call, open_call: OpenCall, limits: CallLimits, limiter: Limiter, devices: DeviceLimits
    ) -> None:
        """Make a guard of a call that was let in.

        Args:
            call: the call.
            open_call: tells when its token is no longer good.
            limits: what it draws from.
            limiter: has the units.
            devices: has room for them.
        """
        self._call = call
        self._open_call = open_call
        self._limits = limits
        self._limiter = limiter
        self._devices = devices
        self._device_caveats = [c for c in call.principal.caveats if type(c) is Device]
        self._answers: dict[str, RefusedError | None] = {}

    def check(self) -> None:
        """Make sure that the token is still good.

        Raises:
            RefusedError: it is banned or has expired: the call is over.
        """
        if (error := self._open_call.error) is not None:
            raise error

    def refusal(self, device_id: str) -> RefusedError | None:
        """Give why the token may not write samples of a device; None where it may."""
        if not self._device_caveats:
            return None
        if device_id in self._answers:
            return self._answers[device_id]
        if len(self._answers) >= _DEVICES_REMEMBERED:
            self._answers.clear()
        context = CallContext(_NO_TIME, self._call.tenant_id, "", devices=(device_id,))
        self._answers[device_id] = refusal_of(self._device_caveats, context)
        return self._answers[device_id]

    async def admit(self, device_id: str) -> None:
        """Make sure that the tenant has the device, or room for it.

        Raises:
            ExhaustedError: it has as many others as it may have.
            UnavailableError: nobody knows how many it has.
        """
        await self._devices.admit(self._call.tenant_id, device_id)

    async def take_batch(self, sample_count: int) -> None:
        """Take a batch of a stream from the limits, waiting for units for up to 5 s.

        Raises:
            LimitExceededError: there are too few.
            UnavailableError: nobody knows how many there are.
        """
        keys = self._limits.in_force()
        if keys and not self._limiter.try_take(keys, 1, sample_count):
            await self._limiter.take(keys, 1, sample_count, _WAIT_SECONDS)

    async def take_samples(self, sample_count: int) -> None:
        """Take the samples of a unary call, which is counted as a call already.

        Raises:
            LimitExceededError: there are too few units.
            UnavailableError: nobody knows how many there are.
        """
        if keys := self._limits.in_force():
            await self._limiter.take(keys, 0, sample_count)


_current: ContextVar[Guard] = ContextVar("guard")


def current() -> Guard:
    """Give the guard of the call that this task serves; LookupError where the method is public."""
    return _current.get()


def enter(guard: Guard) -> None:
    """Make it the guard of the call that this task serves; every call has a task of its own."""
    _current.set(guard)
