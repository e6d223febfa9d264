"""Counts the calls that are refused, and tells the audit trail once a minute."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from spacelink._caveats import ANY
from spacelink_server.access.periodic import repeat
from spacelink_server.errors import UnavailableError
from spacelink_server.storage import audit
from spacelink_server.storage.audit import Event

if TYPE_CHECKING:
    from spacelink.audit import Json
    from spacelink_server.access.writes import Database
    from spacelink_server.storage.transactions import Connection

# One by one, whoever sends enough bad calls could fill the disk.
_FLUSH_SECONDS = 60.0


class Refusals:
    """The calls refused since they were last written down, by tenant, method and reason.

    Attributes:
        totals: all there were since the start, by reason.
    """

    def __init__(self, database: Database) -> None:
        """Make it with the database where the audit trails are."""
        self.totals: Counter[str] = Counter()
        self._database = database
        self._counts: Counter[tuple[str, str, str]] = Counter()

    def count(self, tenant_id: str | None, method: str, reason: str) -> None:
        """Count a refused call.

        Args:
            tenant_id: the tenant whose token it was made with; None where the
                token is not known to be authentic.
            method: "/package.Service/Method".
            reason: why it was refused.
        """
        self._counts[tenant_id or ANY, method, reason] += 1
        self.totals[reason] += 1

    async def flush(self) -> None:
        """Write down what was counted: an event for each tenant.

        Raises:
            UnavailableError: the store failed; nothing is lost.
        """
        counts, self._counts = self._counts, Counter()
        if not counts:
            return
        try:
            await self._database.write(lambda connection: _record(connection, counts))
        except UnavailableError:
            self._counts += counts
            raise

    async def run(self) -> None:
        """Flush again and again; runs for ever."""
        await repeat(_FLUSH_SECONDS, self.flush, "counting refused calls")


def _record(connection: Connection, counts: Counter[tuple[str, str, str]]) -> None:
    for tenant_id in sorted({tenant_id for tenant_id, _, _ in counts}):
        refused: list[Json] = [
            {"count": count, "method": method, "reason": reason}
            for (tenant, method, reason), count in sorted(counts.items())
            if tenant == tenant_id
        ]
        event = Event("system", "call.refused", "", "refused", {"calls": refused})
        audit.append(connection, tenant_id, event)
