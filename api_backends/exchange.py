"""One request of a back end, from its translated body to its translated answer."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

from .chat_stream import ChatStream, StreamReader
from .engine.call import Call, priority_level
from .engine.credentials import Secret, redact
from .engine.json_codec import decode
from .engine.retry import retry_after_seconds
from .errors import (
    ApiError,
    ConfigurationError,
    InvalidRequestError,
    InvalidResponseError,
    ModelNotFoundError,
)
from .prices import cache_writes
from .settings import check_number, secret
from .types import ChatCompletionResponse, StreamChunk, Usage

if TYPE_CHECKING:
    from .base import BaseApiBackend
    from .engine.endpoints import Endpoint

__all__ = ["ENGINE_OPTIONS", "Control", "Exchange", "split_options"]

ENGINE_OPTIONS = (
    "api_key",
    "endpoint_id",
    "extra_body",
    "extra_headers",
    "max_retries",
    "priority",
    "queue_full",
    "request_id",
    "timeout",
)


_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_HEADER_VALUE = re.compile(r"[\t\x20-\x7e\x80-\xff]*")
_CREDENTIAL = re.compile(r"auth|key|token|secret|cookie|password", re.IGNORECASE)
# Headers that say where a message ends: a wrong one would hang or split the request.
_FRAMING = frozenset({"connection", "content-length", "transfer-encoding"})


class Control(NamedTuple):
    """The options of a call that are ours: none of them is sent as an option."""

    api_key: Secret | None = None
    endpoint_id: str | None = None
    extra_body: Mapping[str, Any] | None = None
    extra_headers: Mapping[str, str] | None = None
    max_retries: int | None = None
    priority: int = 1
    queue_full: str = "raise"
    request_id: str = ""
    timeout: float | None = None


_USUAL = Control()

# Words of an authorization header up to this long are its scheme ("Bearer"), not its key.
_SCHEME = 7


def split_options(options: dict[str, Any]) -> Control:
    """Take the engine's options out of `options`, checked.

    Raises:
        InvalidRequestError: One is of the wrong kind.
    """
    if not options or options.keys().isdisjoint(ENGINE_OPTIONS):
        return _USUAL
    taken = {name: options.pop(name) for name in ENGINE_OPTIONS if name in options}
    try:
        return _checked(taken)
    except ConfigurationError as error:
        raise InvalidRequestError(str(error)) from None


def _checked(taken: dict[str, Any]) -> Control:
    timeout, retries = taken.get("timeout"), taken.get("max_retries")
    queue_full = taken.get("queue_full") or "raise"
    if queue_full not in ("raise", "block"):
        raise InvalidRequestError(f"queue_full: {queue_full!r} is neither 'raise' nor 'block'")
    for name in ("extra_body", "extra_headers"):
        if not isinstance(taken.get(name) or {}, Mapping):
            raise InvalidRequestError(f"{name}: {type(taken[name]).__name__}; it is a dictionary")
    for name in ("endpoint_id", "request_id"):
        if not isinstance(taken.get(name) or "", str):
            raise InvalidRequestError(f"{name}: {taken[name]!r} is not a string")
    headers = _extra_headers(taken.get("extra_headers") or {})
    priority = taken.get("priority")
    return Control(
        secret(taken.get("api_key"), "api_key"),
        taken.get("endpoint_id"),
        taken.get("extra_body"),
        headers or None,
        None if retries is None else int(check_number("max_retries", retries, whole=True)),
        1 if priority is None else priority_level(priority),
        queue_full,
        taken.get("request_id") or "",
        None if timeout is None else check_number("timeout", timeout, least=0.001),
    )


def _extra_headers(given: Mapping[Any, Any]) -> dict[str, str]:
    """Check headers that a caller adds; those that look like credentials become secrets."""
    headers: dict[str, str] = {}
    for name, value in given.items():
        if not isinstance(name, str) or not _HEADER_NAME.fullmatch(name):
            raise InvalidRequestError(f"extra_headers: {name!r:.80} is not a header's name")
        if name.lower() in _FRAMING:
            raise InvalidRequestError(f"extra_headers: {name} is set by the request itself")
        text = str(value)
        if not _HEADER_VALUE.fullmatch(text):
            raise InvalidRequestError(
                f"extra_headers[{name!r}]: line breaks, control characters or characters outside "
                "Latin-1; a header can't hold them"
            )
        headers[name.lower()] = Secret(text) if _CREDENTIAL.search(name) else text
    return headers


class Exchange:
    """A request that is ready to be sent, to whichever endpoint the engine chooses."""

    __slots__ = (
        "_backend",
        "_body",
        "_control",
        "_data",
        "_path",
        "_server_request_id",
        "call",
        "decode",
        "endpoint_id",
        "is_raw",
        "model",
        "read",
        "read_answer",
        "reader",
    )

    def __init__(
        self,
        backend: BaseApiBackend,
        call: Call,
        path: str,
        body: dict[str, Any] | None,
        data: bytes | None,
        control: Control,
        model: str | None,
    ) -> None:
        self._backend = backend
        self._path = path
        self._body = body
        self._data = data
        self._control = control
        self._server_request_id = ""
        self.call = call
        self.model = model
        self.decode: Callable[[bytes], Any] = decode
        self.read: Callable[[Any], Any] = backend.read_chat
        # For a stream that comes whole; `read` may be that of the provider's own JSON.
        self.read_answer: Callable[[Any], ChatCompletionResponse] = backend.read_chat
        self.endpoint_id = ""
        # Whether the caller wants the provider's own JSON.
        self.is_raw = False
        self.reader: Callable[[dict[str, Any]], StreamReader] = backend.stream_reader

    # -- attempts: what the engine calls ----------------------------------------------------------

    def send(self, endpoint: Endpoint, call: Call) -> Any:
        """Send to `endpoint`, wait for the whole answer, return it translated."""
        try:
            reply = self._backend.transport.send(
                "GET" if self._data is None else "POST",
                self._url(endpoint),
                self._headers(endpoint),
                self._data,
                call.deadline,
            )
            self._note(endpoint, reply.headers)
            if not 200 <= reply.status < 300:
                raise self._error(reply.status, reply.headers, reply.body)
            answer = self.read(self._parsed(reply.body, reply.status, reply.headers))
        except ApiError as error:
            self._complete(endpoint, error)
            raise
        if hasattr(answer, "implementation_type"):
            self.fill_in(answer)
        return answer

    def open(self, endpoint: Endpoint, call: Call) -> ChatStream:
        """Send to `endpoint`, return the stream of its answer once it has begun."""
        backend = self._backend
        try:
            http = backend.transport.open(
                "POST", self._url(endpoint), self._headers(endpoint), self._data, call.deadline
            )
            with http.closing_on_error():
                self._note(endpoint, http.headers)
                if not 200 <= http.status < 300:
                    raise self._error(http.status, http.headers, http.read_all())
                assert self._body is not None
                reader = self.reader(self._body)
                stream = ChatStream(
                    http,
                    backend.stream_parser(),
                    reader,
                    self._read_whole,
                    self.fill_in,
                    partial(self._complete, endpoint),
                    self.estimate,
                )
                return stream.prime()
        except ApiError as error:
            self._complete(endpoint, error)
            raise

    # -- parts ----------------------------------------------------------------------------------

    def fill_in(self, answer: Any) -> Any:
        """Write into an answer who gave it, after how many attempts and how long."""
        call, backend = self.call, self._backend
        answer.backend = backend.name
        answer.endpoint_id = self.endpoint_id
        answer.request_id = self._control.request_id or self._server_request_id
        answer.attempts = call.attempts
        answer.latency = call.latency or backend.clock.now() - call.started
        if not answer.model and self.model:
            answer.model = self.model
        usage = answer.usage
        if usage and usage.cost is None:
            self.estimate(usage, answer)
        return answer

    def estimate(self, usage: Usage, answer: ChatCompletionResponse | StreamChunk) -> None:
        """Write the cost of an answer into its usage, where the price is known.

        The provider bills what was asked for; it answers under that name or a more exact one.
        """
        price = self._backend.prices.find(answer.model, self.model)
        if price is not None:
            written = 0 if price.cache_write is None else cache_writes(answer.raw)
            usage.cost = price.cost(usage, written)

    def _url(self, endpoint: Endpoint) -> str:
        return endpoint.url + self._path

    def _headers(self, endpoint: Endpoint) -> dict[str, str]:
        control = self._control
        if control.api_key is not None:
            headers = self._backend.secret_headers(control.api_key)
        else:
            if endpoint.headers is None:
                endpoint.headers = self._backend.secret_headers(endpoint.api_key)
            headers = endpoint.headers
        return {**headers, **control.extra_headers} if control.extra_headers else headers

    def _note(self, endpoint: Endpoint, headers: Mapping[str, str]) -> None:
        self.endpoint_id = endpoint.id
        self._backend.latest_headers.note(endpoint.id, headers)
        self._server_request_id = headers.get("x-request-id") or headers.get("request-id") or ""

    def _parsed(self, body: bytes, status: int, headers: Mapping[str, str]) -> Any:
        try:
            return self.decode(body)
        except ValueError:
            if body.lstrip()[:1] == b"<":
                raise self._error(status, headers, body) from None
            shown = redact(body[:120].decode("utf-8", "replace"), self._secrets())
            raise InvalidResponseError(
                f"{self._backend.name} answered with something that is not JSON: {shown!r}; is "
                "the base URL (api_base) that of the API?",
                status_code=status,
            ) from None

    def _read_whole(self, body: bytes) -> tuple[ChatCompletionResponse, list[Any]]:
        raw = self._parsed(body, 200, {})
        response = self.fill_in(self.read_answer(raw))
        return response, [raw] if self.is_raw else self._backend.chunks_of(response)

    def _error(self, status: int, headers: Mapping[str, str], body: bytes) -> ApiError:
        try:
            parsed = decode(body) if body else None
        except ValueError:
            parsed = body.decode("utf-8", "replace")
        error = self._backend.read_error(status, headers, parsed, self.model)
        if error.retry_after is None:
            error.retry_after = retry_after_seconds(headers, self._backend.clock.wall())
        verdict = headers.get("x-should-retry")
        if verdict in ("true", "false"):
            error.should_retry = verdict == "true"
        return error

    def _complete(self, endpoint: Endpoint, error: ApiError) -> None:
        """Fill in what the error's origin didn't know, and take every key out of it."""
        error.backend = self._backend.name
        error.endpoint_id = endpoint.id
        error.model = error.model or self.model
        error.request_id = (
            self._control.request_id or error.request_id or self._server_request_id or None
        )
        if isinstance(error, ModelNotFoundError) and error.model:
            error.message += self._backend.nearest_model(error.model)
        secrets = self._secrets()
        error.message = redact(error.message, secrets)
        error.args = (error.message,)
        for name in ("body", "code", "error_type", "request_id"):
            setattr(error, name, redact(getattr(error, name), secrets))
        cause = error.__cause__ or error.__context__
        while cause is not None:
            if redact(str(cause), secrets) != str(cause):
                # What the network or the parser quotes of an answer would show in a traceback.
                error.__cause__, error.__context__ = None, None
                return
            cause = cause.__cause__ or cause.__context__

    def _secrets(self) -> list[str]:
        own = [endpoint.api_key for endpoint in self._backend.all_endpoints()]
        extra = (self._control.extra_headers or {}).values()
        # An authorization header is a scheme and the key proper.
        added = [part for value in extra if isinstance(value, Secret) for part in value.split()]
        keys = (*own, self._control.api_key, *(part for part in added if len(part) > _SCHEME))
        return [key for key in keys if key]
