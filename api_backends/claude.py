"""Anthropic's Claude."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from . import registry
from .capabilities import Capabilities
from .claude_batches import MessageBatches
from .errors import ConfigurationError, InvalidRequestError, InvalidResponseError
from .exchange import split_options
from .messages import normalize_messages
from .protocols.anthropic_answers import read_message
from .protocols.anthropic_errors import error_from
from .protocols.anthropic_messages import conversation_of
from .protocols.anthropic_options import fields_of
from .protocols.anthropic_parts import FILES_BETA, refers_to_files
from .protocols.anthropic_stream import MessageStreamReader
from .protocols.openai_stream import chunks_of
from .settings import known_keys

if TYPE_CHECKING:
    from .base import Messages
    from .errors import ApiError
    from .exchange import Exchange
    from .types import ChatCompletionResponse, StreamChunk

__all__ = ["Claude"]

API_VERSION = "2023-06-01"
# What counting takes of a request: https://platform.claude.com/docs/en/api/messages-count-tokens
_COUNTED = frozenset(
    (
        "cache_control",
        "context_management",
        "mcp_servers",
        "messages",
        "model",
        "output_config",
        "speed",
        "system",
        "thinking",
        "tool_choice",
        "tools",
    )
)


class Claude(MessageBatches):
    """Claude over Anthropic's Messages API. https://platform.claude.com/docs/en/api/messages.

    Besides what every back end takes: `metadata["claude_betas"]` and the option `betas`, names of
    beta features, for the `anthropic-beta` header.
    """

    name = "claude"
    default_url = "https://api.anthropic.com"
    key_names = ("claude_api_key", "anthropic_api_key")
    key_env = ("ANTHROPIC_API_KEY", "CLAUDE_API_KEY")
    extra_keys = ("claude_betas",)
    routes = ("/messages", "/messages/count_tokens", "/messages/batches", "/models")
    default_model = "claude-sonnet-4-5"
    model_patterns = ("claude-*",)
    capabilities = Capabilities(
        chat=True,
        stream=True,
        tools=True,
        structured_output=True,
        vision=True,
        list_models=True,
        file_input=True,
        reasoning=True,
        batches=True,
        token_counting=True,
        rate_limits=True,
    )

    def __init__(
        self,
        resources: Mapping[str, Any] | None = None,
        metadata: Mapping[str, Any] | None = None,
    ) -> None:
        known = known_keys(self.identity(), metadata, registry.get_available_backends())
        try:
            self._betas = _beta_names(known.get("claude_betas"))
        except InvalidRequestError as error:
            raise ConfigurationError(f"claude_{error}") from None
        super().__init__(resources, metadata)

    def headers(self, api_key: str | None) -> dict[str, str]:
        """Return the headers that every request carries."""
        headers = super().headers(None)
        headers["anthropic-version"] = API_VERSION
        if api_key:
            headers["x-api-key"] = api_key
        if self._betas:
            headers["anthropic-beta"] = ",".join(self._betas)
        return headers

    # -- chat -----------------------------------------------------------------------------------

    def chat_path(self, model: str | None, *, stream: bool) -> str:
        """Return the route of a chat request."""
        return "/messages"

    def chat_body(
        self,
        messages: list[dict[str, Any]],
        model: str | None,
        options: dict[str, Any],
        *,
        stream: bool,
    ) -> dict[str, Any]:
        """Translate messages and options to the Messages API."""
        system, turns = conversation_of(messages)
        body: dict[str, Any] = {"model": model, "messages": turns}
        if system is not None:
            if options.get("system") is not None:
                raise InvalidRequestError(
                    "system: there are system messages too; give the prompt in one of the places"
                )
            body["system"] = system
        body.update(fields_of(options, model, stream=stream))
        return body

    def read_chat(self, raw: Any) -> ChatCompletionResponse:
        """Read a message of the Messages API."""
        return read_message(raw, backend=self.name)

    def stream_reader(self, body: Mapping[str, Any]) -> MessageStreamReader:
        """Return a reader of the Messages API's events."""
        return MessageStreamReader(backend=self.name)

    def chunks_of(self, response: ChatCompletionResponse) -> list[StreamChunk]:
        """Return a whole answer as chunks."""
        return chunks_of(response)

    def read_error(
        self, status: int, headers: Mapping[str, str], body: Any, model: str | None
    ) -> ApiError:
        """Read an error of Anthropic's, or of what stands in front of its API."""
        return error_from(status, headers, body, backend=self.name, model=model)

    def lift_betas(self, options: dict[str, Any], messages: Sequence[Any]) -> dict[str, Any]:
        """Return the options with the names of beta features made the header that they are."""
        betas = _beta_names(options.pop("betas", None))
        if isinstance(messages, (list, tuple)) and refers_to_files(_flat(messages)):
            betas = (*betas, FILES_BETA)
        if not betas:
            return options
        extra = {str(k).lower(): v for k, v in (options.get("extra_headers") or {}).items()}
        given = _beta_names(extra.get("anthropic-beta"))
        names = dict.fromkeys((*self._betas, *given, *betas))
        options["extra_headers"] = {**extra, "anthropic-beta": ",".join(names)}
        return options

    def _chat_exchange(
        self, messages: Messages, model: str | None, options: dict[str, Any], *, stream: bool
    ) -> Exchange:
        options = self.lift_betas(options, messages)
        return super()._chat_exchange(messages, model, options, stream=stream)

    def _raw_exchange(
        self, data: Mapping[str, Any], api_key: str | None, options: dict[str, Any], *, stream: bool
    ) -> Exchange:
        messages = data.get("messages") if isinstance(data, Mapping) else None
        options = self.lift_betas(options, messages if isinstance(messages, list) else [])
        return super()._raw_exchange(data, api_key, options, stream=stream)

    # -- counting -------------------------------------------------------------------------------

    def count_tokens(self, messages: Messages, model: str | None = None, **options: Any) -> int:
        """Return how many tokens a request would have, counted by Anthropic; it costs nothing.

        Arguments and errors are those of `chat`; tools, images and documents count too.
        """
        exchange = self._count_exchange(messages, model, options)
        tokens: int = self._engine.run(exchange.call, exchange.send)
        return tokens

    async def acount_tokens(
        self, messages: Messages, model: str | None = None, **options: Any
    ) -> int:
        """Do what `count_tokens` does, without blocking the event loop."""
        exchange = self._count_exchange(messages, model, options)
        tokens: int = await self._send(exchange)
        return tokens

    def _count_exchange(
        self, messages: Messages, model: str | None, options: dict[str, Any]
    ) -> Exchange:
        options = self.lift_betas(options, messages)
        checked = normalize_messages(messages)
        model = self._model(model, self.get_default_model)
        control = split_options(options)
        body = self.chat_body(checked, model, options, stream=False)
        counted = {name: value for name, value in body.items() if name in _COUNTED}
        exchange = self._exchange("/messages/count_tokens", counted, control, model)
        exchange.read = _token_count
        return exchange

    # -- models ---------------------------------------------------------------------------------

    def models_path(self) -> str:
        """Return the route that lists models."""
        return "/models"

    def read_models(self, raw: Any) -> list[dict[str, Any]]:
        """Read a page of the list of models: `id`, `display_name`, limits and capabilities."""
        data = raw.get("data") if isinstance(raw, dict) else None
        if not isinstance(data, list):
            raise InvalidResponseError(
                f"{self.name} sent no list of models; is the base URL that of the API?", body=raw
            )
        return [entry for entry in data if isinstance(entry, dict) and "id" in entry]

    def list_models(self, **options: Any) -> list[dict[str, Any]]:
        """Return the models that there are: `id`, `display_name`, limits and capabilities."""
        models: list[dict[str, Any]] = []
        after: str | None = ""
        while after is not None:
            exchange = self._page_exchange(after, dict(options))
            page, after = self._engine.run(exchange.call, exchange.send)
            models += page
        return models

    async def alist_models(self, **options: Any) -> list[dict[str, Any]]:
        """Do what `list_models` does, without blocking the event loop."""
        models: list[dict[str, Any]] = []
        after: str | None = ""
        while after is not None:
            exchange = self._page_exchange(after, dict(options))
            page, after = await self._send(exchange)
            models += page
        return models

    def _page_exchange(self, after: str, options: dict[str, Any]) -> Exchange:
        """Return the request for the page of models that follows the model `after`."""
        control = split_options(options)
        path = self.models_path() + (f"?after_id={after}" if after else "")
        exchange = self._exchange(path, None, control, None)

        def read(raw: Any) -> tuple[list[dict[str, Any]], str | None]:
            page = self.read_models(raw)
            last = raw.get("last_id")
            more = raw.get("has_more") is True and isinstance(last, str) and last != after and page
            return page, last if more else None

        exchange.read = read
        return exchange


def _beta_names(given: Any) -> tuple[str, ...]:
    """Read the names of beta features: a list, or a text with commas between them."""
    listed = given.split(",") if isinstance(given, str) else given
    if listed is None:
        return ()
    names = listed if isinstance(listed, Iterable) and not isinstance(listed, Mapping) else [None]
    stripped = tuple(name.strip() if isinstance(name, str) else "" for name in names)
    if not all(name and name.isascii() and name.isprintable() for name in stripped):
        raise InvalidRequestError(
            f"betas: {given!r}; give a list of names like ['context-1m-2025-08-07']"
        )
    return stripped


def _flat(messages: Sequence[Any]) -> list[Any]:
    """Return the messages of one conversation, or of several."""
    flat: list[Any] = []
    for entry in messages:
        flat += entry if isinstance(entry, (list, tuple)) else [entry]
    return flat


def _token_count(raw: Any) -> int:
    count = raw.get("input_tokens") if isinstance(raw, dict) else None
    if isinstance(count, bool) or not isinstance(count, int):
        raise InvalidResponseError("the answer holds no count of tokens (input_tokens)", body=raw)
    return count
