from __future__ import annotations

import asyncio
import contextlib
import hashlib
import subprocess
import sys
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, TypeVar

import grpc
import pytest
import sqlalchemy as sa
from google.rpc.error_details_pb2 import ErrorInfo, QuotaFailure, RetryInfo
from google.rpc.status_pb2 import Status

from spacelink_server.access.limits import Limiter, LimitExceededError, LimitKey, Remaining, samples_per_day
from spacelink_server.access.writes import Database
from spacelink_server.errors import UnavailableError
from spacelink_server.storage import limits
from spacelink_server.storage.sqlite import SqliteStore
from tests.server.waiting import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence

    from spacelink_server.storage.sql_store import SqlStore
    from spacelink_server.storage.transactions import Connection
    from tests.server.stores import Place

T = TypeVar("T")

MINUTE = 60
DAY = 86_400
# The start of a day, and so of every window.
T0 = 20_000 * DAY
# For what is sure to happen; a test that waits so long fails.
LONG = 60.0


class Clock:
    """A clock that tests set."""

    def __init__(self) -> None:
        self.now = float(T0)

    def __call__(self) -> float:
        return self.now


class CountingDatabase(Database):
    """A database that counts its writes and can hold them up.

    Attributes:
        count: how many were begun.
        held_up: while a test has it, writes are under way and do not come to their end.
    """

    def __init__(self, store: SqlStore, thread: Executor) -> None:
        super().__init__(store, thread, thread)
        self.count = 0
        self.held_up = asyncio.Lock()

    async def write(
        self,
        work: Callable[[Connection], T],
        *then: Callable[[], Awaitable[object]],
        alone: bool = True,
    ) -> T:
        self.count += 1
        answer = await super().write(work, *then, alone=alone)
        async with self.held_up:
            return answer

    async def fail(self, failing: bool) -> None:
        """Have the store fail on limits from now on, or work again."""
        names = ["limit_state", "elsewhere"] if failing else ["elsewhere", "limit_state"]
        await self.write(
            lambda connection: connection.exec_driver_sql("ALTER TABLE {} RENAME TO {}".format(*names))
        )

    async def used(self, key: LimitKey, start: int = T0) -> int:
        """Count what the store has as used up or leased."""
        return await self.read(lambda connection: limits.used(connection, key.tenant_id, key.digest, start))


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def database(either_store: SqlStore) -> Iterator[CountingDatabase]:
    with ThreadPoolExecutor(1) as thread:
        yield CountingDatabase(either_store, thread)


@pytest.fixture
async def servers(database: CountingDatabase, clock: Clock) -> AsyncIterator[Callable[[], Limiter]]:
    """Give a maker of limiters over one store: each is what a server has."""
    made: list[Limiter] = []

    def make() -> Limiter:
        made.append(Limiter(database, clock))
        return made[-1]

    yield make
    for limiter in made:
        await limiter.close()


@pytest.fixture
async def limiter(servers: Callable[[], Limiter]) -> Limiter:
    return servers()


def rate(amount: int, name: str = "parent", window_seconds: int = MINUTE) -> LimitKey:
    digest = hashlib.sha256(name.encode()).digest()
    return LimitKey("acme", digest, amount, window_seconds, "rate", f"rate_limit = {amount}/minute")


def quota(amount: int, name: str = "quota") -> LimitKey:
    digest = hashlib.sha256(name.encode()).digest()
    return LimitKey("acme", digest, amount, DAY, "quota", f"quota = {amount}/day")


async def is_taken(limiter: Limiter, *keys: LimitKey, samples: int = 1, wait_seconds: float = 0.0) -> bool:
    """Take a unit of rates and samples of quotas, as a call would."""
    if limiter.try_take(keys, 1, samples):
        return True
    try:
        await limiter.take(keys, 1, samples, wait_seconds)
    except LimitExceededError:
        return False
    return True


