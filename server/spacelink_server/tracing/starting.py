"""Starts tracing where it is asked for; nothing of OpenTelemetry is imported elsewhere."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

from spacelink._listeners import ConfigError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from spacelink_server.tracing.spans import Tracing


@contextlib.asynccontextmanager
async def traced(endpoint: str) -> AsyncIterator[Tracing | None]:
    """Send traces to a collector; None where there is none, and nothing is traced.

    Args:
        endpoint: where it takes OTLP over HTTP, without the path /v1/traces; empty: there is none.

    Raises:
        ConfigError: the packages for it are not installed.
    """
    if not endpoint:
        yield None
        return
    try:
        from spacelink_server.tracing.spans import Tracing  # noqa: PLC0415 - takes what may not be there
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"otlp_endpoint: traces need {error.name}, which is not installed: pip install 'spacelink[otel]'"
        ) from None
    tracing = Tracing(endpoint)
    try:
        yield tracing
    finally:
        await asyncio.to_thread(tracing.close)
