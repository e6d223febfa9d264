"""The methods of PartnerService that take partners in, and bind where they call from."""

from __future__ import annotations

import hashlib
import re
import secrets
import time
from ipaddress import IPv6Address, ip_network
from typing import TYPE_CHECKING, Any, TypeAlias

import grpc

from spacelink._caveats import ANY
from spacelink.v1 import partner_pb2 as pb
from spacelink.v1.partner_pb2_grpc import PartnerServiceServicer
from spacelink.v1.session_pb2 import ROLE_PARTNER
from spacelink_server.access.authorization import DEFAULT_TENANT, has_scope
from spacelink_server.access.call import current
from spacelink_server.access.limits import LimitKey
from spacelink_server.access.sessions import USER_PREFIX
from spacelink_server.errors import InvalidRequestError, RequestError
from spacelink_server.services import _accounts, _requests, _tenants
from spacelink_server.services._tenants import SANDBOX_SUFFIX
from spacelink_server.storage import accounts, audit, ip_allowlists, partners
from spacelink_server.storage.accounts import User
from spacelink_server.storage.audit import Event
from spacelink_server.storage.partners import Partner
from spacelink_server.storage.tenants import Tenant

if TYPE_CHECKING:
    from collections.abc import Sequence

    from spacelink_server.access.call import Call
    from spacelink_server.access.control import AccessControl
    from spacelink_server.access.keys import KeyRing
    from spacelink_server.access.peers import Address
    from spacelink_server.storage.transactions import Connection

    Context: TypeAlias = grpc.aio.ServicerContext[Any, Any]

# Anybody may register. A person does so once, and corrects a mistake or two; the
# sum is what an administrator can look through in a day.
_REGISTRATIONS_PER_ADDRESS = 5
_ADDRESS_WINDOW_SECONDS = 3600
_REGISTRATIONS = 200
_WINDOW_SECONDS = 86_400
# Nobody has approved it by then, so nobody will.
_PENDING_KEPT = 30 * 86_400 * 1_000_000_000

_EMAIL = re.compile(r"[!-?A-~]{1,64}@[!-?A-~]{1,189}", re.ASCII)
_MAX_CIDRS = 100