async def take_all(limiter: Limiter, *keys: LimitKey, samples: int = 1) -> int:
    """Call until a call is refused; count those that were not."""
    count = 0
    while await is_taken(limiter, *keys, samples=samples):
        count += 1
        await asyncio.sleep(0)
    return count


def wait_for_units(limiter: Limiter, *keys: LimitKey, samples: int = 1) -> asyncio.Task[bool]:
    return asyncio.create_task(is_taken(limiter, *keys, samples=samples, wait_seconds=LONG))


def details(error: LimitExceededError) -> Sequence[Any]:
    packed = Status.FromString(error.status()).details
    messages = [kind() for kind in (ErrorInfo, RetryInfo, QuotaFailure)]
    return [message for message, detail in zip(messages, packed, strict=True) if detail.Unpack(message)]


# How much


@pytest.mark.parametrize("amount", [1, 5, 16, 100, 1000])
async def test_exactly_the_limit(limiter: Limiter, amount: int) -> None:
    assert await take_all(limiter, rate(amount)) == amount


@pytest.mark.parametrize("amount", [5, 100, 1000])
async def test_concurrent_calls_get_exactly_the_limit(limiter: Limiter, amount: int) -> None:
    taken = await asyncio.gather(*(take_all(limiter, rate(amount)) for _ in range(8)))
    assert sum(taken) == amount


async def test_concurrent_streams_get_exactly_the_quota(limiter: Limiter) -> None:
    keys = (quota(10_000), rate(10_000), quota(5_000, "child"))
    taken = await asyncio.gather(*(take_all(limiter, *keys, samples=50) for _ in range(8)))
    assert sum(taken) == 100
    assert (await limiter.remaining(keys[0])).units == 5_000
    assert (await limiter.remaining(keys[1])).units == 10_000 - 100
    assert (await limiter.remaining(keys[2])).units == 0


async def test_small_limits_are_leased_one_by_one(limiter: Limiter, database: CountingDatabase) -> None:
    for count in range(1, 6):
        assert await is_taken(limiter, rate(5))
        assert await database.used(rate(5)) == count


async def test_what_is_leased_is_taken_from_memory(limiter: Limiter, database: CountingDatabase) -> None:
    keys = (rate(1600), quota(1600))
    assert not limiter.try_take(keys, 1, 1)
    await limiter.take(keys, 1, 1)
    count = database.count
    assert [limiter.try_take(keys, 1, 1) for _ in range(100)] == [True] * 99 + [False]
    assert database.count == count
    assert await database.used(keys[0]) == await database.used(keys[1]) == 100


async def test_a_window_takes_sixteen_leases_and_knows_when_it_is_used_up(
    limiter: Limiter, database: CountingDatabase
) -> None:
    assert await take_all(limiter, rate(1600)) == 1600
    assert not await is_taken(limiter, rate(1600))
    assert database.count == 16


async def test_all_or_nothing(limiter: Limiter) -> None:
    """A child that has nothing left takes nothing of its parent's."""
    parent, child, grandchild = rate(100), quota(10, "child"), rate(100, "grandchild")
    assert await is_taken(limiter, parent, child, grandchild, samples=8)
    for samples in (3, 10):
        assert not await is_taken(limiter, parent, child, grandchild, samples=samples)
    assert (await limiter.remaining(parent)).units == 99
    assert (await limiter.remaining(grandchild)).units == 99
    assert await is_taken(limiter, parent, child, grandchild, samples=2)


async def test_children_share_their_parents_limit(limiter: Limiter) -> None:
    parent = rate(100)
    children = [(parent, rate(1000, f"child {n}")) for n in range(2)]
    taken = await asyncio.gather(*(take_all(limiter, *child) for child in children))
    assert sum(taken) == 100


async def test_a_childs_own_limit_is_its_own(limiter: Limiter) -> None:
    parent, first, second = rate(100), rate(10, "first"), rate(20, "second")
    assert await take_all(limiter, parent, first) == 10
    assert await take_all(limiter, parent, second) == 20
    assert await take_all(limiter, parent) == 70


