"""What a `FaultServer` can do with a request: a function for each way to answer, or not to.

Each returns a behaviour for the server's schedule. A `body` of bytes or text is sent as it is (text
in UTF-8), None is empty, and data of any other kind becomes JSON.
"""

from __future__ import annotations

import json
from datetime import datetime
from email.utils import format_datetime
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Literal

from .fault_server import (
    Behaviour,
    ClientGoneError,
    Exchange,
    FaultServer,
    Gate,
    Request,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

__all__ = [
    "Behaviour",
    "ClientGoneError",
    "Exchange",
    "FaultServer",
    "Gate",
    "Request",
    "answer",
    "drip",
    "error",
    "garbage",
    "hang_up",
    "held",
    "html",
    "rate_limited",
    "raw",
    "redirect",
    "reset",
    "reset_mid_body",
    "reset_mid_headers",
    "sse",
    "sse_events",
    "stale",
    "stall",
    "truncated",
]

Piece = bytes | Gate
"""What streams are made of: bytes to send as a chunk of their own, or a gate to wait for."""

End = Literal["complete", "close", "reset"]
"""How a message ends: as it should, by closing the connection early, or by breaking it."""


# --- answers in good order -----------------------------------------------------------------------


def answer(
    body: Any = None, *, status: int = 200, headers: Mapping[str, str] | None = None
) -> Behaviour:
    """Answer at once and keep the connection open."""
    message = _message(body, status, headers)
    return lambda exchange: exchange.send(message)


def held(
    body: Any = None,
    *,
    gate: Gate | None = None,
    status: int = 200,
    headers: Mapping[str, str] | None = None,
) -> Behaviour:
    """Answer when `gate` is open (the server's `release` if None)."""
    message = _message(body, status, headers)

    def behave(exchange: Exchange) -> None:
        exchange.wait(gate or exchange.server.release)
        exchange.send(message)

    return behave


def error(
    status: int,
    message: str = "the server says no",
    *,
    kind: str = "server_error",
    code: str | int | None = None,
    headers: Mapping[str, str] | None = None,
) -> Behaviour:
    """Answer with an error in OpenAI's shape."""
    body = {"error": {"message": message, "type": kind, "param": None, "code": code}}
    return answer(body, status=status, headers=headers)


def rate_limited(
    retry_after: float | datetime | str | None = None,
    *,
    retry_after_ms: float | None = None,
    headers: Mapping[str, str] | None = None,
) -> Behaviour:
    """Answer 429; `Retry-After` in seconds, as text, or as a date (give a datetime in UTC)."""
    extra = dict(headers or {})
    if isinstance(retry_after, datetime):
        extra["Retry-After"] = format_datetime(retry_after, usegmt=True)
    elif retry_after is not None:
        extra["Retry-After"] = str(retry_after)
    if retry_after_ms is not None:
        extra["retry-after-ms"] = str(retry_after_ms)
    return error(
        429, "slow down", kind="rate_limit_error", code="rate_limit_exceeded", headers=extra
    )


def html(status: int = 200, title: str = "Sign in") -> Behaviour:
    """Answer with a web page, as proxies and captive portals do."""
    page = f"<!DOCTYPE html><html><head><title>{title}</title></head><body>{title}</body></html>"
    return answer(page, status=status, headers={"Content-Type": "text/html; charset=utf-8"})


def redirect(status: int, location: str) -> Behaviour:
    """Send the client elsewhere: 301, 302, 303, 307 or 308 to `location`."""
    return answer(None, status=status, headers={"Location": location})


def stale(body: Any = None, *, status: int = 200) -> Behaviour:
    """Answer as if the connection stayed open, then close it: the next use finds it dead."""

    def behave(exchange: Exchange) -> None:
        exchange.send(_message(body, status, None))
        exchange.close()

    return behave


# --- streams -------------------------------------------------------------------------------------


def sse(
    pieces: Iterable[Piece],
    *,
    cut_at: int | None = None,
    end: End = "complete",
    status: int = 200,
    headers: Mapping[str, str] | None = None,
    chunked: bool = True,
) -> Behaviour:
    """Stream pieces, each as an HTTP chunk and a packet of its own.

    Args:
        pieces: Bytes to send, and gates to wait for between them.
        cut_at: Bytes of the body after which the stream ends by force; with `end="complete"`
            the connection is closed there.
        end: How the stream ends after the last piece (or at `cut_at`).
        status: Status of the answer.
        headers: More headers; they replace the usual ones.
        chunked: Without it the body is as long as the connection lives.
    """
    pieces = list(pieces)
    usual = {"Content-Type": "text/event-stream", "Cache-Control": "no-cache"}
    usual.update({"Transfer-Encoding": "chunked"} if chunked else {"Connection": "close"})
    head = _head(status, {**usual, **(headers or {})})

    def behave(exchange: Exchange) -> None:
        exchange.send(head)
        left = cut_at
        for piece in pieces:
            if isinstance(piece, Gate):
                exchange.wait(piece)
                continue
            data = piece if left is None else piece[:left]
            if data:
                exchange.send(b"%x\r\n%s\r\n" % (len(data), data) if chunked else data)
            if left is not None:
                left -= len(data)
                if not left:
                    _finish(exchange, "close" if end == "complete" else end)
                    return
        if end == "complete" and chunked:
            exchange.send(b"0\r\n\r\n")
        else:
            _finish(exchange, "close" if end == "complete" else end)

    return behave


def sse_events(*events: Any, done: bool = True) -> list[bytes]:
    """Return events as pieces for `sse`: data becomes JSON, text and bytes stay, `[DONE]` last."""
    texts = [e if isinstance(e, str) else json.dumps(e) for e in events]
    return [f"data: {text}\n\n".encode() for text in [*texts, *(["[DONE]"] if done else [])]]


def drip(
    body: Any, *, every: float = 0.005, until: Gate | None = None, status: int = 200
) -> Behaviour:
    """Answer one byte of the body at a time, `every` seconds, the rest at once when `until` opens.

    `until` is the server's `release` if None.
    """
    data = _bytes(body)[0]

    def behave(exchange: Exchange) -> None:
        gate = until or exchange.server.release
        exchange.send(_message(body, status, None)[: -len(data)])
        for position in range(len(data)):
            if exchange.wait(gate, every):
                exchange.send(data[position:])
                return
            exchange.send(data[position : position + 1])

    return behave


# --- faults --------------------------------------------------------------------------------------


def reset() -> Behaviour:
    """Break the connection (RST) without an answer."""
    return lambda exchange: exchange.reset()


def hang_up() -> Behaviour:
    """Close the connection (FIN) without an answer, as an idle server does at the wrong moment."""
    return lambda exchange: exchange.close()


def reset_mid_headers(*, end: End = "reset") -> Behaviour:
    """Break the connection within the head of the answer."""
    return raw(b"HTTP/1.1 200 OK\r\nContent-Type: applic", end=end)


def reset_mid_body(body: Any = None, *, sent: int = 8, end: End = "reset") -> Behaviour:
    """Break the connection after `sent` bytes of the body."""
    data = _bytes({"answer": "never whole"} if body is None else body)[0]
    message = _message({"answer": "never whole"} if body is None else body, 200, None)
    return raw(message[: len(message) - len(data) + sent], end=end)


def truncated(body: Any, *, missing: int = 10) -> Behaviour:
    """Promise `missing` bytes more than are sent, then close in good order."""
    data, kind = _bytes(body)
    head = _head(200, {"Content-Type": kind, "Content-Length": str(len(data) + missing)})
    return raw(head + data, end="close")


def garbage(data: bytes = b"\x16\x03\x01\x00\xa5 not HTTP at all \xff\xfe\r\n\r\n") -> Behaviour:
    """Answer with something that is not HTTP."""
    return raw(data, end="close")


def stall(gate: Gate | None = None, *, after: bytes = b"", end: End = "close") -> Behaviour:
    """Send `after` (nothing, or part of an answer), and nothing more until `gate` opens.

    `gate` is the server's `release` if None. It ends as `end` says.
    """

    def behave(exchange: Exchange) -> None:
        if after:
            exchange.send(after)
        exchange.wait(gate or exchange.server.release)
        _finish(exchange, end)

    return behave


def raw(*pieces: Piece, end: End = "complete") -> Behaviour:
    """Send pieces exactly as they are, waiting at gates; `complete` keeps the connection open."""

    def behave(exchange: Exchange) -> None:
        for piece in pieces:
            if isinstance(piece, Gate):
                exchange.wait(piece)
            else:
                exchange.send(piece)
        _finish(exchange, end)

    return behave


def _finish(exchange: Exchange, end: End) -> None:
    if end == "close":
        exchange.close()
    elif end == "reset":
        exchange.reset()


def _bytes(body: Any) -> tuple[bytes, str]:
    """Return a body as bytes, and its media type."""
    if body is None:
        return b"", "text/plain"
    if isinstance(body, bytes):
        return body, "application/octet-stream"
    if isinstance(body, str):
        return body.encode(), "text/plain; charset=utf-8"
    return json.dumps(body).encode(), "application/json"


def _message(body: Any, status: int, headers: Mapping[str, str] | None) -> bytes:
    data, kind = _bytes(body)
    usual = {"Content-Type": kind, "Content-Length": str(len(data))}
    return _head(status, {**usual, **(headers or {})}) + data


def _head(status: int, headers: Mapping[str, str]) -> bytes:
    try:
        phrase = HTTPStatus(status).phrase
    except ValueError:
        phrase = "Unknown"  # 529 and its like are in no list
    lines = [f"HTTP/1.1 {status} {phrase}", *(f"{k}: {v}" for k, v in headers.items()), "", ""]
    return "\r\n".join(lines).encode("latin-1")
