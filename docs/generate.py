"""Writes what is made out of the contracts: api-reference.md and the Postman collection.

    python docs/generate.py

The texts are the comments of the protos and those of the bridge's OpenAPI
documents. The checks fail where what is committed is not what this writes.
"""

from __future__ import annotations

import asyncio
import json
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

import grpc.aio
from google.protobuf.descriptor_pb2 import FieldDescriptorProto, FileDescriptorProto, FileDescriptorSet
from grpc_tools import protoc

from spacelink_rest.application import admin_application, data_application
from spacelink_rest.upstream import AdminUpstream, DataUpstream

if TYPE_CHECKING:
    from collections.abc import Iterator

DOCS = Path(__file__).parent
PROTO = DOCS.parent / "proto"

_INTRODUCTION = """# API reference

Made by `make docs` out of the protos and the OpenAPI documents of the REST bridge; not to be edited. How
things work together is in [onboarding.md](onboarding.md), [tokens.md](tokens.md) and
[partner-integration.md](partner-integration.md).

Every gRPC error is a `google.rpc.Status` with an `ErrorInfo` whose domain is `spacelink` and whose `reason`
is machine-readable; `BadRequest` names the field and `RetryInfo` says when to try again. Every REST error is
a problem (RFC 9457) with the same `reason`:

| gRPC | REST |
|---|---|
| INVALID_ARGUMENT, OUT_OF_RANGE | 422 |
| UNAUTHENTICATED | 401 |
| PERMISSION_DENIED | 403 |
| NOT_FOUND | 404 |
| ALREADY_EXISTS, ABORTED, FAILED_PRECONDITION | 409 |
| RESOURCE_EXHAUSTED | 429, with `Retry-After` |
| UNIMPLEMENTED | 501 |
| UNAVAILABLE | 503, with `Retry-After` where it is known |
| DEADLINE_EXCEEDED | 504 |
"""


def main() -> None:
    """Write both files."""
    documents = asyncio.run(openapi_documents())
    text = "\n".join([_INTRODUCTION, *rest_reference(documents), *grpc_reference()])
    (DOCS / "api-reference.md").write_text(text + "\n", encoding="utf-8")
    collection = json.dumps(postman_collection(documents), indent=2, ensure_ascii=False)
    (DOCS / "spacelink.postman_collection.json").write_text(collection + "\n", encoding="utf-8")


async def openapi_documents() -> dict[str, dict[str, Any]]:
    """Give the documents of the data and the admin routes; no server is needed for them."""
    async with grpc.aio.insecure_channel("localhost:1") as channel:
        data = data_application(
            DataUpstream(channel), max_body_bytes=1, cors_origins=(), stopping=asyncio.Event()
        )
        admin = admin_application(AdminUpstream(channel), max_body_bytes=1)
        return {"data": data.openapi(), "admin": admin.openapi()}


