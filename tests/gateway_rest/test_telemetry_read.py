"""What the server has stored, read through the bridge."""

from __future__ import annotations

import csv
import io
import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from spacelink import SpaceLinkClient
from spacelink.token import Token
from tests.gateway_rest.answers import problem

if TYPE_CHECKING:
    from collections.abc import Iterator

    import httpx

    from spacelink.columns import TelemetryColumns
    from tests.conftest import ServerProcess
    from tests.gateway_rest.bridges import BridgeProcess

T0 = np.datetime64("2026-01-04T12:00:00", "ns")
SECOND = np.timedelta64(1, "s")
NDJSON = {"Accept": "application/x-ndjson"}
CSV = {"Accept": "text/csv"}


@pytest.fixture(scope="module")
def client(server: ServerProcess) -> Iterator[SpaceLinkClient]:
    with SpaceLinkClient(server.address, token=server.token) as client:
        yield client


def samples_of(http: httpx.Client, **parameters: Any) -> list[dict[str, Any]]:
    response = http.get("/v1/telemetry/", params=parameters)
    assert response.status_code == 200, response.text
    found: list[dict[str, Any]] = response.json()["samples"]
    return found


def lines_of(http: httpx.Client, **parameters: Any) -> list[dict[str, Any]]:
    response = http.get("/v1/telemetry/", params=parameters, headers=NDJSON)
    assert response.headers["Content-Type"] == "application/x-ndjson"
    return [json.loads(line) for line in response.text.splitlines()]


def test_what_was_measured_is_read_as_it_was(
    http: httpx.Client, client: SpaceLinkClient, device_id: str
) -> None:
    client.ingest(
        device_id,
        T0 + np.arange(2) * np.timedelta64(1, "ns"),
        status=["ACTIVE", "DEGRADED"],
        latency_ms=[45.5, np.nan],
        signal_strength_dbm=[-68.5, -70],
        snr=[0.1, np.nan],
    )
    expected = [
        {
            "device_id": device_id,
            "timestamp": "2026-01-04T12:00:00.000000000Z",
            "latency_ms": 45.5,
            "signal_strength": -68.5,
            "status": "active",
            "extra": {"snr": 0.1},
        },
        {
            "device_id": device_id,
            "timestamp": "2026-01-04T12:00:00.000000001Z",
            "latency_ms": None,
            "signal_strength": -70,
            "status": "degraded",
            "extra": {"snr": None},
        },
    ]
    assert samples_of(http, device_id=device_id) == expected
    assert lines_of(http, device_id=device_id) == expected
    response = http.get("/v1/telemetry/", params={"device_id": device_id}, headers=CSV)
    assert response.headers["Content-Type"] == "text/csv; charset=utf-8"
    rows = list(csv.DictReader(io.StringIO(response.text)))
    assert [row["latency_ms"] for row in rows] == ["45.5", ""]
    assert [row["signal_strength"] for row in rows] == ["-68.5", "-70.0"]
    assert [row["status"] for row in rows] == ["active", "degraded"]
    assert [json.loads(row["extra"]) for row in rows] == [{"snr": 0.1}, {"snr": None}]
    assert [row["timestamp"] for row in rows] == [sample["timestamp"] for sample in expected]
    assert rows[0]["power_w"] == ""


def test_what_is_read_can_be_sent_again(http: httpx.Client, client: SpaceLinkClient, device_id: str) -> None:
    values = np.random.default_rng(1).normal(30, 5, 50).astype(np.float32)
    values[7] = np.nan
    client.ingest(device_id, T0 + np.arange(50) * SECOND, status="ACTIVE", latency_ms=values, snr=values)
    read = samples_of(http, device_id=device_id)
    copy = f"{device_id}-copy"
    assert http.post("/v1/telemetry/batch", json=[{**s, "device_id": copy} for s in read]).is_success
    columns = client.query_telemetry([device_id, copy], as_columns=True)
    original, copied = columns[device_id], columns[copy]
    assert np.array_equal(original.time_unix_nano, copied.time_unix_nano)
    for name in ("latency_ms", "snr"):
        assert np.array_equal(original.metrics[name], copied.metrics[name], equal_nan=True)


