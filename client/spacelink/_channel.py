"""Connections to a server."""

from __future__ import annotations

import ipaddress

import grpc
import grpc.aio

DEFAULT_TARGET = "127.0.0.1:50051"

# Batches of 4 MiB are the most a server sends by default; twice that leaves
# room for their envelope and for a server that was allowed more.
_MAX_MESSAGE_BYTES = 8 * 1024 * 1024

_OPTIONS = (
    ("grpc.max_receive_message_length", _MAX_MESSAGE_BYTES),
    # Satellite links drop idle mappings silently; a minute notices it without
    # waking a terminal's radio much, and the server allows every 30 s.
    ("grpc.keepalive_time_ms", 60_000),
    ("grpc.keepalive_timeout_ms", 30_000),
    ("grpc.keepalive_permit_without_calls", 1),
    # A restarted server is back within a second; gRPC's own delay before it
    # connects again starts at one second and grows to two minutes, during which
    # every call fails at once.
    ("grpc.initial_reconnect_backoff_ms", 200),
    ("grpc.max_reconnect_backoff_ms", 5_000),
)


def open_channel(target: str) -> grpc.aio.Channel:
    """Open a channel to HOST:PORT: plain on loopback, TLS everywhere else."""
    if is_loopback(target):
        return grpc.aio.insecure_channel(target, _OPTIONS)
    return grpc.aio.secure_channel(target, grpc.ssl_channel_credentials(), _OPTIONS)


def is_loopback(target: str) -> bool:
    """Tell whether HOST:PORT is this machine, where nobody listens in."""
    host = target.rpartition(":")[0].strip("[]")
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
