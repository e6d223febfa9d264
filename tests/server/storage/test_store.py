from __future__ import annotations

import uuid
from functools import partial
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spacelink_server.storage import requests
from spacelink_server.storage.requests import RequestResult
from spacelink_server.storage.segments import MAX_SPAN_NANOS, AnySegment, Segment
from spacelink_server.storage.store import (
    CommitGroup,
    CommitResult,
    StoreUnavailableError,
    StreamAdvance,
    StreamKey,
    StreamPosition,
    Submission,
    Submitted,
)
from tests.properties import UNTIMED
from tests.server.samples import HOUR, T0, segment
from tests.server.stored import stored_segments

if TYPE_CHECKING:
    from spacelink_server.storage.sql_store import SqlStore
    from tests.server.stores import Place

TENANT = "t"
STORED, REPEATED, CLASHED = Submitted
FOREVER = 2**63 - 1


def plain(first: int, last: int | None = None, payload: bytes = b"p", device_id: str = "d") -> Segment:
    """Make a segment whose payload nobody decodes."""
    return Segment(device_id, first, first if last is None else last, 1, payload)


def open_stream(store: SqlStore, stream_id: str = "s", tenant_id: str = TENANT) -> StreamPosition:
    (position,) = store.commit(CommitGroup(opens=[StreamKey(tenant_id, stream_id)])).positions
    return position


def advance(
    sequence: int,
    *segments: Segment,
    stream_id: str = "s",
    epoch: int = 1,
    expected: int | None = None,
    tenant_id: str = TENANT,
) -> StreamAdvance:
    before = sequence - 1 if expected is None else expected
    return StreamAdvance(tenant_id, stream_id, epoch, before, sequence, list(segments))


def submit(store: SqlStore, *segments: Segment, request_id: str = "", tenant_id: str = TENANT) -> Submitted:
    group = CommitGroup(submissions=[Submission(tenant_id, request_id, [*segments])])
    (submitted,) = store.commit(group).submitted
    return submitted


def stored(
    store: SqlStore, device_id: str = "d", start: int = 0, end: int = FOREVER, tenant_id: str = TENANT
) -> list[AnySegment]:
    return stored_segments(store, tenant_id, device_id, start, end)


# Streams


def test_a_stream_advances(store: SqlStore) -> None:
    assert open_stream(store) == StreamPosition(epoch=1, committed_sequence=0)
    one, two = plain(T0), plain(T0 + 1)
    assert store.commit(CommitGroup([advance(1, one)])) == CommitResult([True], [], [])
    assert store.commit(CommitGroup([advance(5, two, expected=1)])).advanced == [True]
    assert open_stream(store) == StreamPosition(epoch=2, committed_sequence=5)
    assert stored(store) == [one, two]


STALE = {
    "an older epoch": advance(3, plain(T0), epoch=1),
    "an epoch that is not yet": advance(3, plain(T0), epoch=3),
    "a repeat": advance(2, plain(T0), epoch=2),
    "a gap": advance(4, plain(T0), epoch=2),
    "no such stream": advance(3, plain(T0), epoch=2, stream_id="never-opened"),
    "another tenant's stream": advance(3, plain(T0), epoch=2, tenant_id="other"),
}


@pytest.mark.parametrize("why", STALE)
def test_a_stale_advance_writes_nothing_but_others_go_on(store: SqlStore, why: str) -> None:
    for stream_id in ("s", "s", "before", "behind"):
        open_stream(store, stream_id)
    store.commit(CommitGroup([advance(2, expected=0, epoch=2)]))
    before, behind = (
        advance(1, plain(T0, device_id=stream_id), stream_id=stream_id) for stream_id in ("before", "behind")
    )
    assert store.commit(CommitGroup([before, STALE[why], behind])).advanced == [True, False, True]
    assert stored(store) == stored(store, tenant_id="other") == []
    assert store.device_ids(TENANT) == ["before", "behind"]
    assert open_stream(store) == StreamPosition(3, 2)
    assert open_stream(store, "before") == StreamPosition(2, 1)


def test_streams_of_tenants_are_apart(store: SqlStore) -> None:
    open_stream(store, tenant_id="a")
    store.commit(CommitGroup([advance(1, plain(T0), tenant_id="a")]))
    assert open_stream(store, tenant_id="b") == StreamPosition(1, 0)
    assert stored(store, tenant_id="b") == []
    assert store.device_ids("b") == []
    assert store.device_ids("a") == ["d"]


def test_a_group_writes_advances_before_it_opens(store: SqlStore) -> None:
    """What a stream's older epoch had queued is written before the newer one stands."""
    open_stream(store)
    group = CommitGroup([advance(1, plain(T0))], opens=[StreamKey(TENANT, "s"), StreamKey(TENANT, "s")])
    assert store.commit(group).positions == [StreamPosition(2, 1), StreamPosition(3, 1)]


def test_sequences_go_up_to_64_bits(store: SqlStore) -> None:
    open_stream(store)
    assert store.commit(CommitGroup([advance(FOREVER, expected=0)])).advanced == [True]
    assert open_stream(store) == StreamPosition(2, FOREVER)


# Requests


def test_a_request_is_stored_once(place: Place) -> None:
    store = place.open()
    twice = [Submission(TENANT, "r", [plain(T0)]), Submission(TENANT, "r", [plain(T0)])]
    assert store.commit(CommitGroup(submissions=twice)).submitted == [STORED, REPEATED]
    assert submit(store, plain(T0), request_id="r") is REPEATED
    store.close()
    again = place.open()
    try:
        assert submit(again, plain(T0), request_id="r") is REPEATED
        assert stored(again) == [plain(T0)]
        assert submit(again, plain(T0 + 4), request_id="R") is STORED
        assert submit(again, plain(T0), request_id="r", tenant_id="other") is STORED
    finally:
        again.close()


