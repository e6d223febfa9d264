"""The telemetry messages with their columns as plain bytes.

A packed fixed-width field and a bytes field are the same on the wire. Reading a
column as bytes and viewing it with numpy, or writing an array's bytes, skips
the conversion of every value to a Python object and back. The classes here are
derived from the published descriptors, so there is one definition of the
contract.

Names become bytes too: a name that is not UTF-8 can then be rejected with the
sequence of its batch instead of failing the whole stream.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, timestamp_pb2

from spacelink.v1 import telemetry_pb2

if TYPE_CHECKING:
    from google.protobuf.message import Message

_PACKAGE = "spacelink.v1"
_VIEW_PACKAGE = "spacelink.view.v1"
_COLUMN_MESSAGES = ("TelemetryBatch", "MetricColumn")

_Field = descriptor_pb2.FieldDescriptorProto


def _view_file() -> descriptor_pb2.FileDescriptorProto:
    file = descriptor_pb2.FileDescriptorProto()
    telemetry_pb2.DESCRIPTOR.CopyToProto(file)
    file.name = "spacelink/view/v1/telemetry.proto"
    file.package = _VIEW_PACKAGE
    del file.service[:]
    for message in file.message_type:
        for field in message.field:
            if field.type_name:
                field.type_name = field.type_name.replace(f".{_PACKAGE}.", f".{_VIEW_PACKAGE}.")
            if message.name in _COLUMN_MESSAGES:
                _make_bytes(field)
    return file


def _make_bytes(field: descriptor_pb2.FieldDescriptorProto) -> None:
    is_column = field.label == _Field.LABEL_REPEATED and field.type != _Field.TYPE_MESSAGE
    if is_column:
        field.label = _Field.LABEL_OPTIONAL
        field.ClearField("type_name")
        field.ClearField("options")
    if is_column or field.type == _Field.TYPE_STRING:
        field.type = _Field.TYPE_BYTES


def _view_classes() -> dict[str, Any]:
    # A pool of its own keeps the views out of reflection.
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(timestamp_pb2.DESCRIPTOR.serialized_pb)
    pool.Add(_view_file())
    find = pool.FindMessageTypeByName
    return {
        name: message_factory.GetMessageClass(find(f"{_VIEW_PACKAGE}.{name}"))
        for name in (
            "TelemetryBatch",
            "MetricColumn",
            "IngestRequest",
            "SubmitTelemetryRequest",
            "QueryTelemetryResponse",
            "WatchTelemetryResponse",
        )
    }


_classes = _view_classes()

# Any: the classes are made at run time, so no stub describes them.
BatchView: Any = _classes["TelemetryBatch"]
IngestRequestView: Any = _classes["IngestRequest"]
SubmitRequestView: Any = _classes["SubmitTelemetryRequest"]
QueryResponseView: Any = _classes["QueryTelemetryResponse"]
WatchResponseView: Any = _classes["WatchTelemetryResponse"]


def is_exact(view: Message, data: bytes) -> bool:
    """Tell whether a view parsed from data holds all of it.

    Unknown fields, a column given twice and columns that are not packed are
    lost in a view. Each of them makes its encoding shorter, and nothing makes
    it longer.
    """
    view.DiscardUnknownFields()
    return view.ByteSize() == len(data)


def embed(field_number: int, data: bytes) -> bytes:
    """Encode a message that has nothing but one sub-message, given as bytes."""
    return bytes((field_number << 3 | 2,)) + _varint(len(data)) + data


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)
