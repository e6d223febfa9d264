"""Scrapes of real servers, held against docs/operations.md."""

from __future__ import annotations

import json
import re
import socket
import ssl
import urllib.error
import urllib.request
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import grpc.aio
import pytest
from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families

from tests.certificates import LOOPBACK, Authority, Identity
from tests.conftest import ANY_PORT, ServerProcess, StartServer, start_server
from tests.e2e.batches import START, make_batch
from tests.e2e.calls import DEADLINE, eventually, query, submit
from tests.e2e.producer import Producer

METRICS = ("--metrics-listen", ANY_PORT)
OPERATIONS = Path(__file__).parents[2] / "docs" / "operations.md"

_ROW = re.compile(r"^\| `(spacelink_\w+)` \| (\w+) \| ((?:`\w+`(?:, )?)*) \| .+ \|$", re.MULTILINE)


def urls(server: ServerProcess) -> list[str]:
    """Give where a server, and each of its workers, answers scrapes."""
    return re.findall(r"metrics at (https?://[^\s\"]+)", server.log)


def scrape(url: str, context: ssl.SSLContext | None = None) -> dict[str, Metric]:
    with urllib.request.urlopen(url, timeout=DEADLINE, context=context) as answer:
        text = answer.read().decode()
    # The parser takes the end off the names of counters.
    return {
        f"{m.name}_total" if m.type == "counter" else m.name: m for m in text_string_to_metric_families(text)
    }


def value(server: ServerProcess, name: str, **labels: str) -> float:
    """Give a sample's value; 0 where there is none."""
    family = name.removesuffix("_count").removesuffix("_sum")
    samples = scrape(urls(server)[0])[family].samples
    return sum(each.value for each in samples if each.name == name and each.labels == labels)


async def reaches(server: ServerProcess, expected: float, name: str, **labels: str) -> bool:
    return value(server, name, **labels) == expected


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    server = start_server(tmp_path_factory.mktemp("server"), *METRICS)
    yield server
    server.kill()


async def test_a_stream_is_counted(server: ServerProcess, device_id: str) -> None:
    before = partial(value, server)
    names = ("batches", "samples", "batches_dropped")
    counts = {name: before(f"spacelink_{name}_total") for name in names}
    rejected = before("spacelink_batches_rejected_total", reason="NO_SAMPLES")
    acks, size = before("spacelink_ack_seconds_count"), before("spacelink_payload_bytes_total")
    async with server.channel() as channel:
        producer = await Producer.open(channel, device_id)
        assert value(server, "spacelink_ingest_streams") == 1
        for sequence in (1, 2):
            await producer.send(sequence, make_batch(device_id, START + sequence * 10**12, count=5))
        await producer.send(3, make_batch(device_id, count=0))
        await producer.send_dropped(4, 9)
        await producer.acked(9)
        await producer.close()
    await eventually(partial(reaches, server, 0, "spacelink_ingest_streams"))
    await eventually(partial(reaches, server, acks + 4, "spacelink_ack_seconds_count"))
    grown = {name: value(server, f"spacelink_{name}_total") - counts[name] for name in names}
    assert grown == {"batches": 2, "samples": 10, "batches_dropped": 6}
    assert value(server, "spacelink_batches_rejected_total", reason="NO_SAMPLES") == rejected + 1
    assert value(server, "spacelink_payload_bytes_total") > size
    assert value(server, "spacelink_queue_bytes") == 0


async def test_calls_are_counted(server: ServerProcess, device_id: str) -> None:
    service = "/spacelink.v1.TelemetryService/"
    ended = partial(value, server, "spacelink_calls_total")
    submitted = ended(method=service + "SubmitTelemetry", code="OK")
    queried = ended(method=service + "QueryTelemetry", code="OK")
    batches = value(server, "spacelink_batches_total")
    async with server.channel() as channel:
        await submit(channel, make_batch(device_id))
        await query(channel, device_id)
    total = partial(reaches, server, name="spacelink_calls_total", code="OK")
    await eventually(partial(total, submitted + 1, method=service + "SubmitTelemetry"))
    await eventually(partial(total, queried + 1, method=service + "QueryTelemetry"))
    assert value(server, "spacelink_batches_total") == batches + 1


async def test_refusals_are_counted_and_bans(server: ServerProcess) -> None:
    refused = value(server, "spacelink_calls_refused_total", reason="CREDENTIAL_REQUIRED")
    async with grpc.aio.insecure_channel(server.address) as channel:
        for _ in range(2):
            with pytest.raises(grpc.aio.AioRpcError):
                await query(channel)
    assert value(server, "spacelink_calls_refused_total", reason="CREDENTIAL_REQUIRED") == refused + 2
    assert value(server, "spacelink_banned_tokens") == 0
    async with server.admin() as admin:
        await admin.ban_token(token=await admin.mint_token(scope="telemetry:read"))
    await eventually(partial(reaches, server, 1, "spacelink_banned_tokens"))