def test_a_request_id_stands_for_one_batch(store: SqlStore) -> None:
    """What is taken for a repetition must be one: to its caller it counts as stored."""
    two = [Submission(TENANT, "r", [plain(T0)]), Submission(TENANT, "r", [plain(T0 + 1, payload=b"q")])]
    assert store.commit(CommitGroup(submissions=two)).submitted == [STORED, CLASHED]
    assert submit(store, plain(T0 + 1, payload=b"q"), request_id="r") is CLASHED
    assert submit(store, plain(T0), plain(T0 + 1), request_id="r") is CLASHED
    assert submit(store, plain(T0), request_id="r") is REPEATED
    assert stored(store) == [plain(T0)]


def test_a_request_id_stands_for_one_call_of_any_kind(store: SqlStore) -> None:
    made = RequestResult("CreateNetworkRequest 00", {"network_id": "n"})
    store.transact(partial(requests.insert, tenant_id=TENANT, request_id="r", result=made))
    assert submit(store, plain(T0), request_id="r") is CLASHED
    assert stored(store) == []


def test_without_a_request_id_every_call_stores(store: SqlStore) -> None:
    assert [submit(store, plain(T0)) for _ in range(3)] == [STORED] * 3
    assert stored(store) == [plain(T0)] * 3


def test_request_ids_and_stream_ids_are_apart(store: SqlStore) -> None:
    assert submit(store, request_id="same") is STORED
    assert open_stream(store, "same") == StreamPosition(1, 0)
    assert submit(store, request_id="s" * 128) is STORED
    assert open_stream(store, "s" * 128) == StreamPosition(1, 0)
    assert store.commit(CommitGroup([advance(1, stream_id="same")])).advanced == [True]


# Transactions


def test_an_error_in_the_middle_leaves_nothing(store: SqlStore) -> None:
    open_stream(store)
    unwritable = Segment("d2", T0, T0, 1, object())  # type: ignore[arg-type]
    group = CommitGroup(
        [advance(1, plain(T0))],
        [Submission(TENANT, "r", [*(plain(T0 + n) for n in range(300)), unwritable])],
        [StreamKey(TENANT, "new"), StreamKey(TENANT, "s")],
    )
    # The one hands it to its driver, the other encodes it by itself.
    with pytest.raises((StoreUnavailableError, TypeError)):
        store.commit(group)
    assert stored(store) == []
    assert store.device_ids(TENANT) == []
    group.submissions[0].segments.pop()
    assert store.commit(group) == CommitResult([True], [STORED], [StreamPosition(1, 0), StreamPosition(2, 1)])
    # A device that was first seen in the failed group is registered by the next.
    assert store.device_ids(TENANT) == ["d"]
    assert len(stored(store)) == 301


@pytest.mark.parametrize("count", [0, 1, 15, 16, 17, 255, 256, 257, 289, 545])
def test_groups_of_any_size(shared: SqlStore, count: int) -> None:
    device_id = f"size-{count}"
    segments = [plain(T0 + n, payload=b"%d" % n, device_id=device_id) for n in range(count)]
    assert submit(shared, *segments)
    assert stored(shared, device_id) == segments


# Devices


def test_devices_are_registered_with_their_first_sample(store: SqlStore) -> None:
    submit(store, segment("b"), segment("a"), segment("b", 1))
    submit(store, segment("B"), segment("a", 5))
    assert store.device_ids(TENANT) == ["B", "a", "b"]


def test_devices_are_paged(store: SqlStore) -> None:
    ids = sorted({f"dish-{n}" for n in range(25)} | {"Z", "z", "a:b", "a.b"})
    submit(store, *(segment(device_id) for device_id in ids))
    paged: list[str] = []
    while page := store.device_ids(TENANT, after=paged[-1] if paged else "", limit=7):
        assert len(page) <= 7
        paged += page
    assert paged == ids
    assert store.device_ids(TENANT, after="dish-24") == ids[ids.index("dish-24") + 1 :]
    assert store.device_ids(TENANT, limit=0) == []


# Reading


def test_a_segment_is_found_if_it_reaches_into_the_range(store: SqlStore) -> None:
    longest = plain(T0, T0 + MAX_SPAN_NANOS)
    submit(store, longest)
    last = T0 + MAX_SPAN_NANOS
    assert stored(store, start=last) == [longest]
    assert stored(store, start=last + 1) == []
    assert stored(store, end=T0 + 1) == [longest]
    assert stored(store, end=T0) == []
    assert stored(store, "other") == []


spans = st.tuples(st.integers(0, 12), st.integers(0, 4)).map(
    # Quarters of an hour, and a nanosecond more or less around its bounds.
    lambda span: (T0 + span[0] * HOUR // 4, T0 + (span[0] + span[1]) * HOUR // 4)
)


@settings(UNTIMED, max_examples=60)
@given(
    st.lists(spans, max_size=12),
    st.integers(-2, 18),
    st.integers(0, 18),
    st.sampled_from((-1, 0, 1)),
)
def test_ranges_are_those_of_a_plain_list(
    shared: SqlStore, spans: list[tuple[int, int]], start: int, length: int, shift: int
) -> None:
    device_id = uuid.uuid4().hex
    segments = [plain(*span, b"%d" % n, device_id) for n, span in enumerate(spans)]
    submit(shared, *segments)
    low = T0 + start * HOUR // 4 + shift
    high = low + length * HOUR // 4
    wanted = [s for s in segments if s.first_time < high and s.last_time >= low]
    assert stored(shared, device_id, low, high) == sorted(wanted, key=lambda s: s.first_time)
