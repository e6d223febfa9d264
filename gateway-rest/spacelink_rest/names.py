"""Names of this interface that are not those of the contract, in what the server says of fields."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from spacelink.errors import FieldViolation

if TYPE_CHECKING:
    from collections.abc import Mapping

    from spacelink.errors import SpaceLinkError

# Parameters, by the fields that they become.
_PARAMETERS = {
    "device_ids": "device_id",
    "network_ids": "network_id",
    "metrics": "metric",
    "start_time": "start",
    "end_time": "end",
    "period_time": "period",
    "page_size": "limit",
    "page_token": "cursor",
    "after_device_id": "cursor",
}

# Fields of a sample, by those of the batch that it becomes.
_SAMPLE_FIELDS = {
    "request_id": "Idempotency-Key",
    "batch.time_unix_nano": "timestamp",
    "batch.signal_strength_dbm": "signal_strength",
}

_FIELD = re.compile(r"[a-z_][a-z0-9_]*(?:\.[a-z_][a-z0-9_]*)*")


def in_parameters(error: SpaceLinkError) -> SpaceLinkError:
    """Name the fields of a request that parameters became as the parameters are named."""
    return _rename(error, _PARAMETERS)


def in_sample(error: SpaceLinkError) -> SpaceLinkError:
    """Name the fields of a batch as they are named in a sample."""
    return _rename(error, _SAMPLE_FIELDS)


def _rename(error: SpaceLinkError, names: Mapping[str, str]) -> SpaceLinkError:
    error.message = _renamed(error.message, names)
    error.field_violations = tuple(
        FieldViolation(_renamed(violation.field, names), _renamed(violation.description, names))
        for violation in error.field_violations
    )
    return error


def _renamed(text: str, names: Mapping[str, str]) -> str:
    """Rename the field that a text is, or begins with."""
    match = _FIELD.match(text)
    if match is None or (match.end() < len(text) and text[match.end()] not in ":["):
        return text
    name = names.get(match[0]) or match[0].removeprefix("batch.")
    return name + text[match.end() :]
