"""A process that stores samples and maintains them, to be killed at any point."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from spacelink_server.maintenance.maintenance import Maintenance, Schedule
from spacelink_server.storage import intake
from spacelink_server.storage.store import CommitGroup, Submission
from tests.server.maintenance.fleet import DEVICES, TENANT, some_samples
from tests.server.samples import HOUR, SECOND, T0, validated

if TYPE_CHECKING:
    from multiprocessing.synchronize import Event

    from spacelink.columns import TelemetryColumns
    from tests.server.stores import Place

BATCHES = 40
WORKERS = 2
END = T0 + 30 * HOUR


def batches(seed: int) -> list[TelemetryColumns]:
    """Give the batches of a seed: most of them are late, many overlap."""
    starts = [(n * 7 % 29) * HOUR + n * 600 * SECOND for n in range(BATCHES)]
    return [some_samples(seed + n, DEVICES[n % len(DEVICES)], start, 300) for n, start in enumerate(starts)]


def work(place: Place, seed: int, started: Event) -> None:
    """Store the batches of a seed that are not stored yet, maintained by several workers meanwhile."""
    # Nobody watches what was committed a moment ago.
    intake._SHARED_SECONDS = 0
    store = place.open()
    ingested = threading.Event()

    def maintain() -> None:
        worker = Maintenance(store, Schedule(settle=0, rest=0), clock=lambda: END)
        is_last = False
        while not is_last:
            is_last = ingested.is_set()
            worker.run_pass()

    threads = [threading.Thread(target=maintain) for _ in range(WORKERS)]
    for thread in threads:
        thread.start()
    started.set()
    for number, batch in enumerate(batches(seed)):
        submission = Submission(TENANT, f"{seed}-{number}", validated(batch.encode()))
        store.commit(CommitGroup(submissions=[submission]))
    ingested.set()
    for thread in threads:
        thread.join()
    store.close()
