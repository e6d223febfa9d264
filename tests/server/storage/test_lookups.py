"""How SQLite finds what maintenance and reads ask for: by device, however much a tenant has."""

from __future__ import annotations

import re
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
import sqlalchemy as sa

from spacelink_server.maintenance.maintenance import Maintenance, Schedule
from spacelink_server.storage import latest
from spacelink_server.storage.schema import telemetry_segments
from spacelink_server.storage.sqlite import SqliteStore
from tests.server.maintenance.fleet import DEVICES, HOUR, SECOND, TENANT, some_samples, submit
from tests.server.samples import T0

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

# Also by the name that a look-up of several keys gives them.
LARGE = ("telemetry_segments", "compacted_segments", "rollups", "found")
# Of a step of a plan: the table, and what of it is compared with something.
_STEP = re.compile(r"(SCAN|SEARCH) (\w+)(?:.*\((.*)\))?")


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SqliteStore]:
    store = SqliteStore(tmp_path)
    for seed, device_id in enumerate(DEVICES):
        submit(store, *(some_samples(seed, device_id, n * 100 * SECOND, 60) for n in range(90)))
    yield store
    store.close()


@pytest.fixture
def statements(store: SqliteStore) -> Iterator[dict[str, Any]]:
    """Give all statements that are run, each with some of its values."""
    found: dict[str, Any] = {}

    def note(_c: Any, _cursor: Any, statement: str, values: Any, _context: Any, many: bool) -> None:
        found[statement] = values[0] if many else values

    sa.event.listen(store._engine, "before_cursor_execute", note)
    yield found
    sa.event.remove(store._engine, "before_cursor_execute", note)


def steps(store: SqliteStore, statements: dict[str, Any]) -> Iterator[tuple[str, str, str, str]]:
    """Give the steps of all plans: the statement, SCAN or SEARCH, the table or its name, the comparisons."""
    for statement, values in list(statements.items()):
        if not statement.startswith(("SELECT", "DELETE", "UPDATE", "WITH")):
            continue
        query = f"EXPLAIN QUERY PLAN {statement}"
        for *_, detail in store.read(lambda c, q=query, v=values: c.exec_driver_sql(q, v).all()):
            if step := _STEP.match(detail):
                yield statement, step[1], step[2], step[3] or ""


def coarse(store: SqliteStore, statements: dict[str, Any]) -> list[tuple[str, ...]]:
    """Give the steps that read more of a large table than some devices'."""
    return [
        step
        for step in steps(store, statements)
        if step[2] in LARGE and not re.search(r"\b(device_id|rowid)\b", step[3])
    ]


def test_maintenance_and_reads_look_up_what_they_want(store: SqliteStore, statements: dict[str, Any]) -> None:
    newest = partial(latest.newest_samples, tenant_id=TENANT, device_ids=list(DEVICES))
    assert store.read(newest).keys() == set(DEVICES)
    Maintenance(store, Schedule(rest=0), clock=lambda: T0 + 48 * HOUR * SECOND).run_pass()
    assert store.read(newest).keys() == set(DEVICES)
    assert len(statements) > 30
    assert {step[2] for step in steps(store, statements)} >= set(LARGE)
    assert coarse(store, statements) == []


def test_what_reads_all_of_a_tenant_is_found(store: SqliteStore, statements: dict[str, Any]) -> None:
    t = telemetry_segments.c
    some = sa.tuple_(t.device_id, t.first_time_unix_nano).in_([("dish-1", 1), ("dish-2", 2)])
    store.read(lambda connection: connection.execute(sa.select(t.payload).where(t.tenant_id == TENANT, some)))
    ((statement, *step),) = coarse(store, statements)
    assert statement.startswith("SELECT telemetry_segments.payload")
    assert step == ["SEARCH", "telemetry_segments", "tenant_id=?"]
