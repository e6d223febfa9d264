"""What the uplink presents, and what it does when that is refused or replaced."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import grpc
import grpc.aio
import pytest

from spacelink._credentials import credentials
from spacelink.errors import PermissionDeniedError, UnauthenticatedError
from spacelink.uplink import Uplink
from tests.client.scripted import MemorySource, ScriptedServer, Stage
from tests.client.tokens import minted

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    from spacelink.token import Token

FIRST, SECOND = minted(), minted()


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give a token file at which is looked often."""
    monkeypatch.setattr("spacelink._credentials._LOOK_SECONDS", 0.01)
    path = tmp_path / "token"
    path.write_text(str(FIRST))
    return path


def replace(path: Path, token: Token) -> None:
    new = path.with_suffix(".new")
    new.write_text(str(token))
    new.replace(path)


def delivering(seen: list[str | None], committed: int) -> Callable[[Stage], Awaitable[None]]:
    async def scene(stage: Stage) -> None:
        seen.append(stage.authorization)
        await stage.start(committed=committed)
        await stage.rest()

    return scene


def refusing(
    code: grpc.StatusCode, meanwhile: Callable[[], None] = lambda: None
) -> Callable[[Stage], Awaitable[None]]:
    async def scene(stage: Stage) -> None:
        meanwhile()
        await stage.fail(code, "REFUSED")

    return scene


async def test_the_credential_opens_the_stream(scripted: ScriptedServer, channel: grpc.aio.Channel) -> None:
    seen: list[str | None] = []
    scripted.scenes = [delivering(seen, 0), delivering(seen, 0)]
    await Uplink(channel, MemorySource(1), credentials=credentials(token=FIRST)).run()
    await Uplink(channel, MemorySource(1)).run()
    assert seen == [f"Bearer {FIRST}", None]


@pytest.mark.usefixtures("no_backoff")
async def test_a_replaced_credential_opens_the_stream_again_and_nothing_is_lost(
    scripted: ScriptedServer, channel: grpc.aio.Channel, path: Path
) -> None:
    seen: list[str | None] = []
    sequences: list[int] = []

    async def until_replaced(stage: Stage) -> None:
        seen.append(stage.authorization)
        await stage.start()
        sequences.extend(await stage.batches(3))
        replace(path, SECOND)
        assert await stage.rest() == []
        # The client has closed its side and waits for what is not acked yet.
        await stage.ack(3)

    async def rest(stage: Stage) -> None:
        seen.append(stage.authorization)
        await stage.start(committed=3)
        sequences.extend(await stage.rest())

    source = MemorySource(5)
    scripted.scenes = [until_replaced, rest]
    await Uplink(channel, source, credentials=credentials(token_file=path), window=3).run()
    assert seen == [f"Bearer {FIRST}", f"Bearer {SECOND}"]
    assert sequences == [1, 2, 3, 4, 5]
    assert source.acked_through == 5


@pytest.mark.usefixtures("no_backoff")
@pytest.mark.parametrize("code", [grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED])
async def test_a_refusal_passes_when_there_is_another_credential(
    scripted: ScriptedServer, channel: grpc.aio.Channel, path: Path, code: grpc.StatusCode
) -> None:
    seen: list[str | None] = []
    scripted.scenes = [refusing(code, lambda: replace(path, SECOND)), delivering(seen, 0)]
    source = MemorySource(2)
    await Uplink(channel, source, credentials=credentials(token_file=path)).run()
    assert seen == [f"Bearer {SECOND}"]
    assert source.acked_through == 2


@pytest.mark.parametrize(
    ("code", "error"),
    [
        (grpc.StatusCode.UNAUTHENTICATED, UnauthenticatedError),
        (grpc.StatusCode.PERMISSION_DENIED, PermissionDeniedError),
    ],
)
async def test_a_refusal_of_the_same_credential_is_raised(
    scripted: ScriptedServer,
    channel: grpc.aio.Channel,
    path: Path,
    code: grpc.StatusCode,
    error: type[Exception],
) -> None:
    scripted.scenes = [refusing(code)]
    uplink = Uplink(channel, MemorySource(1), credentials=credentials(token_file=path))
    with pytest.raises(error, match="REFUSED"):
        await uplink.run()
    waiting = asyncio.ensure_future(uplink.credential_replaced())
    await asyncio.sleep(0)
    assert not waiting.done()
    replace(path, SECOND)
    async with asyncio.timeout(30):
        await waiting
