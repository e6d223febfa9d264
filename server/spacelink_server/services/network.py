"""NetworkService."""

from __future__ import annotations

import json
import secrets
import time
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

import grpc

from spacelink.v1 import network_pb2 as pb
from spacelink.v1.network_pb2_grpc import NetworkServiceServicer
from spacelink_server.access.call import current
from spacelink_server.errors import InvalidRequestError, RequestError
from spacelink_server.networks import catalog, terms
from spacelink_server.networks.health import health
from spacelink_server.networks.periods import period_around
from spacelink_server.networks.sla import sla
from spacelink_server.networks.trend import DAY, MAX_POINTS, step_for, trend
from spacelink_server.scoring import qoo
from spacelink_server.services import _network_messages as messages
from spacelink_server.services import _requests
from spacelink_server.storage import audit, incidents, networks, sla_alerts
from spacelink_server.storage.audit import Event
from spacelink_server.storage.incidents import IncidentFilter
from spacelink_server.storage.networks import Network, ScoreProfile

if TYPE_CHECKING:
    from collections.abc import Iterable

    from google.protobuf.message import Message

    from spacelink_server.access.call import Call
    from spacelink_server.access.writes import Database
    from spacelink_server.networks.catalog import Subject
    from spacelink_server.networks.history import History
    from spacelink_server.storage.transactions import Connection

    Context: TypeAlias = grpc.aio.ServicerContext[Any, Any]
    _Ranged: TypeAlias = (
        pb.GetNetworkHealthRequest
        | pb.GetNetworkSlaRequest
        | pb.GetNetworkTrendRequest
        | pb.ListIncidentsRequest
    )

_Message = TypeVar("_Message", bound="Message")

_MINUTE = 60 * 1_000_000_000
_HOUR = 60 * _MINUTE
# What an answer may be about: a leap year and a bit, so that every calendar
# period of an SLA fits in.
_MAX_RANGE = 400 * DAY
# Beyond all times.
_FOREVER = 2**63 - 1

# A page ends earlier where it would not fit into the 4 MiB that a gRPC client
# takes by default.
_PAGE_BYTES = 3_000_000


