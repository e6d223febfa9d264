"""The Postman collection: every request of the documents, and each is answered as one of a visitor's."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx

from tests.gateway_rest.operations import operations

if TYPE_CHECKING:
    from tests.conftest import ServerProcess
    from tests.gateway_rest.bridges import BridgeProcess

COLLECTION: dict[str, Any] = json.loads(
    (Path(__file__).parents[2] / "docs/spacelink.postman_collection.json").read_text()
)


def requests_of(folder: str) -> dict[str, dict[str, Any]]:
    (items,) = (item["item"] for item in COLLECTION["item"] if item["name"] == folder)
    return {item["name"]: item["request"] for item in items}


def test_the_collection_has_every_operation(http: httpx.Client, admin: httpx.Client) -> None:
    for folder, client in (("data", http), ("admin", admin)):
        document = client.get("/openapi.json").json()
        names = [operation.content["operationId"] for operation in operations(document)]
        assert list(requests_of(folder)) == names


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
                # The demo account is not there, nor the key that is rotated and revoked.
                assert response.status_code in (200, 201, 401, 404), (name, response.status_code)


def body_of(request: dict[str, Any]) -> dict[str, Any]:
    body = request.get("body")
    if body is None:
        return {}
    if body["mode"] == "raw":
        return {"content": body["raw"]}
    return {"data": {field["key"]: field["value"] for field in body["urlencoded"]}}
