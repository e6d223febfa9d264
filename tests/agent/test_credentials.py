"""The agent's credential: presented, refused, replaced, and never shown."""

from __future__ import annotations

import asyncio
import os
import sys
from asyncio.subprocess import Process
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import grpc
import pytest
from click.testing import CliRunner

from spacelink.token import Token
from spacelink_agent.command import agent
from tests.agent.recording import fjordlink_row, write_recording
from tests.client.scripted import ScriptedServer, Stage
from tests.client.tokens import minted
from tests.conftest import EXIT_SECONDS

FIRST, SECOND = minted(), minted()
API_KEY = "slak_acme.key.secret"


@pytest.fixture
async def server() -> AsyncIterator[ScriptedServer]:
    server = ScriptedServer()
    await server.start()
    yield server
    await server.stop()


@pytest.fixture
def token_file(tmp_path: Path) -> Path:
    path = tmp_path / "agent.token"
    path.write_text(f"{FIRST}\n")
    return path


def replace(path: Path, token: Token) -> None:
    new = path.with_suffix(".new")
    new.write_text(f"{token}\n")
    new.replace(path)


async def start(
    server: ScriptedServer, tmp_path: Path, *flags: str, **variables: str
) -> asyncio.subprocess.Process:
    command = [sys.executable, "-m", "spacelink", "agent", "--server", server.address]
    return await asyncio.create_subprocess_exec(
        *command,
        *("--spool", str(tmp_path / "spool"), "--device-id", "dish"),
        *flags,
        env={**os.environ, **variables},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )


async def finish(process: Process) -> tuple[int, str]:
    """Wait until it ends, and give its status and what it said."""
    async with asyncio.timeout(EXIT_SECONDS):
        output, _ = await process.communicate()
    assert process.returncode is not None
    return process.returncode, output.decode()


SIMULATOR = ("--collector", "simulator", "--interval", "0.1", "--batch-age", "0.1")


def delivery(
    seen: list[str | None], done: asyncio.Event, count: int = 3
) -> Callable[[Stage], Awaitable[None]]:
    """Make a scene that takes all batches, and says when there were some."""

    async def scene(stage: Stage) -> None:
        seen.append(stage.authorization)
        await stage.start()
        for sequence in range(1, count + 1):
            assert await stage.read() is not None
            await stage.ack(sequence)
        done.set()
        while (request := await stage.read()) is not None:
            await stage.ack(request.batch.sequence)

    return scene


async def test_an_expired_token_is_waited_out_and_nothing_is_dropped(
    server: ScriptedServer, tmp_path: Path, token_file: Path
) -> None:
    seen: list[str | None] = []
    delivered = asyncio.Event()

    async def expired(stage: Stage) -> None:
        seen.append(stage.authorization)
        await stage.fail(grpc.StatusCode.UNAUTHENTICATED, "TOKEN_EXPIRED")

    server.scenes = [expired, delivery(seen, delivered)]
    process = await start(server, tmp_path, *SIMULATOR, "--token-file", str(token_file))
    # Long before it would ask again by itself.
    assert process.stdout is not None
    async with asyncio.timeout(30):
        refusal = await process.stdout.readuntil(b"UNAUTHENTICATED TOKEN_EXPIRED: told so\n")
        replace(token_file, SECOND)
        await delivered.wait()
    process.terminate()
    status, output = await finish(process)
    output = refusal.decode() + output
    assert status == 0, output
    assert seen == [f"Bearer {FIRST}", f"Bearer {SECOND}"]
    assert "the server refuses; next attempt in 60 s" in output
    assert "0 rejected, 0 dropped" in output
    assert str(FIRST) not in output
    assert str(SECOND) not in output