class NetworkService(NetworkServiceServicer):
    """Manages networks and answers questions about them; see network.proto."""

    def __init__(self, database: Database, history: History) -> None:
        self._database = database
        self._history = history

    async def CreateNetwork(
        self, request: pb.CreateNetworkRequest, context: Context
    ) -> pb.CreateNetworkResponse:
        """Create a network."""
        call = current()
        _requests.require_request_id(request.request_id)
        wanted = request.network
        if wanted.network_id:
            _requests.require_identifier("network.network_id", wanted.network_id)
        _requests.require_text("network.display_name", wanted.display_name)
        _requests.require_device_ids("device_ids", request.device_ids, catalog.MAX_DEVICES)
        agreed = terms.terms_of(wanted.sla, "network.sla").message
        row = Network(
            wanted.network_id or f"net_{secrets.token_hex(8)}",
            wanted.display_name,
            catalog.to_json(agreed),
            wanted.profile_id,
            time.time_ns(),
        )

        def make(connection: Connection) -> dict[str, str]:
            catalog.find_profile(connection, call.tenant_id, row.profile_id, "network.profile_id")
            if networks.get(connection, call.tenant_id, row.network_id):
                raise _exists("NETWORK_EXISTS", f"there is a network {row.network_id!r} already")
            networks.insert(connection, call.tenant_id, row)
            members = sorted(set(request.device_ids))
            networks.add_devices(connection, call.tenant_id, row.network_id, members)
            _record(connection, call, "network.create", row.network_id, {**_detail(row), "devices": members})
            return {"network_id": row.network_id}

        def work(connection: Connection) -> pb.Network:
            done = _requests.once(connection, call, request, lambda: make(connection))
            return _message(connection, call, done["network_id"])

        return pb.CreateNetworkResponse(network=await self._database.write(work))

    async def GetNetwork(self, request: pb.GetNetworkRequest, context: Context) -> pb.GetNetworkResponse:
        """Give a network."""
        call = current()
        found = await self._database.read(lambda c: _message(c, call, request.network_id))
        return pb.GetNetworkResponse(network=found)

    async def ListNetworks(
        self, request: pb.ListNetworksRequest, context: Context
    ) -> pb.ListNetworksResponse:
        """List networks."""
        tenant_id = current().tenant_id
        _requests.require_identifiers("network_ids", request.network_ids)
        size = _requests.page_size(request.page_size)
        after = _requests.parse_page_token(request.page_token)

        def work(connection: Connection) -> pb.ListNetworksResponse:
            rows = networks.page(connection, tenant_id, request.network_ids, after, size + 1)
            counts = networks.device_counts(connection, tenant_id, [row.network_id for row in rows])
            found = (messages.network(row, counts.get(row.network_id, 0)) for row in rows[:size])
            page = list(_fitting(found))
            _, next_page = _requests.split_page(rows, len(page), lambda row: row.network_id)
            return pb.ListNetworksResponse(networks=page, next_page_token=next_page)

        return await self._database.read(work)

    async def UpdateNetwork(
        self, request: pb.UpdateNetworkRequest, context: Context
    ) -> pb.UpdateNetworkResponse:
        """Change what the request sets."""
        call = current()
        _requests.require_request_id(request.request_id)
        changes = _changes(request)

        def make(connection: Connection) -> dict[str, str]:
            row = catalog.find(connection, call.tenant_id, request.network_id)._replace(**changes)
            catalog.find_profile(connection, call.tenant_id, row.profile_id, "profile_id")
            networks.update(connection, call.tenant_id, row)
            if "sla" in changes:
                # What was said of other terms says nothing of these.
                sla_alerts.forget(connection, call.tenant_id, row.network_id)
            detail = {name: value for name, value in _detail(row).items() if name in changes}
            _record(connection, call, "network.update", row.network_id, detail)
            return {}

        def work(connection: Connection) -> pb.Network:
            _requests.once(connection, call, request, lambda: make(connection))
            return _message(connection, call, request.network_id)

        return pb.UpdateNetworkResponse(network=await self._database.write(work))

    async def UpdateNetworkDevices(
        self, request: pb.UpdateNetworkDevicesRequest, context: Context
    ) -> pb.UpdateNetworkDevicesResponse:
        """Add and remove devices."""
        call = current()
        _requests.require_request_id(request.request_id)
        added, removed = set(request.add_device_ids), set(request.remove_device_ids)
        for field in ("add_device_ids", "remove_device_ids"):
            _requests.require_device_ids(field, getattr(request, field), catalog.MAX_DEVICES)
        if both := added & removed:
            raise InvalidRequestError("remove_device_ids", f"{min(both)!r} is in add_device_ids, too")

        def work(connection: Connection) -> pb.Network:
            _requests.once(
                connection,
                call,
                request,
                lambda: _change_devices(connection, call, request.network_id, added, removed),
            )
            return _message(connection, call, request.network_id)

        return pb.UpdateNetworkDevicesResponse(network=await self._database.write(work))

    async def ListNetworkDevices(
        self, request: pb.ListNetworkDevicesRequest, context: Context
    ) -> pb.ListNetworkDevicesResponse:
        """List the devices of a network."""
        tenant_id = current().tenant_id
        size = _requests.page_size(request.page_size)
        after = _requests.parse_page_token(request.page_token)

        def work(connection: Connection) -> pb.ListNetworkDevicesResponse:
            row = catalog.find(connection, tenant_id, request.network_id)
            ids = networks.device_ids(connection, tenant_id, row.network_id, after=after, limit=size + 1)
            page, next_page = _requests.split_page(ids, size, str)
            return pb.ListNetworkDevicesResponse(device_ids=page, next_page_token=next_page)

        return await self._database.read(work)

    async def CreateScoreProfile(
        self, request: pb.CreateScoreProfileRequest, context: Context
    ) -> pb.CreateScoreProfileResponse:
        """Create a score profile of the tenant's own."""
        call = current()
        _requests.require_request_id(request.request_id)
        wanted = request.profile
        _requests.require_text("profile.display_name", wanted.display_name)
        checked = terms.profile_of(wanted, "profile")
        if checked.name in qoo.PROFILES:
            raise _exists("SCORE_PROFILE_EXISTS", f"{checked.name!r} is a built-in score profile")
        message = terms.profile_message(checked, wanted.display_name, built_in=False)

        def make(connection: Connection) -> dict[str, str]:
            if networks.get_profile(connection, call.tenant_id, checked.name):
                raise _exists("SCORE_PROFILE_EXISTS", f"there is a score profile {checked.name!r} already")
            row = ScoreProfile(checked.name, catalog.to_json(message), time.time_ns())
            networks.insert_profile(connection, call.tenant_id, row)
            event = Event(
                call.principal.actor,
                "score_profile.create",
                f"score_profile:{row.profile_id}",
                detail={"profile": json.dumps(row.profile)},
            )
            audit.append(connection, call.tenant_id, event)
            return {}

        await self._database.write(lambda c: _requests.once(c, call, request, lambda: make(c)))
        return pb.CreateScoreProfileResponse(profile=message)

    async def ListScoreProfiles(
        self, request: pb.ListScoreProfilesRequest, context: Context
    ) -> pb.ListScoreProfilesResponse:
        """List the built-in score profiles and the tenant's own."""
        tenant_id = current().tenant_id
        size = _requests.page_size(request.page_size)
        after = _requests.parse_page_token(request.page_token)
        rows = await self._database.read(lambda c: networks.profile_page(c, tenant_id, after, size + 1))
        page, next_page = _requests.split_page(rows, size, lambda row: row.profile_id)
        found = [] if after else catalog.built_in_profiles()
        found += [catalog.own_profile_message(row) for row in page]
        return pb.ListScoreProfilesResponse(profiles=found, next_page_token=next_page)

    async def GetNetworkHealth(
        self, request: pb.GetNetworkHealthRequest, context: Context
    ) -> pb.GetNetworkHealthResponse:
        """Score a network."""
        size = _requests.page_size(request.page_size)
        now, offset = _parse_position(request.page_token)
        start, end = _range(request, now, _HOUR)
        start -= start % _MINUTE
        asked = await self._subject(request, request.profile_id)
        found = await health(self._history, current().tenant_id, asked, start, end)
        page = list(
            _fitting(
                messages.device_health(found, row) for row in found.order[offset : offset + size].tolist()
            )
        )
        device_ids = list(asked.device_ids)
        return pb.GetNetworkHealthResponse(
            network_id=request.network_id,
            profile=terms.profile_message(asked.profile, "", built_in=asked.profile.name in qoo.PROFILES),
            now=messages.network_health(found.now, device_ids),
            window=messages.network_health(found.window, device_ids),
            scheme=pb.NETWORK_SCHEME_WORST_DEVICE,
            devices=page,
            next_page_token=_position(now, offset + len(page), len(found.order)),
            percentile_relative_error=found.window.percentile_relative_error,
        )

    async def GetNetworkSla(
        self, request: pb.GetNetworkSlaRequest, context: Context
    ) -> pb.GetNetworkSlaResponse:
        """Tell whether a network kept its SLA."""
        size = _requests.page_size(request.page_size)
        now, offset = _parse_position(request.page_token)
        asked = await self._subject(request)
        period = _sla_range(request, asked, now)
        report = await sla(self._history, current().tenant_id, asked, period, now)
        response = messages.sla_response(report)
        some = report.devices[offset : offset + size]
        response.devices.extend(_fitting(messages.device_sla(device, report) for device in some))
        response.next_page_token = _position(now, offset + len(response.devices), len(report.devices))
        return response

    async def GetNetworkTrend(
        self, request: pb.GetNetworkTrendRequest, context: Context
    ) -> pb.GetNetworkTrendResponse:
        """Follow a metric over time."""
        if not request.metric:
            raise InvalidRequestError("metric", "expected the name of a metric, qoo or r_factor")
        start, end = _range(request, time.time_ns(), DAY)
        asked = await self._subject(request, request.profile_id)
        step = step_for(end - start, len(asked.device_ids))
        if request.HasField("step"):
            step = terms.whole_minutes("step", request.step)
        start -= start % step
        if end - start > step * MAX_POINTS:
            raise InvalidRequestError("step", f"more than {MAX_POINTS} points; expected a longer step")
        found = await trend(self._history, current().tenant_id, asked, request.metric, start, end, step)
        return messages.trend_response(request.network_id, request.metric, asked.profile, found)

    async def ListIncidents(
        self, request: pb.ListIncidentsRequest, context: Context
    ) -> pb.ListIncidentsResponse:
        """List incidents, the newest first."""
        tenant_id = current().tenant_id
        _requests.require_device_ids("device_ids", request.device_ids)
        size = _requests.page_size(request.page_size)
        before = _requests.parse_time_page_token(request.page_token)
        start, end = _bounds(request, -_FOREVER, _FOREVER)
        wanted = IncidentFilter(request.network_id, request.device_ids, start, end, request.open_only)

        def work(connection: Connection) -> pb.ListIncidentsResponse:
            if request.network_id:
                catalog.find(connection, tenant_id, request.network_id)
            rows = incidents.page(connection, tenant_id, wanted, before, size + 1)
            page, next_page = _requests.split_page(
                rows, size, lambda row: f"{row.start_time} {row.incident_id}"
            )
            return pb.ListIncidentsResponse(
                incidents=[messages.incident(row) for row in page], next_page_token=next_page
            )

        return await self._database.read(work)

    async def _subject(
        self,
        request: pb.GetNetworkHealthRequest | pb.GetNetworkSlaRequest | pb.GetNetworkTrendRequest,
        profile_id: str = "",
    ) -> Subject:
        """Find what a request asks about."""
        tenant_id = current().tenant_id
        _requests.require_device_ids("device_ids", request.device_ids)
        return await self._database.read(
            lambda c: catalog.subject(c, tenant_id, request.network_id, request.device_ids, profile_id)
        )


