"""Health, reflection and grpcurl, which needs nothing but these."""

from __future__ import annotations

import json
import subprocess
from typing import TYPE_CHECKING

import grpc
import grpc.aio
import pytest
from google.protobuf.json_format import Parse, ParseDict
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from spacelink.v1 import telemetry_pb2 as pb
from tests.e2e.calls import DEADLINE, SERVING, health

if TYPE_CHECKING:
    from tests.conftest import ServerProcess

_TELEMETRY = "spacelink.v1.TelemetryService"


async def _services(address: str) -> list[str]:
    """Ask a listener's reflection for its services."""
    async with grpc.aio.insecure_channel(address) as channel:
        call = reflection_pb2_grpc.ServerReflectionStub(channel).ServerReflectionInfo()
        await call.write(reflection_pb2.ServerReflectionRequest(list_services=""))
        answer = await call.read()
        await call.done_writing()
        return [service.name for service in answer.list_services_response.service]


async def test_data_plane(channel: grpc.aio.Channel, server: ServerProcess) -> None:
    assert await health(channel) == SERVING
    assert await health(channel, _TELEMETRY) == SERVING
    services = await _services(server.address)
    assert _TELEMETRY in services
    assert "grpc.health.v1.Health" in services
    assert not [name for name in services if name.startswith("spacelink.admin")]


async def test_admin_plane(server: ServerProcess) -> None:
    async with server.admin_channel() as channel:
        assert await health(channel) == SERVING
    services = await _services(server.admin_address)
    assert "grpc.health.v1.Health" in services
    assert not [name for name in services if name.startswith("spacelink.v1")]


async def test_health_of_all_services(channel: grpc.aio.Channel, server: ServerProcess) -> None:
    answer = await health_pb2_grpc.HealthStub(channel).List(health_pb2.HealthListRequest(), timeout=DEADLINE)
    ours = [name for name in await _services(server.address) if name.startswith("spacelink.")]
    assert {name: state.status for name, state in answer.statuses.items()} == dict.fromkeys(
        ["", *ours], SERVING
    )


@pytest.mark.parametrize("service", ["nothing", "spacelink.admin.v1.Nothing", "x" * 5000])
async def test_health_of_an_unknown_service(channel: grpc.aio.Channel, service: str) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await health(channel, service)
    assert caught.value.code() is grpc.StatusCode.NOT_FOUND


def _grpcurl(grpcurl: str, *args: str, data: object = None, token: str = "") -> str:
    command = [grpcurl, "-plaintext", *(["-d", json.dumps(data)] if data is not None else [])]
    command += [*(["-H", f"authorization: Bearer {token}"] if token else []), *args]
    answer = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert answer.returncode == 0, answer.stderr
    return answer.stdout


def test_grpcurl_lists_and_describes(grpcurl: str, server: ServerProcess) -> None:
    assert _TELEMETRY in _grpcurl(grpcurl, server.address, "list").split()
    assert f"{_TELEMETRY}.QueryTelemetry" in _grpcurl(grpcurl, server.address, "list", _TELEMETRY).split()
    described = _grpcurl(grpcurl, server.address, "describe", _TELEMETRY)
    assert "rpc Ingest ( stream .spacelink.v1.IngestRequest )" in described
    message = _grpcurl(grpcurl, server.address, "describe", "spacelink.v1.TelemetryBatch")
    assert "repeated sfixed64 time_unix_nano = 3" in message
    assert "grpc.health.v1.Health" in _grpcurl(grpcurl, server.admin_address, "list").split()


def test_grpcurl_submits_and_queries(grpcurl: str, server: ServerProcess, device_id: str) -> None:
    batch = {
        "deviceId": device_id,
        "timeUnixNano": ["1735689600000000000", "1735689601000000000"],
        "latencyMs": [31.5, 33],
        "status": ["DEVICE_STATUS_ACTIVE", "DEVICE_STATUS_DEGRADED"],
        "extra": [{"name": "snr_db", "values": [9.5, 9.25]}],
    }
    request = {"batch": batch, "requestId": device_id}
    for _ in range(2):
        answer = _grpcurl(
            grpcurl, server.address, f"{_TELEMETRY}/SubmitTelemetry", data=request, token=server.token
        )
        assert Parse(answer, pb.SubmitTelemetryResponse()).sample_count == 2
    answer = _grpcurl(
        grpcurl,
        server.address,
        f"{_TELEMETRY}/QueryTelemetry",
        data={"deviceIds": [device_id]},
        token=server.token,
    )
    expected = ParseDict({"batch": batch}, pb.QueryTelemetryResponse())
    assert Parse(answer, pb.QueryTelemetryResponse()) == expected


def test_grpcurl_shows_what_is_wrong(grpcurl: str, server: ServerProcess) -> None:
    command = [grpcurl, "-plaintext", "-H", f"authorization: Bearer {server.token}"]
    command += ["-d", '{"batch": {"deviceId": "d"}}', server.address]
    answer = subprocess.run(
        [*command, f"{_TELEMETRY}/SubmitTelemetry"], capture_output=True, text=True, timeout=60, check=False
    )
    assert answer.returncode != 0
    for text in ("InvalidArgument", "NO_SAMPLES", "spacelink", "batch.time_unix_nano"):
        assert text in answer.stderr
