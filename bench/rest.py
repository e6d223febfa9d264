"""`bench rest`: what the REST bridge adds to a call, and how fast it takes telemetry in."""

from __future__ import annotations

import http.client
import itertools
import json
import re
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import grpc

from bench.peers import SpaceLink
from bench.peers.base import Server
from bench.processes import running
from spacelink._times import rfc3339_of
from spacelink.v1.telemetry_pb2 import ListLatestTelemetryRequest
from spacelink.v1.telemetry_pb2_grpc import TelemetryServiceStub

_READY = re.compile(rb"^ready data=([\d.]+):(\d+)", re.MULTILINE)
_START = 1_767_528_000_000_000_000
_SECOND = 1_000_000_000
_METRICS = {"latency_ms": 45.5, "packet_loss_percent": 0.2, "signal_strength": -68.5, "downlink_mbps": 120.0}

BATCH = 1000
# More only wait for one another: bridge, server and load share the machine.
CONNECTIONS = 4
# As many as a median of some milliseconds needs to be told to a tenth of one.
_CALLS = 500


@dataclass(frozen=True, slots=True)
class Overhead:
    """How long the same question takes both ways, in milliseconds (medians)."""

    grpc_ms: float
    rest_ms: float

    @property
    def added_ms(self) -> float:
        """What the bridge adds."""
        return self.rest_ms - self.grpc_ms


@dataclass(frozen=True, slots=True)
class Rates:
    """Samples committed a second, by each way to post them."""

    batch: float
    single: float


def run(rounds: int, seconds: float, directory: Path, tell: Callable[[str], None]) -> tuple[Overhead, Rates]:
    """Measure both; rates are medians of rounds, one way after the other.

    Raises:
        RuntimeError: not every sample that was acked is stored.
    """
    with tempfile.TemporaryDirectory(dir=directory) as place:
        peer = SpaceLink()
        with peer.serve(Path(place)) as server, _bridge(server, Path(place)) as (host, port):
            tell("calls of both kinds, in turns")
            overhead = _overhead(server, host, port)
            batches, singles, sent = [], [], 1
            for number in range(rounds):
                for path, size, found in (("batch", BATCH, batches), ("send", 1, singles)):
                    tell(f"round {number + 1} of {rounds}: {size} samples a request")
                    count, took = _load(server, host, port, path, size, seconds)
                    found.append(count / took)
                    sent += count
            stored = peer.stored_values(server)
            if stored != sent * len(_METRICS):
                raise RuntimeError(f"{sent * len(_METRICS)} values acked, {stored} stored: the run is void")
    return overhead, Rates(statistics.median(batches), statistics.median(singles))


@contextmanager
def _bridge(server: Server, directory: Path) -> Iterator[tuple[str, int]]:
    log = directory / "rest.log"
    upstream = ["--server", server.address, "--admin-server", server.address]
    listen = ["--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"]
    command = [sys.executable, "-m", "spacelink", "rest", *upstream, *listen]
    with running(command, log, lambda: _READY.search(log.read_bytes()) is not None):
        match = _READY.search(log.read_bytes())
        assert match is not None
        yield match[1].decode(), int(match[2])


def _overhead(server: Server, host: str, port: int) -> Overhead:
    """Ask for the latest sample of a device both ways, in turns."""
    _post(http.client.HTTPConnection(host, port), "send", _headers(server), _body("send", "asked", 0, 1))
    connection = http.client.HTTPConnection(host, port)
    request = ListLatestTelemetryRequest(device_ids=["asked"])
    took: dict[str, list[float]] = {"grpc": [], "rest": []}
    with grpc.insecure_channel(server.address) as channel:
        stub = TelemetryServiceStub(channel)

        def ask() -> None:
            connection.request("GET", "/v1/telemetry/latest?device_id=asked", headers=_headers(server))
            _answer(connection)

        ways = {
            "grpc": lambda: stub.ListLatestTelemetry(request, metadata=server.metadata),
            "rest": ask,
        }
        for _ in range(_CALLS):
            for name, call in ways.items():
                start = time.perf_counter()
                call()
                took[name].append(time.perf_counter() - start)
    medians = {name: statistics.median(times) * 1000 for name, times in took.items()}
    return Overhead(medians["grpc"], medians["rest"])


_devices = (f"rest-{number}" for number in itertools.count())


def _load(server: Server, host: str, port: int, path: str, size: int, seconds: float) -> tuple[int, float]:
    """Post on all connections for a while; give the samples committed, and the seconds that took."""
    start = time.perf_counter()

    def post(device: str) -> int:
        connection = http.client.HTTPConnection(host, port)
        headers, sent = _headers(server), 0
        while time.perf_counter() - start < seconds:
            _post(connection, path, headers, _body(path, device, sent, size))
            sent += size
        connection.close()
        return sent

    with ThreadPoolExecutor(CONNECTIONS) as threads:
        count = sum(threads.map(post, itertools.islice(_devices, CONNECTIONS)))
    return count, time.perf_counter() - start


def _body(path: str, device: str, first: int, size: int) -> bytes:
    samples = [
        {"device_id": device, "timestamp": rfc3339_of(_START + number * _SECOND), **_METRICS}
        for number in range(first, first + size)
    ]
    return json.dumps(samples if path == "batch" else samples[0]).encode()


def _headers(server: Server) -> dict[str, str]:
    return {"Authorization": server.metadata[0][1], "Content-Type": "application/json"}


def _post(connection: http.client.HTTPConnection, path: str, headers: dict[str, str], body: bytes) -> None:
    connection.request("POST", f"/v1/telemetry/{path}", body, headers)
    _answer(connection)


def _answer(connection: http.client.HTTPConnection) -> None:
    response = connection.getresponse()
    text = response.read()
    if response.status != 200:
        raise RuntimeError(f"answered {response.status}: {text.decode(errors='replace')[:200]}")
