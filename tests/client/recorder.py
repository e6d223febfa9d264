"""A gRPC server that writes down what it is asked, and answers as it is told."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import grpc
from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from spacelink.admin.v1 import account_pb2, audit_pb2, governance_pb2, tenant_pb2, token_pb2
from spacelink.v1 import network_pb2, partner_pb2, session_pb2, telemetry_pb2
from spacelink.v1.telemetry_pb2 import IngestAck, IngestReady, IngestRequest, IngestResponse

DATA_FILES = (
    telemetry_pb2.DESCRIPTOR,
    network_pb2.DESCRIPTOR,
    session_pb2.DESCRIPTOR,
    partner_pb2.DESCRIPTOR,
)
ADMIN_FILES = (
    token_pb2.DESCRIPTOR,
    governance_pb2.DESCRIPTOR,
    audit_pb2.DESCRIPTOR,
    tenant_pb2.DESCRIPTOR,
    account_pb2.DESCRIPTOR,
)

Answer: TypeAlias = "Message | Sequence[Message] | grpc.StatusCode"


@dataclass(frozen=True)
class Call:
    """A call as the server saw it."""

    method: str
    request: Any
    metadata: dict[str, str]


@dataclass
class Recorder:
    """What a server saw and answers.

    Attributes:
        address: HOST:PORT.
        calls: what it was asked, in order.
        answers: what it answers by the method's name: a message, a sequence of
            them to answer calls one by one or one stream with, or a status; an
            empty message otherwise.
    """

    address: str = ""
    calls: list[Call] = field(default_factory=list)
    answers: dict[str, Answer] = field(default_factory=dict)

    def take(self, method: str) -> Call:
        """Give the only call there was."""
        (call,) = self.calls
        assert call.method == method
        self.calls.clear()
        return call


@contextmanager
def recording() -> Iterator[Recorder]:
    """Serve all services of both planes on a free port."""
    recorder = Recorder()
    # Streams that nobody reads to the end hold a thread each.
    server = grpc.server(ThreadPoolExecutor(8))
    for file in (*DATA_FILES, *ADMIN_FILES):
        for service in file.services_by_name.values():
            handlers = {method.name: _handler(recorder, method) for method in service.methods}
            server.add_generic_rpc_handlers(
                (grpc.method_handlers_generic_handler(service.full_name, handlers),)
            )
    recorder.address = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    server.start()
    try:
        yield recorder
    finally:
        server.stop(None).wait()


def _handler(recorder: Recorder, method: MethodDescriptor) -> grpc.RpcMethodHandler[Any, Any]:
    def note(request: Any, context: grpc.ServicerContext) -> Answer | None:
        metadata = {key: str(value) for key, value in context.invocation_metadata()}
        recorder.calls.append(Call(method.name, request, metadata))
        answer = recorder.answers.get(method.name)
        if isinstance(answer, grpc.StatusCode):
            context.abort(answer, "as told")
        return answer

    def unary(request: Message, context: grpc.ServicerContext) -> Message:
        answer = note(request, context)
        if isinstance(answer, list):
            return _message(answer.pop(0))
        return _message(answer or GetMessageClass(method.output_type)())

    def stream(request: Message, context: grpc.ServicerContext) -> Iterable[Message]:
        answer = note(request, context)
        assert isinstance(answer, list), "a stream is answered with a list"
        return map(_message, answer)

    def ingest(requests: Iterator[IngestRequest], context: grpc.ServicerContext) -> Iterator[IngestResponse]:
        note(next(requests), context)
        ready = IngestReady(max_unacked_batches=1, max_batch_samples=1000, max_batch_bytes=1 << 20)
        yield IngestResponse(ready=ready)
        for request in requests:
            yield IngestResponse(ack=IngestAck(committed_sequence=request.batch.sequence))

    decode: Callable[[bytes], Message] = GetMessageClass(method.input_type).FromString
    if method.client_streaming:
        return grpc.stream_stream_rpc_method_handler(ingest, decode, _encode)
    if method.server_streaming:
        return grpc.unary_stream_rpc_method_handler(stream, decode, _encode)
    return grpc.unary_unary_rpc_method_handler(unary, decode, _encode)


def _message(answer: Any) -> Message:
    assert isinstance(answer, Message)
    return answer


def _encode(message: Message) -> bytes:
    return message.SerializeToString()
