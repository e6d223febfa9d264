"""What the tests read out of answers."""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import httpx


def problem(response: httpx.Response, status: int) -> dict[str, Any]:
    """Give the problem that a request was answered with, having looked at its form."""
    assert response.status_code == status, response.text
    assert response.headers["Content-Type"] == "application/problem+json"
    told: dict[str, Any] = response.json()
    assert told["type"] == "about:blank"
    assert told["title"] == HTTPStatus(status).phrase
    assert told["status"] == status
    assert told["detail"]
    assert told["reason"].isupper()
    return told
