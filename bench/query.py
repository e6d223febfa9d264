"""`bench query`: how long answers take, as the store grows and the answers do not."""

from __future__ import annotations

import json
import statistics
import tempfile
import time
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np

from bench import stores
from bench.peers import SpaceLink, VictoriaMetrics
from bench.peers.base import Server, get_json
from bench.size import import_json
from spacelink import SpaceLinkClient
from spacelink.columns import TelemetryColumns, concatenate

_PAGE = 1000


@dataclass(frozen=True, slots=True)
class Answers:
    """How long answers of one store take.

    Attributes:
        store: which store, and how many samples it holds.
        seconds: by question, of every time that it was asked.
    """

    store: str
    seconds: dict[str, list[float]] = field(default_factory=dict)

    def median(self, question: str) -> float | None:
        """Give the median of a question; None where it was not asked."""
        return statistics.median(self.seconds[question]) if question in self.seconds else None


DAY_OF_ONE = "24 h of a device at 1 Hz to numpy"
LATEST = f"latest of {len(stores.FLEET):,} devices"
SUMMARY = f"{stores.DAYS}-day summary of {len(stores.REPORTING):,} devices"
QUESTIONS = (DAY_OF_ONE, LATEST, SUMMARY)


def measure_queries(samples: int, rounds: int, directory: Path, tell: Callable[[str], None]) -> Answers:
    """Ask a server on a store of so many samples, each question so many times."""
    with tempfile.TemporaryDirectory(dir=directory) as place:
        tell(f"writing {samples:,} samples")
        count = stores.build(Path(place) / "data", samples)
        found = Answers(f"SpaceLink, {count / 1e6:,.1f} M samples")
        with SpaceLink().serve(Path(place)) as server, _client(server) as client:
            for question, ask in (
                (DAY_OF_ONE, partial(_day, client)),
                (LATEST, partial(_latest, client)),
                (SUMMARY, partial(_summary, client)),
            ):
                tell(f"{found.store}: {question}")
                found.seconds[question] = _timed(ask, rounds)
    return found


def measure_export(rounds: int, directory: Path, tell: Callable[[str], None]) -> Answers:
    """Ask VictoriaMetrics for the same day of the same device, which is all that it holds."""
    wanted = stores.watched_day()
    with (
        tempfile.TemporaryDirectory(dir=directory) as place,
        VictoriaMetrics("native").serve(Path(place)) as server,
    ):
        import_json(server, wanted)
        get_json(server, "/internal/force_flush")
        found = Answers("VictoriaMetrics, that day alone")
        tell(f"{found.store}: {DAY_OF_ONE}")
        found.seconds[DAY_OF_ONE] = _timed(partial(_exported, server, wanted), rounds)
    return found


@contextmanager
def _client(server: Server) -> Iterator[SpaceLinkClient]:
    token = server.metadata[0][1].removeprefix("Bearer ")
    with SpaceLinkClient(server.address, token=token) as client:
        yield client


def _timed(ask: Callable[[], None], rounds: int) -> list[float]:
    ask()
    seconds = []
    for _ in range(rounds):
        start = time.perf_counter()
        ask()
        seconds.append(time.perf_counter() - start)
    return seconds


def _day(client: SpaceLinkClient) -> None:
    batches = client.query_telemetry(stores.WATCHED, stores.START, stores.START + stores.DAY_NANOS)
    _check(concatenate(list(batches)))


def _latest(client: SpaceLinkClient) -> None:
    count = 0
    for start in range(0, len(stores.FLEET), _PAGE):
        count += sum(1 for _ in client.list_latest_telemetry(stores.FLEET[start : start + _PAGE]))
    _expect(count, len(stores.FLEET))


def _summary(client: SpaceLinkClient) -> None:
    span = stores.START, stores.START + stores.DAYS * stores.DAY_NANOS
    summaries = client.summarize_telemetry(stores.REPORTING, *span, per_device=True)
    _expect(sum(summary.sample_count for summary in summaries), len(stores.REPORTING) * stores.DAYS * 60)


def _exported(server: Server, wanted: TelemetryColumns) -> None:
    span = (
        f"start={stores.START // stores.SECOND}&end={(stores.START + stores.DAY_NANOS) // stores.SECOND - 1}"
    )
    series = urllib.parse.quote(f'{{device="{wanted.device_id}"}}')
    with urllib.request.urlopen(
        f"http://{server.address}/api/v1/export?match[]={series}&{span}", timeout=300
    ) as answer:
        rows = [json.loads(line) for line in answer]
    times = np.array(rows[0]["timestamps"], np.int64) * 1_000_000
    metrics = {row["metric"]["__name__"]: np.array(row["values"], np.float32) for row in rows}
    _check(TelemetryColumns(wanted.device_id, times, metrics))


def _check(found: TelemetryColumns) -> None:
    wanted = stores.watched_day()
    np.testing.assert_array_equal(found.time_unix_nano, wanted.time_unix_nano)
    _expect(len(found.metrics), len(wanted.metrics))


def _expect(found: int, wanted: int) -> None:
    if found != wanted:
        raise RuntimeError(f"expected {wanted}, got {found}: the measurement is void")
