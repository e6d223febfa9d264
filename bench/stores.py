"""Stores of any size, written as maintenance leaves them and not through the server."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache, partial
from pathlib import Path

import numpy as np
import sqlalchemy as sa

from bench.walk import ALL_METRICS, START_SECONDS, cut
from spacelink.columns import TelemetryColumns, concatenate
from spacelink_server.aggregation import aggregate
from spacelink_server.storage import compaction, maintained
from spacelink_server.storage import rollups as rollup_rows
from spacelink_server.storage.maintained import DeviceState
from spacelink_server.storage.rollups import DAY, HOUR, MINUTE, Rollups
from spacelink_server.storage.schema import devices
from spacelink_server.storage.segment_pages import StoredSegment
from spacelink_server.storage.segments import CompactedSegment
from spacelink_server.storage.sqlite import SqliteStore
from spacelink_server.storage.transactions import Connection

TENANT = "default"

SECOND = 1_000_000_000
START = START_SECONDS * SECOND
DAY_NANOS = DAY * SECOND

# What is asked for is the same in all stores, so that only their size differs.
FLEET = tuple(f"fleet-{number:05d}" for number in range(10_000))
REPORTING = FLEET[:1000]
DAYS = 30
WATCHED = "terminal-00000"

# Days of a terminal at 1 Hz that the others repeat.
_DAYS_OF_WALK = 4
_BATCH = 1200

# How often a device of the large network reports.
_REPORT_SECONDS = 20

# Written by one transaction: a day of each is 1.5 MB.
_DEVICES_AT_ONCE = 50


@dataclass(frozen=True, slots=True)
class _Template:
    """What is stored of a device, but for its name."""

    segments: tuple[CompactedSegment, ...]
    rollups: tuple[Rollups, ...]
    newest: TelemetryColumns


def build(directory: Path, samples: int) -> int:
    """Make a store with so many samples of terminals at 1 Hz, a day of each, beside the fleet's.

    The fleet's first thousand devices report for a minute on each of thirty
    days, the others once.

    Returns:
        How many samples there are in all.
    """
    store = SqliteStore(directory)
    count = 0
    month = concatenate([_walk(0, START + day * DAY_NANOS, MINUTE) for day in range(DAYS)])
    minute = _walk(1, START, MINUTE)
    for device_ids, columns in ((REPORTING, month), (FLEET[len(REPORTING) :], minute)):
        _write(store, device_ids, _template(columns))
        count += len(device_ids) * len(columns)
    terminals = [f"terminal-{number:05d}" for number in range(-(-samples // DAY))]
    for number in range(_DAYS_OF_WALK):
        _write(store, terminals[number::_DAYS_OF_WALK], _template(_walk(number, START, DAY)))
    store.close()
    return count + len(terminals) * DAY


def build_network(directory: Path, devices: int, days: int) -> list[str]:
    """Make a store with devices that report every 20 s, but each second in the last two hours.

    Each is down five times and silent as often. There are rollups of minutes in
    the last two hours only: they would be nearly all of the rows, and nothing that
    is asked of longer ranges reads them.

    Returns:
        The devices.
    """
    store = SqliteStore(directory)
    device_ids = [f"site-{number:05d}" for number in range(devices)]
    for number in range(_DAYS_OF_WALK):
        columns = _eventful(_walk(number, START, days * DAY), number)
        recent = START + days * DAY_NANOS - 2 * HOUR * SECOND
        is_report = columns.time_unix_nano // SECOND % _REPORT_SECONDS == 0
        columns = columns.take(is_report | (columns.time_unix_nano >= recent))
        minutes = columns.take(columns.time_unix_nano >= recent)
        rollups = (aggregate([minutes], MINUTE), *(aggregate([columns], each) for each in (HOUR, DAY)))
        template = _Template(tuple(_segments(columns)), rollups, columns.take(slice(-1, None)))
        _write(store, device_ids[number::_DAYS_OF_WALK], template)
    store.close()
    return device_ids


def _eventful(columns: TelemetryColumns, seed: int) -> TelemetryColumns:
    """Let a device be down five times, and silent as often, for 10 s to 20 min each."""
    rng = np.random.default_rng(seed)
    place = np.arange(len(columns))
    first = np.sort(rng.integers(0, len(columns), 10))
    length = np.exp(rng.uniform(np.log(10), np.log(1200), 10))
    event = np.searchsorted(first, place, side="right") - 1
    during = (event >= 0) & (place < first[event] + length[event])
    loss = np.where(during & (event % 2 == 0), np.float32(100), np.float32(0.1))
    metrics = {**columns.metrics, "packet_loss_percent": loss.astype(np.float32)}
    return replace(columns, metrics=metrics).take(~during | (event % 2 == 0))


@cache
def watched_day() -> TelemetryColumns:
    """Give what is stored of the terminal that is asked for."""
    return replace(_walk(0, START, DAY), device_id=WATCHED)


def _walk(number: int, start: int, count: int) -> TelemetryColumns:
    """Give samples at 1 Hz, rounded to hundredths as terminals report."""
    slots = cut(_BATCH)
    rows = np.concatenate([slots[(number * 7 + n) % len(slots)] for n in range(-(-count // _BATCH))])[:count]
    values = (rows / 100).astype(np.float32)
    times = start + np.arange(count) * SECOND
    metrics = {name: np.ascontiguousarray(values[:, n]) for n, name in enumerate(ALL_METRICS)}
    return TelemetryColumns("", times, metrics, np.ones(count, np.uint8))


def _template(columns: TelemetryColumns) -> _Template:
    return _Template(
        tuple(_segments(columns)),
        tuple(aggregate([columns], seconds) for seconds in (MINUTE, HOUR, DAY)),
        columns.take(slice(-1, None)),
    )


def _segments(columns: TelemetryColumns) -> Iterator[CompactedSegment]:
    cuts = np.flatnonzero(np.diff(columns.time_unix_nano // (HOUR * SECOND))) + 1
    for rows in np.split(np.arange(len(columns)), cuts):
        part = columns.take(rows)
        times = int(part.time_unix_nano[0]), int(part.time_unix_nano[-1])
        yield CompactedSegment("", *times, len(part), compaction.encode(part))


def _write(store: SqliteStore, device_ids: Sequence[str], template: _Template) -> None:
    for start in range(0, len(device_ids), _DEVICES_AT_ONCE):
        some = device_ids[start : start + _DEVICES_AT_ONCE]
        store.transact(partial(_write_devices, device_ids=some, template=template))


def _write_devices(connection: Connection, device_ids: Sequence[str], template: _Template) -> None:
    for device_id in device_ids:
        _write_device(connection, device_id, template)


def _write_device(connection: Connection, device_id: str, template: _Template) -> None:
    connection.execute(sa.insert(devices).values((TENANT, device_id, 1)))
    newest = replace(template.newest, device_id=device_id)
    state = DeviceState(0, int(newest.time_unix_nano[0]), newest.encode())
    maintained.advance(connection, TENANT, {device_id: state})
    segments = [StoredSegment(segment._replace(device_id=device_id), 1) for segment in template.segments]
    maintained.insert_segments(connection, TENANT, segments)
    for rollups in template.rollups:
        rollup_rows.replace(connection, TENANT, replace(rollups, device_ids=(device_id,)))
