"""GovernanceService."""

from __future__ import annotations

import hashlib
import re
import secrets
import time
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import grpc
from google.protobuf.timestamp_pb2 import Timestamp

from spacelink._caveats import ANY, Tenant
from spacelink.admin.v1 import governance_pb2 as pb
from spacelink.admin.v1.governance_pb2_grpc import GovernanceServiceServicer
from spacelink.errors import InvalidTokenError
from spacelink_server.access.call import current
from spacelink_server.errors import InvalidRequestError
from spacelink_server.services import _requests
from spacelink_server.storage import audit, bans, lineage, outbox, tokens
from spacelink_server.storage.audit import Event
from spacelink_server.storage.bans import Ban

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from spacelink.audit import Json
    from spacelink.token import Token
    from spacelink_server.access.bans import BanList
    from spacelink_server.access.call import Call
    from spacelink_server.access.keys import KeyRing
    from spacelink_server.access.lineage import Lineage
    from spacelink_server.access.writes import Database
    from spacelink_server.storage.lineage import TokenNode
    from spacelink_server.storage.transactions import Connection

    Context: TypeAlias = grpc.aio.ServicerContext[Any, Any]

_HASH = re.compile(r"[0-9a-fA-F]{64}", re.ASCII)


class _Target(NamedTuple):
    """What to ban: one of these."""

    digest: bytes | None = None
    token_id: str | None = None
    minted_before: int | None = None


class _Chain(NamedTuple):
    """What a token of the graph has from all of its caveats.

    Attributes:
        tenant: the only one that it is good for; "*" where it is good for all.
        digests: of its prefixes and its own.
    """

    tenant: str
    digests: tuple[bytes, ...]


class GovernanceService(GovernanceServiceServicer):
    """Bans tokens and tells of their lineage; see governance.proto."""

    def __init__(self, database: Database, keys: KeyRing, ban_list: BanList, seen: Lineage) -> None:
        self._database = database
        self._keys = keys
        self._bans = ban_list
        self._lineage = seen

    async def BanToken(self, request: pb.BanTokenRequest, context: Context) -> pb.BanTokenResponse:
        """Ban a token; the ban is in force on return."""
        call = current()
        _requests.require_text("reason", request.reason)
        target = self._target(call, request)
        ban = await self._database.write(
            lambda connection: _ban(connection, call, target, request.reason), self._bans.refresh
        )
        return pb.BanTokenResponse(ban=_message(ban))

    async def UnbanToken(self, request: pb.UnbanTokenRequest, context: Context) -> pb.UnbanTokenResponse:
        """Lift a ban."""
        call = current()
        await self._database.write(lambda connection: _unban(connection, call, request), self._bans.refresh)
        return pb.UnbanTokenResponse()

    async def ListBans(self, request: pb.ListBansRequest, context: Context) -> pb.ListBansResponse:
        """List the bans in force; an operator's call that names no tenant lists those of all."""
        tenant_id = _whose(current())
        size = _requests.page_size(request.page_size)
        before = _requests.parse_time_page_token(request.page_token)
        rows = await self._database.read(lambda c: bans.page(c, tenant_id, before, size + 1))
        page, next_page = _requests.split_page(rows, size, lambda row: f"{row.create_time} {row.ban_id}")
        return pb.ListBansResponse(bans=map(_message, page), next_page_token=next_page)

    async def GetTokenGraph(
        self, request: pb.GetTokenGraphRequest, context: Context
    ) -> pb.GetTokenGraphResponse:
        """Give the lineage of the tokens seen up to now; without a tenant, an operator's of all."""
        tenant_id = _whose(current())
        # Operators' tokens become a tenant's by a caveat.
        issuers = None if tenant_id is None else (ANY, tenant_id)
        await self._lineage.flush()
        nodes = await self._database.read(lambda c: lineage.graph(c, issuers, request.token_id))
        return pb.GetTokenGraphResponse(nodes=self._nodes(nodes, tenant_id))

    def _nodes(self, nodes: Iterable[TokenNode], tenant_id: str | None) -> Iterator[pb.TokenNode]:
        """Give those of the nodes that are a tenant's; None: all of them."""
        chains: dict[bytes | None, _Chain] = {}
        for node in nodes:
            # Parents come first.
            chain = _follow(chains.get(node.parent_digest), node)
            chains[node.digest] = chain
            if tenant_id in (None, chain.tenant):
                yield pb.TokenNode(
                    digest=node.digest.hex(),
                    parent_digest=node.parent_digest.hex() if node.parent_digest else "",
                    token_id=node.token_id,
                    caveat=node.caveat,
                    use_count=node.use_count,
                    first_use_time=_requests.timestamp(node.first_use_time),
                    last_use_time=_requests.timestamp(node.last_use_time),
                    banned=self._bans.is_banned((ANY, chain.tenant), node.token_id, chain.digests),
                )

    def _target(self, call: Call, request: pb.BanTokenRequest) -> _Target:
        match request.WhichOneof("target"):
            case "token":
                token = _requests.require_token(call, "token", request.token)
                self._require_authentic(token)
                return _Target(digest=_digest_of(token))
            case "signature":
                return _Target(digest=_signature_digest(request.signature))
            case "digest":
                return _Target(digest=_hash("digest", request.digest))
            case "token_id":
                return _Target(token_id=request.token_id)
            case "minted_before":
                return _Target(minted_before=_past("minted_before", request.minted_before))
            case _:
                raise InvalidRequestError(
                    "target", "expected one of token, signature, token_id, digest and minted_before"
                )

    def _require_authentic(self, token: Token) -> None:
        """Refuse what would ban nothing, and leave its sender believing that it did."""
        identifier = token.identifier
        root_key = self._keys.root_key(identifier.tenant, identifier.key_version)
        try:
            if root_key is not None:
                token.macaroon.verify(root_key)
                return
        except InvalidTokenError:
            pass
        raise InvalidRequestError("token", "the token is not authentic", "INVALID_TOKEN")


