from __future__ import annotations

import multiprocessing
import random
import time
from typing import TYPE_CHECKING

from tests.server.maintenance import worker
from tests.server.maintenance.fleet import check

if TYPE_CHECKING:
    from multiprocessing.process import BaseProcess

    from tests.server.stores import Place

KILLS = 20
DEADLINE = 60.0
SEED = 1

# One that has imported everything makes the processes: twenty of them start in
# a second. Forking the tests' own process would copy their threads' locks.
PROCESSES = multiprocessing.get_context("forkserver")
PROCESSES.set_forkserver_preload(["tests.server.maintenance.worker", "tests.server.stores"])


def start(place: Place) -> BaseProcess:
    started = PROCESSES.Event()
    process = PROCESSES.Process(target=worker.work, args=(place, SEED, started))
    process.start()
    assert started.wait(DEADLINE)
    return process


def test_killed_at_any_point_it_goes_on_where_it_was(place: Place) -> None:
    moments = random.Random(SEED)
    # An embedded store has one server; on a database two do the same work at once.
    servers = [start(place) for _ in range(2 if place.url else 1)]
    for kill in range(KILLS):
        killed = kill % len(servers)
        time.sleep(moments.uniform(0, 0.08))
        servers[killed].kill()
        servers[killed].join(DEADLINE)
        servers[killed] = start(place)
    for server in servers:
        server.join(DEADLINE)
        assert server.exitcode == 0
    store = place.open()
    check(store, worker.batches(SEED), worker.END)
    store.close()