async def test_equal_keys_are_one_limit(limiter: Limiter) -> None:
    assert sum([await is_taken(limiter, rate(3)) for _ in range(5)]) == 3


async def test_of_which_nothing_is_taken_is_not_asked(limiter: Limiter, database: CountingDatabase) -> None:
    """A call without samples needs no quota."""
    used_up = quota(1)
    assert await is_taken(limiter, used_up)
    count = database.count
    assert limiter.try_take((used_up,), 1, 0)
    await limiter.take((used_up, rate(5)), 1, 0)
    assert database.count == count + 1


async def test_another_amount_counts_from_what_was_used(limiter: Limiter, database: CountingDatabase) -> None:
    assert await take_all(limiter, quota(100, "day"), samples=10) == 10
    assert await take_all(limiter, quota(150, "day"), samples=10) == 5
    assert not await is_taken(limiter, quota(120, "day"))
    # What was leased under the larger amount is no longer taken under the smaller.
    assert await is_taken(limiter, quota(3200, "day"))
    assert not await is_taken(limiter, quota(120, "day"))
    await limiter.give_back_idle()
    assert await database.used(quota(120, "day")) == 151


async def test_tenants_have_quotas_of_their_own(limiter: Limiter) -> None:
    acme, beta = samples_per_day("acme", 10), samples_per_day("beta", 10)
    assert await take_all(limiter, acme) == await take_all(limiter, beta) == 10
    assert (acme.kind, acme.window_seconds) == ("quota", DAY)


async def test_remaining(limiter: Limiter, clock: Clock) -> None:
    assert await limiter.remaining(rate(100)) == Remaining(100, T0 + MINUTE)
    for _ in range(3):
        assert await is_taken(limiter, rate(100))
    clock.now += 59.9
    assert await limiter.remaining(rate(100)) == Remaining(97, T0 + MINUTE)
    clock.now += 0.1
    assert await limiter.remaining(rate(100)) == Remaining(100, T0 + 2 * MINUTE)


# What a caller is told


async def test_a_rate_limit_is_refused_until_its_window_ends(limiter: Limiter, clock: Clock) -> None:
    key = rate(1)
    await limiter.take((key,), 1, 0)
    clock.now += 20.5
    with pytest.raises(LimitExceededError) as caught:
        await limiter.take((key,), 1, 0)
    error = caught.value
    message = "rate_limit = 1/minute: too few units are left; the next window starts in 40 s"
    assert (error.code, error.message) == (grpc.StatusCode.RESOURCE_EXHAUSTED, message)
    info, retry, failure = details(error)
    assert info == ErrorInfo(
        reason="RATE_LIMITED", domain="spacelink", metadata={"limit": "rate_limit = 1/minute"}
    )
    assert retry.retry_delay.ToMilliseconds() == 39_500
    assert list(failure.violations) == [QuotaFailure.Violation(subject="tenant:acme", description=message)]


async def test_a_quota_is_refused_until_the_next_day(limiter: Limiter, clock: Clock) -> None:
    clock.now += 3600
    await limiter.take((quota(10),), 1, 10)
    with pytest.raises(LimitExceededError) as caught:
        await limiter.take((quota(10),), 1, 1)
    assert caught.value.reason == "QUOTA_EXCEEDED"
    assert caught.value.retry_seconds == DAY - 3600


async def test_what_can_never_pass_need_not_be_tried_again(
    limiter: Limiter, database: CountingDatabase
) -> None:
    with pytest.raises(LimitExceededError, match="never has 11 units; send fewer samples") as caught:
        await limiter.take((rate(5), quota(10)), 1, 11, wait_seconds=LONG)
    assert caught.value.retry_seconds is None
    assert database.count == 0


# Windows


