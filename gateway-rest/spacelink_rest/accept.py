"""Which of several forms a caller wants an answer in."""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING

from starlette.exceptions import HTTPException

if TYPE_CHECKING:
    from collections.abc import Sequence


def choose(accept: str, offers: Sequence[str]) -> str:
    """Choose a media type (RFC 9110, section 12.5.1).

    Args:
        accept: the header's value; empty means all are welcome.
        offers: the media types there are, the preferred one first.

    Raises:
        HTTPException: 406, none of them is wanted.
    """
    ranges = dict(map(_parse, accept.split(","))) if accept.strip() else {"*/*": 1.0}
    best = max(offers, key=lambda offer: _quality(offer, ranges))
    if not _quality(best, ranges):
        raise HTTPException(HTTPStatus.NOT_ACCEPTABLE, f"Accept: expected one of {', '.join(offers)}")
    return best


def _parse(item: str) -> tuple[str, float]:
    media_range, *parameters = (part.strip().lower() for part in item.split(";"))
    for parameter in parameters:
        if parameter.startswith("q="):
            try:
                return media_range, float(parameter.removeprefix("q="))
            except ValueError:
                return media_range, 0.0
    return media_range, 1.0


def _quality(offer: str, ranges: dict[str, float]) -> float:
    """Give the quality by the most specific range that the offer is in."""
    for media_range in (offer, f"{offer.partition('/')[0]}/*", "*/*"):
        if media_range in ranges:
            return ranges[media_range]
    return 0.0