def _message(connection: Connection, call: Call, network_id: str) -> pb.Network:
    row = catalog.find(connection, call.tenant_id, network_id)
    counts = networks.device_counts(connection, call.tenant_id, [network_id])
    return messages.network(row, counts.get(network_id, 0))


def _changes(request: pb.UpdateNetworkRequest) -> dict[str, Any]:
    """Give what an update sets, checked."""
    changes: dict[str, Any] = {}
    if request.HasField("display_name"):
        changes["display_name"] = _requests.require_text("display_name", request.display_name)
    if request.HasField("sla"):
        changes["sla"] = catalog.to_json(terms.terms_of(request.sla, "sla").message)
    if request.HasField("profile_id"):
        changes["profile_id"] = request.profile_id
    return changes


def _change_devices(
    connection: Connection, call: Call, network_id: str, added: set[str], removed: set[str]
) -> dict[str, str]:
    catalog.find(connection, call.tenant_id, network_id)
    members = set(networks.device_ids(connection, call.tenant_id, network_id))
    if len((members | added) - removed) > catalog.MAX_DEVICES:
        raise InvalidRequestError("add_device_ids", f"a network has at most {catalog.MAX_DEVICES} devices")
    new, gone = sorted(added - members), sorted(removed & members)
    networks.add_devices(connection, call.tenant_id, network_id, new)
    networks.remove_devices(connection, call.tenant_id, network_id, gone)
    _record(connection, call, "network.update_devices", network_id, {"added": new, "removed": gone})
    return {}


