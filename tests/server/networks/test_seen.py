"""When devices were up and down, from rollups, against all samples."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import numpy as np
import pytest
import sqlalchemy as sa

from spacelink_server.networks.history import History
from spacelink_server.networks.seen import Question, Seen, look
from spacelink_server.storage import retention
from spacelink_server.storage.retention import Cutoffs
from spacelink_server.storage.schema import compacted_segments, rollups
from tests.server.samples import DAY, HOUR, SECOND, T0
from tests.server.scoring.test_runs import rows_of
from tests.server.stored import maintain
from tests.server.stored_telemetry import put

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from spacelink.columns import TelemetryColumns
    from spacelink_server.storage.sql_store import SqlStore

NAN = float("nan")
DEVICES = ("changing", "quiet", "dead", "offline", "sparse", "unheard", "silent")
END = 40 * 3600
NOW = T0 + 70 * HOUR
# In seconds: ranges from T0, that begin and end within hours, on their bounds and
# beside the samples; and how far apart samples may be.
ASKED = [
    (0, END, 15),
    (0, END, 60),
    (0, END, 4000),
    (-7200, 2 * 86_400, 15),
    (1800, 5 * 3600 + 17, 60),
    (3600, 7200, 15),
    (86_400 - 30, 86_400 + 30, 15),
    (30 * 3600, 60 * 3600, 60),
]


@pytest.fixture
def history(store: SqlStore) -> Iterator[History]:
    with ThreadPoolExecutor(1) as readers:
        yield History(store, readers)


def put_changing(store: SqlStore, device_id: str, start: int, end: int, seed: int) -> None:
    """Store reports every 10 s of a device that goes down, falls silent, and says nothing at times."""
    rng = np.random.default_rng(seed)
    times = np.arange(start, end, 10).astype(float)
    times += np.where(rng.random(len(times)) < 0.1, rng.uniform(-4, 4, len(times)), 0)
    kinds = rng.choice(5, len(times) // 40 + 1, p=[0.8, 0.05, 0.05, 0.05, 0.05]).repeat(40)[: len(times)]
    put(
        store,
        device_id,
        times[kinds != 4].tolist(),
        latency_ms=np.where(kinds == 3, NAN, 30.0)[kinds != 4],
        packet_loss_percent=np.where(kinds == 3, NAN, np.where(kinds == 1, 100.0, 0))[kinds != 4],
        status=np.choose(kinds, [1, 1, 3, 0, 1])[kinds != 4].tolist(),
    )


def put_all(store: SqlStore) -> None:
    put_changing(store, "changing", -3600, END, 1)
    steady = range(-3600, END, 10)
    put(store, "quiet", steady, latency_ms=np.full(len(steady), 20.0))
    put(store, "dead", steady, packet_loss_percent=np.full(len(steady), 100.0))
    put(store, "offline", steady, status=["OFFLINE"] * len(steady))
    sparse = range(0, END, 3600)
    put(store, "sparse", sparse, packet_loss_percent=np.zeros(len(sparse)))
    put(store, "unheard", steady, power_w=np.full(len(steady), 20.0))


def question(start: int, end: int, gap: int) -> Question:
    span = T0 + start * SECOND, T0 + end * SECOND
    return Question("default", DEVICES, *span, gap * SECOND, NOW)


def raw(asked: Question, samples: Sequence[TelemetryColumns | None]) -> Seen:
    found = Seen(asked)
    for device, columns in enumerate(samples):
        if columns is not None:
            found.add_samples(device, columns)
    return found


def is_offline(found: Seen, device: int, start: int, end: int) -> bool:
    times = found.offline(device)
    return bool(((times >= start) & (times < end)).any())


def check(history: History) -> None:
    samples = [history.columns("default", device_id, T0 - 5 * HOUR, T0 + 10 * DAY) for device_id in DEVICES]
    for each in ASKED:
        asked = question(*each)
        found, expected = look(history, asked), raw(asked, samples)
        known = expected.runs()
        assert (rows_of(found.runs().up), rows_of(found.runs().down)) == (
            rows_of(known.up),
            rows_of(known.down),
        )
        for stretch in rows_of(known.down):
            assert is_offline(found, *stretch) is is_offline(expected, *stretch), each


def test_rollups_tell_what_the_samples_tell(store: SqlStore, history: History) -> None:
    put_all(store)
    check(history)  # nothing is rolled up
    maintain(store, T0 + 3 * HOUR)  # some hours are
    check(history)
    maintain(store, T0 + 30 * HOUR)  # a day is, and a part of the next
    check(history)
    maintain(store, T0 + 10 * DAY)
    check(history)


def test_late_samples_count_at_once(store: SqlStore, history: History) -> None:
    put_all(store)
    maintain(store, T0 + 10 * DAY)
    put(store, "quiet", [5000, 5001.5, 5003], packet_loss_percent=[100.0] * 3)  # an outage between samples
    put(store, "quiet", [86_400 - 5, 86_405], status=["OFFLINE"] * 2)  # across midnight
    put(store, "silent", range(0, 5000, 10), status=["ACTIVE"] * 500)
    put_changing(store, "changing", 20 * 3600, 22 * 3600, 2)
    check(history)
    maintain(store, T0 + 2 * HOUR)
    check(history)
    maintain(store, T0 + 10 * DAY)
    check(history)


def test_samples_are_read_where_something_happened(
    store: SqlStore, history: History, monkeypatch: pytest.MonkeyPatch
) -> None:
    put_all(store)
    put(store, "quiet", [40_005], packet_loss_percent=[100.0])
    maintain(store, T0 + 10 * DAY)
    read = []

    def columns(
        _tenant: str, device_id: str, start: int, end: int, _metrics: object
    ) -> TelemetryColumns | None:
        read.append((device_id, (start - T0) // SECOND, (end - T0) // SECOND))
        return History.columns(history, "default", device_id, start, end)

    monkeypatch.setattr(history, "columns", columns)
    asked = question(0, END, 30)._replace(device_ids=("quiet", "dead", "offline"))
    found = look(history, asked).runs()
    # Of devices that were down all the time, what is beside the range; see _Reader._tells_all.
    edges = [(device_id, *edge) for device_id in asked.device_ids[1:] for edge in [(-60, 0), (END, END + 30)]]
    assert read == [("quiet", 39_600, 43_200), *edges[:1], *edges[2:3]]
    moment = T0 + 40_005 * SECOND
    assert rows_of(found.up) == [(0, T0, moment), (0, moment + 5 * SECOND, T0 + END * SECOND)]
    assert rows_of(found.down)[1:] == [(1, T0, T0 + END * SECOND), (2, T0, T0 + END * SECOND)]


def test_rollups_that_know_nothing_of_gaps_are_not_asked(store: SqlStore, history: History) -> None:
    put_all(store)
    maintain(store, T0 + 10 * DAY)
    store.transact(
        lambda c: c.execute(sa.update(rollups).values(longest_gap_nanos=None, last_gap_nanos=None))
    )
    check(history)


def test_nothing_is_known_where_samples_are_past_their_time(
    store: SqlStore, history: History, monkeypatch: pytest.MonkeyPatch
) -> None:
    put_all(store)
    maintain(store, T0 + 10 * DAY)
    monkeypatch.setattr(retention, "cutoffs", lambda *_: Cutoffs(samples=T0 + DAY))
    check(history)
    t = compacted_segments.c
    store.transact(
        lambda c: c.execute(sa.delete(compacted_segments).where(t.first_time_unix_nano < T0 + DAY))
    )
    check(history)
    asked = question(0, END, 30)._replace(device_ids=("quiet",))
    assert rows_of(look(history, asked).runs().up) == [(0, T0 + DAY, T0 + END * SECOND)]


def test_a_store_of_either_kind(either_store: SqlStore) -> None:
    with ThreadPoolExecutor(1) as readers:
        history = History(either_store, readers)
        put_changing(either_store, "changing", 0, 6 * 3600, 3)
        steady = range(0, 6 * 3600, 10)
        put(either_store, "offline", steady, status=["OFFLINE"] * len(steady))
        maintain(either_store, T0 + 5 * HOUR)
        put_changing(either_store, "changing", 6 * 3600, 7 * 3600, 4)
        check(history)
