from __future__ import annotations

import asyncio
import csv
import errno
import os
import resource
import subprocess
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np
import pytest

from spacelink.columns import TelemetryColumns
from spacelink_agent.bad_rows import BadRow
from spacelink_agent.spool import FullPolicy, Spool, SpoolError, SpoolSettings
from tests.agent.samples import START, append_rows, next_row, numbers, rows
from tests.agent.spool.server import Cursor

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.agent.spool.conftest import OpenSpool

# Some forty rows.
SMALL = 8192


async def _batches(spool: Spool) -> list[list[int]]:
    """Deliver all that is cut; give the numbers of each batch."""
    cursor = Cursor()
    await cursor.open(spool.source)
    if spool.pending_batches:
        assert await spool.source.wait_after(0)
    return [numbers([data]) for data in cursor.take(spool.source)]


async def test_batches_are_cut_by_count(open_spool: OpenSpool) -> None:
    spool = open_spool()
    await append_rows(spool, 0, 10)
    assert await _batches(spool) == [[0, 1, 2, 3], [4, 5, 6, 7]]


async def test_batches_are_cut_by_age(open_spool: OpenSpool) -> None:
    spool = open_spool(batch_age=0.1)
    await append_rows(spool, 0, 3)
    assert spool.pending_batches == 0
    cutting = asyncio.ensure_future(spool.cut_by_age())
    assert await spool.source.wait_after(0)
    cutting.cancel()
    assert await _batches(spool) == [[0, 1, 2]]


async def test_each_device_has_batches_of_its_own(open_spool: OpenSpool) -> None:
    spool = open_spool()
    for number in range(5):
        await append_rows(spool, number, 1, "a")
        await append_rows(spool, 10 + number, 1, "b")
    assert await _batches(spool) == [[0, 1, 2, 3], [10, 11, 12, 13]]


async def test_large_chunk_is_a_batch_at_once(open_spool: OpenSpool) -> None:
    spool = open_spool()
    await spool.append(rows(0, 9), "rows:dish", 8)
    size = spool.size
    assert await _batches(spool) == [list(range(9))]
    # Written once: a sample of this batch takes 13 bytes.
    assert size < 9 * 13 * 2 + 300


async def test_chunk_behind_open_samples_keeps_the_order(open_spool: OpenSpool) -> None:
    spool = open_spool()
    await append_rows(spool, 0, 1)
    await spool.append(rows(1, 9), "rows:dish", 9)
    assert await _batches(spool) == [list(range(10))]


async def test_columns_that_come_and_go_are_kept(open_spool: OpenSpool) -> None:
    spool = open_spool(batch_samples=2)
    await spool.append(rows(0))
    await spool.append(TelemetryColumns.from_arrays("dish", rows(1).time_unix_nano, power_w=[50.0]))
    cursor = Cursor()
    await cursor.open(spool.source)
    assert await spool.source.wait_after(0)
    batch = TelemetryColumns.decode(cursor.take(spool.source)[0])
    assert str(batch.metrics["latency_ms"].tolist()) == "[0.0, nan]"
    assert str(batch.metrics["power_w"].tolist()) == "[nan, 50.0]"


async def test_restart_goes_on_with_open_samples_and_positions(open_spool: OpenSpool) -> None:
    await append_rows(open_spool(), 0, 6)
    spool = open_spool()
    assert next_row(spool) == 6
    await append_rows(spool, 6, 3)
    assert await _batches(spool) == [[0, 1, 2, 3], [4, 5, 6, 7]]


async def test_position_outlives_the_files_it_was_written_in(open_spool: OpenSpool) -> None:
    spool = open_spool(max_bytes=SMALL)
    await append_rows(spool, 0, 5, "early")
    cursor = Cursor()
    await cursor.open(spool.source)
    for first in range(0, 200, 10):
        await append_rows(spool, first, 10)
        assert await spool.source.wait_after(cursor.of(spool.source))
        cursor.take(spool.source)
    spool = open_spool(max_bytes=SMALL)
    assert (next_row(spool, "early"), next_row(spool)) == (5, 200)
    # Files whose batches are acked are gone.
    assert spool.size < SMALL / 2


async def test_unknown_source_has_no_position(open_spool: OpenSpool) -> None:
    assert open_spool().position("replay:none") is None


