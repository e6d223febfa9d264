"""What identifiers and metric names may look like."""

from __future__ import annotations

import re

MAX_IDENTIFIER = 128
MAX_METRIC_NAME = 64

# Blanks separate identifiers in capability tokens and * stands for any, so
# neither may occur in one.
_IDENTIFIER = re.compile(rf"[A-Za-z0-9._:/@+-]{{1,{MAX_IDENTIFIER}}}", re.ASCII)
_METRIC_NAME = re.compile(rf"[a-z][a-z0-9_.-]{{0,{MAX_METRIC_NAME - 1}}}", re.ASCII)

IDENTIFIER_RULE = f"1 to {MAX_IDENTIFIER} characters out of letters, digits and . _ : / @ + -"
METRIC_NAME_RULE = (
    f"1 to {MAX_METRIC_NAME} characters, a lower-case letter followed by lower-case letters, digits and _ . -"
)


def is_identifier(text: str) -> bool:
    """Tell whether text may name a device, a stream or a request."""
    return _IDENTIFIER.fullmatch(text) is not None


def is_metric_name(text: str) -> bool:
    """Tell whether text may name a metric column."""
    return _METRIC_NAME.fullmatch(text) is not None
