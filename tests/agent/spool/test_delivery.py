from __future__ import annotations

import asyncio
import json
import logging
from typing import TYPE_CHECKING

import pytest

from spacelink.columns import TelemetryColumns
from spacelink.errors import PermissionDeniedError
from spacelink.uplink import Batch, Dropped
from spacelink.v1.telemetry_pb2 import IngestReady, RejectedBatch
from tests.agent.samples import append_rows, numbers
from tests.agent.spool.server import Cursor

if TYPE_CHECKING:
    from pathlib import Path

    from tests.agent.spool.conftest import OpenSpool


async def test_batch_is_given_only_when_it_is_durable(open_spool: OpenSpool) -> None:
    spool = open_spool()
    await append_rows(spool, 0, 4)
    assert spool.source.next_after(0) is None
    assert await spool.source.wait_after(0)
    assert isinstance(spool.source.next_after(0), Batch)


async def test_source_ends_when_it_is_finished_and_delivered(open_spool: OpenSpool) -> None:
    spool = open_spool()
    waiting = asyncio.ensure_future(spool.source.wait_after(0))
    await asyncio.sleep(0)
    assert not waiting.done()
    spool.finish()
    assert await waiting is False


async def test_stream_id_stays(open_spool: OpenSpool) -> None:
    assert open_spool().source.stream_id == open_spool().source.stream_id


async def test_restart_goes_on_after_the_servers_cursor(open_spool: OpenSpool) -> None:
    spool = open_spool()
    cursor = Cursor()
    await append_rows(spool, 0, 20)
    await cursor.open(spool.source)
    assert await spool.source.wait_after(0)
    cursor.receive(spool.source)
    cursor.committed[spool.source.stream_id] = 3

    spool = open_spool()
    assert spool.pending_batches == 5
    spool.finish()
    assert numbers(await cursor.take_all(spool.source)) == list(range(12, 20))
    assert spool.counters.acked_samples == 20


async def test_server_that_lost_batches_gets_those_that_are_there(
    open_spool: OpenSpool, caplog: pytest.LogCaptureFixture
) -> None:
    spool = open_spool()
    stream_id = spool.source.stream_id
    await append_rows(spool, 0, 20)
    cursor = Cursor()
    await cursor.open(spool.source)
    assert await spool.source.wait_after(0)
    cursor.take(spool.source)
    cursor.committed[stream_id] = 2
    spool.finish()
    assert numbers(await cursor.take_all(spool.source)) == list(range(8, 20))
    assert spool.source.stream_id == stream_id
    assert "the server lost 3 batches" in caplog.text


async def test_server_that_lost_everything_gets_a_new_stream(
    open_spool: OpenSpool, caplog: pytest.LogCaptureFixture
) -> None:
    spool = open_spool(max_bytes=4096)
    stream_id = spool.source.stream_id
    cursor = Cursor()
    await cursor.open(spool.source)
    for first in range(0, 100, 4):
        await append_rows(spool, first, 4)
        assert await spool.source.wait_after(cursor.of(spool.source))
        cursor.take(spool.source)
    await append_rows(spool, 100, 4)
    reset = Cursor()
    spool.finish()
    kept = numbers(await reset.take_all(spool.source))
    assert kept == list(range(kept[0], 104))
    assert spool.source.stream_id != stream_id
    assert f"going on as the new stream {spool.source.stream_id}" in caplog.text
    # The new name and its numbering are there after a restart.
    spool = open_spool(max_bytes=4096)
    spool.finish()
    assert await reset.take_all(spool.source) == []


async def test_server_that_knows_more_than_the_spool_gets_a_new_stream(open_spool: OpenSpool) -> None:
    spool = open_spool()
    stream_id = spool.source.stream_id
    await append_rows(spool, 0, 8)
    cursor = Cursor()
    cursor.committed[stream_id] = 7
    spool.finish()
    assert numbers(await cursor.take_all(spool.source)) == list(range(8))
    assert spool.source.stream_id != stream_id


async def test_lost_identity_makes_a_new_stream_for_what_is_pending(
    open_spool: OpenSpool, tmp_path: Path
) -> None:
    spool = open_spool()
    stream_id = spool.source.stream_id
    await append_rows(spool, 0, 8)
    cursor = Cursor()
    await cursor.open(spool.source)
    assert await spool.source.wait_after(0)
    cursor.take(spool.source)
    await append_rows(spool, 8, 4)
    (tmp_path / "spool" / "stream.json").write_text("{")
    spool = open_spool()
    spool.finish()
    assert spool.source.stream_id != stream_id
    assert numbers(await cursor.take_all(spool.source)) == list(range(8, 12))
    assert cursor.of(spool.source) == 1


