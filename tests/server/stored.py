"""What is stored, as the tests look at it."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import pytest

from spacelink_server.maintenance.maintenance import Maintenance, Schedule
from spacelink_server.storage import intake, reading
from spacelink_server.storage.latest import newest_samples
from spacelink_server.storage.segment_pages import read_page
from tests.server.samples import samples_in

if TYPE_CHECKING:
    from spacelink.columns import TelemetryColumns
    from spacelink_server.storage.segments import AnySegment
    from spacelink_server.storage.transactions import Transactions
    from tests.server.samples import Sample

FOREVER = 2**63 - 1


def maintain(store: Transactions, now: int, settle: float = 0) -> None:
    """Do what maintenance does at a moment, in all of the store."""
    with pytest.MonkeyPatch.context() as patch:
        # Nobody watches what was committed a moment ago.
        patch.setattr(intake, "_SHARED_SECONDS", 0)
        Maintenance(store, Schedule(settle=settle, rest=0), clock=lambda: now).run_pass()


def newest_sample(store: Transactions, tenant_id: str, device_id: str) -> TelemetryColumns | None:
    """Read a device's newest sample."""
    found = store.read(partial(newest_samples, tenant_id=tenant_id, device_ids=[device_id]))
    return found.get(device_id)


def stored_segments(
    store: Transactions, tenant_id: str, device_id: str, start: int = 0, end: int = FOREVER
) -> list[AnySegment]:
    """Read the segments with samples in a range, which must fit into a page."""
    page = store.read(partial(read_page, tenant_id=tenant_id, device_id=device_id, start=start, end=end))
    assert page.end == end
    return page.segments


def stored_samples(
    store: Transactions, tenant_id: str, device_id: str, start: int = 0, end: int = FOREVER
) -> list[Sample]:
    """Read samples as a query does."""
    return samples_in(map(reading.payload_of, reading.read(store, tenant_id, device_id, start, end)))
