"""The terminal agent: collectors, the disk spool and the way up to the server."""
