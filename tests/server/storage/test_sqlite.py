from __future__ import annotations

import resource
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from spacelink_server.storage import reading, segment_pages
from spacelink_server.storage.sqlite import DataDirectoryInUseError, SqliteStore
from spacelink_server.storage.store import CommitGroup, StoreUnavailableError
from tests.server.samples import T0, segment
from tests.server.storage.test_store import FOREVER, TENANT, advance, open_stream, plain, stored, submit

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SqliteStore]:
    store = SqliteStore(tmp_path)
    yield store
    store.close()


def test_a_file_that_cannot_grow(store: SqliteStore) -> None:
    """The limit on file sizes is a full disk that needs no disk of its own."""
    open_stream(store)
    store.commit(CommitGroup([advance(1, plain(T0))]))
    large = [plain(T0 + n, payload=bytes(1024 * 1024)) for n in range(1, 6)]
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2 * 1024 * 1024, hard))
    try:
        for _ in range(2):
            with pytest.raises(StoreUnavailableError):
                store.commit(CommitGroup([advance(2, *large)]))
        with pytest.raises(StoreUnavailableError, match="4194304 bytes"):
            store.probe(4 * 1024 * 1024)
        assert stored(store) == [plain(T0)]
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    store.probe(4 * 1024 * 1024)
    assert store.commit(CommitGroup([advance(2, *large)])).advanced == [True]
    assert len(stored(store)) == 6


def test_commits_are_durable_by_configuration(store: SqliteStore) -> None:
    """An ack stands on these two."""
    with store._engine.connect() as connection:
        assert connection.exec_driver_sql("PRAGMA journal_mode").scalar() == "wal"
        assert connection.exec_driver_sql("PRAGMA synchronous").scalar() == 2  # FULL


_COMMIT_FOR_EVER = """
import sys
from pathlib import Path
from spacelink_server.storage.segments import Segment
from spacelink_server.storage.sqlite import SqliteStore
from spacelink_server.storage.store import CommitGroup, StreamAdvance, StreamKey

store = SqliteStore(Path(sys.argv[1]))
(position,) = store.commit(CommitGroup(opens=[StreamKey("t", "s")])).positions
sequence = position.committed_sequence
while True:
    segment = Segment("d", sequence, sequence, 1, bytes(20_000))
    advance = StreamAdvance("t", "s", position.epoch, sequence, sequence + 1, [segment])
    assert store.commit(CommitGroup([advance])).advanced == [True]
    sequence += 1
    print(sequence, flush=True)
"""


def test_what_was_committed_outlives_a_kill(tmp_path: Path) -> None:
    writer = [sys.executable, "-c", _COMMIT_FOR_EVER, str(tmp_path)]
    with subprocess.Popen(writer, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        said = [int(process.stdout.readline()) for _ in range(10)]
        process.kill()
        said += [int(line) for line in process.stdout if line.endswith("\n")]
    store = SqliteStore(tmp_path)
    try:
        position = open_stream(store)
        # The one commit after the last line may have been done, too.
        assert position.committed_sequence - said[-1] in (0, 1)
        assert [s.first_time for s in stored(store)] == list(range(position.committed_sequence))
        following = advance(position.committed_sequence + 1, epoch=position.epoch)
        assert store.commit(CommitGroup([following])).advanced == [True]
    finally:
        store.close()


def test_one_store_at_a_time(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path)
    with pytest.raises(DataDirectoryInUseError, match=str(tmp_path)):
        SqliteStore(tmp_path)
    submit(store, plain(T0))
    store.close()
    again = SqliteStore(tmp_path)
    assert stored(again) == [plain(T0)]
    again.close()


def test_the_directory_is_made(tmp_path: Path) -> None:
    SqliteStore(tmp_path / "a" / "b").close()
    assert (tmp_path / "a" / "b" / "spacelink.db").exists()


def test_a_directory_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for path in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(StoreUnavailableError):
            SqliteStore(path)


def test_a_file_that_is_no_database(tmp_path: Path) -> None:
    (tmp_path / "spacelink.db").write_bytes(b"no database" * 1000)
    for _ in range(2):
        with pytest.raises(StoreUnavailableError, match="not a database"):
            SqliteStore(tmp_path)


def test_probe_leaves_nothing(store: SqliteStore, tmp_path: Path) -> None:
    before = {path.name for path in tmp_path.iterdir()}
    for size in (0, 1, 100_000):
        store.probe(size)
    assert {path.name for path in tmp_path.iterdir()} == before
    assert store.device_ids("") == store.device_ids(TENANT) == []


def test_probe_of_a_directory_that_is_gone(tmp_path: Path) -> None:
    directory = tmp_path / "data"
    store = SqliteStore(directory)
    directory.rename(tmp_path / "moved")
    try:
        with pytest.raises(StoreUnavailableError):
            store.probe(1)
        # Something else stands in its place.
        directory.touch()
        with pytest.raises(StoreUnavailableError):
            store.probe(1)
    finally:
        store.close()


def test_a_reader_that_pauses_does_not_hold_the_log(
    store: SqliteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(segment_pages, "_PAGE_ROWS", 1)
    submit(store, *(segment("d", n) for n in range(20)))
    parts = reading.read(store, TENANT, "d", 0, FOREVER)
    next(parts)
    submit(store, segment("d", 20))
    with store._engine.connect() as connection:
        busy, *_ = connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)").one()
    assert not busy
    assert len(list(parts)) == 20


def test_finding_forgotten_limits_reads_no_others(store: SqliteStore) -> None:
    plan = store.read(
        lambda connection: connection.exec_driver_sql(
            "EXPLAIN QUERY PLAN SELECT limit_digest, window_start_unix FROM limit_state"
            " WHERE tenant_id = 'acme' AND window_start_unix < 1"
        ).all()
    )
    assert "limit_state_by_window (tenant_id=? AND window_start_unix<?)" in str(plan)
