from __future__ import annotations

import uuid
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spacelink.columns import TelemetryColumns
from spacelink_server.storage import reading, segment_pages
from spacelink_server.storage.segments import Segment
from spacelink_server.storage.store import CommitGroup, Submission
from tests.properties import UNTIMED
from tests.server.samples import DAY, HOUR, SECOND, T0, columns, in_time_order, samples_in, validated
from tests.server.stored import maintain, newest_sample

if TYPE_CHECKING:
    from collections.abc import Sequence

    from spacelink_server.storage.sql_store import SqlStore
    from tests.server.samples import Sample

TENANT = "t"
FOREVER = 2**63 - 1
# What a gRPC client takes by default.
CLIENT_BYTES = 4 * 1024 * 1024


@pytest.fixture(scope="module")
def store(shared: SqlStore) -> SqlStore:
    return shared


@pytest.fixture
def device_id() -> str:
    return uuid.uuid4().hex


def submit(store: SqlStore, *batches: TelemetryColumns) -> list[Segment]:
    """Store batches one after the other."""
    submissions = [Submission(TENANT, "", validated(batch.encode())) for batch in batches]
    store.commit(CommitGroup(submissions=submissions))
    return [segment for submission in submissions for segment in submission.segments]


def read(store: SqlStore, device_id: str, start: int = 0, end: int = FOREVER) -> list[reading.Part]:
    return list(reading.read(store, TENANT, device_id, start, end))


def samples(parts: Sequence[reading.Part]) -> list[Sample]:
    return samples_in(map(reading.payload_of, parts))


# Few times, values and metrics, so that batches overlap and repeat each other.
# The times straddle the longest span of a segment.
OFFSETS = (0, 1, 2, 3, 5, HOUR - 1, HOUR, HOUR + 1, 2 * HOUR)
values = st.sampled_from((0.0, -0.0, 1.0, float("nan")))


@st.composite
def batches(draw: st.DrawFn) -> TelemetryColumns:
    offsets = draw(st.lists(st.sampled_from(OFFSETS), min_size=1, max_size=4))
    column = st.lists(values, min_size=len(offsets), max_size=len(offsets))
    metrics = draw(st.dictionaries(st.sampled_from(("latency_ms", "power_w", "snr")), column, max_size=2))
    return columns("d", offsets, draw(st.sampled_from((None, 0, 1))), **metrics)


bounds = st.one_of(
    st.just((0, FOREVER)),
    st.lists(st.sampled_from(OFFSETS).map(lambda offset: T0 + offset), min_size=2, max_size=2).map(
        lambda bounds: (min(bounds), max(bounds))
    ),
)


# Maintenance comes in between, before hours are closed and after.
moments = st.sampled_from((None, None, T0, T0 + HOUR, T0 + DAY))
histories = st.lists(st.tuples(batches(), moments), max_size=5)


def play(store: SqlStore, history: list[tuple[TelemetryColumns, int | None]]) -> list[TelemetryColumns]:
    """Store batches of a new device, with maintenance where a moment says so."""
    device_id = uuid.uuid4().hex
    played = []
    for b, moment in history:
        played.append(TelemetryColumns(device_id, b.time_unix_nano, b.metrics, b.status))
        submit(store, played[-1])
        if moment:
            maintain(store, moment)
    return played


@settings(UNTIMED, max_examples=50)
@given(histories, bounds, st.integers(1, 5))
def test_reading_gives_what_was_stored_once_and_in_time_order(
    store: SqlStore,
    history: list[tuple[TelemetryColumns, int | None]],
    bounds: tuple[int, int],
    page_rows: int,
) -> None:
    start, end = bounds
    played = play(store, history)
    device_id = played[0].device_id if played else "none"
    expected = in_time_order(samples_in(batch.encode() for batch in played))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(segment_pages, "_PAGE_ROWS", page_rows)
        parts = read(store, device_id, start, end)
    found = samples(parts)
    assert [sample[0] for sample in found] == sorted(sample[0] for sample in found)
    # Samples that share a time come in the order of their segments.
    assert sorted(found) == sorted(sample for sample in expected if start <= sample[0] < end)
    assert all(len(reading.columns_of(part)) for part in parts)
    assert {reading.columns_of(part).device_id for part in parts} <= {device_id}


@settings(UNTIMED, max_examples=30)
@given(histories)
def test_the_newest_sample_is_the_one_stored_last(
    store: SqlStore, history: list[tuple[TelemetryColumns, int | None]]
) -> None:
    played = play(store, history)
    newest = newest_sample(store, TENANT, played[0].device_id if played else "none")
    if not played:
        assert newest is None
        return
    assert newest is not None
    # Within a batch, repeats of a sample that came before do not count again.
    stored = [sample for batch in played for sample in in_time_order(samples_in([batch.encode()]))]
    last = max(sample[0] for sample in stored)
    assert samples_in([newest.encode()]) == [[sample for sample in stored if sample[0] == last][-1]]


