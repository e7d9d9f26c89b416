"""HTTP over requests' adapters and urllib3's pools, with what a JSON API doesn't need left out.

requests merges sessions, cookies and hooks on every call; that costs more than the request. Here
the adapter's own connection pool is called directly, unless somebody stands in between: a proxy,
a mounted adapter, or a test library that replaces `HTTPAdapter.send` (such as `responses`). Then
the request takes requests' ordinary way, and nobody sees a difference but the time.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any
from urllib.parse import urljoin, urlsplit

import requests
import urllib3
from requests.adapters import BaseAdapter, HTTPAdapter
from requests.utils import get_environ_proxies, select_proxy
from urllib3.exceptions import HTTPError
from urllib3.util import Timeout

from ..errors import ApiConnectionError, ApiError, ApiTimeoutError, InvalidResponseError
from .clock import Clock
from .connection_errors import connection_error, is_timeout, place_of, reason_of
from .deadlines import DeadlineReader, with_deadlines
from .fork import track

__all__ = ["CONNECT_TIMEOUT", "HttpReply", "HttpStream", "HttpTransport"]

CONNECT_TIMEOUT = 10.0
"""Longest wait for a connection, in seconds, where the call allows that much."""

# Idle connections kept per host. Only as many are opened as requests run at once.
KEPT_CONNECTIONS = 256

BODY_LIMIT = 256 * 1024 * 1024
"""Largest answer that is read, in bytes: past it, something is wrong with the server."""

END_TIMEOUT = 0.05
"""How long a stream's connection is waited for after the last event, to use it again."""

_MOST_REDIRECTS = 3

Headers = Mapping[str, str]


def _is_original(send: Any) -> bool:
    """Say whether `HTTPAdapter.send` is requests' own, and not a test library's."""
    return (
        getattr(send, "__module__", None) == "requests.adapters"
        and getattr(send, "__qualname__", None) == "HTTPAdapter.send"
    )


class HttpReply:
    """A whole answer: status, headers (look-ups ignore case) and body."""

    __slots__ = ("body", "headers", "status")

    def __init__(self, status: int, headers: Headers, body: bytes) -> None:
        self.status = status
        self.headers = headers
        self.body = body


