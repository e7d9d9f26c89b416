"""An HTTP server that misbehaves to a script: what the engine's tests talk to.

    from servers import faults

    with faults.FaultServer([faults.reset(), faults.answer({"ok": True})]) as server:
        call(server.url)                      # the first request is reset, the second answered
    assert [r.path for r in server.requests] == ["/v1/chat", "/v1/chat"]

Every request, in order of arrival, takes the next *behaviour* of the schedule; after the last one
`then` is used for all the rest. A behaviour is any function of an `Exchange`; the module `faults`
makes the usual ones, and a test can write its own:

    def picky(exchange):
        good = exchange.request.headers.get("authorization") == "Bearer k"
        (faults.answer({}) if good else faults.error(401))(exchange)

Nothing here sleeps. What has to wait waits for a `Gate` (and ends at once when the client hangs up
or the server stops); tests wait with `wait_for_requests` and its sisters.
"""

from __future__ import annotations

import json
import os
import select
import socket
import struct
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

DEADLINE = 10.0
"""Seconds after which a wait of a test gives up, unless it says otherwise."""


class Gate:
    """An event that can be waited for together with sockets: closed at first, then open for ever.

    Made of a pipe: `set` closes its writing end, at which the reading end becomes readable for
    everybody, for good.
    """

    def __init__(self) -> None:
        self._read, self._write = os.pipe()
        self._lock = threading.Lock()
        self._open = False

    def set(self) -> None:
        """Open the gate. A second time does nothing."""
        with self._lock:
            if not self._open:
                self._open = True
                os.close(self._write)

    def is_set(self) -> bool:
        """Return whether the gate is open."""
        return self._open

    def fileno(self) -> int:
        """Return the descriptor that is readable once the gate is open."""
        return self._read

    def __del__(self) -> None:
        self.set()
        os.close(self._read)


@dataclass(slots=True)
class Request:
    """One request as it arrived.

    `headers` has lower-case names; `number` counts requests from 0 in order of arrival,
    `connection` the connections; `arrived` is `time.monotonic()` when the body was complete.
    """

    number: int
    connection: int
    method: str
    path: str
    headers: dict[str, str]
    body: bytes
    arrived: float = field(default_factory=time.monotonic)

    def json(self) -> Any:
        """Return the body as JSON data."""
        return json.loads(self.body)


class ClientGoneError(Exception):
    """The client closed the connection while its request was being answered."""


class StoppedError(Exception):
    """The server is being stopped."""


