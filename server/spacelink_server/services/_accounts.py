"""What the services that make users have in common."""

from __future__ import annotations

from spacelink._names import MAX_IDENTIFIER
from spacelink_server.access.sessions import USER_PREFIX
from spacelink_server.errors import InvalidRequestError
from spacelink_server.services import _requests

_MIN_PASSWORD = 8
_MAX_PASSWORD = 1024

# Sessions carry the name, behind a prefix, as a label.
_MAX_USER_NAME = MAX_IDENTIFIER - len(USER_PREFIX)


def require_user_name(user_name: str) -> None:
    """Check the name of a user."""
    _requests.require_identifier("user_name", user_name)
    if len(user_name) > _MAX_USER_NAME:
        raise InvalidRequestError("user_name", f"expected at most {_MAX_USER_NAME} characters")


def require_password(password: str) -> None:
    """Check that a password is neither too short nor too long."""
    if not _MIN_PASSWORD <= len(password) <= _MAX_PASSWORD:
        raise InvalidRequestError(
            "password", f"expected {_MIN_PASSWORD} to {_MAX_PASSWORD} characters, got {len(password)}"
        )