async def test_windows_roll_over(limiter: Limiter, clock: Clock) -> None:
    for _ in range(3):
        assert await take_all(limiter, rate(7)) == 7
        clock.now += MINUTE


async def test_what_is_left_of_a_window_is_not_kept(limiter: Limiter, clock: Clock) -> None:
    assert await is_taken(limiter, rate(160))
    clock.now += MINUTE
    assert await take_all(limiter, rate(160)) == 160


async def test_a_window_starts_and_ends_on_the_second(limiter: Limiter, clock: Clock) -> None:
    clock.now = T0 + 59.999
    assert await take_all(limiter, rate(5)) == 5
    clock.now = T0 + 60.0
    assert await take_all(limiter, rate(5)) == 5


async def test_limits_of_one_call_roll_over_apart(limiter: Limiter, clock: Clock) -> None:
    keys = (rate(100, window_seconds=DAY), rate(5, "child"))
    assert await take_all(limiter, *keys) == 5
    clock.now += MINUTE
    assert await take_all(limiter, *keys) == 5
    assert (await limiter.remaining(keys[0])).units == 90


async def test_a_clock_set_back_gives_no_units_twice(limiter: Limiter, clock: Clock) -> None:
    """Each window has its limit, in whichever order and however often it comes."""
    taken = dict.fromkeys(range(5), 0)
    for minute in (0, 1, 0, 1, 2, 1, 2, 3, 4, 3, 4):
        clock.now = T0 + minute * MINUTE
        taken[minute] += await take_all(limiter, rate(5))
        assert taken[minute] == 5


async def test_a_clock_set_back_far_locks_nobody_out(limiter: Limiter, clock: Clock) -> None:
    assert await take_all(limiter, rate(5)) == 5
    clock.now -= 10 * DAY
    assert await take_all(limiter, rate(5)) == 5


async def test_a_lease_that_comes_after_its_window_is_worth_nothing(
    limiter: Limiter, database: CountingDatabase, clock: Clock
) -> None:
    key = rate(1600)
    async with database.held_up:
        early = asyncio.create_task(is_taken(limiter, key))
        await until(lambda: database.count == 1)
        clock.now += MINUTE
        late = asyncio.create_task(is_taken(limiter, key))
        await asyncio.sleep(0)
    assert await early
    assert await late
    assert await take_all(limiter, key) == 1598


# Several servers over one store


async def test_servers_together_never_exceed_the_limit(servers: Callable[[], Limiter]) -> None:
    both = (servers(), servers())
    taken = await asyncio.gather(*(take_all(limiter, rate(1000)) for limiter in both * 4))
    assert sum(taken) == 1000


async def test_servers_that_hold_units_keep_them_from_others_until_they_give_them_back(
    servers: Callable[[], Limiter], database: CountingDatabase
) -> None:
    first, second = servers(), servers()
    assert await is_taken(first, rate(1000))
    taken = await take_all(second, rate(1000))
    assert taken == 1000 - 1000 // 16
    waiting = wait_for_units(second, rate(1000))
    await first.close()
    assert await database.used(rate(1000)) <= 1 + taken + 1000 // 16
    assert await waiting
    assert 1 + taken + 1 + await take_all(second, rate(1000)) == 1000


async def test_what_is_too_little_for_one_server_is_left_to_others(
    servers: Callable[[], Limiter],
) -> None:
    first, second = servers(), servers()
    assert await is_taken(first, quota(160), samples=100)
    assert not await is_taken(second, quota(160), samples=61)
    assert await is_taken(first, quota(160), samples=60)


async def test_idle_units_reach_whoever_waits_elsewhere(servers: Callable[[], Limiter]) -> None:
    first, second = servers(), servers()
    assert await is_taken(first, rate(32))
    assert await take_all(second, rate(32)) == 30
    running = asyncio.create_task(first.run())
    try:
        assert await is_taken(second, rate(32), wait_seconds=LONG)
    finally:
        running.cancel()
    assert not await is_taken(second, rate(32))


