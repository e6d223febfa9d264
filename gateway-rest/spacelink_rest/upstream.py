"""The server's two planes, as the bridge calls them."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Annotated, Any, TypeAlias

import grpc.aio
from fastapi import Depends
from grpc_health.v1 import health_pb2_grpc
from starlette.requests import Request

from spacelink.admin.v1 import audit_pb2_grpc, governance_pb2_grpc, token_pb2, token_pb2_grpc
from spacelink.v1 import (
    network_pb2_grpc,
    partner_pb2_grpc,
    session_pb2_grpc,
    telemetry_pb2,
    telemetry_pb2_grpc,
)

if TYPE_CHECKING:
    from google.protobuf.message import Message

_TELEMETRY = telemetry_pb2.DESCRIPTOR.services_by_name["TelemetryService"].full_name
_TOKENS = token_pb2.DESCRIPTOR.services_by_name["TokenService"].full_name


class DataUpstream:
    """The data plane's services on one channel.

    Attributes:
        service: one that only this plane has.
        query: QueryTelemetry, with its answers as bytes.
        watch: WatchTelemetry, likewise.
    """

    service = _TELEMETRY

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self.health: Any = health_pb2_grpc.HealthStub(channel)
        self.telemetry: Any = telemetry_pb2_grpc.TelemetryServiceStub(channel)
        self.sessions: Any = session_pb2_grpc.SessionServiceStub(channel)
        self.networks: Any = network_pb2_grpc.NetworkServiceStub(channel)
        self.partners: Any = partner_pb2_grpc.PartnerServiceStub(channel)
        self.query: Any = channel.unary_stream(_method("QueryTelemetry"), request_serializer=_serialize)
        self.watch: Any = channel.unary_stream(_method("WatchTelemetry"), request_serializer=_serialize)


class AdminUpstream:
    """The admin plane's services on one channel.

    Attributes:
        service: one that only this plane has.
    """

    service = _TOKENS

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self.health: Any = health_pb2_grpc.HealthStub(channel)
        self.tokens: Any = token_pb2_grpc.TokenServiceStub(channel)
        self.governance: Any = governance_pb2_grpc.GovernanceServiceStub(channel)
        self.audit: Any = audit_pb2_grpc.AuditServiceStub(channel)


def _method(name: str) -> str:
    return f"/{_TELEMETRY}/{name}"


def _serialize(message: Message) -> bytes:
    return message.SerializeToString()


def _stopping(request: Request) -> Any:
    return request.app.state.stopping


def _upstream(request: Request) -> Any:
    return request.app.state.upstream


Data: TypeAlias = Annotated[DataUpstream, Depends(_upstream)]
Admin: TypeAlias = Annotated[AdminUpstream, Depends(_upstream)]
Upstream: TypeAlias = Annotated[DataUpstream | AdminUpstream, Depends(_upstream)]
# Set when the bridge is about to stop: answers without end must end.
Stopping: TypeAlias = Annotated[asyncio.Event, Depends(_stopping)]
