"""Tables on a Citus cluster: a real one where there is one, and what is asked of it anywhere."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import psycopg
import pytest

from spacelink_server.storage import audit, limits
from spacelink_server.storage.audit import Event
from spacelink_server.storage.limits import Lease, LeaseRequest
from spacelink_server.storage.opening import upgrade_store
from spacelink_server.storage.postgres import PostgresStore
from spacelink_server.storage.schema import REFERENCE, metadata
from spacelink_server.storage.store import CommitGroup, StreamAdvance, StreamKey, Submission, Submitted
from tests.server.samples import T0
from tests.server.storage.test_store import plain, stored

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.postgres import Cluster

DSN = os.environ.get("SPACELINK_TEST_CITUS_DSN", "")

# Notes what it is asked for, as the extension does; it distributes nothing.
_STAND_IN = """
    SET allow_system_table_mods = on;
    INSERT INTO pg_extension (oid, extname, extowner, extnamespace, extrelocatable, extversion)
        VALUES (99999, 'citus', 10, 11, false, '13.0');
    CREATE TABLE pg_dist_partition (logicalrelid regclass, partkey text);
    CREATE FUNCTION create_distributed_table(name regclass, key text) RETURNS void
        LANGUAGE sql AS 'INSERT INTO public.pg_dist_partition VALUES ($1, $2)';
    CREATE FUNCTION create_reference_table(name regclass) RETURNS void
        LANGUAGE sql AS 'INSERT INTO public.pg_dist_partition VALUES ($1, NULL)';
"""


@pytest.fixture
def stand_in(cluster: Cluster) -> Iterator[str]:
    """Give an empty database that looks as if it had the extension."""
    url = cluster.create_database(empty=True)
    with psycopg.connect(url) as connection:
        connection.execute(_STAND_IN)
    yield url
    cluster.drop_database(url)


def test_every_table_is_distributed_once(stand_in: str, tmp_path: Path) -> None:
    for _ in range(2):
        upgrade_store(tmp_path, stand_in)
        with psycopg.connect(stand_in) as connection:
            found = connection.execute("SELECT logicalrelid::text, partkey FROM pg_dist_partition").fetchall()
        assert sorted(found) == sorted(
            (table.name, None if REFERENCE in table.info else "tenant_id") for table in metadata.sorted_tables
        )


def test_tables_that_came_later_are_distributed_by_the_next_upgrade(stand_in: str, tmp_path: Path) -> None:
    upgrade_store(tmp_path, stand_in)
    with psycopg.connect(stand_in) as connection:
        connection.execute("DELETE FROM pg_dist_partition WHERE logicalrelid = 'devices'::regclass")
    upgrade_store(tmp_path, stand_in)
    with psycopg.connect(stand_in) as connection:
        found = connection.execute("SELECT count(*) FROM pg_dist_partition").fetchone()
    assert found == (len(metadata.sorted_tables),)


def test_a_server_that_creates_the_tables_distributes_them(stand_in: str) -> None:
    store = PostgresStore(stand_in)
    assert store._distributed
    store.close()


@pytest.mark.skipif(not DSN, reason="SPACELINK_TEST_CITUS_DSN names no database of a Citus cluster")
def test_a_real_cluster(tmp_path: Path) -> None:
    """In a database with the extension and without tables; they are dropped at the end."""
    upgrade_store(tmp_path, DSN)
    store = PostgresStore(DSN)
    try:
        assert store._distributed
        keys = [StreamKey(tenant_id, "s") for tenant_id in ("a", "b", "a")]
        assert [position.epoch for position in store.commit(CommitGroup(opens=keys)).positions] == [1, 1, 2]
        advances = [
            StreamAdvance("a", "s", 2, 0, 1, [plain(T0)]),
            StreamAdvance("b", "s", 1, 0, 1, [plain(T0 + 1)]),
            StreamAdvance("b", "s", 7, 0, 1, [plain(T0 + 2)]),
        ]
        submissions = [Submission("a", "r", [plain(T0 + 3)]), Submission("a", "r", [plain(T0 + 4)])]
        result = store.commit(CommitGroup(advances, submissions))
        assert (result.advanced, result.submitted) == (
            [True, True, False],
            [Submitted.STORED, Submitted.REPEATED],
        )
        assert stored(store, tenant_id="a") == [plain(T0), plain(T0 + 3)]
        assert store.device_ids("b") == ["d"]
        request = LeaseRequest("a", b"x", 60, 60, 10, 1, 6)
        leases = [store.transact(lambda c: limits.lease(c, [request]), alone=False) for _ in range(2)]
        assert leases == [[Lease(6, 4)], [Lease(4, 0)]]
        store.transact(lambda connection: audit.append(connection, "a", Event("system", "test", "x")))
        assert store.tail is not None
        assert len(store.tail.arrivals("a", (), 0)) == 2
    finally:
        store.close()
        with psycopg.connect(DSN) as connection:
            for table in (*metadata.tables, "alembic_version"):
                connection.execute(f"DROP TABLE IF EXISTS {table}")
