from __future__ import annotations

from typing import TYPE_CHECKING

from spacelink_agent.spool.rejected import Rejected

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
