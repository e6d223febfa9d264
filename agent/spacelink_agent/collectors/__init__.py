"""Collectors: where an agent's samples come from."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Sequence

    from spacelink.columns import TelemetryColumns
    from spacelink_agent.bad_rows import BadRow

__all__ = ["Chunk", "Collector", "CollectorError"]


class CollectorError(Exception):
    """A collector cannot go on; the text says why and what would be right."""


class Chunk(NamedTuple):
    """Samples of one device.

    Attributes:
        samples: no more than a batch is to have; none only where there are bad
            rows.
        position: where the collector stands after them, anything JSON can hold;
            None for a collector that has no position.
        bad: the rows among them that are no samples.
    """

    samples: TelemetryColumns
    position: Any = None
    bad: Sequence[BadRow] = ()


class Collector(Protocol):
    """Yields samples.

    Attributes:
        is_live: it measures now and never ends; what it misses is gone.
        source: names what is read, for the position in the spool; empty for a
            collector that has none.
    """

    is_live: bool
    source: str

    def collect(self, position: Any) -> AsyncGenerator[Chunk]:
        """Yield samples, after a position that an earlier run reached.

        Raises:
            CollectorError: it cannot go on; what it yielded before is good.
        """