def operations(document: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Give method, path and description of all operations."""
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            yield method.upper(), path, operation


# REST


def rest_reference(documents: dict[str, dict[str, Any]]) -> Iterator[str]:
    """Describe the routes."""
    yield "## REST\n"
    yield "The data routes are on port 8000, the admin routes on 9090 of the bridge's own machine. `/docs`"
    yield "has them with their schemas and examples, to be tried.\n"
    for name, document in documents.items():
        yield f"### {name.capitalize()} routes\n"
        yield "| request | parameters | does |"
        yield "|---|---|---|"
        for method, path, operation in operations(document):
            parameters = ", ".join(_parameter(item) for item in operation.get("parameters", ()))
            yield f"| `{method} {path}` | {parameters} | {_cell(operation['description'])} |"
        yield ""


def _parameter(parameter: dict[str, Any]) -> str:
    return f"`{parameter['name']}`" + ("" if parameter["in"] == "query" else f" ({parameter['in']})")


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


# gRPC


def grpc_reference() -> Iterator[str]:
    """Describe the services and messages."""
    yield "## gRPC\n"
    for file in _files():
        comments = {tuple(item.path): item.leading_comments for item in file.source_code_info.location}
        package = file.package
        for index, service in enumerate(file.service):
            yield f"### {package}.{service.name}\n"
            yield _text(comments.get((6, index), "")) + "\n"
            yield "| method | request | answer | does |"
            yield "|---|---|---|---|"
            for number, method in enumerate(service.method):
                request = _streamed(method.input_type, package, is_stream=method.client_streaming)
                answer = _streamed(method.output_type, package, is_stream=method.server_streaming)
                does = _cell(comments.get((6, index, 2, number), ""))
                yield f"| `{method.name}` | {request} | {answer} | {does} |"
            yield ""
        for index, message in enumerate(file.message_type):
            yield f"#### {message.name}\n"
            yield _text(comments.get((4, index), "")) + "\n"
            yield from _fields(message, (4, index), comments, package)
        for index, enum in enumerate(file.enum_type):
            yield f"#### {enum.name}\n"
            yield _text(comments.get((5, index), "")) + "\n"
            yield "| value | means |"
            yield "|---|---|"
            for number, value in enumerate(enum.value):
                yield f"| `{value.name}` | {_cell(comments.get((5, index, 2, number), ''))} |"
            yield ""


def _files() -> list[FileDescriptorProto]:
    sources = sorted(str(path.relative_to(PROTO)) for path in PROTO.glob("spacelink/*/**/*.proto"))
    sources = [source for source in sources if "/storage/" not in f"/{source}"]
    with tempfile.TemporaryDirectory() as directory:
        target = Path(directory) / "all.binpb"
        arguments = [f"--proto_path={PROTO}", f"--descriptor_set_out={target}", "--include_source_info"]
        well_known = f"--proto_path={Path(protoc.__file__).parent / '_proto'}"
        if protoc.main(["protoc", well_known, *arguments, *sources]):
            raise SystemExit("the protos do not compile")
        return list(FileDescriptorSet.FromString(target.read_bytes()).file)


def _fields(message: Any, path: tuple[int, ...], comments: dict[Any, str], package: str) -> Iterator[str]:
    if not message.field:
        return
    yield "| field | type | is |"
    yield "|---|---|---|"
    for number, field in enumerate(message.field):
        kind = _type(field, package)
        yield f"| `{field.name}` | {kind} | {_cell(comments.get((*path, 2, number), ''))} |"
    yield ""


def _type(field: FieldDescriptorProto, package: str) -> str:
    name = FieldDescriptorProto.Type.Name(field.type).removeprefix("TYPE_").lower()
    text = _linked(field.type_name, package) if field.type_name else name
    if field.label == FieldDescriptorProto.LABEL_REPEATED:
        return f"repeated {text}"
    return f"optional {text}" if field.proto3_optional else text


def _streamed(type_name: str, package: str, *, is_stream: bool) -> str:
    return ("stream of " if is_stream else "") + _linked(type_name, package)


def _linked(type_name: str, package: str) -> str:
    name = type_name.removeprefix(".")
    if name.startswith("google."):
        return f"`{name}`"
    short = name.rpartition(".")[2]
    shown = short if name.startswith(f"{package}.") else name
    return f"[{shown}](#{short.lower()})"


def _text(comment: str) -> str:
    return "\n".join(line.strip() for line in comment.strip().splitlines())


# Postman


def postman_collection(documents: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """Make a collection (format v2.1.0) with a request for each operation, out of its examples."""
    schema = "https://schema.getpostman.com/json/collection/v2.1.0/collection.json"
    return {
        "info": {
            "name": "SpaceLink",
            "description": "The first request logs in with a demo account of `spacelink up`.",
            "schema": schema,
        },
        "variable": [
            {"key": "data", "value": "http://localhost:8000"},
            {"key": "admin", "value": "http://localhost:9090"},
            {"key": "token", "value": ""},
        ],
        "auth": {"type": "bearer", "bearer": [{"key": "token", "value": "{{token}}", "type": "string"}]},
        "item": [_folder(name, document) for name, document in documents.items()],
    }


def _folder(name: str, document: dict[str, Any]) -> dict[str, Any]:
    requests = [
        _request(name, method, path, operation, document)
        for method, path, operation in operations(document)
        # A collection is run from its beginning to its end; live answers have none.
        if "text/event-stream" not in operation["responses"].get("200", {}).get("content", {})
    ]
    return {"name": name, "item": requests}


def _request(
    plane: str, method: str, path: str, operation: dict[str, Any], document: dict[str, Any]
) -> dict[str, Any]:
    request: dict[str, Any] = {
        "method": method,
        "header": [],
        "description": operation["description"],
        "url": _url(plane, path, operation),
    }
    if "security" not in operation:
        request["auth"] = {"type": "noauth"}
    if "requestBody" in operation:
        request["body"] = _body(operation["requestBody"]["content"], document)
        request["header"] = [
            {"key": "Content-Type", "value": next(iter(operation["requestBody"]["content"]))}
        ]
    tests = ["pm.test('answers', () => pm.expect(pm.response.code).to.be.below(500));"]
    if path == "/v1/auth/token":
        tests.append("pm.collectionVariables.set('token', pm.response.json().access_token);")
    event = {"listen": "test", "script": {"type": "text/javascript", "exec": tests}}
    return {"name": operation["operationId"], "request": request, "event": [event]}


def _url(plane: str, path: str, operation: dict[str, Any]) -> str:
    query = {}
    for parameter in operation.get("parameters", ()):
        examples = parameter["schema"].get("examples", [])
        if parameter["in"] == "path":
            path = path.replace(f"{{{parameter['name']}}}", str(examples[0]))
        elif parameter["in"] == "query" and parameter["required"]:
            query[parameter["name"]] = str(examples[0])
    return f"{{{{{plane}}}}}{path}" + (f"?{urlencode(query)}" if query else "")


def _body(content: dict[str, Any], document: dict[str, Any]) -> dict[str, Any]:
    if "application/json" in content:
        example = next(iter(content["application/json"]["examples"].values()))["value"]
        return {"mode": "raw", "raw": json.dumps(example, indent=2)}
    reference = content["application/x-www-form-urlencoded"]["schema"]["$ref"].rpartition("/")[2]
    schema = document["components"]["schemas"][reference]
    fields = [
        {"key": name, "value": str(schema["properties"][name]["examples"][0])} for name in schema["required"]
    ]
    return {"mode": "urlencoded", "urlencoded": fields}


if __name__ == "__main__":
    main()
