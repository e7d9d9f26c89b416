"""A loopback server that costs next to nothing, so that what is measured is the client.

It speaks just enough of OpenAI's chat completions for a benchmark: every answer is ready before the
first request comes. It runs in a process of its own, so none of its CPU is in a client's figures:

    python test/benchmarks/server.py        # prints its port; ends when its input does
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

MODEL = "gpt-4o-mini"
ANSWER = "The quick brown fox jumps over the lazy dog. " * 6
CHUNKS = 1000
STREAMED = "".join(f"word{i} " for i in range(CHUNKS))

_HEAD = (
    b"HTTP/1.1 %d %s\r\n"
    b"date: Thu, 01 Jan 2026 00:00:00 GMT\r\n"
    b"server: uvicorn\r\n"
    b"x-request-id: req-1\r\n"
    b"content-type: %s\r\n"
)


def _whole(status: int, reason: bytes, data: Any) -> bytes:
    body = json.dumps(data).encode()
    head = _HEAD % (status, reason, b"application/json")
    return head + b"content-length: %d\r\n\r\n" % len(body) + body


def _usage(completion_tokens: int) -> dict[str, int]:
    return {
        "prompt_tokens": 12,
        "completion_tokens": completion_tokens,
        "total_tokens": 12 + completion_tokens,
    }


def _completion() -> bytes:
    message = {"role": "assistant", "content": ANSWER}
    choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": "stop"}
    head = {"id": "chatcmpl-1", "object": "chat.completion", "created": 1767225600, "model": MODEL}
    return _whole(200, b"OK", {**head, "choices": [choice], "usage": _usage(66)})


def _framed(event: bytes) -> bytes:
    line = b"data: " + event + b"\n\n"
    return b"%x\r\n%b\r\n" % (len(line), line)


def _stream(*, with_usage: bool) -> bytes:
    """Return a whole streamed answer: one HTTP chunk an event, as servers flush them."""

    def event(choices: list[dict[str, Any]], **more: Any) -> bytes:
        head = {"id": "chatcmpl-2", "object": "chat.completion.chunk", "created": 1767225600}
        return _framed(json.dumps({**head, "model": MODEL, "choices": choices, **more}).encode())

    def choice(delta: dict[str, str], finish: str | None = None) -> list[dict[str, Any]]:
        return [{"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}]

    events = [event(choice({"role": "assistant", "content": ""}))]
    events += [event(choice({"content": f"word{i} "})) for i in range(CHUNKS)]
    events.append(event(choice({}, "stop")))
    if with_usage:
        events.append(event([], usage=_usage(CHUNKS)))
    head = _HEAD % (200, b"OK", b"text/event-stream; charset=utf-8")
    head += b"transfer-encoding: chunked\r\n\r\n"
    return head + b"".join(events) + _framed(b"[DONE]") + b"0\r\n\r\n"


class ChatProtocol(asyncio.Protocol):
    """One connection, kept open: finds the end of each request, writes the answer it is due."""

    completion = _completion()
    stream = _stream(with_usage=False)
    stream_with_usage = _stream(with_usage=True)
    refusal = _whole(404, b"Not Found", {"error": {"message": "only POST …/chat/completions"}})

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self.received = b""

    def data_received(self, data: bytes) -> None:
        self.received += data
        while True:
            end = self.received.find(b"\r\n\r\n")
            if end < 0:
                return
            head = self.received[:end].lower()
            _, _, length = head.partition(b"\r\ncontent-length:")
            whole = end + 4 + (int(length.split(b"\r\n", 1)[0]) if length else 0)
            if len(self.received) < whole:
                return
            body, self.received = self.received[end + 4 : whole], self.received[whole:]
            self.transport.write(self.answer(head, body))

    def answer(self, head: bytes, body: bytes) -> bytes:
        """Return the answer to one request; `head` is in lower case."""
        target = head.split(b" ", 2)[1]
        if not head.startswith(b"post ") or not target.endswith(b"/chat/completions"):
            return self.refusal
        # Looking for the words costs a tenth of reading the JSON.
        if b'"stream":true' not in body and b'"stream": true' not in body:
            return self.completion
        return self.stream_with_usage if b"include_usage" in body else self.stream


class LoopbackServer:
    """Runs this module as a process of its own, for as long as the `with` block lasts.

    Attributes:
        url: Base URL, with `/v1`.
    """

    def __init__(self) -> None:
        self.url = ""
        self._process: subprocess.Popen[str] | None = None

    def __enter__(self) -> LoopbackServer:
        self._process = subprocess.Popen(
            [sys.executable, str(Path(__file__).resolve())],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._process.stdout is not None
        port = self._process.stdout.readline().strip()
        if not port.isdigit():
            self.__exit__()
            raise RuntimeError("the loopback server ended before it had a port; see above")
        self.url = f"http://127.0.0.1:{port}/v1"
        return self

    def __exit__(self, *exc_info: object) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.close()
        try:
            process.wait(5)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        process.stdout.close()


async def _serve() -> None:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(ChatProtocol, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    # Whoever started this holds the other end of its input: that closes even if they crash.
    await loop.run_in_executor(None, sys.stdin.read)
    server.close()


if __name__ == "__main__":
    with suppress(KeyboardInterrupt):
        asyncio.run(_serve())
