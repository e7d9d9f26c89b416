"""Groq's API: open models on its own hardware, in OpenAI's shape, with remarks of its own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .capabilities import Capabilities
from .errors import ApiError, InvalidRequestError
from .protocols.openai import OpenAICompatible
from .protocols.openai_audio import AudioRoutes
from .token_counting import TokenCounting

__all__ = ["Groq"]

_REASONING_FORMATS = ("hidden", "parsed", "raw")
# What a model is for, by what its name holds; everything else chats.
_CATEGORIES = (
    ("transcription", ("whisper",)),
    ("speech", ("tts", "orpheus")),
    ("moderation", ("guard", "safeguard")),
    ("system", ("compound",)),
    ("vision", ("llama-4", "vision")),
)


class Groq(TokenCounting, AudioRoutes, OpenAICompatible):
    """Groq's API. https://console.groq.com/docs/api-reference."""

    name = "groq"
    default_url = "https://api.groq.com/openai/v1"
    version_path = "/openai/v1"
    key_names = ("groq_api_key",)
    key_env = ("GROQ_API_KEY",)
    default_model = "llama-3.3-70b-versatile"
    default_transcription_model = "whisper-large-v3-turbo"
    default_translation_model = "whisper-large-v3"
    default_speech_model = "playai-tts"
    default_voice = "Fritz-PlayAI"
    audio_suffixes = (
        "flac", "mp3", "mp4", "mpeg", "mpga", "m4a", "ogg", "opus", "wav", "webm",
    )  # fmt: skip
    image_limits = (4 * 1024 * 1024, 5)  # https://console.groq.com/docs/vision
    audio_limit = 100 * 1024 * 1024
    model_patterns = (
        "llama-3*", "llama3-*", "llama-guard-*", "meta-llama/llama-*", "mixtral-8x7b-32768",
        "gemma-7b-it", "gemma2-9b-it", "openai/gpt-oss-*", "qwen/qwen*", "qwen-qwq-32b",
        "qwen-2.5-*", "deepseek-r1-distill-*", "mistral-saba-24b", "moonshotai/kimi-*",
        "whisper-large-v3*", "distil-whisper-large-v3-en", "playai-tts*", "canopylabs/orpheus-*",
        "groq/compound*", "compound-beta*", "allam-2-7b",
    )  # fmt: skip
    capabilities = Capabilities(
        chat=True,
        stream=True,
        tools=True,
        structured_output=True,
        vision=True,
        reasoning=True,
        transcription=True,
        speech=True,
        list_models=True,
        token_counting=True,
        rate_limits=True,
    )

    def chat_body(
        self,
        messages: list[dict[str, Any]],
        model: str | None,
        options: dict[str, Any],
        *,
        stream: bool,
    ) -> dict[str, Any]:
        """Refuse what Groq documents as not supported, then put all into OpenAI's JSON."""
        if options.get("n") not in (None, 1):
            raise InvalidRequestError(
                f"n={options['n']!r}: Groq gives one answer a call; leave n out and call again"
            )
        wanted = options.get("reasoning_format")
        if wanted is not None and wanted not in _REASONING_FORMATS:
            raise InvalidRequestError(
                f"reasoning_format: {wanted!r} is none of {', '.join(_REASONING_FORMATS)}"
            )
        if wanted is not None and options.get("include_reasoning") is not None:
            raise InvalidRequestError(
                "reasoning_format and include_reasoning exclude each other: give one of them"
            )
        return super().chat_body(messages, model, options, stream=stream)

    def embeddings_path(self, model: str | None) -> str:
        """Groq has no embeddings."""
        raise self._cannot("embed()")

    def read_error(
        self, status: int, headers: Mapping[str, str], body: Any, model: str | None
    ) -> ApiError:
        """Read an error; what the model wrote that could not be used goes into the message."""
        error = super().read_error(status, headers, body, model)
        inner = body.get("error") if isinstance(body, dict) else None
        written = inner.get("failed_generation") if isinstance(inner, dict) else None
        if isinstance(written, str) and written:
            error.message += f" The model had written: {written[:200]!r}"
            error.args = (error.message,)
        return error

    def get_usage_stats(self) -> dict[str, Any]:
        """Return what has been used so far: requests, tokens, cost in USD (None if not known)."""
        stats = self.get_stats()
        names = ("prompt_tokens", "completion_tokens", "total_tokens", "cached_tokens", "cost")
        return {"total_requests": stats["total_requests"], **{name: stats[name] for name in names}}

    def read_models(self, raw: Any) -> list[dict[str, Any]]:
        """Read the list of models; each gets a `category` (chat, vision, transcription, …)."""
        models = super().read_models(raw)
        return [{**model, "category": _category(str(model["id"]))} for model in models]

    def list_models(self, category: str | None = None, **options: Any) -> list[dict[str, Any]]:
        """Return the models on offer, with `category` and `context_window`.

        Args:
            category: Only these: "chat", "vision", "transcription", "speech", "moderation" or
                "system".
            options: The engine's.
        """
        return _of_category(super().list_models(**options), category)

    async def alist_models(
        self, category: str | None = None, **options: Any
    ) -> list[dict[str, Any]]:
        """Do what `list_models` does, without blocking the event loop."""
        return _of_category(await super().alist_models(**options), category)


def _category(model: str) -> str:
    name = model.lower()
    return next((kind for kind, marks in _CATEGORIES if any(m in name for m in marks)), "chat")


def _of_category(models: list[dict[str, Any]], category: str | None) -> list[dict[str, Any]]:
    known = {kind for kind, _ in _CATEGORIES} | {"chat"}
    if category is None:
        return models
    if category not in known:
        raise InvalidRequestError(f"category: {category!r} is none of {', '.join(sorted(known))}")
    return [model for model in models if model["category"] == category]
