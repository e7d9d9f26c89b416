"""Connections that know when to stop reading.

A socket's time-out is per read: a server that sends a byte now and then, in the head of its answer
or in the middle of a chunk, could hold a call for ever. Here every read of the system looks at the
deadline that the request came with.
"""

from __future__ import annotations

import http.client
import socket
from collections.abc import Callable
from typing import Any, cast

from .clock import Clock
from .response_head import QuickHeadResponse

__all__ = ["DeadlineReader", "with_deadlines"]


class DeadlineReader(socket.SocketIO):
    """The reading end of a connection, for one answer."""

    _now: Callable[[], float]
    _deadline: float
    _patience: float
    _sock: socket.socket

    def begin(self, clock: Clock, patience: float) -> None:
        """Give up `patience` seconds from now, however often something comes in until then."""
        self._now = clock.now
        self._patience = patience
        self._deadline = clock.now() + patience

    def limit(self, seconds: float) -> None:
        """Give up after `seconds`, if that is sooner."""
        self._deadline = min(self._deadline, self._now() + seconds)
        self._patience = max(seconds, 0.001)
        self._sock.settimeout(self._patience)

    def readinto(self, buffer: Any) -> int:
        """Read what is there, or wait for something, until the deadline."""
        left = self._deadline - self._now()
        # Changing the time-out is a system call: only when it has become much too long.
        if left < self._patience * 0.9:
            if left <= 0:
                raise TimeoutError("deadline")
            self._patience = left
            self._sock.settimeout(left)
        return self._sock.recv_into(buffer)


class _DeadlineConnection(http.client.HTTPConnection):
    """Takes the time-out that a request was sent with for the whole of its answer."""

    clock: Clock
    reader: DeadlineReader

    def response_class(  # type: ignore[override]  # called as a factory, never as a class
        self, sock: socket.socket, *args: Any, **details: Any
    ) -> http.client.HTTPResponse:
        response = QuickHeadResponse(sock, *args, **details)
        # http.client makes its reader by itself; there is no other way to hand it one of ours.
        reader = cast("DeadlineReader", response.fp.raw)
        reader.__class__ = DeadlineReader
        reader.begin(self.clock, sock.gettimeout() or 0.0)
        self.reader = reader
        return response


def with_deadlines(connection: type[Any], clock: Clock) -> type[Any]:
    """Return a connection class of urllib3's with readers that keep to their deadlines."""
    if issubclass(connection, _DeadlineConnection):
        return connection  # two threads found the way to a host at the same time
    return type("DeadlineConnection", (_DeadlineConnection, connection), {"clock": clock})