async def test_made_up_methods_make_no_series(server: ServerProcess) -> None:
    async with server.channel() as channel:
        for number in range(20):
            with pytest.raises(grpc.aio.AioRpcError):
                await channel.unary_unary(f"/made.up/{number}")(b"", timeout=DEADLINE)
    methods = {sample.labels["method"] for sample in scrape(urls(server)[0])["spacelink_calls_total"].samples}
    assert "unknown" in methods
    assert not [method for method in methods if "made.up" in method]


def test_parts_are_healthy_and_maintenance_keeps_up(servers: StartServer, tmp_path: Path) -> None:
    server = servers(tmp_path, *METRICS, "--maintenance-interval", "1s")
    assert value(server, "spacelink_healthy", part="store") == 1
    assert value(server, "spacelink_healthy", part="bans") == 1
    assert 0 <= value(server, "spacelink_maintenance_lag_seconds") < DEADLINE
    assert value(server, "spacelink_maintenance_failures_total") == 0


# What the documentation says


def documented() -> dict[str, tuple[str, set[str]]]:
    """Give the type and the labels of each metric in the documentation's table."""
    rows = _ROW.findall(OPERATIONS.read_text())
    return {name: (kind, set(re.findall(r"\w+", labels))) for name, kind, labels in rows}


async def test_the_documentation_names_all_metrics(server: ServerProcess, device_id: str) -> None:
    async with server.channel() as channel:
        producer = await Producer.open(channel, device_id)
        await producer.send(1, make_batch(device_id, count=0))
        await producer.acked(1)
        await producer.close()
    async with grpc.aio.insecure_channel(server.address) as channel:
        with pytest.raises(grpc.aio.AioRpcError):
            await query(channel)
    exported: dict[str, tuple[str, set[str]]] = {}
    for name, family in scrape(urls(server)[0]).items():
        assert family.samples, name
        if name.startswith("spacelink_"):
            exported[name] = family.type, {label for s in family.samples for label in s.labels} - {"le"}
    assert exported == documented()


def test_rules_in_the_documentation_are_about_metrics_that_exist() -> None:
    named = set(re.findall(r"spacelink_[a-z_]+", OPERATIONS.read_text()))
    histograms = {name for name, (kind, _) in documented().items() if kind == "histogram"}
    parts = {f"{name}_{part}" for name in histograms for part in ("bucket", "count", "sum")}
    assert named - parts - {"spacelink_"} == set(documented())
    assert named & parts


# The listener


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


def trusting(authority: Authority, identity: Identity | None = None) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=str(authority.cert))
    if identity is not None:
        context.load_cert_chain(identity.cert, identity.key)
    return context


def test_with_certificates_scrapes_are_encrypted_too(
    servers: StartServer, authority: Authority, tmp_path: Path
) -> None:
    own = authority.issue(*LOOPBACK)
    flags = ("--tls-cert", str(own.cert), "--tls-key", str(own.key), "--tls-client-ca", str(authority.cert))
    (url,) = urls(servers(tmp_path, *METRICS, *flags))
    assert url.startswith("https://")
    caller = trusting(authority, authority.issue())
    host, port = url.removeprefix("https://").removesuffix("/metrics").split(":")
    with socket.create_connection((host, int(port))):
        # Whoever connects and says nothing keeps nobody waiting.
        assert "spacelink_calls_total" in scrape(url, caller)
    for refused in (url.replace("https", "http"), url):
        # In plain text, and without a certificate of the caller's own.
        with pytest.raises((urllib.error.URLError, OSError)):
            scrape(refused, trusting(authority))
    assert "spacelink_calls_total" in scrape(url, caller)


def test_only_get_is_answered(server: ServerProcess) -> None:
    with pytest.raises(urllib.error.HTTPError) as caught:
        urllib.request.urlopen(urllib.request.Request(urls(server)[0], method="DELETE"), timeout=DEADLINE)
    with caught.value as answer:
        assert answer.code == 501
        assert "Python" not in str(answer.headers)


def test_nobody_listens_where_it_was_not_said(servers: StartServer, tmp_path: Path) -> None:
    assert urls(servers(tmp_path)) == []


def test_each_worker_answers_for_itself_and_says_so_in_json(
    servers: StartServer, tmp_path: Path, database: str
) -> None:
    server = servers(tmp_path, "--database", database, "--workers", "2", *METRICS, "--log-format", "json")
    found = urls(server)
    assert len(set(found)) == 2
    started = {scrape(url)["process_start_time_seconds"].samples[0].value for url in found}
    assert all(started)
    assert server.terminate() == 0
    records: list[dict[str, Any]] = [json.loads(line) for line in server.log.splitlines()]
    assert {record.get("worker") for record in records} == {None, "worker-1", "worker-2"}
    assert all({"time", "level", "logger", "message"} <= set(record) for record in records)
