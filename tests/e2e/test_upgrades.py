"""Stores that older servers wrote, upgraded and served.

older_stores/ has what the first server (schema 0001) and the first one that
asked for tokens (0002) left in their SQLite databases, as SQL, and the secrets
of the latter; nothing in it was made by the code under test.
"""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import grpc.aio
import numpy as np
import pytest
import sqlalchemy as sa
from alembic import command
from click.testing import CliRunner

from spacelink import AsyncSpaceLinkClient, Token
from spacelink.columns import TelemetryColumns, concatenate
from spacelink.errors import SpaceLinkError
from spacelink_server.db_command import db
from spacelink_server.storage import migrations, postgres
from tests.conftest import ServerProcess, start_server
from tests.credentials import AuthorizedChannel
from tests.e2e.batches import START, make_batch
from tests.e2e.callers import OK
from tests.e2e.calls import sample_count, submit
from tests.e2e.commands import as_operator, spacelink
from tests.e2e.producer import Producer
from tests.server.conftest import KINDS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.postgres import Cluster

OLDER_STORES = Path(__file__).parent / "older_stores"
FIRST, WITH_TOKENS = "0001", "0002"
# As what is in them was stored.
STREAM, LAST_SEQUENCE = "stream-0", 5
REQUEST_ID = "submitted-once"


def dump(revision: str) -> sqlite3.Connection:
    """Give a database in memory with all that an older server left."""
    connection = sqlite3.connect(":memory:")
    connection.executescript((OLDER_STORES / f"{revision}.sql").read_text())
    return connection


def left_in_sqlite(revision: str, directory: Path) -> None:
    with closing(dump(revision)) as old, closing(sqlite3.connect(directory / "spacelink.db")) as new:
        new.execute("PRAGMA page_size = 16384")
        old.backup(new)


