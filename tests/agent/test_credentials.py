"""The agent's credential: presented, refused, replaced, and never shown."""

from __future__ import annotations

import asyncio
import os
import re
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
        refusal = await process.stdout.readuntil(b"told so (TOKEN_EXPIRED); ")
        replace(token_file, SECOND)
        await delivered.wait()
    process.terminate()
    status, output = await finish(process)
    output = refusal.decode() + output
    assert status == 0, output
    assert seen == [f"Bearer {FIRST}", f"Bearer {SECOND}"]
    assert f"told so (TOKEN_EXPIRED); put another into {token_file}; next attempt in 60 s" in output
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
    assert f"Error: told so (TOKEN_BANNED); put another into {token_file}\n" in output
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


async def test_a_token_of_another_device_is_not_presented_and_samples_wait(
    server: ScriptedServer, tmp_path: Path, token_file: Path
) -> None:
    others, own = minted("device = other"), minted("device = dish site/*")
    replace(token_file, others)
    seen: list[str | None] = []
    delivered = asyncio.Event()
    server.scenes = [delivery(seen, delivered)]
    process = await start(server, tmp_path, *SIMULATOR, "--token-file", str(token_file))
    assert process.stdout is not None
    async with asyncio.timeout(30):
        refusal = await process.stdout.readuntil(b"next attempt in 60 s, or when there is another\n")
        replace(token_file, own)
        await delivered.wait()
        # While one is good, another that is not does not take its place.
        replace(token_file, others)
        kept = await process.stdout.readuntil(b"keeping the credential at hand: ")
    process.terminate()
    status, output = await finish(process)
    assert status == 0, output
    problem = "the token is for --device-id other, not for dish"
    told = f"samples wait in the spool: {problem} (DEVICE_DENIED); put another into {token_file};"
    assert told in refusal.decode()
    assert output.startswith(problem)
    assert seen == [f"Bearer {own}"]
    assert str(others) not in refusal.decode() + kept.decode() + output


async def test_what_is_left_is_told_at_the_end(
    server: ScriptedServer, tmp_path: Path, token_file: Path
) -> None:
    async def banned(stage: Stage) -> None:
        await stage.start()
        assert await stage.read() is not None
        await stage.fail(grpc.StatusCode.PERMISSION_DENIED, "TOKEN_BANNED")

    server.scenes = [banned]
    process = await start(server, tmp_path, *SIMULATOR, "--token-file", str(token_file))
    assert process.stdout is not None
    async with asyncio.timeout(30):
        await process.stdout.readuntil(b"told so (TOKEN_BANNED); ")
    process.terminate()
    status, output = await finish(process)
    assert status == 0, output
    told = rf"batches that stay in the spool {tmp_path / 'spool'}: [1-9]\d*; the next start sends them"
    assert re.search(told, output)


@pytest.mark.parametrize("collector", ["simulator", "replay"])
async def test_without_a_credential_it_ends_where_one_is_needed(
    server: ScriptedServer, tmp_path: Path, collector: str
) -> None:
    async def refuses(stage: Stage) -> None:
        await stage.fail(grpc.StatusCode.UNAUTHENTICATED, "CREDENTIAL_REQUIRED")

    server.scenes = [refuses]
    path = write_recording(tmp_path / "day.csv", [fjordlink_row()])
    flags = {"simulator": SIMULATOR, "replay": ("--collector", "replay", "--file", str(path))}[collector]
    status, output = await finish(await start(server, tmp_path, *flags))
    assert status == 1
    problem = "the server asks for a credential: give --token-file FILE, or set SPACELINK_TOKEN"
    assert output.endswith(f"Error: {problem}\n")


@pytest.mark.parametrize("source", ["file", "environment"])
def test_what_cannot_wait_for_another_token_is_told_at_once(
    tmp_path: Path, token_file: Path, source: str
) -> None:
    others = minted("device = other site/*")
    replace(token_file, others)
    path = write_recording(tmp_path / "day.csv", [fjordlink_row()])
    arguments = ["--spool", str(tmp_path / "spool"), "--device-id", "dish"]
    if source == "file":
        arguments += ["--collector", "replay", "--file", str(path), "--token-file", str(token_file)]
    else:
        arguments += ["--collector", "simulator"]
    variables = {"SPACELINK_TOKEN": str(others)} if source == "environment" else {}
    result = CliRunner().invoke(agent, arguments, env=variables)
    assert result.exit_code == 2
    problem = "the token is for --device-id other site/*, not for dish; "
    remedy = f"put another into {token_file}" if source == "file" else "set SPACELINK_TOKEN or"
    assert problem + remedy in result.output
    assert not (tmp_path / "spool").exists()


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