def _ban(connection: Connection, call: Call, target: _Target, reason: str) -> Ban:
    tenant_id = call.tenant_id
    if target.token_id is not None and tokens.get(connection, tenant_id, target.token_id) is None:
        raise _requests.not_found("TOKEN_NOT_FOUND", f"tenant {tenant_id} has no token {target.token_id!r}")
    if target.minted_before is None:
        found = bans.find(connection, tenant_id, digest=target.digest, token_id=target.token_id)
        if found:
            return found[0]
    actor = call.principal.actor
    ban = Ban(
        tenant_id,
        secrets.token_hex(16),
        target.digest,
        target.token_id,
        target.minted_before,
        reason,
        actor,
        time.time_ns(),
    )
    bans.insert(connection, ban)
    _record(connection, call, "token.ban", ban)
    outbox.append(connection, tenant_id, "token.banned", _event(ban))
    return ban


def _event(ban: Ban) -> dict[str, Json]:
    ((kind, name),) = _named(ban).items()
    return {"ban_id": ban.ban_id, kind: _text(name), "reason": ban.reason}


def _follow(parent: _Chain | None, node: TokenNode) -> _Chain:
    if parent is None:
        return _Chain(node.tenant_id, (node.digest,))
    key, _, value = node.caveat.partition(" = ")
    narrows = key == Tenant.key and value != ANY
    return _Chain(value if narrows else parent.tenant, (*parent.digests, node.digest))


def _whose(call: Call) -> str | None:
    """Tell whose bans or tokens a call is about; None: those of all tenants and of the installation."""
    return None if call.tenant_id == ANY else call.tenant_id


def _find(connection: Connection, call: Call, request: pb.UnbanTokenRequest) -> list[Ban]:
    tenant_id = _whose(call)
    match request.WhichOneof("target"):
        case "ban_id":
            return bans.find(connection, tenant_id, ban_id=request.ban_id)
        case "token":
            token = _requests.require_token(call, "token", request.token)
            return bans.find(connection, tenant_id, digest=_digest_of(token))
        case "signature":
            return bans.find(connection, tenant_id, digest=_signature_digest(request.signature))
        case "token_id":
            return bans.find(connection, tenant_id, token_id=request.token_id)
        case _:
            raise InvalidRequestError("target", "expected one of ban_id, token, signature and token_id")


def _unban(connection: Connection, call: Call, request: pb.UnbanTokenRequest) -> None:
    found = _find(connection, call, request)
    if not found:
        raise _requests.not_found("BAN_NOT_FOUND", "there is no such ban")
    for ban in found:
        bans.delete(connection, ban.tenant_id, ban.ban_id)
        _record(connection, call, "token.unban", ban)


def _record(connection: Connection, call: Call, action: str, ban: Ban) -> None:
    ((kind, name),) = _named(ban).items()
    resource = f"{kind}:{_text(name)}"
    detail = {"ban_id": ban.ban_id, "reason": ban.reason}
    audit.append(connection, ban.tenant_id, Event(call.principal.actor, action, resource, detail=detail))


def _text(name: str | Timestamp) -> str:
    return name.ToJsonString() if isinstance(name, Timestamp) else name


def _digest_of(token: Token) -> bytes:
    return hashlib.sha256(token.macaroon.signature).digest()


def _signature_digest(text: str) -> bytes:
    return hashlib.sha256(_hash("signature", text)).digest()


def _hash(field: str, text: str) -> bytes:
    if not _HASH.fullmatch(text):
        raise InvalidRequestError(field, "expected 64 hexadecimal digits")
    return bytes.fromhex(text)


def _past(field: str, moment: Timestamp) -> int:
    nanos = moment.seconds * 1_000_000_000 + moment.nanos
    # Tokens yet to be minted would be banned too, that of the caller among them.
    if not 0 <= nanos <= time.time_ns():
        raise InvalidRequestError(field, "expected a time that is over")
    return nanos


def _message(ban: Ban) -> pb.Ban:
    return pb.Ban(
        ban_id=ban.ban_id,
        tenant_id=ban.tenant_id,
        reason=ban.reason,
        create_time=_requests.timestamp(ban.create_time),
        actor=ban.actor,
        **_named(ban),
    )


def _named(ban: Ban) -> dict[str, Any]:
    """Give what is banned as the one field of the answer that says so."""
    if ban.digest is not None:
        return {"digest": ban.digest.hex()}
    if ban.token_id is not None:
        return {"token_id": ban.token_id}
    return {"minted_before": _requests.timestamp(ban.minted_before)}
