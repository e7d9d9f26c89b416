"""OpenAI's own API, all of it."""

from __future__ import annotations

from .capabilities import Capabilities
from .openai_batches import BatchRoutes
from .openai_conversations import Conversations
from .openai_responses import ResponsesRoutes
from .protocols.openai import OpenAICompatible
from .protocols.openai_audio import AudioRoutes
from .protocols.openai_completions import CompletionRoutes
from .protocols.openai_images import ImageRoutes
from .protocols.openai_moderation import ModerationRoutes
from .token_counting import TokenCounting

__all__ = ["MODEL_PATTERNS", "OpenAI"]

MODEL_PATTERNS = (
    "gpt-[3-9]*", "gpt-audio*", "gpt-image-*", "gpt-realtime*", "chatgpt-*", "o[1-9]", "o[1-9]-*",
    "codex-*", "computer-use-*", "ft:gpt-*", "text-embedding-*", "davinci-002", "babbage-002",
    "dall-e-*", "tts-1*", "whisper-1", "omni-moderation-*", "text-moderation-*",
    "openai/gpt-[3-9]*",
)  # fmt: skip


class OpenAI(
    Conversations,
    TokenCounting,
    ResponsesRoutes,
    AudioRoutes,
    ImageRoutes,
    BatchRoutes,
    ModerationRoutes,
    CompletionRoutes,
    OpenAICompatible,
):
    """OpenAI's API, or anything that speaks it. https://platform.openai.com/docs/api-reference."""

    name = "openai"
    names = ("openai", "openai_api")
    default_url = "https://api.openai.com/v1"
    key_names = ("openai_api_key",)
    key_env = ("OPENAI_API_KEY",)
    default_model = "gpt-4o-mini"
    default_embedding_model = "text-embedding-3-small"
    image_limits = (50 * 1024 * 1024, 500)  # https://platform.openai.com/docs/guides/images-vision
    model_patterns = MODEL_PATTERNS
    capabilities = Capabilities(
        chat=True,
        stream=True,
        tools=True,
        structured_output=True,
        vision=True,
        audio_input=True,
        file_input=True,
        reasoning=True,
        responses=True,
        embeddings=True,
        transcription=True,
        speech=True,
        images=True,
        moderation=True,
        completions=True,
        files=True,
        batches=True,
        token_counting=True,
        rate_limits=True,
        list_models=True,
    )