async def test_drop_oldest_keeps_the_newest_and_tells_the_server(open_spool: OpenSpool) -> None:
    spool = open_spool(max_bytes=SMALL)
    await append_rows(spool, 0, 400)
    assert spool.size <= SMALL
    dropped = spool.counters.dropped_samples
    assert dropped > 0
    spool.finish()
    cursor = Cursor()
    assert numbers(await cursor.take_all(spool.source)) == list(range(dropped, 400))
    assert cursor.dropped == [(1, dropped // 4, dropped)]
    assert spool.counters.acked_samples == 400 - dropped


async def test_dropped_batches_are_remembered_by_a_restart(open_spool: OpenSpool) -> None:
    spool = open_spool(max_bytes=SMALL)
    await append_rows(spool, 0, 400)
    dropped = spool.counters.dropped_samples
    spool = open_spool(max_bytes=SMALL)
    spool.finish()
    cursor = Cursor()
    assert numbers(await cursor.take_all(spool.source)) == list(range(dropped, 400))
    assert cursor.dropped == [(1, dropped // 4, dropped)]


async def test_dropped_batches_that_were_on_their_way_count_as_what_became_of_them(
    open_spool: OpenSpool,
) -> None:
    spool = open_spool(max_bytes=SMALL)
    cursor = Cursor()
    await cursor.open(spool.source)
    await append_rows(spool, 0, 12)
    assert await spool.source.wait_after(0)
    received = numbers(cursor.receive(spool.source))
    assert received == list(range(12))
    await append_rows(spool, 12, 400)
    # The server commits what it received; only what was dropped later is lost.
    spool.source.acked(3, ())
    spool.finish()
    received += numbers(await cursor.take_all(spool.source))
    assert [dropped.first_sequence for dropped in cursor.dropped] == [4]
    lost = cursor.dropped[0].sample_count
    assert spool.counters.dropped_samples == lost
    assert spool.counters.acked_samples == 412 - lost
    assert received == [*range(12), *range(12 + lost, 412)]


async def test_drop_newest_keeps_the_oldest_and_tells_the_server(open_spool: OpenSpool) -> None:
    spool = open_spool(max_bytes=SMALL, when_full=FullPolicy.DROP_NEWEST)
    await append_rows(spool, 0, 400)
    assert spool.size <= SMALL
    dropped = spool.counters.dropped_samples
    assert dropped > 0
    spool.finish()
    cursor = Cursor()
    assert numbers(await cursor.take_all(spool.source)) == list(range(400 - dropped))
    assert sum(each.sample_count for each in cursor.dropped) == dropped


async def test_block_waits_until_acks_make_room(open_spool: OpenSpool) -> None:
    spool = open_spool(max_bytes=SMALL, when_full=FullPolicy.BLOCK, batch_age=0.1)
    collecting = asyncio.ensure_future(append_rows(spool, 0, 400))
    cutting = asyncio.ensure_future(spool.cut_by_age())
    cursor = Cursor()
    await cursor.open(spool.source)
    received: list[int] = []
    while len(received) < 400:
        assert await spool.source.wait_after(cursor.of(spool.source))
        assert spool.size <= SMALL
        received += numbers(cursor.take(spool.source))
    await collecting
    cutting.cancel()
    assert received == list(range(400))
    assert spool.counters.dropped_samples == 0


@contextmanager
def _no_file_grows_above(size: int) -> Iterator[None]:
    """Let writes fail as they do on a full disk, with part of a write done."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


async def test_disk_that_takes_no_more_drops_and_recovers(open_spool: OpenSpool) -> None:
    spool = open_spool()
    await append_rows(spool, 0, 6)
    with _no_file_grows_above(spool.size + 50):
        await append_rows(spool, 6, 20)
    assert spool.counters.dropped_samples == 20
    await append_rows(spool, 26, 5)
    spool = open_spool()
    spool.finish()
    cursor = Cursor()
    assert numbers(await cursor.take_all(spool.source)) == [*range(6), *range(26, 31)]
    assert [each.sample_count for each in cursor.dropped] == [20]


async def test_disk_that_takes_no_more_stops_a_collector_that_can_wait(open_spool: OpenSpool) -> None:
    spool = open_spool(when_full=FullPolicy.BLOCK)
    await append_rows(spool, 0, 6)
    with _no_file_grows_above(spool.size + 50):
        collecting = asyncio.ensure_future(append_rows(spool, 6, 20))
        # It tries again after a second.
        await asyncio.wait({collecting}, timeout=0.05)
        assert not collecting.done()
    await asyncio.wait_for(collecting, 10)
    spool.finish()
    assert numbers(await Cursor().take_all(spool.source)) == list(range(26))
    assert spool.counters.dropped_samples == 0


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """Give a file system of its own with 128 KiB."""
    directory = tmp_path / "disk"
    directory.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=128k", "tmpfs", str(directory)]
    if os.geteuid() != 0 or subprocess.run(mount, check=False, capture_output=True).returncode != 0:
        pytest.skip("mounting a file system needs root")
    yield directory
    subprocess.run(["umount", str(directory)], check=True)


def _fill(path: Path) -> None:
    with path.open("wb", buffering=0) as file:
        while True:
            file.write(bytes(4096))


async def test_full_disk_loses_nothing_that_was_spooled(small_disk: Path) -> None:
    spool = Spool(small_disk / "spool", SpoolSettings(batch_samples=4))
    try:
        await append_rows(spool, 0, 10)
        with pytest.raises(OSError, match=os.strerror(errno.ENOSPC)):
            _fill(small_disk / "filler")
        # What is left of the last page is filled first.
        await append_rows(spool, 10, 100)
        kept = spool.counters.collected_samples
        assert spool.counters.dropped_samples == 110 - kept > 0

        (small_disk / "filler").unlink()
        await append_rows(spool, 110, 10)
        spool.finish()
        cursor = Cursor()
        delivered = numbers(await cursor.take_all(spool.source))
        assert delivered == [*range(kept), *range(110, 120)]
        assert sum(each.sample_count for each in cursor.dropped) == 110 - kept
    finally:
        spool.close()


async def test_spool_has_one_agent_at_a_time(tmp_path: Path) -> None:
    first = Spool(tmp_path, SpoolSettings())
    with pytest.raises(SpoolError, match=rf"in use by another agent \(process {os.getpid()}\)"):
        Spool(tmp_path, SpoolSettings())
    first.close()
    Spool(tmp_path, SpoolSettings()).close()


def test_spool_that_cannot_be_made_is_a_clear_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(SpoolError, match="Not a directory"):
        Spool(tmp_path / "file" / "spool", SpoolSettings())


async def test_samples_that_no_server_takes_are_set_aside_alone(
    open_spool: OpenSpool, caplog: pytest.LogCaptureFixture
) -> None:
    spool = open_spool()
    times = START + np.arange(4) * 1_000_000_000
    times[1] = 5
    samples = TelemetryColumns.from_arrays("dish", times, latency_ms=[0, 1, -2, 3], status="ACTIVE")
    await spool.append(samples)
    spool.finish()
    assert await _batches(spool) == [[0, 3]]
    assert (spool.counters.collected_samples, spool.counters.bad_rows) == (2, 2)
    assert (
        "set aside: dish: time: 1970-01-01T00:00:00.000000005Z is out of range; expected from 1990"
        in caplog.text
    )
    (entry,) = spool.rejected.entries()
    assert (entry.device_id, entry.samples, entry.reason) == ("dish", 2, "BAD_ROWS")
    cells = list(csv.DictReader(entry.path.read_text().splitlines()))
    assert [row["latency_ms"] for row in cells] == ["1.0", "-2.0"]
    assert cells[1]["problem"] == "latency_ms: -2 is out of range; expected finite values from 0"


async def test_position_after_bad_rows_alone_is_kept(open_spool: OpenSpool) -> None:
    spool = open_spool()
    await spool.append(rows(0), "day", 1)
    bad = [BadRow("dish", "day.csv:3", {"time": "then"}, "column time: expected RFC 3339")]
    await spool.append(rows(0, 0), "day", 2, bad)
    spool = open_spool()
    assert spool.position("day") == 2
    assert spool.rejected.count() == (0, 1)
    spool.finish()
    assert await _batches(spool) == [[0]]


async def test_few_of_many_bad_rows_are_logged(
    open_spool: OpenSpool, caplog: pytest.LogCaptureFixture
) -> None:
    spool = open_spool()
    bad = [BadRow("dish", f"day.csv:{line}", {"time": ""}, "no time") for line in range(2, 32)]
    for first in range(0, 30, 3):
        await spool.append(rows(0, 0), "day", first, bad[first : first + 3])
    assert caplog.text.count("set aside: ") == 10
    assert caplog.text.count("more rows are set aside; see ") == 1
    assert spool.rejected.count() == (0, 30)


async def test_what_is_put_back_is_delivered(open_spool: OpenSpool) -> None:
    spool = open_spool()
    await append_rows(spool, 0, 2)
    wrong = TelemetryColumns.from_arrays("dish", START + np.arange(3), latency_ms=[7, -1, 8])
    assert spool.put_back(rows(4, 2))
    assert spool.put_back(wrong)
    spool = open_spool()
    assert await _batches(spool) == [[0, 1], [4, 5], [7, 8]]
    assert spool.rejected.count() == (0, 1)


async def test_a_full_spool_takes_nothing_back(open_spool: OpenSpool) -> None:
    spool = open_spool(max_bytes=SMALL, when_full=FullPolicy.DROP_NEWEST)
    await append_rows(spool, 0, 100)
    assert spool.counters.dropped_samples > 0
    assert not spool.put_back(rows(200, 4))
