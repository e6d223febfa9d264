"""Messages of NetworkService as the dataclasses of spacelink.networks, and back.

A dataclass and its message have fields of the same names. Enum values are their
names without the prefix, in lower case; the unspecified one is empty.
"""

from __future__ import annotations

from dataclasses import fields
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, TypeVar

from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from spacelink import networks
from spacelink._messages import duration, enum_name, enum_number
from spacelink._times import timestamp

if TYPE_CHECKING:
    from google.protobuf.message import Message

    _Record = TypeVar("_Record")
    _Message = TypeVar("_Message", bound=Message)


def from_message(kind: type[_Record], message: Message) -> _Record:
    """Make a dataclass of a message; fields that are not set are None."""
    names = (field.name for field in fields(kind))  # type: ignore[arg-type]  # no type says dataclass
    return kind(**{name: _value(message, message.DESCRIPTOR.fields_by_name[name]) for name in names})


def to_message(record: Any, kind: type[_Message]) -> _Message:
    """Make a message of a dataclass; fields that are None are not set.

    Raises:
        ValueError: names the field whose value no message can have.
    """
    message = kind()
    _fill(message, record)
    return message


def _fill(message: Message, record: Any) -> None:
    for field in message.DESCRIPTOR.fields:
        value = getattr(record, field.name)
        target = getattr(message, field.name)
        if field.is_repeated:
            for item in value:
                _fill(target.add(), item)
        elif isinstance(value, datetime | timedelta):
            target.CopyFrom(timestamp(value) if isinstance(value, datetime) else duration(value))
        elif field.message_type is not None and value is not None:
            target.SetInParent()
            _fill(target, value)
        elif value is not None:
            setattr(message, field.name, _plain(field, value))


def _value(message: Message, field: Any) -> Any:
    value = getattr(message, field.name)
    if field.is_repeated:
        return tuple(_single(field, item) for item in value)
    if field.has_presence and not message.HasField(field.name):
        return None
    return _single(field, value)


def _single(field: Any, value: Any) -> Any:
    if isinstance(value, Timestamp):
        return value.ToDatetime(UTC)
    if isinstance(value, Duration):
        return value.ToTimedelta()
    if field.message_type is not None:
        return from_message(getattr(networks, field.message_type.name), value)
    return enum_name(field.enum_type, value) if field.enum_type is not None else value


def _plain(field: Any, value: Any) -> Any:
    if field.enum_type is None or not isinstance(value, str):
        return value
    return enum_number(field.enum_type, field.name, value) if value else 0
