"""The SpaceLink gRPC server."""
