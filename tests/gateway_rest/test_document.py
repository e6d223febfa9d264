"""The OpenAPI documents: complete, with examples, and served with their page."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import pytest

from tests.gateway_rest.operations import operations

if TYPE_CHECKING:
    from collections.abc import Iterator

    import httpx

# The interface that callers rely on; it may grow.
DATA = """
POST /v1/auth/token
POST /v1/telemetry/send
POST /v1/telemetry/batch
GET /v1/telemetry/
GET /v1/telemetry/latest
GET /v1/telemetry/stats/summary
GET /v1/telemetry/watch
POST /v1/networks/
GET /v1/networks/
GET /v1/networks/{network_id}/health
GET /v1/networks/{network_id}/sla
GET /v1/networks/{network_id}/trend
GET /v1/networks/{network_id}/incidents
POST /v1/partners/register
POST /v1/partners/
GET /v1/partners/
POST /v1/partners/{partner_id}/approve
GET /v1/partners/{tenant_id}/ip-allowlist
PUT /v1/partners/{tenant_id}/ip-allowlist
POST /v1/partners/{tenant_id}/sandbox
POST /v1/partners/{tenant_id}/sandbox/reset
POST /v1/partners/{tenant_id}/webhooks
GET /v1/partners/{tenant_id}/webhooks
DELETE /v1/partners/{tenant_id}/webhooks/{webhook_id}
POST /v1/partners/{tenant_id}/webhooks/{webhook_id}/test
POST /v1/partners/{tenant_id}/webhooks/{webhook_id}/enable
POST /v1/partners/{tenant_id}/webhooks/{webhook_id}/secret/rotate
GET /v1/partners/{tenant_id}/webhooks/{webhook_id}/deliveries
POST /v1/partners/{tenant_id}/webhooks/{webhook_id}/redeliver
POST /v1/partners/{tenant_id}/api-keys/generate
POST /v1/partners/{tenant_id}/api-keys/rotate
GET /v1/partners/{tenant_id}/api-keys
DELETE /v1/partners/{tenant_id}/api-keys/{key_id}
GET /healthz
GET /readyz
"""
ADMIN = """
POST /api/v1/tokens
POST /api/v1/governance/ban
POST /api/v1/governance/unban
GET /api/v1/governance/bans
GET /api/v1/governance/graph
GET /api/v1/audit
GET /api/v1/audit/export
GET /healthz
GET /readyz
"""
OPEN = {"/v1/auth/token", "/v1/partners/register", "/healthz", "/readyz"}


def names(document: dict[str, Any]) -> set[str]:
    return {f"{operation.method} {operation.path}" for operation in operations(document)}


def test_every_route_is_described(http: httpx.Client, admin: httpx.Client) -> None:
    assert names(http.get("/openapi.json").json()) >= set(DATA.strip().splitlines())
    assert names(admin.get("/openapi.json").json()) >= set(ADMIN.strip().splitlines())


@pytest.fixture(params=["data", "admin"])
def document(request: pytest.FixtureRequest, http: httpx.Client, admin: httpx.Client) -> dict[str, Any]:
    client = http if request.param == "data" else admin
    found: dict[str, Any] = client.get("/openapi.json").json()
    return found


def test_every_operation_says_what_it_does_and_answers(document: dict[str, Any]) -> None:
    for operation in operations(document):
        assert operation.content["description"].startswith(operation.content["summary"]), operation
        assert bool(operation.content.get("security")) is (operation.path not in OPEN), operation
        responses = operation.content["responses"]
        assert {"400", "401", "413", "422", "429", "431", "500", "503", "504"} <= set(responses)
        assert ("403" in responses) is (operation.path not in OPEN)
        for status, response in responses.items():
            assert "X-Request-Id" in response["headers"]
            if status >= "400":
                assert list(response["content"]) == ["application/problem+json"]


def test_every_body_has_an_example(document: dict[str, Any]) -> None:
    bodies = [o for o in operations(document) if "requestBody" in o.content]
    assert bodies
    for operation in bodies:
        assert operation.example_body() is not None, operation


def test_every_reference_leads_somewhere(document: dict[str, Any]) -> None:
    for reference in references(document):
        target: Any = document
        for step in reference.removeprefix("#/").split("/"):
            target = target[step]


def references(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        if "$ref" in value:
            yield value["$ref"]
        for item in value.values():
            yield from references(item)
    elif isinstance(value, list):
        for item in value:
            yield from references(item)


def test_the_page_needs_nothing_from_elsewhere(http: httpx.Client) -> None:
    page = http.get("/docs")
    assert page.headers["Content-Type"].startswith("text/html")
    sources = re.findall(r'(?:src|href)="([^"]+)"', page.text)
    assert sources
    for source in sources:
        assert source.startswith("/")
        assert http.get(source).status_code == 200
