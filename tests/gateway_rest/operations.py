"""The operations of an OpenAPI document, with a request for each made of its examples."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

if TYPE_CHECKING:
    from collections.abc import Iterator


@dataclass(frozen=True)
class Operation:
    """A method on a path."""

    method: str
    path: str
    content: dict[str, Any]
    document: dict[str, Any]

    def __str__(self) -> str:
        return f"{self.method} {self.path}"

    def example_body(self) -> dict[str, Any] | None:
        """Give the keywords of a request with the example of the body; None where there is none."""
        content = self.content["requestBody"]["content"]
        if "application/json" in content:
            examples = content["application/json"].get("examples", {})
            return next(({"json": example["value"]} for example in examples.values()), None)
        schema = self._resolve(content["application/x-www-form-urlencoded"]["schema"])
        return {"data": {name: _example(schema["properties"][name]) for name in schema["required"]}}

    def example(self) -> dict[str, Any]:
        """Give the keywords of a request: path, required parameters and body are those of the examples."""
        path, query = self.path, {}
        for parameter in self.content.get("parameters", []):
            if parameter["in"] == "path":
                path = path.replace(f"{{{parameter['name']}}}", quote(_example(parameter["schema"]), safe=""))
            elif parameter["required"]:
                query[parameter["name"]] = _example(parameter["schema"])
        body = self.example_body() if "requestBody" in self.content else {}
        return {"method": self.method, "url": path, "params": query, **(body or {})}

    def _resolve(self, schema: dict[str, Any]) -> dict[str, Any]:
        if "$ref" not in schema:
            return schema
        found: Any = self.document
        for step in schema["$ref"].removeprefix("#/").split("/"):
            found = found[step]
        resolved: dict[str, Any] = found
        return resolved


def operations(document: dict[str, Any]) -> Iterator[Operation]:
    """Give all operations of a document."""
    for path, methods in document["paths"].items():
        for method, content in methods.items():
            yield Operation(method.upper(), path, content, document)


def _example(schema: dict[str, Any]) -> str:
    return str(schema["examples"][0])
