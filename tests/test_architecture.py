"""The one-way streets between the packages, and between the server's rooms."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import spacelink
import spacelink_agent
import spacelink_rest
import spacelink_server

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import ModuleType

# Whom a room of the server may call. A room is a package of spacelink_server;
# the modules beside them (errors, config, …) belong to none.
ROOMS = {
    "access": {"storage"},
    "ingest": {"access", "scoring", "storage"},
    "networks": {"access", "scoring", "storage"},
    "scoring": set[str](),
    "maintenance": {"storage"},
    "metrics": {"access", "ingest", "maintenance", "networks", "webhooks"},
    "sandboxes": {"ingest", "storage"},
    "services": {"access", "ingest", "networks", "sandboxes", "scoring", "storage", "webhooks"},
    "storage": set[str](),
    "tracing": set[str](),
    "webhooks": {"access", "storage"},
}
# Who may import the composition root, and what runs it.
ENTRIES = {
    "app": {"running", "workers"},
    "running": {"command", "db_command", "workers"},
    "workers": {"command"},
    "command": set[str](),
    "db_command": set[str](),
}

SQL = {"sqlalchemy", "sqlite3", "alembic", "psycopg", "asyncpg"}
IO = SQL | {"asyncio", "grpc", "os", "pathlib", "socket", "time", "datetime", "threading"}


def directory(package: ModuleType) -> Path:
    assert package.__file__ is not None
    return Path(package.__file__).parent


def modules(package: ModuleType) -> dict[str, Path]:
    """Give the package's hand-written modules by their name within it."""
    root = directory(package)
    names = {".".join(path.relative_to(root).with_suffix("").parts): path for path in root.rglob("*.py")}
    return {name: path for name, path in names.items() if not name.startswith(("v1.", "admin."))}


def imports(path: Path) -> set[str]:
    """Give the full names of all that a module imports, for types too."""
    return set(_imports(ast.parse(path.read_text(encoding="utf-8"))))


def _imports(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, "a relative import"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def room_of(module: str) -> str:
    """Give the room of a module of spacelink_server, or its own name if it is in none."""
    return module.partition(".")[0]


def top_level(names: set[str]) -> set[str]:
    return {name.partition(".")[0] for name in names}


SERVER = modules(spacelink_server)
SERVER_IMPORTS = {
    name: {
        room_of(imported.removeprefix("spacelink_server."))
        for imported in imports(path)
        if imported.startswith("spacelink_server.")
    }
    for name, path in SERVER.items()
}
EXISTING = {path.parent.name for path in directory(spacelink_server).glob("*/__init__.py")}


def test_imports_are_found() -> None:
    tree = "import a.b\nif x:\n    from c.d import e, f\ndef g():\n    import h as i\n"
    assert set(_imports(ast.parse(tree))) == {"a.b", "c.d.e", "c.d.f", "h"}
    assert {"storage", "access", "ingest", "errors"} <= SERVER_IMPORTS["services.telemetry"]


def test_every_room_has_a_rule() -> None:
    assert set(ROOMS) >= EXISTING >= {"ingest", "scoring", "services", "storage"}


@pytest.mark.parametrize("room", sorted(EXISTING))
def test_a_room_calls_only_whom_it_may(room: str) -> None:
    called = set[str]().union(*(names for name, names in SERVER_IMPORTS.items() if room_of(name) == room))
    assert called & set(ROOMS) <= ROOMS[room] | {room}


def test_modules_outside_the_rooms_do_not_import_services() -> None:
    importers = {name for name, names in SERVER_IMPORTS.items() if "services" in names}
    assert {name for name in importers if room_of(name) != "services"} == {"app"}


@pytest.mark.parametrize("entry", ENTRIES)
def test_nothing_imports_the_composition_root(entry: str) -> None:
    assert {name for name, names in SERVER_IMPORTS.items() if entry in names} <= ENTRIES[entry]


def test_only_storage_knows_sql() -> None:
    knowing = {name for name, path in SERVER.items() if top_level(imports(path)) & SQL}
    assert knowing
    assert {room_of(name) for name in knowing} == {"storage"}


def test_scoring_is_pure() -> None:
    imported = {name: top_level(imports(path)) for name, path in SERVER.items() if room_of(name) == "scoring"}
    assert {name: names & IO for name, names in imported.items() if names & IO} == {}


def test_client_imports_neither_server_nor_agent() -> None:
    for name, path in modules(spacelink).items():
        assert not top_level(imports(path)) & {"spacelink_server", "spacelink_agent"}, name


def test_agent_imports_the_client_only() -> None:
    for name, path in modules(spacelink_agent).items():
        assert "spacelink_server" not in top_level(imports(path)), name


def test_the_bridge_imports_the_client_only() -> None:
    for name, path in modules(spacelink_rest).items():
        assert not top_level(imports(path)) & {"spacelink_server", "spacelink_agent"}, name


def test_nothing_imports_the_bridge() -> None:
    for package in (spacelink, spacelink_agent, spacelink_server):
        for name, path in modules(package).items():
            assert "spacelink_rest" not in top_level(imports(path)), name


def test_server_does_not_import_the_agent() -> None:
    for name, path in SERVER.items():
        assert "spacelink_agent" not in top_level(imports(path)), name
