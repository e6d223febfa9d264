from __future__ import annotations

import multiprocessing
import random
import time
from typing import TYPE_CHECKING

import pytest

from spacelink_server.storage.sqlite import SqliteStore
from tests.server.maintenance import worker
from tests.server.maintenance.fleet import check

if TYPE_CHECKING:
    from multiprocessing.process import BaseProcess
    from pathlib import Path

KILLS = 20
DEADLINE = 60.0

# One that has imported everything makes the processes: twenty of them start in
# a second. Forking the tests' own process would copy their threads' locks.
PROCESSES = multiprocessing.get_context("forkserver")
PROCESSES.set_forkserver_preload(["tests.server.maintenance.worker"])


def start(directory: Path, seed: int) -> BaseProcess:
    started = PROCESSES.Event()
    process = PROCESSES.Process(target=worker.work, args=(directory, seed, started))
    process.start()
    assert started.wait(DEADLINE)
    return process


@pytest.mark.parametrize("seed", [1])
def test_killed_at_any_point_it_goes_on_where_it_was(tmp_path: Path, seed: int) -> None:
    moments = random.Random(seed)
    kills = 0
    while kills < KILLS:
        process = start(tmp_path, seed)
        time.sleep(moments.uniform(0, 0.08))
        process.kill()
        process.join(DEADLINE)
        # One that was done before its moment had come was not killed.
        kills += process.exitcode != 0
    process = start(tmp_path, seed)
    process.join(DEADLINE)
    assert process.exitcode == 0
    store = SqliteStore(tmp_path)
    check(store, worker.batches(seed), worker.END)
    store.close()
