"""The blocking client: the asyncio client, run in a thread."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, overload

from spacelink._async_client import AsyncSpaceLinkClient
from spacelink._client import BlockingClient, iterating, waiting

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from typing import Unpack

    from numpy.typing import ArrayLike

    from spacelink._client import ConnectionOptions
    from spacelink._times import Moment, Moments
    from spacelink.columns import TelemetryColumns


class SpaceLinkClient(BlockingClient[AsyncSpaceLinkClient]):
    """Speaks to the data plane of a SpaceLink server and waits for its answers.

    Use it as a context manager, or call close. It may be shared by threads. The
    arguments, and the calls' arguments, results and errors, are those of
    AsyncSpaceLinkClient; what is awaited there is waited for, and iterators are
    plain ones. The arguments of ingest_columns are read by the client's thread.
    """

    def __init__(
        self, target: str = "", *, base_url: str | None = None, **options: Unpack[ConnectionOptions]
    ) -> None:
        super().__init__(AsyncSpaceLinkClient(target, base_url=base_url, **options))

    def ingest(
        self, device_id: str, time: Moments, *, status: ArrayLike | None = None, **metrics: ArrayLike
    ) -> int:
        """Store any number of samples of a device, exactly once.

        See AsyncSpaceLinkClient.ingest.
        """
        return self._portal.call(self._client.ingest(device_id, time, status=status, **metrics))

    ingest_columns = waiting(AsyncSpaceLinkClient.ingest_columns)
    submit_telemetry = waiting(AsyncSpaceLinkClient.submit_telemetry)
    list_latest_telemetry = iterating(AsyncSpaceLinkClient.list_latest_telemetry)
    summarize_telemetry = waiting(AsyncSpaceLinkClient.summarize_telemetry)
    watch_telemetry = iterating(AsyncSpaceLinkClient.watch_telemetry)
    send_telemetry = waiting(AsyncSpaceLinkClient.send_telemetry)
    authenticate = waiting(AsyncSpaceLinkClient.authenticate)
    create_session = waiting(AsyncSpaceLinkClient.create_session)
    get_session = waiting(AsyncSpaceLinkClient.get_session)
    generate_api_key = waiting(AsyncSpaceLinkClient.generate_api_key)
    rotate_api_key = waiting(AsyncSpaceLinkClient.rotate_api_key)
    revoke_api_key = waiting(AsyncSpaceLinkClient.revoke_api_key)
    list_api_keys = iterating(AsyncSpaceLinkClient.list_api_keys)
    create_network = waiting(AsyncSpaceLinkClient.create_network)
    get_network = waiting(AsyncSpaceLinkClient.get_network)
    list_networks = iterating(AsyncSpaceLinkClient.list_networks)
    update_network = waiting(AsyncSpaceLinkClient.update_network)
    update_network_devices = waiting(AsyncSpaceLinkClient.update_network_devices)
    list_network_devices = iterating(AsyncSpaceLinkClient.list_network_devices)
    create_score_profile = waiting(AsyncSpaceLinkClient.create_score_profile)
    list_score_profiles = iterating(AsyncSpaceLinkClient.list_score_profiles)
    get_network_health = waiting(AsyncSpaceLinkClient.get_network_health)
    get_network_sla = waiting(AsyncSpaceLinkClient.get_network_sla)
    get_network_trend = waiting(AsyncSpaceLinkClient.get_network_trend)
    list_incidents = iterating(AsyncSpaceLinkClient.list_incidents)
    register_partner = waiting(AsyncSpaceLinkClient.register_partner)
    create_partner = waiting(AsyncSpaceLinkClient.create_partner)
    approve_partner = waiting(AsyncSpaceLinkClient.approve_partner)
    list_partners = iterating(AsyncSpaceLinkClient.list_partners)
    set_ip_allowlist = waiting(AsyncSpaceLinkClient.set_ip_allowlist)
    get_ip_allowlist = waiting(AsyncSpaceLinkClient.get_ip_allowlist)
    create_sandbox = waiting(AsyncSpaceLinkClient.create_sandbox)
    reset_sandbox = waiting(AsyncSpaceLinkClient.reset_sandbox)
    create_webhook = waiting(AsyncSpaceLinkClient.create_webhook)
    list_webhooks = iterating(AsyncSpaceLinkClient.list_webhooks)
    delete_webhook = waiting(AsyncSpaceLinkClient.delete_webhook)
    test_webhook = waiting(AsyncSpaceLinkClient.test_webhook)
    enable_webhook = waiting(AsyncSpaceLinkClient.enable_webhook)
    rotate_webhook_secret = waiting(AsyncSpaceLinkClient.rotate_webhook_secret)
    list_webhook_deliveries = iterating(AsyncSpaceLinkClient.list_webhook_deliveries)
    redeliver_webhook = waiting(AsyncSpaceLinkClient.redeliver_webhook)

    @overload
    def query_telemetry(
        self,
        *,
        device_id: str,
        start: Moment | None = ...,
        end: Moment | None = ...,
        limit: int | None = ...,
    ) -> list[dict[str, Any]]: ...

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
        device_id: str | None = None,
        limit: int | None = None,
    ) -> Iterator[TelemetryColumns] | dict[str, TelemetryColumns] | list[dict[str, Any]]:
        """Read the raw samples of devices in the range start <= time < end.

        See AsyncSpaceLinkClient.query_telemetry; with as_columns the columns by
        device_id, with device_id flat samples.
        """
        if device_id is not None:
            return self._portal.call(
                self._client.query_telemetry(device_id=device_id, start=start, end=end, limit=limit)
            )
        if as_columns:
            return self._portal.call(
                self._client.query_telemetry(device_ids, start, end, metrics, as_columns=True)
            )
        return self._portal.iterate(self._client.query_telemetry(device_ids, start, end, metrics))
