"""`bench networks`: how long reports about a large network take, over gRPC, on a server just started."""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
from google.protobuf.timestamp_pb2 import Timestamp

from bench import stores
from bench.peers import SpaceLink
from bench.peers.base import Server
from bench.processes import cpu_seconds
from spacelink.v1 import network_pb2 as pb
from spacelink.v1.network_pb2_grpc import NetworkServiceStub

_NETWORK = "bench"
_TIMEOUT = 600.0


@dataclass(frozen=True, slots=True)
class Report:
    """How long a report takes.

    Attributes:
        name: what is asked for.
        first: seconds of the first answer, of a server that has read nothing yet.
        seconds: of each answer after that.
        processor: the server's processor time for each of these, in seconds.
    """

    name: str
    first: float
    seconds: list[float] = field(default_factory=list)
    processor: list[float] = field(default_factory=list)

    @property
    def median(self) -> float:
        """The median of the answers."""
        return statistics.median(self.seconds)

    @property
    def median_processor(self) -> float:
        """The median of the processor time."""
        return statistics.median(self.processor)


@dataclass(frozen=True, slots=True)
class _Question:
    name: str
    method: str
    request: Any
    check: Callable[[Any], int]


def run(devices: int, days: int, rounds: int, directory: Path, tell: Callable[[str], None]) -> list[Report]:
    """Ask for each report so many times, of a network of devices that have reported for days.

    Raises:
        RuntimeError: an answer is not about all devices.
    """
    with tempfile.TemporaryDirectory(dir=directory) as place:
        tell(f"writing {days} days of {devices:,} devices")
        device_ids = stores.build_network(Path(place) / "data", devices, days)
        found = []
        for question in _questions(days):
            tell(question.name)
            with SpaceLink().serve(Path(place)) as server, _stub(server) as stub:
                if not found:
                    _create(stub, server, device_ids)
                found.append(_measure(question, stub, server, devices, rounds))
    return found


def _questions(days: int) -> list[_Question]:
    start, end = stores.START, stores.START + days * stores.DAY_NANOS
    # As one asks now: a range that begins within an hour, of which there is no rollup of an hour.
    last = _range(end - 5400 * stores.SECOND, end - 1800 * stores.SECOND)
    whole = _range(start, end)

    def counted(response: Any) -> int:
        count: int = response.window.device_count
        return count

    return [
        _Question("health, 1 h", "GetNetworkHealth", pb.GetNetworkHealthRequest(**last), counted),
        _Question(f"health, {days} d", "GetNetworkHealth", pb.GetNetworkHealthRequest(**whole), counted),
        _Question(
            f"SLA, {days} d",
            "GetNetworkSla",
            pb.GetNetworkSlaRequest(**whole),
            lambda response: int(response.network.device_count),
        ),
        *(
            _Question(
                f"trend of {metric}, {days} d",
                "GetNetworkTrend",
                pb.GetNetworkTrendRequest(metric=metric, **whole),
                lambda response: int(response.current.count),
            )
            for metric in ("latency_ms", "qoo")
        ),
    ]


def _range(start: int, end: int) -> dict[str, Any]:
    moments = Timestamp(), Timestamp()
    for moment, nanos in zip(moments, (start, end), strict=True):
        moment.FromNanoseconds(nanos)
    return {"network_id": _NETWORK, "start_time": moments[0], "end_time": moments[1]}


@contextmanager
def _stub(server: Server) -> Iterator[NetworkServiceStub]:
    with grpc.insecure_channel(server.address) as channel:
        yield NetworkServiceStub(channel)


def _create(stub: NetworkServiceStub, server: Server, device_ids: list[str]) -> None:
    network = pb.Network(network_id=_NETWORK)
    stub.CreateNetwork(
        pb.CreateNetworkRequest(network=network, device_ids=device_ids), metadata=server.metadata
    )


def _measure(
    question: _Question, stub: NetworkServiceStub, server: Server, devices: int, rounds: int
) -> Report:
    def ask() -> tuple[float, float]:
        used, start = cpu_seconds(server.pid), time.perf_counter()
        answer = getattr(stub, question.method)(question.request, timeout=_TIMEOUT, metadata=server.metadata)
        took = time.perf_counter() - start, cpu_seconds(server.pid) - used
        if question.check(answer) < devices:
            raise RuntimeError(f"{question.name}: not all {devices} devices are in the answer")
        return took

    report = Report(question.name, ask()[0])
    for _ in range(rounds):
        seconds, processor = ask()
        report.seconds.append(seconds)
        report.processor.append(processor)
    return report
