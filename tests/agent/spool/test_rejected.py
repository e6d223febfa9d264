from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from spacelink.columns import TelemetryColumns
from spacelink_agent.bad_rows import BadRow
from spacelink_agent.spool.rejected import Rejected
from tests.agent.samples import START

if TYPE_CHECKING:
    from pathlib import Path

    import pytest


def test_oldest_are_removed_when_there_are_too_many(tmp_path: Path) -> None:
    rejected = Rejected(tmp_path / "rejected", max_bytes=3000)
    for sequence in range(1, 11):
        rejected.keep(sequence, bytes(500), "REASON", "message")
    kept = sorted(path.name for path in (tmp_path / "rejected").glob("*.batch"))
    assert kept[-1] == f"{10:020d}.batch"
    assert 3 <= len(kept) <= 6
    assert sum(path.stat().st_size for path in (tmp_path / "rejected").iterdir()) <= 3000


def test_directory_that_cannot_be_written_is_no_failure(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "rejected").touch()
    Rejected(tmp_path / "rejected").keep(7, b"data", "REASON", "message")
    assert "rejected batch 7 cannot be kept" in caplog.text


def test_an_older_agents_batch_is_listed_with_its_device(tmp_path: Path) -> None:
    samples = TelemetryColumns.from_arrays("dish", START + np.arange(2), latency_ms=[1, -1])
    (tmp_path / f"{7:020d}.batch").write_bytes(samples.encode())
    (tmp_path / f"{7:020d}.json").write_text('{"sequence": 7, "reason": "R", "message": "told so"}')
    (entry,) = Rejected(tmp_path).entries()
    assert (entry.name, entry.device_id, entry.samples, entry.reason) == ("7", "dish", 2, "R")
    assert (
        entry.message == "told so (sample 2: latency_ms: -1 is out of range; expected finite values from 0)"
    )
    entry.remove()
    assert list(tmp_path.iterdir()) == []


def test_bad_rows_of_a_source_are_one_file_that_is_bounded(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    rejected = Rejected(tmp_path / "rejected", max_bytes=4000)
    rejected.keep(1, b"", "REASON", "message")
    for line in range(100):
        row = BadRow("dish", f"day.csv:{line}", {"time": "x" * 20, "latency_ms": "-1"}, "wrong")
        rejected.keep_rows("day", [row])
    assert 2000 < rejected.rows_of("day").stat().st_size < 2200
    assert caplog.text.count("is full: further bad rows are only counted") == 1
    assert rejected.count().batches == 1
    assert str(rejected.count()).startswith("1 batch and ")


def test_a_file_that_people_changed_is_still_counted(tmp_path: Path) -> None:
    rejected = Rejected(tmp_path / "rejected")
    rejected.keep_rows("day", [BadRow("dish", "day.csv:2", {"time": "x", "latency_ms": "-1"}, "wrong")])
    path = rejected.rows_of("day")
    path.write_bytes(path.read_bytes().replace(b"wrong", b"w\xe4re richtig").replace(b",problem", b""))
    assert rejected.count() == (0, 1)
    (entry,) = rejected.entries()
    assert (entry.device_id, entry.samples) == ("dish", 1)
