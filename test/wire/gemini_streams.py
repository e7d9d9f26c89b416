"""Streams without a network: bytes in pieces, read by ChatStream as they would be from a socket."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Any

from api_backends.chat_stream import ChatStream
from api_backends.engine.json_codec import decode
from api_backends.errors import ApiConnectionError
from api_backends.protocols.gemini_answer import read_chat
from api_backends.protocols.gemini_events import GeminiStreamParser
from api_backends.protocols.gemini_stream import GeminiStreamReader
from api_backends.protocols.openai_stream import chunks_of


class Pieces:
    """The HTTP side of a stream: gives out what it was made of."""

    def __init__(self, pieces: Iterable[bytes], *, is_framed: bool, breaks: bool) -> None:
        self._pieces = list(pieces)
        self._breaks = breaks
        self.is_framed = is_framed
        self.is_closed = False

    def pieces(self) -> Iterator[bytes]:
        yield from (piece for piece in self._pieces if piece)
        if self._breaks:
            raise ApiConnectionError("the connection broke in the middle of the answer")

    def finish(self, pieces: Iterator[bytes]) -> None:
        self.is_closed = True

    def close(self) -> None:
        self.is_closed = True

    abort = drop = close


def chat_stream(
    pieces: Iterable[bytes], *, is_framed: bool = False, breaks: bool = False
) -> ChatStream:
    """A stream of these bytes; with `breaks` the transport finds the connection broken after."""

    def whole(body: bytes) -> tuple[Any, list[Any]]:
        response = read_chat(decode(body), backend="wire")
        return response, chunks_of(response)

    return ChatStream(
        Pieces(pieces, is_framed=is_framed, breaks=breaks),  # type: ignore[arg-type]
        GeminiStreamParser(),
        GeminiStreamReader(backend="wire"),
        whole,
        lambda response: None,
        lambda error: None,
    )


def body_bytes(exchange: dict[str, Any]) -> bytes:
    """The bytes of a recorded answer: text as it was, JSON written again."""
    body = exchange["response_body"]
    if isinstance(body, str):
        return body.encode()
    return json.dumps(body, ensure_ascii=False, indent=1).encode()


def events_of(exchange: dict[str, Any]) -> list[Any]:
    """The events of a recorded stream, as plainly as can be."""
    body = exchange["response_body"]
    if isinstance(body, list):
        return body
    if isinstance(body, dict):
        return [body]
    lines = body.replace("\r\n", "\n").split("\n")
    return [json.loads(line[5:]) for line in lines if line.startswith("data:")]