async def test_only_what_is_idle_is_given_back(limiter: Limiter, database: CountingDatabase) -> None:
    busy, idle = rate(1600, "busy"), rate(1600, "idle")
    assert await is_taken(limiter, busy)
    assert await is_taken(limiter, idle)
    await limiter.give_back_idle()
    assert limiter.try_take((busy,), 1, 0)
    await limiter.give_back_idle()
    assert (await database.used(busy), await database.used(idle)) == (100, 1)
    assert limiter.try_take((busy,), 1, 0)
    assert await take_all(limiter, idle) == 1599


async def test_a_lease_under_way_is_not_taken_for_idle(limiter: Limiter, database: CountingDatabase) -> None:
    async with database.held_up:
        call = asyncio.create_task(is_taken(limiter, rate(1600)))
        await until(lambda: database.count == 1)
        await limiter.give_back_idle()
    assert await call
    assert await take_all(limiter, rate(1600)) == 1599


async def test_a_server_that_dies_takes_no_more_than_a_lease(servers: Callable[[], Limiter]) -> None:
    dead, alive = servers(), servers()
    assert await is_taken(dead, rate(160))
    assert await take_all(alive, rate(160)) == 150


TAKE_FOR_EVER = """
import asyncio, sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from spacelink_server.access.limits import LimitExceededError, Limiter, LimitKey
from spacelink_server.access.writes import Database
from spacelink_server.storage.opening import open_store

async def main():
    store = open_store(Path(sys.argv[1]), sys.argv[2])

    with ThreadPoolExecutor(1) as thread:
        await take_all(Limiter(Database(store, thread, thread), lambda: 0.0))

async def take_all(limiter):
    for number in range(12):
        key = LimitKey("acme", bytes([number]), 15, 60, "rate", "rate_limit = 15/minute")
        try:
            while True:
                await limiter.take((key,), 1, 0)
                print("taken", flush=True)
        except LimitExceededError:
            pass

asyncio.run(main())
"""


def test_kill_never_lets_the_sum_exceed_the_limit(place: Place) -> None:
    total = 0
    for kill_after in (40, 60, None):
        command = [sys.executable, "-c", TAKE_FOR_EVER, str(place.directory), place.url]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            if kill_after is not None:
                total += sum(process.stdout.readline() == "taken\n" for _ in range(kill_after))
                process.kill()
            total += sum(line == "taken\n" for line in process.stdout)
    assert process.returncode == 0
    # Leases of limits as small as these are of one unit, and one died with each.
    assert 12 * 15 - 2 <= total <= 12 * 15


# Waiting


async def test_waiters_are_served_in_their_order(limiter: Limiter, clock: Clock) -> None:
    assert await take_all(limiter, rate(3)) == 3
    waiting = [wait_for_units(limiter, rate(3)) for _ in range(5)]
    await asyncio.sleep(0)
    clock.now += MINUTE
    await until(lambda: sum(task.done() for task in waiting) == 3)
    assert [task.done() for task in waiting] == [True, True, True, False, False]
    clock.now += MINUTE
    assert all(await asyncio.gather(*waiting))
    assert await take_all(limiter, rate(3)) == 1


async def test_nobody_overtakes_whoever_waits(limiter: Limiter, clock: Clock) -> None:
    """Small batches must not keep a large one waiting for ever."""
    key = quota(160)
    assert await is_taken(limiter, key, samples=5)
    assert limiter.try_take((key,), 1, 4)
    waiting = wait_for_units(limiter, key, samples=155)
    await asyncio.sleep(0)
    # There are units left, one even in memory.
    assert not limiter.try_take((key,), 1, 1)
    assert not await is_taken(limiter, key)
    clock.now += DAY
    assert await waiting
    assert await take_all(limiter, key) == 5


