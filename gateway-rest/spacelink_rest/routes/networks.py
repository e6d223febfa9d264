"""Networks: their health, SLA, trends and incidents."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path, Query, Response
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message

from spacelink._flat_samples import contract_name
from spacelink._times import timestamp
from spacelink.v1 import network_pb2 as pb
from spacelink_rest.caller import CallerParam
from spacelink_rest.documentation import CREDENTIALS
from spacelink_rest.messages import answer, body_of, model_of
from spacelink_rest.moments import Moment
from spacelink_rest.parameters import DeviceIds, IdempotencyKey, PageParam, RangeParam
from spacelink_rest.upstream import Data

router = APIRouter(prefix="/v1/networks", tags=["networks"], dependencies=CREDENTIALS)

# Names of networks may have slashes in them.
_NETWORK = "/{network_id:path}"

NetworkId = Annotated[str, Path(description="The network.", examples=["north"])]
ProfileId = Annotated[str, Query(description="The score profile; the network's own without it.")]

_CREATE = {
    "network": {
        "network_id": "north",
        "display_name": "Northern sites",
        "sla": {"availability_target_percent": 99.9, "period": "month", "min_outage": "60s"},
    },
    "device_ids": ["device-001", "device-002"],
}


@router.post("/", status_code=201, response_model=model_of(pb.CreateNetworkResponse))
async def create_network(
    request: Annotated[Message, body_of(pb.CreateNetworkRequest, _CREATE, leave_out=("request_id",))],
    caller: CallerParam,
    data: Data,
    idempotency_key: IdempotencyKey = "",
) -> Response:
    """Create a network with its first devices."""
    request.MergeFrom(pb.CreateNetworkRequest(request_id=idempotency_key))
    return answer(await caller.call(data.networks.CreateNetwork, request), 201)


@router.get("/", response_model=model_of(pb.ListNetworksResponse))
async def list_networks(
    caller: CallerParam,
    data: Data,
    page: PageParam,
    network_ids: Annotated[
        list[str] | None, Query(alias="network_id", description="A network; may be repeated.")
    ] = None,
) -> Response:
    """List networks, ordered by network_id."""
    request = pb.ListNetworksRequest(network_ids=network_ids, **page)
    return answer(await caller.call(data.networks.ListNetworks, request))


@router.get(f"{_NETWORK}/health", response_model=model_of(pb.GetNetworkHealthResponse))
async def get_network_health(
    network_id: NetworkId,
    caller: CallerParam,
    data: Data,
    time_range: RangeParam,
    page: PageParam,
    hours: Annotated[
        float | None,
        Query(gt=0, le=24 * 366, description="The range's length, where there is no start.", examples=[24]),
    ] = None,
    profile_id: ProfileId = "",
    device_ids: DeviceIds = None,
) -> Response:
    """Score a network and its devices now and over a range, the worst first.

    Without start and hours the range is the last hour.
    """
    if time_range.start is None and hours is not None:
        time_range = time_range.of_length(hours)
    request = pb.GetNetworkHealthRequest(
        network_id=network_id,
        profile_id=profile_id,
        device_ids=device_ids,
        **page,
        **time_range.fields(),
    )
    return answer(await caller.call(data.networks.GetNetworkHealth, request))


@router.get(f"{_NETWORK}/sla", response_model=model_of(pb.GetNetworkSlaResponse))
async def get_network_sla(
    network_id: NetworkId,
    caller: CallerParam,
    data: Data,
    time_range: RangeParam,
    page: PageParam,
    period: Annotated[
        Moment | None, Query(description="A moment in the calendar period wanted, where there is no start.")
    ] = None,
    device_ids: DeviceIds = None,
) -> Response:
    """Tell whether a network and its devices kept their SLA, the worst first.

    Without a range it is about the calendar period that is now.
    """
    request = pb.GetNetworkSlaRequest(
        network_id=network_id,
        device_ids=device_ids,
        **page,
        period_time=None if period is None else timestamp(period),
        **time_range.fields(),
    )
    return answer(await caller.call(data.networks.GetNetworkSla, request))


@router.get(f"{_NETWORK}/trend", response_model=model_of(pb.GetNetworkTrendResponse))
async def get_network_trend(
    network_id: NetworkId,
    caller: CallerParam,
    data: Data,
    time_range: RangeParam,
    metric: Annotated[
        str, Query(description="The metric, or a score: qoo, r_factor.", examples=["latency_ms"])
    ],
    step_minutes: Annotated[
        int | None,
        Query(ge=1, le=24 * 60, description="Minutes between points, a divisor of a day; chosen without it."),
    ] = None,
    profile_id: ProfileId = "",
    device_ids: DeviceIds = None,
) -> Response:
    """Give a metric or a score of a network as a series over time, and its change.

    Without start the range is the day before end.
    """
    request = pb.GetNetworkTrendRequest(
        network_id=network_id,
        metric=contract_name(metric),
        step=None if step_minutes is None else Duration(seconds=60 * step_minutes),
        profile_id=profile_id,
        device_ids=device_ids,
        **time_range.fields(),
    )
    return answer(await caller.call(data.networks.GetNetworkTrend, request))


@router.get(f"{_NETWORK}/incidents", response_model=model_of(pb.ListIncidentsResponse))
async def list_incidents(
    network_id: NetworkId,
    caller: CallerParam,
    data: Data,
    time_range: RangeParam,
    page: PageParam,
    device_ids: DeviceIds = None,
    open_only: Annotated[bool, Query(description="Only those that are open.")] = False,
) -> Response:
    """List the incidents of a network's devices, the newest first."""
    request = pb.ListIncidentsRequest(
        network_id=network_id,
        device_ids=device_ids,
        open_only=open_only,
        **page,
        **time_range.fields(),
    )
    return answer(await caller.call(data.networks.ListIncidents, request))
