"""Calls of PartnerService that take partners in, bind where they call from and give them sandboxes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from spacelink._client import AsyncClient
from spacelink._messages import enum_number, record
from spacelink.partners import NewSandbox, Partner, Sandbox
from spacelink.v1 import partner_pb2 as pb
from spacelink.v1.partner_pb2_grpc import PartnerServiceStub

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Iterable

    from spacelink.v1.partner_pb2_grpc import PartnerServiceAsyncStub


class AsyncPartners(AsyncClient):
    """Registers and approves partners, and manages what is theirs but keys and webhooks."""

    @property
    def _partners(self) -> PartnerServiceAsyncStub:
        return PartnerServiceStub(self._channel)

    async def register_partner(
        self, tenant_id: str, *, display_name: str, contact_email: str, user_name: str, password: str
    ) -> str:
        """Ask to become a partner; needs no credential. Somebody has to approve it.

        Args:
            tenant_id: the tenant wanted: 1 to 64 lower-case letters, digits and
                . _ -, the first a letter; not ending in "-sandbox".
            display_name: the organization's name.
            contact_email: whom to ask.
            user_name: the user who can log in once it is approved.
            password: the user's password, 8 to 1024 characters.

        Returns:
            The partner's id, for questions about it; the answer is the same
            whatever becomes of it.
        """
        request = pb.RegisterPartnerRequest(
            tenant_id=tenant_id,
            display_name=display_name,
            contact_email=contact_email,
            user_name=user_name,
            password=password,
        )
        # Made again after it was served, it would be a second registration.
        response = await self._unary(self._partners.RegisterPartner, request, repeatable=False)
        return response.partner_id

    async def create_partner(
        self,
        tenant_id: str,
        *,
        display_name: str,
        contact_email: str,
        user_name: str,
        password: str,
        samples_per_day: int = 0,
        max_devices: int = 0,
    ) -> Partner:
        """Make a partner: a tenant with its first user; for administrators of the default tenant.

        Args:
            tenant_id: the tenant to make; as register_partner has it, like the
                others.
            display_name: the organization's name.
            contact_email: whom to ask.
            user_name: the tenant's first user, with the role partner.
            password: the user's password.
            samples_per_day: what it may store in a day (UTC); 0 means no limit.
            max_devices: the most devices it may have; 0 means no limit.

        Raises:
            AlreadyExistsError: there is such a tenant.
        """
        request = pb.CreatePartnerRequest(
            tenant_id=tenant_id,
            display_name=display_name,
            contact_email=contact_email,
            user_name=user_name,
            password=password,
            samples_per_day=samples_per_day,
            max_devices=max_devices,
        )
        # Made again after it was served, it would find the tenant there.
        response = await self._unary(self._partners.CreatePartner, request, repeatable=False)
        return record(Partner, response.partner)

    async def approve_partner(
        self, partner_id: str, *, tenant_id: str = "", samples_per_day: int = 0, max_devices: int = 0
    ) -> Partner:
        """Take in a partner that has registered: it gets a tenant, and its user can log in.

        Args:
            partner_id: as register_partner gave it.
            tenant_id: the tenant to make; empty means the one it asked for.
            samples_per_day: what it may store in a day (UTC); 0 means no limit.
            max_devices: the most devices it may have; 0 means no limit.

        Raises:
            NotFoundError: there is no such partner.
            AlreadyExistsError: there is such a tenant.
            FailedPreconditionError: it is approved already.
        """
        request = pb.ApprovePartnerRequest(
            partner_id=partner_id,
            tenant_id=tenant_id,
            samples_per_day=samples_per_day,
            max_devices=max_devices,
        )
        # Made again after it was served, it would find it approved.
        response = await self._unary(self._partners.ApprovePartner, request, repeatable=False)
        return record(Partner, response.partner)

    async def list_partners(self, state: str = "") -> AsyncGenerator[Partner]:
        """List partners, newest first; pages are fetched as they are needed.

        Administrators of the default tenant see all, others the one they are of.

        Args:
            state: only those that are "pending" or "approved"; empty means any.

        Raises:
            ValueError: there is no such state.
        """
        number: Any = enum_number(pb.PartnerState.DESCRIPTOR, "state", state) if state else 0
        request = pb.ListPartnersRequest(state=number)
        async for page in self._pages(self._partners.ListPartners, request):
            for partner in page.partners:
                yield record(Partner, partner)

    async def set_ip_allowlist(self, cidrs: Iterable[str]) -> tuple[str, ...]:
        """Set from which networks the tenant's tokens and API keys are good.

        Args:
            cidrs: networks such as "192.0.2.0/24"; none lets everybody in. The
                caller's own address must be in one, unless it is an operator.

        Returns:
            The networks, in order.

        Raises:
            InvalidArgumentError: names the network and what would be right.
        """
        request = pb.SetIpAllowlistRequest(cidrs=cidrs)
        return tuple((await self._unary(self._partners.SetIpAllowlist, request)).cidrs)

    async def get_ip_allowlist(self) -> tuple[str, ...]:
        """Tell from which networks the tenant's credentials are good; none means from everywhere."""
        return tuple((await self._unary(self._partners.GetIpAllowlist, pb.GetIpAllowlistRequest())).cidrs)

    async def create_sandbox(self) -> NewSandbox:
        """Make a tenant to try things in, with simulated devices that have sent for some hours.

        Raises:
            AlreadyExistsError: the tenant has one.
        """
        # Made again after it was served, it would find the sandbox there.
        response = await self._unary(
            self._partners.CreateSandbox, pb.CreateSandboxRequest(), repeatable=False
        )
        return _new_sandbox(response)

    async def reset_sandbox(self) -> NewSandbox:
        """Make the tenant's sandbox what it was at first; its API keys end.

        Raises:
            NotFoundError: the tenant has none.
        """
        return _new_sandbox(await self._unary(self._partners.ResetSandbox, pb.ResetSandboxRequest()))


def _new_sandbox(response: Any) -> NewSandbox:
    return NewSandbox(response.secret, record(Sandbox, response.sandbox))
