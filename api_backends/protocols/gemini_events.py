"""Gemini's framings of a stream: server-sent events, or the elements of one JSON array.

https://ai.google.dev/api/generate-content#method:-models.streamgeneratecontent: SSE is what
`alt=sse` asks for; proxies that drop the query answer with the array, and some that don't stream
with the one object that it would have been.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from api_backends.engine.streams import EVENT_LIMIT, SSEParser
from api_backends.errors import InvalidResponseError, StreamInterruptedError

if TYPE_CHECKING:
    from api_backends.engine.streams import Event

__all__ = ["GeminiStreamParser"]

_STRUCTURE = re.compile(rb'["{}]')
_STRING = re.compile(rb'["\\]')


class _Objects:
    """Cuts the objects out of a JSON array, or out of a row of them, however it is chopped up."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []
        self._size = 0
        self._depth = 0
        self._in_string = False
        self._is_escaped = False
        self._is_array = False
        self._is_closed = False

    @property
    def is_whole(self) -> bool:
        """Whether nothing is begun and not ended."""
        return self._depth == 0 and self._is_array == self._is_closed

    def feed(self, chunk: bytes) -> list[Event]:
        """Take more bytes; return the objects that they complete, as events without a name."""
        found: list[Event] = []
        place = start = 0
        while place < len(chunk):
            if self._depth == 0:
                start = self._skip_between(chunk, place)
                if start == len(chunk):
                    break
                self._depth = 1
                place = start + 1
                continue
            place = self._step(chunk, place)
            if self._depth == 0:
                self._parts.append(chunk[start:place])
                found.append(("", b"".join(self._parts)))
                self._parts, self._size = [], 0
        if self._depth:
            self._parts.append(chunk[start:])
            self._size += len(chunk) - start
            if self._size > EVENT_LIMIT:
                raise InvalidResponseError(
                    f"the stream holds an event of more than {EVENT_LIMIT >> 20} MiB"
                )
        return found

    def _skip_between(self, chunk: bytes, place: int) -> int:
        """Return where the next object begins, or the end."""
        while place < len(chunk):
            byte = chunk[place : place + 1]
            if byte == b"{":
                return place
            if byte == b"[" and not self._is_array:
                self._is_array = True
            elif byte == b"]" and self._is_array and not self._is_closed:
                self._is_closed = True
            elif not byte.isspace() and byte != b",":
                raise InvalidResponseError(
                    f"the stream is no JSON array of objects: {chunk[place : place + 60]!r}"
                )
            place += 1
        return place

    def _step(self, chunk: bytes, place: int) -> int:
        """Go on to the next byte that matters inside an object; return the place after it."""
        if self._is_escaped:
            self._is_escaped = False
            return place + 1
        found = (_STRING if self._in_string else _STRUCTURE).search(chunk, place)
        if found is None:
            return len(chunk)
        byte = found[0]
        if byte == b'"':
            self._in_string = not self._in_string
        elif byte == b"\\":
            self._is_escaped = True
        else:
            self._depth += 1 if byte == b"{" else -1
        return found.end()


class GeminiStreamParser:
    """Cuts a stream into events, whichever framing it has; the first byte tells."""

    begins_with_json = True

    def __init__(self) -> None:
        self._sse = SSEParser()
        self._array: _Objects | None = None
        self._has_begun = False

    def feed(self, chunk: bytes) -> list[Event]:
        """Take more bytes; return the events that they complete."""
        if not self._has_begun:
            begins = chunk.lstrip()[:1]
            self._has_begun = bool(begins)
            if begins in (b"[", b"{"):
                self._array = _Objects()
        if self._array is not None:
            return self._array.feed(chunk)
        return _apart(self._sse.feed(chunk))

    def end(self) -> list[Event]:
        """Return what the stream ended in the middle of.

        Raises:
            StreamInterruptedError: The array, or an object, was not closed.
        """
        if self._array is None:
            return _apart(self._sse.end())
        if not self._array.is_whole:
            raise StreamInterruptedError(
                "the stream ended in the middle of its JSON: take `partial`, or ask again"
            )
        return []


def _apart(events: list[Event]) -> list[Event]:
    """Return events one by one also where the blank lines between them are missing."""
    if not any(b"\n" in data for _, data in events):
        return events
    found: list[Event] = []
    for name, data in events:
        if b"\n" not in data:
            found.append((name, data))
            continue
        objects = _Objects()
        found.extend((name, one) for _, one in objects.feed(data))
        if not objects.is_whole:
            found.append((name, data))  # it is cut, or broken: decoding it will say so
    return found
