from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from spacelink.columns import merge
from spacelink_server.storage import tenants
from spacelink_server.storage.rollups import DAY as DAYS
from spacelink_server.storage.rollups import HOUR as HOURS
from spacelink_server.storage.rollups import MINUTE
from spacelink_server.storage.schema import pending_windows, request_results, stream_cursors
from spacelink_server.storage.store import CommitGroup, StreamKey, Submission
from spacelink_server.storage.tenants import Tenant
from tests.server.maintenance.fleet import DEVICES, TENANT, count_rows, rollups_of, some_samples, submit
from tests.server.samples import DAY, HOUR, SECOND, T0, samples_in
from tests.server.stored import maintain, newest_sample, stored_samples

if TYPE_CHECKING:
    from spacelink.columns import TelemetryColumns
    from spacelink_server.storage.sql_store import SqlStore

NOW = T0 + 10 * DAY + 5 * HOUR
RAW_START = T0 + 7 * DAY
ROLLUP_START = T0 + 4 * DAY


def keep(store: SqlStore, raw_days: int, rollup_days: int) -> None:
    tenant = Tenant(TENANT, "", 0, 0, (), 0, raw_days, rollup_days)
    store.transact(partial(tenants.insert, tenant=tenant))


def ten_days(store: SqlStore) -> list[TelemetryColumns]:
    batches = [some_samples(n, DEVICES[0], n * DAY, 200, 400 * SECOND) for n in range(10)]
    submit(store, *batches)
    return batches


def test_what_is_past_its_time_is_deleted_by_whole_days(store: SqlStore) -> None:
    keep(store, 3, 6)
    samples = merge(ten_days(store))
    submit(store, some_samples(99, DEVICES[1], 0, 50))
    maintain(store, NOW)
    kept = samples.take(samples.time_unix_nano >= RAW_START)
    assert stored_samples(store, TENANT, DEVICES[0]) == samples_in([kept.encode()])
    assert stored_samples(store, TENANT, DEVICES[1]) == []
    # What came in too late was never rolled up; what was is kept longer.
    for seconds in (MINUTE, HOURS, DAYS):
        assert rollups_of(store, seconds).first_time.min() >= RAW_START
    assert count_rows(store, pending_windows) == 0


def test_rollups_outlive_their_samples(store: SqlStore) -> None:
    batches = ten_days(store)
    maintain(store, NOW)
    before = {seconds: rollups_of(store, seconds) for seconds in (MINUTE, HOURS, DAYS)}
    keep(store, 3, 6)
    maintain(store, NOW)
    # Samples of a day that is past its time do not bring half of it back.
    submit(store, batches[5].take(slice(3, 6)))
    maintain(store, NOW)
    for seconds, rollups in before.items():
        found = rollups_of(store, seconds)
        kept = rollups.start_unix * SECOND >= ROLLUP_START
        np.testing.assert_array_equal(found.start_unix, rollups.start_unix[kept])
        np.testing.assert_array_equal(found.sample_count, rollups.sample_count[kept])
    assert stored_samples(store, TENANT, DEVICES[0], 0, RAW_START) == []


def test_without_a_retention_all_is_kept(store: SqlStore) -> None:
    keep(store, 0, 0)
    samples = merge(ten_days(store))
    maintain(store, NOW + 1000 * DAY)
    assert stored_samples(store, TENANT, DEVICES[0]) == samples_in([samples.encode()])


def test_the_newest_sample_goes_with_its_day(store: SqlStore) -> None:
    keep(store, 3, 0)
    submit(store, some_samples(1, DEVICES[0], 0, 50))
    maintain(store, T0 + HOUR)
    assert newest_sample(store, TENANT, DEVICES[0]) is not None
    maintain(store, NOW)
    assert newest_sample(store, TENANT, DEVICES[0]) is None


def test_old_request_ids_are_forgotten_and_streams_are_not(store: SqlStore) -> None:
    submit(store, some_samples(1, DEVICES[0], 0, 5))
    requests = [Submission(TENANT, f"request-{number}") for number in range(1500)]
    store.commit(
        CommitGroup(submissions=requests, opens=[StreamKey(TENANT, "s"), StreamKey(TENANT, "request-1")])
    )
    assert (count_rows(store, stream_cursors), count_rows(store, request_results)) == (2, 1500)
    now = store.read(lambda connection: connection.execute(stream_cursors.select()).first())
    assert now is not None
    maintain(store, now.update_time_unix_nano + 6 * DAY)
    assert count_rows(store, request_results) == 1500
    maintain(store, now.update_time_unix_nano + 9 * DAY)
    assert (count_rows(store, stream_cursors), count_rows(store, request_results)) == (2, 0)
