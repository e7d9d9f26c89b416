"""What a back end says of itself, and what it translates: the part that a new one fills in."""

from __future__ import annotations

import fnmatch
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from . import registry
from .capabilities import Capabilities
from .endpoint_set import EndpointSet
from .engine.credentials import Secret
from .engine.streams import SSEParser
from .errors import ApiError, InvalidRequestError
from .settings import Identity, Settings

if TYPE_CHECKING:
    from .chat_stream import EventParser, StreamReader
    from .types import ChatCompletionResponse, EmbeddingResponse, StreamChunk

__all__ = ["Translation"]


class Translation(EndpointSet):
    """Class attributes and pure functions of plain data; a back end overrides what it has."""

    name: ClassVar[str]
    names: ClassVar[tuple[str, ...]] = ()
    """Prefixes of its settings, if they are more than its name."""
    default_url: ClassVar[str]
    version_path: ClassVar[str] = "/v1"
    routes: ClassVar[tuple[str, ...]] = ()
    """Routes that a URL given as base may end in; they are cut off."""
    key_names: ClassVar[tuple[str, ...]] = ()
    key_env: ClassVar[tuple[str, ...]] = ()
    extra_keys: ClassVar[tuple[str, ...]] = ()
    needs_key: ClassVar[bool] = True
    default_model: ClassVar[str | None] = None
    default_embedding_model: ClassVar[str | None] = None
    model_patterns: ClassVar[tuple[str, ...]] = ()
    takes_any_model: ClassVar[bool] = False
    capabilities: ClassVar[Capabilities] = Capabilities()

    @classmethod
    def identity(cls) -> Identity:
        """Return what names this back end's settings."""
        return Identity(
            cls.names or (cls.name,),
            cls.key_names,
            cls.key_env,
            cls.default_url,
            cls.version_path,
            cls.routes,
            cls.extra_keys,
        )

    @classmethod
    def matches_model(cls, model: str) -> bool:
        """Say whether `model` looks like one of this back end's."""
        if cls.takes_any_model:
            return True
        name = model.strip().lower()
        return any(fnmatch.fnmatchcase(name, pattern) for pattern in cls.model_patterns)

    @classmethod
    def is_configured(cls, metadata: Mapping[str, Any] | None = None) -> bool:
        """Say whether a key (or, where none is needed, a URL of its own) is configured."""
        settings = Settings.read(cls.identity(), metadata, registry.get_available_backends())
        has_key = bool(settings.api_key or settings.api_keys or settings.endpoints)
        return has_key or (settings.is_url_given and not cls.needs_key)

    def secret_headers(self, api_key: str | None) -> dict[str, str]:
        """Return `headers(api_key)` with values that show no key when they are printed."""
        headers = self.headers(api_key)
        if not api_key:
            return headers
        return {k: Secret(v) if api_key in v else v for k, v in headers.items()}

    # -- override points: translations and routes ------------------------------------------------

    def headers(self, api_key: str | None) -> dict[str, str]:
        """Return the headers that every request carries."""
        headers = {
            "content-type": "application/json",
            "accept": "application/json, text/event-stream",
            "accept-encoding": "gzip, deflate",
            "user-agent": "ipfs_accelerate_py/0.1.0",
        }
        if api_key:
            headers["authorization"] = f"Bearer {api_key}"
        return headers

    def chat_path(self, model: str | None, *, stream: bool) -> str:
        """Return the route of a chat request, from the base URL."""
        raise self._cannot("chat()")

    def chat_body(
        self,
        messages: list[dict[str, Any]],
        model: str | None,
        options: dict[str, Any],
        *,
        stream: bool,
    ) -> dict[str, Any]:
        """Translate checked messages and options to the provider's JSON body."""
        raise self._cannot("chat()")

    def raw_body(self, data: Mapping[str, Any], *, stream: bool) -> dict[str, Any]:
        """Return the body for a caller who gave the provider's own JSON."""
        return {**data, "stream": True} if stream else dict(data)

    def read_chat(self, raw: Any) -> ChatCompletionResponse:
        """Translate the provider's JSON answer, or raise the error that it is."""
        raise self._cannot("chat()")

    def stream_reader(self, body: Mapping[str, Any]) -> StreamReader:
        """Return a reader of the events that answer `body`."""
        raise self._cannot("stream_chat()")

    def stream_parser(self) -> EventParser:
        """Return what cuts the bytes of a stream into events."""
        return SSEParser()

    def chunks_of(self, response: ChatCompletionResponse) -> list[StreamChunk]:
        """Return a whole answer as the chunks of a stream."""
        raise self._cannot("stream_chat()")

    def read_error(
        self, status: int, headers: Mapping[str, str], body: Any, model: str | None
    ) -> ApiError:
        """Translate an answer with an error status."""
        raise NotImplementedError(f"{type(self).__name__} must translate its errors")

    def embeddings_path(self, model: str | None) -> str:
        """Return the route of an embeddings request."""
        raise self._cannot("embed()")

    def embeddings_body(
        self, texts: list[str], model: str | None, options: dict[str, Any]
    ) -> dict[str, Any]:
        """Translate texts and options to the provider's JSON body."""
        raise self._cannot("embed()")

    def read_embeddings(self, raw: Any, count: int) -> EmbeddingResponse:
        """Translate the provider's JSON answer for `count` texts."""
        raise self._cannot("embed()")

    def models_path(self) -> str:
        """Return the route that lists models, and that tells whether an endpoint is there."""
        raise self._cannot("list_models()")

    def read_models(self, raw: Any) -> list[dict[str, Any]]:
        """Translate the answer to a list of dictionaries, each with an `id`."""
        raise self._cannot("list_models()")

    def _cannot(self, what: str) -> InvalidRequestError:
        able = ", ".join(self.capabilities.names()) or "nothing yet"
        return InvalidRequestError(
            f"{what}: back end {self.name!r} has no such thing; it has {able}", backend=self.name
        )
