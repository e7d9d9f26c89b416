"""A back end that speaks OpenAI's protocol: everything but its name, its URL and its models.

https://platform.openai.com/docs/api-reference. A provider that speaks it too is a class with a
few attributes; see `opea.py` and `docs/new_backend.md`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from ..attachments import check_image_load
from ..base import BaseApiBackend
from ..capabilities import Capabilities
from ..errors import ApiError, InvalidResponseError
from ..options import check_options
from .openai_chat import chat_body, read_chat
from .openai_embeddings import embeddings_body, read_embeddings
from .openai_errors import error_from
from .openai_stream import ChatStreamReader, chunks_of

if TYPE_CHECKING:
    from ..types import ChatCompletionResponse, EmbeddingResponse, StreamChunk

__all__ = ["OpenAICompatible"]


class OpenAICompatible(BaseApiBackend):
    """Chat, streams, tools, structured output, vision, embeddings and models over OpenAI's API."""

    image_limits: ClassVar[tuple[int, int] | None] = None
    """The most bytes of attached images, and the most images, in a request; None: not known."""
    routes = ("/chat/completions", "/embeddings", "/models")
    capabilities = Capabilities(
        chat=True,
        stream=True,
        tools=True,
        structured_output=True,
        vision=True,
        embeddings=True,
        list_models=True,
    )

    def chat_path(self, model: str | None, *, stream: bool) -> str:
        """Return the route of a chat request."""
        return "/chat/completions"

    def chat_body(
        self,
        messages: list[dict[str, Any]],
        model: str | None,
        options: dict[str, Any],
        *,
        stream: bool,
    ) -> dict[str, Any]:
        """Put messages and options into OpenAI's JSON."""
        check_options(options)
        if self.image_limits is not None:
            check_image_load(messages, *self.image_limits, self.name)
        return chat_body(messages, model, options, stream=stream)

    def read_chat(self, raw: Any) -> ChatCompletionResponse:
        """Read OpenAI's JSON."""
        return read_chat(raw, backend=self.name)

    def stream_reader(self, body: Mapping[str, Any]) -> ChatStreamReader:
        """Return a reader of OpenAI's chunks."""
        asked = body.get("stream_options")
        asks_usage = isinstance(asked, Mapping) and bool(asked.get("include_usage"))
        return ChatStreamReader(backend=self.name, asks_usage=asks_usage)

    def chunks_of(self, response: ChatCompletionResponse) -> list[StreamChunk]:
        """Return a whole answer as chunks."""
        return chunks_of(response)

    def read_error(
        self, status: int, headers: Mapping[str, str], body: Any, model: str | None
    ) -> ApiError:
        """Read OpenAI's error, in whatever dialect."""
        return error_from(status, headers, body, backend=self.name, model=model)

    def embeddings_path(self, model: str | None) -> str:
        """Return the route of an embeddings request."""
        return "/embeddings"

    def embeddings_body(
        self, texts: list[str], model: str | None, options: dict[str, Any]
    ) -> dict[str, Any]:
        """Put texts and options into OpenAI's JSON."""
        return embeddings_body(texts, model, options)

    def read_embeddings(self, raw: Any, count: int) -> EmbeddingResponse:
        """Read OpenAI's JSON: numbers, or base64 of little-endian float32."""
        return read_embeddings(raw, count, backend=self.name)

    def models_path(self) -> str:
        """Return the route that lists models."""
        return "/models"

    def read_models(self, raw: Any) -> list[dict[str, Any]]:
        """Read the list of models: {"data": [{"id": …}, …]}; some servers send the bare list."""
        data = raw.get("data") if isinstance(raw, dict) else raw
        if not isinstance(data, list):
            raise InvalidResponseError(
                f"{self.name} sent no list of models; is the base URL that of the API?", body=raw
            )
        return [entry for entry in data if isinstance(entry, dict) and "id" in entry]
