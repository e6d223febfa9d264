"""`bench size`: what recordings of terminals take in the store."""

from __future__ import annotations

import json
import sqlite3
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from bench.peers import VictoriaMetrics
from bench.peers.base import Server, get_json
from bench.processes import disk_bytes
from spacelink.columns import TelemetryColumns, merge
from spacelink_server.ingest.validation import Limits, segments_of, well_formed
from spacelink_server.maintenance.maintenance import Maintenance, Schedule
from spacelink_server.storage import reading
from spacelink_server.storage.sqlite import SqliteStore, path_of
from spacelink_server.storage.store import CommitGroup, Submission

TENANT = "default"
_BATCH_SAMPLES = 60
_FOREVER = 2**63 - 1


@dataclass(frozen=True, slots=True)
class Size:
    """What recordings take.

    Attributes:
        samples: how many samples they have.
        columns: which columns, the time among them.
        bytes_a_sample: by part of a store.
    """

    samples: int
    columns: tuple[str, ...]
    bytes_a_sample: dict[str, float] = field(default_factory=dict)


def measure_size(recordings: Sequence[TelemetryColumns], directory: Path) -> Size:
    """Store recordings and measure.

    Raises:
        RuntimeError: what is read back is not what was stored, bit by bit.
    """
    names = ("time", *dict.fromkeys(name for each in recordings for name in each.metrics))
    found = Size(sum(map(len, recordings)), names)
    with tempfile.TemporaryDirectory(dir=directory) as place:
        found.bytes_a_sample.update(_spacelink(recordings, Path(place) / "spacelink"))
        if VictoriaMetrics("native").unavailable() is None:
            (Path(place) / "vm").mkdir()
            found.bytes_a_sample["VictoriaMetrics"] = _victoriametrics(recordings, Path(place) / "vm")
    return found


def _spacelink(recordings: Sequence[TelemetryColumns], directory: Path) -> dict[str, float]:
    store = SqliteStore(directory)
    count = sum(map(len, recordings))
    for recorded in recordings:
        for start in range(0, len(recorded), _BATCH_SAMPLES):
            _commit(store, recorded.take(slice(start, start + _BATCH_SAMPLES)))
    before = _tables(directory)
    Maintenance(store, Schedule(settle=0, rest=0)).run_pass()
    for recorded in recordings:
        _compare(store, recorded)
    store.close()
    after = _tables(directory)
    return {
        "as it came": before["telemetry_segments"] / count,
        "compacted": after["compacted_segments"] / count,
        "rollups": after["rollups"] / count,
    }


def _commit(store: SqliteStore, samples: TelemetryColumns) -> None:
    view = samples.to_view()
    segments = segments_of(well_formed(view, view.ByteSize(), Limits()))
    store.commit(CommitGroup(submissions=[Submission(TENANT, "", segments)]))


def _compare(store: SqliteStore, recorded: TelemetryColumns) -> None:
    parts = reading.read(store, TENANT, recorded.device_id, 0, _FOREVER)
    found = merge([reading.columns_of(part) for part in parts])
    wanted = merge([recorded])
    same = np.array_equal(found.time_unix_nano, wanted.time_unix_nano) and all(
        np.array_equal(found.metrics[name].view(np.uint32), wanted.metrics[name].view(np.uint32))
        for name in wanted.metrics
    )
    if not same:
        raise RuntimeError(f"{recorded.device_id} is not read back as it was stored")


def _tables(directory: Path) -> dict[str, int]:
    """Give the pages of each table with its index, in bytes, as after VACUUM."""
    copy = directory / "copy.db"
    source = sqlite3.connect(path_of(directory))
    source.execute("VACUUM INTO ?", (str(copy),))
    source.close()
    connection = sqlite3.connect(copy)
    query = "SELECT tbl_name, sum(pgsize) FROM dbstat JOIN sqlite_schema USING (name) GROUP BY tbl_name"
    found = dict(connection.execute(query))
    connection.close()
    copy.unlink()
    return found


def _victoriametrics(recordings: Sequence[TelemetryColumns], directory: Path) -> float:
    with VictoriaMetrics("native").serve(directory) as server:
        for recorded in recordings:
            import_json(server, recorded)
        get_json(server, "/internal/force_flush")
        get_json(server, "/internal/force_merge")
        _wait_merged(server)
    return disk_bytes(server.data) / sum(map(len, recordings))


def import_json(server: Server, samples: TelemetryColumns) -> None:
    """Store samples by VictoriaMetrics' own JSON format; its times are milliseconds."""
    times = (samples.time_unix_nano // 1_000_000).tolist()
    body = "\n".join(_lines(samples, times)).encode()
    url = f"http://{server.address}/api/v1/import"
    with urllib.request.urlopen(urllib.request.Request(url, body), timeout=600):
        pass


def _lines(samples: TelemetryColumns, times: list[int]) -> Iterator[str]:
    for name, values in samples.metrics.items():
        labels = {"__name__": name, "device": samples.device_id}
        # As text the fewest digits that give a value back: as doubles they would have digits of nobody's.
        texts = ("null" if value == "nan" else value for value in values.astype("U").tolist())
        yield f'{{"metric":{json.dumps(labels)},"values":[{",".join(texts)}],"timestamps":{times}}}'


def _wait_merged(server: Server) -> None:
    """Wait until the store's size stays as it is."""
    size, same = 0, 0
    while same < 5:
        time.sleep(1.0)
        now = disk_bytes(server.data)
        same = same + 1 if now == size else 0
        size = now
