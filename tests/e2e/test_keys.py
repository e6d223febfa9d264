"""Root keys and the master key: rotation, where they are kept, and who may read them."""

from __future__ import annotations

import asyncio
import re
import secrets
import stat
import subprocess
import sys
import time
from datetime import timedelta
from typing import TYPE_CHECKING

import grpc
import grpc.aio
import pytest

from spacelink import Token
from tests.conftest import ANY_PORT, EXIT_SECONDS, ServerProcess, StartServer
from tests.e2e.callers import OK, calling, reason_of
from tests.e2e.producer import Producer
from tests.leaks import WATCH

if TYPE_CHECKING:
    from pathlib import Path

OVERLAP = timedelta(seconds=5)


async def asks(server: ServerProcess, token: Token) -> str:
    async with calling(server, token) as (caller,):
        return await caller.asks()


async def test_a_rotated_key_is_good_until_its_overlap_ends(server: ServerProcess) -> None:
    async with server.admin() as admin:
        await admin.create_tenant("acme")
        old = await admin.mint_token(tenant_id="acme")
        other = await admin.mint_token()
        async with calling(server, old.attenuate(label="made-offline")) as (caller,):
            producer = await Producer.open(caller.channel, "stream")
            rotation = await admin.rotate_tenant_key("acme", overlap=OVERLAP)
            new = await admin.mint_token(tenant_id="acme")
            assert (rotation.key_version, new.identifier.key_version) == (2, 2)
            assert rotation.old_key_expire_time is not None
            end = rotation.old_key_expire_time.timestamp()
            found = [await asks(server, token) for token in (old, new, other)]
            assert found == [OK] * 3 or time.time() >= end
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await producer.to_end()
        assert time.time() >= end
        assert (caught.value.code(), reason_of(caught.value)) == (
            grpc.StatusCode.UNAUTHENTICATED,
            "TOKEN_EXPIRED",
        )
    found = [await asks(server, token) for token in (old, old.attenuate(label="a"), new, other)]
    assert found == ["INVALID_TOKEN", "INVALID_TOKEN", OK, OK]


async def test_of_many_rotations_at_once_each_gives_a_key(server: ServerProcess) -> None:
    async with server.admin() as admin:
        rotations = [admin.rotate_tenant_key("default", overlap=timedelta(hours=1)) for _ in range(8)]
        versions = [rotation.key_version for rotation in await asyncio.gather(*rotations)]
        assert sorted(versions) == list(range(2, 10))
        assert (await admin.mint_token()).identifier.key_version == 9


def refused(data_dir: Path) -> str:
    """Start a server that must not come up, and give its one line."""
    command = [
        sys.executable,
        "-m",
        "spacelink",
        "server",
        "--data-dir",
        str(data_dir),
        "--log-level",
        "debug",
    ]
    done = subprocess.run(
        [*command, "--listen", ANY_PORT, "--admin-listen", ANY_PORT],
        capture_output=True,
        text=True,
        timeout=EXIT_SECONDS,
        check=False,
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert "Traceback" not in done.stderr
    (line,) = (line for line in done.stderr.splitlines() if line.startswith("Error: "))
    assert not re.search(r"[0-9a-f]{64}", done.stderr), "it says what is wrong, never what the key is"
    return line


async def test_rotated_keys_of_a_master_key_in_the_environment_hold_after_a_kill(
    tmp_path: Path, servers: StartServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SPACELINK_MASTER_KEY", WATCH.text(secrets.token_hex(32)))
    server = servers(tmp_path)
    async with server.admin() as admin:
        first = await admin.mint_token()
        await admin.rotate_tenant_key("default", overlap=timedelta(hours=1))
        second = await admin.mint_token()
        await admin.rotate_tenant_key("default", overlap=timedelta(0))
        third = await admin.mint_token()
    server.kill()
    assert not (tmp_path / "master.key").exists()
    server = servers(tmp_path)
    assert [await asks(server, token) for token in (first, second, third)] == [OK, "INVALID_TOKEN", OK]
    server.kill()
    # Without the variable, and with another key in it.
    monkeypatch.delenv("SPACELINK_MASTER_KEY")
    assert f"{tmp_path / 'master.key'} is missing" in refused(tmp_path)
    assert not (tmp_path / "master.key").exists()
    monkeypatch.setenv("SPACELINK_MASTER_KEY", secrets.token_hex(32))
    assert "the master key is not the one that the store was made with" in refused(tmp_path)


def modes(directory: Path) -> dict[str, str]:
    """Give the permissions of a directory and of what is in it."""
    return {
        path.name if path != directory else ".": stat.filemode(path.stat().st_mode)
        for path in (directory, *directory.iterdir())
    }


def test_what_the_server_makes_is_for_its_owner_only(tmp_path: Path) -> None:
    data_dir = tmp_path / "var" / "spacelink"
    command = [sys.executable, "-m", "spacelink", "server", "--data-dir", str(data_dir)]
    process = subprocess.Popen(
        [
            "sh",
            "-c",
            'umask 022; exec "$@"',
            "sh",
            *command,
            "--listen",
            ANY_PORT,
            "--admin-listen",
            ANY_PORT,
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline().startswith("ready ")
        found = modes(data_dir)
    finally:
        process.kill()
        process.communicate(timeout=EXIT_SECONDS)
    assert found.pop(".") == "drwx------"
    assert {"master.key", "operator.token", "spacelink.db", "spacelink.db-wal"} <= found.keys()
    assert set(found.values()) == {"-rw-------"}
