"""Answers that are sent while they are made."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from fastapi.responses import StreamingResponse

from spacelink.errors import SpaceLinkError

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from starlette.types import Send

_logger = logging.getLogger(__name__)


class PartsResponse(StreamingResponse):
    """Sends texts as they come.

    Its status is sent before its end is known. When the server fails halfway the
    connection is cut, so that a part is not taken for the whole.
    """

    def __init__(self, parts: AsyncGenerator[str], media_type: str) -> None:
        # Proxies that collect answers would keep live ones back.
        super().__init__(parts, headers={"X-Accel-Buffering": "no"}, media_type=media_type)

    async def stream_response(self, send: Send) -> None:
        """Send all there is."""
        try:
            await super().stream_response(send)
        except SpaceLinkError as error:
            _logger.warning("cut an answer off: %s", error)
