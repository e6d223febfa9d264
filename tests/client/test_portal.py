"""The event loop in a thread."""

from __future__ import annotations

import asyncio
import signal
import threading
from collections.abc import AsyncGenerator, Coroutine, Iterator
from typing import Any

import pytest

from spacelink._portal import Portal


async def nothing() -> None:
    pass


@pytest.fixture
def portal() -> Iterator[Portal]:
    portal = Portal()
    yield portal
    portal.close(nothing())


async def thread_name() -> str:
    return threading.current_thread().name


async def fail() -> None:
    raise KeyError("what")


def test_results_and_errors_come_back(portal: Portal) -> None:
    assert portal.call(thread_name()) == "spacelink-client"
    with pytest.raises(KeyError, match="what"):
        portal.call(fail())


def test_items_are_made_when_they_are_asked_for(portal: Portal) -> None:
    made: list[int] = []

    async def count() -> AsyncGenerator[int]:
        try:
            for number in range(3):
                made.append(number)
                yield number
        finally:
            made.append(-1)

    assert list(portal.iterate(count())) == [0, 1, 2]
    made.clear()
    for _ in portal.iterate(count()):
        break
    assert made == [0, -1]


def test_an_interrupt_ends_a_step_that_waits(portal: Portal) -> None:
    """The generator is closed after the step has ended, which takes it some time."""
    waits, ended = threading.Event(), []

    async def numbers() -> AsyncGenerator[int]:
        yield 1
        try:
            waits.set()
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0.01)
            ended.append(True)

    def interrupt() -> None:
        waits.wait()
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)

    iterator = portal.iterate(numbers())
    assert next(iterator) == 1
    interrupter = threading.Thread(target=interrupt)
    interrupter.start()
    with pytest.raises(KeyboardInterrupt):
        next(iterator)
    interrupter.join()
    assert ended == [True]


def test_an_interrupt_may_come_before_the_step_is_waited_for(
    portal: Portal, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps = []
    begin = asyncio.run_coroutine_threadsafe

    def interrupted(coroutine: Coroutine[Any, Any, Any], loop: asyncio.AbstractEventLoop) -> Any:
        future = begin(coroutine, loop)
        steps.append(future)
        if len(steps) == 2:
            raise KeyboardInterrupt
        return future

    async def numbers() -> AsyncGenerator[int]:
        yield 1
        await asyncio.Event().wait()

    monkeypatch.setattr(asyncio, "run_coroutine_threadsafe", interrupted)
    iterator = portal.iterate(numbers())
    assert next(iterator) == 1
    with pytest.raises(KeyboardInterrupt):
        next(iterator)
    assert steps[1].cancelled()


def test_a_call_from_the_own_thread_is_refused_instead_of_hanging(portal: Portal) -> None:
    async def again() -> None:
        portal.call(nothing())

    with pytest.raises(RuntimeError, match="own thread"):
        portal.call(again())


def test_closing_ends_calls_under_way(portal: Portal) -> None:
    other = Portal()
    started = threading.Event()
    ended = threading.Event()

    async def wait() -> None:
        started.set()
        await asyncio.Event().wait()

    def caller() -> None:
        with pytest.raises(BaseException):  # noqa: B017, PT011 - concurrent.futures has its own CancelledError
            other.call(wait())
        ended.set()

    thread = threading.Thread(target=caller)
    thread.start()
    assert started.wait(10)
    other.close(nothing())
    assert ended.wait(10)
    thread.join()
    with pytest.raises(RuntimeError, match="closed"):
        other.call(nothing())
