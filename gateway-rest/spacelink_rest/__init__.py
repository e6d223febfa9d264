"""The REST bridge of SpaceLink: HTTP and JSON in front of the gRPC services.

It decides nothing and has no power of its own: each request becomes calls with
the caller's credential and address, and the server's answer goes back.
"""
