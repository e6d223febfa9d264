"""Calls of NetworkService."""

from __future__ import annotations

import dataclasses
import uuid
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, TypeVar

from spacelink._client import AsyncClient
from spacelink._messages import duration
from spacelink._network_messages import from_message, to_message
from spacelink._times import Moment, timestamp
from spacelink.networks import HealthReport, Incident, Network, ScoreProfile, Sla, SlaReport, Trend
from spacelink.v1 import network_pb2 as pb
from spacelink.v1.network_pb2_grpc import NetworkServiceStub

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Iterable

    from spacelink.v1.network_pb2_grpc import NetworkServiceAsyncStub


_Report = TypeVar("_Report", HealthReport, SlaReport)


class AsyncNetworks(AsyncClient):
    """Manages networks and asks about them."""

    @property
    def _network(self) -> NetworkServiceAsyncStub:
        return NetworkServiceStub(self._channel)

    async def create_network(
        self,
        network_id: str = "",
        device_ids: Iterable[str] = (),
        *,
        display_name: str = "",
        sla: Sla | None = None,
        profile_id: str = "",
    ) -> Network:
        """Create a network.

        Args:
            network_id: names it; empty lets the server choose.
            device_ids: its devices; they need not have sent anything yet.
            display_name: for people.
            sla: what was agreed; None means availability of 99.9 % a month.
            profile_id: its score profile; empty means "leo".

        Raises:
            ValueError: names the field of the SLA that is wrong.
            AlreadyExistsError: there is such a network.
        """
        network = pb.Network(network_id=network_id, display_name=display_name, profile_id=profile_id)
        network.sla.CopyFrom(to_message(sla or Sla(), pb.Sla))
        request = pb.CreateNetworkRequest(network=network, device_ids=device_ids, request_id=_request_id())
        response = await self._unary(self._network.CreateNetwork, request)
        return from_message(Network, response.network)

    async def get_network(self, network_id: str) -> Network:
        """Read a network.

        Raises:
            NotFoundError: there is none.
        """
        response = await self._unary(self._network.GetNetwork, pb.GetNetworkRequest(network_id=network_id))
        return from_message(Network, response.network)

    async def list_networks(self, network_ids: Iterable[str] = ()) -> AsyncGenerator[Network]:
        """List networks, ordered by network_id; pages are fetched as they are needed.

        Args:
            network_ids: those wanted; none means all.
        """
        request = pb.ListNetworksRequest(network_ids=network_ids)
        async for page in self._pages(self._network.ListNetworks, request):
            for network in page.networks:
                yield from_message(Network, network)

    async def update_network(
        self,
        network_id: str,
        *,
        display_name: str | None = None,
        sla: Sla | None = None,
        profile_id: str | None = None,
    ) -> Network:
        """Change a network; what is None stays. See create_network.

        Returns:
            What it became.

        Raises:
            NotFoundError: there is no such network.
        """
        request = pb.UpdateNetworkRequest(
            network_id=network_id,
            display_name=display_name,
            sla=None if sla is None else to_message(sla, pb.Sla),
            profile_id=profile_id,
            request_id=_request_id(),
        )
        response = await self._unary(self._network.UpdateNetwork, request)
        return from_message(Network, response.network)

    async def update_network_devices(
        self, network_id: str, *, add: Iterable[str] = (), remove: Iterable[str] = ()
    ) -> Network:
        """Add devices to a network and remove devices from it.

        Returns:
            What it became.

        Raises:
            NotFoundError: there is no such network.
        """
        request = pb.UpdateNetworkDevicesRequest(
            network_id=network_id, add_device_ids=add, remove_device_ids=remove, request_id=_request_id()
        )
        response = await self._unary(self._network.UpdateNetworkDevices, request)
        return from_message(Network, response.network)

    async def list_network_devices(self, network_id: str) -> AsyncGenerator[str]:
        """List the devices of a network, in order; pages are fetched as they are needed."""
        request = pb.ListNetworkDevicesRequest(network_id=network_id)
        async for page in self._pages(self._network.ListNetworkDevices, request):
            for device_id in page.device_ids:
                yield device_id

    async def create_score_profile(self, profile: ScoreProfile) -> ScoreProfile:
        """Create a score profile, which never changes.

        Raises:
            AlreadyExistsError: there is one of this name.
        """
        request = pb.CreateScoreProfileRequest(
            profile=to_message(profile, pb.ScoreProfile), request_id=_request_id()
        )
        response = await self._unary(self._network.CreateScoreProfile, request)
        return from_message(ScoreProfile, response.profile)

    async def list_score_profiles(self) -> AsyncGenerator[ScoreProfile]:
        """List the score profiles: the built-in ones, then the tenant's own."""
        async for page in self._pages(self._network.ListScoreProfiles, pb.ListScoreProfilesRequest()):
            for profile in page.profiles:
                yield from_message(ScoreProfile, profile)

    async def get_network_health(
        self,
        network_id: str,
        hours: float | None = None,
        *,
        start: Moment | None = None,
        end: Moment | None = None,
        profile_id: str = "",
        device_ids: Iterable[str] = (),
    ) -> HealthReport:
        """Score a network and its devices over the range start <= time < end.

        Args:
            network_id: the network.
            hours: the length of a range that ends now, instead of start.
            start: first moment; None means one hour before the end.
            end: last moment, exclusive; None means now.
            profile_id: what to score by; empty means the network's own profile.
            device_ids: only these of its devices; none means all.

        Raises:
            ValueError: hours and start exclude each other.
            NotFoundError: there is no such network.
        """
        if hours is not None:
            if start is not None or end is not None:
                raise ValueError("hours: expected it, or start and end")
            end = datetime.now(UTC)
            start = end - timedelta(hours=hours)
        request = pb.GetNetworkHealthRequest(
            network_id=network_id, profile_id=profile_id, device_ids=device_ids, **_range(start, end)
        )
        return await self._report(HealthReport, self._network.GetNetworkHealth, request)

    async def get_network_sla(
        self,
        network_id: str,
        *,
        period: Moment | None = None,
        start: Moment | None = None,
        end: Moment | None = None,
        device_ids: Iterable[str] = (),
    ) -> SlaReport:
        """Tell whether a network kept its SLA in a calendar period, or in start <= time < end.

        Args:
            network_id: the network.
            period: a moment in the period wanted; None means the present one.
            start: first moment of any other range.
            end: last moment of it, exclusive.
            device_ids: only these of its devices; none means all.

        Raises:
            NotFoundError: there is no such network.
        """
        request = pb.GetNetworkSlaRequest(
            network_id=network_id,
            period_time=None if period is None else timestamp(period),
            device_ids=device_ids,
            **_range(start, end),
        )
        return await self._report(SlaReport, self._network.GetNetworkSla, request)

    async def get_network_trend(
        self,
        network_id: str,
        metric: str,
        start: Moment | None = None,
        end: Moment | None = None,
        *,
        step: timedelta | None = None,
        profile_id: str = "",
        device_ids: Iterable[str] = (),
    ) -> Trend:
        """Follow a metric or a score over the range start <= time < end.

        Args:
            network_id: the network.
            metric: such as "latency_ms"; or "qoo" or "r_factor".
            start: first moment; None means one day before the end.
            end: last moment, exclusive; None means now.
            step: the time between points; None lets the server choose.
            profile_id: what qoo is by; empty means the network's own profile.
            device_ids: only these of its devices; none means all.

        Raises:
            NotFoundError: there is no such network.
        """
        request = pb.GetNetworkTrendRequest(
            network_id=network_id,
            metric=metric,
            step=duration(step),
            profile_id=profile_id,
            device_ids=device_ids,
            **_range(start, end),
        )
        response = await self._unary(self._network.GetNetworkTrend, request)
        return from_message(Trend, response)

    async def list_incidents(
        self,
        network_id: str = "",
        start: Moment | None = None,
        end: Moment | None = None,
        *,
        device_ids: Iterable[str] = (),
        open_only: bool = False,
    ) -> AsyncGenerator[Incident]:
        """List incidents, the newest first; pages are fetched as they are needed.

        Args:
            network_id: only of its devices; empty means all.
            start: incidents over by then are left out.
            end: incidents that began then or later are left out.
            device_ids: only of these devices; none means all.
            open_only: only those that are open.
        """
        request = pb.ListIncidentsRequest(
            network_id=network_id, device_ids=device_ids, open_only=open_only, **_range(start, end)
        )
        async for page in self._pages(self._network.ListIncidents, request):
            for incident in page.incidents:
                yield from_message(Incident, incident)

    async def _report(self, kind: type[_Report], call: Any, request: Any) -> _Report:
        """Put the pages of a report together; all are as of one moment."""
        parts = [from_message(kind, page) async for page in self._pages(call, request)]
        devices = tuple(device for part in parts for device in part.devices)
        return dataclasses.replace(parts[0], devices=devices)


def _request_id() -> str:
    return str(uuid.uuid4())


def _range(start: Moment | None, end: Moment | None) -> dict[str, Any]:
    limits = {"start_time": start, "end_time": end}
    return {name: timestamp(moment) for name, moment in limits.items() if moment is not None}
