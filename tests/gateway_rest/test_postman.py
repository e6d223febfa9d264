"""The Postman collection: every request of the documents, and each is answered as one of a visitor's."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from spacelink import AdminClient
from tests.gateway_rest.operations import operations

if TYPE_CHECKING:
    from tests.conftest import ServerProcess
    from tests.gateway_rest.bridges import BridgeProcess

COLLECTION_FILE = Path(__file__).parents[2] / "docs/spacelink.postman_collection.json"
COLLECTION: dict[str, Any] = json.loads(COLLECTION_FILE.read_text())
# Has an answer without end, which a run of the collection would wait for.
ENDLESS = "watch_telemetry"


def requests_of(folder: str) -> dict[str, dict[str, Any]]:
    (items,) = (item["item"] for item in COLLECTION["item"] if item["name"] == folder)
    return {item["name"]: item["request"] for item in items}


def test_the_collection_has_every_operation(http: httpx.Client, admin: httpx.Client) -> None:
    for folder, client in (("data", http), ("admin", admin)):
        document = client.get("/openapi.json").json()
        names = [operation.content["operationId"] for operation in operations(document)]
        assert list(requests_of(folder)) == [name for name in names if name != ENDLESS]


def test_each_request_is_understood(bridge: BridgeProcess, server: ServerProcess) -> None:
    variables = {"data": f"http://{bridge.address}", "admin": f"http://{bridge.admin_address}"}
    for folder, address in variables.items():
        for name, request in requests_of(folder).items():
            headers = {header["key"]: header["value"] for header in request["header"]}
            if request.get("auth", {}).get("type") != "noauth":
                headers["Authorization"] = f"Bearer {server.token}"
            url = request["url"].replace(f"{{{{{folder}}}}}", address)
            with httpx.stream(
                request["method"], url, headers=headers, trust_env=False, timeout=30, **body_of(request)
            ) as response:
                # Not there are the demo account, the host of the webhook, and what has an id in its path.
                assert response.status_code in (200, 201, 401, 404, 422), (name, response.status_code)


def body_of(request: dict[str, Any]) -> dict[str, Any]:
    body = request.get("body")
    if body is None:
        return {}
    if body["mode"] == "raw":
        return {"content": body["raw"]}
    return {"data": {field["key"]: field["value"] for field in body["urlencoded"]}}


@pytest.mark.skipif(shutil.which("newman") is None, reason="newman is not installed")
def test_postmans_own_runner_runs_it(bridge: BridgeProcess, server: ServerProcess) -> None:
    with AdminClient(server.admin_address, token=server.token) as client:
        client.create_user("enterprise_admin", "admin123", "admin")
    variables = {"data": f"http://{bridge.address}", "admin": f"http://{bridge.admin_address}"}
    settings = [f"--env-var={name}={value}" for name, value in variables.items()]
    done = subprocess.run(
        ["newman", "run", str(COLLECTION_FILE), *settings, "--timeout-request=30000", "--color=off"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    assert "answers" in done.stdout
