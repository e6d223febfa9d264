from __future__ import annotations

import asyncio
import math
import socket
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import pytest

from spacelink.v1.telemetry_pb2 import DeviceStatus
from spacelink_agent.collectors import CollectorError
from spacelink_agent.collectors.host import HostProbe, _has_default_route, _Traffic, default_interface
from spacelink_agent.collectors.targets import Resolver, Target

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from spacelink.columns import TelemetryColumns

HOST = "127.0.0.1"
# No name server is asked: a label has at most 63 characters.
UNRESOLVABLE = Target(f"{'x' * 64}.example", 443)


@pytest.fixture
def listening() -> Iterator[Target]:
    """Give a target that accepts connections."""
    with socket.create_server((HOST, 0)) as server:
        yield Target(HOST, server.getsockname()[1])


@pytest.fixture
def refusing() -> Iterator[Target]:
    """Give a target that refuses connections."""
    with socket.socket() as bound:
        bound.bind((HOST, 0))
        yield Target(HOST, bound.getsockname()[1])


@pytest.fixture
def silent() -> Iterator[Target]:
    """Give a target that does not answer: its queue of connections is full."""
    with ExitStack() as stack:
        server = stack.enter_context(socket.create_server((HOST, 0), backlog=0))
        for _ in range(4):
            client = stack.enter_context(socket.socket())
            client.setblocking(False)
            client.connect_ex(server.getsockname())
        yield Target(HOST, server.getsockname()[1])


async def first_sample(*targets: Target) -> TelemetryColumns:
    # An interval long enough that a busy machine does not lose probes.
    probe = HostProbe("dish", targets, interval=1.0, interface="lo")
    async for chunk in probe.collect(None):
        return chunk.samples
    pytest.fail("a live collector does not end")


async def test_reachable_targets_are_measured_and_a_refusal_is_an_answer(
    listening: Target, refusing: Target
) -> None:
    samples = await first_sample(listening, refusing)
    values = {name: float(column[0]) for name, column in samples.metrics.items()}
    assert values["packet_loss_percent"] == 0
    assert 0 < values["latency_ms"] < 250
    assert 0 <= values["jitter_ms"] < 250
    # The probes themselves are traffic of the loopback.
    assert values["downlink_mbps"] > 0
    assert values["uplink_mbps"] > 0
    assert samples.status is not None
    assert samples.status[0] == DeviceStatus.DEVICE_STATUS_ACTIVE
    assert int(samples.time_unix_nano[0]) % 1_000_000_000 == 0


async def test_silence_is_loss(silent: Target) -> None:
    samples = await first_sample(silent)
    assert samples.metrics["packet_loss_percent"][0] == 100
    assert math.isnan(samples.metrics["latency_ms"][0])
    assert math.isnan(samples.metrics["jitter_ms"][0])
    assert samples.status is not None
    assert samples.status[0] == DeviceStatus.DEVICE_STATUS_OFFLINE


async def test_loss_is_shared_by_all_targets(listening: Target, silent: Target) -> None:
    samples = await first_sample(listening, silent)
    # On a machine that is busy, a target that listens may be late, too.
    assert 50 <= samples.metrics["packet_loss_percent"][0] < 100
    assert samples.metrics["latency_ms"][0] > 0
    assert samples.status is not None
    assert samples.status[0] == DeviceStatus.DEVICE_STATUS_DEGRADED


async def test_a_name_that_is_none_is_no_loss_of_the_others(
    listening: Target, caplog: pytest.LogCaptureFixture
) -> None:
    samples = await first_sample(UNRESOLVABLE, listening)
    assert samples.metrics["packet_loss_percent"][0] == 0
    assert samples.status is not None
    assert samples.status[0] == DeviceStatus.DEVICE_STATUS_ACTIVE
    assert f"target {UNRESOLVABLE} cannot be resolved (" in caplog.text


async def test_without_any_address_nothing_is_said_of_the_link(caplog: pytest.LogCaptureFixture) -> None:
    collector = HostProbe("dish", [UNRESOLVABLE], interval=0.1, interface="lo").collect(None)
    for samples in [(await anext(collector)).samples for _ in range(3)]:
        assert math.isnan(samples.metrics["packet_loss_percent"][0])
        assert math.isnan(samples.metrics["latency_ms"][0])
        # As long as the machine has a route, its own view is no reason to call it offline.
        assert samples.status is None or not _has_default_route()
    await collector.aclose()
    assert caplog.text.count("cannot be resolved") == 1