class HttpTransport:
    """Sends requests for one back end.

    Args:
        clock: Time, for deadlines.
        session: Whose adapters, proxies and certificates to use; what the environment says
            (HTTPS_PROXY, NO_PROXY, REQUESTS_CA_BUNDLE, CURL_CA_BUNDLE) if None.
    """

    def __init__(self, clock: Clock, session: requests.Session | None = None) -> None:
        self._clock = clock
        self._session = session
        self._reset()
        track(self)

    def _reset(self) -> None:
        self._adapter = HTTPAdapter(pool_connections=32, pool_maxsize=KEPT_CONNECTIONS)
        self._routes: dict[str, tuple[Any, BaseAdapter, dict[str, Any]]] = {}

    def reset_after_fork(self) -> None:
        """Forget the parent's connections: two processes can't share one."""
        self._reset()

    def close(self) -> None:
        """Close idle connections; those in use close when they come back."""
        self._adapter.close()

    # -- requests -------------------------------------------------------------------------------

    def send(
        self, method: str, url: str, headers: Headers, body: bytes | None, deadline: float
    ) -> HttpReply:
        """Send a request and read the whole answer, whatever its status.

        Args:
            method: HTTP method.
            url: Absolute URL.
            headers: Headers, the key among them.
            body: Body, or None.
            deadline: Monotonic seconds by which all of it must be here.

        Raises:
            ApiConnectionError, ApiTimeoutError: No (whole) answer.
        """
        with self.open(method, url, headers, body, deadline) as stream:
            return HttpReply(stream.status, stream.headers, stream.read_all())

    def open(
        self, method: str, url: str, headers: Headers, body: bytes | None, deadline: float
    ) -> HttpStream:
        """Send a request and return the answer as a stream; see `send`."""
        for _ in range(_MOST_REDIRECTS + 1):
            response, stoppable = self._open_once(method, url, headers, body, deadline)
            stream = HttpStream(response, self._clock, deadline, url, stoppable)
            if stream.status not in (301, 302, 303, 307, 308):
                return stream
            stream.close()
            url = self._redirected(url, stream)
        raise InvalidResponseError(
            f"{place_of(url)}: more than {_MOST_REDIRECTS} redirects; set the base URL to where "
            "the API is"
        )

    def _redirected(self, url: str, stream: HttpStream) -> str:
        """Return where a redirect leads, if a request with its key and body may follow it."""
        location = stream.headers.get("location") or ""
        target = urljoin(url, location)
        same_host = urlsplit(target)[:2] == urlsplit(url)[:2]
        if location and same_host and stream.status in (307, 308):
            return target
        raise InvalidResponseError(
            f"{place_of(url)} answered with a redirect ({stream.status}) to {place_of(target)}; "
            "keys are not sent there: set the base URL (api_base) to the right address",
            status_code=stream.status,
        )

    def _open_once(
        self, method: str, url: str, headers: Headers, body: bytes | None, deadline: float
    ) -> tuple[Any, bool]:
        left = deadline - self._clock.now()
        if left <= 0:
            raise ApiTimeoutError("the call's timeout passed before the request could be sent")
        scheme, _, rest = url.partition("://")
        host, slash, path = rest.partition("/")
        origin = f"{scheme}://{host}"
        pool, adapter, settings = self._routes.get(origin) or self._find_route(origin)
        connect = min(CONNECT_TIMEOUT, left)
        try:
            if pool is not None and _is_original(HTTPAdapter.send):
                response = pool.urlopen(
                    method,
                    slash + path if slash else "/",
                    body,
                    headers,
                    retries=False,
                    redirect=False,
                    assert_same_host=False,
                    timeout=Timeout(connect=connect, read=left),
                    preload_content=False,
                    decode_content=True,
                )
                return response, True
            return self._send_by_adapter(
                adapter, settings, method, url, headers, body, (connect, left)
            ), False
        except (HTTPError, requests.RequestException, OSError, ValueError) as error:
            raise connection_error(error, url, deadline - left, self._clock) from error

    @staticmethod
    def _send_by_adapter(
        adapter: BaseAdapter,
        settings: dict[str, Any],
        method: str,
        url: str,
        headers: Headers,
        body: bytes | None,
        seconds: tuple[float, float],
    ) -> Any:
        prepared = requests.PreparedRequest()
        prepared.prepare(method=method, url=url, headers=dict(headers), data=body)
        return adapter.send(
            prepared,
            stream=True,
            timeout=seconds,
            **settings,
        )

    def _find_route(self, origin: str) -> tuple[Any, BaseAdapter, dict[str, Any]]:
        """Decide once per host how requests get there: pool (None: by the adapter), adapter."""
        session = self._session
        adapter: BaseAdapter = self._adapter
        proxies: dict[str, str] = dict(get_environ_proxies(origin))
        verify: bool | str | None = (
            os.environ.get("REQUESTS_CA_BUNDLE") or os.environ.get("CURL_CA_BUNDLE") or True
        )
        cert = None
        if session is not None:
            adapter = session.get_adapter(origin)
            if not session.trust_env:
                proxies, verify = {}, True
            proxies.update({k: str(v) for k, v in session.proxies.items()})
            verify = verify if session.verify is True else session.verify
            cert = session.cert
        settings = {"verify": verify, "cert": cert, "proxies": proxies}
        pool: Any = None
        if type(adapter) is HTTPAdapter and not select_proxy(origin, proxies):
            prepared = requests.PreparedRequest()
            try:
                prepared.prepare(method="POST", url=origin)
                pool = adapter.get_connection_with_tls_context(prepared, verify, proxies, cert)
                adapter.cert_verify(pool, origin, verify, cert)  # type: ignore[no-untyped-call]
                if session is None:  # a pool of somebody else's stays as it is
                    pool.ConnectionCls = with_deadlines(pool.ConnectionCls, self._clock)
            except (requests.RequestException, OSError, ValueError) as error:
                raise ApiConnectionError(
                    f"{place_of(origin)}: {error}; check the base URL and the CA bundle",
                    is_transient=False,
                ) from error
        self._routes[origin] = route = (pool, adapter, settings)
        return route


