"""The blocking client against a real server."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Iterator

import numpy as np
import pytest

from spacelink import SpaceLinkClient, TelemetryColumns, errors
from tests.conftest import ServerProcess

NOON = 1_769_860_800_000_000_000  # 2026-01-31T12:00:00Z


@pytest.fixture
def client(server: ServerProcess) -> Iterator[SpaceLinkClient]:
    with SpaceLinkClient(server.address, token=server.token) as client:
        yield client


def test_every_call_does_what_the_asyncio_client_does(client: SpaceLinkClient, device_id: str) -> None:
    times = NOON + np.arange(3)
    assert client.ingest(device_id, times, latency_ms=[1, 2, 3], status="ACTIVE") == 3
    assert client.ingest_columns([TelemetryColumns.from_arrays(device_id, [NOON + 3], latency_ms=[4])]) == 1
    assert client.submit_telemetry(TelemetryColumns.from_arrays(device_id, [NOON + 4], latency_ms=[5])) == 1
    stored = client.query_telemetry(device_id, as_columns=True)[device_id]
    assert stored.metrics["latency_ms"].tolist() == [1, 2, 3, 4, 5]
    batches = list(client.query_telemetry([device_id], NOON, NOON + 3, ["latency_ms"]))
    assert [batch.metrics["latency_ms"].tolist() for batch in batches] == [[1, 2, 3]]
    assert [sample.metrics["latency_ms"].tolist() for sample in client.list_latest_telemetry(device_id)] == [
        [5]
    ]
    (summary,) = client.summarize_telemetry(device_id)
    assert (summary.sample_count, summary.metrics["latency_ms"].mean) == (5, 3.0)


def test_errors_are_raised_in_the_caller_s_thread(client: SpaceLinkClient) -> None:
    with pytest.raises(errors.InvalidArgumentError, match="device_ids"):
        list(client.query_telemetry("no device"))
    with pytest.raises(ValueError, match="latency_ms: expected 1 values"):
        client.ingest("dish-01", [NOON], latency_ms=[1, 2])


def test_a_watcher_sees_what_is_committed(client: SpaceLinkClient, device_id: str) -> None:
    seen = threading.Event()

    def send() -> None:
        number = 0
        while not seen.wait(0.2):
            client.ingest(device_id, [NOON + number], latency_ms=[number])
            number += 1

    sender = threading.Thread(target=send)
    sender.start()
    try:
        update = next(client.watch_telemetry(device_id))
    finally:
        seen.set()
        sender.join()
    assert update.samples.device_id == device_id
    assert update.lost_batches == 0


def test_a_query_may_be_given_up(client: SpaceLinkClient, device_id: str) -> None:
    client.ingest(device_id, NOON + np.arange(30_000), latency_ms=np.zeros(30_000))
    for batch in client.query_telemetry(device_id):
        assert len(batch)
        break
    assert client.summarize_telemetry(device_id)[0].sample_count == 30_000


def test_threads_may_share_a_client(client: SpaceLinkClient, device_id: str) -> None:
    counts: list[int] = []

    def send(number: int) -> None:
        counts.append(client.ingest(f"{device_id}-{number}", [NOON], latency_ms=[number]))

    threads = [threading.Thread(target=send, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert counts == [1] * 4


def test_a_closed_client_says_so(server: ServerProcess) -> None:
    client = SpaceLinkClient(server.address, token=server.token)
    client.close()
    client.close()
    with pytest.raises(RuntimeError, match="closed"):
        client.summarize_telemetry()


PROGRAM = """
import asyncio, sys
from spacelink import AsyncSpaceLinkClient, SpaceLinkClient

address, token_file = sys.argv[1:]
never_closed = SpaceLinkClient(address, token_file=token_file)
print(len(never_closed.summarize_telemetry("nobody")))

async def beside_it():
    async with AsyncSpaceLinkClient(address, token_file=token_file) as client:
        for _ in range(50):
            never_closed.summarize_telemetry("nobody")
            await asyncio.gather(*(client.summarize_telemetry("nobody") for _ in range(10)))

asyncio.run(beside_it())
dropped = SpaceLinkClient(address, token_file=token_file)
dropped.summarize_telemetry("nobody")
del dropped
"""


def test_event_loops_side_by_side_and_clients_left_open_make_no_noise(server: ServerProcess) -> None:
    arguments = [server.address, str(server.token_file)]
    done = subprocess.run(
        [sys.executable, "-X", "dev", "-W", "error", "-c", PROGRAM, *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "0\n", "")
