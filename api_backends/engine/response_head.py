"""The head of an HTTP answer, read without the parser of e-mail messages.

http.client reads headers with the `email` package, which takes longer than all the rest of a small
answer. Nearly every header is one plain line; an answer that holds any other is given to `email`
after all, so nothing is read differently.
"""

from __future__ import annotations

import http.client
import re
from collections.abc import Callable
from email.parser import Parser
from types import FunctionType
from typing import Any, cast

__all__ = ["QuickHeadResponse"]

_LINE_LIMIT = 65536
_MOST_HEADERS = 100
_PLAIN_HEADER = re.compile(r"([!-9;-~]+):[ \t]*([^\r\n]*?)\r?\n").fullmatch


def read_headers(stream: Any, _class: type[http.client.HTTPMessage] | None = None) -> Any:
    """Do what `http.client.parse_headers` does: the same result, the same errors."""
    message = (_class or http.client.HTTPMessage)()
    lines: list[str] = []
    is_plain = True
    while True:
        raw = stream.readline(_LINE_LIMIT + 1)
        if len(raw) > _LINE_LIMIT:
            raise http.client.LineTooLong("header line")
        if raw in (b"\r\n", b"\n", b""):
            break
        line = raw.decode("iso-8859-1")
        lines.append(line)
        if len(lines) > _MOST_HEADERS:
            raise http.client.HTTPException(f"got more than {_MOST_HEADERS} headers")
        if is_plain:
            header = _PLAIN_HEADER(line)
            if header is None:
                is_plain = False
            else:
                message.set_raw(*header.groups())
    if is_plain:
        return message
    return Parser(_class=_class or http.client.HTTPMessage).parsestr("".join(lines) + "\r\n")


def _begin() -> Callable[[http.client.HTTPResponse], None]:
    # The standard library's own `begin`, with the one name exchanged that it reads headers by.
    code = http.client.HTTPResponse.begin.__code__
    names = {**vars(http.client), "parse_headers": read_headers}
    return cast("Callable[[http.client.HTTPResponse], None]", FunctionType(code, names))


class QuickHeadResponse(http.client.HTTPResponse):
    """http.client's answer, with a quicker reading of its headers."""

    begin = _begin()
