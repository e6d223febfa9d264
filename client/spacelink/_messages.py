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

_UNSPECIFIED = "UNSPECIFIED"


def enum_name(enum: Any, number: int) -> str:
    """Give the name of an enum's value without the prefix, in lower case."""
    # Empty for none, and for one that only a newer server knows.
    return _names(enum).get(number, "")


def enum_number(enum: Any, field: str, name: str) -> Any:
    """Give the number of an enum's value.

    Raises:
        ValueError: there is no such value; names the field.
    """
    numbers = {name: number for number, name in _names(enum).items()}
    if name not in numbers:
        raise ValueError(f"{field} {name!r}: expected one of {', '.join(numbers)}")
    return numbers[name]


def enum_names(enum: Any) -> tuple[str, ...]:
    """Give the names of all values of an enum."""
    return tuple(_names(enum).values())


def _names(enum: Any) -> dict[int, str]:
    prefix = enum.values_by_number[0].name.removesuffix(_UNSPECIFIED)
    return {value.number: value.name.removeprefix(prefix).lower() for value in enum.values if value.number}


ROLES = enum_names(Role.DESCRIPTOR)


def record(kind: type[_Record], message: Message, **given: object) -> _Record:
    """Make a dataclass of a message.

    Args:
        kind: a dataclass with the names of the message's fields. Times become
            datetimes in UTC or None, repeated fields tuples, enums their names.
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
    return value if field.enum_type is None else enum_name(field.enum_type, value)


def role_number(role: str) -> Role.ValueType:
    """Give a role's number.

    Raises:
        ValueError: there is no such role.
    """
    number: Role.ValueType = enum_number(Role.DESCRIPTOR, "role", role)
    return number


def duration(length: timedelta | None) -> Duration | None:
    """Give a length of time as a message; None leaves its field out."""
    if length is None:
        return None
    message = Duration()
    message.FromTimedelta(length)
    return message
