"""Counts which tokens are presented, and writes it down."""

from __future__ import annotations

import itertools
import time
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from spacelink_server.access.periodic import repeat
from spacelink_server.errors import UnavailableError
from spacelink_server.storage import audit, lineage, tokens
from spacelink_server.storage.audit import Event
from spacelink_server.storage.lineage import TokenUse

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from spacelink_server.access.verification import VerifiedToken
    from spacelink_server.access.writes import Database
    from spacelink_server.storage.transactions import Connection

# How late the graph and the audit trail see a use. A crash loses the counts of
# this time, never what they led to.
_FLUSH_SECONDS = 1.0

# In one transaction: it takes some 10 ms, for which telemetry waits.
_USES_AT_ONCE = 256

# Anybody with a token can make any number of them offline and present them all.
# What is not counted is let in just the same; 4 kB each bound the memory.
_MAX_PENDING = 8192


@dataclass(slots=True)
class _Use:
    token: VerifiedToken
    count: int
    first_time: int
    last_time: int

    def row(self) -> TokenUse:
        token = self.token
        return TokenUse(
            token.identifier.tenant,
            token.identifier.token_id,
            token.digests,
            tuple(map(str, token.caveats)),
            self.count,
            self.first_time,
            self.last_time,
        )


class Lineage:
    """The tokens presented since they were last written down."""

    def __init__(self, database: Database, clock: Callable[[], int] = time.time_ns) -> None:
        """Make it.

        Args:
            database: where uses are written.
            clock: gives Unix nanoseconds.
        """
        self._database = database
        self._clock = clock
        self._uses: dict[bytes, _Use] = {}

    def count(self, token: VerifiedToken) -> None:
        """Count a token that was presented with a call."""
        now = self._clock()
        use = self._uses.get(token.digests[-1])
        if use is not None:
            use.count += 1
            use.last_time = now
        elif len(self._uses) < _MAX_PENDING:
            self._uses[token.digests[-1]] = _Use(token, 1, now, now)

    async def flush(self) -> None:
        """Write down what was counted.

        Raises:
            UnavailableError: the store failed; what it did not take is kept.
        """
        for _ in range(0, len(self._uses), _USES_AT_ONCE):
            uses = dict(itertools.islice(self._uses.items(), _USES_AT_ONCE))
            for digest in uses:
                del self._uses[digest]
            try:
                await self._database.write(partial(_record, uses=list(uses.values())))
            except UnavailableError:
                self._put_back(uses)
                raise

    async def run(self) -> None:
        """Flush again and again; runs for ever."""
        await repeat(_FLUSH_SECONDS, self.flush, "counting tokens")

    def _put_back(self, uses: dict[bytes, _Use]) -> None:
        for digest, use in uses.items():
            later = self._uses.get(digest)
            if later is not None:
                use.count += later.count
                use.last_time = later.last_time
            self._uses[digest] = use


def _record(connection: Connection, uses: Sequence[_Use]) -> None:
    actors = {use.token.digests[-1]: use.token.actor for use in uses}
    for use in lineage.record(connection, [use.row() for use in uses]):
        minted = tokens.get(connection, use.tenant_id, use.token_id)
        # That of a minted token itself was announced when it was minted.
        if minted is None or len(minted.caveats) < len(use.caveats):
            event = Event(
                actors[use.digests[-1]],
                "token.first_use",
                f"token:{use.token_id}",
                detail={"caveats": list(use.caveats), "digest": use.digests[-1].hex()},
            )
            audit.append(connection, use.tenant_id, event)
