"""Partners: how they are taken in, where they call from, and their sandboxes."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Path, Query, Response
from google.protobuf.message import Message

from spacelink._messages import enum_number
from spacelink.v1 import partner_pb2 as pb
from spacelink_rest.caller import CallerParam
from spacelink_rest.documentation import CREDENTIALS
from spacelink_rest.messages import answer, body_of, model_of
from spacelink_rest.parameters import PageParam, PartnerTenant
from spacelink_rest.upstream import Data

# Whoever registers has no credential yet.
registration = APIRouter(prefix="/v1/partners", tags=["partners"])
router = APIRouter(prefix="/v1/partners", tags=["partners"], dependencies=CREDENTIALS)

_REGISTER = {
    "tenant_id": "acme",
    "display_name": "ACME Corporation",
    "contact_email": "ops@acme.example",
    "user_name": "anna",
    "password": "correct horse 9",
}
_CREATE = {**_REGISTER, "tenant_id": "globex", "samples_per_day": 10_000_000, "max_devices": 100}
_APPROVE = {"samples_per_day": 10_000_000, "max_devices": 100}
_ALLOWLIST = {"cidrs": ["127.0.0.0/8", "192.0.2.0/24", "2001:db8::/32"]}


@registration.post("/register", status_code=201, response_model=model_of(pb.RegisterPartnerResponse))
async def register_partner(
    request: Annotated[Message, body_of(pb.RegisterPartnerRequest, _REGISTER)],
    caller: CallerParam,
    data: Data,
) -> Response:
    """Ask to become a partner; somebody has to approve it.

    Needs no credential. The answer is the same whatever becomes of it.
    """
    return answer(await caller.call(data.partners.RegisterPartner, request), 201)


@router.post("/", status_code=201, response_model=model_of(pb.CreatePartnerResponse))
async def create_partner(
    request: Annotated[Message, body_of(pb.CreatePartnerRequest, _CREATE)],
    caller: CallerParam,
    data: Data,
) -> Response:
    """Make a partner: a tenant with its first user."""
    return answer(await caller.call(data.partners.CreatePartner, request), 201)


@router.get("/", response_model=model_of(pb.ListPartnersResponse))
async def list_partners(
    caller: CallerParam,
    data: Data,
    page: PageParam,
    state: Annotated[
        Literal["pending", "approved"] | None, Query(description="Only partners in this state.")
    ] = None,
) -> Response:
    """List partners, the newest first.

    Administrators of the default tenant see all of them, others the one that they are of.
    """
    number: Any = enum_number(pb.PartnerState.DESCRIPTOR, "state", state) if state else 0
    request = pb.ListPartnersRequest(state=number, **page)
    return answer(await caller.call(data.partners.ListPartners, request))


@router.post("/{partner_id}/approve", response_model=model_of(pb.ApprovePartnerResponse))
async def approve_partner(
    partner_id: Annotated[
        str, Path(description="The partner, as its registration was answered.", examples=["a-partner-id"])
    ],
    request: Annotated[Message, body_of(pb.ApprovePartnerRequest, _APPROVE, leave_out=("partner_id",))],
    caller: CallerParam,
    data: Data,
) -> Response:
    """Take in a partner that has registered: it gets a tenant, and its user can log in.

    Without a tenant_id it is the tenant that the partner asked for.
    """
    request.MergeFrom(pb.ApprovePartnerRequest(partner_id=partner_id))
    return answer(await caller.call(data.partners.ApprovePartner, request))


@router.get("/{tenant_id}/ip-allowlist", response_model=model_of(pb.GetIpAllowlistResponse))
async def get_ip_allowlist(tenant_id: PartnerTenant, caller: CallerParam, data: Data) -> Response:
    """Tell from which networks the partner's credentials are good; none means from everywhere."""
    request = pb.GetIpAllowlistRequest()
    return answer(await caller.about(tenant_id).call(data.partners.GetIpAllowlist, request))


@router.put("/{tenant_id}/ip-allowlist", response_model=model_of(pb.SetIpAllowlistResponse))
async def set_ip_allowlist(
    tenant_id: PartnerTenant,
    request: Annotated[Message, body_of(pb.SetIpAllowlistRequest, _ALLOWLIST)],
    caller: CallerParam,
    data: Data,
) -> Response:
    """Replace the networks from which the partner's credentials are good; none means everywhere.

    The caller's own address must be in one of them, unless the caller is an operator.
    """
    return answer(await caller.about(tenant_id).call(data.partners.SetIpAllowlist, request))


@router.post("/{tenant_id}/sandbox", status_code=201, response_model=model_of(pb.CreateSandboxResponse))
async def create_sandbox(tenant_id: PartnerTenant, caller: CallerParam, data: Data) -> Response:
    """Make a tenant to try things in, with simulated devices; its API key is shown once, in the answer."""
    request = pb.CreateSandboxRequest()
    return answer(await caller.about(tenant_id).call(data.partners.CreateSandbox, request), 201)


@router.post("/{tenant_id}/sandbox/reset", response_model=model_of(pb.ResetSandboxResponse))
async def reset_sandbox(tenant_id: PartnerTenant, caller: CallerParam, data: Data) -> Response:
    """Make the sandbox what it was at first, with telemetry up to now and a new API key."""
    request = pb.ResetSandboxRequest()
    return answer(await caller.about(tenant_id).call(data.partners.ResetSandbox, request))