class OnboardingMethods(PartnerServiceServicer):
    """Takes partners in; see partner.proto."""

    def __init__(self, access: AccessControl) -> None:
        self._database = access.database
        self._keys = access.keys
        self._directory = access.tenants
        self._passwords = access.passwords
        self._limiter = access.limiter
        self._authorizer = access.gate.authorizer

    async def RegisterPartner(
        self, request: pb.RegisterPartnerRequest, context: Context
    ) -> pb.RegisterPartnerResponse:
        """Note who asks to become a partner."""
        _check(request)
        address = self._authorizer.address(context.invocation_metadata() or (), context.peer())
        await self._limiter.take(_registration_limits(address), 1, 0)
        partner = _new_partner(request, await self._passwords.hash(request.password))
        await self._database.write(lambda connection: _register(connection, partner))
        return pb.RegisterPartnerResponse(partner_id=partner.partner_id)

    async def CreatePartner(
        self, request: pb.CreatePartnerRequest, context: Context
    ) -> pb.CreatePartnerResponse:
        """Make a partner."""
        call = current()
        _check(request)
        tenant = _tenant(request.tenant_id, request.display_name, request)
        partner = _new_partner(request, await self._passwords.hash(request.password))

        def work(connection: Connection) -> pb.Partner:
            partners.insert(connection, partner)
            _admit(connection, self._keys, call, partner, tenant)
            _record(connection, call.principal.actor, "partner.create", partner)
            return _message(_find(connection, partner.partner_id))

        made = await self._database.write(work, self._directory.refresh)
        return pb.CreatePartnerResponse(partner=made)

    async def ApprovePartner(
        self, request: pb.ApprovePartnerRequest, context: Context
    ) -> pb.ApprovePartnerResponse:
        """Take in a partner that has registered."""
        call = current()
        if request.tenant_id:
            _require_tenant_id(request.tenant_id)

        def work(connection: Connection) -> pb.Partner:
            partner = _find(connection, request.partner_id)
            if partner.approve_time is not None:
                raise RequestError(
                    grpc.StatusCode.FAILED_PRECONDITION,
                    "PARTNER_ALREADY_APPROVED",
                    f"partner {partner.partner_id} has tenant {partner.partner_tenant_id!r} already",
                )
            tenant_id = request.tenant_id or partner.partner_tenant_id
            tenant = _tenant(tenant_id, partner.display_name, request)
            _admit(connection, self._keys, call, partner, tenant)
            _record(connection, call.principal.actor, "partner.approve", partner, tenant_id=tenant_id)
            return _message(_find(connection, partner.partner_id))

        approved = await self._database.write(work, self._directory.refresh)
        return pb.ApprovePartnerResponse(partner=approved)

    async def ListPartners(
        self, request: pb.ListPartnersRequest, context: Context
    ) -> pb.ListPartnersResponse:
        """List partners."""
        call = current()
        size = _requests.page_size(request.page_size)
        before = _requests.parse_time_page_token(request.page_token)
        sees_all = call.tenant_id == DEFAULT_TENANT and has_scope(call.principal, "tenants:read")
        rows = await self._database.read(
            lambda connection: partners.page(
                connection,
                DEFAULT_TENANT,
                before,
                size + 1,
                approved=_is_approved(request.state),
                partner_tenant_id="" if sees_all else call.tenant_id,
            )
        )
        page, next_page = _requests.split_page(rows, size, lambda row: f"{row.create_time} {row.partner_id}")
        return pb.ListPartnersResponse(partners=map(_message, page), next_page_token=next_page)

    async def SetIpAllowlist(
        self, request: pb.SetIpAllowlistRequest, context: Context
    ) -> pb.SetIpAllowlistResponse:
        """Set from where the tenant's tokens are good."""
        call = current()
        cidrs = _cidrs(request.cidrs)
        _require_own_address(call, cidrs)

        def work(connection: Connection) -> None:
            ip_allowlists.replace(connection, call.tenant_id, cidrs)
            resource = f"tenant:{call.tenant_id}"
            event = Event(call.principal.actor, "ip_allowlist.set", resource, detail={"cidrs": list(cidrs)})
            audit.append(connection, call.tenant_id, event)

        await self._database.write(work, self._directory.refresh)
        return pb.SetIpAllowlistResponse(cidrs=cidrs)

    async def GetIpAllowlist(
        self, request: pb.GetIpAllowlistRequest, context: Context
    ) -> pb.GetIpAllowlistResponse:
        """Tell from where the tenant's tokens are good."""
        tenant_id = current().tenant_id
        cidrs = await self._database.read(lambda connection: ip_allowlists.get(connection, tenant_id))
        return pb.GetIpAllowlistResponse(cidrs=cidrs)


def _check(request: pb.RegisterPartnerRequest | pb.CreatePartnerRequest) -> None:
    """Check what is said of a partner; says nothing about what there is already."""
    _require_tenant_id(request.tenant_id)
    if not request.display_name.strip():
        raise InvalidRequestError("display_name", "expected the name of the organization")
    _requests.require_text("display_name", request.display_name)
    if not _EMAIL.fullmatch(request.contact_email):
        raise InvalidRequestError("contact_email", "expected an address such as ops@example.com")
    _accounts.require_user_name(request.user_name)
    _accounts.require_password(request.password)


def _require_tenant_id(tenant_id: str) -> None:
    _tenants.require_tenant_id("tenant_id", tenant_id)
    if tenant_id.endswith(SANDBOX_SUFFIX):
        raise InvalidRequestError("tenant_id", f"names that end in {SANDBOX_SUFFIX} are those of sandboxes")


def _registration_limits(address: Address | None) -> tuple[LimitKey, ...]:
    return (
        _limit("all", _REGISTRATIONS, _WINDOW_SECONDS, "registrations in a day"),
        _limit(
            _network(address), _REGISTRATIONS_PER_ADDRESS, _ADDRESS_WINDOW_SECONDS, "registrations in an hour"
        ),
    )


def _network(address: Address | None) -> str:
    """Give what one caller has: of IPv6, a network of 64 bits."""
    if isinstance(address, IPv6Address):
        return str(ip_network((int(address) >> 64 << 64, 64)))
    return str(address)


def _limit(name: str, amount: int, window_seconds: int, text: str) -> LimitKey:
    digest = hashlib.sha256(f"registrations of {name}".encode()).digest()
    return LimitKey(ANY, digest, amount, window_seconds, "rate", f"{amount} {text}")


