"""Requests to any route of a provider: files, audio, batches, whatever is not chat.

A back end writes one private method a route, which checks its arguments and prepares a `Request`;
`blocking` and `awaitable` make the public method and its async twin out of it. The request takes
the same path as a chat: queue, endpoint, retries, errors, statistics.
"""

from __future__ import annotations

import functools
import os
import uuid
from collections.abc import Callable, Coroutine, Mapping, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, ParamSpec, TypeVar
from urllib.parse import quote, urlencode

from .async_calls import wait_for
from .engine.json_codec import encode
from .errors import ApiError, InvalidRequestError
from .exchange import Control, Exchange, split_options

if TYPE_CHECKING:
    from .base import BaseApiBackend
    from .engine.call import Call
    from .engine.endpoints import Endpoint
    from .engine.engine import Engine
    from .engine.transport import HttpStream
    from .uploads import Upload

__all__ = ["Request", "Routes", "awaitable", "blocking", "path_part"]

T = TypeVar("T")
P = ParamSpec("P")
F = TypeVar("F", bound=Callable[..., Any])
Field = tuple[str, "str | Upload"]


class Request(Exchange, Generic[T]):
    """A request of any method to any route, ready to be sent.

    `read` gets the answer as JSON, or as bytes where `answer` is "bytes"; with `save_to` the body
    goes into that file as it comes, and the result is the path.
    """

    __slots__ = ("answer", "content_type", "method", "save_to")

    def __init__(
        self,
        backend: BaseApiBackend,
        call: Call,
        method: str,
        path: str,
        data: bytes | None,
        control: Control,
        model: str | None,
    ) -> None:
        super().__init__(backend, call, path, None, data, control, model)
        self.method = method
        self.content_type = ""
        self.answer = "json"
        self.save_to: Path | None = None

    def send(self, endpoint: Endpoint, call: Call) -> T:
        """Send to `endpoint`, wait for the whole answer, return it translated."""
        headers = self._headers(endpoint)
        if self.content_type:
            headers = {**headers, "content-type": self.content_type}
        try:
            with self._backend.transport.open(
                self.method, self._url(endpoint), headers, self._data, call.deadline
            ) as http:
                self._note(endpoint, http.headers)
                if not 200 <= http.status < 300:
                    raise self._error(http.status, http.headers, http.read_all())
                answer: T = self._received(http)
        except ApiError as error:
            self._complete(endpoint, error)
            raise
        if hasattr(answer, "implementation_type"):
            self.fill_in(answer)
        return answer

    def _received(self, http: HttpStream) -> Any:
        if self.save_to is not None:
            return _saved(http, self.save_to)
        body = http.read_all()
        if self.answer == "bytes":
            return self.read(body)
        return self.read(self._parsed(body, http.status, http.headers) if body else None)


