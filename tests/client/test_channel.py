"""Where connections are plain and where they are not."""

from __future__ import annotations

import pytest

from spacelink._channel import is_loopback


@pytest.mark.parametrize("target", ["127.0.0.1:50051", "127.8.8.8:1", "localhost:50051", "[::1]:50051"])
def test_loopback(target: str) -> None:
    assert is_loopback(target)


@pytest.mark.parametrize(
    "target",
    [
        "192.0.2.1:50051",
        "0.0.0.0:50051",
        "example.com:50051",
        "[2001:db8::1]:1",
        "localhost.example.com:1",
        "",
    ],
)
def test_not_loopback(target: str) -> None:
    assert not is_loopback(target)
