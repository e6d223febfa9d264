"""How a call is refused for its credential, or for what is used up.

Up to and including the signature every failure gives the same answer, so that
nobody can find out by trying what is wrong with a forgery. The cause is for
logs and counters; it holds no part of a credential.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import grpc
from google.rpc.error_details_pb2 import QuotaFailure

from spacelink_server.errors import RequestError, UnavailableError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from google.rpc.status_pb2 import Status

# Messages repeat names and caveats of the call, and travel in its trailers,
# which common proxies and clients limit to 8 KiB: twice, and encoded.
_MAX_TOLD = 400

# When a caller may ask again whose token could not be held against the bans:
# the list is read four times a second.
_BANS_RETRY_SECONDS = 1.0


class RefusedError(RequestError):
    """The call's credential does not allow it.

    Attributes:
        cause: what is wrong, for logs and counters only.
    """

    def __init__(self, code: grpc.StatusCode, reason: str, message: str, cause: str = "") -> None:
        super().__init__(code, reason, message)
        self.cause = cause or message


class ExhaustedError(RequestError):
    """Something is used up of which there is so much."""

    def __init__(
        self,
        reason: str,
        subject: str,
        message: str,
        *,
        metadata: Mapping[str, str] | None = None,
        retry_seconds: float | None = None,
    ) -> None:
        """Make the answer to a call that wants more.

        Args:
            reason: what is used up.
            subject: whose it is, such as "tenant:acme".
            message: says how much there is.
            metadata: see RequestError.
            retry_seconds: when there is more; None: never.
        """
        super().__init__(
            grpc.StatusCode.RESOURCE_EXHAUSTED,
            reason,
            message,
            metadata=metadata,
            retry_seconds=retry_seconds,
        )
        self._subject = subject

    def _add_details(self, status: Status) -> None:
        violation = QuotaFailure.Violation(subject=self._subject, description=self.message)
        status.details.add().Pack(QuotaFailure(violations=[violation]))


def credential_required() -> RefusedError:
    """Make the answer to a call without any credential."""
    return _unauthenticated(
        "CREDENTIAL_REQUIRED", "send a token as 'authorization: Bearer TOKEN', or an API key as 'x-api-key'"
    )


def ambiguous_credential() -> RefusedError:
    """Make the answer to a call with more than one credential."""
    return _unauthenticated(
        "AMBIGUOUS_CREDENTIAL", "send one credential: either authorization or x-api-key, and that once"
    )


def invalid_token(cause: str) -> RefusedError:
    """Make the answer to a token that is not authentic, whatever is wrong with it."""
    return _unauthenticated("INVALID_TOKEN", "the credential is not valid", cause)


def invalid_caveat(problem: str) -> RefusedError:
    """Make the answer to an authentic token that can never be good."""
    return _unauthenticated("INVALID_TOKEN", f"the token can never be good: {_shorten(problem)}")


def expired(message: str = "the token has expired") -> RefusedError:
    """Make the answer to a token whose time is over."""
    return _unauthenticated("TOKEN_EXPIRED", message)


def not_yet_valid(message: str) -> RefusedError:
    """Make the answer to a token whose time has not come."""
    return _unauthenticated("TOKEN_NOT_YET_VALID", message)


def banned() -> RefusedError:
    """Make the answer to a token that is banned, itself or with an ancestor."""
    return denied("TOKEN_BANNED", "the token is banned")


def denied(reason: str, message: str) -> RefusedError:
    """Make the answer to a token that does not allow the call."""
    return RefusedError(grpc.StatusCode.PERMISSION_DENIED, reason, _shorten(message))


def tenant_not_found(tenant_id: str) -> RequestError:
    """Make the answer to a call about a tenant that does not exist."""
    message = f"there is no tenant {tenant_id!r}"
    return RequestError(grpc.StatusCode.NOT_FOUND, "TENANT_NOT_FOUND", _shorten(message))


def bans_unknown() -> UnavailableError:
    """Make the answer for when the list of bans cannot be read."""
    return UnavailableError(
        "BANS_UNKNOWN", "the server cannot tell which tokens are banned", _BANS_RETRY_SECONDS
    )


def bans_changed() -> UnavailableError:
    """Make the answer to a call that bans crossed which are not in force here yet."""
    return UnavailableError("BANS_CHANGED", "bans have just changed; nothing was done", _BANS_RETRY_SECONDS)


def _unauthenticated(reason: str, message: str, cause: str = "") -> RefusedError:
    return RefusedError(grpc.StatusCode.UNAUTHENTICATED, reason, message, cause)


def _shorten(message: str) -> str:
    return message if len(message) <= _MAX_TOLD else f"{message[:_MAX_TOLD]}..."
