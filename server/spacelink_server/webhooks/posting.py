"""One HTTP/1.1 request on a connection of its own.

Of the answer only the head is read: receivers are not trusted to end it, nor to
keep it small. Redirects are not followed: they could lead anywhere.
"""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import io
import os
import re
import ssl
from typing import TYPE_CHECKING, NamedTuple

from spacelink_server.webhooks.targets import TargetError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from email.message import Message

    from spacelink_server.webhooks.targets import Target

# Far more than any answer's head has.
_MAX_HEAD = 16 * 1024

# Where there is another address: as long as it takes by satellite with a packet lost.
_CONNECT_SECONDS = 4.0

_STATUS_LINE = re.compile(rb"HTTP/1\.[01] ([1-9][0-9]{2})(?: [^\r\n]*)?\r\n")


class Answer(NamedTuple):
    """The head of an answer."""

    status_code: int
    headers: Message


async def post(
    target: Target, addresses: Sequence[str], headers: Mapping[str, str], body: bytes, context: ssl.SSLContext
) -> Answer:
    """Send a body and read the head of the answer; whoever calls it bounds its time.

    Args:
        target: what the request names.
        addresses: where to connect; of several the first that can be connected to.
        headers: besides those that say how the body is sent.
        body: the body.
        context: checks the certificate of a target with TLS.

    Raises:
        TargetError: says why there is no answer.
    """
    try:
        reader, writer = await _connect(target, addresses, context)
    except ssl.SSLCertVerificationError as error:
        raise TargetError(f"its certificate is not good: {error.verify_message}") from None
    except ssl.SSLError as error:
        raise TargetError(f"TLS failed: {error.reason}") from None
    except OSError as error:
        # Its own text may tell the address.
        reason = os.strerror(error.errno) if error.errno else type(error).__name__
        raise TargetError(f"cannot connect: {reason}") from None
    try:
        writer.write(_head(target, headers, body) + body)
        await writer.drain()
        return await _read_answer(reader)
    except (OSError, EOFError):
        raise TargetError("the connection ended before an answer") from None
    except asyncio.LimitOverrunError:
        raise TargetError(f"the head of the answer has more than {_MAX_HEAD} bytes") from None
    finally:
        writer.transport.abort()


async def _connect(
    target: Target, addresses: Sequence[str], context: ssl.SSLContext
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    for address in addresses[:-1]:
        with contextlib.suppress(OSError):
            async with asyncio.timeout(_CONNECT_SECONDS):
                return await _open(target, address, context)
    return await _open(target, addresses[-1], context)


async def _open(
    target: Target, address: str, context: ssl.SSLContext
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    return await asyncio.open_connection(
        address,
        target.port,
        limit=_MAX_HEAD,
        ssl=context if target.is_tls else None,
        # The certificate is the name's, whatever the address.
        server_hostname=target.host if target.is_tls else None,
    )


def _head(target: Target, headers: Mapping[str, str], body: bytes) -> bytes:
    framing = {"host": target.authority, "content-length": str(len(body)), "connection": "close"}
    lines = [f"{name}: {value}\r\n" for name, value in (framing | dict(headers)).items()]
    return "".join((f"POST {target.path} HTTP/1.1\r\n", *lines, "\r\n")).encode("ascii")


async def _read_answer(reader: asyncio.StreamReader) -> Answer:
    while True:
        head = await reader.readuntil(b"\r\n\r\n")
        match = _STATUS_LINE.match(head)
        if match is None:
            raise TargetError("the answer is not HTTP/1.1")
        status_code = int(match[1])
        # Answers that come before the answer.
        if status_code >= 200:
            return Answer(status_code, _headers(head[match.end() :]))


def _headers(data: bytes) -> Message:
    try:
        return http.client.parse_headers(io.BytesIO(data))
    except http.client.HTTPException:
        raise TargetError("the head of the answer cannot be read") from None
