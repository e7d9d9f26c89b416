"""The contract of a back end, and the one path of its requests.

A back end is class attributes and translations: pure functions between OpenAI-shaped messages and
its wire. Threads, retries, keys and connections are the engine's; see `docs/new_backend.md`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from typing import Any, TypeVar, cast
from urllib.parse import urlsplit

from . import registry
from .async_calls import iterate_stream, wait_for
from .chat_stream import ChatStream, RawReader
from .engine.call import Call
from .engine.clock import SYSTEM_CLOCK, Clock
from .engine.json_codec import encode
from .errors import (
    ApiError,
    InvalidRequestError,
    InvalidResponseError,
    MissingCredentialsError,
)
from .exchange import Control, Exchange, split_options
from .handlers import EndpointHandler
from .messages import normalize_messages
from .routes import Request, Routes
from .settings import Settings
from .texts import checked_texts
from .translation import Translation
from .types import ChatCompletionResponse, EmbeddingResponse, StreamChunk

__all__ = ["BaseApiBackend"]

T = TypeVar("T")
Messages = str | Sequence[Any]


class BaseApiBackend(Routes, Translation):
    """A chat back end: synchronous first, with async twins; safe to share between threads.

    The constructor opens no connection and starts no thread.

    Args:
        resources: Things to use instead of our own: `session` (a `requests.Session`, for its
            adapters, proxies and certificates) and `clock` (for tests).
        metadata: Settings, see README: keys, URLs, limits.

    Raises:
        ConfigurationError: A setting is misspelt or of the wrong kind.
    """

    def __init__(
        self,
        resources: Mapping[str, Any] | None = None,
        metadata: Mapping[str, Any] | None = None,
    ) -> None:
        self.resources = dict(resources or {})
        clock: Clock = self.resources.get("clock") or SYSTEM_CLOCK
        settings = Settings.read(self.identity(), metadata, registry.get_available_backends())
        super().__init__(settings, clock, self.resources.get("session"))

    # -- chat -----------------------------------------------------------------------------------

    def chat(
        self, messages: Messages, model: str | None = None, **options: Any
    ) -> ChatCompletionResponse:
        """Ask a model, wait for its whole answer.

        Args:
            messages: A string (one user message), or OpenAI-shaped message dictionaries.
            model: Model to ask; this back end's default if None.
            options: `temperature`, `max_tokens`, `tools`, … as OpenAI spells them, any other of
                the provider's own, and the engine's: `priority`, `timeout` (seconds, for all of
                the call), `request_id`, `endpoint_id`, `api_key`, `max_retries`, `queue_full`,
                `extra_headers`, `extra_body`.

        Raises:
            ApiError: See `api_backends.errors`.
        """
        exchange = self._chat_exchange(messages, model, options, stream=False)
        response: ChatCompletionResponse = self._engine.run(exchange.call, exchange.send)
        return response

    def stream_chat(
        self, messages: Messages, model: str | None = None, **options: Any
    ) -> ChatStream:
        """Ask a model, get its answer as it is written: an iterator and a context manager.

        Arguments and errors are those of `chat`; what goes wrong before the first chunk is raised
        here, later trouble is a StreamInterruptedError from the iterator.
        """
        exchange = self._chat_exchange(messages, model, options, stream=True)
        stream, lease = self._engine.open(exchange.call, exchange.open)
        stream.lease = lease
        return stream

    def submit(
        self, messages: Messages, model: str | None = None, **options: Any
    ) -> Future[ChatCompletionResponse]:
        """Ask a model in the background; the future can be cancelled until it has its answer.

        Arguments and errors are those of `chat`; bad input and a full queue are raised here.
        """
        exchange = self._chat_exchange(messages, model, options, stream=False)
        return self._engine.submit(exchange.call, exchange.send)

    async def achat(
        self, messages: Messages, model: str | None = None, **options: Any
    ) -> ChatCompletionResponse:
        """Do what `chat` does, without blocking the event loop."""
        exchange = self._chat_exchange(messages, model, options, stream=False)
        response: ChatCompletionResponse = await self._send(exchange)
        return response

    async def astream_chat(
        self, messages: Messages, model: str | None = None, **options: Any
    ) -> AsyncIterator[StreamChunk]:
        """Do what `stream_chat` does, as an async iterator."""
        exchange = self._chat_exchange(messages, model, options, stream=True)
        async for chunk in self._iterate(exchange):
            yield chunk

    def _chat_exchange(
        self, messages: Messages, model: str | None, options: dict[str, Any], *, stream: bool
    ) -> Exchange:
        checked = normalize_messages(messages)
        model = self._model(model, self.get_default_model)
        control = split_options(options)
        body = self.chat_body(checked, model, options, stream=stream)
        return self._exchange(
            self.chat_path(model, stream=stream), body, control, model, stream=stream
        )

    # -- embeddings -----------------------------------------------------------------------------

    def embed(
        self, texts: str | Sequence[str], model: str | None = None, **options: Any
    ) -> EmbeddingResponse:
        """Turn texts into vectors: float32, shape (number of texts, dimensions), in order.

        Args:
            texts: One text or several.
            model: Embedding model; this back end's default if None.
            options: The provider's (`dimensions`, …) and the engine's, as for `chat`.
        """
        exchange = self._embed_exchange(texts, model, options)
        response: EmbeddingResponse = self._engine.run(exchange.call, exchange.send)
        return response

    async def aembed(
        self, texts: str | Sequence[str], model: str | None = None, **options: Any
    ) -> EmbeddingResponse:
        """Do what `embed` does, without blocking the event loop."""
        exchange = self._embed_exchange(texts, model, options)
        response: EmbeddingResponse = await self._send(exchange)
        return response

    def _embed_exchange(
        self, texts: str | Sequence[str], model: str | None, options: dict[str, Any]
    ) -> Exchange:
        listed = checked_texts(texts)
        model = self._model(model, lambda: self.default_embedding_model)
        control = split_options(options)
        body = self.embeddings_body(listed, model, options)
        exchange = self._exchange(self.embeddings_path(model), body, control, model)
        exchange.read = lambda raw: self.read_embeddings(raw, len(listed))
        return exchange

    # -- the provider's own JSON ----------------------------------------------------------------

    def make_post_request(
        self, data: Mapping[str, Any], api_key: str | None = None, **options: Any
    ) -> dict[str, Any]:
        """Post the provider's own JSON; return the provider's own JSON.

        Args:
            data: Body, sent as it is.
            api_key: Key for this call alone.
            options: The engine's, as for `chat`, and `path` (the chat route if not given).
        """
        exchange = self._raw_exchange(data, api_key, options, stream=False)
        answer: dict[str, Any] = self._engine.run(exchange.call, exchange.send)
        return answer

    async def amake_post_request(
        self, data: Mapping[str, Any], api_key: str | None = None, **options: Any
    ) -> dict[str, Any]:
        """Do what `make_post_request` does, without blocking the event loop."""
        exchange = self._raw_exchange(data, api_key, options, stream=False)
        answer: dict[str, Any] = await self._send(exchange)
        return answer

    def make_stream_request(
        self, data: Mapping[str, Any], **options: Any
    ) -> Iterator[dict[str, Any]]:
        """Post the provider's own JSON for a stream; yield the provider's own events.

        The iterator is a `ChatStream`: `close()` or `with` frees the connection early.
        """
        exchange = self._raw_exchange(data, None, options, stream=True)
        stream, lease = self._engine.open(exchange.call, exchange.open)
        stream.lease = lease
        return cast("Iterator[dict[str, Any]]", stream)

    async def amake_stream_request(
        self, data: Mapping[str, Any], **options: Any
    ) -> AsyncIterator[dict[str, Any]]:
        """Do what `make_stream_request` does, as an async iterator."""
        exchange = self._raw_exchange(data, None, options, stream=True)
        async for event in self._iterate(exchange):
            yield event

    def _raw_exchange(
        self, data: Mapping[str, Any], api_key: str | None, options: dict[str, Any], *, stream: bool
    ) -> Exchange:
        if not isinstance(data, Mapping):
            raise InvalidRequestError(
                f"data: {type(data).__name__} given; it is the provider's JSON body as a dictionary"
            )
        if api_key is not None:
            options["api_key"] = api_key
        path = options.pop("path", None)
        control = split_options(options)
        if options:
            raise InvalidRequestError(
                f"{next(iter(options))}: not an option here; what the provider reads goes into data"
            )
        model = data.get("model")
        path = path or self.chat_path(model, stream=stream)
        body = self.raw_body(data, stream=stream)
        exchange = self._exchange(path, body, control, model, stream=stream)
        exchange.read = _checked_object
        exchange.is_raw = True
        exchange.reader = lambda body: RawReader(self.stream_reader(body))
        return exchange

    def create_endpoint_handler(
        self, endpoint_url: str | None = None, **defaults: Any
    ) -> EndpointHandler:
        """Return a callable: `handler(data)` gives the provider's JSON, `handler.acall` awaits it.

        Args:
            endpoint_url: Where it sends to; this back end's endpoints if None.
            defaults: `api_key`, engine options and body fields (`model`, …) for every call.
        """
        return EndpointHandler(self, endpoint_url, defaults)

    def make_request_with_endpoint(
        self, endpoint_id: str, data: Mapping[str, Any], **options: Any
    ) -> dict[str, Any]:
        """Do what `make_post_request` does, at one endpoint and no other."""
        return self.make_post_request(data, endpoint_id=endpoint_id, **options)

    async def amake_request_with_endpoint(
        self, endpoint_id: str, data: Mapping[str, Any], **options: Any
    ) -> dict[str, Any]:
        """Do what `make_request_with_endpoint` does, without blocking the event loop."""
        return await self.amake_post_request(data, endpoint_id=endpoint_id, **options)

    # -- models and health ----------------------------------------------------------------------

    def list_models(self, **options: Any) -> list[dict[str, Any]]:
        """Return the models that the endpoint serves: dictionaries with at least an `id`."""
        exchange = self._models_exchange(options)
        models: list[dict[str, Any]] = self._engine.run(exchange.call, exchange.send)
        return models

    async def alist_models(self, **options: Any) -> list[dict[str, Any]]:
        """Do what `list_models` does, without blocking the event loop."""
        exchange = self._models_exchange(options)
        models: list[dict[str, Any]] = await self._send(exchange)
        return models

    def _models_exchange(self, options: dict[str, Any]) -> Exchange:
        control = split_options(options)
        exchange = self._exchange(self.models_path(), None, control, None)
        exchange.read = self.read_models
        return exchange

    def test_endpoint(self, endpoint_url: str | None = None, **options: Any) -> bool:
        """Say whether an endpoint answers and takes the key. Never raises for one that doesn't."""
        try:
            self.list_models(**self._probe(endpoint_url, options))
        except ApiError:
            return False
        return True

    async def atest_endpoint(self, endpoint_url: str | None = None, **options: Any) -> bool:
        """Do what `test_endpoint` does, without blocking the event loop."""
        try:
            await self.alist_models(**self._probe(endpoint_url, options))
        except ApiError:
            return False
        return True

    def _probe(self, endpoint_url: str | None, options: dict[str, Any]) -> dict[str, Any]:
        options = {"timeout": 10.0, "max_retries": 0, **options}
        if endpoint_url is not None:
            options["endpoint_id"] = self.private_endpoint(endpoint_url, options.get("api_key"))
        return options

    def is_compatible_model(self, model: str) -> bool:
        """Say whether this back end takes `model`."""
        return isinstance(model, str) and bool(model.strip()) and self.matches_model(model)

    def get_default_model(self) -> str | None:
        """Return the model that is asked when a call names none."""
        return self._settings.model or self.default_model

    def get_api_key(self, metadata: Mapping[str, Any] | None = None) -> str | None:
        """Return the key: from `metadata`, else the one that this back end was made with."""
        if metadata is not None:
            settings = Settings.read(self.identity(), metadata, registry.get_available_backends())
            if settings.api_key is not None:
                return settings.api_key
        return self._settings.api_key

    @property
    def is_self_hosted(self) -> bool:
        """Whether its base URL is that of a server on this machine, not of a provider."""
        host = urlsplit(self._settings.base_url).hostname or ""
        return host in ("localhost", "::1") or host.startswith("127.")

    def missing(self) -> str | None:
        """Return what it still needs before it can be called; None if nothing."""
        try:
            self._pinned(None, has_own_key=False)
        except MissingCredentialsError:
            return f"a key in {self.key_env[0]}"
        return None

    # -- shared ---------------------------------------------------------------------------------

    async def _send(self, exchange: Exchange) -> Any:
        # An event loop's thread must not wait for room in the queue: the call does so by itself.
        return await wait_for(self._engine.submit(exchange.call, exchange.send, may_wait=False))

    async def _iterate(self, exchange: Exchange) -> AsyncIterator[Any]:
        opening = self._engine.submit(exchange.call, exchange.open, hold=True, may_wait=False)
        async for chunk in iterate_stream(opening, self._engine.workers.start):
            yield chunk

    def _model(self, model: Any, default: Callable[[], str | None]) -> str | None:
        if model is None:
            return default()
        if not isinstance(model, str) or not model.strip():
            raise InvalidRequestError(
                f"model: {model!r} is not a model's name; give a string, or leave it out for "
                f"{default()!r}",
                backend=self.name,
            )
        return model

    def _exchange(
        self,
        path: str,
        body: dict[str, Any] | None,
        control: Control,
        model: str | None,
        *,
        stream: bool = False,
    ) -> Exchange:
        if body is not None:
            if control.extra_body:
                body.update(control.extra_body)
            data = encode(body)
        else:
            data = None
        call = self._call(control)
        return Exchange(self, call, path, body if stream else None, data, control, model)

    def _call(self, control: Control) -> Call:
        pinned = self._pinned(control.endpoint_id, control.api_key is not None)
        timeout, retries = control.timeout, control.max_retries
        if pinned is not None:
            timeout = timeout or pinned.settings.get("timeout")
            retries = pinned.settings.get("max_retries") if retries is None else retries
        return Call(
            self.clock.now(),
            timeout or self._settings.timeout,
            self._engine.retry.max_retries if retries is None else retries,
            control.priority,
            pinned,
            control.queue_full == "block",
            control.api_key is not None and (pinned is None or pinned.api_key != control.api_key),
        )

    def _route_request(
        self, method: str, path: str, data: bytes | None, control: Control, model: str | None
    ) -> Request[Any]:
        return Request(self, self._call(control), method, path, data, control, model)


def _checked_object(raw: Any) -> dict[str, Any]:
    if not isinstance(raw, dict):
        raise InvalidResponseError(f"the answer is JSON, but no object: {str(raw)[:120]!r}")
    return raw