def _new_partner(request: pb.RegisterPartnerRequest | pb.CreatePartnerRequest, password_hash: str) -> Partner:
    return Partner(
        DEFAULT_TENANT,
        secrets.token_hex(16),
        request.tenant_id,
        request.display_name,
        request.contact_email,
        request.user_name,
        password_hash,
        time.time_ns(),
        None,
    )


def _register(connection: Connection, partner: Partner) -> None:
    partners.forget_pending(connection, DEFAULT_TENANT, partner.create_time - _PENDING_KEPT)
    partners.insert(connection, partner)
    _record(connection, "anonymous", "partner.register", partner)


def _tenant(
    tenant_id: str, display_name: str, limits: pb.CreatePartnerRequest | pb.ApprovePartnerRequest
) -> Tenant:
    now = time.time_ns()
    tenant = Tenant(tenant_id, display_name, limits.samples_per_day, limits.max_devices, (), now)
    return _tenants.checked(tenant)


def _admit(connection: Connection, keys: KeyRing, call: Call, partner: Partner, tenant: Tenant) -> None:
    """Give a partner its tenant and the user that it has named."""
    actor = call.principal.actor
    _tenants.create(connection, keys, tenant, actor)
    now = time.time_ns()
    user = User(tenant.tenant_id, partner.user_name, ROLE_PARTNER, partner.password_hash, False, now)
    accounts.insert(connection, user)
    event = Event(actor, "account.create", USER_PREFIX + user.user_name, detail={"role": "ROLE_PARTNER"})
    audit.append(connection, tenant.tenant_id, event)
    # The user has the hash from now on, and changes it.
    partners.update(
        connection, partner._replace(partner_tenant_id=tenant.tenant_id, password_hash="", approve_time=now)
    )


def _find(connection: Connection, partner_id: str) -> Partner:
    partner = partners.get(connection, DEFAULT_TENANT, partner_id)
    if partner is None:
        raise _requests.not_found("PARTNER_NOT_FOUND", f"there is no partner {partner_id!r}")
    return partner


def _record(connection: Connection, actor: str, action: str, partner: Partner, **detail: str) -> None:
    detail = {"tenant_id": partner.partner_tenant_id, "display_name": partner.display_name} | detail
    event = Event(actor, action, f"partner:{partner.partner_id}", detail=detail)
    audit.append(connection, DEFAULT_TENANT, event)


def _is_approved(state: pb.PartnerState.ValueType) -> bool | None:
    if state == pb.PARTNER_STATE_UNSPECIFIED:
        return None
    if state not in (pb.PARTNER_STATE_PENDING, pb.PARTNER_STATE_APPROVED):
        raise InvalidRequestError("state", "expected PENDING or APPROVED, or none")
    return state == pb.PARTNER_STATE_APPROVED


def _cidrs(texts: Sequence[str]) -> list[str]:
    if len(texts) > _MAX_CIDRS:
        raise InvalidRequestError("cidrs", f"{len(texts)} networks; expected at most {_MAX_CIDRS}")
    networks = set()
    for index, text in enumerate(texts):
        try:
            network = ip_network(text)
        except ValueError:
            network = None
        # Which link an address with a scope is on, callers do not tell.
        if network is None or "%" in text:
            raise InvalidRequestError(
                f"cidrs[{index}]", "expected a network such as 192.0.2.0/24, without bits behind its prefix"
            )
        networks.add(str(network))
    return sorted(networks)


def _require_own_address(call: Call, cidrs: Sequence[str]) -> None:
    """Keep a caller from locking itself out; operators are let in from everywhere."""
    if not cidrs or call.principal.identifier.tenant == ANY:
        return
    if call.peer is None or not any(call.peer in ip_network(cidr) for cidr in cidrs):
        raise InvalidRequestError(
            "cidrs", f"the caller's own address, {call.peer}, is in none of them", "WOULD_LOCK_OUT"
        )


def _message(partner: Partner) -> pb.Partner:
    is_pending = partner.approve_time is None
    return pb.Partner(
        partner_id=partner.partner_id,
        state=pb.PARTNER_STATE_PENDING if is_pending else pb.PARTNER_STATE_APPROVED,
        tenant_id=partner.partner_tenant_id,
        display_name=partner.display_name,
        contact_email=partner.contact_email,
        user_name=partner.user_name,
        create_time=_requests.timestamp(partner.create_time),
        approve_time=_requests.timestamp(partner.approve_time),
    )