async def test_rejected_batch_is_kept_aside_with_its_reason(open_spool: OpenSpool, tmp_path: Path) -> None:
    spool = open_spool()
    await append_rows(spool, 0, 12)
    cursor = Cursor()
    await cursor.open(spool.source)
    assert await spool.source.wait_after(0)
    rejected = RejectedBatch(sequence=2, reason="VALUE_OUT_OF_RANGE", message="latency_ms: expected more")
    cursor.take(spool.source, [rejected])
    directory = tmp_path / "spool" / "rejected"
    (facts,) = [json.loads(path.read_text()) for path in directory.glob("*.json")]
    assert facts == {
        "sequence": 2,
        "reason": "VALUE_OUT_OF_RANGE",
        "message": "latency_ms: expected more",
        "device_id": "dish",
        "samples": 4,
        "wrong_values": [],
    }
    (batch,) = [path.read_bytes() for path in directory.glob("*.batch")]
    assert TelemetryColumns.decode(batch).metrics["latency_ms"].tolist() == [4, 5, 6, 7]
    counters = spool.counters
    assert (counters.rejected_batches, counters.rejected_samples) == (1, 4)
    assert (counters.acked_batches, counters.acked_samples) == (2, 8)
    assert spool.pending_batches == 0


async def test_rejection_whose_ack_was_lost_is_told_when_the_stream_opens(
    open_spool: OpenSpool, tmp_path: Path
) -> None:
    spool = open_spool()
    await append_rows(spool, 0, 12)
    spool = open_spool()
    rejected = [RejectedBatch(sequence=2, reason="VALUE_OUT_OF_RANGE", message="why")]
    # Told again while nothing was sent, it counts once.
    for _ in range(2):
        assert await spool.source.resume(IngestReady(committed_sequence=3, rejected=rejected))
    assert len(list((tmp_path / "spool" / "rejected").glob("*.json"))) == 1
    counters = spool.counters
    assert (counters.rejected_samples, counters.acked_samples) == (4, 8)


async def test_batch_that_cannot_be_read_is_reported_as_dropped(
    open_spool: OpenSpool, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    spool = open_spool()
    await append_rows(spool, 0, 12)
    (log,) = (tmp_path / "spool" / "log").iterdir()
    data = bytearray(log.read_bytes())
    second = [offset for offset in range(len(data)) if data.startswith(b'"sequence":2', offset)]
    data[second[0]] ^= 1
    log.write_bytes(data)
    spool.finish()
    cursor = Cursor()
    delivered = numbers(await cursor.take_all(spool.source))
    assert delivered == [*range(4), *range(8, 12)]
    assert cursor.dropped == [Dropped(2, 2, 4)]
    assert spool.counters.dropped_samples == 4
    assert "batch 2 cannot be read" in caplog.text


async def test_sync_failure_delays_and_is_logged(
    open_spool: OpenSpool, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    failures = [OSError(5, "Input/output error")]

    def fails_once(descriptor: int) -> None:
        if failures:
            raise failures.pop()

    # No disk can be made to fail on demand.
    monkeypatch.setattr("os.fdatasync", fails_once)
    monkeypatch.setattr("spacelink_agent.spool.delivery._SYNC_RETRY_SECONDS", 0.0)
    spool = open_spool()
    await append_rows(spool, 0, 4)
    with caplog.at_level(logging.WARNING):
        assert await spool.source.wait_after(0)
    assert "cannot be synced" in caplog.text
    assert isinstance(spool.source.next_after(0), Batch)


async def test_batches_of_a_denied_device_are_numbered_anew(open_spool: OpenSpool, tmp_path: Path) -> None:
    spool = open_spool()
    await append_rows(spool, 0, 10)
    cursor = Cursor()
    await cursor.open(spool.source)
    assert await spool.source.wait_after(0)
    denied = [RejectedBatch(sequence=n, reason="DEVICE_DENIED", message="not in 'other'") for n in (1, 2)]
    with pytest.raises(PermissionDeniedError, match="not in 'other'"):
        cursor.take(spool.source, denied)
    assert spool.counters.rejected_batches == 0
    assert not (tmp_path / "spool" / "rejected").exists()
    spool = open_spool()
    spool.finish()
    # Samples that were in no batch yet are there still, and none is there twice.
    assert sorted(numbers(await cursor.take_all(spool.source))) == list(range(10))
    assert spool.pending_batches == 0


async def test_denials_that_a_lost_ack_told_do_not_end_the_next_stream(open_spool: OpenSpool) -> None:
    spool = open_spool()
    await append_rows(spool, 0, 4)
    cursor = Cursor()
    await cursor.open(spool.source)
    assert await spool.source.wait_after(0)
    cursor.receive(spool.source)
    denied = RejectedBatch(sequence=1, reason="DEVICE_DENIED", message="not in 'other'")
    assert await spool.source.resume(IngestReady(committed_sequence=1, rejected=[denied]))
    spool.finish()
    assert numbers(await cursor.take_all(spool.source)) == [0, 1, 2, 3]


async def test_what_ails_all_batches_is_logged_once(
    open_spool: OpenSpool, caplog: pytest.LogCaptureFixture
) -> None:
    spool = open_spool()
    await append_rows(spool, 0, 12)
    cursor = Cursor()
    await cursor.open(spool.source)
    assert await spool.source.wait_after(0)
    rejected = [RejectedBatch(sequence=n, reason="BATCH_TOO_LARGE", message="too large") for n in (1, 2, 3)]
    cursor.take(spool.source, rejected)
    assert spool.counters.rejected_batches == 3
    errors = [record for record in caplog.records if record.levelname == "ERROR"]
    assert [record.getMessage() for record in errors] == [
        "the server rejected batch 1: BATCH_TOO_LARGE: too large"
    ]
