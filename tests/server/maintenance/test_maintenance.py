from __future__ import annotations

from typing import TYPE_CHECKING

from tests.server.maintenance.fleet import DEVICES, check, some_samples, submit
from tests.server.samples import DAY, HOUR, SECOND, T0
from tests.server.stored import maintain

if TYPE_CHECKING:
    from spacelink.columns import TelemetryColumns
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
