"""What is stored, as the tests look at it."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from spacelink_server.storage import reading
from spacelink_server.storage.segment_pages import read_page
from tests.server.samples import samples_in

if TYPE_CHECKING:
    from spacelink_server.storage.segments import Segment
    from spacelink_server.storage.transactions import Transactions
    from tests.server.samples import Sample

FOREVER = 2**63 - 1


def stored_segments(
    store: Transactions, tenant_id: str, device_id: str, start: int = 0, end: int = FOREVER
) -> list[Segment]:
    """Read the segments with samples in a range, which must fit into a page."""
    page = store.read(partial(read_page, tenant_id=tenant_id, device_id=device_id, start=start, end=end))
    assert page.end == end
    return page.segments


def stored_samples(
    store: Transactions, tenant_id: str, device_id: str, start: int = 0, end: int = FOREVER
) -> list[Sample]:
    """Read samples as a query does."""
    return samples_in(map(reading.payload_of, reading.read(store, tenant_id, device_id, start, end)))