def test_what_is_compacted_between_two_pages_is_read_once(
    store: SqlStore, device_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    batches = [columns(device_id, (10 * n, 10 * n + 5), latency_ms=[n, n]) for n in range(40)]
    submit(store, *batches)
    monkeypatch.setattr(segment_pages, "_PAGE_ROWS", 4)
    parts = reading.read(store, TENANT, device_id, 0, FOREVER)
    found = [next(parts) for _ in range(10)]
    # What is read of the hour and what is not become one segment.
    maintain(store, T0 + DAY)
    found += parts
    assert samples(found) == samples_in(batch.encode() for batch in batches)


def test_a_reader_that_pauses_sees_what_is_stored_behind_it(
    store: SqlStore, device_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    submit(store, *(columns(device_id, (10 * n,), latency_ms=[n]) for n in range(5)))
    monkeypatch.setattr(segment_pages, "_PAGE_ROWS", 2)
    parts = reading.read(store, TENANT, device_id, 0, FOREVER)
    found = [next(parts)]
    submit(store, columns(device_id, (5, 45), latency_ms=[7, 7]))
    found += parts
    assert [at - T0 for at, *_ in samples(found)] in ([0, 10, 20, 30, 40, 45], [0, 5, 10, 20, 30, 40, 45])


def test_segments_of_any_size_are_read_some_at_a_time(
    store: SqlStore, device_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    batches = [columns(device_id, range(1000 * n, 1000 * n + 900), latency_ms=range(900)) for n in range(8)]
    written = submit(store, *batches)
    monkeypatch.setattr(segment_pages, "_PAGE_BYTES", 3 * len(written[0].payload))
    pages = []
    start = 0
    while start < FOREVER:
        page = store.read(
            partial(segment_pages.read_page, tenant_id=TENANT, device_id=device_id, start=start, end=FOREVER)
        )
        pages.append(page.segments)
        start = page.end
    assert max(map(len, pages)) <= 4
    assert [segment for page in pages for segment in page] == written


def test_segments_that_do_not_overlap_come_as_stored(store: SqlStore, device_id: str) -> None:
    written = submit(
        store,
        columns(device_id, (10, 11), latency_ms=[1, 2]),
        columns(device_id, (0, 9), latency_ms=[3, 4]),
        columns(device_id, (12,), snr=[5]),
    )
    assert read(store, device_id) == [written[1], written[0], written[2]]
    assert read(store, device_id, T0, T0 + 13) == [written[1], written[0], written[2]]
    assert read(store, device_id, T0 + 10, T0 + 12) == [written[0]]


def test_segments_are_cut_to_the_range(store: SqlStore, device_id: str) -> None:
    submit(store, columns(device_id, range(10), latency_ms=range(10)))
    (part,) = read(store, device_id, T0 + 3, T0 + 6)
    assert isinstance(part, TelemetryColumns)
    assert part.metrics["latency_ms"].tolist() == [3, 4, 5]
    assert read(store, device_id, T0 + 3, T0 + 3) == []
    assert read(store, device_id, T0 + 10) == []
    assert read(store, device_id, 0, T0) == []


def test_a_gap_within_a_segment(store: SqlStore, device_id: str) -> None:
    submit(store, columns(device_id, (0, 100), latency_ms=[1, 2]))
    assert read(store, device_id, T0 + 10, T0 + 20) == []


def test_what_overlaps_is_given_out_as_soon_as_it_is_final(
    store: SqlStore, device_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A chain of overlaps must not be held in memory until its end."""
    submit(store, *(columns(device_id, (10 * n, 10 * n + 15), latency_ms=[n, n]) for n in range(50)))
    monkeypatch.setattr(reading, "_MERGE_BYTES", 200)
    parts = read(store, device_id)
    assert max(len(reading.columns_of(part)) for part in parts) <= 20
    assert [at - T0 for at, *_ in samples(parts)] == sorted(10 * n + d for n in range(50) for d in (0, 15))


def test_the_same_batch_stored_twice_is_given_once(store: SqlStore, device_id: str) -> None:
    batch = columns(device_id, range(5), status=1, latency_ms=range(5), snr=[np.nan] * 5)
    submit(store, batch, batch, batch)
    assert samples(read(store, device_id)) == samples_in([batch.encode()])


@pytest.mark.parametrize(("rounds", "count"), [(1, 12_000), (2, 6_000)])
def test_parts_fit_into_a_message(store: SqlStore, device_id: str, rounds: int, count: int) -> None:
    """Batches of other metrics at the same times make wider parts than any batch."""
    offsets = np.arange(count) * SECOND // 4
    for number in range(rounds):
        extra = {f"m{number}.{n}": np.ones(count, np.float32) for n in range(64)}
        times = TelemetryColumns(device_id, T0 + offsets, extra)
        submit(store, times)
    parts = read(store, device_id, T0, T0 + int(offsets[-1]))
    assert sum(len(reading.columns_of(part)) for part in parts) == rounds * (count - 1)
    assert len(reading.columns_of(parts[0]).metrics) == 64 * rounds
    assert max(len(reading.payload_of(part)) for part in parts) < CLIENT_BYTES


def test_newest_sample_of_overlapping_segments(store: SqlStore, device_id: str) -> None:
    submit(
        store,
        columns(device_id, (0, HOUR), latency_ms=[1, 2]),
        columns(device_id, (HOUR // 2, HOUR - 1), latency_ms=[3, 4]),
    )
    newest = newest_sample(store, TENANT, device_id)
    assert newest is not None
    assert newest.metrics["latency_ms"].tolist() == [2]
    assert newest.time_unix_nano.tolist() == [T0 + HOUR]
