"""The methods of PartnerService about the tenant to try things in."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, TypeAlias

import grpc

from spacelink._caveats import Label, Scope
from spacelink.v1 import partner_pb2 as pb
from spacelink.v1.partner_pb2_grpc import PartnerServiceServicer
from spacelink.v1.session_pb2 import ROLE_PARTNER
from spacelink_server.access.call import current
from spacelink_server.access.minting import Origin
from spacelink_server.access.sessions import SCOPES
from spacelink_server.errors import RequestError
from spacelink_server.services import _requests, _tenants
from spacelink_server.services._tenants import SANDBOX_SUFFIX
from spacelink_server.storage import api_keys, audit, sandboxes
from spacelink_server.storage.audit import Event
from spacelink_server.storage.tenants import Tenant

if TYPE_CHECKING:
    from spacelink_server.access.call import Call
    from spacelink_server.access.control import AccessControl
    from spacelink_server.sandboxes.seeding import Seed, Seeder
    from spacelink_server.storage.transactions import Connection

    Context: TypeAlias = grpc.aio.ServicerContext[Any, Any]

# A device at 1 Hz for a day, ten times over.
_SAMPLES_PER_DAY = 1_000_000
_MAX_DEVICES = 100

_MAX_OWNER = 64 - len(SANDBOX_SUFFIX)


class SandboxMethods(PartnerServiceServicer):
    """Manages sandboxes; see partner.proto."""

    def __init__(self, access: AccessControl, seeder: Seeder) -> None:
        self._database = access.database
        self._keys = access.keys
        self._directory = access.tenants
        self._api_keys = access.api_keys
        self._seeder = seeder

    async def CreateSandbox(
        self, request: pb.CreateSandboxRequest, context: Context
    ) -> pb.CreateSandboxResponse:
        """Make the tenant's sandbox."""
        call = current()
        now = time.time_ns()
        tenant = Tenant(_sandbox_of(call), "", _SAMPLES_PER_DAY, _MAX_DEVICES, (), now)

        def work(connection: Connection) -> None:
            if sandboxes.owner(connection, call.tenant_id) is not None:
                raise _impossible("SANDBOX_HAS_NO_SANDBOX", "a sandbox has no sandbox of its own")
            _tenants.create(connection, self._keys, tenant, call.principal.actor)
            sandboxes.insert(connection, tenant.tenant_id, call.tenant_id)
            _record(connection, call, "sandbox.create", tenant.tenant_id)

        # Its key signs tokens only when it is known here.
        await self._database.write(work, self._directory.refresh)
        secret = await self._database.write(
            lambda connection: self._replace_keys(connection, call, tenant.tenant_id), self._api_keys.refresh
        )
        seed = await self._seeder.seed(tenant.tenant_id)
        return pb.CreateSandboxResponse(sandbox=_message(tenant.tenant_id, seed), secret=secret)

    async def ResetSandbox(
        self, request: pb.ResetSandboxRequest, context: Context
    ) -> pb.ResetSandboxResponse:
        """Make the tenant's sandbox what it was at first."""
        call = current()
        tenant_id = _sandbox_of(call)

        def work(connection: Connection) -> str:
            # Its name alone does not make a tenant a sandbox.
            if sandboxes.owner(connection, tenant_id) != call.tenant_id:
                raise _requests.not_found("SANDBOX_NOT_FOUND", f"tenant {call.tenant_id} has no sandbox")
            sandboxes.clear(connection, tenant_id)
            _record(connection, call, "sandbox.reset", tenant_id)
            return self._replace_keys(connection, call, tenant_id)

        secret = await self._database.write(work, self._api_keys.refresh)
        seed = await self._seeder.seed(tenant_id)
        return pb.ResetSandboxResponse(sandbox=_message(tenant_id, seed), secret=secret)

    def _replace_keys(self, connection: Connection, call: Call, tenant_id: str) -> str:
        """End a sandbox's API keys, and give the text of a new one."""
        for key in api_keys.unrevoked(connection, tenant_id):
            self._api_keys.revoke(connection, key, call.principal.actor)
        # What is minted in one tenant does not end with a token of another, so
        # the key is the sandbox's own: it ends when the sandbox is reset.
        caveats = (Scope.from_text(SCOPES[ROLE_PARTNER]), Label(f"sandbox-of/{call.tenant_id}"))
        issued = self._api_keys.generate(
            connection, tenant_id, Origin("system"), map(str, caveats), "of the sandbox"
        )
        event = Event(call.principal.actor, "api_key.create", f"api_key:{issued.key.key_id}")
        audit.append(connection, tenant_id, event)
        text: str = issued.text
        return text


def _sandbox_of(call: Call) -> str:
    if len(call.tenant_id) > _MAX_OWNER:
        raise _impossible(
            "TENANT_NAME_TOO_LONG", f"sandboxes are for tenants with names of at most {_MAX_OWNER} characters"
        )
    return call.tenant_id + SANDBOX_SUFFIX


def _impossible(reason: str, message: str) -> RequestError:
    return RequestError(grpc.StatusCode.FAILED_PRECONDITION, reason, message)


def _record(connection: Connection, call: Call, action: str, tenant_id: str) -> None:
    event = Event(call.principal.actor, action, f"tenant:{tenant_id}")
    audit.append(connection, call.tenant_id, event)


def _message(tenant_id: str, seed: Seed) -> pb.Sandbox:
    return pb.Sandbox(
        tenant_id=tenant_id,
        device_ids=seed.device_ids,
        start_time=_requests.timestamp(seed.start),
        end_time=_requests.timestamp(seed.end),
    )