async def test_a_replaced_token_opens_the_stream_again(
    server: ScriptedServer, tmp_path: Path, token_file: Path
) -> None:
    seen: list[str | None] = []
    delivered = asyncio.Event()
    cursor = 0

    async def replaced(stage: Stage) -> None:
        nonlocal cursor
        seen.append(stage.authorization)
        await stage.start()
        replace(token_file, SECOND)
        cursor = max(await stage.rest(), default=0)

    async def following(stage: Stage) -> None:
        seen.append(stage.authorization)
        await stage.start(committed=cursor)
        request = await stage.read()
        assert request is not None
        assert request.batch.sequence == cursor + 1
        await stage.ack(cursor + 1)
        delivered.set()
        await stage.rest()

    server.scenes = [replaced, following]
    process = await start(server, tmp_path, *SIMULATOR, "--token-file", str(token_file))
    async with asyncio.timeout(30):
        await delivered.wait()
    process.terminate()
    status, output = await finish(process)
    assert status == 0, output
    assert seen == [f"Bearer {FIRST}", f"Bearer {SECOND}"]


async def test_a_refused_replay_ends_and_goes_on_with_another_token(
    server: ScriptedServer, tmp_path: Path, token_file: Path
) -> None:
    async def banned(stage: Stage) -> None:
        await stage.fail(grpc.StatusCode.PERMISSION_DENIED, "TOKEN_BANNED")

    async def everything(stage: Stage) -> None:
        await stage.start()
        await stage.rest()

    server.scenes = [banned, everything]
    rows = [fjordlink_row(f"2026-01-01T00:00:{row:02}Z") for row in range(12)]
    path = write_recording(tmp_path / "day.csv", rows)
    flags = ("--collector", "replay", "--file", str(path), "--speed", "max", "--token-file", str(token_file))
    status, output = await finish(await start(server, tmp_path, *flags))
    assert status == 1
    assert "Error: PERMISSION_DENIED TOKEN_BANNED: told so" in output
    replace(token_file, SECOND)
    status, output = await finish(await start(server, tmp_path, *flags))
    assert status == 0, output
    assert "12 samples in 1 batches stored, 0 rejected, 0 dropped" in output


@pytest.mark.parametrize(
    ("variable", "value", "header"),
    [
        ("SPACELINK_TOKEN", str(FIRST), ("authorization", f"Bearer {FIRST}")),
        ("SPACELINK_API_KEY", API_KEY, ("x-api-key", API_KEY)),
    ],
)
async def test_a_credential_may_come_from_the_environment(
    server: ScriptedServer, tmp_path: Path, variable: str, value: str, header: tuple[str, str]
) -> None:
    seen = asyncio.Event()

    async def scene(stage: Stage) -> None:
        assert header in stage.metadata
        await stage.start()
        seen.set()
        await stage.rest()

    server.scenes = [scene]
    process = await start(server, tmp_path, *SIMULATOR, **{variable: value})
    async with asyncio.timeout(30):
        await seen.wait()
    process.terminate()
    status, output = await finish(process)
    assert status == 0, output
    assert value not in output


def test_a_credential_that_is_none_is_not_shown(tmp_path: Path) -> None:
    arguments = ["--collector", "simulator", "--spool", str(tmp_path / "spool")]
    result = CliRunner().invoke(agent, arguments, env={"SPACELINK_TOKEN": f"{FIRST}="})
    assert result.exit_code == 2
    assert "SPACELINK_TOKEN: not a token (slk_...): not base64url" in result.output
    assert str(FIRST) not in result.output


async def test_the_flag_goes_before_the_environment(
    server: ScriptedServer, tmp_path: Path, token_file: Path
) -> None:
    seen = asyncio.Event()

    async def scene(stage: Stage) -> None:
        assert ("authorization", f"Bearer {FIRST}") in stage.metadata
        await stage.start()
        seen.set()
        await stage.rest()

    server.scenes = [scene]
    process = await start(
        server,
        tmp_path,
        *(*SIMULATOR, "--token-file", str(token_file)),
        SPACELINK_API_KEY=API_KEY,
        SPACELINK_API_KEY_FILE=str(tmp_path / "nowhere"),
    )
    async with asyncio.timeout(30):
        await seen.wait()
    process.terminate()
    status, output = await finish(process)
    assert status == 0, output
