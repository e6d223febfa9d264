"""A server that acks every batch and keeps nothing: `python -m bench.peers.noop_server PORT`."""

from __future__ import annotations

import asyncio
import signal
import sys
from typing import Any

import grpc.aio
import uvloop

from bench.load.grpc_streams import INGEST
from spacelink.v1.telemetry_pb2 import IngestAck, IngestReady, IngestResponse

_WINDOW = 64
_READY = IngestResponse(ready=IngestReady(max_unacked_batches=_WINDOW)).SerializeToString()


class _Handler(grpc.GenericRpcHandler):
    def service(self, handler_call_details: grpc.HandlerCallDetails) -> Any:
        if handler_call_details.method != INGEST:
            return None
        # Bytes in, bytes out.
        return grpc.stream_stream_rpc_method_handler(_ingest)


async def _ingest(_requests: object, context: Any) -> None:
    await context.read()
    await context.write(_READY)
    committed = 0
    while (await context.read()) is not grpc.aio.EOF:
        committed += 1
        await context.write(IngestResponse(ack=IngestAck(committed_sequence=committed)).SerializeToString())


async def _main(port: int) -> None:
    server = grpc.aio.server()
    server.add_generic_rpc_handlers((_Handler(),))
    server.add_insecure_port(f"127.0.0.1:{port}")
    await server.start()
    stopping = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopping.set)
    await stopping.wait()
    await server.stop(None)


if __name__ == "__main__":
    uvloop.run(_main(int(sys.argv[1])))