def test_the_range_is_half_open(http: httpx.Client, client: SpaceLinkClient, device_id: str) -> None:
    client.ingest(device_id, T0 + np.arange(4) * SECOND, latency_ms=np.arange(4))
    found = samples_of(
        http, device_id=device_id, start="2026-01-04T12:00:01Z", end="2026-01-04T13:00:03+01:00"
    )
    assert [sample["latency_ms"] for sample in found] == [1, 2]


def test_metrics_are_selected_by_their_names_here(
    http: httpx.Client, client: SpaceLinkClient, device_id: str
) -> None:
    client.ingest(device_id, [T0], signal_strength_dbm=[-60], latency_ms=[1], snr=[7], status="ACTIVE")
    (sample,) = samples_of(http, device_id=device_id, metric=["signal_strength", "snr"])
    assert set(sample) == {"device_id", "timestamp", "signal_strength", "extra"}
    response = http.get(
        "/v1/telemetry/",
        params={"device_id": device_id, "metric": ["snr", "signal_strength", "status"]},
        headers=CSV,
    )
    assert response.text.splitlines() == [
        "device_id,timestamp,snr,signal_strength,status",
        f"{device_id},2026-01-04T12:00:00.000000000Z,7.0,-60.0,active",
    ]


@pytest.fixture(scope="module")
def fleet(client: SpaceLinkClient) -> dict[str, TelemetryColumns]:
    """Store devices with samples of equal times, spread over batches and hours."""
    ids = [f"paged-{letter}" for letter in "abc"]
    hours = np.timedelta64(1, "h")
    for number, device_id in enumerate(ids):
        times = np.concatenate([T0 + np.repeat(np.arange(3), 4) * hours, T0 + np.arange(number) * SECOND])
        client.ingest(device_id, times, latency_ms=np.arange(len(times)))
    return client.query_telemetry(ids, as_columns=True)


@pytest.mark.parametrize("limit", [1, 2, 3, 5, 12, 13, 39, 40])
def test_pages_together_are_the_whole(
    http: httpx.Client, fleet: dict[str, TelemetryColumns], limit: int
) -> None:
    expected = lines_of(http, device_id=list(fleet))
    assert len(expected) == sum(map(len, fleet.values())) == 39
    found: list[dict[str, Any]] = []
    cursor: str | None = ""
    while cursor is not None:
        parameters = {"device_id": list(fleet), "limit": limit, **({"cursor": cursor} if cursor else {})}
        page = http.get("/v1/telemetry/", params=parameters).json()
        assert len(page["samples"]) == limit or page["next_cursor"] is None
        found += page["samples"]
        cursor = page["next_cursor"]
    assert found == expected


def test_pages_of_all_devices_go_on_behind_the_last_one(
    http: httpx.Client, fleet: dict[str, TelemetryColumns]
) -> None:
    everything = lines_of(http)
    first = http.get("/v1/telemetry/", params={"limit": 10}).json()
    rest = lines_of(http, cursor=first["next_cursor"])
    assert first["samples"] + rest == everything


def test_a_limit_holds_for_streams_too(http: httpx.Client, fleet: dict[str, TelemetryColumns]) -> None:
    everything = lines_of(http, device_id="paged-c")
    assert lines_of(http, device_id="paged-c", limit=5) == everything[:5]
    assert lines_of(http, device_id="paged-c", limit=1000) == everything


@pytest.mark.parametrize("cursor", ["x", "bm9uZQ", "W10", "WyJkIiwgLTEsIDBd", "WzEsIDIsIDNd", "ä"])
def test_cursors_that_nobody_gave(http: httpx.Client, cursor: str) -> None:
    told = problem(http.get("/v1/telemetry/", params={"cursor": cursor}), 422)
    assert told["errors"][0]["field"] == "cursor"


