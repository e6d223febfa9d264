from __future__ import annotations

import asyncio
import contextlib
import math
import time
from typing import TYPE_CHECKING

import pytest

from spacelink.token import Token
from spacelink_server.access import errors, open_calls
from spacelink_server.access.errors import RefusedError
from tests.server.services.access_calls import ban, mint
from tests.server.waiting import until

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from spacelink_server.access.open_calls import OpenCall
    from spacelink_server.access.verification import VerifiedToken
    from tests.server.installation import Installation


@pytest.fixture
async def token(installation: Installation) -> VerifiedToken:
    return installation.verifier.verify(await mint(installation, installation.operator))


async def serve(call: OpenCall, work: Callable[[], Awaitable[object]]) -> object:
    with call:
        return await work()


async def started(call: OpenCall, work: Callable[[], Awaitable[object]]) -> asyncio.Task[object]:
    """Serve a call in a task of its own, and wait until it is under way."""
    task = asyncio.create_task(serve(call, work))
    await asyncio.sleep(0)
    return task


def reason(call: OpenCall) -> str | None:
    """Give why nothing more may be done with a call's token."""
    return call.error.reason if call.error else None


async def forever() -> None:
    await asyncio.Event().wait()


async def test_a_call_that_is_ended_says_why(installation: Installation, token: VerifiedToken) -> None:
    call = installation.open_calls.hold(token)
    task = await started(call, forever)
    assert reason(call) is None
    call.end(errors.banned())
    call.end(errors.expired())
    with pytest.raises(RefusedError) as caught:
        await task
    assert caught.value.reason == "TOKEN_BANNED"
    assert reason(call) == "TOKEN_BANNED"
    assert not len(installation.open_calls)


async def test_a_call_that_is_over_is_left_alone(installation: Installation, token: VerifiedToken) -> None:
    async def over() -> str:
        return "done"

    call = installation.open_calls.hold(token)
    assert await serve(call, over) == "done"
    assert not len(installation.open_calls)
    await ban(installation, installation.operator, token_id=token.identifier.token_id)
    await asyncio.sleep(0)


async def test_an_error_of_its_own_goes_first(installation: Installation, token: VerifiedToken) -> None:
    async def fail() -> None:
        try:
            await forever()
        finally:
            raise RuntimeError("mine")

    call = installation.open_calls.hold(token)
    task = await started(call, fail)
    call.end(errors.banned())
    with pytest.raises(RuntimeError, match="mine"):
        await task
    assert task.cancelling() == 0


async def test_an_answer_that_comes_too_late_is_not_given(
    installation: Installation, token: VerifiedToken
) -> None:
    async def stubborn() -> str:
        with contextlib.suppress(asyncio.CancelledError):
            await forever()
        return "answer"

    call = installation.open_calls.hold(token)
    task = await started(call, stubborn)
    call.end(errors.banned())
    with pytest.raises(RefusedError):
        await task


@pytest.mark.parametrize("ended_first", [True, False])
async def test_a_caller_that_goes_at_the_same_time(
    installation: Installation, token: VerifiedToken, ended_first: bool
) -> None:
    call = installation.open_calls.hold(token)
    task = await started(call, forever)
    if ended_first:
        call.end(errors.banned())
    task.cancel()
    call.end(errors.banned())
    with pytest.raises(asyncio.CancelledError):
        await task
    assert not len(installation.open_calls)


async def test_what_was_cancelled_can_go_on(installation: Installation, token: VerifiedToken) -> None:
    async def answer() -> str:
        call = installation.open_calls.hold(token)
        asyncio.get_running_loop().call_soon(lambda: call.end(errors.banned()))
        with contextlib.suppress(RefusedError):
            await serve(call, forever)
        async with asyncio.timeout(30):
            await asyncio.sleep(0)
        return "answered"

    assert await asyncio.create_task(answer()) == "answered"


async def test_bans_are_held_against_calls_under_way(
    installation: Installation, token: VerifiedToken
) -> None:
    other = installation.verifier.verify(await mint(installation, installation.operator))
    ended = await started(installation.open_calls.hold(token), forever)
    kept = await started(installation.open_calls.hold(other), forever)
    await ban(installation, installation.operator, digest=token.digests[0].hex())
    with pytest.raises(RefusedError):
        await ended
    assert not kept.done()
    kept.cancel()


async def test_the_clock_is_looked_at_again(
    installation: Installation, token: VerifiedToken, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(open_calls, "_LOOK_SECONDS", 0.01)
    text = Token.parse(await mint(installation, installation.operator, "expires = 2999-01-01T00:00:00Z"))
    expiring = installation.verifier.verify(str(text))
    call = installation.open_calls.hold(expiring)
    task = await started(call, forever)
    assert reason(call) is None
    # Nobody tells the timer that the clock is set.
    installation.clock.ahead = (expiring.expires or math.nan) - time.time()
    assert reason(call) == "TOKEN_EXPIRED"
    await until(task.done)
    with pytest.raises(RefusedError) as caught:
        await task
    assert caught.value.reason == "TOKEN_EXPIRED"


async def test_a_token_that_expires_before_its_call_is_served(installation: Installation) -> None:
    text = await mint(installation, installation.operator, "expires = 2999-01-01T00:00:00Z")
    expiring = installation.verifier.verify(text)
    installation.clock.ahead = (expiring.expires or math.nan) - time.time()
    with pytest.raises(RefusedError):
        await asyncio.create_task(serve(installation.open_calls.hold(expiring), forever))