def _saved(http: HttpStream, path: Path) -> Path:
    """Write a body to a file that appears whole or not at all."""
    part = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.part")
    try:
        with part.open("xb") as file:
            for piece in http.pieces():
                file.write(piece)
        part.replace(path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise
    return path


def blocking(build: Callable[P, Request[T]]) -> Callable[P, T]:
    """Return the method that prepares a request with `build`, sends it and waits."""

    def method(*args: P.args, **kwargs: P.kwargs) -> T:
        backend: Any = args[0]
        request = build(*args, **kwargs)
        answer: T = backend._engine.run(request.call, request.send)  # noqa: SLF001 - self's own
        return answer

    return _named(method, build, build.__name__.lstrip("_"), build.__doc__)


def awaitable(build: Callable[P, Request[T]]) -> Callable[P, Coroutine[Any, Any, T]]:
    """Return the async twin of `blocking(build)`; bad input is raised when it is awaited."""

    async def method(*args: P.args, **kwargs: P.kwargs) -> T:
        backend: Any = args[0]
        request = build(*args, **kwargs)
        engine = backend._engine  # noqa: SLF001 - self's own
        answer: T = await wait_for(engine.submit(request.call, request.send))
        return answer

    twin = build.__name__.lstrip("_")
    return _named(
        method, build, f"a{twin}", f"Do what `{twin}` does, without blocking the event loop."
    )


def _named(method: F, build: Callable[..., Any], name: str, doc: str | None) -> F:
    """Let a made method show the arguments and the documentation of what it is made from."""
    functools.update_wrapper(method, build)
    method.__name__ = name
    method.__qualname__ = build.__qualname__.replace(build.__name__, name)
    method.__doc__ = doc
    return method


def path_part(value: Any, name: str) -> str:
    """Return an id as a part of a path.

    Raises:
        InvalidRequestError: It is no text, or empty.
    """
    if not isinstance(value, str) or not value.strip():
        raise InvalidRequestError(f"{name}: {value!r} is no id; give the one the provider gave you")
    return quote(value.strip(), safe=":")


class Routes:
    """`request()` and its twins: one request to any route, by way of the engine."""

    _engine: Engine

    def request(self, method: str, path: str, **details: Any) -> Any:
        """Send a request to any route of the provider; return its JSON.

        Args:
            method: GET, POST, DELETE, …
            path: Route from the base URL, like "/files".
            details: `json` (a body to be written as JSON), `fields` (a list of (name, text or
                `Upload`): a multipart form), `query` (a dictionary), `answer` ("json", or "bytes"
                for the body as it is), `save_to` (a path: the body is streamed into that file, and
                the result is the path), `read` (a function that translates the answer), `model`,
                and the engine's options, as for `chat`.

        Raises:
            ApiError: As for `chat`.
        """
        request = self._request(method, path, **details)
        return self._engine.run(request.call, request.send)

    async def arequest(self, method: str, path: str, **details: Any) -> Any:
        """Do what `request` does, without blocking the event loop."""
        return await wait_for(self.submit_request(method, path, **details))

    def submit_request(self, method: str, path: str, **details: Any) -> Future[Any]:
        """Do what `request` does in the background; the future can be cancelled."""
        request = self._request(method, path, **details)
        return self._engine.submit(request.call, request.send)

    def _request(
        self,
        method: str,
        path: str,
        *,
        json: Mapping[str, Any] | None = None,
        fields: Sequence[Field] | None = None,
        query: Mapping[str, Any] | None = None,
        answer: str = "json",
        save_to: str | os.PathLike[str] | None = None,
        read: Callable[[Any], Any] | None = None,
        model: str | None = None,
        **options: Any,
    ) -> Request[Any]:
        control = split_options(options)
        if options:
            raise InvalidRequestError(
                f"{next(iter(options))}: not an option here; what the provider reads goes into "
                "json, fields or query"
            )
        if json is not None and fields is not None:
            raise InvalidRequestError("json and fields: a request has one body; give one of them")
        if query:
            path = f"{path}?{urlencode({k: v for k, v in query.items() if v is not None})}"
        data, content_type = _body(json, fields, control)
        request: Request[Any] = self._route_request(method, path, data, control, model)
        request.content_type = content_type
        request.answer = answer
        request.read = read or _as_it_is
        if save_to is not None:
            request.save_to = _writable(save_to)
        return request

    def _route_request(
        self, method: str, path: str, data: bytes | None, control: Control, model: str | None
    ) -> Request[Any]:
        raise NotImplementedError


def _body(
    json: Mapping[str, Any] | None, fields: Sequence[Field] | None, control: Control
) -> tuple[bytes | None, str]:
    """Return a body and, for a form, its content type."""
    extra = dict(control.extra_body or {})
    if fields is None:
        if json is None and not extra:
            return None, ""
        return encode({**(json or {}), **extra}), ""
    from urllib3.fields import RequestField
    from urllib3.filepost import encode_multipart_formdata

    parts = []
    for name, value in (*fields, *((k, str(v)) for k, v in extra.items())):
        if isinstance(value, str):
            part = RequestField(name, value)
            part.make_multipart()
        else:
            part = RequestField(name, value.data, filename=value.name)
            part.make_multipart(content_type=value.content_type)
        parts.append(part)
    return encode_multipart_formdata(parts)


def _writable(path: str | os.PathLike[str]) -> Path:
    target = Path(path)
    if target.is_dir() or not target.parent.is_dir():
        raise InvalidRequestError(
            f"{str(path)!r} can't be written: give the path of a file in a folder that exists"
        )
    return target


def _as_it_is(raw: Any) -> Any:
    return raw
