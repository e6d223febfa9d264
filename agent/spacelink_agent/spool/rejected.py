"""Where rejected batches are kept, for somebody to look at."""

from __future__ import annotations

import json
import logging
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

# Enough for some hundred thousand samples; whoever did not look by then will
# not miss the oldest ones.
_MAX_BYTES = 16 * 1024 * 1024

_logger = logging.getLogger(__name__)


class RejectedBatches:
    """A directory of rejected batches: N.batch is the TelemetryBatch, N.json says why.

    Args:
        directory: where they go; made when the first one comes.
        max_bytes: the oldest are removed when all take more than this.
    """

    def __init__(self, directory: Path, max_bytes: int = _MAX_BYTES) -> None:
        self._directory = directory
        self._max_bytes = max_bytes

    def keep(self, sequence: int, data: bytes, reason: str, message: str) -> None:
        """Keep a batch; what cannot be written is logged and let go."""
        stem = self._directory / f"{sequence:020d}"
        facts = {"sequence": sequence, "reason": reason, "message": message}
        try:
            self._directory.mkdir(exist_ok=True)
            stem.with_suffix(".batch").write_bytes(data)
            stem.with_suffix(".json").write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")
            self._make_room()
        except OSError as error:
            _logger.warning("rejected batch %d cannot be kept: %s", sequence, error)

    def _make_room(self) -> None:
        files = sorted(self._directory.iterdir())
        sizes = [file.stat().st_size for file in files]
        excess = sum(sizes) - self._max_bytes
        for file, size in zip(files, sizes, strict=True):
            if excess <= 0:
                return
            file.unlink()
            excess -= size
