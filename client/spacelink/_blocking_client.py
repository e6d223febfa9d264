"""The blocking client: the asyncio client, run in a thread."""

from __future__ import annotations

import weakref
from typing import TYPE_CHECKING, Literal, Self, overload

from spacelink._async_client import AsyncSpaceLinkClient
from spacelink._channel import DEFAULT_TARGET
from spacelink._portal import Portal

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from numpy.typing import ArrayLike

    from spacelink._times import Moment, Moments
    from spacelink.columns import TelemetryColumns
    from spacelink.results import TelemetrySummary, TelemetryUpdate


class SpaceLinkClient:
    """Speaks to a SpaceLink server and waits for its answers.

    Use it as a context manager, or call close. It may be shared by threads. The
    arguments, and the calls' arguments, results and errors, are those of
    AsyncSpaceLinkClient; iterators are plain ones.
    """

    def __init__(
        self, target: str = DEFAULT_TARGET, *, timeout: float = 30.0, retry_for: float = 30.0
    ) -> None:
        self._portal = Portal()
        self._client = AsyncSpaceLinkClient(target, timeout=timeout, retry_for=retry_for)
        # Also at exit, and when the client is dropped without being closed.
        self._close = weakref.finalize(self, _close, self._portal, self._client)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End all calls and close the connection. Closing twice does nothing."""
        self._close()

    def ingest(
        self, device_id: str, time: Moments, *, status: ArrayLike | None = None, **metrics: ArrayLike
    ) -> int:
        """Store any number of samples of a device, exactly once.

        See AsyncSpaceLinkClient.ingest.
        """
        return self._portal.call(self._client.ingest(device_id, time, status=status, **metrics))

    def ingest_columns(self, columns: Iterable[TelemetryColumns]) -> int:
        """Store samples of any number of devices on one stream.

        See AsyncSpaceLinkClient.ingest_columns; columns is read by the client's
        thread.
        """
        return self._portal.call(self._client.ingest_columns(columns))

    def submit_telemetry(self, samples: TelemetryColumns, *, request_id: str | None = None) -> int:
        """Store one batch of a device; the answer means committed to disk.

        See AsyncSpaceLinkClient.submit_telemetry.
        """
        return self._portal.call(self._client.submit_telemetry(samples, request_id=request_id))

    @overload
    def query_telemetry(
        self,
        device_ids: str | Iterable[str] = ...,
        start: Moment | None = ...,
        end: Moment | None = ...,
        metrics: Iterable[str] = ...,
        *,
        as_columns: Literal[False] = ...,
    ) -> Iterator[TelemetryColumns]: ...

    @overload
    def query_telemetry(
        self,
        device_ids: str | Iterable[str] = ...,
        start: Moment | None = ...,
        end: Moment | None = ...,
        metrics: Iterable[str] = ...,
        *,
        as_columns: Literal[True],
    ) -> dict[str, TelemetryColumns]: ...

    def query_telemetry(
        self,
        device_ids: str | Iterable[str] = (),
        start: Moment | None = None,
        end: Moment | None = None,
        metrics: Iterable[str] = (),
        *,
        as_columns: bool = False,
    ) -> Iterator[TelemetryColumns] | dict[str, TelemetryColumns]:
        """Read the raw samples of devices in the range start <= time < end.

        See AsyncSpaceLinkClient.query_telemetry; with as_columns the columns by
        device_id.
        """
        if as_columns:
            return self._portal.call(
                self._client.query_telemetry(device_ids, start, end, metrics, as_columns=True)
            )
        return self._portal.iterate(self._client.query_telemetry(device_ids, start, end, metrics))

    def list_latest_telemetry(self, device_ids: str | Iterable[str] = ()) -> Iterator[TelemetryColumns]:
        """Read the newest sample of each device, ordered by device_id.

        See AsyncSpaceLinkClient.list_latest_telemetry.
        """
        return self._portal.iterate(self._client.list_latest_telemetry(device_ids))

    def summarize_telemetry(
        self,
        device_ids: str | Iterable[str] = (),
        start: Moment | None = None,
        end: Moment | None = None,
        metrics: Iterable[str] = (),
        *,
        per_device: bool = False,
    ) -> list[TelemetrySummary]:
        """Summarise every metric over the range start <= time < end.

        See AsyncSpaceLinkClient.summarize_telemetry.
        """
        return self._portal.call(
            self._client.summarize_telemetry(device_ids, start, end, metrics, per_device=per_device)
        )

    def watch_telemetry(
        self, device_ids: str | Iterable[str] = (), metrics: Iterable[str] = ()
    ) -> Iterator[TelemetryUpdate]:
        """Read batches live as they are committed, without end.

        See AsyncSpaceLinkClient.watch_telemetry.
        """
        return self._portal.iterate(self._client.watch_telemetry(device_ids, metrics))


def _close(portal: Portal, client: AsyncSpaceLinkClient) -> None:
    portal.close(client.close())
