"""Server-sent events and newline-delimited JSON, read incrementally from bytes.

SSE: https://html.spec.whatwg.org/multipage/server-sent-events.html#parsing-an-event-stream
"""

from __future__ import annotations

import re

from ..errors import InvalidResponseError

__all__ = ["Event", "JsonLinesParser", "SSEParser"]

Event = tuple[str, bytes]
"""The event's name ("" if it has none) and its data, not decoded yet."""

EVENT_LIMIT = 64 * 1024 * 1024

_LINE_END = re.compile(rb"\r\n|\n|\r")


def _too_long() -> InvalidResponseError:
    return InvalidResponseError(
        f"the stream holds an event of more than {EVENT_LIMIT >> 20} MiB; that is no answer"
    )


class SSEParser:
    """Cuts a stream of bytes, however it is chopped up, into events.

    Bytes are joined before they are decoded, so split characters are no matter. A last event
    without its blank line counts: servers forget it.
    """

    __slots__ = ("_buffer", "_data", "_name", "_size", "_skip_newline", "_started")

    begins_with_json = False
    """Whether a stream may begin with JSON: if not, what does is an answer in one piece."""

    def __init__(self) -> None:
        self._buffer: list[bytes] = []
        self._size = 0
        self._data: list[bytes] = []
        self._name = ""
        self._skip_newline = False
        self._started = False

    def feed(self, chunk: bytes) -> list[Event]:
        """Take more bytes; return the events that they complete."""
        if (
            not self._buffer
            and not self._data
            and not self._name
            and chunk[:6] == b"data: "
            and chunk[-2:] == b"\n\n"
            and b"\r" not in chunk
        ):
            # What almost every server sends: whole events of one data line each.
            self._skip_newline = False
            self._started = True
            data = chunk[6:-2]
            if b"\n" not in data:
                return [("", data)]
            events = data.split(b"\n\ndata: ")
            if not any(b"\n" in event for event in events):
                return [("", event) for event in events]
        return self._feed_lines(chunk)

    def _feed_lines(self, chunk: bytes) -> list[Event]:
        if self._skip_newline and chunk:
            # The line before ended in CR; a LF right after it belongs to the same end.
            chunk = chunk[chunk[:1] == b"\n" :]
            self._skip_newline = False
        if not self._started:
            chunk = b"".join((*self._buffer, chunk))
            self._buffer.clear()
            if len(chunk) < 3 and b"\xef\xbb\xbf".startswith(chunk):
                self._buffer.append(chunk)
                return []
            self._started = True
            chunk = chunk.removeprefix(b"\xef\xbb\xbf")
        first, *lines = _LINE_END.split(chunk)
        self._size += len(chunk)
        if self._size > EVENT_LIMIT:
            raise _too_long()
        self._buffer.append(first)
        if not lines:
            return []  # joined only once its line ends: a long line stays linear
        lines.insert(0, b"".join(self._buffer))
        rest = lines.pop()
        self._buffer = [rest] if rest else []
        self._skip_newline = chunk.endswith(b"\r")
        events: list[Event] = []
        for line in lines:
            if line:
                self._take(line)
            elif self._data or self._name:
                self._dispatch(events)
        if not self._data:
            self._size = len(rest)
        return events

    def _take(self, line: bytes) -> None:
        field, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if field == b"data":
            self._data.append(value)
        elif field == b"event":
            self._name = value.decode("utf-8", "replace")

    def _dispatch(self, events: list[Event]) -> None:
        if self._data:
            events.append((self._name, b"\n".join(self._data)))
        self._data = []
        self._name = ""

    def end(self) -> list[Event]:
        """Return the event, if any, that the stream ended in the middle of."""
        events: list[Event] = []
        if self._buffer:
            self._take(b"".join(self._buffer))
            self._buffer.clear()
        self._dispatch(events)
        return events


class JsonLinesParser:
    """Cuts a stream of bytes into lines of newline-delimited JSON; blank lines are skipped."""

    __slots__ = ("_buffer", "_size")

    begins_with_json = True

    def __init__(self) -> None:
        self._buffer: list[bytes] = []
        self._size = 0

    def feed(self, chunk: bytes) -> list[Event]:
        """Take more bytes; return the lines that they complete, as events without a name."""
        first, *lines = chunk.split(b"\n")
        self._buffer.append(first)
        self._size += len(chunk)
        if self._size > EVENT_LIMIT:
            raise _too_long()
        if not lines:
            return []
        lines.insert(0, b"".join(self._buffer))
        rest = lines.pop()
        self._buffer = [rest]
        self._size = len(rest)
        return [("", line) for line in lines if line.strip()]

    def end(self) -> list[Event]:
        """Return the last line, if it had no end."""
        line = b"".join(self._buffer)
        self._buffer.clear()
        return [("", line)] if line.strip() else []