def _detail(row: Network) -> dict[str, Any]:
    # As text: canonical JSON, which events are hashed as, has no fractions.
    return {"display_name": row.display_name, "sla": json.dumps(row.sla), "profile_id": row.profile_id}


def _record(connection: Connection, call: Call, action: str, network_id: str, detail: dict[str, Any]) -> None:
    event = Event(call.principal.actor, action, f"network:{network_id}", detail=detail)
    audit.append(connection, call.tenant_id, event)


def _exists(reason: str, message: str) -> RequestError:
    return RequestError(grpc.StatusCode.ALREADY_EXISTS, reason, message)


def _bounds(request: _Ranged, start: int, end: int) -> tuple[int, int]:
    """Give the half-open range of a request, or what it is where the request does not say."""
    if request.HasField("start_time"):
        start = terms.moment_of("start_time", request.start_time)
    if request.HasField("end_time"):
        end = terms.moment_of("end_time", request.end_time)
    if end < start:
        raise InvalidRequestError("end_time", "expected a time not before start_time")
    return start, end


def _range(request: _Ranged, now: int, length: int) -> tuple[int, int]:
    """Give the range of a request, which by default is of a length and ends now."""
    end = terms.moment_of("end_time", request.end_time) if request.HasField("end_time") else now
    start, end = _bounds(request, max(end - length, 0), end)
    return _limited(start, end)


def _limited(start: int, end: int) -> tuple[int, int]:
    if not 0 < end - start <= _MAX_RANGE:
        raise InvalidRequestError("end_time", f"expected up to {_MAX_RANGE // DAY} days after start_time")
    return start, end


def _sla_range(request: pb.GetNetworkSlaRequest, asked: Subject, now: int) -> tuple[int, int]:
    given = [name for name in ("start_time", "end_time") if request.HasField(name)]
    if len(given) == 1:
        raise InvalidRequestError(given[0], "expected start_time and end_time, or none of them")
    if given and request.HasField("period_time"):
        raise InvalidRequestError("period_time", "expected it, or start_time and end_time")
    if given:
        start, end = _limited(*_bounds(request, 0, 0))
    else:
        moment = (
            terms.moment_of("period_time", request.period_time) if request.HasField("period_time") else now
        )
        start, end = period_around(asked.terms.message.period, moment)
    if start >= now:
        raise InvalidRequestError(given[0] if given else "period_time", "expected a time that is past")
    return start, end


def _fitting(found: Iterable[_Message]) -> Iterable[_Message]:
    """Give as many messages as fit into a page; at least one."""
    room = _PAGE_BYTES
    for message in found:
        yield message
        room -= message.ByteSize()
        if room < 0:
            return


def _position(now: int, offset: int, count: int) -> str:
    """Make the token of the page at an offset; all pages are as of one moment."""
    if offset >= count:
        return ""
    _, token = _requests.split_page([offset, count], 1, lambda row: f"{now} {row}")
    return token


def _parse_position(token: str) -> tuple[int, int]:
    """Give the moment that the pages are as of, and where this one begins."""
    found = _requests.parse_time_page_token(token)
    if found is None:
        return time.time_ns(), 0
    now, offset = found
    if not (offset.isascii() and offset.isdecimal() and len(offset) < 9):
        raise InvalidRequestError("page_token", "expected the next_page_token of the answer before")
    return now, int(offset)