class HttpStream:
    """An answer that is read piece by piece, until its deadline."""

    __slots__ = (
        "_clock", "_deadline", "_raw", "_reader", "_response", "_timed", "_url", "is_direct",
        "status",
    )  # fmt: skip

    def __init__(
        self, response: Any, clock: Clock, deadline: float, url: str, direct: bool
    ) -> None:
        self._response = response
        self._clock = clock
        self._deadline = deadline
        self._url = url
        self.is_direct = direct
        # What reads the socket, under what requests makes of it.
        self._raw = response if direct else response.raw
        connection = getattr(self._raw, "connection", None)
        self._reader: DeadlineReader | None = getattr(connection, "reader", None)
        self._timed = deadline - clock.now()
        self.status: int = response.status if direct else response.status_code

    @property
    def headers(self) -> Headers:
        """The response headers; look-ups ignore case."""
        return self._response.headers  # type: ignore[no-any-return]

    @property
    def is_framed(self) -> bool:
        """Whether the body says itself where it ends, so that a cut can't pass for the end."""
        return "content-length" in self.headers or "chunked" in self.headers.get(
            "transfer-encoding", ""
        )

    def __enter__(self) -> HttpStream:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def read_all(self) -> bytes:
        """Read the rest of the body and give the connection back.

        Raises:
            ApiConnectionError: It broke off. The request was received, so it is not sent again.
            ApiTimeoutError: It did not come in time.
        """
        pieces, size = [], 0
        for piece in self.pieces():
            pieces.append(piece)
            size += len(piece)
            if size > BODY_LIMIT:
                raise InvalidResponseError(
                    f"{place_of(self._url)} sent more than {BODY_LIMIT >> 20} MiB; that is no "
                    "answer"
                )
        if not pieces and not self.is_framed and self.status == 200:
            # The end of the connection within the head looks like the end of the head.
            raise ApiConnectionError(
                f"{place_of(self._url)}: the connection closed before an answer"
            )
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def pieces(self) -> Iterator[bytes]:
        """Yield the body as it comes in.

        Raises:
            ApiConnectionError, ApiTimeoutError: As `read_all`.
        """
        now, deadline = self._clock.now, self._deadline
        try:
            if self._reader is not None:
                yield from self._source()
                return
            for piece in self._source():
                left = deadline - now()
                if left < self._timed * 0.9:
                    self._shorten_reads(left)
                yield piece
        except (HTTPError, requests.RequestException, OSError, ValueError) as error:
            raise self._broken(error) from error

    def _source(self) -> Iterator[bytes]:
        raw = self._raw
        if not isinstance(raw, urllib3.HTTPResponse) or raw.closed:
            # An adapter that answers by itself, or one that has read everything already.
            return self._response.iter_content(chunk_size=None)  # type: ignore[no-any-return]
        if raw.chunked and raw.supports_chunked_reads():
            return raw.read_chunked(65536, decode_content=True)
        return iter(partial(raw.read1, 65536, decode_content=True), b"")

    def _shorten_reads(self, left: float) -> None:
        """Keep the socket's time-out, which is per read, from reaching past the deadline."""
        if left <= 0:
            raise TimeoutError("deadline")
        self._timed = left
        self.limit_reads(left)

    def limit_reads(self, seconds: float) -> None:
        """Let the next reads wait for at most `seconds` each."""
        if self._reader is not None:
            if self._raw.connection is not None:
                self._reader.limit(seconds)
            return
        sock = self._socket()
        if sock is not None:
            sock.settimeout(max(seconds, 0.001))

    def _broken(self, error: Exception) -> ApiError:
        self._response.close()
        if is_timeout(error):
            return ApiTimeoutError(f"{place_of(self._url)}: the answer was not whole in time")
        broken = ApiConnectionError(
            f"{place_of(self._url)}: the connection broke in the middle of the answer "
            f"({reason_of(error)})"
        )
        broken.should_retry = False
        return broken

    @contextmanager
    def closing_on_error(self) -> Iterator[None]:
        """Close this if the block ends in an error; leave it open otherwise."""
        try:
            yield
        except BaseException:
            self.close()
            raise

    def abort(self) -> None:
        """Wake a thread that waits in a read of this; it finds the connection broken."""
        sock = self._socket()
        if sock is not None:
            with suppress(OSError):  # it may be closed by now
                sock.shutdown(socket.SHUT_RDWR)

    def _socket(self) -> socket.socket | None:
        connection = getattr(self._raw, "connection", None)
        sock = getattr(connection, "sock", None)
        return sock if isinstance(sock, socket.socket) else None

    def finish(self, pieces: Iterator[bytes]) -> None:
        """Read the end that comes after the last event, to keep the connection; else close it."""
        self.limit_reads(END_TIMEOUT)
        with suppress(ApiError):
            if not next(pieces, b""):
                self.close()
                return
        self._response.close()

    def drop(self) -> None:
        """Close the connection and nothing else: all that a destructor may do.

        Giving it back to its pool takes a lock, which this very thread may hold.
        """
        with suppress(OSError, HTTPError):
            self._raw.close()

    def close(self) -> None:
        """Let go: the connection is kept if the body was read to its end, and closed if not."""
        response = self._response
        if self.is_direct:
            # urllib3 gives a connection back by itself once its body has been read.
            if response.connection is not None:
                response.close()
            response.release_conn()
        else:
            response.close()
