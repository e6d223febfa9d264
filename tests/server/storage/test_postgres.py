"""What only PostgreSQL has: many writers, restarts, defaults of the database."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import psycopg
import pytest
import sqlalchemy as sa

from spacelink_server.storage.postgres import PostgresStore
from spacelink_server.storage.store import (
    CommitGroup,
    StoreUnavailableError,
    StreamAdvance,
    StreamKey,
    Submission,
    Submitted,
)
from tests.postgres import running_cluster
from tests.server.samples import T0
from tests.server.storage.test_store import TENANT, advance, open_stream, plain, stored, submit

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.postgres import Cluster


@pytest.fixture
def servers(database: str) -> Iterator[Callable[[], PostgresStore]]:
    """Give a maker of stores over one database: each is what a server has."""
    made: list[PostgresStore] = []

    def make() -> PostgresStore:
        made.append(PostgresStore(database))
        return made[-1]

    yield make
    for store in made:
        store.close()


@pytest.fixture
def store(servers: Callable[[], PostgresStore]) -> PostgresStore:
    return servers()


# Several servers


def test_a_stream_that_moved_is_fenced_at_its_old_server(servers: Callable[[], PostgresStore]) -> None:
    old, new = servers(), servers()
    open_stream(old)
    open_stream(old, "stays")
    assert open_stream(new).epoch == 2
    group = CommitGroup([advance(1, plain(T0)), advance(1, plain(T0 + 1), stream_id="stays")])
    assert old.commit(group).advanced == [False, True]
    assert new.commit(CommitGroup([advance(1, plain(T0 + 2), epoch=2)])).advanced == [True]
    assert stored(old) == stored(new) == [plain(T0 + 1), plain(T0 + 2)]


def test_servers_that_fight_for_streams_store_each_sequence_once(
    servers: Callable[[], PostgresStore],
) -> None:
    """They name the same streams in opposite orders, and none waits for ever."""
    names = [f"s{n}" for n in range(6)]
    rounds = 25

    def fight(number: int) -> int:
        store = servers()
        mine = names if number % 2 else names[::-1]
        written = 0
        for _ in range(rounds):
            keys = [StreamKey(TENANT, name) for name in mine]
            opened = store.commit(CommitGroup(opens=keys)).positions
            advances = []
            for key, (epoch, committed, _) in zip(keys, opened, strict=True):
                segment = plain(T0 + committed, device_id=key.stream_id)
                advances.append(StreamAdvance(*key, epoch, committed, committed + 1, [segment]))
            written += sum(store.commit(CommitGroup(advances)).advanced)
        return written

    with ThreadPoolExecutor(4) as threads:
        written = sum(threads.map(fight, range(4)))
    judge = servers()
    found = {name: [s.first_time - T0 for s in stored(judge, name)] for name in names}
    assert sum(map(len, found.values())) == written > 0
    for name, times in found.items():
        assert times == list(range(open_stream(judge, name).committed_sequence))


def test_a_request_id_is_taken_on_one_server(servers: Callable[[], PostgresStore]) -> None:
    stores = [servers() for _ in range(3)]
    start = threading.Barrier(3)

    def send(store: PostgresStore) -> int:
        taken = 0
        for number in range(20):
            start.wait()
            taken += submit(store, plain(T0 + number), request_id=f"r{number}") is Submitted.STORED
        return taken

    with ThreadPoolExecutor(3) as threads:
        assert sum(threads.map(send, stores)) == 20
    assert stored(stores[0]) == [plain(T0 + number) for number in range(20)]


def test_a_group_that_is_undone_for_another_is_written_again(
    servers: Callable[[], PostgresStore], database: str
) -> None:
    """The database ends one of two transactions that wait for each other."""
    store = servers()
    open_stream(store)
    with psycopg.connect(database) as other, ThreadPoolExecutor(1) as thread:
        other.execute("INSERT INTO devices VALUES ('t', 'd', 0)")
        group = CommitGroup([advance(1, plain(T0))])
        committing = thread.submit(store.commit, group)
        # It holds the cursor now and waits for the device. This one then waits
        # for the cursor; it is the one of the two that finds the circle later.
        other.execute("SET deadlock_timeout = '1min'")
        while not other.execute("SELECT count(*) FROM pg_locks WHERE NOT granted").fetchone() > (0,):  # type: ignore[operator]
            pass
        other.execute("UPDATE stream_cursors SET update_time_unix_nano = 7")
        other.commit()
        assert committing.result().advanced == [True]
    assert stored(store) == [plain(T0)]


def test_where_tables_are_distributed_each_tenant_has_its_transaction(
    store: PostgresStore, database: str
) -> None:
    store._distributed = True
    names = ("b", "a", "b")
    keys = [StreamKey(tenant_id, f"s{n}") for n, tenant_id in enumerate(names)]
    positions = store.commit(CommitGroup(opens=keys)).positions
    assert [position.epoch for position in positions] == [1, 1, 1]
    advances = [StreamAdvance(*key, 1 + (n == 1), 0, 1, [plain(T0 + n)]) for n, key in enumerate(keys)]
    submissions = [Submission(tenant_id, "r", [plain(T0 + 10)]) for tenant_id in ("a", "b", "a")]
    result = store.commit(CommitGroup(advances, submissions, keys[:1]))
    assert result.advanced == [True, False, True]
    assert result.submitted == [Submitted.STORED, Submitted.STORED, Submitted.REPEATED]
    assert [position.committed_sequence for position in result.positions] == [1]
    with psycopg.connect(database) as connection:
        query = "SELECT tenant_id, count(*), count(DISTINCT xmin::text) FROM telemetry_segments GROUP BY 1"
        assert set(connection.execute(query)) == {("a", 1, 1), ("b", 3, 1)}
        shared = "SELECT count(DISTINCT xmin::text) FROM telemetry_segments"
        assert connection.execute(shared).fetchone() == (2,)


# The database


def test_acks_are_durable_whatever_the_default(database: str) -> None:
    name = sa.make_url(database).database
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute(f"ALTER DATABASE {name} SET synchronous_commit = off")
        connection.execute(f"ALTER DATABASE {name} SET default_transaction_isolation = serializable")
    store = PostgresStore(database)
    try:
        settings = "SELECT current_setting('synchronous_commit'), current_setting('transaction_isolation')"
        connection = store._write_connection()
        assert connection.execute(settings).fetchone() == ("on", "read committed")
        connection.rollback()
    finally:
        store.close()


@pytest.mark.parametrize("url", ["mysql://h/d", "postgresql+psycopg://h/d", "nonsense", "host=h"])
def test_a_url_that_is_none(url: str) -> None:
    with pytest.raises(ValueError, match="expected a URL such as postgresql://"):
        PostgresStore(url)


def test_a_database_that_is_not_there(cluster: Cluster) -> None:
    with pytest.raises(StoreUnavailableError, match="does not exist"):
        PostgresStore(cluster.url("nowhere"))


def test_a_password_is_not_told(cluster: Cluster) -> None:
    url = cluster.url("nowhere").replace("spacelink@", "spacelink:sesame@")
    with pytest.raises(StoreUnavailableError) as caught:
        PostgresStore(url)
    assert "sesame" not in str(caught.value)


def test_probe_leaves_nothing(store: PostgresStore) -> None:
    for size in (0, 1, 100_000):
        store.probe(size)
    assert stored(store, "probe", tenant_id="") == []
    assert store.device_ids("") == []


# Restarts, on a server of the tests' own


@pytest.fixture(scope="module")
def own_cluster() -> Iterator[Cluster]:
    """Give a server that may be restarted."""
    with running_cluster() as cluster:
        yield cluster


def test_idle_connections_outlive_a_restart(own_cluster: Cluster) -> None:
    store = PostgresStore(own_cluster.create_database())
    try:
        open_stream(store)
        assert submit(store, plain(T0)) is Submitted.STORED
        own_cluster.restart()
        assert stored(store) == [plain(T0)]
        own_cluster.restart()
        assert store.commit(CommitGroup([advance(1, plain(T0 + 1))])).advanced == [True]
        own_cluster.restart()
        assert store.transact(lambda connection: connection.exec_driver_sql("SELECT 1").scalar()) == 1
    finally:
        store.close()


def test_a_database_that_is_down_is_used_again_when_it_is_back(own_cluster: Cluster) -> None:
    store = PostgresStore(own_cluster.create_database())
    try:
        open_stream(store)
        own_cluster.kill()
        for _ in range(2):
            with pytest.raises(StoreUnavailableError):
                store.commit(CommitGroup([advance(1, plain(T0))]))
            with pytest.raises(StoreUnavailableError):
                store.probe(1)
            with pytest.raises(StoreUnavailableError):
                store.device_ids(TENANT)
        own_cluster.start()
        store.probe(1000)
        assert store.commit(CommitGroup([advance(1, plain(T0))])).advanced == [True]
        assert stored(store) == [plain(T0)]
    finally:
        store.close()


def test_what_was_committed_outlives_kills_of_the_database(own_cluster: Cluster) -> None:
    """Under a writer that goes on: what was said to be written is there, and each sequence once."""
    url = own_cluster.create_database()
    said = []
    done = threading.Event()

    def write() -> None:
        store = PostgresStore(url)
        while not done.is_set():
            try:
                epoch, committed, _ = open_stream(store)
                while not done.is_set():
                    segment = plain(T0 + committed, payload=bytes(5_000))
                    group = CommitGroup([advance(committed + 1, segment, epoch=epoch)])
                    assert store.commit(group).advanced == [True]
                    committed += 1
                    said.append(committed)
            except StoreUnavailableError:
                done.wait(0.02)
        store.close()

    with ThreadPoolExecutor(1) as thread:
        writing = thread.submit(write)
        for _ in range(3):
            wanted = len(said) + 20
            while len(said) < wanted:
                assert not writing.done(), writing.result()
            own_cluster.kill()
            own_cluster.start()
        done.set()
        writing.result()
    store = PostgresStore(url)
    try:
        committed = open_stream(store).committed_sequence
        assert committed >= said[-1]
        assert [s.first_time - T0 for s in stored(store)] == list(range(committed))
    finally:
        store.close()
