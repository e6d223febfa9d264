"""Messages of the server as frozen dataclasses, and some arguments as messages."""

from __future__ import annotations

from dataclasses import fields
from datetime import UTC
from typing import TYPE_CHECKING, Any, TypeVar

from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from spacelink.v1.session_pb2 import Role

if TYPE_CHECKING:
    from datetime import timedelta

    from google.protobuf.message import Message

    _Record = TypeVar("_Record")

_PREFIX = "ROLE_"

ROLES = tuple(name.removeprefix(_PREFIX).lower() for name, number in Role.items() if number)


def record(kind: type[_Record], message: Message, **given: object) -> _Record:
    """Make a dataclass of a message.

    Args:
        kind: a dataclass with the names of the message's fields. Times become
            datetimes in UTC or None, repeated fields tuples, roles texts.
        message: the message.
        given: fields that have another value than the message's.
    """
    names = {field.name for field in fields(kind)} - given.keys()  # type: ignore[arg-type]  # no type says dataclass
    return kind(**given, **{name: _value(message, name) for name in names})


def _value(message: Message, name: str) -> Any:
    field = message.DESCRIPTOR.fields_by_name[name]
    value = getattr(message, name)
    if field.is_repeated:
        return tuple(value)
    if isinstance(value, Timestamp):
        return value.ToDatetime(UTC) if message.HasField(name) else None
    return _role_name(value) if field.enum_type is Role.DESCRIPTOR else value


def _role_name(number: int) -> str:
    # Empty for none, and for one that only a newer server knows.
    return next((role for role in ROLES if role_number(role) == number), "")


def role_number(role: str) -> Role.ValueType:
    """Give a role's number.

    Raises:
        ValueError: there is no such role.
    """
    if role not in ROLES:
        raise ValueError(f"role {role!r}: expected one of {', '.join(ROLES)}")
    return Role.Value(_PREFIX + role.upper())


def duration(length: timedelta | None) -> Duration | None:
    """Give a length of time as a message; None leaves its field out."""
    if length is None:
        return None
    message = Duration()
    message.FromTimedelta(length)
    return message
