"""What the services' requests have in common: names, times, pages, and calls that may be repeated."""

from __future__ import annotations

import base64
import binascii
import hashlib
from typing import TYPE_CHECKING, Any, TypeVar

import grpc
from google.protobuf.timestamp_pb2 import Timestamp

from spacelink._caveats import ANY
from spacelink._names import IDENTIFIER_RULE, is_identifier
from spacelink.errors import InvalidTokenError
from spacelink.token import Token
from spacelink_server.access.errors import denied
from spacelink_server.errors import InvalidRequestError, RequestError
from spacelink_server.services.scopes import tenant_of
from spacelink_server.storage import requests
from spacelink_server.storage.requests import RequestResult

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from google.protobuf.duration_pb2 import Duration
    from google.protobuf.message import Message

    from spacelink_server.access.call import Call
    from spacelink_server.storage.transactions import Connection

_T = TypeVar("_T")

_MAX_PAGE_SIZE = 1000
_DEFAULT_PAGE_SIZE = 100
_MAX_TEXT = 1000
_MAX_NAMES = 1000

_NANOS = 1_000_000_000
_DAY = 86_400 * _NANOS
# Times are 64-bit integers.
_NEVER = 2**63

# How long what is replaced stays good, unless the request says otherwise.
_DEFAULT_OVERLAP = _DAY
_MAX_OVERLAP = 366 * _DAY


def require_identifier(field: str, text: str) -> str:
    """Give a name, if it is one."""
    if not is_identifier(text):
        raise InvalidRequestError(field, f"expected {IDENTIFIER_RULE}")
    return text


def require_text(field: str, text: str) -> str:
    """Give a text for people, if it is not too long and can be stored."""
    if "\0" in text:
        raise InvalidRequestError(field, "expected no NUL character")
    if len(text) > _MAX_TEXT:
        raise InvalidRequestError(field, f"{len(text)} characters; expected at most {_MAX_TEXT}")
    return text


def require_device_ids(field: str, device_ids: Sequence[str], most: int = _MAX_NAMES) -> None:
    """Check the names of devices, and that there are not too many."""
    require_identifiers(field, device_ids, most, "INVALID_DEVICE_ID")


def require_identifiers(
    field: str, names: Sequence[str], most: int = _MAX_NAMES, reason: str = "INVALID_ARGUMENT"
) -> None:
    """Check a list of names."""
    if len(names) > most:
        raise InvalidRequestError(field, f"{len(names)} names; expected at most {most}")
    for index, name in enumerate(names):
        if not is_identifier(name):
            raise InvalidRequestError(f"{field}[{index}]", f"expected {IDENTIFIER_RULE}", reason)


def require_token(call: Call, field: str, text: str) -> Token:
    """Give a token that the request holds, if the call is about its tenant or about all."""
    try:
        token = Token.parse(text)
    except InvalidTokenError as error:
        raise InvalidRequestError(field, error.message, "INVALID_TOKEN") from None
    if call.tenant_id not in (ANY, tenant_of(token)):
        raise denied("WRONG_TENANT", f"{field}: the token is not of tenant {call.tenant_id}")
    return token


def page_size(size: int) -> int:
    """Give how many entries a page has."""
    if size < 0:
        raise InvalidRequestError("page_size", f"expected 0 to {_MAX_PAGE_SIZE}")
    return min(size or _DEFAULT_PAGE_SIZE, _MAX_PAGE_SIZE)


def split_page(rows: Sequence[_T], size: int, position: Callable[[_T], str]) -> tuple[Sequence[_T], str]:
    """Give a page and the token of the next one.

    Args:
        rows: one more than the page has, if there are more.
        size: how many the page has.
        position: tells where to go on behind a row.
    """
    page = rows[:size]
    more = len(rows) > size
    return page, page_token(position(page[-1])) if more else ""


def page_token(position: str) -> str:
    """Give the token of the page behind a position."""
    return base64.urlsafe_b64encode(position.encode()).decode()


def parse_page_token(token: str) -> str:
    """Give the name behind which a page begins; empty for the first."""
    name = _decode_page_token(token)
    if name and not is_identifier(name):
        raise _bad_page_token()
    return name


def parse_time_page_token(token: str) -> tuple[int, str] | None:
    """Give the time, or another number, and the name behind which a page begins; None for the first."""
    number, _, name = _decode_page_token(token).partition(" ")
    if not token:
        return None
    if not (number.isascii() and number.isdecimal() and int(number) < _NEVER) or not is_identifier(name):
        raise _bad_page_token()
    return int(number), name


def timestamp(time_unix_nano: int | None) -> Timestamp | None:
    """Give a time as a field of an answer; None leaves the field out."""
    if time_unix_nano is None:
        return None
    message = Timestamp()
    message.FromNanoseconds(time_unix_nano)
    return message


def overlap(message: Duration, given: bool) -> int:
    """Give in nanoseconds how long what is replaced stays good."""
    if not given:
        return _DEFAULT_OVERLAP
    nanos = message.seconds * _NANOS + message.nanos
    if not 0 <= nanos <= _MAX_OVERLAP:
        raise InvalidRequestError("overlap", "expected zero to 366 days")
    return nanos


def once(
    connection: Connection, call: Call, request: Any, make: Callable[[], dict[str, Any]]
) -> dict[str, Any]:
    """Do what a request with a request_id asks for, unless it was done before.

    Args:
        connection: in the write transaction of all that make does.
        call: who calls, and about which tenant.
        request: a message with a request_id, which may be empty.
        make: does it, and gives what names the result; nothing secret.

    Returns:
        What make gave, now or then.

    Raises:
        RequestError: the request_id was used for something else, or by another
            token: what one may see is not for all.
    """
    request_id = request.request_id
    name = _fingerprint(call, request)
    done = requests.get(connection, call.tenant_id, request_id) if request_id else None
    if done is None:
        result = make()
        if request_id:
            requests.insert(connection, call.tenant_id, request_id, RequestResult(name, result))
        return result
    if done.method != name:
        raise request_id_reused("it was used for another call, or with another credential")
    return done.result


def require_request_id(text: str) -> None:
    """Check a request_id, which may be empty."""
    if text and not is_identifier(text):
        raise InvalidRequestError("request_id", f"expected {IDENTIFIER_RULE}, or none")


def request_id_reused(message: str) -> RequestError:
    """Make the answer for a request_id that stands for something else."""
    return RequestError(grpc.StatusCode.ALREADY_EXISTS, "REQUEST_ID_REUSED", f"request_id: {message}")


def not_found(reason: str, message: str) -> RequestError:
    """Make the answer for something that does not exist."""
    return RequestError(grpc.StatusCode.NOT_FOUND, reason, message)


def _fingerprint(call: Call, request: Message) -> str:
    content = call.principal.digests[-1] + request.SerializeToString(deterministic=True)
    return f"{request.DESCRIPTOR.name} {hashlib.sha256(content).hexdigest()}"


def _decode_page_token(token: str) -> str:
    try:
        return base64.b64decode(token.encode("ascii"), b"-_", validate=True).decode()
    except (binascii.Error, UnicodeError):
        raise _bad_page_token() from None


def _bad_page_token() -> InvalidRequestError:
    return InvalidRequestError("page_token", "expected the next_page_token of the answer before")
