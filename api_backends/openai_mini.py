"""The small face of OpenAI's API: chat, sound, images and files, each in one call."""

from __future__ import annotations

from .capabilities import Capabilities
from .openai_api import MODEL_PATTERNS
from .protocols.openai import OpenAICompatible
from .protocols.openai_audio import AudioRoutes
from .protocols.openai_files import FileUpload
from .protocols.openai_images import ImageRoutes

__all__ = ["OpenAIMini"]


class OpenAIMini(AudioRoutes, ImageRoutes, FileUpload, OpenAICompatible):
    """OpenAI's API for scripts: `chat`, `stream_chat`, `transcribe`, `text_to_speech`,
    `generate_image`, `upload_file`, and the async twin of each.

    https://platform.openai.com/docs/api-reference; `openai` has all the rest.
    """  # noqa: D205

    name = "openai_mini"
    price_list = "openai"
    default_url = "https://api.openai.com/v1"
    key_names = ("openai_mini_api_key", "openai_api_key")
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
        embeddings=True,
        transcription=True,
        speech=True,
        images=True,
        list_models=True,
    )
