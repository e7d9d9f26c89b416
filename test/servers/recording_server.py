"""A server that records what it gets and answers what the test tells it: for comparing requests.

It makes nothing up: an answer is whatever the test put in, byte for byte.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from dataclasses import dataclass
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass
class Recorded:
    """One request as it came in; header names in lower case."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def form(self) -> list[tuple[str, str | None, bytes]]:
        """The parts of a multipart form: name, file name, content."""
        head = f"content-type: {self.headers['content-type']}\r\n\r\n".encode()
        from email import message_from_bytes

        parts: Any = message_from_bytes(head + self.body).get_payload()
        return [_part(part) for part in parts]


def _part(part: Message) -> tuple[str, str | None, bytes]:
    name = part.get_param("name", header="content-disposition")
    return str(name), part.get_filename(), part.get_payload(decode=True)  # type: ignore[return-value]


Answer = tuple[int, dict[str, str], bytes]


def json_answer(data: Any, status: int = 200, headers: dict[str, str] | None = None) -> Answer:
    return (
        status,
        {"content-type": "application/json", **(headers or {})},
        json.dumps(data).encode(),
    )


def sse_answer(*events: Any, done: bool = True) -> Answer:
    lines = [f"data: {json.dumps(event)}\n\n" for event in events]
    return (
        200,
        {"content-type": "text/event-stream"},
        "".join([*lines, "data: [DONE]\n\n"] if done else lines).encode(),
    )


class RecordingServer:
    """Records requests; `respond` maps a request to an answer. A context manager; `.url`."""

    def __init__(self, respond: Callable[[Recorded], Answer]) -> None:
        self.respond = respond
        self.requests: list[Recorded] = []
        owner = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True
            wbufsize = -1

            def log_message(self, format: str, *args: Any) -> None:
                pass

            def _answer(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                lower = {name.lower(): value for name, value in self.headers.items()}
                request = Recorded(self.command, self.path, lower, body)
                owner.requests.append(request)
                status, headers, data = owner.respond(request)
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)
                self.wfile.flush()

            do_GET = do_POST = do_DELETE = _answer  # noqa: N815

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True
        )

    def __enter__(self) -> RecordingServer:
        self._thread.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(5)