def left_in_postgres(revision: str, url: str) -> None:
    """Fill the tables that PostgreSQL had at the revision."""
    engine = postgres.make_engine(url)
    with engine.begin() as connection, closing(dump(revision)) as old:
        config = migrations._config()
        config.attributes["connection"] = connection
        command.upgrade(config, revision)
        names = {name for (name,) in old.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
        for table in set(sa.inspect(connection).get_table_names()) - names:
            connection.execute(sa.text(f"DROP TABLE {table}"))
        for name in names - {"alembic_version"}:
            fill(connection, sa.Table(name, sa.MetaData(), autoload_with=connection), old)
    engine.dispose()


def fill(connection: sa.Connection, table: sa.Table, old: sqlite3.Connection) -> None:
    flags = {column.name for column in table.c if isinstance(column.type, sa.Boolean)}
    cursor = old.execute(f"SELECT * FROM {table.name}")
    columns = [column for column, *_ in cursor.description]
    for row in cursor:
        values = dict(zip(columns, row, strict=True))
        connection.execute(table.insert(), {**values, **{flag: bool(values[flag]) for flag in flags}})


@dataclass(frozen=True)
class Upgraded:
    """A server on a store that an older one had left."""

    revision: str
    server: ServerProcess
    secrets: dict[str, Any]

    @property
    def tenant_id(self) -> str:
        return "default" if self.revision == FIRST else "acme"

    @property
    def token(self) -> str:
        """Of a caller that may read and write the tenant's telemetry."""
        return self.server.token if self.revision == FIRST else str(self.secrets["tokens"]["good"])

    def client(self, **credential: Any) -> AsyncSpaceLinkClient:
        return AsyncSpaceLinkClient(self.server.address, **credential or {"token": self.token})

    def channel(self) -> Any:
        return AuthorizedChannel(grpc.aio.insecure_channel(self.server.address), self.token)

    def stored(self) -> dict[str, TelemetryColumns]:
        """Give by device what the older server had stored."""
        query = "SELECT device_id, payload FROM telemetry_segments WHERE tenant_id = ? ORDER BY 1, segment_id"
        found: dict[str, list[TelemetryColumns]] = {}
        with closing(dump(self.revision)) as old:
            for device_id, payload in old.execute(query, (self.tenant_id,)):
                found.setdefault(device_id, []).append(TelemetryColumns.decode(payload))
        return {device_id: concatenate(batches) for device_id, batches in found.items()}


@pytest.fixture(scope="module", params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def upgraded(revision: str, kind: str, directory: Path, request: pytest.FixtureRequest) -> Iterator[Upgraded]:
    flags: tuple[str, ...] = ()
    if kind == "sqlite":
        left_in_sqlite(revision, directory)
    else:
        cluster: Cluster = request.getfixturevalue("cluster")
        flags = ("--database", cluster.create_database(empty=True))
        left_in_postgres(revision, flags[1])
    secrets = {}
    if revision == WITH_TOKENS:
        secrets = json.loads((OLDER_STORES / "0002.json").read_text())
        (directory / "master.key").write_text(secrets["master_key"] + "\n")
        (directory / "operator.token").write_text(secrets["operator_token"] + "\n")
    done = CliRunner().invoke(db, ["upgrade", *(flags or ("--data-dir", str(directory)))])
    assert done.exit_code == 0, done.output
    assert f"applied  {int(revision) + 1:04}" in done.output
    server = start_server(directory, *flags)
    yield Upgraded(revision, server, secrets)
    server.kill()


@pytest.fixture(scope="module")
def first(
    kind: str, tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> Iterator[Upgraded]:
    yield from upgraded(FIRST, kind, tmp_path_factory.mktemp("first"), request)


@pytest.fixture(scope="module")
def with_tokens(
    kind: str, tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> Iterator[Upgraded]:
    yield from upgraded(WITH_TOKENS, kind, tmp_path_factory.mktemp("with-tokens"), request)


@pytest.fixture(params=["first", "with_tokens"])
def either(request: pytest.FixtureRequest, first: Upgraded, with_tokens: Upgraded) -> Upgraded:
    return first if request.param == "first" else with_tokens


async def test_every_sample_is_there_as_it_was(either: Upgraded) -> None:
    wanted = either.stored()
    assert {device_id: len(columns) for device_id, columns in wanted.items()} == {
        "dish-a": 60,
        "dish-b": 60,
        "dish-d": 10,
        "site-7/dish-c": 60,
    }
    async with either.client() as client:
        found = await client.query_telemetry(list(wanted), as_columns=True)
        (summary,) = await client.summarize_telemetry(list(wanted))
    assert summary.sample_count == 190
    for device_id, columns in wanted.items():
        assert np.array_equal(found[device_id].time_unix_nano, columns.time_unix_nano)
        assert found[device_id].metrics.keys() == columns.metrics.keys() > {"latency_ms", "azimuth_deg"}
        for metric, values in columns.metrics.items():
            assert np.array_equal(found[device_id].metrics[metric], values), metric
        assert np.array_equal(found[device_id].status, columns.status)


async def test_a_stream_goes_on_and_nothing_is_stored_twice(either: Upgraded, device_id: str) -> None:
    async with either.channel() as channel:
        producer = await Producer.open(channel, STREAM)
        assert producer.committed == LAST_SEQUENCE
        # Other samples, which would show.
        await producer.send(LAST_SEQUENCE, make_batch(device_id, START))
        await producer.send(LAST_SEQUENCE + 1, make_batch(device_id, START + 10**12, count=7))
        await producer.acked(LAST_SEQUENCE + 1)
        await producer.close()
        await submit(channel, make_batch(device_id, START + 10**13), REQUEST_ID)
        assert await sample_count(channel, device_id) == 7


async def test_a_stream_hears_what_was_rejected(either: Upgraded) -> None:
    async with either.channel() as channel:
        producer = await Producer.open(channel, "stream-bad")
        assert producer.ready is not None
        assert producer.committed == 1
        # The first schema did not keep it.
        known = [] if either.revision == FIRST else [1]
        assert [rejected.sequence for rejected in producer.ready.rejected] == known
        await producer.send(2, make_batch("dish-bad", count=0))
        assert [rejected.reason for rejected in await producer.acked(2)] == ["NO_SAMPLES"]
        await producer.close()


# What is there only where tokens were asked for


async def answer(upgraded: Upgraded, **credential: Any) -> str:
    """Read telemetry; give OK, or the reason of the refusal."""
    async with upgraded.client(**credential) as client:
        try:
            await client.query_telemetry("dish-a", as_columns=True)
        except SpaceLinkError as error:
            return error.reason
    return OK


async def test_what_was_good_is_good_and_what_was_banned_is_refused(with_tokens: Upgraded) -> None:
    tokens = with_tokens.secrets["tokens"]
    made_offline = str(Token.parse(tokens["good"]).attenuate(label="made-offline"))
    heir_made_offline = str(Token.parse(tokens["heir"]).attenuate(label="made-offline"))
    asked = {**tokens, "made offline": made_offline, "heir made offline": heir_made_offline}
    assert {name: await answer(with_tokens, token=token) for name, token in asked.items()} == {
        "good": OK,
        "made offline": OK,
        "banned": "TOKEN_BANNED",
        "heir": "TOKEN_BANNED",
        "heir made offline": "TOKEN_BANNED",
        "lost": "TOKEN_BANNED",
    }
    assert await answer(with_tokens, api_key=with_tokens.secrets["api_key"]) == OK


async def test_a_user_logs_in_with_the_password_of_before(with_tokens: Upgraded) -> None:
    secrets = with_tokens.secrets
    async with with_tokens.client() as client:
        session = await client.create_session(secrets["user"], secrets["password"], tenant_id="acme")
    assert await answer(with_tokens, token=str(session.token)) == OK


def test_the_audit_chain_is_intact_and_goes_on(with_tokens: Upgraded, tmp_path: Path) -> None:
    before = (OLDER_STORES / "0002.audit.jsonl").read_bytes()
    as_operator(with_tokens.server, "token", "mint", "--tenant", "acme", "--label", "after")
    exported = tmp_path / "acme.jsonl"
    as_operator(with_tokens.server, "audit", "export", str(exported), "--tenant", "acme")
    assert exported.read_bytes().startswith(before)
    verified = spacelink("audit", "verify", str(exported))
    assert verified.returncode == 0
    count = len(exported.read_bytes().splitlines())
    assert count > len(before.splitlines())
    assert f"{count} events, all intact" in verified.stdout


def test_tokens_and_bans_are_listed_as_they_were(with_tokens: Upgraded) -> None:
    with closing(dump(WITH_TOKENS)) as old:
        tokens = old.execute("SELECT token_id FROM tokens WHERE tenant_id = 'acme'").fetchall()
        bans = old.execute("SELECT ban_id FROM bans WHERE tenant_id = 'acme'").fetchall()
    assert (len(tokens), len(bans)) == (7, 2)
    listed = as_operator(with_tokens.server, "token", "list", "--tenant", "acme", "--output", "json")
    assert {(json.loads(line)["token_id"],) for line in listed.splitlines()} >= set(tokens)
    listed = as_operator(with_tokens.server, "token", "bans", "--tenant", "acme", "--output", "json")
    assert {(json.loads(line)["ban_id"],) for line in listed.splitlines()} >= set(bans)