@pytest.mark.parametrize(
    ("routes", "routes_v6", "state", "status"),
    [
        ("eth0 00000000 010200C0", "", "up", None),
        ("eth0 000200C0 00000000", "", "up", "OFFLINE"),
        ("eth0 000200C0 00000000", f"{'0' * 32} 00 eth0", "unknown", None),
        ("eth0 000200C0 00000000", f"{'0' * 32} 00 lo", "up", "OFFLINE"),
        ("eth0 00000000 010200C0", "", "down", "OFFLINE"),
    ],
)
async def test_without_any_address_the_machine_itself_tells_whether_it_is_offline(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    routes: str,
    routes_v6: str,
    state: str,
    status: str | None,
) -> None:
    for name, text in {"_ROUTES": f"Iface Destination Gateway\n{routes}\n", "_ROUTES_V6": routes_v6}.items():
        (tmp_path / name).write_text(text)
        monkeypatch.setattr(f"spacelink_agent.collectors.host.{name}", tmp_path / name)
    (tmp_path / "lo").mkdir()
    (tmp_path / "lo" / "operstate").write_text(f"{state}\n")
    monkeypatch.setattr("spacelink_agent.collectors.host._INTERFACES", tmp_path)
    collector = HostProbe("dish", [UNRESOLVABLE], interval=0.1, interface="lo").collect(None)
    samples = (await anext(collector)).samples
    await collector.aclose()
    numbers = None if samples.status is None else samples.status.tolist()
    assert numbers == (None if status is None else [DeviceStatus.DEVICE_STATUS_OFFLINE])


async def test_a_name_keeps_its_last_address_and_each_change_is_told_once(
    listening: Target, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    look_up = socket.getaddrinfo
    failing = [True]

    def getaddrinfo(host: str, *arguments: Any, **keywords: Any) -> Any:
        if failing[0]:
            raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")
        return look_up(HOST, *arguments, **keywords)

    monkeypatch.setattr("socket.getaddrinfo", getaddrinfo)
    resolver = Resolver([Target("dish.example", listening.port)])
    for is_failing, known in [(True, 0), (True, 0), (False, 1), (False, 1), (True, 1), (True, 1), (False, 1)]:
        failing[0] = is_failing
        await resolver.look_up(30)
        assert len(resolver.addresses) == known
    resolver.close()
    place = f"target dish.example:{listening.port}"
    problem = "cannot be resolved (Temporary failure in name resolution)"
    assert [record.getMessage() for record in caplog.records] == [
        f"{place} {problem}; it is left out until it can be",
        f"{place} is resolved again: {HOST}",
        f"{place} {problem}; measuring its last address, {HOST}",
        f"{place} is resolved again: {HOST}",
    ]


async def test_traffic_of_the_interface_is_counted() -> None:
    received = bytearray()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        received.extend(await reader.read())
        writer.close()

    before = _Traffic.read("lo")
    server = await asyncio.start_server(serve, HOST, 0)
    _, writer = await asyncio.open_connection(*server.sockets[0].getsockname()[:2])
    writer.write(bytes(2_000_000))
    writer.write_eof()
    async with asyncio.timeout(30), server:
        while len(received) < 2_000_000:
            await asyncio.sleep(0.01)
    writer.close()
    after = _Traffic.read("lo")
    downlink, uplink = before.rates(after)
    seconds = after.time - before.time
    assert downlink * seconds >= 16
    assert uplink * seconds >= 16


@pytest.mark.parametrize(
    "later", [_Traffic(11.0, 50, 2000), _Traffic(11.0, None, None), _Traffic(10.0, 2000, 2000)]
)
def test_rate_of_counters_that_do_not_follow_is_missing(later: _Traffic) -> None:
    assert math.isnan(_Traffic(10.0, 1000, 1000).rates(later)[0])


def test_rate_is_in_megabits() -> None:
    assert _Traffic(10.0, 1000, 0).rates(_Traffic(12.0, 251_000, 500_000)) == (1.0, 2.0)


def test_unknown_interface_is_a_clear_error(listening: Target) -> None:
    with pytest.raises(CollectorError, match=r"interface 'dish9' is unknown; this machine has .*lo"):
        HostProbe("dish", [listening], interval=1, interface="dish9")


def test_default_interface_is_there(listening: Target) -> None:
    HostProbe("dish", [listening], interval=1, interface=default_interface())


@pytest.mark.parametrize(
    ("text", "target"),
    [("example.org:443", Target("example.org", 443)), ("[2001:db8::1]:53", Target("2001:db8::1", 53))],
)
def test_target_is_read(text: str, target: Target) -> None:
    assert Target.parse(text) == target


@pytest.mark.parametrize("text", ["example.org", ":443", "example.org:", "example.org:99999", "a:b"])
def test_wrong_target_is_a_clear_error(text: str) -> None:
    with pytest.raises(ValueError, match="expected HOST:PORT"):
        Target.parse(text)
