"""What is left after crashes and on failing disks, at every byte of a small log."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest

from spacelink_agent.spool import Spool, SpoolError, SpoolSettings
from spacelink_agent.spool.record import Kind, Record
from tests.agent.samples import append_rows, next_row, numbers
from tests.agent.spool.server import Cursor

if TYPE_CHECKING:
    from pathlib import Path

SETTINGS = SpoolSettings(batch_samples=2)
ROWS = 6


async def _small_log(directory: Path) -> tuple[str, bytes]:
    """Make a spool with batches, an ack and open samples; give its stream_id and its log."""
    spool = Spool(directory, SETTINGS)
    await append_rows(spool, 0, 3)
    cursor = Cursor()
    await cursor.open(spool.source)
    assert await spool.source.wait_after(0)
    cursor.take(spool.source)
    await append_rows(spool, 3, ROWS - 3)
    stream_id = spool.source.stream_id
    spool.close()
    (log,) = (directory / "log").iterdir()
    return stream_id, log.read_bytes()


def _copy(directory: Path, target: Path, log: bytes) -> Path:
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(directory, target)
    next((target / "log").iterdir()).write_bytes(log)
    return target


async def _deliver(directory: Path, known: int = 0) -> tuple[str, int, list[int]]:
    """Open a spool, go on collecting, deliver all; give the stream_id, the first new row and all rows."""
    spool = Spool(directory, SETTINGS)
    try:
        cursor = Cursor()
        cursor.committed[spool.source.stream_id] = known
        resumed = next_row(spool)
        await append_rows(spool, resumed, ROWS - resumed)
        spool.finish()
        return spool.source.stream_id, resumed, numbers(await cursor.take_all(spool.source))
    finally:
        spool.close()


async def test_log_cut_at_every_byte_goes_on_without_loss(memory_path: Path) -> None:
    stream_id, log = await _small_log(memory_path / "whole")
    for length in range(len(log)):
        directory = _copy(memory_path / "whole", memory_path / "cut", log[:length])
        found_id, resumed, delivered = await _deliver(directory)
        # A record that was not finished is no reason to forget the stream.
        assert found_id == stream_id
        # The collector goes on with the first row that is not in the spool, so
        # nothing is missing but what was delivered, and nothing is there twice.
        assert delivered == list(range(delivered[0], ROWS)), length
        assert delivered[0] in ({0} if resumed < 3 else {0, 2}), length


async def test_log_with_a_flipped_bit_never_reuses_numbers(memory_path: Path) -> None:
    stream_id, log = await _small_log(memory_path / "whole")
    # Every bit of a record is flipped in the record's own test.
    for offset in range(0, len(log), 7):
        flipped = bytearray(log)
        flipped[offset] ^= 1 << offset % 8
        directory = _copy(memory_path / "whole", memory_path / "flipped", bytes(flipped))
        found_id, _, delivered = await _deliver(directory)
        # The server may have batches that are lost here; under the old name new
        # ones with their numbers would pass for repeats.
        assert found_id != stream_id, offset
        assert delivered == list(range(delivered[0], ROWS)), offset


async def test_damage_in_an_older_file_drops_only_what_it_hides(tmp_path: Path) -> None:
    settings = SpoolSettings(batch_samples=4, max_bytes=4096)
    spool = Spool(tmp_path, settings)
    await append_rows(spool, 0, 24)
    stream_id = spool.source.stream_id
    spool.close()
    first, *others = sorted((tmp_path / "log").iterdir())
    assert others
    data = bytearray(first.read_bytes())
    data[-20] ^= 1
    first.write_bytes(data)

    spool = Spool(tmp_path, settings)
    assert spool.source.stream_id == stream_id
    spool.finish()
    cursor = Cursor()
    delivered = numbers(await cursor.take_all(spool.source))
    spool.close()
    assert len(cursor.dropped) == 1
    missing = sorted(set(range(24)) - set(delivered))
    assert missing
    assert missing == list(range(missing[0], missing[0] + len(missing)))
    assert delivered == [number for number in range(24) if number not in missing]


async def test_missing_oldest_file_is_reported_as_dropped(tmp_path: Path) -> None:
    settings = SpoolSettings(batch_samples=4, max_bytes=4096)
    spool = Spool(tmp_path, settings)
    await append_rows(spool, 0, 24)
    spool.close()
    min((tmp_path / "log").iterdir()).unlink()
    spool = Spool(tmp_path, settings)
    spool.finish()
    cursor = Cursor()
    delivered = numbers(await cursor.take_all(spool.source))
    spool.close()
    assert cursor.dropped[0].first_sequence == 1
    assert delivered == list(range(cursor.dropped[0].last_sequence * 4, 24))


async def test_empty_file_of_a_crash_during_rotation_is_removed(tmp_path: Path) -> None:
    stream_id, _ = await _small_log(tmp_path)
    (tmp_path / "log" / f"{2:020d}.log").write_bytes(b"\x01\x02")
    assert (await _deliver(tmp_path))[0] == stream_id
    assert [path.stem for path in (tmp_path / "log").iterdir()] == [f"{1:020d}"]


async def test_log_of_a_newer_agent_is_refused_clearly(tmp_path: Path) -> None:
    (tmp_path / "log").mkdir()
    newer = Record(Kind.CHECKPOINT, {"format": 2, "next": 1})
    (tmp_path / "log" / f"{1:020d}.log").write_bytes(newer.encode())
    with pytest.raises(SpoolError, match="format 2"):
        Spool(tmp_path, SETTINGS)


_WRITER = """
import asyncio, sys
from pathlib import Path
from spacelink_agent.spool import Spool, SpoolSettings
from tests.agent.samples import append_rows, next_row, rows

async def main():
    spool = Spool(Path(sys.argv[1]), SpoolSettings(batch_samples=7, max_bytes=1 << 20))
    print("open", flush=True)
    while True:
        first = next_row(spool)
        if first % 3:
            await append_rows(spool, first, 1)
        else:
            await spool.append(rows(first, 10), "rows:dish", first + 9)

asyncio.run(main())
"""


async def test_killed_writer_leaves_every_row_once(tmp_path: Path) -> None:
    directory = tmp_path / "spool"
    for kill in range(3):
        writer = subprocess.Popen(
            [sys.executable, "-c", _WRITER, str(directory)], stdout=subprocess.PIPE, text=True
        )
        assert writer.stdout is not None
        assert writer.stdout.readline() == "open\n"
        time.sleep(0.02 * kill)
        writer.send_signal(signal.SIGKILL)
        writer.wait()
        writer.stdout.close()
    spool = Spool(directory, SpoolSettings(batch_samples=7))
    expected = next_row(spool)
    assert expected > 0
    spool.finish()
    delivered = numbers(await Cursor().take_all(spool.source))
    spool.close()
    assert delivered == list(range(expected))