@pytest.mark.parametrize(
    ("accept", "form"),
    [
        ("", "application/json"),
        ("*/*", "application/json"),
        ("text/html, application/*;q=0.5", "application/json"),
        ("text/*", "text/csv; charset=utf-8"),
        ("application/json;q=0.1, Text/CSV", "text/csv; charset=utf-8"),
        ("application/json;q=0, application/x-ndjson;q=0.2", "application/x-ndjson"),
    ],
)
def test_the_form_is_the_one_asked_for(http: httpx.Client, device_id: str, accept: str, form: str) -> None:
    response = http.get("/v1/telemetry/", params={"device_id": device_id}, headers={"Accept": accept})
    assert response.headers["Content-Type"] == form


@pytest.mark.parametrize("accept", ["text/html", "application/json;q=0", "*/*;q=0", "application/json;q=x"])
def test_forms_there_are_not(http: httpx.Client, accept: str) -> None:
    response = http.get("/v1/telemetry/", headers={"Accept": accept})
    assert problem(response, 406)["reason"] == "NOT_ACCEPTABLE"


@pytest.mark.parametrize("accept", ["application/json", "application/x-ndjson", "text/csv"])
def test_a_refusal_is_a_problem_in_every_form(bridge: BridgeProcess, accept: str) -> None:
    with bridge.client() as client:
        response = client.get("/v1/telemetry/", headers={"Accept": accept})
    assert problem(response, 401)["reason"] == "CREDENTIAL_REQUIRED"


def test_latest(http: httpx.Client, client: SpaceLinkClient, device_id: str) -> None:
    ids = [f"{device_id}-{number}" for number in range(3)]
    for name in ids:
        client.ingest(name, T0 + np.arange(2) * SECOND, latency_ms=[1, 2])
    first = http.get("/v1/telemetry/latest", params={"device_id": ids, "limit": 2}).json()
    assert [(s["device_id"], s["latency_ms"]) for s in first["samples"]] == [(ids[0], 2), (ids[1], 2)]
    rest = http.get(
        "/v1/telemetry/latest", params={"device_id": ids, "limit": 2, "cursor": first["next_cursor"]}
    ).json()
    assert [sample["device_id"] for sample in rest["samples"]] == ids[2:]
    assert rest["next_cursor"] is None


def test_summary(http: httpx.Client, client: SpaceLinkClient, device_id: str) -> None:
    client.ingest(
        device_id, T0 + np.arange(5) * SECOND, latency_ms=np.arange(5), signal_strength_dbm=[-60] * 5
    )
    parameters = {"device_id": device_id, "metric": ["latency_ms", "signal_strength"], "per_device": True}
    (summary,) = http.get("/v1/telemetry/stats/summary", params=parameters).json()["summaries"]
    assert summary["device_id"] == device_id
    assert summary["sample_count"] == 5
    assert (summary["first_time"], summary["last_time"]) == ("2026-01-04T12:00:00Z", "2026-01-04T12:00:04Z")
    assert summary["metrics"]["latency_ms"]["p50"] == summary["metrics"]["latency_ms"]["mean"] == 2
    assert summary["metrics"]["signal_strength"]["max"] == -60
    unknown = http.get("/v1/telemetry/stats/summary", params={"device_id": f"{device_id}-x"})
    assert unknown.json() == {"summaries": []}


@pytest.mark.parametrize(
    ("parameters", "field"),
    [
        ({"device_id": "no good"}, "device_id[0]"),
        ({"start": "yesterday"}, "start"),
        ({"start": "2026-01-02T00:00:00Z", "end": "2026-01-01T00:00:00Z"}, "end"),
        ({"limit": 0}, "limit"),
        ({"limit": 10_001}, "limit"),
    ],
)
def test_wrong_parameters(http: httpx.Client, parameters: dict[str, Any], field: str) -> None:
    assert problem(http.get("/v1/telemetry/", params=parameters), 422)["errors"][0]["field"] == field


def test_a_token_for_one_device_reads_it_alone(
    bridge: BridgeProcess, server: ServerProcess, client: SpaceLinkClient, device_id: str
) -> None:
    client.ingest(device_id, [T0], latency_ms=[1])
    token = Token.parse(server.token).attenuate(tenant="default", device=[device_id])
    with bridge.client(str(token)) as narrow:
        assert len(samples_of(narrow, device_id=device_id)) == 1
        assert problem(narrow.get("/v1/telemetry/"), 403)["reason"] == "DEVICE_DENIED"
