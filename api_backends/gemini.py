"""Google's Gemini API."""

from __future__ import annotations

import base64
import threading
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from .attachments import image_type
from .base import BaseApiBackend
from .capabilities import Capabilities
from .errors import InvalidRequestError, InvalidResponseError
from .exchange import ENGINE_OPTIONS, split_options
from .gemini_files import GeminiFiles
from .messages import normalize_messages
from .protocols.gemini_answer import read_chat, signatures_in
from .protocols.gemini_embeddings import BATCH_LIMIT, embeddings_body, read_embeddings
from .protocols.gemini_errors import error_from
from .protocols.gemini_events import GeminiStreamParser
from .protocols.gemini_request import chat_body
from .protocols.gemini_stream import GeminiStreamReader
from .protocols.openai_stream import chunks_of
from .routes import Request, awaitable, blocking
from .texts import checked_texts
from .uploads import read_upload

if TYPE_CHECKING:
    from .base import Messages
    from .errors import ApiError
    from .exchange import Exchange
    from .types import ChatCompletionResponse, EmbeddingResponse, StreamChunk

__all__ = ["Gemini"]


class Gemini(GeminiFiles, BaseApiBackend):
    """Google's Gemini API. https://ai.google.dev/api.

    Chat, streams, tools, structured output, images, sound, video and documents, thinking, code
    execution and search, embeddings, token counting and files.
    """

    name = "gemini"
    default_url = "https://generativelanguage.googleapis.com/v1beta"
    version_path = "/v1beta"
    routes = ("/models",)
    key_names = ("gemini_api_key", "google_api_key")
    key_env = ("GEMINI_API_KEY", "GOOGLE_API_KEY")
    default_model = "gemini-2.5-flash"
    default_embedding_model = "gemini-embedding-001"
    model_patterns = (
        "gemini-*", "models/*", "tunedmodels/*", "gemma-3*", "gemma-4*", "learnlm-*",
        "text-embedding-004",
    )  # fmt: skip
    capabilities = Capabilities(
        chat=True,
        stream=True,
        tools=True,
        structured_output=True,
        vision=True,
        embeddings=True,
        list_models=True,
        audio_input=True,
        file_input=True,
        reasoning=True,
        files=True,
        token_counting=True,
    )

    def __init__(
        self,
        resources: Mapping[str, Any] | None = None,
        metadata: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(resources, metadata)
        self._signatures = _Signatures()

    # -- translations and routes ------------------------------------------------------------------

    def headers(self, api_key: str | None) -> dict[str, str]:
        """Return the headers that every request carries; the key in one, never in a URL."""
        headers = super().headers(None)
        if api_key:
            headers["x-goog-api-key"] = api_key
        return headers

    def chat_path(self, model: str | None, *, stream: bool) -> str:
        """Return the route of a chat request, which holds the model."""
        method = "streamGenerateContent?alt=sse" if stream else "generateContent"
        return f"{_model_path(model or self.get_default_model())}:{method}"

    def chat_body(
        self,
        messages: list[dict[str, Any]],
        model: str | None,
        options: dict[str, Any],
        *,
        stream: bool,
    ) -> dict[str, Any]:
        """Put messages and options into Gemini's JSON."""
        return chat_body(messages, model, options, stream=stream, signatures=self._signatures)

    def raw_body(self, data: Mapping[str, Any], *, stream: bool) -> dict[str, Any]:
        """Return Gemini's own JSON as it is; the route says the model and that it is a stream.

        Data with `messages` is OpenAI's, as handlers make it, and is translated.
        """
        body = {key: value for key, value in data.items() if key != "model"}
        if "messages" not in body:
            return body
        messages = normalize_messages(body.pop("messages"))
        model = data.get("model") or self.get_default_model()
        return self.chat_body(messages, model, body, stream=stream)

    def read_chat(self, raw: Any) -> ChatCompletionResponse:
        """Read Gemini's JSON."""
        response = read_chat(raw, backend=self.name)
        if response.tool_calls:
            for identity, signature in signatures_in(raw).items():
                self._signatures.keep(identity, signature)
        return response

    def stream_parser(self) -> GeminiStreamParser:
        """Return what cuts Gemini's streams, SSE or JSON arrays, into events."""
        return GeminiStreamParser()

    def stream_reader(self, body: Mapping[str, Any]) -> GeminiStreamReader:
        """Return a reader of Gemini's events."""
        return GeminiStreamReader(backend=self.name, keep_signature=self._signatures.keep)

    def chunks_of(self, response: ChatCompletionResponse) -> list[StreamChunk]:
        """Return a whole answer as chunks."""
        return chunks_of(response)

    def read_error(
        self, status: int, headers: Mapping[str, str], body: Any, model: str | None
    ) -> ApiError:
        """Read Google's error."""
        return error_from(status, headers, body, backend=self.name, model=model)

    def models_path(self) -> str:
        """Return the route that lists models, all of them on one page."""
        return "/models?pageSize=1000"

    def read_models(self, raw: Any) -> list[dict[str, Any]]:
        """Read the list of models; each gets its name without "models/" as `id`."""
        models = raw.get("models") if isinstance(raw, dict) else None
        if not isinstance(models, list):
            raise InvalidResponseError(
                f"{self.name} sent no list of models; is the base URL that of the API?", body=raw
            )
        return [
            {"id": model["name"].removeprefix("models/"), **model}
            for model in models
            if isinstance(model, dict) and isinstance(model.get("name"), str)
        ]

    # -- embeddings -----------------------------------------------------------------------------

    def embed(
        self, texts: str | Sequence[str], model: str | None = None, **options: Any
    ) -> EmbeddingResponse:
        """Turn texts into vectors: float32, shape (number of texts, dimensions), in order.

        More than 100 texts are sent in several requests, one after the other.

        Args:
            texts: One text or several.
            model: Embedding model; this back end's default if None.
            options: `dimensions`, `task_type` (RETRIEVAL_QUERY, …), `title`, and the engine's.
        """
        answers = []
        for batch, left in self._batches(texts, options):
            answers.append(super().embed(batch, model, **left))
        return _joined(answers)

    async def aembed(
        self, texts: str | Sequence[str], model: str | None = None, **options: Any
    ) -> EmbeddingResponse:
        """Do what `embed` does, without blocking the event loop."""
        answers = []
        for batch, left in self._batches(texts, options):
            answers.append(await super().aembed(batch, model, **left))
        return _joined(answers)

    def _batches(
        self, texts: str | Sequence[str], options: dict[str, Any]
    ) -> Iterator[tuple[list[str], dict[str, Any]]]:
        """Yield as many texts as one request takes, and the options with the time that is left."""
        listed, started = checked_texts(texts), self.clock.now()
        timeout = options.get("timeout")
        for place in range(0, len(listed), BATCH_LIMIT):
            left = dict(options)
            if place and isinstance(timeout, (int, float)):
                left["timeout"] = max(timeout - (self.clock.now() - started), 0.001)
            yield listed[place : place + BATCH_LIMIT], left

    def _embed_exchange(
        self, texts: str | Sequence[str], model: str | None, options: dict[str, Any]
    ) -> Exchange:
        listed = checked_texts(texts)
        model = self._model(model, lambda: self.default_embedding_model)
        assert model is not None
        control = split_options(options)
        body = embeddings_body(listed, model, options)
        method = "embedContent" if len(listed) == 1 else "batchEmbedContents"
        exchange = self._exchange(f"{_model_path(model)}:{method}", body, control, model)
        exchange.read = lambda raw: read_embeddings(raw, len(listed), backend=self.name)
        return exchange

    # -- what only Gemini has ---------------------------------------------------------------------

    def _count_tokens(
        self, messages: Messages, model: str | None = None, **options: Any
    ) -> Request[int]:
        """Return how many tokens a chat request would be read as. Costs nothing.

        Arguments are those of `chat`: system prompts, tools and attachments count too.
        """
        engine = {name: options.pop(name) for name in ENGINE_OPTIONS if name in options}
        model = self._model(model, self.get_default_model)
        path = _model_path(model)
        body = self.chat_body(normalize_messages(messages), model, options, stream=False)
        if body.keys() != {"contents"}:
            body = {"generateContentRequest": {"model": path.lstrip("/"), **body}}
        return self._request(
            "POST", f"{path}:countTokens", json=body, read=_total_tokens, model=model, **engine
        )

    count_tokens, acount_tokens = blocking(_count_tokens), awaitable(_count_tokens)

    def process_image(
        self,
        image: Any,
        prompt: str = "Describe this image.",
        model: str | None = None,
        **options: Any,
    ) -> ChatCompletionResponse:
        """Ask about an image.

        Args:
            image: A path, an address (https or data URL), bytes, or a binary file object.
            prompt: What to ask.
            model: Model to ask; this back end's default if None.
            options: As for `chat`.

        Raises:
            InvalidRequestError: It is missing, empty, or no image that Gemini takes.
        """
        return self.chat(_about(image, prompt), model, **options)

    async def aprocess_image(
        self,
        image: Any,
        prompt: str = "Describe this image.",
        model: str | None = None,
        **options: Any,
    ) -> ChatCompletionResponse:
        """Do what `process_image` does, without blocking the event loop."""
        return await self.achat(_about(image, prompt), model, **options)


class _Signatures(Mapping[str, str]):
    """Thought signatures by the id of their call, for histories that are plain dictionaries.

    An answer given back as it is has its signatures with it. From dictionaries in OpenAI's shape
    they are gone; the latest are remembered here, up to a limit.
    """

    LIMIT = 16 * 1024 * 1024

    def __init__(self) -> None:
        self._kept: OrderedDict[str, str] = OrderedDict()
        self._size = 0
        self._lock = threading.Lock()

    def keep(self, identity: str, signature: str) -> None:
        """Remember the signature of a call; forget the oldest past the limit."""
        with self._lock:
            self._size += len(signature) - len(self._kept.pop(identity, ""))
            self._kept[identity] = signature
            while self._size > self.LIMIT:
                self._size -= len(self._kept.popitem(last=False)[1])

    def __getitem__(self, identity: str) -> str:
        return self._kept[identity]

    def __iter__(self) -> Iterator[str]:
        return iter(self._kept)

    def __len__(self) -> int:
        return len(self._kept)


def _model_path(model: str | None) -> str:
    """Return the path of a model: "/models/…", or what it names itself ("tunedModels/…")."""
    if model is None or any(part in ("", ".", "..") for part in model.split("/")):
        raise InvalidRequestError(f'model: {model!r} is no model\'s name, like "gemini-2.5-flash"')
    resource = model if "/" in model else f"models/{model}"
    return "/" + quote(resource, safe="/@.-_~")


def _about(image: Any, prompt: str) -> list[dict[str, Any]]:
    """Return the message that asks about an image."""
    if not isinstance(prompt, str) or not prompt.strip():
        raise InvalidRequestError(f"prompt: {prompt!r:.80} is no question; give a text")
    return [
        {
            "role": "user",
            "content": [
                {"type": "image_url", "image_url": {"url": _image_url(image)}},
                {"type": "text", "text": prompt},
            ],
        }
    ]


def _image_url(image: Any) -> str:
    if isinstance(image, str) and image[:8].lower().startswith(("http://", "https://", "data:")):
        return image
    upload = read_upload(image, "image", kind="image", default_name="image")
    kind = image_type(upload.data)
    if kind is None:
        raise InvalidRequestError(
            f"image: {upload.name!r} is no image; give a PNG, JPEG, WebP, HEIC or HEIF file"
        )
    return f"data:image/{kind};base64,{base64.b64encode(upload.data).decode()}"


def _total_tokens(raw: Any) -> int:
    total = raw.get("totalTokens") if isinstance(raw, dict) else None
    if isinstance(total, bool) or not isinstance(total, int):
        raise InvalidResponseError(f"gemini sent no count of tokens: {raw!r:.120}", body=raw)
    return total


def _joined(answers: list[EmbeddingResponse]) -> EmbeddingResponse:
    """Return the answers of several requests as one."""
    first = answers[0]
    if len(answers) == 1:
        return first
    import numpy as np

    widths = sorted({answer.embeddings.shape[1] for answer in answers})
    if len(widths) > 1:
        raise InvalidResponseError(f"gemini sent vectors of different lengths: {widths}")
    first.embeddings = np.concatenate([answer.embeddings for answer in answers])
    raws = [answer.raw for answer in answers]
    first.raw = {"embeddings": [e for r in raws for e in r.get("embeddings") or [r["embedding"]]]}
    first.usage.prompt_tokens = sum(answer.usage.prompt_tokens for answer in answers)
    first.usage.total_tokens = sum(answer.usage.total_tokens for answer in answers)
    first.latency = sum(answer.latency for answer in answers)
    first.attempts = sum(answer.attempts for answer in answers)
    return first
