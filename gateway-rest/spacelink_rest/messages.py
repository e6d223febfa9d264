"""Protobuf messages as JSON, and as models that describe and check that JSON.

The contract stays the one definition. What differs from protobuf's own JSON:
names are those of the fields, 64-bit integers are numbers, enum values are their
short names in lower case ("month" for SLA_PERIOD_MONTH), and the token of the
next page is next_cursor, null on the last one.
"""

from __future__ import annotations

import math
import types
from functools import cache
from typing import TYPE_CHECKING, Annotated, Any, Literal

from fastapi import Body, Depends
from fastapi.responses import JSONResponse
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.duration_pb2 import Duration
from google.protobuf.json_format import ParseDict, ParseError
from google.protobuf.timestamp_pb2 import Timestamp
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints, create_model

from spacelink.errors import InvalidArgumentError
from spacelink_rest.moments import MomentText

if TYPE_CHECKING:
    from collections.abc import Collection

    from google.protobuf.descriptor import Descriptor, EnumDescriptor
    from google.protobuf.message import Message

_NEXT_PAGE = "next_page_token"
_NEXT_CURSOR = "next_cursor"

_DURATION = r"^-?[0-9]{1,12}(\.[0-9]{1,9})?s$"


def to_json(message: Message) -> dict[str, Any]:
    """Give a message as what json.dumps takes; fields that are not set are left out."""
    given: dict[str, Any] = {}
    for field in message.DESCRIPTOR.fields:
        if field.has_presence and not message.HasField(field.name):
            continue
        value = getattr(message, field.name)
        if field.name == _NEXT_PAGE:
            given[_NEXT_CURSOR] = value or None
        elif field.is_repeated:
            given[field.name] = [_to_json(field, item) for item in value]
        else:
            given[field.name] = _to_json(field, value)
    return given


def _to_json(field: Any, value: Any) -> Any:
    if isinstance(value, Timestamp | Duration):
        return value.ToJsonString()
    if field.message_type is not None:
        return to_json(value)
    if field.enum_type is not None:
        return _short_names(field.enum_type).get(value, str(value))
    # JSON has no word for them.
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _short_names(enum: EnumDescriptor) -> dict[int, str]:
    """Give the names of an enum's values without what they all begin with."""
    prefix = enum.values_by_number[0].name.removesuffix("UNSPECIFIED")
    return {value.number: value.name.removeprefix(prefix).lower() for value in enum.values}


def body_of(kind: type[Message], example: dict[str, Any], *, leave_out: Collection[str] = ()) -> Any:
    """Make the dependency that reads a body as a message.

    Args:
        kind: the message's class.
        example: a body for the document.
        leave_out: fields that the body does not have.
    """

    def read(body: BaseModel) -> Message:
        try:
            return ParseDict(body.model_dump(exclude_none=True), kind())
        except ParseError as error:
            # Its model lets all pass but two fields of a oneof.
            raise InvalidArgumentError(str(error), reason="INVALID_ARGUMENT") from None

    model = _model(kind.DESCRIPTOR, frozenset(leave_out))
    read.__annotations__["body"] = Annotated[model, Body(openapi_examples={"example": {"value": example}})]
    return Depends(read)


def model_of(kind: type[Message]) -> type[BaseModel]:
    """Make the model of what to_json gives of a message."""
    return _model(kind.DESCRIPTOR)


def answer(message: Message, status: int = 200) -> JSONResponse:
    """Make the answer that holds a message."""
    return JSONResponse(to_json(message), status)


@cache
def _model(descriptor: Descriptor, leave_out: frozenset[str] = frozenset()) -> type[BaseModel]:
    fields: dict[str, Any] = {}
    for field in descriptor.fields:
        if field.name == _NEXT_PAGE:
            fields[_NEXT_CURSOR] = (str | None, Field(None, description="Asks for the next page."))
        elif field.name not in leave_out:
            fields[field.name] = _field(field)
    config = ConfigDict(extra="forbid", strict=True)
    return create_model(descriptor.name, __config__=config, **fields)


def _field(field: FieldDescriptor) -> tuple[Any, Any]:
    kind: Any = _type(field)
    if field.is_repeated:
        return types.GenericAlias(list, (kind,)), Field(default_factory=list)
    return kind | None, None


def _type(field: FieldDescriptor) -> Any:
    if field.message_type is not None:
        return _message_type(field.message_type)
    if field.enum_type is not None:
        return _enum_type(field.enum_type)
    return _SCALARS[field.cpp_type]


def _message_type(descriptor: Descriptor) -> Any:
    if descriptor is Timestamp.DESCRIPTOR:
        return MomentText
    if descriptor is Duration.DESCRIPTOR:
        return Annotated[str, StringConstraints(pattern=_DURATION), Field(examples=["3600s"])]
    return _model(descriptor)


def _enum_type(enum: EnumDescriptor) -> Any:
    names = _short_names(enum)
    numbers = {name: number for number, name in names.items()}
    return Annotated[Literal[tuple(numbers)], AfterValidator(numbers.__getitem__)]


def _integer(bits: int) -> Any:
    return Annotated[int, Field(ge=-(2 ** (bits - 1)), le=2 ** (bits - 1) - 1)]


_SCALARS = {
    FieldDescriptor.CPPTYPE_INT32: _integer(32),
    FieldDescriptor.CPPTYPE_INT64: _integer(64),
    FieldDescriptor.CPPTYPE_DOUBLE: Annotated[float, Field(allow_inf_nan=False)],
    FieldDescriptor.CPPTYPE_BOOL: bool,
    FieldDescriptor.CPPTYPE_STRING: str,
}
