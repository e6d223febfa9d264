from __future__ import annotations

import asyncio
import contextlib
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest

from spacelink_server.access.bans import BanList
from spacelink_server.access.writes import Database
from spacelink_server.errors import UnavailableError
from spacelink_server.storage import bans
from spacelink_server.storage.bans import Ban
from spacelink_server.storage.sqlite import SqliteStore
from tests.server.waiting import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

DIGESTS = tuple(bytes((place,)) * 32 for place in range(6))
TOKEN_ID = "0" * 32


class Setting:
    """A ban list on a store, with a clock that tests set."""

    def __init__(self, store: SqliteStore, database: Database) -> None:
        self.store = store
        self.now = 0.0
        self.health: list[bool] = []
        self.list = BanList(database, self._note_health, lambda: self.now)

    async def _note_health(self, healthy: bool) -> None:
        self.health.append(healthy)

    def ban(self, tenant_id: str, ban_id: str = "b", **target: Any) -> None:
        """Ban as another server does."""
        digest, token_id = target.get("digest"), target.get("token_id")
        ban = Ban(tenant_id, ban_id, digest, token_id, None, "", "", 0)
        self.store.transact(lambda connection: bans.insert(connection, ban))

    def unban(self, tenant_id: str, ban_id: str = "b") -> None:
        self.store.transact(lambda connection: bans.delete(connection, tenant_id, ban_id))

    def is_banned(self, *tenants: str, digests: tuple[bytes, ...] = DIGESTS) -> bool:
        return self.list.is_banned(tenants, TOKEN_ID, digests)

    def fail(self, failing: bool) -> None:
        """Have reading fail from now on, or work again."""
        names = ["ban_version", "elsewhere"] if failing else ["elsewhere", "ban_version"]
        self.store.transact(
            lambda connection: connection.exec_driver_sql("ALTER TABLE {} RENAME TO {}".format(*names))
        )

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        task = asyncio.create_task(self.list.run())
        yield
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


@pytest.fixture
def setting(tmp_path: Path) -> Iterator[Setting]:
    store = SqliteStore(tmp_path)
    with ThreadPoolExecutor(1) as writer, ThreadPoolExecutor(2) as readers:
        yield Setting(store, Database(store, writer, readers))
    store.close()


@pytest.mark.parametrize("place", range(len(DIGESTS)))
async def test_a_ban_on_any_prefix_is_a_ban(setting: Setting, place: int) -> None:
    await setting.list.refresh()
    assert not setting.is_banned("*", "acme")
    setting.ban("acme", digest=DIGESTS[place])
    await setting.list.refresh()
    assert setting.is_banned("*", "acme")
    assert not setting.is_banned("*", "acme", digests=DIGESTS[:place])
    setting.unban("acme")
    await setting.list.refresh()
    assert not setting.is_banned("*", "acme")


async def test_bans_by_id(setting: Setting) -> None:
    setting.ban("acme", token_id=TOKEN_ID)
    await setting.list.refresh()
    assert setting.is_banned("*", "acme")
    assert not setting.is_banned("*", "globex")


async def test_bans_of_the_installation_are_for_all(setting: Setting) -> None:
    setting.ban("*", digest=DIGESTS[3])
    await setting.list.refresh()
    assert setting.is_banned("*", "acme")
    assert setting.is_banned("*")


async def test_listeners_hear_of_changes_only(setting: Setting) -> None:
    heard: list[int] = []
    setting.list.on_change(lambda: heard.append(setting.list.version))
    for _ in range(3):
        await setting.list.refresh()
    setting.ban("acme", token_id=TOKEN_ID)
    for _ in range(3):
        await setting.list.refresh()
    assert heard == [0, 1]


async def test_what_is_banned_is_counted(setting: Setting) -> None:
    await setting.list.refresh()
    assert setting.list.tokens == 0
    setting.ban("acme", "one", digest=DIGESTS[0])
    setting.ban("acme", "two", token_id=TOKEN_ID)
    setting.ban("*", "three", digest=DIGESTS[1])
    await setting.list.refresh()
    assert setting.list.tokens == 3
    setting.unban("acme", "two")
    await setting.list.refresh()
    assert setting.list.tokens == 2


async def test_bans_of_other_servers_are_found(setting: Setting) -> None:
    await setting.list.refresh()
    async with setting.running():
        setting.ban("acme", digest=DIGESTS[0])
        await until(lambda: setting.is_banned("acme"))
        setting.unban("acme")
        await until(lambda: not setting.is_banned("acme"))


async def test_bans_are_known_for_five_seconds(setting: Setting) -> None:
    known = [setting.list.known]
    await setting.list.refresh()
    for seconds in (0, 4.99, 0.01):
        setting.now += seconds
        known.append(setting.list.known)
    await setting.list.refresh()
    known.append(setting.list.known)
    assert known == [False, True, True, False, True]


async def test_a_server_that_cannot_read_bans_says_so(setting: Setting) -> None:
    await setting.list.refresh()
    setting.ban("acme", digest=DIGESTS[0])
    setting.fail(True)
    with pytest.raises(UnavailableError):
        await setting.list.refresh()
    async with setting.running():
        setting.now += 5
        await until(lambda: setting.health == [False])
        setting.fail(False)
        await until(lambda: setting.health == [False, True])
        assert setting.list.known
        assert setting.is_banned("acme")


async def test_polling_keeps_the_bans_known(setting: Setting) -> None:
    await setting.list.refresh()
    async with setting.running():
        for _ in range(3):
            setting.now += 4
            await until(lambda: setting.list._known_until == setting.now + 5)
    assert setting.health == []


async def test_a_reading_that_hangs_is_no_reading(setting: Setting) -> None:
    await setting.list.refresh()
    release = asyncio.Event()

    class Hanging:
        async def read(self, work: object) -> None:
            await release.wait()

    setting.list._database = Hanging()  # type: ignore[assignment]
    async with setting.running():
        setting.now += 5
        await until(lambda: setting.health == [False])


async def test_what_mints_knows_of_all_bans(setting: Setting) -> None:
    await setting.list.refresh()
    setting.store.read(setting.list.require_current)
    setting.ban("acme", digest=DIGESTS[0])
    with pytest.raises(UnavailableError) as caught:
        setting.store.read(setting.list.require_current)
    assert caught.value.reason == "BANS_CHANGED"
    await setting.list.refresh()
    setting.store.read(setting.list.require_current)