async def test_a_call_that_cannot_wait_does_not_wait_behind_others(limiter: Limiter) -> None:
    assert await is_taken(limiter, rate(1))
    waiting = wait_for_units(limiter, rate(1))
    await asyncio.sleep(0)
    async with asyncio.timeout(LONG / 2):
        assert not await is_taken(limiter, rate(1))
    assert not waiting.done()
    waiting.cancel()


async def test_when_the_first_gives_up_the_next_is_served(limiter: Limiter) -> None:
    key = quota(32)
    assert await is_taken(limiter, key, samples=25)
    first = asyncio.create_task(is_taken(limiter, key, samples=8, wait_seconds=0.01))
    await asyncio.sleep(0)
    second = wait_for_units(limiter, key, samples=7)
    assert (await first, await second) == (False, True)


async def test_waiting_for_a_childs_limit_holds_up_no_sibling(limiter: Limiter, clock: Clock) -> None:
    parent, child, sibling = rate(100), rate(1, "child"), rate(50, "sibling")
    assert await is_taken(limiter, parent, child)
    waiting = [wait_for_units(limiter, parent, child) for _ in range(3)]
    await asyncio.sleep(0)
    assert await take_all(limiter, parent, sibling) == 50
    assert await take_all(limiter, parent) == 49
    clock.now += MINUTE
    await until(waiting[0].done)
    assert not waiting[1].done()
    assert (await limiter.remaining(parent)).units == 99
    for task in waiting:
        task.cancel()


async def test_who_waits_for_one_limit_may_then_wait_for_another(limiter: Limiter, clock: Clock) -> None:
    minutely, daily = rate(1), quota(2)
    assert await is_taken(limiter, minutely, daily)
    waiting = [wait_for_units(limiter, minutely, daily) for _ in range(3)]
    clock.now += MINUTE
    await until(lambda: any(task.done() for task in waiting))
    clock.now += MINUTE
    # Nobody gets by the others before they have gone to wait for the day.
    while not await is_taken(limiter, minutely):
        await asyncio.sleep(0.005)
    assert [task.done() for task in waiting] == [True, False, False]
    clock.now += DAY
    await until(waiting[1].done)
    clock.now += MINUTE
    assert await waiting[2]


async def test_waiting_ends(limiter: Limiter) -> None:
    assert await is_taken(limiter, rate(1))
    patient = wait_for_units(limiter, rate(1))
    assert not await is_taken(limiter, rate(1), wait_seconds=0.2)
    assert not patient.done()
    patient.cancel()


# Cancelled calls


class InThisThread(Executor):
    """Runs work when it is submitted, so that a lease takes the same steps of the loop each time."""

    def submit(self, fn: Callable[..., T], /, *args: Any, **kwargs: Any) -> Future[T]:
        future: Future[T] = Future()
        future.set_result(fn(*args, **kwargs))
        return future


async def test_units_of_cancelled_calls_are_not_lost(store: SqliteStore, clock: Clock) -> None:
    """Wherever the cancellation meets the call: a unit is either taken or there."""
    here = InThisThread()
    limiter = Limiter(Database(store, here, here), clock)
    outcomes = []
    for steps in range(12):
        key = rate(15, f"{steps}")
        call = asyncio.create_task(limiter.take((key,), 1, 0))
        for _ in range(steps):
            await asyncio.sleep(0)
        call.cancel()
        (outcome,) = await asyncio.gather(call, return_exceptions=True)
        outcomes.append(outcome is None)
        for _ in range(12):
            await asyncio.sleep(0)
        assert (await limiter.remaining(key)).units == 15 - outcomes[-1]
        assert await take_all(limiter, key) == 15 - outcomes[-1]
    assert set(outcomes) == {True, False}
    await limiter.close()


async def test_a_cancelled_waiter_makes_room_for_the_next(limiter: Limiter, clock: Clock) -> None:
    assert await is_taken(limiter, rate(1))
    waiting = [wait_for_units(limiter, rate(1)) for _ in range(3)]
    await asyncio.sleep(0)
    waiting[0].cancel()
    waiting[1].cancel()
    clock.now += MINUTE
    assert await waiting[2]
    with contextlib.suppress(asyncio.CancelledError):
        await waiting[0]


