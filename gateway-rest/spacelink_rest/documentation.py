"""The OpenAPI document: what all routes may answer, and which credentials they take."""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from fastapi import Security
from fastapi.security import APIKeyHeader, OAuth2PasswordBearer
from pydantic import BaseModel, ConfigDict, Field

from spacelink_rest.middleware import REQUEST_ID
from spacelink_rest.problems import MEDIA_TYPE

if TYPE_CHECKING:
    from fastapi import FastAPI


class FieldProblem(BaseModel):
    """A field of a request that is wrong, and what would be right."""

    field: str
    description: str


class Problem(BaseModel):
    """What went wrong (RFC 9457)."""

    model_config = ConfigDict(extra="allow")

    type: str = Field(examples=["about:blank"])
    title: str = Field(examples=["Unprocessable Content"])
    status: int = Field(examples=[422])
    detail: str = Field(examples=["device_id: expected 1 to 128 characters"])
    reason: str = Field(
        description="For programs; the same as in the gRPC interface.", examples=["INVALID_DEVICE_ID"]
    )
    errors: list[FieldProblem] = Field([], description="The fields that are wrong.")
    metadata: dict[str, str] = Field({}, description="Facts that belong to the reason.")


# Declared for the document; the server looks at what is presented.
CREDENTIALS = [
    Security(OAuth2PasswordBearer("/v1/auth/token", scheme_name="token", auto_error=False)),
    Security(APIKeyHeader(name="X-API-Key", scheme_name="api_key", auto_error=False)),
]

_ANY = {
    HTTPStatus.BAD_REQUEST: "The request cannot be read.",
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE: "The body is too large.",
    HTTPStatus.UNPROCESSABLE_ENTITY: "A field of the request is wrong.",
    HTTPStatus.TOO_MANY_REQUESTS: "A limit or a quota is used up.",
    HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE: "The credential is too long.",
    HTTPStatus.INTERNAL_SERVER_ERROR: "The server failed.",
    HTTPStatus.NOT_IMPLEMENTED: "The server does not know this call.",
    HTTPStatus.SERVICE_UNAVAILABLE: "The server cannot serve now.",
    HTTPStatus.GATEWAY_TIMEOUT: "The server did not answer in time.",
    HTTPStatus.UNAUTHORIZED: "There is no credential, or it is not valid.",
}
_AUTHORIZED = {
    HTTPStatus.FORBIDDEN: "The credential does not allow this.",
    HTTPStatus.NOT_FOUND: "What it is about does not exist.",
}
_CHANGING = {HTTPStatus.CONFLICT: "The state of things does not allow this."}

_HEADERS = {
    HTTPStatus.UNAUTHORIZED: {"WWW-Authenticate": ("How to authenticate.", "string")},
    HTTPStatus.TOO_MANY_REQUESTS: {"Retry-After": ("Seconds to wait.", "integer")},
    HTTPStatus.SERVICE_UNAVAILABLE: {"Retry-After": ("Seconds to wait.", "integer")},
}
_REQUEST_ID_HEADER = {REQUEST_ID: ("The request's id: the caller's, or a new one.", "string")}


def document(app: FastAPI) -> None:
    """Let an application's document tell what each route may answer."""
    generate = app.openapi

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            _complete(generate())
        return generate()

    app.openapi = openapi  # type: ignore[method-assign]


def _complete(document: dict[str, Any]) -> None:
    for path in document["paths"].values():
        for method, operation in path.items():
            statuses = _ANY | (_AUTHORIZED if "security" in operation else {})
            if method != "get":
                statuses |= _CHANGING
            # What is made of the function's name says less.
            operation["summary"] = operation["description"].partition("\n")[0].removesuffix(".")
            for parameter in operation.get("parameters", ()):
                if parameter["schema"].get("default") == "":
                    del parameter["schema"]["default"]
            responses = operation["responses"]
            responses.update({str(int(status)): _problem(status, text) for status, text in statuses.items()})
            for response in responses.values():
                response.setdefault("headers", {}).update(_described(_REQUEST_ID_HEADER))
    schemas = document.setdefault("components", {}).setdefault("schemas", {})
    for unused in ("HTTPValidationError", "ValidationError"):
        schemas.pop(unused, None)
    problem = Problem.model_json_schema(ref_template="#/components/schemas/{model}")
    schemas.update(problem.pop("$defs"))
    schemas["Problem"] = problem


def _problem(status: HTTPStatus, text: str) -> dict[str, Any]:
    return {
        "description": text,
        "headers": _described(_HEADERS.get(status, {})),
        "content": {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}},
    }


def _described(headers: dict[str, tuple[str, str]]) -> dict[str, Any]:
    return {name: {"description": text, "schema": {"type": kind}} for name, (text, kind) in headers.items()}
