from __future__ import annotations

import asyncio
import socket
from typing import Any

import pytest

from spacelink_server.webhooks.targets import Target, TargetError, Targets, is_public

STRICT = Targets(allow_private=False)
LAX = Targets(allow_private=True)


@pytest.mark.parametrize(
    ("url", "target"),
    [
        ("https://example.com", Target(True, "example.com", 443, "/")),
        ("https://example.com:8443/a/b?c=d&e", Target(True, "example.com", 8443, "/a/b?c=d&e")),
        ("HTTPS://EXAMPLE.com/A", Target(True, "example.com", 443, "/A")),
        ("https://[2001:db8::1]:444/x", Target(True, "2001:db8::1", 444, "/x")),
    ],
)
def test_reads_urls(url: str, target: Target) -> None:
    assert STRICT.parse(url) == target


def test_the_host_header_has_a_port_where_it_must() -> None:
    authorities = [
        STRICT.parse(url).authority
        for url in ("https://a.example", "https://a.example:444", "https://[2001:db8::1]", "https://[::1]:9")
    ]
    assert authorities == ["a.example", "a.example:444", "[2001:db8::1]", "[::1]:9"]
    assert LAX.parse("http://a.example:80").authority == "a.example"


@pytest.mark.parametrize(
    "url",
    [
        "",
        "example.com",
        "ftp://example.com/",
        "file:///etc/passwd",
        "https://",
        "https:///path",
        "https://example.com:0/",
        "https://example.com:99999/",
        "https://example.com:x/",
        "https://example.com/#a",
        "https://example.com/a b",
        "https://example.com/\r\nx: y",
        "https://exämple.com/",
        "https://user:secret@example.com/",
        "https://user@example.com/",
        "https://[::1",
        "https://[fe80::1%25eth0]/",
        "https://[v1.a:b]/",
        "https://.example.com/",
        "https://a..example.com/",
        "https://-a.example.com/",
        "https://a,b.example.com/",
        f"https://{'a' * 64}.example.com/",
        "https://example.com/" + "a" * 2048,
    ],
)
def test_refuses_what_is_no_url_to_send_to(url: str) -> None:
    for targets in (STRICT, LAX):
        with pytest.raises(TargetError, match="expected"):
            targets.parse(url)


def test_plain_text_must_be_allowed() -> None:
    with pytest.raises(TargetError, match="https"):
        STRICT.parse("http://example.com/")
    assert LAX.parse("http://example.com/") == Target(False, "example.com", 80, "/")


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1",
        "127.8.8.8",
        "10.1.2.3",
        "172.16.0.1",
        "192.168.1.1",
        "169.254.169.254",
        "100.64.0.1",
        "0.0.0.0",
        "255.255.255.255",
        "224.0.0.1",
        "240.0.0.1",
        "192.0.2.1",
        "::1",
        "::",
        "fe80::1",
        "fe80::1%eth0",
        "fc00::1",
        "fec0::1",
        "ff02::1",
        "2001:db8::1",
        "::ffff:127.0.0.1",
        "::ffff:10.0.0.1",
        "64:ff9b::a9fe:a9fe",
        "2002:7f00:1::",
        "2001:0:4136:e378:8000:63bf:3fff:fdd2",
    ],
)
def test_addresses_that_are_not_public(address: str) -> None:
    assert not is_public(address)


@pytest.mark.parametrize(
    "address", ["8.8.8.8", "93.184.216.34", "2606:4700::1111", "::ffff:8.8.8.8", "64:ff9b::808:808"]
)
def test_addresses_that_are_public(address: str) -> None:
    assert is_public(address)


async def resolve(monkeypatch: pytest.MonkeyPatch, targets: Targets, *addresses: str) -> list[str]:
    """Resolve a name that means these addresses."""

    async def getaddrinfo(*_: Any, **__: Any) -> list[Any]:
        if not addresses:
            raise socket.gaierror(socket.EAI_NONAME, "no such name")
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, 443)) for address in addresses]

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", getaddrinfo)
    return await targets.resolve(targets.parse("https://hooks.example/"))


async def test_one_private_address_among_public_ones_is_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    assert await resolve(monkeypatch, STRICT, "8.8.8.8", "8.8.4.4", "8.8.8.8") == ["8.8.8.8", "8.8.4.4"]
    with pytest.raises(TargetError, match="not public") as caught:
        await resolve(monkeypatch, STRICT, "8.8.8.8", "10.0.0.1")
    assert "10.0.0.1" not in str(caught.value)
    assert await resolve(monkeypatch, LAX, "10.0.0.1") == ["10.0.0.1"]


async def test_a_name_that_means_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    for targets in (STRICT, LAX):
        with pytest.raises(TargetError, match="does not resolve"):
            await resolve(monkeypatch, targets)


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "localhost", "2130706433", "0x7f.1", "[::1]", "[::ffff:7f00:1]"]
)
async def test_this_machine_is_refused_however_it_is_written(host: str) -> None:
    with pytest.raises(TargetError, match=r"not public|does not resolve"):
        await STRICT.resolve(STRICT.parse(f"https://{host}/"))
