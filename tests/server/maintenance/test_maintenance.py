from __future__ import annotations

import asyncio
import contextlib
from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest

from spacelink_server.maintenance import maintenance as module
from spacelink_server.maintenance import making
from spacelink_server.maintenance.maintenance import Maintenance, Schedule
from spacelink_server.storage import pending
from spacelink_server.storage.store import StoreUnavailableError
from tests.server.maintenance.fleet import DEVICES, check, some_samples, submit
from tests.server.samples import DAY, HOUR, SECOND, T0
from tests.server.stored import maintain
from tests.server.waiting import until

if TYPE_CHECKING:
    from spacelink.columns import TelemetryColumns
    from spacelink_server.storage.pending import ClosedWindows, OpenWindows
    from spacelink_server.storage.sql_store import SqlStore

MINUTE = 60 * SECOND


def fleet(seed: int, start: int, count: int = 300, step: int = 20 * SECOND) -> list[TelemetryColumns]:
    return [some_samples(seed + n, device, start, count, step) for n, device in enumerate(DEVICES)]


def test_what_is_kept_is_what_the_samples_give(store: SqlStore) -> None:
    batches = fleet(1, 0)
    submit(store, *batches)
    for now in (T0, T0 + HOUR, T0 + HOUR, T0 + 2 * HOUR, T0 + DAY):
        maintain(store, now)
        check(store, batches, now)


def test_late_samples_are_taken_in(store: SqlStore) -> None:
    batches: list[TelemetryColumns] = []
    for number, start in enumerate((0, 4 * MINUTE, 30 * HOUR, 0, 29 * HOUR, 59 * MINUTE)):
        late = fleet(10 * number, start, 200, SECOND)
        batches += late
        submit(store, *late, late[0])
        now = T0 + 31 * HOUR
        maintain(store, now)
        check(store, batches, now)


def test_what_has_many_samples_is_closed_alone(store: SqlStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """Days of dishes at 1 Hz together would need memory by the hundred megabytes."""
    batches = fleet(1, 0)
    submit(store, *batches)
    opened: list[OpenWindows] = []

    def close(windows: OpenWindows) -> ClosedWindows:
        opened.append(windows)
        return making.close(windows)

    monkeypatch.setattr(pending, "_SAMPLES", 100)
    monkeypatch.setattr(module, "making", SimpleNamespace(take_in=making.take_in, close=close))
    maintain(store, T0 + DAY)
    assert [len(each.segments) for each in opened] == [1] * 3 * len(DEVICES)
    check(store, batches, T0 + DAY)


def test_lag_is_that_of_the_last_pass_that_left_nothing(
    store: SqlStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 1000.0
    monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: now))
    submit(store, *fleet(1, 0))
    worker = Maintenance(store, Schedule(settle=0, rest=0), clock=lambda: T0)
    now += 50
    assert worker.lag_seconds == 50
    worker.run_pass()
    assert worker.lag_seconds == 0
    now += 7
    # Time is up at once: something is left.
    submit(store, *fleet(2, HOUR))
    in_no_time = Maintenance(store, Schedule(interval=0, settle=0, rest=0), clock=lambda: T0)
    now += 3
    in_no_time.run_pass()
    assert in_no_time.lag_seconds == 3
    assert worker.lag_seconds == 10
    worker.run_pass()
    assert worker.lag_seconds == 0


async def test_passes_that_fail_are_counted(store: SqlStore, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise StoreUnavailableError("full")

    worker = Maintenance(store, Schedule(interval=0.01, rest=0))
    monkeypatch.setattr(worker, "_tenants", fail)
    running = asyncio.create_task(worker.run())
    await until(lambda: worker.failures >= 2)
    running.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await running