async def test_a_cancelled_waiter_blocks_nobody(limiter: Limiter) -> None:
    key = quota(32)
    assert await is_taken(limiter, key, samples=25)
    waiting = wait_for_units(limiter, key, samples=8)
    await asyncio.sleep(0)
    assert not limiter.try_take((key,), 1, 1)
    waiting.cancel()
    await asyncio.wait([waiting])
    assert await take_all(limiter, key) == 7


# A store that fails


async def test_a_store_that_fails_is_not_unlimited(limiter: Limiter, database: CountingDatabase) -> None:
    held = rate(1600, "held")
    await limiter.take((held,), 1, 0)
    await database.fail(True)
    for key in (rate(5), rate(1600)):
        with pytest.raises(UnavailableError) as caught:
            await limiter.take((key,), 1, 0)
        assert (caught.value.reason, caught.value.retry_seconds) == ("STORE_UNAVAILABLE", 1.0)
    with pytest.raises(UnavailableError):
        await limiter.take((held, rate(5)), 1, 0)
    # What was leased before is there.
    assert [limiter.try_take((held,), 1, 0) for _ in range(100)] == [True] * 99 + [False]
    await database.fail(False)
    assert await take_all(limiter, rate(5)) == 5
    assert await take_all(limiter, held) == 1500


async def test_waiters_hear_that_the_store_fails(
    limiter: Limiter, database: CountingDatabase, clock: Clock
) -> None:
    assert await is_taken(limiter, rate(1))
    waiting = [wait_for_units(limiter, rate(1)) for _ in range(3)]
    await asyncio.sleep(0)
    await database.fail(True)
    clock.now += MINUTE
    for task in waiting:
        with pytest.raises(UnavailableError):
            await task
    await database.fail(False)
    assert await is_taken(limiter, rate(1))


async def test_what_cannot_be_given_back_is_not_given_twice(
    limiter: Limiter, database: CountingDatabase, caplog: pytest.LogCaptureFixture
) -> None:
    assert await is_taken(limiter, rate(1600))
    await database.fail(True)
    for _ in range(3):
        await limiter.give_back_idle()
    await database.fail(False)
    assert "leased units cannot be given back" in caplog.text
    assert await take_all(limiter, rate(1600)) == 1500


async def test_remaining_is_not_known_while_the_store_fails(
    limiter: Limiter, database: CountingDatabase
) -> None:
    await database.fail(True)
    with pytest.raises(UnavailableError):
        await limiter.remaining(rate(5))


async def test_no_other_failure_is_unlimited(limiter: Limiter, database: CountingDatabase) -> None:
    refusing = {
        "sqlite": "CREATE TRIGGER refuse BEFORE INSERT ON limit_state BEGIN SELECT RAISE(ABORT, 'no'); END",
        "postgresql": "ALTER TABLE limit_state ADD CONSTRAINT refuse CHECK (used < 0)",
    }
    await database.write(lambda connection: connection.exec_driver_sql(refusing[connection.dialect.name]))
    calls = [asyncio.create_task(limiter.take((rate(5),), 1, 0)) for _ in range(3)]
    for call in calls:
        with pytest.raises(sa.exc.IntegrityError):
            await call


async def test_closing_leaves_what_was_used(
    servers: Callable[[], Limiter], database: CountingDatabase
) -> None:
    limiter = servers()
    for _ in range(7):
        assert await is_taken(limiter, rate(1600), quota(3200), samples=30)
    waiting = wait_for_units(limiter, quota(3200), samples=3200)
    await asyncio.sleep(0)
    waiting.cancel()
    await asyncio.wait([waiting])
    await limiter.close()
    assert (await database.used(rate(1600)), await database.used(quota(3200))) == (7, 210)
