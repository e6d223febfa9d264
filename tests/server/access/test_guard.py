from __future__ import annotations

import asyncio
import contextlib
import math
import time
from typing import TYPE_CHECKING

import pytest

from spacelink.token import Token
from spacelink_server.access import guard as guard_module
from spacelink_server.access.allowances import CallLimits
from spacelink_server.access.call import Call
from spacelink_server.access.errors import RefusedError
from spacelink_server.access.guard import Guard
from spacelink_server.access.limits import LimitExceededError, samples_per_day
from tests.server.services.access_calls import ban, mint

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from spacelink_server.access.limits import LimitKey
    from tests.server.installation import Installation


@pytest.fixture
async def token(installation: Installation) -> Token:
    # No window ends during a test that begins in the middle of a day.
    installation.clock.ahead = (43_200 - time.time()) % 86_400
    return Token.parse(await mint(installation, installation.operator))


@contextlib.asynccontextmanager
async def guarding(installation: Installation, token: Token, *quotas: LimitKey) -> AsyncIterator[Guard]:
    verified = installation.verifier.verify(str(token))
    call = Call("default", verified, None)
    with installation.open_calls.hold(verified) as open_call:
        limits = CallLimits(verified.limits, lambda: quotas)
        yield Guard(call, open_call, limits, installation.limiter, installation.gate.devices)


async def test_devices(installation: Installation, token: Token) -> None:
    narrowed = token.attenuate(device="site-7/* dev-1").attenuate(device="site-7/a site-7/b dev-1 dev-2")
    async with guarding(installation, narrowed) as guard:
        for _ in range(2):
            for admitted in ("dev-1", "site-7/a", "site-7/b"):
                assert guard.refusal(admitted) is None
            for refused in ("dev-2", "site-7/c", "site-7", "dev-3", "*", ""):
                refusal = guard.refusal(refused)
                assert refusal is not None
                assert refusal.reason == "DEVICE_DENIED"
                assert repr(refused) in refusal.message or refused == "*"


async def test_any_device_without_a_caveat(installation: Installation, token: Token) -> None:
    async with guarding(installation, token.attenuate(network="net-1", scope="a:b")) as guard:
        assert guard.refusal("dev-1") is None


async def test_devices_remembered_are_bounded(
    installation: Installation, token: Token, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(guard_module, "_DEVICES_REMEMBERED", 5)
    async with guarding(installation, token.attenuate(device="site/*")) as guard:
        for number in range(50):
            assert guard.refusal(f"site/{number}") is None
            assert guard.refusal(f"other/{number}") is not None
            assert len(guard._answers) <= 5


async def test_a_ban_is_seen_before_the_call_is_ended(installation: Installation, token: Token) -> None:
    seen: list[str] = []

    async def serve() -> None:
        async with guarding(installation, token) as guard:
            guard.check()
            with contextlib.suppress(asyncio.CancelledError):
                await ban(installation, installation.operator, token=str(token))
                await asyncio.Event().wait()
            try:
                guard.check()
            except RefusedError as error:
                seen.append(error.reason)

    with pytest.raises(RefusedError, match="banned"):
        await asyncio.create_task(serve())
    assert seen == ["TOKEN_BANNED"]


async def test_expiry_is_seen_at_once(installation: Installation, token: Token) -> None:
    narrowed = token.attenuate(expires="2999-01-01T00:00:00Z")
    end = installation.verifier.verify(str(narrowed)).expires or math.nan
    async with guarding(installation, narrowed) as guard:
        guard.check()
        installation.clock.ahead = end - time.time()
        with pytest.raises(RefusedError) as caught:
            guard.check()
    assert caught.value.reason == "TOKEN_EXPIRED"


async def test_a_batch_is_a_unit_of_rate_and_its_samples_are_units_of_quota(
    installation: Installation, token: Token, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(guard_module, "_WAIT_SECONDS", 0.2)
    narrowed = token.attenuate(quota="100/day", rate_limit="4/day")
    async with guarding(installation, narrowed) as guard:
        await guard.take_batch(60)
        with pytest.raises(LimitExceededError) as caught:
            await guard.take_batch(41)
        assert caught.value.reason == "QUOTA_EXCEEDED"
        for count in (30, 9, 1):
            await guard.take_batch(count)
        with pytest.raises(LimitExceededError) as caught:
            await guard.take_batch(0)
        assert caught.value.reason == "RATE_LIMITED"


async def test_samples_of_a_unary_call(installation: Installation, token: Token) -> None:
    narrowed = token.attenuate(quota="100/day", rate_limit="1/day")
    async with guarding(installation, narrowed) as guard:
        for count in (60, 40):
            await guard.take_samples(count)
        with pytest.raises(LimitExceededError) as caught:
            await guard.take_samples(1)
        assert caught.value.reason == "QUOTA_EXCEEDED"


async def test_a_tenants_samples_are_counted_whichever_the_token(
    installation: Installation, token: Token
) -> None:
    quota = samples_per_day("default", 10)
    for label in ("a", "b"):
        async with guarding(installation, token.attenuate(label=label), quota) as guard:
            await guard.take_batch(5)
    async with guarding(installation, token, quota) as guard:
        with pytest.raises(LimitExceededError):
            await guard.take_samples(1)


async def test_a_batch_waits_for_the_next_window(installation: Installation, token: Token) -> None:
    async with guarding(installation, token.attenuate(rate_limit="2/second")) as guard:
        for _ in range(6):
            await guard.take_batch(1)


async def test_without_limits_nothing_is_counted(installation: Installation, token: Token) -> None:
    async with guarding(installation, token) as guard:
        await guard.take_batch(10**9)
        await guard.take_samples(10**9)
    rows = installation.store.read(lambda c: c.exec_driver_sql("SELECT count(*) FROM limit_state").scalar())
    assert rows == 0
