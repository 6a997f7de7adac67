"""A provider's endpoint: a real HTTP server in a thread, which keeps what it was sent and answers as it is told."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass(frozen=True)
class Request:
    path: str
    headers: Mapping[str, str]
    body: bytes
    at: float

    @property
    def key(self) -> str:
        return self.headers["idempotency-key"]


@dataclass(frozen=True)
class Reply:
    """`status` 0 closes the connection without an answer; `delay`: seconds before it."""

    status: int = 200
    body: bytes = b"{}"
    headers: Mapping[str, str] = field(default_factory=dict)
    delay: float = 0.0


OK = Reply()
Answering = Callable[[Request, int], Reply]
"""(request, how often its key came before) -> the answer."""


class Endpoint:
    """Listens on one port, also after `stop` and `start`. `accepted` counts, by key, the requests answered with 2xx."""

    def __init__(self, answering: Answering | None = None) -> None:
        self.answering = answering or (lambda request, before: OK)  # noqa: ARG005
        self.requests: list[Request] = []
        self.accepted: Counter[str] = Counter()
        self.first: dict[str, Request] = {}  # by key: the one that was accepted first, as a provider would deliver it
        self.at_once = 0
        self.most_at_once = 0
        self._seen: Counter[str] = Counter()
        self._lock = threading.Lock()
        self._port = 0
        self._server: ThreadingHTTPServer | None = None
        self.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}/send"

    def start(self) -> None:
        server = _Server(("127.0.0.1", self._port), _handler(self))
        self._port = server.server_address[1]
        self._server = server
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()

    def stop(self) -> None:
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._server.hang_up()
            self._server = None

    def take(self, request: Request) -> Reply:
        with self._lock:
            before = self._seen[request.key]
            self._seen[request.key] += 1
            self.requests.append(request)
            self.at_once += 1
            self.most_at_once = max(self.most_at_once, self.at_once)
        reply = self.answering(request, before)
        time.sleep(reply.delay)
        with self._lock:
            self.at_once -= 1
            if 200 <= reply.status < 300:
                self.accepted[request.key] += 1
                self.first.setdefault(request.key, request)
        return reply


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def __init__(self, *arguments: Any) -> None:
        self._connections: set[socket.socket] = set()
        super().__init__(*arguments)

    def process_request(self, request: socket.socket, client_address: Any) -> None:
        self._connections.add(request)
        super().process_request(request, client_address)

    def hang_up(self) -> None:
        """Also connections that are kept open."""
        for connection in self._connections:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that was killed is no fault of the server."""


def _handler(endpoint: Endpoint) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            length = int(self.headers["content-length"])
            body = self.rfile.read(length)
            if len(body) < length:  # its sender was killed
                self.close_connection = True
                return
            headers = {name.lower(): value for name, value in self.headers.items()}
            reply = endpoint.take(Request(self.path, headers, body, time.time()))
            if reply.status == 0:
                self.close_connection = True
                return
            self.send_response(reply.status)
            for name, value in reply.headers.items():
                self.send_header(name, value)
            self.send_header("content-length", str(len(reply.body)))
            self.end_headers()
            self.wfile.write(reply.body)

        do_GET = do_POST  # noqa: N815

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its name there
            """Keep quiet."""

    return Handler
