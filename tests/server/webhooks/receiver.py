"""A receiver of webhooks: a real HTTP server that answers as it is told to."""

from __future__ import annotations

import contextlib
import json
import threading
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any, NamedTuple

from standardwebhooks import Webhook

from tests.server.waiting import WAIT_SECONDS

if TYPE_CHECKING:
    import ssl
    from collections.abc import Iterator, Mapping


class Received(NamedTuple):
    """A request as it came."""

    path: str
    headers: Mapping[str, str]
    body: bytes

    @property
    def id(self) -> str:
        return self.headers["webhook-id"]

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class Receiver:
    """Answers requests.

    Attributes:
        received: what came, in order.
        answers: taken one by one: a status, with headers; when there are none
            left, 204.
        gate: while it is not set, requests are received and not answered.
    """

    def __init__(self, port: int = 0, tls: ssl.SSLContext | None = None) -> None:
        self.received: list[Received] = []
        self.answers: list[tuple[int, dict[str, str]]] = []
        self.gate = threading.Event()
        self.gate.set()
        self._server = ThreadingHTTPServer(("127.0.0.1", port), self._handler())
        self._server.daemon_threads = True
        if tls is not None:
            self._server.socket = tls.wrap_socket(self._server.socket, server_side=True)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        self._thread.start()

    @property
    def port(self) -> int:
        return int(self._server.server_address[1])

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/hooks?a=b"

    def answer(self, *statuses: int, **headers: str) -> None:
        """Answer the next requests so."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        self.answers += [(status, named) for status in statuses]

    def close(self) -> None:
        self.gate.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def _handler(receiver) -> type[BaseHTTPRequestHandler]:  # noqa: N805
        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                headers = {name.lower(): value for name, value in self.headers.items()}
                receiver.received.append(Received(self.path, headers, body))
                receiver.gate.wait(WAIT_SECONDS)
                status, extra = receiver.answers.pop(0) if receiver.answers else (204, {})
                with contextlib.suppress(OSError):
                    self.send_response(status)
                    for name, value in extra.items():
                        self.send_header(name, value)
                    self.send_header("content-length", "0")
                    self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        return Handler


@contextlib.contextmanager
def receiving(port: int = 0, tls: ssl.SSLContext | None = None) -> Iterator[Receiver]:
    """Run a receiver."""
    receiver = Receiver(port, tls)
    try:
        yield receiver
    finally:
        receiver.close()


def verified(secret: str, request: Received) -> Any:
    """Give what Standard Webhooks' own library reads out of a request; it raises what is wrong."""
    return Webhook(secret).verify(request.body, dict(request.headers))


def is_signed(secret: str, request: Received) -> bool:
    """Tell whether one of a request's signatures is the library's; whenever it was sent."""
    sent = datetime.fromtimestamp(int(request.headers["webhook-timestamp"]), UTC)
    signature = Webhook(secret).sign(request.id, sent, request.body.decode())
    return signature in request.headers["webhook-signature"].split(" ")
