"""The public surface of the SDK."""

from __future__ import annotations

import inspect
import subprocess
import sys

import pytest

import spacelink
from spacelink import AdminClient, AsyncAdminClient, AsyncSpaceLinkClient, SpaceLinkClient, errors


def test_public_names_are_these() -> None:
    assert sorted(spacelink.__all__) == [
        "AdminClient",
        "AsyncAdminClient",
        "AsyncSpaceLinkClient",
        "InvalidTokenError",
        "METRICS",
        "MetricSummary",
        "SpaceLinkClient",
        "SpaceLinkError",
        "TelemetryColumns",
        "TelemetrySummary",
        "TelemetryUpdate",
        "Token",
    ]
    for name in spacelink.__all__:
        assert getattr(spacelink, name) is not None


def test_importing_the_package_imports_nothing_that_takes_time() -> None:
    program = "import sys, spacelink; print({'grpc', 'numpy', 'google.protobuf'} & set(sys.modules))"
    loaded = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert loaded.stdout == "set()\n"


def test_modules_are_attributes_of_the_package_and_others_are_not() -> None:
    assert spacelink.networks.Sla is not None
    assert {"networks", "errors", "Token"} <= set(dir(spacelink))
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        spacelink.nothing  # noqa: B018


@pytest.mark.parametrize(
    ("blocking", "asynchronous", "example"),
    [(SpaceLinkClient, AsyncSpaceLinkClient, "ingest"), (AdminClient, AsyncAdminClient, "mint_token")],
)
def test_both_clients_have_the_same_calls_with_the_same_arguments(
    blocking: type, asynchronous: type, example: str
) -> None:
    def calls(client: type) -> dict[str, list[str]]:
        return {
            name: list(inspect.signature(call).parameters)
            for name, call in inspect.getmembers(client, inspect.isfunction)
            if not name.startswith("_")
        }

    assert calls(blocking) == calls(asynchronous)
    assert example in calls(blocking)


def test_every_error_is_in_the_tree_drawn_in_the_docstring() -> None:
    classes = {
        name: cls
        for name, cls in inspect.getmembers(errors, inspect.isclass)
        if issubclass(cls, errors.SpaceLinkError)
    }
    assert errors.__doc__ is not None
    tree = errors.__doc__.splitlines()
    depths = {
        line.split()[0]: len(line) - len(line.lstrip())
        for line in tree
        if line.strip().partition(" ")[0] in classes
    }
    assert set(depths) == set(classes)
    for name, cls in classes.items():
        parents = [base.__name__ for base in cls.__mro__[1:] if base.__name__ in classes]
        assert depths[name] == depths["SpaceLinkError"] + 2 * len(parents)
