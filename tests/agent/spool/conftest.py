from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

import pytest

from spacelink_agent.spool import Spool, SpoolSettings

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


class OpenSpool(Protocol):
    def __call__(self, **settings: Any) -> Spool: ...


@pytest.fixture
def open_spool(tmp_path: Path) -> Iterator[OpenSpool]:
    """Open the test's spool; opening it again closes it first, as a restart does."""
    opened: list[Spool] = []

    def open_again(**settings: Any) -> Spool:
        while opened:
            opened.pop().close()
        opened.append(Spool(tmp_path / "spool", SpoolSettings(**{"batch_samples": 4, **settings})))
        return opened[0]

    yield open_again
    for spool in opened:
        spool.close()
