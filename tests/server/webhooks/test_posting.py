from __future__ import annotations

import asyncio
import contextlib
import ssl
from typing import TYPE_CHECKING, Any

import pytest

from spacelink_server.webhooks.posting import post
from spacelink_server.webhooks.targets import Target, TargetError
from tests.certificates import Authority
from tests.server.webhooks.receiver import receiving

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

HEADERS = {"content-type": "application/json", "webhook-id": "m"}


@contextlib.asynccontextmanager
async def answering(data: bytes) -> AsyncIterator[tuple[Target, list[bytes]]]:
    """Run a server that sends these bytes whatever it gets, and goes away."""
    seen: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, EOFError):
            head = await reader.readuntil(b"\r\n\r\n")
            seen.append(head + await reader.readexactly(2))
            writer.write(data)
            await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield Target(False, "hooks.example", server.sockets[0].getsockname()[1], "/a?b"), seen


async def send(target: Target, *addresses: str, context: ssl.SSLContext | None = None) -> Any:
    context = context or ssl.create_default_context()
    return await post(target, addresses or ("127.0.0.1",), HEADERS, b"{}", context)


async def test_sends_one_request_to_the_address_for_the_name() -> None:
    async with answering(b"HTTP/1.1 200 OK\r\nretry-after: 7\r\nX-A: b\r\n\r\n") as (target, seen):
        answer = await send(target)
    assert (answer.status_code, answer.headers["Retry-After"]) == (200, "7")
    assert seen == [
        b"POST /a?b HTTP/1.1\r\n"
        + f"host: hooks.example:{target.port}\r\n".encode()
        + b"content-length: 2\r\nconnection: close\r\n"
        + b"content-type: application/json\r\nwebhook-id: m\r\n\r\n{}"
    ]


async def test_an_answer_may_be_preceded_and_need_not_end() -> None:
    data = (
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\nHTTP/1.0 503\r\n\r\n"
        + b"x" * 99
    )
    async with answering(data) as (target, _):
        assert (await send(target)).status_code == 503


async def test_goes_on_to_the_next_address() -> None:
    async with answering(b"HTTP/1.1 204 No Content\r\n\r\n") as (target, _):
        assert (await send(target, "127.0.0.2", "127.0.0.1")).status_code == 204


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b"", "ended before an answer"),
        (b"HTTP/1.1 200 OK\r\n", "ended before an answer"),
        (b"HTTP/1.1 200 OK\r\n" + b"a: b\r\n" * 4000 + b"\r\n", "more than 16384 bytes"),
        (b"SSH-2.0-OpenSSH_9.2\r\n\r\n", "not HTTP"),
        (b"HTTP/1.1 2000 OK\r\n\r\n", "not HTTP"),
        (b"HTTP/2 200\r\n\r\n", "not HTTP"),
        (b"HTTP/1.1 200 OK\r\n" + b"a: b\r\n" * 200 + b"\r\n", "cannot be read"),
    ],
)
async def test_says_what_is_wrong_with_an_answer(data: bytes, text: str) -> None:
    async with answering(data) as (target, _):
        with pytest.raises(TargetError, match=text):
            await send(target)


async def test_says_that_nobody_is_there() -> None:
    async with answering(b"") as (target, _):
        pass
    with pytest.raises(TargetError, match="cannot connect: Connection refused") as caught:
        await send(target)
    assert "127.0.0.1" not in str(caught.value)


async def test_the_certificate_must_be_the_names(tmp_path: Path) -> None:
    """The connection goes to an address, the certificate is that of the name."""
    authority = Authority(tmp_path)
    context = ssl.create_default_context(cafile=authority.cert)
    identity = authority.issue("hooks.example")
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(identity.cert, identity.key)
    with receiving(tls=tls) as receiver:
        target = Target(True, "hooks.example", receiver.port, "/")
        assert (await send(target, context=context)).status_code == 204
        assert receiver.received[0].headers["host"] == target.authority
        with pytest.raises(TargetError, match="certificate is not good"):
            await send(target._replace(host="other.example"), context=context)
        with pytest.raises(TargetError, match="certificate is not good"):
            await send(target)
        assert len(receiver.received) == 1


async def test_a_server_without_tls_is_told_nothing() -> None:
    with receiving() as receiver:
        with pytest.raises(TargetError, match=r"TLS failed|ended before"):
            await send(Target(True, "hooks.example", receiver.port, "/"))
        assert receiver.received == []