class Exchange:
    """A request and the connection that it came on: what a behaviour works with."""

    def __init__(self, server: FaultServer, connection: socket.socket, request: Request) -> None:
        self.server = server
        self.request = request
        self.closed = False
        self._socket = connection

    def send(self, data: bytes) -> None:
        """Send bytes as they are.

        Raises:
            ClientGoneError: The client has closed the connection.
        """
        try:
            self._socket.sendall(data)
        except OSError as error:
            raise ClientGoneError from error

    def wait(self, gate: Gate, timeout: float | None = None) -> bool:
        """Wait until `gate` is open, at most `timeout` seconds; return whether it is.

        Raises:
            ClientGoneError: The client closed the connection meanwhile.
            StoppedError: The server is being stopped.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        watched: list[Any] = [gate, self.server.stopping, self._socket]
        while True:
            left = None if deadline is None else max(0.0, deadline - time.monotonic())
            ready = select.select(watched, [], [], left)[0]
            if self.server.stopping in ready:
                raise StoppedError
            if gate in ready:
                return True
            if not ready:
                return False
            if self.client_is_gone():
                raise ClientGoneError
            watched.remove(self._socket)  # it sent more already: nothing to learn from it now

    def client_is_gone(self) -> bool:
        """Return whether the client has closed its side (asked without waiting)."""
        try:
            return self._socket.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT) == b""
        except BlockingIOError:
            return False
        except OSError:
            return True

    def close(self) -> None:
        """End the connection in good order (FIN)."""
        self.closed = True
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()

    def reset(self) -> None:
        """Break the connection (RST)."""
        self.closed = True
        # A linger time of zero makes close() send a reset.
        with suppress(OSError):
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._socket.close()


Behaviour = Callable[[Exchange], None]


def _used_up(exchange: Exchange) -> None:
    text = b"the schedule of this server is used up"
    exchange.send(b"HTTP/1.1 500 Used Up\r\nContent-Length: %d\r\n\r\n%s" % (len(text), text))


class FaultServer:
    """A server on a port of its own on 127.0.0.1, answering by a schedule, a thread a connection.

    Args:
        schedule: Behaviours for the requests, in order of arrival.
        then: Behaviour for every request after those; status 500 saying so if None.

    `requests` holds all requests so far, `running` how many are being answered now,
    `max_running` the most there were at once, `connections` how many connections were opened,
    `hang_ups` how many requests lost their client before their answer was complete, and `errors`
    what went wrong in behaviours (raised again by `stop`). `release` is a gate for tests that
    need only one: `stall()` waits for it, and `stop` does not need it to be open.
    """

    def __init__(
        self, schedule: Iterable[Behaviour] = (), *, then: Behaviour | None = None
    ) -> None:
        self.requests: list[Request] = []
        self.running = 0
        self.max_running = 0
        self.connections = 0
        self.hang_ups = 0
        self.errors: list[BaseException] = []
        self.release = Gate()
        self.stopping = Gate()
        self._schedule = deque(schedule)
        self._then = then
        self._changed = threading.Condition()
        self._threads: list[threading.Thread] = []
        self._sockets: set[socket.socket] = set()
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=512)
        self.port: int = self._listener.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self._acceptor = threading.Thread(target=self._accept, name="fault-server", daemon=True)
        self._acceptor.start()

    def __enter__(self) -> FaultServer:
        return self

    def __exit__(self, *error: object) -> None:
        self.stop()

    def schedule(self, *behaviours: Behaviour) -> None:
        """Add behaviours at the end of the schedule."""
        with self._changed:
            self._schedule.extend(behaviours)

    def wait_for_requests(self, count: int, timeout: float = DEADLINE) -> None:
        """Wait until `count` requests have arrived in all; TimeoutError after `timeout` seconds."""
        self._wait_for(lambda: len(self.requests) >= count, f"{count} requests", timeout)

    def wait_for_hang_ups(self, count: int, timeout: float = DEADLINE) -> None:
        """Wait until `count` requests have lost their client; TimeoutError after `timeout`."""
        self._wait_for(lambda: self.hang_ups >= count, f"{count} hang-ups", timeout)

    def wait_until_idle(self, timeout: float = DEADLINE) -> None:
        """Wait until no request is being answered; TimeoutError after `timeout` seconds."""
        self._wait_for(lambda: self.running == 0, "no request running", timeout)

    def stop(self) -> None:
        """Break every connection, end every thread, and raise the first error of a behaviour."""
        self.stopping.set()
        self._acceptor.join(DEADLINE)
        self._listener.close()
        with self._changed:
            sockets, threads = list(self._sockets), list(self._threads)
        for connection in sockets:
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        for thread in threads:
            thread.join(DEADLINE)
        alive = [t.name for t in (self._acceptor, *threads) if t.is_alive()]
        if alive:
            raise RuntimeError(f"threads of the fault server do not end: {alive}")
        if self.errors:
            raise self.errors[0]

    def _wait_for(self, condition: Callable[[], bool], what: str, timeout: float) -> None:
        with self._changed:
            if not self._changed.wait_for(condition, timeout):
                raise TimeoutError(
                    f"waited {timeout} s for {what}; there were {len(self.requests)} requests, "
                    f"{self.running} running, {self.hang_ups} hang-ups"
                )

    def _accept(self) -> None:
        while True:
            watched: list[Any] = [self._listener, self.stopping]
            ready = select.select(watched, [], [])[0]
            if self.stopping in ready:
                return
            connection, _ = self._listener.accept()
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with self._changed:
                number = self.connections
                self.connections += 1
                self._sockets.add(connection)
                thread = threading.Thread(
                    target=self._serve,
                    args=(connection, number),
                    name=f"fault-server-{number}",
                    daemon=True,
                )
                self._threads = [t for t in self._threads if t.is_alive() or t.ident is None]
                self._threads.append(thread)
                # Started under the lock: stop() must never join a thread that has not begun.
                thread.start()

    def _serve(self, connection: socket.socket, number: int) -> None:
        try:
            reader = _Reader(connection)
            while not self.stopping.is_set():
                head = reader.request()
                if head is None:
                    return
                if not self._answer(connection, number, head):
                    return
        except OSError:
            pass  # reset by the client between two requests: nothing was asked, nothing is lost
        except BaseException as error:
            self.errors.append(error)
        finally:
            connection.close()
            with self._changed:
                self._sockets.discard(connection)

    def _answer(
        self, connection: socket.socket, number: int, head: tuple[str, str, dict[str, str], bytes]
    ) -> bool:
        """Record a request and play its behaviour; return whether the connection goes on."""
        with self._changed:
            request = Request(len(self.requests), number, *head)
            self.requests.append(request)
            self.running += 1
            self.max_running = max(self.max_running, self.running)
            behaviour = self._schedule.popleft() if self._schedule else self._then
            self._changed.notify_all()
        exchange = Exchange(self, connection, request)
        gone = False
        try:
            (behaviour or _used_up)(exchange)
        except ClientGoneError:
            gone = True
        except StoppedError:
            return False
        finally:
            with self._changed:
                self.running -= 1
                self.hang_ups += gone
                self._changed.notify_all()
        return not gone and not exchange.closed


class _Reader:
    """Takes requests off a connection: just enough HTTP/1.1 for clients that are in order."""

    def __init__(self, connection: socket.socket) -> None:
        self._socket = connection
        self._buffer = b""

    def request(self) -> tuple[str, str, dict[str, str], bytes] | None:
        """Return method, path, headers and body of the next request; None at the end."""
        while b"\r\n\r\n" not in self._buffer:
            if not self._more():
                return None
        head, self._buffer = self._buffer.split(b"\r\n\r\n", 1)
        first, *lines = head.decode("latin-1").split("\r\n")
        method, path, _ = first.split(" ", 2)
        pairs = (line.split(":", 1) for line in lines)
        headers = {name.strip().lower(): value.strip() for name, value in pairs}
        if headers.get("transfer-encoding", "").lower() == "chunked":
            body = self._chunks()
        else:
            body = self._take(int(headers.get("content-length", "0")))
        return None if body is None else (method, path, headers, body)

    def _more(self) -> bool:
        data = self._socket.recv(65536)
        self._buffer += data
        return bool(data)

    def _take(self, size: int) -> bytes | None:
        while len(self._buffer) < size:
            if not self._more():
                return None
        data, self._buffer = self._buffer[:size], self._buffer[size:]
        return data

    def _chunks(self) -> bytes | None:
        body = b""
        while True:
            while b"\r\n" not in self._buffer:
                if not self._more():
                    return None
            size, self._buffer = self._buffer.split(b"\r\n", 1)
            data = self._take(int(size.split(b";")[0], 16) + 2)
            if data is None or len(data) == 2:
                return None if data is None else body
            body += data[:-2]
