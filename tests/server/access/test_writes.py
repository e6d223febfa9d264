from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from spacelink.v1.session_pb2 import ROLE_ADMIN
from spacelink_server.access.writes import Database
from spacelink_server.errors import UnavailableError
from spacelink_server.storage import accounts
from spacelink_server.storage.accounts import User
from spacelink_server.storage.sqlite import SqliteStore
from spacelink_server.storage.store import StoreUnavailableError
from tests.server.waiting import WAIT_SECONDS, until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from spacelink_server.storage.transactions import Connection


@pytest.fixture
def database(store: SqliteStore) -> Iterator[Database]:
    with ThreadPoolExecutor(1) as writer, ThreadPoolExecutor(2) as readers:
        yield Database(store, writer, readers)


def add(connection: Connection, name: str) -> str:
    accounts.insert(connection, User("acme", name, ROLE_ADMIN, "", False, 0))
    return name


async def names(database: Database) -> list[str]:
    rows = await database.read(lambda connection: accounts.page(connection, "acme", "", 100))
    return [row.user_name for row in rows]


async def test_what_is_written_can_be_read(database: Database) -> None:
    assert await database.write(lambda connection: add(connection, "a")) == "a"
    assert await names(database) == ["a"]


async def test_what_raises_changes_nothing(database: Database) -> None:
    followed: list[str] = []

    def work(connection: Connection) -> None:
        add(connection, "a")
        raise KeyError

    async def follow_up() -> None:
        followed.append("")

    with pytest.raises(KeyError):
        await database.write(work, follow_up)
    assert (await names(database), followed) == ([], [])


async def test_follow_ups_see_what_was_committed_before_the_caller_goes_on(database: Database) -> None:
    seen: list[object] = []

    async def first() -> None:
        seen.append(await names(database))

    async def second() -> None:
        seen.append("second")

    await database.write(lambda connection: add(connection, "a"), first, second)
    assert seen == [["a"], "second"]


async def test_follow_ups_run_though_the_caller_has_gone(database: Database) -> None:
    started, go_on = threading.Event(), threading.Event()
    followed: list[str] = []

    def work(connection: Connection) -> None:
        started.set()
        assert go_on.wait(WAIT_SECONDS)
        add(connection, "a")

    async def follow_up() -> None:
        followed.extend(await names(database))

    caller = asyncio.create_task(database.write(work, follow_up))
    await until(started.is_set)
    caller.cancel()
    with pytest.raises(asyncio.CancelledError):
        await caller
    go_on.set()
    await until(lambda: followed)
    assert followed == ["a"]


async def test_a_store_that_fails_is_an_answer(database: Database) -> None:
    def fail(connection: Connection) -> None:
        raise StoreUnavailableError("disk on fire at /dev/secret")

    for call in (database.write, database.read):
        with pytest.raises(UnavailableError) as caught:
            await call(fail)
        assert (caught.value.reason, caught.value.retry_seconds) == ("STORE_UNAVAILABLE", 1.0)
        assert "secret" not in caught.value.message
    await database.write(lambda connection: add(connection, "a"))
