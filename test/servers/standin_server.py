"""What the stand-in servers share: serving on a thread, recording requests, ending cleanly."""

from __future__ import annotations

import argparse
import socket
import sys
import threading
from collections import deque
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

__all__ = ["ServedStandIn", "StandInServer", "serve_by_hand"]


class StandInServer(ThreadingHTTPServer):
    """The server itself: `requests` are the last 1000, as dictionaries."""

    daemon_threads = True
    request_queue_size = 256

    def __init__(
        self,
        handler: type[BaseHTTPRequestHandler],
        port: int,
        key: str | None,
        models: tuple[str, ...],
    ) -> None:
        self.key = key
        self.models = models
        self.served = 0
        self.requests: deque[dict[str, Any]] = deque(maxlen=1000)
        self.open: set[socket.socket] = set()
        self.lock = threading.Lock()
        super().__init__(("127.0.0.1", port), handler)

    def record(self, method: str, path: str, headers: dict[str, str], body: bytes) -> None:
        """Keep a request for the test to look at."""
        lower = {name.lower(): value for name, value in headers.items()}
        with self.lock:
            self.served += 1
            self.requests.append({"method": method, "path": path, "headers": lower, "body": body})

    def get_request(self) -> tuple[socket.socket, Any]:
        """Remember the connection, to end it with the server."""
        connection, address = super().get_request()
        with self.lock:
            self.open.add(connection)
        return connection, address

    def shutdown_request(self, request: Any) -> None:
        """Forget the connection."""
        with self.lock:
            self.open.discard(request)
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Let a client go away in the middle; anything else is a mistake here."""
        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(request, client_address)


class ServedStandIn:
    """A stand-in in this process, on a thread of its own; a context manager.

    Args:
        port: Port on 127.0.0.1; a free one if 0.
        key: The API key to ask for; none if None.
        models: Names of the models to serve; the stand-in's own if None.

    `url` is the address without /v1; `requests` the last 1000 requests, as dictionaries of
    `method, path, headers` (lower-case names) and `body` (bytes).
    """

    handler: type[BaseHTTPRequestHandler]
    own_models: tuple[str, ...]

    def __init__(
        self, port: int = 0, key: str | None = None, models: tuple[str, ...] | None = None
    ) -> None:
        self.key = key
        self.models = models or self.own_models
        self.server = StandInServer(self.handler, port, key, self.models)
        self.requests = self.server.requests
        self.port: int = self.server.server_address[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self._thread = threading.Thread(
            target=self.server.serve_forever, args=(0.05,), name="stand-in", daemon=True
        )
        self._thread.start()

    def __enter__(self) -> Any:
        return self

    def __exit__(self, *error: object) -> None:
        self.stop()

    def stop(self) -> None:
        """Stop serving and end every connection."""
        self.server.shutdown()
        self._thread.join(10)
        with self.server.lock:
            connections = list(self.server.open)
        for connection in connections:
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        self.server.server_close()


def serve_by_hand(kind: type[ServedStandIn], description: str | None) -> int:
    """Serve from the command line until interrupted; return the exit code."""
    parser = argparse.ArgumentParser(description=(description or "").splitlines()[0])
    parser.add_argument("--port", type=int, default=0, help="port on 127.0.0.1 (a free one)")
    parser.add_argument("--key", help="API key to ask for (none)")
    parser.add_argument("--model", action="append", help="name of a model to serve; repeatable")
    chosen = parser.parse_args()
    models = tuple(chosen.model or kind.own_models)
    server = StandInServer(kind.handler, chosen.port, chosen.key, models)
    print(f"listening on http://127.0.0.1:{server.server_address[1]}", flush=True)
    with suppress(KeyboardInterrupt), server:
        server.serve_forever()
    return 0
