"""The gRPC services, one file each: check, call a room, shape the reply."""
