"""The cheapest loopback server that a chat client accepts, for benchmarks of clients.

    python test/servers/bench_server.py [--port P]

One process, one thread, one epoll loop over keep-alive connections; all answers are bytes made at
the start. On two cores the clients have theirs for themselves, and the server's share per call is
a small part of any client's. It ends when its standard input does.

POST /v1/chat/completions   a chat completion of about 600 bytes; with "stream": true 1000 chunks,
                            each an HTTP chunk of its own, then usage and [DONE]
POST /v1/embeddings         one vector of 384 numbers; base64 if asked for
GET  /v1/models             one model
"""

from __future__ import annotations

import argparse
import base64
import json
import os
import select
import socket
import struct
import sys
from pathlib import Path
from typing import Any

MODEL = "bench-model"
STREAM_CHUNKS = 1000
"""Chunks of the stream that carry text."""
CONTENT = (
    "The quick brown fox jumps over the lazy dog while the band plays on, and nobody in the "
    "square seems to mind that it has begun to rain again."
)


def _response(body: bytes, kind: str = "application/json", status: str = "200 OK") -> bytes:
    head = f"HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


def _chat() -> bytes:
    usage = {"prompt_tokens": 12, "completion_tokens": 34, "total_tokens": 46}
    message = {"role": "assistant", "content": CONTENT, "refusal": None}
    choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": "stop"}
    details = {
        "prompt_tokens_details": {"cached_tokens": 0},
        "completion_tokens_details": {"reasoning_tokens": 0},
    }
    return _response(
        json.dumps(
            {
                "id": "chatcmpl-bench",
                "object": "chat.completion",
                "created": 1700000000,
                "model": MODEL,
                "choices": [choice],
                "usage": {**usage, **details},
                "system_fingerprint": "fp_bench",
            }
        ).encode()
    )


def _stream() -> bytes:
    def event(delta: dict[str, Any], reason: str | None = None) -> dict[str, Any]:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": reason}
        return {**head, "choices": [choice]}

    head = {
        "id": "chatcmpl-bench",
        "object": "chat.completion.chunk",
        "created": 1700000000,
        "model": MODEL,
        "system_fingerprint": "fp_bench",
    }
    usage = {"prompt_tokens": 12, "completion_tokens": STREAM_CHUNKS, "total_tokens": 1012}
    events: list[Any] = [event({"role": "assistant", "content": ""})]
    events += [event({"content": f" word{i}"}) for i in range(STREAM_CHUNKS)]
    events += [event({}, "stop"), {**head, "choices": [], "usage": usage}]
    texts = [*(json.dumps(e, separators=(",", ":")) for e in events), "[DONE]"]
    datas = [f"data: {text}\n\n".encode() for text in texts]
    body = b"".join(b"%x\r\n%s\r\n" % (len(data), data) for data in datas)
    start = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n"
    return start + b"\r\n" + body + b"0\r\n\r\n"


def _embeddings(encoded: bool) -> bytes:
    values = [((i * 37) % 101 - 50) / 500 for i in range(384)]
    vector: Any = values
    if encoded:
        vector = base64.b64encode(struct.pack("<384f", *values)).decode()
    data = [{"object": "embedding", "index": 0, "embedding": vector}]
    usage = {"prompt_tokens": 8, "total_tokens": 8}
    body = {"object": "list", "data": data, "model": MODEL, "usage": usage}
    return _response(json.dumps(body).encode())


CHAT = _chat()
STREAM = _stream()
EMBEDDINGS = {False: _embeddings(False), True: _embeddings(True)}
MODELS = _response(
    json.dumps({"object": "list", "data": [{"id": MODEL, "object": "model"}]}).encode()
)
UNKNOWN = _response(b'{"error": {"message": "no such route"}}', status="404 Not Found")


def answer(head: bytes, body: bytes) -> bytes:
    """Return the whole answer to a request."""
    path = head.split(b" ", 2)[1]
    if path.endswith(b"/chat/completions"):
        streamed = b'"stream"' in body and b'"stream":true' in body.replace(b" ", b"")
        return STREAM if streamed else CHAT
    if path.endswith(b"/embeddings"):
        return EMBEDDINGS[b'"base64"' in body]
    return MODELS if path.endswith(b"/models") else UNKNOWN


class _Connection:
    """What has come and what has still to go on one connection."""

    __slots__ = ("got", "left", "socket")

    def __init__(self, connection: socket.socket) -> None:
        self.socket = connection
        self.got = b""
        self.left = memoryview(b"")

    def receive(self) -> bool:
        """Take what has come and answer it; return whether the connection goes on."""
        try:
            data = self.socket.recv(262144)
        except BlockingIOError:
            return True
        except OSError:
            return False
        self.got = got = self.got + data if self.got else data
        end = got.find(b"\r\n\r\n")
        while end >= 0:
            head = got[:end]
            size = _content_length(head)
            if len(got) < end + 4 + size:
                break
            reply = answer(head, got[end + 4 : end + 4 + size])
            self.left = memoryview(bytes(self.left) + reply if self.left else reply)
            if not self.flush():
                return False
            self.got = got = got[end + 4 + size :]
            end = got.find(b"\r\n\r\n") if got else -1
        return bool(data)

    def flush(self) -> bool:
        """Send what fits; return whether the connection goes on."""
        try:
            while self.left:
                self.left = self.left[self.socket.send(self.left) :]
        except BlockingIOError:
            return True
        except OSError:
            return False
        return True


def _content_length(head: bytes) -> int:
    lower = head.lower()
    start = lower.find(b"\r\ncontent-length:")
    if start < 0:
        return 0
    end = lower.find(b"\r\n", start + 2)
    return int(lower[start + 17 : end if end >= 0 else None])


def serve(listener: socket.socket) -> None:
    """Serve until standard input ends."""
    poller = select.epoll()
    connections: dict[int, _Connection] = {}
    listener.setblocking(False)
    poller.register(listener, select.EPOLLIN)
    poller.register(sys.stdin, select.EPOLLIN | select.EPOLLHUP)
    while True:
        for number, event in poller.poll():
            if number == listener.fileno():
                connection, _ = listener.accept()
                connection.setblocking(False)
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                connections[connection.fileno()] = _Connection(connection)
                poller.register(connection, select.EPOLLIN)
                continue
            if number == sys.stdin.fileno():
                if not os.read(number, 1024):
                    return
                continue
            current = connections[number]
            waiting = bool(current.left)
            goes_on = current.flush() if event & select.EPOLLOUT else True
            goes_on = goes_on and (current.receive() if event & ~select.EPOLLOUT else True)
            if not goes_on:
                poller.unregister(number)
                connections.pop(number).socket.close()
            elif waiting != bool(current.left):
                both = select.EPOLLIN | (select.EPOLLOUT if current.left else 0)
                poller.modify(number, both)


def start(timeout: float = 10.0) -> Any:
    """Start the server as a process of its own; return it, with its address as `url`.

    It is a `servers.process.ServerProcess`: a context manager with `stop()` and `pid`.
    """
    from servers.process import ServerProcess

    command = [sys.executable, "-S", "-E", str(Path(__file__).resolve())]
    process: Any = ServerProcess(command, ready=r"listening on (\S+)", timeout=timeout)
    process.url = process.ready_match[1]
    return process


def main() -> int:
    """Serve until standard input ends or it is interrupted."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--port", type=int, default=0, help="port on 127.0.0.1 (a free one)")
    listener = socket.create_server(("127.0.0.1", parser.parse_args().port), backlog=512)
    print(f"listening on http://127.0.0.1:{listener.getsockname()[1]}", flush=True)
    try:
        serve(listener)
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
